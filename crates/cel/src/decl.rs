//! Declared types: what a structural schema says of a value, as expressions see it.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::lexer;
use crate::types::Type;

/// What a request may hold at most, in bytes: the bound of everything without one.
const MAX_REQUEST: u64 = 3 << 20;

/// The smallest that each type is in JSON, in bytes.
const MIN_STRING: u64 = 2;
const MIN_BOOL: u64 = 4;
const MIN_NUMBER: u64 = 1;
const MIN_OBJECT: u64 = 2;
const MIN_DURATION: u64 = 3;
const MAX_DURATION: u64 = 32;
const MIN_DATE_TIME: u64 = 21;
const MAX_DATE_TIME: u64 = 32;
const DATE: u64 = 12;

/// The type of a value that comes from outside, with the bounds that its schema puts on its size.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclType {
    pub(crate) shape: Shape,
    /// Most characters, items or entries; 0 where there is nothing to count.
    pub(crate) max_elements: u64,
    /// Fewest bytes in JSON.
    pub(crate) min_size: u64,
    nullable: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Dyn,
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Date,
    DateTime,
    Duration,
    List {
        item: Arc<DeclType>,
        kind: ListKind,
    },
    Map(Arc<DeclType>),
    Object {
        name: Arc<str>,
        fields: BTreeMap<Arc<str>, Field>,
    },
}

/// How a list is merged and compared: `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ListKind {
    /// As a whole, in order.
    #[default]
    Atomic,
    /// Without order.
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    /// As it is in JSON; the key is the escaped name.
    pub json: Arc<str>,
    pub ty: Arc<DeclType>,
}

/// The type of what has none declared.
pub(crate) static DYN: LazyLock<DeclType> = LazyLock::new(DeclType::dynamic);
pub(crate) static DYN_LIST: LazyLock<DeclType> =
    LazyLock::new(|| DeclType::list(DeclType::dynamic(), None, ListKind::Atomic));
pub(crate) static DYN_MAP: LazyLock<DeclType> = LazyLock::new(|| DeclType::map(DeclType::dynamic(), None));

impl DeclType {
    fn new(shape: Shape, max_elements: u64, min_size: u64) -> Self {
        Self {
            shape,
            max_elements,
            min_size,
            nullable: false,
        }
    }

    /// Anything; fields and calls are checked when evaluated.
    pub fn dynamic() -> Self {
        Self {
            nullable: true,
            ..Self::new(Shape::Dyn, 0, 1)
        }
    }

    /// `x-kubernetes-int-or-string`.
    pub fn int_or_string(max_length: Option<u64>) -> Self {
        Self::new(Shape::IntOrString, text_bound(max_length), 1)
    }

    /// `type: boolean`
    pub fn bool() -> Self {
        Self::new(Shape::Bool, 0, MIN_BOOL)
    }

    /// `type: integer`
    pub fn int() -> Self {
        Self::new(Shape::Int, 0, MIN_NUMBER)
    }

    /// `type: number`
    pub fn double() -> Self {
        Self::new(Shape::Double, 0, MIN_NUMBER)
    }

    /// `type: string`
    pub fn string(max_length: Option<u64>) -> Self {
        Self::new(Shape::String, text_bound(max_length), MIN_STRING)
    }

    /// `format: byte`
    pub fn bytes() -> Self {
        Self::new(Shape::Bytes, MAX_REQUEST - 2, MIN_STRING)
    }

    /// `format: date-time`
    pub fn date_time() -> Self {
        Self::new(Shape::DateTime, MAX_DATE_TIME, MIN_DATE_TIME)
    }

    /// `type: array`
    pub fn list(item: DeclType, max_items: Option<u64>, kind: ListKind) -> Self {
        let max = max_items.unwrap_or((MAX_REQUEST - 2) / (item.min_size + 1));
        Self::new(
            Shape::List {
                item: item.into(),
                kind,
            },
            max,
            2,
        )
    }

    /// `additionalProperties`: a map of strings to these.
    pub fn map(value: DeclType, max_properties: Option<u64>) -> Self {
        let max = max_properties.unwrap_or((MAX_REQUEST - 2) / (value.min_size + 6));
        Self::new(Shape::Map(value.into()), max, 2)
    }

