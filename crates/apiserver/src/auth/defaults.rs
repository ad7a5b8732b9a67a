//! The roles and bindings every cluster starts with, from the table in `policy.txt`.

use serde_json::{Value, json};

const POLICY: &str = include_str!("policy.txt");
const GROUP: &str = "rbac.authorization.k8s.io";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// An object of the policy, with the plural of its resource and its namespace.
pub(crate) struct Default {
    pub plural: &'static str,
    pub namespace: &'static str,
    pub object: Value,
}

/// All of them, roles before the bindings that name them.
pub(crate) fn policy() -> Vec<Default> {
    let mut objects: Vec<Default> = Vec::new();
    for line in POLICY.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(rule) = line.strip_prefix("  ") {
            if let (Some(role), Some(rule)) = (objects.last_mut(), parse_rule(rule)) {
                match role.object["rules"].as_array_mut() {
                    Some(rules) => rules.push(rule),
                    None => role.object["rules"] = json!([rule]),
                }
            }
        } else {
            objects.extend(parse_object(line));
        }
    }
    objects
}

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    })
}

fn parse_object(line: &'static str) -> Option<Default> {
    let mut words = line.split_whitespace();
    let (kind, name) = (words.next()?, words.next()?);
    let (namespace, own) = match kind {
        "role" | "rolebinding" => name.split_once('/')?,
        _ => ("", name),
    };
    let mut object = json!({"metadata": metadata(own)});
    let plural = match kind {
        "clusterrole" => {
            for word in words {
                if let Some(role) = word.strip_prefix('+') {
                    object["metadata"]["labels"][format!("{AGGREGATE}{role}")] = json!("true");
                } else if let Some(role) = word.strip_prefix('<') {
                    let label = format!("{AGGREGATE}{role}");
                    object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
                }
            }
            "clusterroles"
        }
        "role" => "roles",
        "clusterrolebinding" => {
            object["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": words.next()?});
            let subjects: Vec<Value> = words.filter_map(subject).collect();
            if !subjects.is_empty() {
                object["subjects"] = subjects.into();
            }
            "clusterrolebindings"
        }
        _ => {
            let (kind, role) = words.next()?.split_once(':')?;
            let kind = if kind == "role" { "Role" } else { "ClusterRole" };
            object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
            object["subjects"] = words.filter_map(subject).collect();
            "rolebindings"
        }
    };
    Some(Default {
        plural,
        namespace,
        object,
    })
}

fn subject(word: &str) -> Option<Value> {
    let (kind, name) = word.split_once(':')?;
    Some(match kind {
        "sa" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        "group" => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        _ => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
    })
}

fn parse_rule(line: &str) -> Option<Value> {
    let (what, verbs) = line.rsplit_once(": ")?;
    let verbs: Vec<&str> = verbs.split(',').collect();
    if let Some(urls) = what.strip_prefix("urls ") {
        let urls: Vec<&str> = urls.split(',').collect();
        return Some(json!({"nonResourceURLs": urls, "verbs": verbs}));
    }
    let (what, names) = match what.split_once(" [") {
        Some((what, names)) => (what, names.trim_end_matches(']')),
        None => (what, ""),
    };
    let (groups, resources) = what.split_once('/')?;
    let groups: Vec<&str> = groups
        .split(',')
        .map(|group| if group == "core" { "" } else { group })
        .collect();
    let resources: Vec<&str> = resources.split(' ').collect();
    let mut rule = json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    if !names.is_empty() {
        rule["resourceNames"] = names.split(',').collect();
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(plural: &str, name: &str) -> Value {
        let mut all = policy().into_iter();
        let found = all.find(|own| own.plural == plural && own.object["metadata"]["name"] == name);
        found.expect("in the policy").object
    }

    #[test]
    fn every_line_is_understood() {
        let lines = POLICY.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let (rules, objects): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("  "));
        let parsed = policy();
        assert_eq!(parsed.len(), objects.len());
        let parsed: usize = parsed
            .iter()
            .filter_map(|own| own.object["rules"].as_array())
            .map(Vec::len)
            .sum();
        assert_eq!(parsed, rules.len());
    }

    #[test]
    fn roles_and_bindings_are_what_they_say() {
        assert_eq!(
            find("clusterroles", "cluster-admin")["rules"],
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ])
        );
        let edit = find("clusterroles", "edit");
        assert_eq!(
            edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"],
            "true"
        );
        assert_eq!(
            edit["aggregationRule"]["clusterRoleSelectors"],
            json!([{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}])
        );
        let binding = find("clusterrolebindings", "system:kube-scheduler");
        assert_eq!(
            (&binding["roleRef"]["name"], &binding["subjects"][0]["name"]),
            (&json!("system:kube-scheduler"), &json!("system:kube-scheduler"))
        );
        let lock = find("roles", "system::leader-locking-kube-scheduler");
        assert_eq!(lock["rules"][0]["resources"], json!(["leases"]));
    }

    #[test]
    fn no_component_may_do_everything() {
        let masters = policy().into_iter().filter(|own| own.plural.ends_with("bindings"));
        let masters: Vec<Value> = masters
            .filter(|own| own.object["roleRef"]["name"] == "cluster-admin")
            .map(|own| own.object["subjects"].clone())
            .collect();
        assert_eq!(
            masters,
            [json!([{"apiGroup": GROUP, "kind": "Group", "name": "system:masters"}])]
        );
    }
}
