//! DELETE: one object or many, at once, after a grace period, or when the last finalizer lets go.
//!
//! Deleting is often only the start: the object gets a `deletionTimestamp` and stays until whoever has work to do before it
//! goes (the kubelet, the garbage collector, the namespace controller) has done it.

use std::sync::Arc;

use axum::body::Body;
use futures::future::join_all;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use knarr_resource::admission::{self, Operation};
use knarr_resource::{Cause, Errors, Failure, Path};
use serde::Deserialize;
use serde_json::{Value, json};

use super::select::Selection;
use crate::http::body;
use crate::http::call::Call;
use crate::http::options;
use crate::http::render::{self, Writer};
use crate::object::{is_deleting, is_gone};
use crate::refusal;
use crate::server::Server;
use crate::store::{self, Expect, Object, Write, WriteError};

const TRIES: usize = 64;
/// Deletions of a collection under way at the same time.
const AT_ONCE: usize = 512;
/// The finalizers by which the garbage collector is told what to do with the dependents first.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `meta.k8s.io` DeleteOptions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation_policy: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub preconditions: Option<Preconditions>,
    pub dry_run: Option<Vec<String>>,
}

/// What must hold for the deletion.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body if there is one, else from the query.
    pub(crate) fn read(call: &Call, bytes: &[u8]) -> Result<Self, Failure> {
        let mut options = if bytes.trim_ascii().is_empty() {
            Self {
                grace_period_seconds: call.query.number("gracePeriodSeconds")?,
                propagation_policy: call.query.get("propagationPolicy").map(str::to_owned),
                orphan_dependents: call
                    .query
                    .get("orphanDependents")
                    .map(|_| call.query.flag("orphanDependents")),
                dry_run: Some(call.query.all("dryRun").map(str::to_owned).collect()),
                ..Self::default()
            }
        } else {
            let (value, _) = body::decode(call.header("content-type"), "DeleteOptions", bytes)?;
            Self::is_meant(call, &value)?;
            Self::parse(value)?
        };
        options.check(call)?;
        Ok(options)
    }

    /// Refuses a body that is something else. Every group has these options under its own name.
    fn is_meant(call: &Call, value: &Value) -> Result<(), Failure> {
        let text = |key: &str| value[key].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let known = matches!(api_version, "" | "v1" | "meta.k8s.io/v1") || api_version == call.resource.api_version();
        if !known || !matches!(kind, "" | "DeleteOptions") {
            return Err(Failure::bad_request(format!(
                "no kind {kind:?} is registered for version {api_version:?}"
            )));
        }
        Ok(())
    }

    pub(crate) fn parse(value: Value) -> Result<Self, Failure> {
        serde_json::from_value(value)
            .map_err(|error| Failure::bad_request(format!("the delete options are not valid: {error}")))
    }

    fn check(&mut self, call: &Call) -> Result<(), Failure> {
        let path = Path::new("propagationPolicy");
        let mut errors = Errors::new();
        if self.propagation_policy.is_some() && self.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(&path, Cause::Invalid, json!(self.propagation_policy), why);
        }
        match self.propagation_policy.as_deref() {
            None | Some("Background" | "Foreground" | "Orphan") => {}
            Some(other) => {
                let why = r#"supported values: "Foreground", "Background", "Orphan", "nil""#;
                errors.push(&path, Cause::NotSupported, other, why);
            }
        }
        let dry_run: Vec<&str> = self.dry_run.iter().flatten().map(String::as_str).collect();
        options::dry_run(&dry_run, &mut errors);
        options::refuse("DeleteOptions", errors)?;
        if call.query.dry_run() {
            self.dry_run = Some(vec!["All".into()]);
        }
        // Negative grace periods are an old way to ask for the shortest one.
        self.grace_period_seconds = self
            .grace_period_seconds
            .map(|seconds| if seconds < 0 { 1 } else { seconds });
        Ok(())
    }

    fn is_dry(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|values| !values.is_empty())
    }
}

/// What became of a deletion.
enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Object>),
    /// It will go.
    Going(Arc<Object>),
    /// The object as it would be.
    Dry(Arc<Object>),
}

pub(crate) async fn answer(server: &Server, call: &Call, bytes: &[u8]) -> Result<Response<Body>, Failure> {
    let options = DeleteOptions::read(call, bytes)?;
    match delete(server, call, &call.key(), &call.name, &options).await? {
        Deleted::Going(object) => render::object(server, call, StatusCode::OK, &object),
        Deleted::Gone(object) | Deleted::Dry(object) if answers_with_object(call) => {
            render::object(server, call, StatusCode::OK, &object)
        }
        Deleted::Gone(object) | Deleted::Dry(object) => {
            let status = render::success(&call.resource, object.name(), &object.uid);
            render::plain(call.form()?, StatusCode::OK, &status)
        }
    }
}

/// Deletes a pod for an eviction.
pub(crate) async fn evict(server: &Server, call: &Call, options: &DeleteOptions) -> Result<(), Failure> {
    delete(server, call, &call.key(), &call.name, options).await.map(drop)
}

/// Kinds whose deletion has always been answered with the object instead of a Status.
fn answers_with_object(call: &Call) -> bool {
    matches!(
        call.resource.storage.as_str(),
        "pods"
            | "services"
            | "serviceaccounts"
            | "podtemplates"
            | "resourcequotas"
            | "persistentvolumes"
            | "persistentvolumeclaims"
    )
}

