//! One served resource: a path, a kind, and what is known about it; and all of them.

use crate::field::{Errors, FieldError};
use crate::kind::Kind;
use crate::kind::custom::Definition;
use crate::meta;
use crate::printer::Table;
use crate::served;
use jiff::Timestamp;
use knarr_schema::Schema;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A resource the API server serves.
pub struct ResourceInfo {
    /// API group, empty for core.
    pub group: String,
    /// Version within the group.
    pub version: String,
    /// Name in paths and rules: `pods`.
    pub plural: String,
    /// Name for people: `pod`.
    pub singular: String,
    /// `kind` of its objects: `Pod`.
    pub kind: String,
    /// `kind` of a list of its objects: `PodList`.
    pub list_kind: String,
    /// What people type instead: `po`.
    pub short_names: Vec<String>,
    /// Groups of resources it is in, such as `all` of `kubectl get all`.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it, in the order discovery lists them.
    pub verbs: &'static [&'static str],
    /// The paths below one of its objects.
    pub subresources: Vec<Subresource>,
    /// Where its objects are stored. Two resources that show the same objects share it.
    pub storage: String,
    /// Whether its objects are stored as this version shows them.
    pub native: bool,
    /// The type of its objects.
    pub schema: Schema,
    /// Set for custom resources.
    pub definition: Option<Arc<Definition>>,
    pub(crate) strategy: Arc<dyn Kind>,
}

/// A path below an object, such as `pods/NAME/log`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Last part of the path.
    pub name: &'static str,
    /// Group of the kind sent or answered there; empty with an empty version means the resource's own.
    pub group: &'static str,
    /// Version of that kind.
    pub version: &'static str,
    /// The kind.
    pub kind: Cow<'static, str>,
    /// What can be done there.
    pub verbs: &'static [&'static str],
}

/// A name in a group and version: the plural or the kind of a resource.
type Name<'a> = (Cow<'a, str>, Cow<'a, str>, Cow<'a, str>);

/// The resources that are served at one moment. It never changes: when a resource comes or goes, there is a new one.
#[derive(Debug)]
pub struct Registry {
    resources: Vec<Arc<ResourceInfo>>,
    by_plural: HashMap<Name<'static>, Arc<ResourceInfo>>,
    by_kind: HashMap<Name<'static>, Arc<ResourceInfo>>,
}

impl Registry {
    /// The resources every server has.
    pub fn built_in() -> Self {
        Self::new(served::built_in())
    }

    /// These resources, in the order of discovery.
    pub fn new(resources: Vec<Arc<ResourceInfo>>) -> Self {
        let name = |resource: &ResourceInfo, word: &str| -> Name<'static> {
            (
                Cow::Owned(resource.group.clone()),
                Cow::Owned(resource.version.clone()),
                Cow::Owned(word.to_owned()),
            )
        };
        let index = |word: fn(&ResourceInfo) -> &str| {
            resources
                .iter()
                .map(|resource| (name(resource, word(resource)), resource.clone()))
                .collect()
        };
        Self {
            by_plural: index(|resource| &resource.plural),
            by_kind: index(|resource| &resource.kind),
            resources,
        }
    }

    /// The resource served under `/apis/GROUP/VERSION/.../PLURAL`.
    pub fn find<'a>(&'a self, group: &'a str, version: &'a str, plural: &'a str) -> Option<&'a Arc<ResourceInfo>> {
        let names: &HashMap<Name<'a>, _> = &self.by_plural;
        names.get(&(group.into(), version.into(), plural.into()))
    }

    /// The resource whose objects have this kind.
    pub fn by_kind<'a>(&'a self, group: &'a str, version: &'a str, kind: &'a str) -> Option<&'a Arc<ResourceInfo>> {
        let names: &HashMap<Name<'a>, _> = &self.by_kind;
        names.get(&(group.into(), version.into(), kind.into()))
    }

    /// All of them, in the order of discovery.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ResourceInfo>> {
        self.resources.iter()
    }
}

impl ResourceInfo {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.clone();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// Whether `verb` is served.
    pub fn has_verb(&self, verb: &str) -> bool {
        // While a definition goes its objects can still be changed, though discovery does not say so: their finalizers have
        // to be taken away.
        self.verbs.contains(&verb) || (self.is_terminating() && matches!(verb, "patch" | "update"))
    }

    /// Whether the definition of the resource is being deleted.
    pub fn is_terminating(&self) -> bool {
        self.definition
            .as_ref()
            .is_some_and(|definition| definition.terminating)
    }

    /// The subresource `name`, if there is one.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether its objects are stored; reviews and bindings are only ever created and answered, and usage is measured when asked for.
    pub fn stored(&self) -> bool {
        !self.storage.is_empty()
    }

    /// Turns an object of this version into the stored one.
    pub fn to_storage(&self, object: &mut Value) {
        self.strategy.store(object);
    }

    /// Turns a stored object into one of this version.
    pub fn from_storage(&self, object: &mut Value) {
        self.strategy.show(object);
    }

    /// Fills in what the client left out. Idempotent.
    pub fn default(&self, object: &mut Value) {
        self.strategy.default(object);
    }

    /// Drops from an object a client sent what only the system may say, but for its identity. Idempotent.
    pub fn prepare_create(&self, object: &mut Value, namespace: &str) {
        meta::prepare_create(object, namespace, self.namespaced);
        if self.subresource("status").is_some() && !self.strategy.keeps_status_on_create() {
            crate::json::remove(object, "status");
        }
        if self.strategy.counts_generations()
            && let Some(meta) = crate::json::existing(object, "metadata")
        {
            crate::json::set(meta, "generation", 1);
        }
        self.strategy.prepare_create(object);
    }

