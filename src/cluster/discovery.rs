//! What a cluster serves: its resources, found by any of their names.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One resource of a cluster. What it is called tells it from others; what else a cluster says of it may change.
#[derive(Clone, Debug, Default)]
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

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl Resource {
    fn identity(&self) -> (&str, &str, &str) {
        (&self.group, &self.version, &self.plural)
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `deployments.apps`.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
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
                format!(
                    "{root}/namespaces/{}/{}",
                    super::request::encode(namespace),
                    self.plural
                )
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

    /// Whether `name` is its plural, singular, Kind or short name, with or without `.group`.
    pub fn is_called(&self, name: &str) -> bool {
        let short = match &*self.group {
            "" => name,
            group => name
                .strip_suffix(group)
                .and_then(|rest| rest.strip_suffix('.'))
                .unwrap_or(name),
        };
        self.answers_to(short)
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
        self.resources
            .iter()
            .find(|resource| resource.answers_to(&lower))
            .or_else(|| {
                let (name, group) = lower.split_once('.')?;
                self.resources.iter().find(|resource| {
                    resource.answers_to(name)
                        && (*resource.group == *group || format!("{}.{}", resource.version, resource.group) == group)
                })
            })
    }

    /// The same resource as another cluster's, in whatever version it is served here.
    pub fn like(&self, other: &Resource) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|resource| resource.group == other.group && resource.plural == other.plural)
    }

    /// Finds a resource by apiVersion and kind.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .find(|resource| *resource.kind == *kind && resource.api_version() == api_version)
    }
}

type BuiltIn = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    bool,
);

/// Kinds every cluster has: known before the cluster has answered, so that the first frame can show a table.
/// Columns: group, version, plural, kind, short names, namespaced.
const BUILT_IN: &[BuiltIn] = &[
    ("", "v1", "pods", "Pod", &["po"], true),
    ("", "v1", "namespaces", "Namespace", &["ns"], false),
    ("", "v1", "nodes", "Node", &["no"], false),
    ("", "v1", "events", "Event", &["ev"], true),
    ("", "v1", "services", "Service", &["svc"], true),
    ("", "v1", "configmaps", "ConfigMap", &["cm"], true),
    ("", "v1", "secrets", "Secret", &[], true),
    ("", "v1", "serviceaccounts", "ServiceAccount", &["sa"], true),
    ("apps", "v1", "deployments", "Deployment", &["deploy"], true),
    ("apps", "v1", "replicasets", "ReplicaSet", &["rs"], true),
];

impl Discovery {
    /// What every cluster has.
    pub fn built_in() -> Self {
        let resource = |(group, version, plural, kind, short, namespaced): &BuiltIn| {
            Arc::new(Resource {
                group: (*group).into(),
                version: (*version).into(),
                plural: (*plural).into(),
                singular: kind.to_lowercase().into(),
                kind: (*kind).into(),
                short_names: short.iter().map(|name| (*name).into()).collect(),
                namespaced: *namespaced,
                verbs: ["get", "list", "watch", "create", "update", "patch", "delete"]
                    .map(Into::into)
                    .into(),
                subresources: Vec::new(),
            })
        };
        Self {
            version: String::new(),
            resources: BUILT_IN.iter().map(resource).collect(),
        }
    }

    /// Asks a cluster what it serves: aggregated discovery where it is offered, else group by group.
    ///
    /// # Errors
    ///
    /// Fails when the server does not answer or refuses; a single group that fails (a broken aggregated API) is left out.
    pub(super) async fn fetch(link: &super::Link) -> crate::error::Result<Self> {
        let version: Version = link.get_json("/version", ACCEPT_JSON).await?;
        let mut resources = Vec::new();
        for root in ["/api", "/apis"] {
            let answer: serde_json::Value = link.get_json(root, ACCEPT_AGGREGATED).await?;
            if answer["kind"] == "APIGroupDiscoveryList" {
                resources.extend(aggregated(&answer));
                continue;
            }
            let versions: Vec<(String, String)> = match root {
                "/api" => vec![(String::new(), "v1".into())],
                _ => answer["groups"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|group| {
                        let name = group["name"].as_str()?.to_owned();
                        Some((name, group.pointer("/preferredVersion/version")?.as_str()?.to_owned()))
                    })
                    .collect(),
            };
            for (group, version) in versions {
                let path = if group.is_empty() {
                    format!("/api/{version}")
                } else {
                    format!("/apis/{group}/{version}")
                };
                match link.get_json::<serde_json::Value>(&path, ACCEPT_JSON).await {
                    Ok(list) => resources.extend(legacy(&group, &version, &list)),
                    Err(error) => tracing::warn!(%error, group, "discovery of a group failed"),
                }
            }
        }
        Ok(Self {
            version: version.git_version,
            resources,
        })
    }
}

const ACCEPT_JSON: &str = "application/json";
const ACCEPT_AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[derive(serde::Deserialize)]
struct Version {
    #[serde(rename = "gitVersion", default)]
    git_version: String,
}

fn words(value: &serde_json::Value) -> Vec<Arc<str>> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|word| word.as_str())
        .map(Into::into)
        .collect()
}

fn text(value: &serde_json::Value) -> Arc<str> {
    value.as_str().unwrap_or_default().into()
}

/// The preferred (first) version of each group that has the resource.
fn aggregated(list: &serde_json::Value) -> Vec<Arc<Resource>> {
    let mut found: Vec<Arc<Resource>> = Vec::new();
    for group in list["items"].as_array().into_iter().flatten() {
        let name = text(&group["metadata"]["name"]);
        for version in group["versions"].as_array().into_iter().flatten() {
            for resource in version["resources"].as_array().into_iter().flatten() {
                let plural = text(&resource["resource"]);
                if found.iter().any(|known| known.group == name && known.plural == plural) {
                    continue;
                }
                let subresources = resource["subresources"].as_array().into_iter().flatten();
                found.push(Arc::new(Resource {
                    group: name.clone(),
                    version: text(&version["version"]),
                    plural,
                    singular: text(&resource["singularResource"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    short_names: words(&resource["shortNames"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: words(&resource["verbs"]),
                    subresources: subresources.map(|sub| text(&sub["subresource"])).collect(),
                }));
            }
        }
    }
    found
}

fn legacy(group: &str, version: &str, list: &serde_json::Value) -> Vec<Arc<Resource>> {
    let entries: Vec<&serde_json::Value> = list["resources"].as_array().into_iter().flatten().collect();
    let plain = entries
        .iter()
        .filter(|entry| entry["name"].as_str().is_some_and(|name| !name.contains('/')));
    plain
        .map(|entry| {
            let name = text(&entry["name"]);
            let prefix = format!("{name}/");
            let subresources = entries
                .iter()
                .filter_map(|other| other["name"].as_str()?.strip_prefix(&prefix))
                .map(Into::into)
                .collect();
            let kind = text(&entry["kind"]);
            let singular = Some(text(&entry["singularName"])).filter(|singular| !singular.is_empty());
            Arc::new(Resource {
                group: group.into(),
                version: version.into(),
                plural: name,
                singular: singular.unwrap_or_else(|| kind.to_lowercase().into()),
                kind,
                short_names: words(&entry["shortNames"]),
                namespaced: entry["namespaced"] == true,
                verbs: words(&entry["verbs"]),
                subresources,
            })
        })
        .collect()
}
