//! The table of types: read once from `types.txt`, then only looked at.
//!
//! The format is described in `generate.py`, which writes the file.

use std::collections::HashMap;
use std::sync::OnceLock;

/// A type in the table. [`TypeId::OBJECT`] stands for any object that the table does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u16);

impl TypeId {
    /// An object of unknown shape (a custom resource): only `apiVersion`, `kind` and `metadata` are typed.
    pub const OBJECT: TypeId = TypeId(0);

    /// The type's name in OpenAPI: `io.k8s.api.core.v1.Pod`.
    pub fn openapi_name(self) -> String {
        format!("io.k8s.{}", self.get().name)
    }

    pub(crate) fn get(self) -> &'static Type {
        &table().types[usize::from(self.0)]
    }
}

/// The type served as `kind` of `group/version`; the core group is `""`.
///
/// `DeleteOptions` belongs to every group, and the `Eviction` that kubectl sent before 1.22 is still the same type.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<TypeId> {
    let version = match (group, kind) {
        ("policy", "Eviction") if version == "v1beta1" => "v1",
        _ => version,
    };
    let table = table();
    if kind == "DeleteOptions" {
        return by_name("apimachinery.pkg.apis.meta.v1.DeleteOptions");
    }
    table.kinds.get(&(group, version, kind)).copied()
}

/// A type by its name in OpenAPI, without the leading `io.k8s.`.
pub(crate) fn by_name(name: &str) -> Option<TypeId> {
    table().names.get(name).copied()
}

/// Every type, in the table's order, [`TypeId::OBJECT`] first.
pub(crate) fn all() -> impl Iterator<Item = &'static Type> {
    table().types.iter()
}

/// A struct of the Kubernetes API.
#[derive(Debug)]
pub(crate) struct Type {
    /// Without `io.k8s.`; empty for [`TypeId::OBJECT`].
    pub name: &'static str,
    /// Server-side apply owns it whole.
    pub atomic: bool,
    /// Fields that the table does not know are kept, not complained about.
    pub open: bool,
    /// Group, version and kind, if it is a kind.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    /// Sorted by their JSON names.
    fields: Vec<Field>,
    /// How its protobuf message is laid out.
    pub wire: Wire,
}

impl Type {
    pub(crate) fn field(&self, json: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| field.json.cmp(json)).ok()?;
        self.fields.get(at)
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// `Pod` of `api.core.v1.Pod`.
    pub(crate) fn short_name(&self) -> &'static str {
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
pub(crate) struct Wire(pub HashMap<u32, Slot>);

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
    pub json: &'static str,
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
    Map(Vec<&'static str>),
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
    Struct(TypeId),
    List(Box<Kind>),
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
            Kind::Struct(id) => id.get().go_name(),
            Kind::List(of) => format!("[]{}", of.go_type()),
            Kind::Map(of) => format!("map[string]{}", of.go_type()),
        }
    }

    /// `JSONSchemaProps`, the one type that the special kinds refer to.
    pub(crate) fn schema_props() -> TypeId {
        by_name("apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps").unwrap_or(TypeId::OBJECT)
    }
}

