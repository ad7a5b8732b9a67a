//! Schemas as others see them who make types of their own of them.

use crate::table::{Kind, Schema};

/// What a value is in JSON.
pub enum Shape<'a> {
    /// Nothing is known of it.
    Any,
    /// Quantities, too.
    String,
    /// Base64.
    Bytes,
    /// RFC 3339.
    Time,
    /// A number or a string.
    IntOrString,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// An object with known fields.
    Object(&'a Schema),
    /// Any number of these.
    List(Box<Shape<'a>>),
    /// These by names that users choose.
    Map(Box<Shape<'a>>),
}

impl<'a> Shape<'a> {
    fn of(kind: &'a Kind) -> Self {
        match kind {
            Kind::String | Kind::Quantity => Self::String,
            Kind::Int32 | Kind::Int64 => Self::Integer,
            Kind::Float => Self::Number,
            Kind::Bool => Self::Bool,
            Kind::Bytes => Self::Bytes,
            Kind::Time | Kind::MicroTime => Self::Time,
            Kind::IntOrString => Self::IntOrString,
            Kind::Any | Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings => Self::Any,
            Kind::Strings => Self::List(Box::new(Self::String)),
            Kind::Struct(schema) => Self::Object(schema),
            Kind::List(of) | Kind::Owned(of, _) => Self::List(Box::new(Self::of(of))),
            Kind::Map(of) => Self::Map(Box::new(Self::of(of))),
        }
    }
}

impl Schema {
    /// The fields, by their names in JSON.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Shape<'_>)> {
        let fields = self.get().fields().iter();
        fields.map(|field| (&*field.json, Shape::of(&field.kind)))
    }

    /// Whether there may be other fields than [`Schema::fields`].
    pub fn is_open(&self) -> bool {
        self.get().open
    }
}
