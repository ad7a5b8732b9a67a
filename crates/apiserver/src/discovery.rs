//! Discovery: what is served, in the old form (a document per group and version) and the aggregated one.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use knarr_resource::{Registry, ResourceInfo, Subresource, custom};
use knarr_schema::openapi::{Served, ServedSubresource};
use serde_json::{Value, json};

use crate::aggregator::{self, Remotes};
use crate::http::accept::{self, Clause};

/// The documents of one set of served resources.
pub(crate) struct Discovery {
    registry: Arc<Registry>,
    remotes: Remotes,
    /// Versions of each group, in the order of preference.
    groups: Vec<(String, Vec<String>)>,
}

/// A version of a group, with its priority.
type Version = (String, i64);

impl Discovery {
    pub(crate) fn new(registry: Arc<Registry>, remotes: Remotes) -> Self {
        // Of each group version: its priority, and that of its group.
        let own = registry.iter().map(|resource| {
            let priority = if resource.definition.is_some() { 1000 } else { 17000 };
            (&resource.group, &resource.version, priority, 0)
        });
        let others = remotes.iter().map(|remote| {
            let (group, version) = (remote.group_priority, remote.version_priority);
            (&remote.group, &remote.version, group, version)
        });
        let mut groups: Vec<(String, i64, Vec<Version>)> = Vec::new();
        for (group, version, group_priority, version_priority) in own.chain(others) {
            let at = match groups.iter().position(|(known, ..)| known == group) {
                Some(at) => at,
                None => {
                    groups.push((group.clone(), group_priority, Vec::new()));
                    groups.len() - 1
                }
            };
            let (_, priority, versions) = &mut groups[at];
            *priority = group_priority.max(*priority);
            if !versions.iter().any(|(known, _)| known == version) {
                versions.push((version.clone(), version_priority));
            }
        }
        groups.sort_by_key(|(_, priority, _)| Reverse(*priority));
        let groups = groups.into_iter().map(|(group, _, mut versions)| {
            versions.sort_by_key(|(version, priority)| {
                (Reverse(*priority), Reverse(custom::priority(version)), version.clone())
            });
            (group, versions.into_iter().map(|(version, _)| version).collect())
        });
        Self {
            groups: groups.collect(),
            registry,
            remotes,
        }
    }