struct Table {
    types: Vec<Type>,
    names: HashMap<&'static str, TypeId>,
    kinds: HashMap<(&'static str, &'static str, &'static str), TypeId>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| parse(include_str!("table/types.txt")))
}

/// Reads the file that was compiled in; a test reads it as well, so that a malformed one cannot be shipped.
fn parse(text: &'static str) -> Table {
    const OBJECT: &str = ":type  \napiVersion 0 s\nkind 0 s\nmetadata 0 @apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let lines = || OBJECT.lines().chain(text.lines());
    let mut names = HashMap::new();
    for line in lines() {
        if let Some(rest) = line.strip_prefix(":type ") {
            let id = u16::try_from(names.len()).expect("a few hundred types");
            names.insert(rest.split(' ').next().unwrap_or_default(), TypeId(id));
        }
    }
    let mut types: Vec<Type> = Vec::with_capacity(names.len());
    let mut kinds = HashMap::new();
    let mut tags: Vec<(&'static str, &'static str)> = Vec::new();
    for line in lines() {
        let mut words = line.split(' ');
        match (words.next(), types.last_mut()) {
            (Some(":type"), last) => {
                if let Some(last) = last {
                    finish(last, &mut tags);
                }
                types.push(Type {
                    name: words.next().unwrap_or_default(),
                    atomic: words.next() == Some("atomic"),
                    open: types.is_empty(),
                    kind: None,
                    fields: Vec::new(),
                    wire: Wire::default(),
                });
            }
            (Some(":kind"), Some(last)) => {
                let mut word = || words.next().expect("three words after :kind");
                let kind = (word().trim_start_matches('-'), word(), word());
                kinds.insert(kind, names[last.name]);
                last.kind = Some(kind);
            }
            (Some(json), Some(last)) => {
                tags.push((json, words.next().expect("a protobuf number")));
                let kind = kind(words.next().expect("a kind"), &names);
                last.fields.push(field(json, kind, words));
            }
            _ => {}
        }
    }
    if let Some(last) = types.last_mut() {
        finish(last, &mut tags);
    }
    Table { types, names, kinds }
}

/// Sorts a type's fields and lays out its message.
fn finish(type_: &mut Type, tags: &mut Vec<(&'static str, &'static str)>) {
    type_.fields.sort_by_key(|field| field.json);
    for (json, tag) in tags.drain(..) {
        if tag == "0" {
            continue;
        }
        let Ok(index) = type_.fields.binary_search_by(|field| field.json.cmp(json)) else {
            continue;
        };
        let mut wire = &mut type_.wire;
        let mut numbers = tag
            .split('.')
            .map(|number| number.parse().expect("a protobuf number"))
            .peekable();
        while let Some(number) = numbers.next() {
            if numbers.peek().is_none() {
                wire.0.insert(number, Slot::Field(index));
                break;
            }
            match wire.0.entry(number).or_insert_with(|| Slot::Embedded(Wire::default())) {
                Slot::Embedded(inner) => wire = inner,
                Slot::Field(_) => break,
            }
        }
    }
}

fn field(json: &'static str, kind: Kind, words: std::str::Split<'static, char>) -> Field {
    let mut field = Field {
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
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("!", _) => field.required = true,
            ("zero", _) => field.zero_omitted = true,
            ("ptr", _) => field.pointer = true,
            ("set", _) => field.list = ListType::Set,
            ("map", keys) => field.list = ListType::Map(keys.split(',').collect()),
            ("atomic", _) => field.atomic = true,
            ("merge", "") => field.patch = Strategy::MergeScalars,
            ("merge", key) => field.patch = Strategy::MergeBy(key),
            ("replace", _) => field.patch = Strategy::Replace,
            ("retain", _) => field.retain_keys = true,
            ("go", name) => field.go = Some(name),
            _ => unreachable!("types.txt: attribute {word:?} of {json}"),
        }
    }
    field
}

