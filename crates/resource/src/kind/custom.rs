//! Custom resources: what a CustomResourceDefinition makes of the generic machine.

use super::Kind;
use super::crd::{condition, is_true, storage_version};
use crate::field::{Cause, Errors, Path};
use crate::json::{items, text};
use crate::jsonpath::JsonPath;
use crate::meta;
use crate::printer::{Column, Columns, Row, age, age_of, name_of};
use crate::resource::{Fields, ResourceInfo, Subresource};
use crate::rules::Rules;
use crate::scale;
use crate::served::{ALL, CHANGE};
use jiff::Timestamp;
use knarr_schema::Schema;
use knarr_schema::structural::{Structural, unique};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// What can still be done while the definition goes.
const LEAVING: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];

/// What the server must know of a custom resource besides what it knows of every resource.
#[derive(Debug)]
pub struct Definition {
    /// Name of the CustomResourceDefinition: `foos.example.com`.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The version that objects are stored in.
    pub storage_version: String,
    /// `spec.conversion`.
    pub conversion: Value,
    /// `openAPIV3Schema` of this version.
    pub schema: Arc<Value>,
    /// Where the replicas are, if there is a `scale` subresource.
    pub scale: Option<scale::Paths>,
    /// What clients of this version are warned of.
    pub deprecation: Option<String>,
    /// Nothing may be created any more.
    pub terminating: bool,
}

impl Definition {
    /// The `apiVersion` that objects are stored with.
    pub fn stored_as(&self, group: &str) -> String {
        format!("{group}/{}", self.storage_version)
    }
}

/// The strategy of one version of a custom resource.
struct Custom {
    schema: Schema,
    definition: Arc<Definition>,
    status: bool,
    rules: Option<Rules>,
    columns: Vec<PrinterColumn>,
    /// Paths without the leading dot, and where they lead.
    selectable: Vec<(String, JsonPath)>,
}

struct PrinterColumn {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i32,
    path: JsonPath,
}

/// The resources that a definition has served, one for each version, the storage version first. None until its names are
/// accepted.
pub fn resources(crd: &Value) -> Vec<ResourceInfo> {
    if !is_true(crd, "Established") {
        return Vec::new();
    }
    let storage = storage_version(crd);
    let mut versions: Vec<&Value> = items(&crd["spec"]["versions"])
        .iter()
        .filter(|version| version["served"] == true)
        .collect();
    versions.sort_by_key(|version| text(version, "name") != storage);
    versions.into_iter().map(|version| resource(crd, version)).collect()
}

/// One version of a custom resource, served or not.
pub fn resource(crd: &Value, version: &Value) -> ResourceInfo {
    let (spec, names) = (&crd["spec"], &crd["status"]["acceptedNames"]);
    let (group, name, kind) = (text(spec, "group"), text(version, "name"), text(names, "kind"));
    let subresources = &version["subresources"];
    let status = subresources["status"].is_object();
    let terminating = condition(crd, "Terminating").is_some();
    let raw = &version["schema"]["openAPIV3Schema"];
    let openapi_name = format!("{group}.{name}.{kind}");
    let schema = Structural::parse(raw).compile(&openapi_name, status);
    let paths = &subresources["scale"];
    let definition = Arc::new(Definition {
        name: text(&crd["metadata"], "name").to_owned(),
        uid: text(&crd["metadata"], "uid").to_owned(),
        storage_version: storage_version(crd).to_owned(),
        conversion: spec["conversion"].clone(),
        schema: Arc::new(raw.clone()),
        scale: paths.is_object().then(|| scale::Paths {
            replicas: text(paths, "specReplicasPath").to_owned(),
            status: text(paths, "statusReplicasPath").to_owned(),
            selector: text(paths, "labelSelectorPath").to_owned(),
        }),
        deprecation: (version["deprecated"] == true).then(|| deprecation(crd, version, kind)),
        terminating,
    });
    let mut below = Vec::new();
    let verbs = if terminating { &["get"] } else { CHANGE };
    if status {
        below.push(Subresource {
            name: "status",
            group: "",
            version: "",
            kind: Cow::Owned(kind.to_owned()),
            verbs,
        });
    }
    if definition.scale.is_some() {
        below.push(Subresource {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: Cow::Borrowed("Scale"),
            verbs,
        });
    }
    let words = |key: &str| {
        items(&names[key])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let strategy = Custom {
        schema: schema.clone(),
        definition: definition.clone(),
        status,
        rules: Rules::of(raw),
        columns: columns(version),
        selectable: items(&version["selectableFields"])
            .iter()
            .filter_map(|field| {
                let path = text(field, "jsonPath");
                Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path).ok()?))
            })
            .collect(),
    };
    ResourceInfo {
        group: group.to_owned(),
        version: name.to_owned(),
        plural: text(names, "plural").to_owned(),
        singular: text(names, "singular").to_owned(),
        kind: kind.to_owned(),
        list_kind: text(names, "listKind").to_owned(),
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: spec["scope"] == "Namespaced",
        verbs: if terminating { LEAVING } else { ALL },
        subresources: below,
        storage: format!("{}/{group}", text(names, "plural")),
        native: false,
        schema,
        definition: Some(definition),
        strategy: Arc::new(strategy),
    }
}