    /// `/api`: the versions of the core group.
    pub(crate) fn core(&self, address: &str) -> Value {
        json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        })
    }

    /// `/apis`: the other groups.
    pub(crate) fn group_list(&self) -> Value {
        let groups: Vec<Value> = self
            .named()
            .map(|(group, versions)| describe(group, versions))
            .collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// `/apis/G`.
    pub(crate) fn group(&self, name: &str) -> Option<Value> {
        let (group, versions) = self.named().find(|(group, _)| *group == name)?;
        let mut out = json!({"kind": "APIGroup", "apiVersion": "v1"});
        if let (Some(out), Value::Object(more)) = (out.as_object_mut(), describe(group, versions)) {
            out.extend(more);
        }
        Some(out)
    }

    /// `/api/V` and `/apis/G/V`.
    pub(crate) fn version(&self, group: &str, version: &str) -> Option<Value> {
        let mut resources = Vec::new();
        for resource in self.of(group, version) {
            resources.push(entry(resource));
            resources.extend(resource.subresources.iter().map(|sub| sub_entry(resource, sub)));
        }
        if resources.is_empty() {
            return None;
        }
        let group_version = join(group, version);
        let mut out = json!({"kind": "APIResourceList"});
        if !group.is_empty() {
            out["apiVersion"] = json!("v1");
        }
        out["groupVersion"] = json!(group_version);
        out["resources"] = resources.into();
        Some(out)
    }

    fn of<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Arc<ResourceInfo>> {
        self.registry
            .iter()
            .filter(move |own| own.group == group && own.version == version)
    }

    fn named(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.groups
            .iter()
            .filter(|(group, _)| !group.is_empty())
            .map(|(group, versions)| (group.as_str(), versions.as_slice()))
    }

    /// Everything under `/api` or `/apis` in one document.
    pub(crate) fn aggregated(&self, core: bool, version: &str) -> Value {
        let items: Vec<Value> = self
            .groups
            .iter()
            .filter(|(group, _)| group.is_empty() == core)
            .map(|(group, versions)| {
                let versions: Vec<Value> = versions
                    .iter()
                    .map(|version| self.aggregated_version(group, version))
                    .collect();
                let metadata = match core {
                    true => json!({}),
                    false => json!({"name": group}),
                };
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({
            "kind": "APIGroupDiscoveryList",
            "apiVersion": format!("apidiscovery.k8s.io/{version}"),
            "metadata": {},
            "items": items,
        })
    }

    fn aggregated_version(&self, group: &str, version: &str) -> Value {
        if let Some(remote) = aggregator::find(&self.remotes, group, version) {
            return remote.discovered();
        }
        let resources: Vec<Value> = self
            .of(group, version)
            .map(|resource| {
                let own = json!({"group": group, "version": version, "kind": resource.kind});
                let mut out = json!({
                    "resource": resource.plural,
                    "responseKind": own,
                    "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
                    "singularResource": resource.singular,
                    "verbs": resource.verbs,
                });
                if !resource.short_names.is_empty() {
                    out["shortNames"] = json!(resource.short_names);
                }
                if !resource.categories.is_empty() {
                    out["categories"] = json!(resource.categories);
                }
                if !resource.subresources.is_empty() {
                    let subs: Vec<Value> = resource
                        .subresources
                        .iter()
                        .map(|sub| {
                            let (group, version) = match sub.version {
                                "" => (group, version),
                                own => (sub.group, own),
                            };
                            json!({
                                "subresource": sub.name,
                                "responseKind": {"group": group, "version": version, "kind": sub.kind},
                                "verbs": sub.verbs,
                            })
                        })
                        .collect();
                    out["subresources"] = subs.into();
                }
                out
            })
            .collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    }
}

fn join(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

fn describe(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": join(group, version), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions[0]})
}

fn entry(resource: &ResourceInfo) -> Value {
    let mut out = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        out["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        out["categories"] = json!(resource.categories);
    }
    if resource.stored() {
        // Clients compare this to notice that objects are stored in another version than before.
        let version = match &resource.definition {
            Some(definition) => &definition.storage_version,
            None => &resource.version,
        };
        let stored = format!("{}/{version}/{}", resource.group, resource.kind);
        let storage = ring::digest::digest(&ring::digest::SHA256, stored.as_bytes());
        out["storageVersionHash"] = json!(base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            storage.as_ref().get(..8).unwrap_or_default()
        ));
    }
    out
}

fn sub_entry(resource: &ResourceInfo, sub: &Subresource) -> Value {
    let mut out = json!({
        "name": format!("{}/{}", resource.plural, sub.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": sub.verbs,
    });
    if !sub.version.is_empty() {
        out["group"] = json!(sub.group);
        out["version"] = json!(sub.version);
    }
    out
}

/// The version of the aggregated form that the client prefers to the old form. Answering one that was not asked for breaks
/// clients that know only the other.
pub(crate) fn aggregation(headers: &HeaderMap) -> Option<&'static str> {
    for clause in accept::clauses(headers) {
        if !matches!(clause.media, "application/json" | "application/*" | "*/*") {
            continue;
        }
        match wanted(&clause) {
            Some(Some(version)) => return Some(version),
            Some(None) => {}
            None => return None,
        }
    }
    None
}

/// None: the old form. Some(None): something unknown.
fn wanted(clause: &Clause<'_>) -> Option<Option<&'static str>> {
    let kind = clause.param("as")?;
    Some(match (clause.param("g"), clause.param("v"), kind) {
        (Some("apidiscovery.k8s.io"), Some("v2"), "APIGroupDiscoveryList") => Some("v2"),
        (Some("apidiscovery.k8s.io"), Some("v2beta1"), "APIGroupDiscoveryList") => Some("v2beta1"),
        _ => None,
    })
}

/// An aggregated document as a response, or 304 for a client that has it.
pub(crate) fn respond(document: &Value, version: &str, headers: &HeaderMap) -> Response<Body> {
    let text = document.to_string();
    let digest = ring::digest::digest(&ring::digest::SHA512, text.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let tag = format!("\"{digest}\"");
    let mut response = Response::default();
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|sent| sent == tag.as_str())
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(text);
        let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
        if let Ok(media) = HeaderValue::from_str(&media) {
            response.headers_mut().insert(header::CONTENT_TYPE, media);
        }
    }
    let out = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    out.insert(header::VARY, HeaderValue::from_static("Accept"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

/// The served resources as the OpenAPI documents want to know them.
pub(crate) fn served(registry: &Registry) -> Vec<Served> {
    registry
        .iter()
        .map(|resource| Served {
            group: resource.group.clone(),
            version: resource.version.clone(),
            plural: resource.plural.clone(),
            kind: resource.kind.clone(),
            namespaced: resource.namespaced,
            verbs: resource.verbs.iter().map(|verb| (*verb).into()).collect(),
            subresources: resource
                .subresources
                .iter()
                .map(|sub| {
                    let own = sub.version.is_empty();
                    ServedSubresource {
                        name: sub.name.into(),
                        group: if own { &resource.group } else { sub.group }.to_owned(),
                        version: if own { &resource.version } else { sub.version }.to_owned(),
                        kind: sub.kind.to_string(),
                        verbs: sub.verbs.iter().map(|verb| (*verb).into()).collect(),
                    }
                })
                .collect(),
            schema: resource.definition.as_ref().map(|definition| definition.schema.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        aggregation(&headers)
    }

    #[test]
    fn only_a_version_that_was_asked_for_is_answered() {
        let new = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert_eq!(asked(&format!("{new},{old},application/json")), Some("v2"));
        assert_eq!(asked(&format!("{old},application/json")), Some("v2beta1"));
        assert_eq!(asked(&format!("application/json,{new}")), None);
        assert_eq!(asked(&format!("{new};q=0.1,application/json")), None);
        assert_eq!(asked("*/*"), None);
        assert_eq!(
            asked("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json"),
            None
        );
        assert_eq!(aggregation(&HeaderMap::new()), None);
    }

    #[test]
    fn stable_versions_are_preferred() {
        let mut versions = ["foo", "v1alpha1", "v1", "v2beta2", "v2", "v2beta1"];
        versions.sort_by_key(|version| std::cmp::Reverse(custom::priority(version)));
        assert_eq!(versions, ["v2", "v1", "v2beta2", "v2beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn every_served_version_has_a_document() {
        let registry = Arc::new(Registry::built_in());
        let discovery = Discovery::new(registry.clone(), Remotes::new());
        for resource in registry.iter() {
            let document = discovery.version(&resource.group, &resource.version).unwrap();
            let names: Vec<_> = document["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|own| &own["name"])
                .collect();
            assert!(names.contains(&&json!(resource.plural)), "{resource:?}");
        }
        assert_eq!(discovery.version("extensions", "v1beta1"), None);
    }
}
