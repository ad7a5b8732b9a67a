//! What a cluster serves: its resources, found by any of their names.

use std::sync::Arc;

/// One resource of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Resource {
    /// API group; empty for core.
    pub group: Arc<str>,
    /// Version: `v1`.
    pub version: Arc<str>,
    /// Plural, lower case: the path segment.
    pub plural: Arc<str>,
    /// Singular, lower case.
    pub singular: Arc<str>,
    /// Kind.
    pub kind: Arc<str>,
    /// Short names: `po`.
    pub short_names: Vec<Arc<str>>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs the server offers.
    pub verbs: Vec<Arc<str>>,
    /// Names of subresources: `scale`, `log`.
    pub subresources: Vec<Arc<str>>,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `deployments.apps`.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.to_string() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Path of the collection, in `namespace` or in all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => {
                format!("{root}/namespaces/{}/{}", super::request::encode(namespace), self.plural)
            }
            None => format!("{root}/{}", self.plural),
        }
    }

    /// Path of one object.
    pub fn object_path(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.path(namespace), super::request::encode(name))
    }

    /// Whether the server offers `verb`.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| &**known == verb)
    }

    /// Whether objects have the subresource.
    pub fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|known| &**known == subresource)
    }

    fn answers_to(&self, name: &str) -> bool {
        *self.plural == *name
            || *self.singular == *name
            || self.kind.eq_ignore_ascii_case(name)
            || self.short_names.iter().any(|short| **short == *name)
    }
}

/// All resources of a cluster, in the server's order of preference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// Server version as `gitVersion`: `v1.37.0`.
    pub version: String,
    /// Every resource in its preferred version.
    pub resources: Vec<Arc<Resource>>,
}

impl Discovery {
    /// Finds a resource by plural, singular, Kind or short name, with or without `.group` or `.version.group`.
    pub fn find(&self, name: &str) -> Option<&Arc<Resource>> {
        let lower = name.to_lowercase();
        self.resources.iter().find(|resource| resource.answers_to(&lower)).or_else(|| {
            let (name, group) = lower.split_once('.')?;
            self.resources.iter().find(|resource| {
                resource.answers_to(name)
                    && (*resource.group == *group || format!("{}.{}", resource.version, resource.group) == group)
            })
        })
    }

    /// Finds a resource by apiVersion and kind.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources.iter().find(|resource| *resource.kind == *kind && resource.api_version() == api_version)
    }
}
