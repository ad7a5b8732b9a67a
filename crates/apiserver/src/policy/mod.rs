//! Policies that users write in CEL: ValidatingAdmissionPolicy here, MutatingAdmissionPolicy in [`mutate`].
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>.

mod facts;
mod invocation;
mod mutate;
mod registered;
mod status;

use std::collections::BTreeMap;

use knarr_cel::{Budget, Val};
use knarr_resource::Status;
use knarr_resource::admission::{Attributes, Notes};
use serde_json::{Value, json};

use crate::server::Server;
use facts::Scope;
use invocation::{Invocation, invocations};

pub(crate) use facts::Facts;
pub(crate) use mutate::mutate;
pub(crate) use registered::Registered;
pub(crate) use status::Controller;

/// The longest message that an expression may make.
const LONGEST_MESSAGE: usize = 5 * 1024;
/// The longest value of an audit annotation; more is cut off.
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// What keeps a request from passing.
struct Denial {
    message: String,
    /// Of the validation; empty otherwise.
    reason: String,
    /// The position of the validation.
    index: usize,
}

/// What one policy says of a request with one object of parameters.
#[derive(Default)]
struct Verdict {
    /// What the actions of the binding decide on.
    denials: Vec<Denial>,
    /// What denies whatever the actions are.
    broken: Option<String>,
    /// By key.
    annotations: Vec<(String, String)>,
}

/// Asks every policy that is bound to what is requested. All are asked; the first denial is told.
pub(crate) fn validate(
    server: &Server,
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    notes: &mut Notes,
) -> Result<(), Status> {
    let mut outcome = Ok(());
    let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for invocation in invocations(server, request, object, old, false) {
        for verdict in verdicts(server, request, &invocation, object, old) {
            for (key, value) in verdict.annotations {
                let values = annotations
                    .entry(format!("{}/{key}", invocation.policy.name))
                    .or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            let broken = verdict.broken.filter(|_| !invocation.fails_open());
            let denied = broken.map(|why| denied(request, object, &invocation, &why, ""));
            outcome = outcome.and(denied.map_or(Ok(()), Err));
            for denial in verdict.denials {
                outcome = outcome.and(settle(request, object, &invocation, &denial, notes));
            }
        }
    }
    for (key, values) in annotations {
        notes.annotate(key, values.join(", "));
    }
    outcome
}

fn verdicts(
    server: &Server,
    request: &Attributes<'_>,
    invocation: &Invocation,
    object: &Value,
    old: Option<&Value>,
) -> Vec<Verdict> {
    let broken = |why: &str| Verdict {
        broken: Some(why.to_owned()),
        ..Verdict::default()
    };
    let params = match &invocation.params {
        Ok(params) => params,
        Err(why) => return vec![broken(why)],
    };
    let policy = &invocation.policy.value;
    let facts = Facts::new(server, request, &invocation.matched, object, old);
    let mut verdicts = Vec::new();
    for params in params {
        match facts.meets(&policy.expressions, params.as_ref()) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                // It is a decision of the policy, so the actions apply.
                verdicts.push(failed(invocation, why, 0));
                continue;
            }
        }
        verdicts.push(match facts.scope(&policy.expressions, params.as_ref()) {
            Ok(scope) => judge(invocation, &scope),
            Err(why) => broken(&why),
        });
    }
    verdicts
}

/// An expression that has no value denies, unless failures are to be ignored.
fn failed(invocation: &Invocation, message: String, index: usize) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.fail(invocation, message, index);
    verdict
}

impl Verdict {
    fn fail(&mut self, invocation: &Invocation, message: String, index: usize) {
        if invocation.fails_open() {
            let policy = &invocation.policy.name;
            return tracing::warn!(policy, message, "a policy failed and is ignored");
        }
        self.denials.push(Denial {
            message,
            reason: String::new(),
            index,
        });
    }
}

