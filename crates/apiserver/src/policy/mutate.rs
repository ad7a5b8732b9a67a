//! MutatingAdmissionPolicy: changes of objects, as apply configurations or JSON patches made by expressions.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>.

use knarr_cel::Budget;
use knarr_resource::admission::Attributes;
use knarr_resource::expressions::Expression;
use knarr_resource::{ResourceInfo, Status};
use knarr_schema::{managed, patch};
use serde_json::{Value, json};

use super::facts::{Facts, Scope};
use super::invocation::{Invocation, invocations};
use crate::server::Server;
use crate::webhook::{Rounds, put_back};

/// Lets the policies change the object, one after the other. Returns whether one did.
pub(crate) fn mutate(
    server: &Server,
    request: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    rounds: &mut Rounds,
) -> Result<bool, Status> {
    let mut changed = false;
    let mut errors = Vec::new();
    for invocation in invocations(server, request, object, old, true) {
        let mut fail = |why: &str, reason: &'static str| {
            if !invocation.fails_open() {
                let (policy, bound) = (&invocation.policy.name, &invocation.binding.name);
                let message = format!("policy '{policy}' with binding '{bound}' denied request: {why}");
                errors.push((message, reason));
            }
        };
        let params = match &invocation.params {
            Ok(params) => params,
            Err(why) => {
                fail(why, "Forbidden");
                continue;
            }
        };
        for params in params {
            match invoke(server, request, &invocation, params.as_ref(), object, old, rounds) {
                Ok(own) => changed |= own,
                Err(why) => fail(&why, "Invalid"),
            }
        }
    }
    let Some((message, reason)) = errors.first().cloned() else {
        return Ok(changed);
    };
    let mut status = Status::forbidden(request.resource, request.name_of(object), "");
    let causes: Vec<Value> = errors.iter().map(|(message, _)| json!({"message": message})).collect();
    (status.message, status.reason) = (message, reason);
    status.details["causes"] = causes.into();
    Err(status)
}

/// All mutations of one policy with one object of parameters. What one fails to do the others still do.
fn invoke(
    server: &Server,
    request: &Attributes<'_>,
    invocation: &Invocation,
    params: Option<&Value>,
    object: &mut Value,
    old: Option<&Value>,
    rounds: &mut Rounds,
) -> Result<bool, String> {
    let policy = &invocation.policy.value;
    let name = |key: &str| params.map_or("", |params| params["metadata"][key].as_str().unwrap_or_default());
    let id = format!(
        "policy/{}/{}/{}/{}",
        invocation.policy.name,
        invocation.binding.name,
        name("namespace"),
        name("name")
    );
    if object.is_null() || !rounds.calls(&id, policy.spec["reinvocationPolicy"] == "IfNeeded", object) {
        return Ok(false);
    }
    let mut facts = Facts::new(server, request, &invocation.matched, object, old);
    if !facts.meets(&policy.expressions, params)? {
        return Ok(false);
    }
    let before = object.clone();
    let mut failed = None;
    for (index, expression) in policy.expressions.mutations.iter().enumerate() {
        let sort = policy.spec["mutations"][index]["patchType"]
            .as_str()
            .unwrap_or_default();
        let mutated = facts
            .scope(&policy.expressions, params)
            .and_then(|scope| mutation(sort, expression, &scope, &invocation.matched.resource, &facts.object));
        match mutated {
            Ok(Some(next)) => {
                put_back(&invocation.matched, next, object);
                facts = Facts::new(server, request, &invocation.matched, object, old);
            }
            Ok(None) => {}
            Err(why) => _ = failed.get_or_insert(why),
        }
    }
    rounds.called(id, object);
    failed.map_or(Ok(*object != before), Err)
}

/// The object after one mutation; none if a `test` of a JSON patch says that it is not meant.
fn mutation(
    sort: &str,
    expression: &Expression,
    scope: &Scope<'_>,
    resource: &ResourceInfo,
    object: &Value,
) -> Result<Option<Value>, String> {
    let value = expression.eval(scope, &mut Budget::new(Budget::OBJECT))?;
    let mut next = object.clone();
    match sort {
        "JSONPatch" => {
            let unfit = "JSONPath valueExpression evaluated to a type that could not marshal to JSON";
            let operations = value.to_json().map_err(|error| format!("{unfit}: {error}"))?;
            match patch::json_patch(&mut next, &operations) {
                Ok(()) => {}
                Err(patch::PatchError::TestFailed(_)) => return Ok(None),
                Err(error) => return Err(format!("JSONPath: {error}")),
            }
        }
        _ => {
            let mut applied = value.to_json().map_err(|error| error.to_string())?;
            for key in ["apiVersion", "kind"] {
                applied[key] = object[key].clone();
            }
            let merged = managed::merge(&resource.schema, &mut next, &applied);
            merged.map_err(|why| format!("error applying patch: {why}"))?;
        }
    }
    Ok(Some(next))
}