    /// An object with these fields, by their names in JSON. Fields whose names no expression can spell are left out.
    pub fn object<'n>(name: &str, fields: impl IntoIterator<Item = (&'n str, DeclType)>) -> Self {
        let fields = fields.into_iter().filter_map(|(json, ty)| {
            Some((
                Arc::from(escape(json)?),
                Field {
                    json: json.into(),
                    ty: ty.into(),
                },
            ))
        });
        Self::new(
            Shape::Object {
                name: name.into(),
                fields: fields.collect(),
            },
            0,
            MIN_OBJECT,
        )
    }

    /// May also be `null`.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// The type that a structural schema (OpenAPI v3, as JSON) declares, or `None` if expressions cannot see such values.
    /// The root of a resource always has `apiVersion`, `kind`, `metadata.name` and `metadata.generateName`.
    ///
    /// Object types have no names until [`DeclType::named`] gives them.
    pub fn from_schema(schema: &Value, is_resource_root: bool) -> Option<Self> {
        let number = |key: &str| {
            schema
                .get(key)
                .and_then(Value::as_i64)
                .map(|n| u64::try_from(n).unwrap_or(0))
        };
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or_default();
        let nullable = flag("nullable");
        if flag("x-kubernetes-int-or-string") {
            return Some(Self {
                nullable,
                ..Self::int_or_string(number("maxLength"))
            });
        }
        let embedded = |schema: &Value| schema.get("x-kubernetes-embedded-resource").and_then(Value::as_bool);
        let inner = |schema: &Value| Self::from_schema(schema, embedded(schema).unwrap_or_default());
        let found = match text("type") {
            "array" => {
                let kind = match text("x-kubernetes-list-type") {
                    "set" => ListKind::Set,
                    "map" => {
                        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                        let keys = keys.into_iter().flatten().filter_map(Value::as_str);
                        ListKind::Map(keys.map(str::to_owned).collect())
                    }
                    _ => ListKind::Atomic,
                };
                Self::list(inner(schema.get("items")?)?, number("maxItems"), kind)
            }
            "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
                Some(values) if !is_resource_root => Self::map(inner(values)?, number("maxProperties")),
                _ => Self::object_schema(schema, is_resource_root, &inner),
            },
            "string" => {
                let longest = schema
                    .get("enum")
                    .and_then(Value::as_array)
                    .filter(|values| !values.is_empty());
                let longest = longest.map(|values| {
                    let lengths = values.iter().filter_map(Value::as_str).map(str::len);
                    lengths.max().unwrap_or_default() as u64
                });
                let max_length = number("maxLength");
                match text("format") {
                    "byte" => Self::new(Shape::Bytes, max_length.unwrap_or(MAX_REQUEST - 2), MIN_STRING),
                    "duration" => Self::new(Shape::Duration, MAX_DURATION, MIN_DURATION),
                    "date" => Self::new(Shape::Date, DATE, DATE),
                    "date-time" => Self::date_time(),
                    _ => match (max_length, longest) {
                        (None, Some(longest)) => Self::new(Shape::String, longest, MIN_STRING),
                        (max_length, _) => Self::string(max_length),
                    },
                }
            }
            "boolean" => Self::bool(),
            "number" => Self::double(),
            "integer" => Self::int(),
            _ => return None,
        };
        Some(Self { nullable, ..found })
    }

    fn object_schema(schema: &Value, is_root: bool, inner: &dyn Fn(&Value) -> Option<Self>) -> Self {
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array);
        let mut fields = BTreeMap::new();
        let mut min_size = MIN_OBJECT;
        for (name, property) in properties.into_iter().flatten() {
            let Some(ty) = inner(property) else { continue };
            let is_required = required.is_some_and(|names| names.iter().any(|required| required == name.as_str()));
            if is_required && property.get("default").is_none() {
                min_size += name.len() as u64 + ty.min_size + 4;
            }
            if let Some(escaped) = escape(name) {
                fields.insert(
                    Arc::from(escaped),
                    Field {
                        json: name.as_str().into(),
                        ty: ty.into(),
                    },
                );
            }
        }
        if is_root {
            let metadata = [
                ("name", Self::string(Some(253))),
                ("generateName", Self::string(Some(252))),
            ];
            for (name, ty) in [
                ("apiVersion", Self::string(None)),
                ("kind", Self::string(None)),
                ("metadata", Self::object("object", metadata)),
            ] {
                fields.insert(
                    name.into(),
                    Field {
                        json: name.into(),
                        ty: ty.into(),
                    },
                );
            }
        }
        Self {
            min_size,
            ..Self::new(
                Shape::Object {
                    name: "object".into(),
                    fields,
                },
                0,
                min_size,
            )
        }
    }

    /// Names the object types inside after where they are: `root`, `root.spec`, `root.spec.ports.@idx`.
    #[must_use]
    pub fn named(self, root: &str) -> Self {
        let within = |ty: Arc<DeclType>, name: &str| Arc::new(Arc::unwrap_or_clone(ty).named(name));
        let shape = match self.shape {
            Shape::Object { name, fields } => {
                let name = if &*name == "object" { Arc::from(root) } else { name };
                let fields = fields.into_iter().map(|(key, field)| {
                    let ty = within(field.ty, &format!("{name}.{key}"));
                    (key, Field { ty, ..field })
                });
                Shape::Object {
                    fields: fields.collect(),
                    name: name.clone(),
                }
            }
            Shape::List { item, kind } => Shape::List {
                item: within(item, &format!("{root}.@idx")),
                kind,
            },
            Shape::Map(value) => Shape::Map(within(value, &format!("{root}.@elem"))),
            other => other,
        };
        Self { shape, ..self }
    }

    /// The type of expressions that have this value.
    pub fn as_type(&self) -> Type {
        match &self.shape {
            Shape::Dyn | Shape::IntOrString => Type::Dyn,
            Shape::Bool => Type::Bool,
            Shape::Int => Type::Int,
            Shape::Double => Type::Double,
            Shape::String => Type::String,
            Shape::Bytes => Type::Bytes,
            Shape::Date | Shape::DateTime => Type::Timestamp,
            Shape::Duration => Type::Duration,
            Shape::List { item, .. } => Type::list(item.as_type()),
            Shape::Map(value) => Type::map(Type::String, value.as_type()),
            Shape::Object { name, .. } => Type::Object(name.clone()),
        }
    }

    /// How often a rule below here may run per value here: `maxItems`, `maxProperties`, or what fits into a request.
    pub fn max_elements(&self) -> u64 {
        self.max_elements
    }

    /// The fewest bytes of such a value in JSON.
    pub fn min_size(&self) -> u64 {
        self.min_size
    }

    /// The type of items (of a list) or values (of a map).
    pub fn element(&self) -> Option<&Arc<DeclType>> {
        match &self.shape {
            Shape::List { item, .. } => Some(item),
            Shape::Map(value) => Some(value),
            _ => None,
        }
    }

    /// The type of a field, by its escaped name. Reserved words may also be written as they are.
    pub fn field(&self, name: &str) -> Option<&Arc<DeclType>> {
        self.find(name).map(|field| &field.ty)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Field> {
        let Shape::Object { fields, .. } = &self.shape else {
            return None;
        };
        fields
            .get(name)
            .or_else(|| lexer::is_reserved(name).then(|| fields.get(&*format!("__{name}__")))?)
    }

    /// All objects with names in here.
    pub(crate) fn objects(&self, found: &mut dyn FnMut(&Arc<str>, &DeclType)) {
        match &self.shape {
            Shape::Object { name, fields } => {
                found(name, self);
                fields.values().for_each(|field| field.ty.objects(found));
            }
            Shape::List { item, .. } => item.objects(found),
            Shape::Map(value) => value.objects(found),
            _ => {}
        }
    }

    pub(crate) fn is_nullable(&self) -> bool {
        self.nullable
    }
}