/// Evaluates the validations and audit annotations of a policy.
fn judge(invocation: &Invocation, scope: &Scope<'_>) -> Verdict {
    let policy = &invocation.policy.value;
    let mut budget = Budget::new(Budget::OBJECT);
    let mut verdict = Verdict::default();
    for (index, validation) in policy.expressions.validations.iter().enumerate() {
        match validation.expression.eval(scope, &mut budget) {
            Ok(Val::Bool(true)) => {}
            Ok(Val::Bool(false)) => verdict.denials.push(Denial {
                message: message(invocation, index, scope, &mut budget),
                reason: text(&policy.spec["validations"][index], "reason").to_owned(),
                index,
            }),
            Ok(_) => {
                let why = format!("expression '{}' is not a bool", validation.expression.text());
                verdict.fail(invocation, why, index);
            }
            Err(why) => verdict.fail(invocation, why, index),
        }
    }
    for (index, annotation) in policy.expressions.annotations.iter().enumerate() {
        match annotation.eval(scope, &mut budget) {
            Ok(Val::String(value)) => {
                let value = value.to_string();
                let value = cut(value.trim(), LONGEST_ANNOTATION);
                if !value.is_empty() {
                    let key = text(&policy.spec["auditAnnotations"][index], "key");
                    verdict.annotations.push((key.to_owned(), value.to_owned()));
                }
            }
            Ok(_) => {}
            Err(why) => _ = verdict.broken.get_or_insert(why),
        }
    }
    verdict
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default().trim()
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

/// What is told of a validation that does not hold.
fn message(invocation: &Invocation, index: usize, scope: &Scope<'_>, budget: &mut Budget) -> String {
    let policy = &invocation.policy.value;
    let validation = &policy.spec["validations"][index];
    if let Some(expression) = &policy.expressions.validations[index].message
        && let Ok(Val::String(message)) = expression.eval(scope, budget)
    {
        let message = message.to_string();
        let fits = message.len() <= LONGEST_MESSAGE && !message.trim().is_empty() && !message.contains('\n');
        if fits {
            return message.trim().to_owned();
        }
    }
    match text(validation, "message") {
        "" => format!("failed expression: {}", text(validation, "expression")),
        message => message.to_owned(),
    }
}

/// Does with a denial what the binding says.
fn settle(
    request: &Attributes<'_>,
    object: &Value,
    invocation: &Invocation,
    denial: &Denial,
    notes: &mut Notes,
) -> Result<(), Status> {
    let (policy, bound) = (&invocation.policy.name, &invocation.binding.name);
    let message = &denial.message;
    let own = &invocation.binding.value["validationActions"];
    let does = |action: &str| {
        own.as_array()
            .is_some_and(|actions| actions.iter().any(|own| own == action))
    };
    if does("Warn") {
        notes.warn(format!(
            "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{bound}': {message}"
        ));
    }
    if does("Audit") {
        let failure = json!([{
            "message": message, "policy": policy, "binding": bound, "expressionIndex": denial.index,
            "validationActions": own,
        }]);
        notes.annotate(
            "validation.policy.admission.k8s.io/validation_failure",
            failure.to_string(),
        );
    }
    match does("Deny") {
        true => Err(denied(request, object, invocation, message, &denial.reason)),
        false => Ok(()),
    }
}

fn denied(request: &Attributes<'_>, object: &Value, invocation: &Invocation, message: &str, reason: &str) -> Status {
    let (policy, bound) = (&invocation.policy.name, &invocation.binding.name);
    let denied = format!("ValidatingAdmissionPolicy '{policy}' with binding '{bound}' denied request: {message}");
    let (code, reason) = match reason {
        "Unauthorized" => (401, "Unauthorized"),
        "Forbidden" => (403, "Forbidden"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    let mut status = Status::forbidden(request.resource, request.name_of(object), &denied);
    status.code = code;
    status.reason = reason;
    status.details["causes"] = json!([{"message": denied}]);
    status
}
