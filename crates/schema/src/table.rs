//! The table of types: read once from `types.txt`, then only looked at.
//!
//! The format is described in `generate.py`, which writes the file.

mod parse;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::structural::Custom;

/// A handle on the schema of a kind: a type of the table, or one that a CustomResourceDefinition describes. Cloning it is
/// cheap.
#[derive(Clone)]
pub struct Schema(Handle);

#[derive(Clone)]
enum Handle {
    /// Index into the table: the types of the table refer to each other, and to themselves.
    Table(u16),
    Own(Arc<Custom>),
}

impl Schema {
    /// An object of unknown shape: only `apiVersion`, `kind` and `metadata` are typed.
    pub const OBJECT: Schema = Schema(Handle::Table(0));

    /// The type's name in OpenAPI: `io.k8s.api.core.v1.Pod`.
    pub fn openapi_name(&self) -> String {
        format!("io.k8s.{}", self.get().name)
    }

    pub(crate) fn get(&self) -> &Type {
        match &self.0 {
            Handle::Table(index) => &table().types[usize::from(*index)],
            Handle::Own(own) => &own.type_,
        }
    }

    pub(crate) fn custom(own: Arc<Custom>) -> Self {
        Self(Handle::Own(own))
    }

    pub(crate) fn as_custom(&self) -> Option<&Custom> {
        match &self.0 {
            Handle::Table(_) => None,
            Handle::Own(own) => Some(own),
        }
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Handle::Table(mine), Handle::Table(theirs)) => mine == theirs,
            (Handle::Own(mine), Handle::Own(theirs)) => Arc::ptr_eq(mine, theirs),
            _ => false,
        }
    }
}

impl Eq for Schema {}

/// A type may contain itself, so only its name is printed.
impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.get().name)
    }
}

/// The type served as `kind` of `group/version`; the core group is `""`.
///
/// `DeleteOptions` belongs to every group.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<Schema> {
    let table = table();
    if kind == "DeleteOptions" {
        return by_name("apimachinery.pkg.apis.meta.v1.DeleteOptions").cloned();
    }
    table.kinds.get(&(group, version, kind)).cloned()
}

/// A type by its name in OpenAPI, without the leading `io.k8s.`.
pub(crate) fn by_name(name: &str) -> Option<&'static Schema> {
    table().names.get(name)
}

/// Every type, in the table's order, [`Schema::OBJECT`] first.
pub(crate) fn all() -> impl Iterator<Item = &'static Type> {
    table().types.iter()
}

/// A struct of the Kubernetes API.
#[derive(Debug)]
pub(crate) struct Type {
    /// Without `io.k8s.`; empty for [`Schema::OBJECT`].
    pub name: Cow<'static, str>,
    /// Server-side apply owns it whole.
    pub atomic: bool,
    /// Fields that the type does not know are kept, not complained about.
    pub open: bool,
    /// Of a custom resource, which Go holds as a map: nothing is there until somebody sets it.
    pub custom: bool,
    /// The status is a subresource.
    pub status: bool,
    /// Group, version and kind, if it is a kind.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    /// Sorted by their JSON names.
    fields: Vec<Field>,
    /// How its protobuf message is laid out.
    pub wire: Wire,
}

impl Type {
    /// A part of a custom resource.
    pub(crate) fn custom(mut fields: Vec<Field>, open: bool) -> Self {
        fields.sort_by(|a, b| a.json.cmp(&b.json));
        Self {
            name: Cow::Borrowed(""),
            atomic: false,
            open,
            custom: true,
            status: false,
            kind: None,
            fields,
            wire: Wire::default(),
        }
    }

    pub(crate) fn field(&self, json: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| (*field.json).cmp(json)).ok()?;
        self.fields.get(at)
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// `Pod` of `api.core.v1.Pod`.
    pub(crate) fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }

    /// As Go prints the type: the package's last part and the name, `v1.PodSpec`.
    pub(crate) fn go_name(&self) -> String {
        let mut parts = self.name.rsplit('.');
        let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{package}.{name}")
    }
}

/// Protobuf numbers to fields, by index into [`Type::fields`].
#[derive(Debug, Default)]
pub(crate) struct Wire(pub BTreeMap<u32, Slot>);

/// What a protobuf number stands for.
#[derive(Debug)]
pub(crate) enum Slot {
    Field(usize),
    /// A message that JSON does not show; its fields belong to the outer object.
    Embedded(Wire),
}