fn deprecation(crd: &Value, version: &Value, kind: &str) -> String {
    if let Some(own) = version["deprecationWarning"].as_str() {
        return own.to_owned();
    }
    let (group, name) = (text(&crd["spec"], "group"), text(version, "name"));
    let better = items(&crd["spec"]["versions"])
        .iter()
        .filter(|other| other["served"] == true && other["deprecated"] != true)
        .map(|other| text(other, "name"))
        .max_by_key(|name| priority(name))
        .filter(|other| priority(other) > priority(name));
    match better {
        Some(better) => format!("{group}/{name} {kind} is deprecated; use {group}/{better} {kind}"),
        None => format!("{group}/{name} {kind} is deprecated"),
    }
}

/// How much a version is preferred: `v2` to `v1`, that to `v2beta1` and `v1alpha1`, and those to all others.
pub fn priority(version: &str) -> (u8, u64, u64) {
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('0'));
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, stage) = rest.split_at(digits);
        let major = number(major)?;
        if stage.is_empty() {
            return Some((3, major, 0));
        }
        let (stage, minor) = match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor),
            (_, Some(minor)) => (1, minor),
            _ => return None,
        };
        let minor = if minor.is_empty() { 0 } else { number(minor)? };
        Some((stage, major, minor))
    };
    parsed().unwrap_or((0, 0, 0))
}

fn columns(version: &Value) -> Vec<PrinterColumn> {
    let mut found = Vec::new();
    for column in items(&version["additionalPrinterColumns"]) {
        // One that cannot be read takes those behind it along.
        let Ok(path) = JsonPath::parse(text(column, "jsonPath")) else {
            return found;
        };
        let description = match text(column, "description") {
            "" => format!(
                "Custom resource definition column (in JSONPath format): {}",
                text(column, "jsonPath")
            ),
            own => own.to_owned(),
        };
        found.push(PrinterColumn {
            name: text(column, "name").to_owned(),
            kind: text(column, "type").to_owned(),
            format: text(column, "format").to_owned(),
            description,
            priority: column["priority"]
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
                .unwrap_or(0),
            path,
        });
    }
    found
}

