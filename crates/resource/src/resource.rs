//! One served resource: a path, a kind, and what is known about it.

use crate::field::{Errors, FieldError};
use crate::kind::Kind;
use crate::meta::{self, Context};
use crate::printer::Table;
use crate::served::RESOURCES;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt;

/// A resource the API server serves. All of them are in [`RESOURCES`].
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Name in paths and rules: `pods`.
    pub plural: &'static str,
    /// Name for people: `pod`.
    pub singular: &'static str,
    /// `kind` of its objects: `Pod`.
    pub kind: &'static str,
    /// What people type instead: `po`.
    pub short_names: &'static [&'static str],
    /// Groups of resources it is in, such as `all` of `kubectl get all`.
    pub categories: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it, in the order discovery lists them.
    pub verbs: &'static [&'static str],
    /// The paths below one of its objects.
    pub subresources: &'static [Subresource],
    /// Where its objects are stored. Two resources that show the same objects share it.
    pub storage: &'static str,
    pub(crate) logic: &'static dyn Kind,
}

/// A path below an object, such as `pods/NAME/log`.
#[derive(Debug)]
pub struct Subresource {
    /// Last part of the path.
    pub name: &'static str,
    /// Group of the kind sent or answered there; empty with an empty version means the resource's own.
    pub group: &'static str,
    /// Version of that kind.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// What can be done there.
    pub verbs: &'static [&'static str],
}

/// The resource served under `/apis/GROUP/VERSION/.../PLURAL`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The resource whose objects have this kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|r| r.group == group && r.version == version && r.kind == kind)
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.to_owned();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// Kind of a list of its objects.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// Whether `verb` is served.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource `name`, if there is one.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether its objects are stored; reviews and bindings are only ever created and answered.
    pub fn stored(&self) -> bool {
        self.has_verb("get")
    }

    /// Turns an object of this version into the stored one.
    pub fn to_storage(&self, object: &mut Value) {
        self.logic.store(object);
    }

    /// Turns a stored object into one of this version.
    pub fn from_storage(&self, object: &mut Value) {
        self.logic.show(object);
    }

    /// Fills in what the client left out. Idempotent.
    pub fn default(&self, object: &mut Value) {
        self.logic.default(object);
    }

    /// Makes an object a client sent into one that may be stored as new: stamps identity, names it if it asks for a
    /// generated name, and drops what only the system may say.
    pub fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        meta::prepare_create(object, context, self.namespaced);
        if self.subresource("status").is_some() && !self.logic.keeps_status_on_create() {
            crate::json::remove(object, "status");
        }
        if self.logic.counts_generations()
            && let Some(meta) = crate::json::existing(object, "metadata")
        {
            crate::json::set(meta, "generation", 1);
        }
        self.logic.prepare_create(object);
    }

    /// Makes what a client sent into the successor of `old`: a write to a subresource changes only that part, a write
    /// to the object leaves the parts of its subresources alone, and a changed spec is a new generation.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        meta::prepare_update(new, old);
        match subresource {
            Some("status") => self.logic.prepare_status(new, old),
            None if self.subresource("status").is_some() => crate::json::keep(new, old, "status"),
            _ => {}
        }
        self.logic.prepare_update(new, old, subresource);
        // What is reported is no wish, whatever else it may change (the Deployment controller notes a revision with it).
        if self.logic.counts_generations() && subresource != Some("status") {
            meta::count_generation(new, old, |o| self.logic.desired(o));
        }
    }

    /// The mistakes in a new object.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        meta::validate(object, self.namespaced, self.logic.name_rule(), &mut errors);
        self.logic.validate(object, &mut errors);
        errors.into_vec()
    }

    /// The mistakes in the successor of an object.
    pub fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>) -> Vec<FieldError> {
        let mut errors = Errors::new();
        meta::validate_update(new, old, &mut errors);
        self.logic.validate_update(new, old, subresource, &mut errors);
        errors.into_vec()
    }

    /// The values that field selectors can ask for, of an object as this version serves it.
    pub fn fields(&self, object: &Value) -> Fields {
        let meta = &object["metadata"];
        let mut fields = Fields(Vec::new());
        fields.add("metadata.name", crate::json::text(meta, "name"));
        if self.namespaced {
            fields.add("metadata.namespace", crate::json::text(meta, "namespace"));
        }
        self.logic.fields(object, &mut fields);
        fields
    }

    /// What `kubectl get` shows of these objects, as this version serves them, at the moment `now`.
    pub fn table(&self, objects: &[&Value], now: Timestamp) -> Table {
        Table {
            columns: self.logic.columns(),
            rows: objects.iter().map(|object| self.logic.row(object, now)).collect(),
        }
    }

    /// How long the object may take to go, or `None` if it goes at once: only pods linger.
    ///
    /// `requested` is `gracePeriodSeconds` of the delete options. `Some(0)` means: graceful in principle, but there is
    /// nothing to wait for.
    pub fn grace_period(&self, object: &Value, requested: Option<i64>) -> Option<i64> {
        self.logic.grace_period(object, requested)
    }

    /// Notes in an object that is to be deleted, but still held, that it is going.
    pub fn mark_terminating(&self, object: &mut Value) {
        self.logic.mark_terminating(object);
    }

    /// Whether somebody still has to clean up after the object before it may go: it has finalizers.
    pub fn is_held(&self, object: &Value) -> bool {
        !crate::json::items(&object["metadata"]["finalizers"]).is_empty() || self.logic.is_held(object)
    }

    /// Whether a PUT to a name that is not there creates it.
    pub fn creates_on_update(&self) -> bool {
        self.logic.creates_on_update()
    }

    /// Whether a PUT may leave out the resourceVersion it is based on.
    pub fn updates_unconditionally(&self) -> bool {
        self.logic.updates_unconditionally()
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.plural)
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.version, self.plural) == (other.group, other.version, other.plural)
    }
}

impl Eq for Resource {}

/// Field labels of an object with their values, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub(crate) Vec<(&'static str, String)>);

impl Fields {
    pub(crate) fn add(&mut self, label: &'static str, value: impl Into<String>) {
        self.0.push((label, value.into()));
    }

    /// The value of a label; `None` if the kind has no such label.
    pub fn get(&self, label: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == label).map(|(_, v)| v.as_str())
    }

    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().map(|(name, _)| *name)
    }
}
