//! All the workstation knows of each kind: columns, health, describe. A kind it does not know is served by [`generic`].

mod batch;
mod brief;
mod container;
mod describe;
pub mod explain;
mod field;
mod generic;
pub mod outline;
mod page;
mod part;
mod policy;
pub mod rights;
pub mod rollout;
mod selector;
mod storage;
mod template;
pub mod usage;
mod volume;
pub mod why;
mod yaml;

/// The kinds with a file of their own: a kind is its file and its name in this list.
macro_rules! kinds {
    ($($module:ident)*) => {
        $(mod $module;)*

        static KINDS: &[&Kind] = &[$(&$module::KIND,)*];
    };
}

kinds! {
    configmap daemon_set deployment endpoint_slice endpoints event lease namespace node pod replicaset secret service
    service_account stateful_set
}

pub use self::pod::{CONTAINER_COLUMNS, ContainerRow, containers};

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::cluster::Resource;
use crate::document::Document;
use crate::store::{Cell, Column, Health, Object};
use crate::text;

/// What describe is made from.
pub struct Subject<'a> {
    /// The object.
    pub object: &'a Value,
    /// Events about it, oldest first.
    pub events: &'a [Value],
    /// Now.
    pub now: Timestamp,
    /// Zone in which times are told.
    pub zone: TimeZone,
    /// The objects that [`Kind::related`] asks for, once they are all there. What is told from them is left out until then.
    pub related: Option<&'a [Value]>,
}

/// Objects without which the description of another is incomplete: the pods of a node, the endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// API group of the resource.
    pub group: &'static str,
    /// Its plural.
    pub plural: &'static str,
    /// Namespace they are in; `None` looks in all.
    pub namespace: Option<String>,
    /// Label selector.
    pub labels: String,
    /// Field selector.
    pub fields: String,
}

impl Related {
    fn new(group: &'static str, plural: &'static str, namespace: &Value) -> Self {
        let namespace = namespace.as_str().map(str::to_owned);
        Self {
            group,
            plural,
            namespace,
            labels: String::new(),
            fields: String::new(),
        }
    }

    fn labels(self, labels: String) -> Self {
        Self { labels, ..self }
    }

    fn fields(self, fields: String) -> Self {
        Self { fields, ..self }
    }
}

/// What Enter does on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    /// Opens describe.
    Describe,
    /// Opens the pods its label selector matches (`spec.selector`).
    SelectedPods,
    /// Opens the pods on this node.
    NodePods,
    /// Opens the pods of this namespace, and makes it the current one.
    NamespacePods,
    /// Opens the containers of this pod.
    Containers,
    /// Opens the object this event is about.
    Involved,
}

/// One kind.
pub struct Kind {
    /// API group and plural this describes.
    pub group: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// Columns after NAMESPACE (added by the browser), the first being the name.
    pub columns: &'static [Column],
    /// Health, and the cells in the order of the columns.
    pub row: fn(&Object) -> (Health, Vec<Cell>),
    /// What else its description is made from.
    pub related: fn(&Value) -> Vec<Related>,
    /// The sections of `kubectl describe`, in its order.
    pub describe: fn(&Subject<'_>) -> Document,
    /// What else matters about it in a few lines, for the preview pane.
    pub summary: fn(&Subject<'_>) -> Document,
    /// What Enter does.
    pub drill: Drill,
    /// Column to sort by at first (index), and whether descending; `None` sorts by name.
    pub sort: Option<(usize, bool)>,
}

/// Every kind with a file of its own.
pub fn all() -> &'static [&'static Kind] {
    KINDS
}

/// The kind of a resource.
pub fn find(resource: &Resource) -> &'static Kind {
    KINDS
        .iter()
        .find(|kind| *kind.group == *resource.group && *kind.plural == *resource.plural)
        .copied()
        .unwrap_or(&generic::GENERIC)
}

/// The keymap scopes of an object of a resource, innermost first: its own, and that of what can be done alike with several kinds.
pub fn scopes(resource: &Resource) -> impl Iterator<Item = &'static str> + use<> {
    let own = Some(find(resource).plural).filter(|plural| !plural.is_empty());
    let class = match (&*resource.group, &*resource.plural) {
        ("apps", "deployments" | "statefulsets" | "daemonsets") => Some("workloads"),
        ("", "nodes") => Some("nodes"),
        ("batch", "jobs" | "cronjobs") => Some("jobs"),
        ("", "services") => Some("services"),
        _ => None,
    };
    own.into_iter().chain(class.filter(|class| own != Some(*class)))
}

/// Makes rows for the store.
pub fn row_maker(resource: &Resource) -> crate::store::RowMaker {
    let kind = find(resource);
    crate::store::RowMaker::new(
        kind.columns,
        std::ptr::eq(kind, &generic::GENERIC),
        Arc::new(move |object, seen| crate::store::row_of(object, seen, kind.row)),
    )
}

/// An object as YAML with roles, keys in the order people read them; `metadata.managedFields` is left out.
pub fn yaml(object: &Value) -> Document {
    match object.pointer("/metadata/managedFields") {
        None => yaml::document(object),
        Some(_) => {
            let mut object = object.clone();
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.shift_remove("managedFields");
            }
            yaml::document(&object)
        }
    }
}

/// Replaces the values of a Secret's data by their sizes, also where `kubectl apply` remembers them.
pub fn mask_secret(object: &mut Value) {
    let remembered = object
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(describe::LAST_APPLIED));
    let remembered = remembered.map(|text| {
        let mut object = text
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Value::Null);
        mask(&mut object);
        object
    });
    if let Some(masked) = remembered {
        object["metadata"]["annotations"][describe::LAST_APPLIED] = Value::String(masked.to_string());
    }
    mask(object);
}

fn mask(object: &mut Value) {
    for key in ["data", "stringData"] {
        for (_, value) in object.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten() {
            *value = Value::String(match value.as_str() {
                Some(text) if key == "data" => format!("*** ({})", text::count(decoded_len(text), "byte")),
                Some(text) => format!("*** ({})", text::count(text.len(), "byte")),
                None => "***".into(),
            });
        }
    }
}

/// Bytes that a base64 text stands for.
fn decoded_len(text: &str) -> usize {
    text.bytes()
        .filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=')
        .count()
        * 3
        / 4
}

/// The label selector of a workload's pods as a query string; empty when it has none. Labels of a Service, a map of a
/// ReplicationController and a LabelSelector are all understood.
pub fn pod_selector(object: &Value) -> String {
    selector::query(&object["spec"]["selector"])
}

#[cfg(test)]
mod tests;