impl PrinterColumn {
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.find(object).into_iter().next() else {
            return Value::Null;
        };
        match (self.kind.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("string", Value::String(_)) => value.clone(),
            ("string", other) => other.to_string().into(),
            ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => whole.into(),
                (_, Some(float)) => json!(float.trunc() as i64),
                _ => Value::Null,
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(_) => age(value, now).into(),
                Err(_) => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

impl Custom {
    fn structural(&self) -> Option<&Structural> {
        self.schema.structural()
    }

    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let Some(structural) = self.structural() else { return };
        let mut found = Errors::new();
        structural.validate(object, old, &mut found);
        if let Some(paths) = &self.definition.scale {
            paths.validate(object, &mut found);
        }
        embedded(structural, object, &Path::default(), &mut found);
        unique(structural, object, old, &mut found);
        let found = found.into_vec();
        let blocking = found.iter().any(|error| {
            let causes = [
                Cause::Required,
                Cause::NotSupported,
                Cause::TooLong,
                Cause::TooMany,
                Cause::TypeInvalid,
            ];
            causes.contains(&error.cause)
        });
        for error in found {
            errors.push(&error.path, error.cause, error.value, error.detail);
        }
        match &self.rules {
            // A rule can rely on what the schema says.
            Some(_) if blocking => {
                let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
                errors.push(&Path::new("<nil>"), Cause::Unshown, Value::Null, detail);
            }
            Some(rules) => rules.validate(object, old, errors),
            None => {}
        }
    }
}

/// Objects inside of objects have metadata with the rules of all metadata.
fn embedded(schema: &Structural, value: &Value, path: &Path, errors: &mut Errors) {
    if schema.embedded && value.is_object() {
        for key in ["apiVersion", "kind"] {
            if text(value, key).is_empty() {
                errors.required(&path.child(key), "must not be empty");
            }
        }
        if value["metadata"].is_object() {
            meta::validate_embedded(&value["metadata"], &path.child("metadata"), errors);
        }
    }
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if let Some(field) = schema.field(name) {
                    embedded(field, inner, &path.child(name), errors);
                }
            }
        }
        Value::Array(list) => {
            if let Some(inner) = &schema.items {
                for (index, item) in list.iter().enumerate() {
                    embedded(inner, item, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

impl Kind for Custom {
    /// What is stored is as the schema was when it was written.
    fn show(&self, object: &mut Value) {
        if let Some(structural) = self.structural() {
            structural.prune(object);
            structural.fill(object);
        }
    }

    fn default(&self, object: &mut Value) {
        if let Some(structural) = self.structural() {
            structural.fill(object);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn desired(&self, object: &Value) -> Value {
        let mut desired = object.clone();
        for key in ["apiVersion", "kind", "metadata"] {
            crate::json::remove(&mut desired, key);
        }
        if self.status {
            crate::json::remove(&mut desired, "status");
        }
        desired
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        let mut next = old.clone();
        crate::json::keep(&mut next, new, "status");
        if let Some(metadata) = crate::json::existing(&mut next, "metadata") {
            for key in ["managedFields", "resourceVersion"] {
                crate::json::keep(metadata, &new["metadata"], key);
            }
        }
        *new = next;
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        self.check(object, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.check(new, Some(old), errors);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let before = old.map_or(&Value::Null, |old| &old["metadata"]["finalizers"]);
        meta::finalizer_warnings(&object["metadata"]["finalizers"], before)
    }

    fn fields(&self, object: &Value, fields: &mut Fields) {
        for (label, path) in &self.selectable {
            let value = match path.find(object).first() {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            fields.add(label.clone(), value);
        }
    }

    fn columns(&self) -> Columns<'_> {
        if self.columns.is_empty() {
            return vec![Column::NAME, Column::AGE_AS_DATE].into();
        }
        let own = self.columns.iter().map(|column| Column {
            name: &column.name,
            kind: &column.kind,
            format: &column.format,
            description: &column.description,
            priority: column.priority,
        });
        std::iter::once(Column::NAME).chain(own).collect()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let name = json!(name_of(object));
        if self.columns.is_empty() {
            return Row::new(vec![name, json!(age_of(object, now))]);
        }
        let cells = self.columns.iter().map(|column| column.cell(object, now));
        Row::new(std::iter::once(name).chain(cells).collect())
    }

    fn updates_unconditionally(&self) -> bool {
        false
    }
}
