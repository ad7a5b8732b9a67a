//! Admission webhooks: programs elsewhere that change or refuse objects.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

pub(crate) mod client;
pub(crate) mod matching;

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use knarr_resource::admission::{Attributes, Notes};
use knarr_resource::expressions::Expressions;
use knarr_resource::{ResourceInfo, Status, new_uid};
use knarr_schema::patch;
use serde_json::{Value, json};

use crate::object::typed_for;
use crate::policy::Facts;
use crate::refusal;
use crate::registry::codec;
use crate::server::Server;
use matching::{Criteria, Matched};

const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const DEFAULT_TIMEOUT: u64 = 10;

/// One webhook of a configuration.
pub(crate) struct Webhook {
    /// The name of its configuration.
    configuration: String,
    name: String,
    /// As the configuration has it.
    value: Value,
    conditions: Expressions,
    mutating: bool,
}

/// What happened to the webhooks and policies of a request so far: those that want to may look again.
#[derive(Default)]
pub(crate) struct Rounds {
    /// By configuration and name: the object as it was after the call.
    called: HashMap<String, Value>,
    second: bool,
}

impl Rounds {
    /// Starts the second and last round.
    pub(crate) fn again(&mut self) {
        self.second = true;
    }

    /// Whether to call something in this round that matches: in the second only what wants to be called again, was called
    /// before, and would see another object than it left behind.
    pub(crate) fn calls(&self, id: &str, again: bool, object: &Value) -> bool {
        !self.second || (again && self.called.get(id).is_some_and(|left| left != object))
    }

    /// Notes what a call left behind.
    pub(crate) fn called(&mut self, id: String, object: &Value) {
        self.called.insert(id, object.clone());
    }
}

impl Webhook {
    /// The webhooks of a configuration.
    pub(crate) fn all(configuration: &str, mut value: Value, mutating: bool) -> Vec<Self> {
        let hooks = value["webhooks"].as_array_mut().into_iter().flatten();
        let hooks = hooks.map(|value| Self {
            configuration: configuration.to_owned(),
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            conditions: Expressions::of_webhook(value),
            value: value.take(),
            mutating,
        });
        hooks.collect()
    }

    fn fails_open(&self) -> bool {
        self.value["failurePolicy"] == "Ignore"
    }

    fn id(&self, index: usize) -> String {
        format!("{}/{}/{index}", self.configuration, self.name)
    }

