//! Which requests a webhook or policy is asked about.

use std::sync::Arc;

use knarr_resource::ResourceInfo;
use knarr_resource::admission::{Attributes, Operation};
use knarr_resource::selector::LabelSelector;
use serde_json::Value;

use crate::server::Server;

/// The group of webhooks and policies: they are never asked about themselves, or one could not get rid of them.
const REGISTRATION: &str = "admissionregistration.k8s.io";

/// The request as a rule sees it: an object of another version of the same resource may be what the rule is about.
#[derive(Clone, Debug)]
pub(crate) struct Matched {
    pub resource: Arc<ResourceInfo>,
}

/// How the match of a webhook or a policy is written down.
pub(crate) struct Criteria<'a> {
    pub rules: &'a Value,
    pub exclude: &'a Value,
    pub namespace_selector: &'a Value,
    pub object_selector: &'a Value,
    /// Whether rules are also about other versions of the resources that they name.
    pub equivalent: bool,
}

impl<'a> Criteria<'a> {
    /// Of a webhook.
    pub(crate) fn of_webhook(hook: &'a Value) -> Self {
        Self {
            rules: &hook["rules"],
            exclude: &Value::Null,
            namespace_selector: &hook["namespaceSelector"],
            object_selector: &hook["objectSelector"],
            equivalent: hook["matchPolicy"] != "Exact",
        }
    }

    /// Of the `matchConstraints` of a policy, or the `matchResources` of a binding.
    pub(crate) fn of_policy(resources: &'a Value) -> Self {
        Self {
            rules: &resources["resourceRules"],
            exclude: &resources["excludeResourceRules"],
            namespace_selector: &resources["namespaceSelector"],
            object_selector: &resources["objectSelector"],
            equivalent: resources["matchPolicy"] != "Exact",
        }
    }

    /// What of the request matches, if it does: namespace, object and rules, in this order.
    pub(crate) fn matches(
        &self,
        server: &Server,
        request: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Option<Matched> {
        if request.resource.group == REGISTRATION {
            return None;
        }
        let of_namespace = namespace_labels(server, request, object, old);
        if let Some(labels) = &of_namespace
            && !selects(self.namespace_selector, labels)
        {
            return None;
        }
        let selected = |object: &Value| selects(self.object_selector, &object["metadata"]["labels"]);
        if !selected(object) && !old.is_some_and(selected) {
            return None;
        }
        let excluded = self.rule(self.exclude, server, request, object);
        if excluded.is_some() {
            return None;
        }
        // Bindings without rules of their own are about whatever their policy is about.
        if self.rules.as_array().is_none_or(Vec::is_empty) {
            return Some(Matched {
                resource: request.resource.clone(),
            });
        }
        self.rule(self.rules, server, request, object)
    }

    fn rule(&self, rules: &Value, server: &Server, request: &Attributes<'_>, object: &Value) -> Option<Matched> {
        let rules = rules.as_array().map(Vec::as_slice).unwrap_or_default();
        let name = match request.name {
            "" => object["metadata"]["name"].as_str().unwrap_or_default(),
            name => name,
        };
        let holds = |resource: &ResourceInfo| rules.iter().any(|rule| rule_matches(rule, request, resource, name));
        if holds(request.resource) {
            return Some(Matched {
                resource: request.resource.clone(),
            });
        }
        if !self.equivalent {
            return None;
        }
        let served = server.served();
        let mut others = served.registry.iter();
        let other = others
            .find(|other| !other.storage.is_empty() && other.storage == request.resource.storage && holds(other))?;
        Some(Matched {
            resource: other.clone(),
        })
    }
}

/// The labels by which the namespace of a request is selected: a namespace's own for itself, none for what is in none.
fn namespace_labels(server: &Server, request: &Attributes<'_>, object: &Value, old: Option<&Value>) -> Option<Value> {
    if request.is_resource("", "namespaces") {
        let own = match request.operation {
            Operation::Delete => old.unwrap_or(&Value::Null),
            _ if request.subresource.is_empty() => object,
            _ => old.unwrap_or(object),
        };
        return Some(own["metadata"]["labels"].clone());
    }
    if request.namespace.is_empty() {
        return None;
    }
    let namespace = server.find("", "namespaces", "", request.namespace);
    Some(
        namespace
            .map(|mut namespace| namespace["metadata"]["labels"].take())
            .unwrap_or_default(),
    )
}

fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return true;
    }
    LabelSelector::from_object(selector).is_some_and(|selector| selector.matches(labels))
}

fn lists(list: &Value, word: &str) -> bool {
    list.as_array()
        .into_iter()
        .flatten()
        .any(|own| own == "*" || own == word)
}

fn rule_matches(rule: &Value, request: &Attributes<'_>, resource: &ResourceInfo, name: &str) -> bool {
    let scope = match rule["scope"].as_str() {
        // A namespace is an object of the cluster.
        Some("Namespaced") => resource.namespaced,
        Some("Cluster") => !resource.namespaced,
        _ => true,
    };
    let named = rule["resourceNames"]
        .as_array()
        .is_none_or(|names| names.is_empty() || names.iter().any(|own| own == name));
    scope
        && named
        && lists(&rule["operations"], request.operation.as_str())
        && lists(&rule["apiGroups"], &resource.group)
        && lists(&rule["apiVersions"], &resource.version)
        && rule["resources"].as_array().into_iter().flatten().any(|own| {
            let own = own.as_str().unwrap_or_default();
            let (plural, below) = own.split_once('/').unwrap_or((own, ""));
            (plural == "*" || plural == resource.plural) && (below == request.subresource || below == "*")
        })
}
