//! Nobody may give away more than they have.
//!
//! Without this, the right to create roles in one namespace would be the right to everything in it. Whoever writes a role must
//! hold all that its rules allow (or the verb `escalate` on it), and whoever binds one must hold what it allows (or the verb
//! `bind`).

use knarr_resource::{ResourceInfo, Status};
use serde_json::Value;

use super::authorizer::allowed;
use super::rbac::{self, Attributes, GROUP, Rule};
use super::{MASTERS, UserInfo};
use crate::object::name_of;
use crate::server::Server;

/// Checks a role or binding that is about to be stored; other objects pass.
pub(crate) fn check(
    server: &Server,
    user: &UserInfo,
    resource: &ResourceInfo,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if resource.group != GROUP || user.in_group(MASTERS) {
        return Ok(());
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let same = |keys: &[&str]| old.is_some_and(|old| keys.iter().all(|key| old[*key] == object[*key]));
    let may = |verb: &str, resource: &str, name: &str| {
        let attributes = Attributes {
            verb,
            group: GROUP,
            resource,
            namespace,
            name,
            ..Attributes::default()
        };
        allowed(server, user, &attributes)
    };
    let granted = match resource.plural.as_str() {
        "roles" | "clusterroles" => {
            if same(&["rules", "aggregationRule"]) || may("escalate", &resource.plural, name_of(object)) {
                return Ok(());
            }
            let mut granted = rbac::own_rules(object);
            // What an aggregated role will allow one day nobody knows.
            if object["aggregationRule"].is_object() {
                granted.push(Rule::everything());
            }
            granted
        }
        _ => {
            let (role, kind) = (
                &object["roleRef"],
                object["roleRef"]["kind"].as_str().unwrap_or_default(),
            );
            let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
            let name = role["name"].as_str().unwrap_or_default();
            if same(&["roleRef", "subjects"]) || may("bind", plural, name) {
                return Ok(());
            }
            rbac::rules_of(server, plural, namespace, name).ok_or_else(|| {
                match server.resource(GROUP, "v1", plural) {
                    Some(roles) => Status::not_found(&roles, name),
                    None => crate::refusal::unknown_path(),
                }
            })?
        }
    };
    let held = rbac::rules(server, user, namespace);
    let missing: Vec<String> = granted.iter().flat_map(|rule| uncovered(&held, rule)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        missing.join("\n")
    );
    Err(Status::forbidden(resource, name_of(object), &why))
}

/// The parts of a rule that no held rule covers, as Kubernetes prints them.
fn uncovered(held: &[Rule], rule: &Rule) -> Vec<String> {
    let mut missing = Vec::new();
    let list = |items: &[&String]| {
        let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        format!("[{}]", items.join(" "))
    };
    for url in &rule.urls {
        let covers = |own: &Rule, verb: &str| {
            has(&own.verbs, verb)
                && own.urls.iter().any(|own| match own.strip_suffix('*') {
                    Some(prefix) => url.starts_with(prefix),
                    None => own == url,
                })
        };
        let verbs: Vec<&String> = rule
            .verbs
            .iter()
            .filter(|verb| !held.iter().any(|own| covers(own, verb)))
            .collect();
        if !verbs.is_empty() {
            missing.push(format!("{{NonResourceURLs:[{url:?}], Verbs:{}}}", list(&verbs)));
        }
    }
    // A rule without names is about every name; it is covered only by one without names.
    let names: Vec<Option<&String>> = match rule.resource_names.as_slice() {
        [] => vec![None],
        names => names.iter().map(Some).collect(),
    };
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for name in &names {
                let covers = |own: &Rule, verb: &str| {
                    has(&own.verbs, verb)
                        && has(&own.api_groups, group)
                        && own.resources.iter().any(|own| covers_resource(own, resource))
                        && (own.resource_names.is_empty() || name.is_some_and(|name| own.resource_names.contains(name)))
                };
                let verbs: Vec<&String> = rule
                    .verbs
                    .iter()
                    .filter(|verb| !held.iter().any(|own| covers(own, verb)))
                    .collect();
                if verbs.is_empty() {
                    continue;
                }
                let named = name.map_or(String::new(), |name| format!(", ResourceNames:[{name:?}]"));
                let verbs = list(&verbs);
                missing.push(format!(
                    "{{APIGroups:[{group:?}], Resources:[{resource:?}]{named}, Verbs:{verbs}}}"
                ));
            }
        }
    }
    missing
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn covers_resource(own: &str, wanted: &str) -> bool {
    own == "*"
        || own == wanted
        || own
            .strip_prefix("*/")
            .is_some_and(|subresource| wanted.split_once('/').is_some_and(|(_, wanted)| wanted == subresource))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Rule {
            verbs: own(verbs),
            api_groups: own(&[""]),
            resources: own(resources),
            resource_names: own(names),
            urls: Vec::new(),
        }
    }

    #[test]
    fn several_rules_together_cover_one() {
        let held = [
            rule(&["get", "list"], &["pods"], &[]),
            rule(&["*"], &["*/log"], &[]),
            rule(&["get"], &["secrets"], &["mine"]),
        ];
        for (wanted, missing) in [
            (rule(&["list", "get"], &["pods", "pods/log"], &[]), 0),
            (rule(&["get"], &["pods"], &["a"]), 0),
            (rule(&["get"], &["secrets"], &["mine"]), 0),
            (rule(&["get"], &["secrets"], &[]), 1),
            (rule(&["*"], &["pods"], &[]), 1),
            (rule(&["get"], &["*"], &[]), 1),
            (rule(&["delete"], &["pods", "secrets"], &[]), 2),
        ] {
            assert_eq!(uncovered(&held, &wanted).len(), missing, "{wanted:?}");
        }
        assert_eq!(
            uncovered(&held, &rule(&["get", "watch"], &["pods"], &[])),
            [r#"{APIGroups:[""], Resources:["pods"], Verbs:["watch"]}"#]
        );
    }
}