    /// What of the request the webhook is to be asked about, if it is: rules, selectors and match conditions.
    fn matches(
        &self,
        server: &Server,
        request: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Option<Matched>, Status> {
        let Some(matched) = Criteria::of_webhook(&self.value).matches(server, request, object, old) else {
            return Ok(None);
        };
        if self.conditions.conditions.is_empty() {
            return Ok(Some(matched));
        }
        match Facts::new(server, request, &matched, object, old).meets(&self.conditions, None) {
            Ok(meets) => Ok(meets.then_some(matched)),
            Err(_) if self.fails_open() => Ok(None),
            Err(why) => Err(Status::forbidden(request.resource, request.name_of(object), &why)),
        }
    }

    /// Asks the webhook. The answer is its `response`.
    async fn ask(
        &self,
        server: &Server,
        request: &Attributes<'_>,
        matched: &Matched,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Value, Failed> {
        if request.dry_run && !matches!(self.value["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")) {
            return Err(Failed::Refused(Status::bad_request(format!(
                "admission webhook {:?} does not support dry run",
                self.name
            ))));
        }
        let accepted = self.value["admissionReviewVersions"].as_array().into_iter().flatten();
        let version = accepted
            .filter_map(Value::as_str)
            .find(|version| VERSIONS.contains(version))
            .ok_or_else(|| Failed::Call("failed to call webhook: no version that both sides know".into()))?;
        let (own, wanted) = (request.resource, &matched.resource);
        let in_version = async {
            let object = codec::in_version(server, own, wanted, object).await?;
            let old = codec::in_version(server, own, wanted, old.unwrap_or(&Value::Null)).await?;
            Ok((object, (!old.is_null()).then_some(old)))
        };
        let (object, old) = in_version.await.map_err(Failed::Refused)?;
        let uid = new_uid();
        let review = json!({
            "kind": "AdmissionReview",
            "apiVersion": format!("admission.k8s.io/{version}"),
            "request": review(&uid, request, matched, &object, old.as_ref()),
        });
        let seconds = self.value["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_TIMEOUT);
        let body = review.to_string().into_bytes();
        let config = &self.value["clientConfig"];
        let answer = client::post(server, config, body, Some(Duration::from_secs(seconds))).await;
        let answer = answer.map_err(Failed::Call)?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|error| Failed::Call(format!("failed to call webhook: {error}")))?;
        check(&answer, &uid, version, self.mutating)
            .map_err(|why| Failed::Call(format!("received invalid webhook response: {why}")))?;
        Ok(answer["response"].clone())
    }

    /// What a call that failed means for the request.
    fn failed(&self, failed: Failed, notes: &mut Notes, round: &str) -> Result<(), Status> {
        match failed {
            Failed::Refused(failure) => Err(failure),
            Failed::Call(why) if self.fails_open() => {
                tracing::warn!(webhook = self.name, why, "a webhook failed and is ignored");
                notes.annotate(format!("failed-open.{round}.admission.k8s.io"), self.name.clone());
                Ok(())
            }
            Failed::Call(why) => Err(refusal::internal(format_args!(
                "failed calling webhook {:?}: {why}",
                self.name
            ))),
        }
    }

    /// Takes warnings and annotations over, and refuses if the webhook does.
    fn verdict(&self, response: &Value, notes: &mut Notes) -> Result<(), Status> {
        for warning in response["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            notes.warn(warning);
        }
        for (key, value) in response["auditAnnotations"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            notes.annotate(format!("{}/{key}", self.name), value);
        }
        match response["allowed"] == true {
            true => Ok(()),
            false => Err(denied(&self.name, &response["status"])),
        }
    }
}

/// Why a webhook did not answer.
enum Failed {
    /// It was not asked, and the request cannot go on.
    Refused(Status),
    /// It was asked in vain.
    Call(String),
}

/// The refusal of a webhook as a Status.
fn denied(name: &str, status: &Value) -> Status {
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let head = format!("admission webhook {name:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{head} without explanation"),
        ("", reason) => format!("{head}: {reason}"),
        (message, _) => format!("{head}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    Status {
        code: code.filter(|code| (400..600).contains(code)).unwrap_or(400),
        reason: reason(text("reason")),
        message,
        details: status["details"].clone(),
    }
}

/// A reason as the Status of a refusal can have it.
fn reason(text: &str) -> &'static str {
    const KNOWN: [&str; 17] = [
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Invalid",
        "ServerTimeout",
        "Timeout",
        "TooManyRequests",
        "BadRequest",
        "MethodNotAllowed",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "UnsupportedMediaType",
        "InternalError",
        "ServiceUnavailable",
    ];
    KNOWN.into_iter().find(|known| *known == text).unwrap_or_default()
}

/// `AdmissionRequest`.
pub(crate) fn review(
    uid: &str,
    request: &Attributes<'_>,
    matched: &Matched,
    object: &Value,
    old: Option<&Value>,
) -> Value {
    let kind = |resource: &ResourceInfo| {
        let below = resource.subresource(request.subresource);
        match below.filter(|below| !below.version.is_empty()) {
            Some(below) => json!({"group": below.group, "version": below.version, "kind": below.kind}),
            None => {
                let kind = below.map_or(resource.kind.as_str(), |below| below.kind.as_ref());
                json!({"group": resource.group, "version": resource.version, "kind": kind})
            }
        }
    };
    let named = |resource: &ResourceInfo| json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
    let mut review = json!({
        "uid": uid,
        "kind": kind(&matched.resource),
        "resource": named(&matched.resource),
    });
    if !request.subresource.is_empty() {
        review["subResource"] = json!(request.subresource);
    }
    review["requestKind"] = kind(request.resource);
    review["requestResource"] = named(request.resource);
    if !request.subresource.is_empty() {
        review["requestSubResource"] = json!(request.subresource);
    }
    let name = match request.name {
        "" => object["metadata"]["name"].as_str().unwrap_or_default(),
        name => name,
    };
    for (key, value) in [("name", name), ("namespace", request.namespace)] {
        if !value.is_empty() {
            review[key] = json!(value);
        }
    }
    review["operation"] = json!(request.operation.as_str());
    review["userInfo"] = request.user.to_value();
    review["object"] = shown(request, &matched.resource, object);
    review["oldObject"] = old.map_or(Value::Null, |old| shown(request, &matched.resource, old));
    review["dryRun"] = json!(request.dry_run);
    review["options"] = request.options.clone();
    review
}

/// A stored object as the matched version shows it; what is sent to subresources is what it is.
pub(crate) fn shown(request: &Attributes<'_>, resource: &ResourceInfo, object: &Value) -> Value {
    let below = request.resource.subresource(request.subresource);
    let own = below.is_none_or(|below| below.version.is_empty() && below.kind == request.resource.kind);
    if object.is_null() || !own || !resource.stored() {
        return object.clone();
    }
    let mut object = object.clone();
    resource.from_storage(&mut object);
    typed_for(resource, &mut object);
    object
}

fn check(answer: &Value, uid: &str, version: &str, mutating: bool) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (own, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
    let expected = format!("admission.k8s.io/{version}");
    if (own.as_str(), kind.as_str()) != (expected.as_str(), "AdmissionReview") {
        let shown = format!("{own}, Kind={kind}");
        return Err(format!(
            "expected webhook response of {expected}, Kind=AdmissionReview, got {shown}"
        ));
    }
    let response = &answer["response"];
    if response.is_null() {
        return Err("webhook response was absent".into());
    }
    let answered = text(&response["uid"]);
    if version == "v1" && answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    let (patch, kind) = (text(&response["patch"]), text(&response["patchType"]));
    if patch.is_empty() && kind.is_empty() {
        return Ok(());
    }
    if !mutating {
        return Err(match patch.is_empty() {
            false => "validating webhook may not return response.patch".into(),
            true => "validating webhook may not return response.patchType".into(),
        });
    }
    match (patch.as_str(), kind.as_str()) {
        (_, "") if version == "v1" => Err("webhook returned response.patch but not response.patchType".into()),
        ("", _) => Err("webhook returned response.patchType but not response.patch".into()),
        (_, "JSONPatch" | "") => Ok(()),
        (_, other) => Err(format!(
            "invalid value of response.patchType: {other}, expected JSONPatch"
        )),
    }
}

/// Lets the mutating webhooks change the object, one after the other. Returns whether one did.
pub(crate) async fn mutate(
    server: &Server,
    request: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    rounds: &mut Rounds,
    notes: &mut Notes,
) -> Result<bool, Status> {
    let mut changed = false;
    let configurations = server.registered.webhooks(server, true);
    let hooks = configurations.iter().flat_map(|configuration| &configuration.value);
    for (index, hook) in hooks.enumerate() {
        let id = hook.id(index);
        if !rounds.calls(&id, hook.value["reinvocationPolicy"] == "IfNeeded", object) {
            continue;
        }
        let Some(matched) = hook.matches(server, request, object, old)? else {
            continue;
        };
        let response = match hook.ask(server, request, &matched, object, old).await {
            Ok(response) => response,
            Err(failed) => {
                let round = if rounds.second { "round_1" } else { "round_0" };
                hook.failed(failed, notes, &format!("mutation.webhook.{round}"))?;
                continue;
            }
        };
        hook.verdict(&response, notes)?;
        changed |= hook.apply(server, request, &matched, &response, object).await?;
        rounds.called(id, object);
    }
    Ok(changed)
}

impl Webhook {
    async fn apply(
        &self,
        server: &Server,
        request: &Attributes<'_>,
        matched: &Matched,
        response: &Value,
        object: &mut Value,
    ) -> Result<bool, Status> {
        use base64::Engine;
        let text = response["patch"].as_str().unwrap_or_default();
        if text.is_empty() {
            return Ok(false);
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(text);
        let operations = decoded
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let operations = operations
            .filter(Value::is_array)
            .ok_or_else(|| refusal::internal("the patch of a webhook is no JSON patch"))?;
        if operations.as_array().is_some_and(Vec::is_empty) {
            return Ok(false);
        }
        if object.is_null() {
            return Err(refusal::internal(format_args!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                self.name
            )));
        }
        let asked = codec::in_version(server, request.resource, &matched.resource, object).await?;
        let mut next = shown(request, &matched.resource, &asked);
        patch::json_patch(&mut next, &operations).map_err(|error| refusal::internal(format_args!("{error:?}")))?;
        let before = object.clone();
        let next = completed(matched, next);
        replace(
            codec::in_version(server, &matched.resource, request.resource, &next).await?,
            object,
        );
        Ok(*object != before)
    }
}

/// Makes what the matched version shows, after a change, the object that is stored.
pub(crate) fn put_back(matched: &Matched, next: Value, object: &mut Value) {
    replace(completed(matched, next), object);
}

/// What the matched version shows, after a change, as its strategy works with it.
fn completed(matched: &Matched, mut next: Value) -> Value {
    if matched.resource.stored() {
        matched.resource.to_storage(&mut next);
        matched.resource.default(&mut next);
    }
    next
}

/// Puts an object in the place of another, whose kind and version it gets.
fn replace(mut next: Value, object: &mut Value) {
    for key in ["kind", "apiVersion"] {
        match object.get(key) {
            Some(own) => next[key] = own.clone(),
            None => {
                next.as_object_mut().map(|next| next.shift_remove(key));
            }
        }
    }
    *object = next;
}

/// Asks all validating webhooks at once; the first refusal counts.
pub(crate) async fn validate(
    server: &Server,
    request: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    notes: &mut Notes,
) -> Result<(), Status> {
    let configurations = server.registered.webhooks(server, false);
    let mut matching = Vec::new();
    for hook in configurations.iter().flat_map(|configuration| &configuration.value) {
        if let Some(matched) = hook.matches(server, request, object, old)? {
            matching.push((hook, matched));
        }
    }
    let mut calls = Vec::with_capacity(matching.len());
    for (hook, matched) in &matching {
        calls.push(hook.ask(server, request, matched, object, old));
    }
    let mut outcome = Ok(());
    for ((hook, _), answered) in matching.iter().zip(join_all(calls).await) {
        let verdict = match answered {
            Ok(response) => hook.verdict(&response, notes),
            Err(failed) => hook.failed(failed, notes, "validation.webhook"),
        };
        outcome = outcome.and(verdict);
    }
    outcome
}
