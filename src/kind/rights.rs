//! Who may do what, read from roles and their bindings as the RBAC authorizer reads them.

use serde_json::Value;

use super::field::{items, text};

/// Something somebody may want to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// `get`, `list`, `delete` ...
    pub verb: String,
    /// API group; empty for core.
    pub group: String,
    /// Plural, with `/subresource` where one is meant.
    pub resource: String,
    /// Namespace; empty for what has none, and for all of them.
    pub namespace: String,
    /// One object; empty for all.
    pub name: String,
}

/// One who may do it, and by what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// The subject's name; of an account, with its namespace before it.
    pub subject: String,
    /// The binding, with its namespace when it has one.
    pub binding: String,
    /// The role.
    pub role: String,
}

/// Roles and bindings of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Roles of all namespaces.
    pub roles: &'a [Value],
    /// ClusterRoles.
    pub cluster_roles: &'a [Value],
    /// RoleBindings of all namespaces.
    pub bindings: &'a [Value],
    /// ClusterRoleBindings.
    pub cluster_bindings: &'a [Value],
}

fn lists(list: &Value, word: &str) -> bool {
    items(list).iter().any(|known| known == "*" || known == word)
}

/// Whether a rule allows a deed.
fn allows(rule: &Value, deed: &Deed) -> bool {
    let subresource = deed.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let named = items(&rule["resourceNames"]);
    lists(&rule["verbs"], &deed.verb)
        && lists(&rule["apiGroups"], &deed.group)
        && (lists(&rule["resources"], &deed.resource)
            || subresource.is_some_and(|any| items(&rule["resources"]).iter().any(|known| *known == any)))
        && (named.is_empty() || named.iter().any(|name| *name == deed.name))
}

impl<'a> Policy<'a> {
    /// The rules that a binding in `namespace` (empty: of the cluster) gives to its subjects.
    fn rules(&self, binding: &Value, namespace: &str) -> &'a [Value] {
        let role = &binding["roleRef"];
        let (list, space) = match text(&role["kind"]) {
            "Role" => (self.roles, namespace),
            _ => (self.cluster_roles, ""),
        };
        let found = list
            .iter()
            .find(|known| known["metadata"]["name"] == role["name"] && text(&known["metadata"]["namespace"]) == space);
        found.map_or(&[], |role| items(&role["rules"]))
    }

    /// The bindings that hold in a namespace, with that namespace where it is theirs.
    fn bindings(&self, namespace: &'a str) -> impl Iterator<Item = (&'a Value, &'a str)> {
        let own = move |binding: &&Value| !namespace.is_empty() && text(&binding["metadata"]["namespace"]) == namespace;
        let own = self
            .bindings
            .iter()
            .filter(own)
            .map(move |binding| (binding, namespace));
        own.chain(self.cluster_bindings.iter().map(|binding| (binding, "")))
    }

    /// Everybody who may do a deed.
    pub fn who_can(&self, deed: &'a Deed) -> Vec<Grant> {
        let mut grants = Vec::new();
        for (binding, space) in self.bindings(&deed.namespace) {
            if !self.rules(binding, space).iter().any(|rule| allows(rule, deed)) {
                continue;
            }
            grants.extend(
                items(&binding["subjects"])
                    .iter()
                    .map(|subject| grant(subject, binding)),
            );
        }
        grants.sort();
        grants.dedup();
        grants
    }

    /// What an account may do in its namespace and everywhere: the rules, each with the binding that gives it and whether that holds
    /// everywhere.
    pub fn rules_of(&self, namespace: &'a str, account: &str) -> Vec<(&'a Value, String, bool)> {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        let is_meant = |subject: &Value| match text(&subject["kind"]) {
            "ServiceAccount" => subject["name"] == account && subject["namespace"] == namespace,
            "Group" => groups.iter().any(|group| subject["name"] == **group),
            "User" => text(&subject["name"]) == format!("system:serviceaccount:{namespace}:{account}"),
            _ => false,
        };
        self.bindings(namespace)
            .filter(|(binding, _)| items(&binding["subjects"]).iter().any(is_meant))
            .flat_map(|(binding, space)| {
                let name = text(&binding["metadata"]["name"]).to_owned();
                self.rules(binding, space)
                    .iter()
                    .map(move |rule| (rule, name.clone(), space.is_empty()))
            })
            .collect()
    }
}

fn grant(subject: &Value, binding: &Value) -> Grant {
    let place = |object: &Value| match text(&object["namespace"]) {
        "" => text(&object["name"]).to_owned(),
        space => format!("{space}/{}", text(&object["name"])),
    };
    Grant {
        kind: text(&subject["kind"]).to_owned(),
        subject: place(subject),
        binding: place(&binding["metadata"]),
        role: text(&binding["roleRef"]["name"]).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bindings_hold_where_they_stand_and_a_named_rule_for_its_object_only() {
        let rule = |verbs: &[&str], resource: &str, names: &[&str]| json!({"verbs": verbs, "apiGroups": [""], "resources": [resource], "resourceNames": names});
        let roles = [
            json!({"metadata": {"name": "reader", "namespace": "shop"}, "rules": [rule(&["get", "list"], "pods", &[])]}),
        ];
        let cluster_roles = [
            json!({"metadata": {"name": "all"}, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}),
            json!({"metadata": {"name": "one"}, "rules": [rule(&["get"], "secrets", &["key"])]}),
            json!({"metadata": {"name": "logs"}, "rules": [rule(&["get"], "*/log", &[])]}),
        ];
        let bind = |name: &str, space: Option<&str>, kind: &str, role: &str, subject: Value| {
            json!({
                "metadata": {"name": name, "namespace": space},
                "roleRef": {"kind": kind, "name": role},
                "subjects": [subject],
            })
        };
        let user = |name: &str| json!({"kind": "User", "name": name});
        let bindings = [
            bind(
                "readers",
                Some("shop"),
                "Role",
                "reader",
                json!({"kind": "ServiceAccount", "name": "bot", "namespace": "shop"}),
            ),
            bind("keys", Some("shop"), "ClusterRole", "one", user("jane")),
            bind("logs", Some("shop"), "ClusterRole", "logs", user("lee")),
        ];
        let cluster_bindings = [bind(
            "admins",
            None,
            "ClusterRole",
            "all",
            json!({"kind": "Group", "name": "admins"}),
        )];
        let policy = Policy {
            roles: &roles,
            cluster_roles: &cluster_roles,
            bindings: &bindings,
            cluster_bindings: &cluster_bindings,
        };
        let who = |verb: &str, resource: &str, space: &str, name: &str| {
            let deed = Deed {
                verb: verb.into(),
                group: String::new(),
                resource: resource.into(),
                namespace: space.into(),
                name: name.into(),
            };
            let all = policy.who_can(&deed);
            all.into_iter().map(|grant| grant.subject).collect::<Vec<_>>()
        };
        assert_eq!(who("list", "pods", "shop", ""), ["admins", "shop/bot"]);
        assert_eq!(who("list", "pods", "other", ""), ["admins"]);
        assert_eq!(who("get", "secrets", "shop", ""), ["admins"]);
        assert_eq!(who("get", "secrets", "shop", "key"), ["admins", "jane"]);
        assert_eq!(who("get", "pods/log", "shop", ""), ["admins", "lee"]);
        let own = policy.rules_of("shop", "bot");
        assert_eq!(own.len(), 1);
        assert_eq!((&*own[0].1, own[0].2), ("readers", false));
    }
}
