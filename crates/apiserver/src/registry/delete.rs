//! Deletions: at once, after a grace period, or when the last finalizer lets go.
//!
//! Deleting is often only the start: the object gets a `deletionTimestamp` and stays until whoever has work to do before it
//! goes (the kubelet, the garbage collector, the namespace controller) has done it.

use std::sync::Arc;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use knarr_resource::Status;
use knarr_resource::admission::{Notes, Operation};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::coop::unconstrained;

use super::{ListOptions, Request, admission, codec, list};
use crate::object::{is_deleting, is_gone};
use crate::refusal;
use crate::server::Server;
use crate::store::{self, Expect, Object, Write, WriteError};

const TRIES: usize = 64;
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
    pub(crate) fn parse(value: Value) -> Result<Self, Status> {
        serde_json::from_value(value)
            .map_err(|error| Status::bad_request(format!("the delete options are not valid: {error}")))
    }

    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|values| !values.is_empty())
    }

    /// As admission sees them.
    pub(crate) fn to_value(&self) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_period_seconds {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(policy) = &self.propagation_policy {
            options["propagationPolicy"] = json!(policy);
        }
        if let Some(orphan) = self.orphan_dependents {
            options["orphanDependents"] = json!(orphan);
        }
        if let Some(Preconditions { uid, resource_version }) = &self.preconditions {
            options["preconditions"] = json!({});
            for (key, value) in [("uid", uid), ("resourceVersion", resource_version)] {
                if let Some(value) = value {
                    options["preconditions"][key] = json!(value);
                }
            }
        }
        if self.is_dry() {
            options["dryRun"] = json!(self.dry_run);
        }
        options
    }
}

/// What became of a deletion, as the version of the request shows it.
pub(crate) enum Deleted {
    /// The object is gone; this was its last state.
    Gone(Arc<Object>),
    /// It will go.
    Going(Arc<Object>),
    /// The object as it would be.
    Dry(Arc<Object>),
}

/// Deletes the object that the request names.
pub(crate) async fn delete(
    server: &Server,
    request: &Request,
    options: &DeleteOptions,
    notes: &mut Notes,
) -> Result<Deleted, Status> {
    delete_with(server, request, options, notes, |_, _| Ok(Vec::new())).await
}

/// How many deletions of a collection are under way at once: their writes share commits.
const AT_ONCE: usize = 512;

/// Deletes everything selected. Returns what that was.
pub(crate) async fn delete_collection(
    server: &Server,
    request: &Request,
    options: &DeleteOptions,
    selected: &ListOptions,
) -> Result<Vec<Arc<Object>>, Status> {
    let all = ListOptions {
        label_selector: selected.label_selector.clone(),
        field_selector: selected.field_selector.clone(),
        ..ListOptions::default()
    };
    let listed = list(server, request, &all).await?;
    let mut deleted = Vec::new();
    for some in listed.objects.chunks(AT_ONCE) {
        let deletions = some.iter().map(|object| {
            let one = Request {
                namespace: object.namespace().to_owned(),
                name: object.name().to_owned(),
                ..request.clone()
            };
            async move { delete(server, &one, options, &mut Notes::default()).await }
        });
        // Not interrupted by tokio, so that all of them are there when the store commits.
        let deletions = unconstrained(join_all(deletions.collect::<Vec<_>>()));
        for outcome in deletions.await {
            match outcome {
                Ok(Deleted::Gone(last) | Deleted::Going(last) | Deleted::Dry(last)) => deleted.push(last),
                // Somebody else was faster.
                Err(failure) if failure.code == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(deleted)
}

/// Deletes the object that the request names, and does in the same transaction what `along` returns for it; `along` may also
/// change what the deletion leaves of the object, if that does not go at once.
pub(crate) async fn delete_with(
    server: &Server,
    request: &Request,
    options: &DeleteOptions,
    notes: &mut Notes,
    along: impl Fn(&Value, Option<&mut Value>) -> Result<Vec<Write>, Status>,
) -> Result<Deleted, Status> {
    let resource = &request.resource;
    let name = request.name.as_str();
    let slot = server.slot_of(resource);
    let key = request.key();
    for _ in 0..TRIES {
        let live = server.store.get(slot, &key).ok_or_else(|| request.not_found())?;
        let (stored, old) = (live.value(), codec::decode(server, resource, &live).await?);
        check_preconditions(request, &live, options)?;
        let mut told = Notes::default();
        let attributes = request.attributes(Operation::Delete, name);
        admission::mutate(server, &attributes, &mut Value::Null, Some(&old), &mut told).await?;
        admission::validate(server, &attributes, &Value::Null, Some(&old), &mut told).await?;
        // Only its metadata changes, and that is the same in all versions.
        let mut next = mark(server.clock.now(), request, &stored, options);
        let others = along(&old, next.as_mut())?;
        let going = next.is_some();
        // On its way already, and nothing about that changes.
        if next.as_ref() == Some(&stored) {
            return Ok(Deleted::Going(codec::show_one(server, resource, live).await?));
        }
        if options.is_dry() {
            return Ok(Deleted::Dry(codec::show_one(server, resource, live).await?));
        }
        match write(server, slot, &live, next, others).await {
            Ok(object) => {
                told.warnings.iter().for_each(|warning| notes.warn(warning));
                notes.audit.extend(told.audit);
                let object = codec::show_one(server, resource, object).await?;
                return Ok(match going {
                    true => Deleted::Going(object),
                    false => Deleted::Gone(object),
                });
            }
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
    others: Vec<Write>,
) -> Result<Arc<Object>, WriteError> {
    let mut writes = vec![Write {
        slot,
        key: live.key.to_string(),
        expect: Expect::Version(live.version),
        value,
    }];
    writes.extend(others);
    match server.store.transact(writes).await {
        Ok(objects) => objects.into_iter().next().ok_or(WriteError::Missing),
        // What goes along was computed from something old as well.
        Err(refused) if refused.index > 0 => Err(WriteError::Conflict),
        Err(refused) => Err(refused.error),
    }
}

fn check_preconditions(request: &Request, live: &Object, options: &DeleteOptions) -> Result<(), Status> {
    let Some(preconditions) = &options.preconditions else {
        return Ok(());
    };
    let conflict = |why: String| Err(Status::conflict(&request.resource, &request.name, &why));
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
fn mark(now: Timestamp, request: &Request, old: &Value, options: &DeleteOptions) -> Option<Value> {
    let mut next = old.clone();
    set_propagation(&mut next, options, request.resource.orphans_dependents());
    let grace = request.resource.grace_period(old, options.grace_period_seconds);
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
    request.resource.mark_terminating(&mut next);
    (!is_gone(&request.resource, &next)).then_some(next)
}

/// Turns the propagation policy into the finalizer that stands for it.
fn set_propagation(object: &mut Value, options: &DeleteOptions, orphans: bool) {
    let mut finalizers: Vec<Value> = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let own = |finalizer: &Value| finalizer == ORPHAN || finalizer == FOREGROUND;
    let wanted = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
        (Some("Foreground"), _) => Some(FOREGROUND),
        (Some(_), _) | (None, Some(false)) => None,
        // Not asked for: whatever the object says itself, then its kind.
        (None, None) if orphans && !finalizers.iter().any(own) => Some(ORPHAN),
        (None, None) => return,
    };
    finalizers.retain(|finalizer| finalizer.as_str() == wanted || !own(finalizer));
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
