//! Changing an object that is there: the loop behind PUT, PATCH and every subresource that writes.

use std::sync::Arc;

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::admission::{self, Operation};
use knarr_resource::{Cause, Failure, FieldError, Path};
use knarr_schema::managed;
use serde_json::{Value, json};

use super::create::{Track, check_place};
use crate::auth::escalate;
use crate::http::call::Call;
use crate::http::render;
use crate::object::{Service, is_gone, typed_for};
use crate::refusal;
use crate::server::Server;
use crate::store::{Expect, Object, Write, WriteError};

/// How often a change that does not say which version it is based on is tried again when another write comes first. With
/// a single writer a try fails only if somebody else succeeded.
const TRIES: usize = 64;

/// What became of a write.
pub(crate) enum Outcome {
    /// The object as it is now, and whether it is new.
    Stored(Arc<Object>, bool),
    /// The object as it would be, or as it was at the very end, and whether it would be new.
    Dry(Value, bool),
}

impl Outcome {
    pub(crate) fn created(&self) -> bool {
        match self {
            Self::Stored(_, created) | Self::Dry(_, created) => *created,
        }
    }

    /// The object, with kind and version.
    pub(crate) fn into_value(self, call: &Call) -> Value {
        match self {
            Self::Stored(object, _) => render::present(&call.resource, &object),
            Self::Dry(value, _) => dry(call, value),
        }
    }

    pub(crate) fn respond(self, server: &Server, call: &Call, code: StatusCode) -> Result<Response<Body>, Failure> {
        match self {
            Self::Stored(object, _) => render::object(server, call, code, &object),
            Self::Dry(value, _) => render::value(server, call, code, dry(call, value)),
        }
    }
}

fn dry(call: &Call, mut value: Value) -> Value {
    call.resource.from_storage(&mut value);
    typed_for(&call.resource, &mut value);
    value
}

/// Replaces an object by what `change` makes of it.
///
/// `change` gets the object in the version of the request. If what it returns carries a resourceVersion other than the
/// object's, the request is based on something old and is refused; otherwise it is computed again until it meets no other
/// write.
pub(crate) async fn modify(
    server: &Server,
    call: &Call,
    subresource: Option<&str>,
    track: Track,
    mut change: impl FnMut(Value) -> Result<Value, Failure>,
) -> Result<Outcome, Failure> {
    let dry_run = call.query.dry_run();
    let resource = &call.resource;
    let slot = server.slot_of(resource);
    let key = call.key();
    let _lock = match subresource {
        None => Service::lock(server, resource).await,
        Some(_) => None,
    };
    for _ in 0..TRIES {
        let live = server.store.get(slot, &key).ok_or_else(|| call.not_found())?;
        let old = live.value();
        let changed = change(render::present(resource, &live))?;
        let next = prepare(server, call, subresource, track, &old, changed)?;
        // A write that changes nothing is none: it wakes no watch and gets no new version.
        let mut before = old.clone();
        typed_for(resource, &mut before);
        let gone = is_gone(resource, &next);
        if next == before && !gone {
            return Ok(match dry_run {
                true => Outcome::Dry(next, false),
                false => Outcome::Stored(live, false),
            });
        }
        if dry_run {
            return Ok(Outcome::Dry(next, false));
        }
        // Without the last finalizer the object goes, in one step: watches see it as it was, deleted; the client gets what
        // it asked for.
        let outcome = match gone {
            false => {
                let stored = store(server, call, &live, Some(next)).await;
                stored.map(|object| Outcome::Stored(object, false))
            }
            true => {
                let deleted = store(server, call, &live, None).await;
                deleted.map(|_| Outcome::Dry(next, false))
            }
        };
        match outcome {
            Ok(outcome) => return Ok(outcome),
            Err(WriteError::Conflict) => {}
            Err(error) => return Err(refusal::write(resource, &call.name, &error)),
        }
    }
    Err(refusal::modified(resource, &call.name))
}

async fn store(server: &Server, call: &Call, live: &Object, value: Option<Value>) -> Result<Arc<Object>, WriteError> {
    let write = Write {
        slot: server.slot_of(&call.resource),
        key: live.key.to_string(),
        expect: Expect::Version(live.version),
        value,
    };
    server.store.write(write).await
}

/// Takes a changed object through the same stations as a new one.
fn prepare(
    server: &Server,
    call: &Call,
    subresource: Option<&str>,
    track: Track,
    old: &Value,
    changed: Value,
) -> Result<Value, Failure> {
    let resource = &call.resource;
    let mut next = changed;
    check_place(call, &next)?;
    check_basis(call, old, &next)?;
    resource.to_storage(&mut next);
    resource.default(&mut next);
    resource.prepare_update(&mut next, old, subresource);
    let request = admission::Request {
        resource,
        subresource,
        operation: Operation::Update,
        namespace: &call.namespace,
        name: &call.name,
    };
    admission::admit(&request, &mut next, Some(old), server)?;
    resource.default(&mut next);
    escalate::check(server, &call.user, resource, &next, Some(old))?;
    if subresource.is_none() {
        Service::assign(server, resource, &mut next, Some(old))?;
    }
    let errors = resource.validate_update(&next, old, subresource);
    if !errors.is_empty() {
        return Err(Failure::invalid(&resource.group, &resource.kind, &call.name, &errors));
    }
    typed_for(resource, &mut next);
    next["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    if track == Track::Fields {
        let mut before = old.clone();
        typed_for(resource, &mut before);
        let options = managed::TrackOptions {
            manager: call.manager(),
            api_version: &resource.api_version(),
            subresource: subresource.unwrap_or_default(),
            now: server.clock.now(),
        };
        managed::track(&resource.schema, Some(&before), &mut next, &options);
    }
    Ok(next)
}

/// Refuses a change that is based on another object of the same name, or on another version of this one.
fn check_basis(call: &Call, old: &Value, next: &Value) -> Result<(), Failure> {
    let text = |object: &Value, key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (uid, own) = (text(next, "uid"), text(old, "uid"));
    if !uid.is_empty() && uid != own {
        return Err(Failure::conflict(
            &call.resource,
            &call.name,
            &format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"),
        ));
    }
    match text(next, "resourceVersion").as_str() {
        "" | "0" if call.verb == "update" && !call.resource.updates_unconditionally() => {
            let missing = FieldError {
                path: Path::new("metadata").child("resourceVersion"),
                cause: Cause::Invalid,
                value: json!(0),
                detail: "must be specified for an update".into(),
            };
            Err(Failure::invalid(
                &call.resource.group,
                &call.resource.kind,
                &call.name,
                &[missing],
            ))
        }
        "" | "0" => Ok(()),
        version if version == text(old, "resourceVersion") => Ok(()),
        version if version.parse::<u64>().is_err() => {
            let invalid = FieldError {
                path: Path::new("metadata").child("resourceVersion"),
                cause: Cause::Invalid,
                value: json!(version),
                detail: format!("strconv.ParseUint: parsing {version:?}: invalid syntax"),
            };
            Err(Failure::invalid(
                &call.resource.group,
                &call.resource.kind,
                &call.name,
                &[invalid],
            ))
        }
        _ => Err(refusal::modified(&call.resource, &call.name)),
    }
}