/// Characters that need up to four bytes each; or what fits into a request.
fn text_bound(max_length: Option<u64>) -> u64 {
    max_length.map_or(MAX_REQUEST - 2, |length| length.saturating_mul(4))
}

/// The name of a property in expressions: `a-b` is `a__dash__b`, `namespace` is `__namespace__`. `None` if it has none.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if lexer::is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    if name.contains(|c: char| !c.is_ascii_alphanumeric() && !"_.-/".contains(c)) {
        return None;
    }
    let escaped = name.replace("__", "__underscores__");
    Some(
        escaped
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn property_names_are_escaped_as_documented() {
        for (name, escaped) in [
            ("namespace", Some("__namespace__")),
            ("x-prop", Some("x__dash__prop")),
            ("redact__d", Some("redact__underscores__d")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("string", Some("string")),
            ("1a", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), escaped, "{name}");
        }
    }

    #[test]
    fn a_schema_becomes_a_type_with_bounds() {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {
            "spec": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "maxLength": 10},
                "mode": {"type": "string", "enum": ["A", "Longer"]},
                "ports": {"type": "array", "maxItems": 5, "items": {"type": "object", "properties": {
                    "target": {"x-kubernetes-int-or-string": true}}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "any": {"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": true}},
            }},
        }});
        let root = DeclType::from_schema(&schema, true).expect("exposed").named("self");
        let spec = root.field("spec").expect("declared");
        assert_eq!(spec.field("name").expect("declared").max_elements, 40);
        assert_eq!(spec.field("mode").expect("declared").max_elements, 6);
        assert_eq!(
            spec.field("ports").expect("declared").as_type().to_string(),
            "list(self.spec.ports.@idx)"
        );
        assert_eq!(
            spec.field("labels").expect("declared").max_elements,
            (MAX_REQUEST - 2) / 8
        );
        assert!(spec.field("any").is_none(), "what has no type is hidden");
        assert_eq!(spec.min_size, 2 + 4 + 2 + 4);
        let metadata = root.field("metadata").expect("always there");
        assert_eq!(metadata.field("name").expect("always there").max_elements, 253 * 4);
        assert!(metadata.field("labels").is_none());
    }
}
