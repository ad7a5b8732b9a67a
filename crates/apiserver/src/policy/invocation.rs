//! Which policies a request meets, under which bindings, and with which parameters.

use std::sync::Arc;

use knarr_resource::admission::Attributes;
use knarr_resource::selector::LabelSelector;
use serde_json::Value;

use super::registered::{Entry, Policy};
use crate::server::Server;
use crate::webhook::matching::{Criteria, Matched};

/// A policy and a binding that are about the request.
pub(super) struct Invocation {
    pub policy: Arc<Entry<Policy>>,
    pub binding: Arc<Entry<Value>>,
    pub matched: Matched,
    /// One for each object of parameters; one without, for a policy that has none. Or why they cannot be had.
    pub params: Result<Vec<Option<Value>>, String>,
}

impl Invocation {
    pub(super) fn fails_open(&self) -> bool {
        self.policy.value.spec["failurePolicy"] == "Ignore"
    }
}

/// All of them, by the names of the policies.
pub(super) fn invocations(
    server: &Server,
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    mutating: bool,
) -> Vec<Invocation> {
    let policies = server.registered.policies(server, mutating);
    if policies.is_empty() {
        return Vec::new();
    }
    let bindings = server.registered.bindings(server, mutating);
    let mut found = Vec::new();
    for policy in policies.iter() {
        let constraints = &policy.value.spec["matchConstraints"];
        let mut bound = bindings
            .iter()
            .filter(|own| own.value["policyName"] == policy.name)
            .peekable();
        if bound.peek().is_none() || constraints.is_null() {
            continue;
        }
        let Some(matched) = Criteria::of_policy(constraints).matches(server, request, object, old) else {
            continue;
        };
        for binding in bound {
            let resources = &binding.value["matchResources"];
            if !resources.is_null() {
                let criteria = Criteria::of_policy(resources);
                if criteria.matches(server, request, object, old).is_none() {
                    continue;
                }
            }
            let params = params(server, request, &policy.value.spec, &binding.value);
            found.push(Invocation {
                policy: policy.clone(),
                binding: binding.clone(),
                matched: matched.clone(),
                params: params.map_err(|why| format!("failed to configure binding: {why}")),
            });
        }
    }
    found
}

/// The objects that a binding gives its policy; one `None` for a policy without parameters.
fn params(
    server: &Server,
    request: &Attributes<'_>,
    policy: &Value,
    binding: &Value,
) -> Result<Vec<Option<Value>>, String> {
    let kind = &policy["paramKind"];
    let reference = &binding["paramRef"];
    if kind.is_null() {
        return Ok(vec![None]);
    }
    if reference.is_null() {
        return Ok(vec![Some(Value::Null)]);
    }
    let api_version = kind["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let kind = kind["kind"].as_str().unwrap_or_default();
    let served = server.served();
    let resource = served
        .registry
        .by_kind(group, version, kind)
        .ok_or_else(|| format!("paramKind kind `{api_version}, Kind={kind}` not known"))?;
    let named = reference["namespace"]
        .as_str()
        .filter(|namespace| !namespace.is_empty());
    let namespace = match (resource.namespaced, named) {
        (false, Some(_)) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
        }
        (false, None) => "",
        (true, Some(namespace)) => namespace,
        (true, None) if request.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into(),
            );
        }
        (true, None) => request.namespace,
    };
    let slot = server.slot_of(resource);
    let shown = |object: &crate::store::Object| Some(crate::registry::codec::present(resource, object.value()));
    let found: Vec<Option<Value>> = match reference["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => {
            let key = crate::store::key(namespace, name);
            server
                .store
                .get(slot, &key)
                .iter()
                .map(|object| shown(object))
                .collect()
        }
        None => {
            let selector = LabelSelector::from_object(&reference["selector"]);
            let scope = resource.namespaced.then_some(namespace);
            let all = server.store.list(slot, scope).objects;
            let selected = |object: &crate::store::Object| {
                let selector = selector.as_ref();
                selector.is_some_and(|selector| selector.matches(&object.index.labels))
            };
            all.iter()
                .filter(|object| selected(object))
                .map(|object| shown(object))
                .collect()
        }
    };
    if found.is_empty() && reference["parameterNotFoundAction"] != "Allow" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}
