//! Types of expressions.

use std::fmt;
use std::sync::Arc;

/// The static type of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// Anything; checked when evaluated.
    Dyn,
    /// Of an expression that has an error.
    Error,
    /// `null`
    Null,
    /// Truth.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, unsigned.
    Uint,
    /// 64-bit floating point.
    Double,
    /// Unicode text.
    String,
    /// Octets.
    Bytes,
    /// A point in time.
    Timestamp,
    /// A length of time.
    Duration,
    /// A list of one type.
    List(Arc<Type>),
    /// A map from one type to another.
    Map(Arc<Type>, Arc<Type>),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    /// An object with declared fields, by its name.
    Object(Arc<str>),
    /// A type whose content only functions see, with its parameters: `optional_type(int)`, `net.IP`.
    Opaque(Arc<str>, Arc<[Type]>),
    /// A type yet to be inferred, by number.
    Var(u32),
}

/// The name of the type of optional values.
const OPTIONAL: &str = "optional_type";

impl Type {
    /// A list of these.
    pub fn list(item: Type) -> Type {
        Type::List(Arc::new(item))
    }

    /// A map to these.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    /// A value that may be missing.
    pub fn optional(of: Type) -> Type {
        Type::Opaque(OPTIONAL.into(), [of].into())
    }

    /// An object type.
    pub fn object(name: &str) -> Type {
        Type::Object(name.into())
    }

    /// What an optional holds.
    pub(crate) fn optional_parameter(&self) -> Option<&Type> {
        match self {
            Type::Opaque(name, params) if &**name == OPTIONAL => params.first(),
            _ => None,
        }
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// The name as expressions know it, without parameters.
    pub fn name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Error => "!error!",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::List(_) => "list",
            Type::Map(..) => "map",
            Type::Type(_) => "type",
            Type::Object(name) | Type::Opaque(name, _) => name,
            Type::Var(_) => "T",
        }
    }

    /// Whether a value of this type always has the same size.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
            other => other.optional_parameter().is_some_and(Type::is_scalar),
        }
    }

    /// How many parts it has, counted no further than the limit.
    pub(crate) fn size_up_to(&self, limit: usize) -> usize {
        if limit == 0 {
            return 0;
        }
        let parts: &[&Type] = match self {
            Type::List(item) => &[item],
            Type::Map(key, value) => &[key, value],
            Type::Type(Some(inner)) => &[inner],
            Type::Opaque(_, params) => {
                return params
                    .iter()
                    .fold(1, |size, param| size + param.size_up_to(limit.saturating_sub(size)));
            }
            _ => &[],
        };
        parts
            .iter()
            .fold(1, |size, part| size + part.size_up_to(limit.saturating_sub(size)))
    }

    /// The same type with every part replaced that the function replaces.
    pub(crate) fn rewrite(&self, replace: &mut dyn FnMut(u32) -> Option<Type>) -> Type {
        match self {
            Type::Var(number) => match replace(*number) {
                Some(found) => found.rewrite(replace),
                None => self.clone(),
            },
            Type::List(item) => Type::list(item.rewrite(replace)),
            Type::Map(key, value) => Type::map(key.rewrite(replace), value.rewrite(replace)),
            Type::Type(Some(inner)) => Type::Type(Some(Arc::new(inner.rewrite(replace)))),
            Type::Opaque(name, params) if !params.is_empty() => Type::Opaque(
                name.clone(),
                params.iter().map(|param| param.rewrite(replace)).collect(),
            ),
            other => other.clone(),
        }
    }
}

/// As messages show it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(item) => write!(f, "list({item})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Type(Some(inner)) => write!(f, "type({inner})"),
            Type::Opaque(name, params) if !params.is_empty() => {
                write!(f, "{name}({})", joined(params))
            }
            other => f.write_str(other.name()),
        }
    }
}

/// Types with commas between them.
pub(crate) fn joined(types: &[Type]) -> String {
    types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ")
}