/// Deletes everything selected, and answers with what that was.
pub(crate) async fn collection(server: &Server, call: &Call, bytes: &[u8]) -> Result<Response<Body>, Failure> {
    let options = DeleteOptions::read(call, bytes)?;
    let form = call.form()?;
    let selection = Selection::of(call)?;
    let snapshot = server.store.list(server.slot_of(&call.resource), call.scope());
    let selected: Vec<_> = snapshot
        .objects
        .iter()
        .filter(|object| selection.matches(object))
        .collect();
    let mut deleted = Vec::with_capacity(selected.len());
    // Side by side, so that those of one round share a commit group.
    for round in selected.chunks(AT_ONCE) {
        let deletions = round
            .iter()
            .map(|object| delete(server, call, &object.key, object.name(), &options));
        for outcome in join_all(deletions).await {
            match outcome {
                Ok(Deleted::Gone(last) | Deleted::Going(last) | Deleted::Dry(last)) => deleted.push(last),
                // Somebody else was faster.
                Err(failure) if failure.code == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    let meta = json!({"resourceVersion": server.store.version().to_string()});
    let writer = Writer::new(call, form.shape)?;
    render::finish(form.encoding, StatusCode::OK, writer.list(server, &deleted, &meta))
}

async fn delete(
    server: &Server,
    call: &Call,
    key: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Failure> {
    let resource = &call.resource;
    let slot = server.slot_of(resource);
    for _ in 0..TRIES {
        let live = server
            .store
            .get(slot, key)
            .ok_or_else(|| Failure::not_found(resource, name))?;
        let old = live.value();
        check_preconditions(call, name, &live, options)?;
        let request = admission::Request {
            resource,
            subresource: None,
            operation: Operation::Delete,
            namespace: live.namespace(),
            name,
        };
        admission::admit(&request, &mut Value::Null, Some(&old), server)?;
        let next = mark(server.clock.now(), call, &old, options);
        let outcome = match next {
            // On its way already, and nothing about that changes.
            Some(next) if next == old => return Ok(Deleted::Going(live)),
            _ if options.is_dry() => return Ok(Deleted::Dry(live)),
            Some(next) => write(server, slot, &live, Some(next)).await.map(Deleted::Going),
            None => write(server, slot, &live, None).await.map(Deleted::Gone),
        };
        match outcome {
            Ok(deleted) => return Ok(deleted),
            Err(WriteError::Conflict) => {}
            Err(error) => return Err(refusal::write(resource, name, &error)),
        }
    }
    Err(refusal::modified(resource, name))
}

async fn write(
    server: &Server,
    slot: store::Slot,
    live: &Object,
    value: Option<Value>,
) -> Result<Arc<Object>, WriteError> {
    let write = Write {
        slot,
        key: live.key.to_string(),
        expect: Expect::Version(live.version),
        value,
    };
    server.store.write(write).await
}

fn check_preconditions(call: &Call, name: &str, live: &Object, options: &DeleteOptions) -> Result<(), Failure> {
    let Some(preconditions) = &options.preconditions else {
        return Ok(());
    };
    let conflict = |why: String| Err(Failure::conflict(&call.resource, name, &why));
    match &preconditions.uid {
        Some(uid) if **uid != *live.uid => {
            return conflict(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                live.uid
            ));
        }
        _ => {}
    }
    match &preconditions.resource_version {
        Some(version) if *version != live.version.to_string() => conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
            live.version
        )),
        _ => Ok(()),
    }
}

/// The object as the deletion leaves it, or none if nothing has to be waited for.
fn mark(now: Timestamp, call: &Call, old: &Value, options: &DeleteOptions) -> Option<Value> {
    let mut next = old.clone();
    set_propagation(&mut next, options);
    let grace = call.resource.grace_period(old, options.grace_period_seconds);
    let stamp = |seconds: i64| {
        let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        json!(at.to_string())
    };
    if is_deleting(old) {
        // A second deletion can only shorten the grace period of the first.
        let left = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if let (Some(_), Some(asked)) = (grace, options.grace_period_seconds)
            && asked < left
        {
            let until = old["metadata"]["deletionTimestamp"]
                .as_str()
                .and_then(|text| text.parse::<Timestamp>().ok())
                .and_then(|until| until.checked_add(SignedDuration::from_secs(asked - left)).ok());
            next["metadata"]["deletionTimestamp"] =
                until.map_or_else(|| stamp(asked), |until| json!(until.to_string()));
            next["metadata"]["deletionGracePeriodSeconds"] = json!(asked);
        }
    } else {
        let seconds = grace.unwrap_or(0);
        next["metadata"]["deletionTimestamp"] = stamp(seconds);
        next["metadata"]["deletionGracePeriodSeconds"] = json!(seconds);
        if let Some(generation) = next["metadata"]["generation"]
            .as_i64()
            .filter(|generation| *generation > 0)
        {
            next["metadata"]["generation"] = json!(generation + 1);
        }
    }
    call.resource.mark_terminating(&mut next);
    (!is_gone(&call.resource, &next)).then_some(next)
}

/// Turns the propagation policy into the finalizer that stands for it.
fn set_propagation(object: &mut Value, options: &DeleteOptions) {
    let wanted = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
        (Some("Foreground"), _) => Some(FOREGROUND),
        (Some(_), _) | (None, Some(false)) => None,
        // Not asked for: whatever the object says itself.
        (None, None) => return,
    };
    let mut finalizers: Vec<Value> = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.retain(|finalizer| {
        let own = finalizer.as_str().unwrap_or_default();
        Some(own) == wanted || (own != ORPHAN && own != FOREGROUND)
    });
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|finalizer| finalizer == wanted)
    {
        finalizers.push(wanted.into());
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        match finalizers.is_empty() {
            true => metadata.shift_remove("finalizers"),
            false => metadata.insert("finalizers".into(), finalizers.into()),
        };
    }
}