fn kind(word: &'static str, names: &HashMap<&'static str, TypeId>) -> Kind {
    if let Some(of) = word.strip_prefix("[]") {
        return Kind::List(Box::new(kind(of, names)));
    }
    if let Some(of) = word.strip_prefix("{}") {
        return Kind::Map(Box::new(kind(of, names)));
    }
    if let Some(name) = word.strip_prefix('@') {
        return Kind::Struct(names[name]);
    }
    match word {
        "s" => Kind::String,
        "i" => Kind::Int32,
        "l" => Kind::Int64,
        "d" => Kind::Float,
        "b" => Kind::Bool,
        "y" => Kind::Bytes,
        "q" => Kind::Quantity,
        "t" => Kind::Time,
        "u" => Kind::MicroTime,
        "x" => Kind::IntOrString,
        "r" => Kind::Any,
        "w" => Kind::Strings,
        "A" => Kind::SchemaOrArray,
        "O" => Kind::SchemaOrBool,
        "S" => Kind::SchemaOrStrings,
        _ => unreachable!("types.txt: kind {word:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(name: &str, json: &str) -> &'static Field {
        by_name(name)
            .and_then(|id| id.get().field(json))
            .unwrap_or_else(|| panic!("{name}.{json}"))
    }

    #[test]
    fn every_kind_of_the_stable_groups_is_found() {
        for (group, version, kind) in [
            ("", "v1", "Pod"),
            ("", "v1", "Binding"),
            ("apps", "v1", "Deployment"),
            ("batch", "v1", "CronJob"),
            ("autoscaling", "v1", "Scale"),
            ("autoscaling", "v2", "HorizontalPodAutoscaler"),
            ("policy", "v1", "Eviction"),
            ("policy", "v1beta1", "Eviction"),
            ("policy", "v1", "PodDisruptionBudget"),
            ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
            ("networking.k8s.io", "v1", "Ingress"),
            ("storage.k8s.io", "v1", "StorageClass"),
            ("coordination.k8s.io", "v1", "Lease"),
            ("discovery.k8s.io", "v1", "EndpointSlice"),
            ("events.k8s.io", "v1", "Event"),
            ("authentication.k8s.io", "v1", "TokenReview"),
            ("authorization.k8s.io", "v1", "SelfSubjectAccessReview"),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"),
            ("scheduling.k8s.io", "v1", "PriorityClass"),
            ("apps", "v1", "DeleteOptions"),
            ("", "v1", "Status"),
        ] {
            let id = lookup(group, version, kind).unwrap_or_else(|| panic!("{group}/{version} {kind}"));
            assert_eq!(id.get().short_name(), kind);
        }
        assert_eq!(lookup("apps", "v1beta1", "Deployment"), None);
    }

    #[test]
    fn lists_have_the_keys_that_kubernetes_merges_them_by() {
        use Strategy::{Default, MergeBy, MergeScalars};
        let map = |keys: &[&'static str]| ListType::Map(keys.to_vec());
        for (name, json, patch, list) in [
            ("api.core.v1.PodSpec", "containers", MergeBy("name"), map(&["name"])),
            (
                "api.core.v1.PodSpec",
                "topologySpreadConstraints",
                MergeBy("topologyKey"),
                map(&["topologyKey", "whenUnsatisfiable"]),
            ),
            ("api.core.v1.PodSpec", "tolerations", Default, ListType::Atomic),
            (
                "api.core.v1.Container",
                "ports",
                MergeBy("containerPort"),
                map(&["containerPort", "protocol"]),
            ),
            (
                "api.core.v1.EphemeralContainer",
                "ports",
                MergeBy("containerPort"),
                map(&["containerPort", "protocol"]),
            ),
            (
                "api.core.v1.ServiceSpec",
                "ports",
                MergeBy("port"),
                map(&["port", "protocol"]),
            ),
            ("api.core.v1.Container", "args", Default, ListType::Atomic),
            (
                "apimachinery.pkg.apis.meta.v1.ObjectMeta",
                "finalizers",
                MergeScalars,
                ListType::Set,
            ),
            (
                "apimachinery.pkg.apis.meta.v1.ObjectMeta",
                "ownerReferences",
                MergeBy("uid"),
                map(&["uid"]),
            ),
        ] {
            let field = field_of(name, json);
            assert_eq!((field.patch, &field.list), (patch, &list), "{name}.{json}");
        }
        assert!(field_of("api.core.v1.PodSpec", "volumes").retain_keys);
        assert!(field_of("api.apps.v1.DeploymentSpec", "strategy").retain_keys);
        assert!(field_of("api.core.v1.PodSpec", "nodeSelector").atomic);
        assert!(by_name("apimachinery.pkg.apis.meta.v1.LabelSelector").is_some_and(|id| id.get().atomic));
    }

    #[test]
    fn every_field_of_a_served_kind_but_the_newest_has_a_protobuf_number() {
        fn count(wire: &Wire) -> usize {
            wire.0
                .values()
                .map(|slot| {
                    if let Slot::Embedded(inner) = slot {
                        count(inner)
                    } else {
                        1
                    }
                })
                .sum()
        }
        let (mut fields, mut numbered) = (0, 0);
        for type_ in all() {
            // apiVersion and kind travel in the envelope.
            fields += type_
                .fields
                .iter()
                .filter(|f| type_.kind.is_none() || !["apiVersion", "kind"].contains(&f.json))
                .count();
            numbered += count(&type_.wire);
        }
        assert!(fields > 2000 && numbered * 100 >= fields * 92, "{numbered} of {fields}");
    }
}