    /// Stamps the identity of a new object, and names it if it asks for a generated name.
    pub fn identify(&self, object: &mut Value, now: Timestamp) {
        meta::identify(object, now);
        self.strategy.identify(object);
    }

    /// Makes what a client sent into the successor of `old`: a write to a subresource changes only that part, a write
    /// to the object leaves the parts of its subresources alone, and a changed spec is a new generation.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        meta::prepare_update(new, old);
        match subresource {
            Some("status") => self.strategy.prepare_status(new, old),
            None if self.subresource("status").is_some() => crate::json::keep(new, old, "status"),
            _ => {}
        }
        self.strategy.prepare_update(new, old, subresource);
        // What is reported is no wish, whatever else it may change (the Deployment controller notes a revision with it).
        if self.strategy.counts_generations() && subresource != Some("status") {
            meta::count_generation(new, old, |o| self.strategy.desired(o));
        }
    }

    /// The mistakes in a new object.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        meta::validate(object, self.namespaced, self.strategy.name_rule(), &mut errors);
        self.strategy.validate(object, &mut errors);
        errors.into_vec()
    }

    /// The mistakes in the successor of an object.
    pub fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>) -> Vec<FieldError> {
        let mut errors = Errors::new();
        meta::validate_update(new, old, &mut errors);
        self.strategy.validate_update(new, old, subresource, &mut errors);
        errors.into_vec()
    }

    /// What a client that wrote the object should know, though nothing is wrong with it.
    pub fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let before = old.map_or(&Value::Null, |old| &old["metadata"]["finalizers"]);
        let mut warnings = meta::finalizer_warnings(&object["metadata"]["finalizers"], before);
        for warning in self.strategy.warnings(object, old) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        warnings
    }

    /// The values that field selectors can ask for, of an object as this version serves it.
    pub fn fields(&self, object: &Value) -> Fields {
        let meta = &object["metadata"];
        let mut fields = Fields(Vec::new());
        fields.add("metadata.name", crate::json::text(meta, "name"));
        if self.namespaced {
            fields.add("metadata.namespace", crate::json::text(meta, "namespace"));
        }
        self.strategy.fields(object, &mut fields);
        fields
    }

    /// What `kubectl get` shows of these objects, as this version serves them, at the moment `now`.
    pub fn table(&self, objects: &[&Value], now: Timestamp) -> Table<'_> {
        Table {
            columns: self.strategy.columns(),
            rows: objects.iter().map(|object| self.strategy.row(object, now)).collect(),
        }
    }

    /// How long the object may take to go, or `None` if it goes at once: only pods linger.
    ///
    /// `requested` is `gracePeriodSeconds` of the delete options. `Some(0)` means: graceful in principle, but there is
    /// nothing to wait for.
    pub fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        self.strategy.grace_period(object, requested)
    }

    /// Notes in an object that is to be deleted, but still held, that it is going.
    pub fn mark_terminating(&self, object: &mut Value) {
        self.strategy.mark_terminating(object);
    }

    /// Whether somebody still has to clean up after the object before it may go: it has finalizers.
    pub fn is_held(&self, object: &Value) -> bool {
        !crate::json::items(&object["metadata"]["finalizers"]).is_empty() || self.strategy.is_held(object)
    }

    /// Whether what it owns outlives it, unless the client that deletes it says otherwise.
    pub fn orphans_dependents(&self) -> bool {
        self.strategy.orphans_dependents()
    }

    /// Whether a PUT to a name that is not there creates it.
    pub fn creates_on_update(&self) -> bool {
        self.strategy.creates_on_update()
    }

    /// Whether a PUT may leave out the resourceVersion it is based on.
    pub fn updates_unconditionally(&self) -> bool {
        self.strategy.updates_unconditionally()
    }
}

impl fmt::Debug for ResourceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.plural)
    }
}

impl PartialEq for ResourceInfo {
    fn eq(&self, other: &Self) -> bool {
        (&self.group, &self.version, &self.plural) == (&other.group, &other.version, &other.plural)
    }
}

impl Eq for ResourceInfo {}

/// Field labels of an object with their values, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub(crate) Vec<(Cow<'static, str>, String)>);

impl<L: Into<Cow<'static, str>>, V: Into<String>> FromIterator<(L, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (L, V)>>(fields: I) -> Self {
        let fields = fields.into_iter();
        Self(fields.map(|(label, value)| (label.into(), value.into())).collect())
    }
}

impl Fields {
    pub(crate) fn add(&mut self, label: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.0.push((label.into(), value.into()));
    }

    /// Adds the labels of another version of the same object.
    pub fn merge(&mut self, other: Fields) {
        for (label, value) in other.0 {
            if self.get(&label).is_none() {
                self.0.push((label, value));
            }
        }
    }

    /// The value of a label; `None` if the kind has no such label.
    pub fn get(&self, label: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == label).map(|(_, v)| v.as_str())
    }

    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Registry, ResourceInfo};
    use std::sync::{Arc, LazyLock};

    pub(crate) static BUILT_IN: LazyLock<Registry> = LazyLock::new(Registry::built_in);

    /// A built-in resource.
    pub(crate) fn find(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
    ) -> Option<&'static Arc<ResourceInfo>> {
        BUILT_IN.find(group, version, plural)
    }
}
