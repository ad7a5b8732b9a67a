//! Role-based access control over the roles and bindings in the store.
//!
//! Rights only add up: a request is allowed as soon as one rule of one role that is bound to the user allows it. The roles are
//! read into [`Policy`] once and again after a role or a binding has changed.

use std::sync::{Arc, PoisonError};

use knarr_resource::selector::{FieldSelector, LabelSelector};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MASTERS, UserInfo};
use crate::server::Server;
use crate::store::Store;

/// The API group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// Set for requests that name no resource.
    pub path: Option<&'a str>,
    /// Of a list or a watch, as the client sent it.
    pub field_selector: &'a str,
}

impl Attributes<'_> {
    /// Whether only objects with this value of the field are asked for.
    pub(crate) fn selects_field(&self, label: &str, value: &str) -> bool {
        let selector = FieldSelector::read(self.field_selector);
        selector.is_ok_and(|selector| selector.exact(label) == Some(value))
    }
}

/// A rule of a role.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    pub verbs: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

impl Default for Subject {
    fn default() -> Self {
        Self {
            kind: "User".into(),
            name: String::new(),
            namespace: String::new(),
        }
    }
}

struct Binding {
    /// The binding and its role, as the reason of a permission.
    reason: String,
    /// Empty for a ClusterRoleBinding.
    namespace: String,
    subjects: Vec<Subject>,
    rules: Arc<[Rule]>,
}

/// The stored roles and bindings, ready for use.
pub(crate) struct Policy {
    versions: [u64; 4],
    bindings: Vec<Binding>,
}

impl Rule {
    /// Everything on every resource.
    pub(crate) fn everything() -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Self::default()
        }
    }

    pub(crate) fn allows(&self, asked: &Attributes<'_>) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        if !has(&self.verbs, asked.verb) {
            return false;
        }
        if let Some(path) = asked.path {
            return self.urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => url == path,
            });
        }
        has(&self.api_groups, asked.group)
            && self.resources.iter().any(|resource| names(resource, asked))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name))
    }
}

/// Whether an entry of `resources` (`*`, `pods`, `pods/log`, `*/scale`) names what is asked for.
fn names(entry: &str, asked: &Attributes<'_>) -> bool {
    match (entry, entry.split_once('/')) {
        ("*", _) => true,
        (_, None) => asked.subresource.is_empty() && entry == asked.resource,
        (_, Some((resource, subresource))) => {
            (resource == "*" || resource == asked.resource) && subresource == asked.subresource
        }
    }
}

impl Subject {
    fn is(&self, user: &UserInfo, binding_namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => self.name == user.name,
            "Group" => user.in_group(&self.name),
            "ServiceAccount" => {
                let namespace = match self.namespace.as_str() {
                    "" => binding_namespace,
                    own => own,
                };
                user.service_account() == Some((namespace, &self.name))
            }
            _ => false,
        }
    }
}

impl Policy {
    fn load(server: &Server, versions: [u64; 4]) -> Self {
        let list = |plural: &str| -> Vec<Value> {
            let snapshot = server.store.list(server.slot(GROUP, plural), None);
            snapshot.objects.iter().map(|object| object.value()).collect()
        };
        let roles = list("roles");
        let cluster_roles = list("clusterroles");
        let mut bindings = Vec::new();
        for (plural, kind) in [
            ("rolebindings", "RoleBinding"),
            ("clusterrolebindings", "ClusterRoleBinding"),
        ] {
            for binding in list(plural) {
                let meta = &binding["metadata"];
                let namespace = meta["namespace"].as_str().unwrap_or_default();
                let role = binding["roleRef"]["name"].as_str().unwrap_or_default();
                let role_kind = binding["roleRef"]["kind"].as_str().unwrap_or_default();
                let rules = match role_kind {
                    "ClusterRole" => cluster_rules(&cluster_roles, role),
                    _ => roles
                        .iter()
                        .find(|found| found["metadata"]["name"] == role && found["metadata"]["namespace"] == namespace)
                        .map(own_rules)
                        .unwrap_or_default(),
                };
                let name = meta["name"].as_str().unwrap_or_default();
                let place = if namespace.is_empty() { "" } else { "/" };
                bindings.push(Binding {
                    reason: format!("RBAC: allowed by {kind} \"{name}{place}{namespace}\" of {role_kind} \"{role}\""),
                    namespace: namespace.to_owned(),
                    subjects: serde_json::from_value(binding["subjects"].clone()).unwrap_or_default(),
                    rules: rules.into(),
                });
            }
        }
        Self { versions, bindings }
    }

    /// Why the user may: by which binding.
    pub(crate) fn allowed(&self, user: &UserInfo, asked: &Attributes<'_>) -> Option<String> {
        self.bound(user, asked.namespace)
            .find(|binding| binding.rules.iter().any(|rule| rule.allows(asked)))
            .map(|binding| {
                let subject = format!(" to {} {:?}", "User", user.name);
                format!("{}{subject}", binding.reason)
            })
    }