/// A field of a type.
#[derive(Debug)]
pub(crate) struct Field {
    pub json: Cow<'static, str>,
    pub kind: Kind,
    pub required: bool,
    /// In Go a plain value with `omitempty`: its zero is not written.
    pub zero_omitted: bool,
    /// In Go a pointer to a string: its empty value is written.
    pub pointer: bool,
    /// How server-side apply merges a list.
    pub list: ListType,
    /// Server-side apply owns a map or struct in this field whole.
    pub atomic: bool,
    pub patch: Strategy,
    /// `$retainKeys`: the patch lists which keys stay.
    pub retain_keys: bool,
    /// The named type of Go, if it has one.
    go: Option<&'static str>,
}

impl Field {
    /// A field about which there is nothing more to say.
    pub(crate) fn plain(json: &str, kind: Kind) -> Self {
        Self::new(json.to_owned().into(), kind)
    }

    fn new(json: Cow<'static, str>, kind: Kind) -> Self {
        Self {
            json,
            kind,
            required: false,
            zero_omitted: false,
            pointer: false,
            list: ListType::Atomic,
            atomic: false,
            patch: Strategy::Default,
            retain_keys: false,
            go: None,
        }
    }

    /// As Go prints the field's type in an error.
    pub(crate) fn go_type(&self) -> String {
        self.go.map_or_else(|| self.kind.go_type(), str::to_owned)
    }
}

/// The list type of server-side apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListType {
    /// Owned and replaced as a whole.
    Atomic,
    /// Of scalars, each owned by itself.
    Set,
    /// Of objects, each known by these keys.
    Map(Vec<Key>),
}

/// A key by which the items of a list are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub name: Cow<'static, str>,
    /// What an item that does not say it has.
    pub default: Option<Value>,
}

/// What a strategic merge patch does with a list; maps and structs are merged unless it is `Replace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// None is given: lists are replaced.
    Default,
    /// Even a map or struct is replaced.
    Replace,
    /// Scalars are added if they are not there yet.
    MergeScalars,
    /// Objects are merged by this key.
    MergeBy(&'static str),
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Int32,
    Int64,
    Float,
    Bool,
    /// Base64 in JSON.
    Bytes,
    Quantity,
    Time,
    MicroTime,
    IntOrString,
    /// Any JSON, which protobuf carries as text.
    Any,
    /// A list of strings that protobuf boxes in a message, so that it can be the value of a map.
    Strings,
    /// `JSONSchemaProps` or, of it, a list ...
    SchemaOrArray,
    /// ... or a bool ...
    SchemaOrBool,
    /// ... or a list of strings.
    SchemaOrStrings,
    Struct(Schema),
    List(Box<Kind>),
    /// A list that custom resources have, wherever it stands: its items are owned one by one.
    Owned(Box<Kind>, ListType),
    Map(Box<Kind>),
}

impl Kind {
    pub(crate) fn go_type(&self) -> String {
        match self {
            Kind::String => "string".into(),
            Kind::Int32 | Kind::IntOrString => "int32".into(),
            Kind::Int64 => "int64".into(),
            Kind::Float => "float64".into(),
            Kind::Bool => "bool".into(),
            Kind::Bytes => "[]uint8".into(),
            Kind::Quantity => "resource.Quantity".into(),
            Kind::Time | Kind::MicroTime => "string".into(),
            Kind::Any => "runtime.RawExtension".into(),
            Kind::Strings => "[]string".into(),
            Kind::SchemaOrArray | Kind::SchemaOrBool | Kind::SchemaOrStrings => "v1.JSONSchemaProps".into(),
            Kind::Struct(schema) => schema.get().go_name(),
            Kind::List(of) | Kind::Owned(of, _) => format!("[]{}", of.go_type()),
            Kind::Map(of) => format!("map[string]{}", of.go_type()),
        }
    }

    /// `JSONSchemaProps`, the one type that the special kinds refer to.
    pub(crate) fn schema_props() -> &'static Schema {
        by_name("apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap_or(&Schema::OBJECT)
    }
}

struct Table {
    types: Vec<Type>,
    names: HashMap<&'static str, Schema>,
    kinds: HashMap<(&'static str, &'static str, &'static str), Schema>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| parse::parse(include_str!("table/types.txt")))
}

#[cfg(test)]
mod tests;