    /// The bindings that give the user something in a namespace (empty: cluster-wide only).
    fn bound<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = &'a Binding> {
        self.bindings.iter().filter(move |binding| {
            (binding.namespace.is_empty() || binding.namespace == namespace)
                && binding
                    .subjects
                    .iter()
                    .any(|subject| subject.is(user, &binding.namespace))
        })
    }
}

/// The rules that a role itself has.
pub(crate) fn own_rules(role: &Value) -> Vec<Rule> {
    serde_json::from_value(role["rules"].clone()).unwrap_or_default()
}

/// The rules of a cluster role, with those of the roles that it aggregates by label. A controller copies these into the role
/// for its readers; looking them up here cannot lag behind.
fn cluster_rules(cluster_roles: &[Value], name: &str) -> Vec<Rule> {
    let Some(role) = cluster_roles.iter().find(|role| role["metadata"]["name"] == name) else {
        return Vec::new();
    };
    match role["aggregationRule"].is_object() {
        true => aggregated(cluster_roles, name),
        false => own_rules(role),
    }
}

/// What a role that aggregates others allows, in the order of their names.
pub(crate) fn aggregated(cluster_roles: &[Value], name: &str) -> Vec<Rule> {
    let mut seen = vec![name.to_owned()];
    let mut rules = Vec::new();
    collect(cluster_roles, name, &mut seen, &mut rules);
    rules
}

/// Aggregated roles may themselves be aggregated, even in a circle.
fn collect(cluster_roles: &[Value], name: &str, seen: &mut Vec<String>, rules: &mut Vec<Rule>) {
    let Some(role) = cluster_roles.iter().find(|role| role["metadata"]["name"] == name) else {
        return;
    };
    if !role["aggregationRule"].is_object() {
        for rule in own_rules(role) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        return;
    }
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
    for selector in selectors.into_iter().flatten().filter_map(LabelSelector::from_object) {
        for other in cluster_roles {
            let other_name = other["metadata"]["name"].as_str().unwrap_or_default();
            let selected = selector.matches(&other["metadata"]["labels"]);
            if selected && !seen.iter().any(|seen| seen == other_name) {
                seen.push(other_name.to_owned());
                collect(cluster_roles, other_name, seen, rules);
            }
        }
    }
}

/// The policy as of now.
pub(crate) fn policy(server: &Server) -> Arc<Policy> {
    let store: &Store = &server.store;
    let versions = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"]
        .map(|plural| store.table_version(server.slot(GROUP, plural)));
    let mut cached = server.policy.lock().unwrap_or_else(PoisonError::into_inner);
    match &*cached {
        Some(policy) if policy.versions == versions => policy.clone(),
        _ => {
            let policy = Arc::new(Policy::load(server, versions));
            *cached = Some(policy.clone());
            policy
        }
    }
}

/// The rules that hold for a user in a namespace.
pub(crate) fn rules(server: &Server, user: &UserInfo, namespace: &str) -> Vec<Rule> {
    if user.in_group(MASTERS) {
        let all = || vec!["*".to_owned()];
        return vec![
            Rule::everything(),
            Rule {
                verbs: all(),
                urls: all(),
                ..Rule::default()
            },
        ];
    }
    let policy = policy(server);
    policy
        .bound(user, namespace)
        .flat_map(|binding| binding.rules.iter().cloned())
        .collect()
}

/// What a role allows; none if there is no such role.
pub(crate) fn rules_of(server: &Server, plural: &str, namespace: &str, name: &str) -> Option<Vec<Rule>> {
    if plural == "roles" {
        return server.find(GROUP, plural, namespace, name).map(|role| own_rules(&role));
    }
    server.find(GROUP, plural, "", name)?;
    let snapshot = server.store.list(server.slot(GROUP, plural), None);
    let roles: Vec<Value> = snapshot.objects.iter().map(|object| object.value()).collect();
    Some(cluster_rules(&roles, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(verb: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Attributes<'a> {
        Attributes {
            verb,
            group: "",
            resource,
            subresource,
            namespace: "a",
            name,
            ..Attributes::default()
        }
    }

    fn rule(resources: &[&str], names: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Rule {
            verbs: own(&["get"]),
            api_groups: own(&[""]),
            resources: own(resources),
            resource_names: own(names),
            urls: Vec::new(),
        }
    }

    #[test]
    fn a_rule_names_subresources_apart() {
        assert!(rule(&["pods"], &[]).allows(&asked("get", "pods", "", "x")));
        assert!(!rule(&["pods"], &[]).allows(&asked("get", "pods", "log", "x")));
        assert!(rule(&["pods/log"], &[]).allows(&asked("get", "pods", "log", "x")));
        assert!(rule(&["*/scale"], &[]).allows(&asked("get", "deployments", "scale", "x")));
        assert!(rule(&["*"], &[]).allows(&asked("get", "pods", "log", "x")));
        assert!(!rule(&["pods"], &[]).allows(&asked("list", "pods", "", "")));
    }

    #[test]
    fn a_rule_with_names_gives_nothing_on_collections() {
        let rule = rule(&["pods"], &["x"]);
        assert!(rule.allows(&asked("get", "pods", "", "x")));
        assert!(!rule.allows(&asked("get", "pods", "", "y")));
        assert!(!rule.allows(&asked("get", "pods", "", "")));
    }
}
