//! Changing an object that is there: the loop behind PUT, PATCH and every subresource that writes.

use std::sync::Arc;

use knarr_resource::admission::{Notes, Operation};
use knarr_resource::{Cause, FieldError, Path, Status};
use knarr_schema::managed;
use serde_json::{Value, json};

use super::{Outcome, Request, Track, admission, codec, create, quota};
use crate::auth::escalate;
use crate::object::{Service, is_gone, typed_for};
use crate::refusal;
use crate::server::Server;
use crate::store::{Expect, Object, Write, WriteError};

/// How often a change that does not say which version it is based on is tried again when another write comes first. With
/// a single writer a try fails only if somebody else succeeded.
const TRIES: usize = 64;

/// Puts a whole object in the place of the one that is there; some kinds are made if they are not.
pub(crate) async fn replace(
    server: &Server,
    request: &Request,
    mut object: Value,
    notes: &mut Notes,
) -> Result<Outcome, Status> {
    let resource = &request.resource;
    let creates = request.subresource.is_empty() && resource.creates_on_update();
    if creates && server.store.get(server.slot_of(resource), &request.key()).is_none() {
        object["metadata"]["name"] = request.name.clone().into();
        return create(server, request, object, Track::Fields, notes).await;
    }
    update(server, request, Track::Fields, notes, |_| Ok(object.clone())).await
}

/// Changes an object into what `change` makes of it.
///
/// `change` gets the object in the version of the request. If what it returns carries a resourceVersion other than the
/// object's, the request is based on something old and is refused; otherwise it is computed again until it meets no other
/// write. Admission judges each try, as in Kubernetes, because each is about another old object.
pub(crate) async fn update(
    server: &Server,
    request: &Request,
    track: Track,
    notes: &mut Notes,
    mut change: impl FnMut(Value) -> Result<Value, Status>,
) -> Result<Outcome, Status> {
    let resource = &request.resource;
    let slot = server.slot_of(resource);
    let key = request.key();
    let _lock = match request.below() {
        None => Service::lock(server, resource).await,
        Some(_) => None,
    };
    for _ in 0..TRIES {
        let live = server.store.get(slot, &key).ok_or_else(|| request.not_found())?;
        let old = codec::decode(server, resource, &live).await?;
        let changed = change(codec::present(resource, old.clone()))?;
        let mut told = Notes::default();
        let next = prepare(server, request, track, &old, changed, &mut told).await;
        // A try that is repeated repeats its warnings.
        let tell = |notes: &mut Notes| {
            told.warnings.iter().for_each(|warning| notes.warn(warning));
            notes.audit.extend(told.audit);
        };
        let next = match next {
            Ok(next) => next,
            Err(failure) => {
                tell(notes);
                return Err(failure);
            }
        };
        // A write that changes nothing is none: it wakes no watch and gets no new version.
        let mut before = old.clone();
        typed_for(resource, &mut before);
        let gone = is_gone(resource, &next);
        if next == before && !gone && (request.dry_run || codec::is_current(resource, &live.value())) {
            tell(notes);
            return Ok(match request.dry_run {
                true => Outcome::Dry(next, false),
                false => Outcome::Stored(codec::show_one(server, resource, live).await?, false),
            });
        }
        let attributes = request.attributes(Operation::Update, &request.name);
        let charges = match gone {
            true => Vec::new(),
            false => quota::charge(server, &attributes, &next, Some(&old))?,
        };
        if request.dry_run {
            tell(notes);
            return Ok(Outcome::Dry(next, false));
        }
        // Without the last finalizer the object goes, in one step: watches see it as it was, deleted; the client gets what
        // it asked for.
        let outcome = match gone {
            false => {
                let next = codec::encode(server, resource, next).await?;
                let stored = store(server, request, &live, Some(next), charges).await;
                match stored {
                    Ok(object) => Ok(Outcome::Stored(codec::show_one(server, resource, object).await?, false)),
                    Err(error) => Err(error),
                }
            }
            true => {
                let deleted = store(server, request, &live, None, charges).await;
                deleted.map(|_| Outcome::Dry(next, false))
            }
        };
        match outcome {
            Ok(outcome) => {
                tell(notes);
                return Ok(outcome);
            }
            Err(WriteError::Conflict) => {}
            Err(error) => return Err(refusal::write(resource, &request.name, &error)),
        }
    }
    Err(refusal::modified(resource, &request.name))
}

/// Changes an object as the system wants it, after admission of whatever asked for that: no strategy has a say, but the
/// fields get an owner.
pub(crate) async fn assign(
    server: &Server,
    request: &Request,
    change: impl Fn(&mut Value) -> Result<(), Status>,
) -> Result<(), Status> {
    let resource = &request.resource;
    let (slot, key) = (server.slot_of(resource), request.key());
    for _ in 0..TRIES {
        let live = server.store.get(slot, &key).ok_or_else(|| request.not_found())?;
        let mut old = live.value();
        let mut next = old.clone();
        change(&mut next)?;
        typed_for(resource, &mut old);
        typed_for(resource, &mut next);
        let options = managed::TrackOptions {
            manager: &request.manager,
            api_version: &resource.api_version(),
            subresource: &request.subresource,
            now: server.clock.now(),
        };
        managed::track(&resource.schema, Some(&old), &mut next, &options);
        if request.dry_run || next == old {
            return Ok(());
        }
        match store(server, request, &live, Some(next), Vec::new()).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Conflict) => {}
            Err(error) => return Err(refusal::write(resource, &request.name, &error)),
        }
    }
    Err(refusal::modified(resource, &request.name))
}

async fn store(
    server: &Server,
    request: &Request,
    live: &Object,
    value: Option<Value>,
    charges: Vec<Write>,
) -> Result<Arc<Object>, WriteError> {
    let mut writes = vec![Write {
        slot: server.slot_of(&request.resource),
        key: live.key.to_string(),
        expect: Expect::Version(live.version),
        value,
    }];
    writes.extend(charges);
    match server.store.transact(writes).await {
        Ok(objects) => objects.into_iter().next().ok_or(WriteError::Missing),
        Err(refused) if refused.index > 0 => Err(WriteError::Conflict),
        Err(refused) => Err(refused.error),
    }
}

/// Takes a changed object through the same stations as a new one.
async fn prepare(
    server: &Server,
    request: &Request,
    track: Track,
    old: &Value,
    changed: Value,
    notes: &mut Notes,
) -> Result<Value, Status> {
    let resource = &request.resource;
    let mut next = changed;
    request.check_place(&next)?;
    check_basis(request, old, &next)?;
    resource.to_storage(&mut next);
    resource.default(&mut next);
    resource.prepare_update(&mut next, old, request.below());
    typed_for(resource, &mut next);
    next["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    if track == Track::Fields {
        let mut before = old.clone();
        typed_for(resource, &mut before);
        let options = managed::TrackOptions {
            manager: &request.manager,
            api_version: &resource.api_version(),
            subresource: &request.subresource,
            now: server.clock.now(),
        };
        managed::track(&resource.schema, Some(&before), &mut next, &options);
    }
    let attributes = request.attributes(Operation::Update, &request.name);
    if admission::mutate(server, &attributes, &mut next, Some(old), notes).await? {
        resource.default(&mut next);
        resource.prepare_update(&mut next, old, request.below());
        next["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    }
    escalate::check(server, &request.user, resource, &next, Some(old))?;
    if request.subresource.is_empty() {
        Service::assign(server, resource, &mut next, Some(old))?;
    }
    let errors = resource.validate_update(&next, old, request.below());
    if !errors.is_empty() {
        return Err(Status::invalid(&resource.group, &resource.kind, &request.name, &errors));
    }
    if request.subresource.is_empty() {
        notes.warnings.extend(resource.warnings(&next, Some(old)));
    }
    admission::validate(server, &attributes, &next, Some(old), notes).await?;
    typed_for(resource, &mut next);
    Ok(next)
}

/// Refuses a change that is based on another object of the same name, or on another version of this one.
fn check_basis(request: &Request, old: &Value, next: &Value) -> Result<(), Status> {
    let resource = &request.resource;
    let text = |object: &Value, key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    let (uid, own) = (text(next, "uid"), text(old, "uid"));
    if !uid.is_empty() && uid != own {
        return Err(Status::conflict(
            resource,
            &request.name,
            &format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"),
        ));
    }
    let invalid = |value: Value, detail: String| {
        let error = FieldError {
            path: Path::new("metadata").child("resourceVersion"),
            cause: Cause::Invalid,
            value,
            detail,
        };
        Status::invalid(&resource.group, &resource.kind, &request.name, &[error])
    };
    match text(next, "resourceVersion").as_str() {
        "" | "0" if request.verb == "update" && !resource.updates_unconditionally() => {
            Err(invalid(json!(0), "must be specified for an update".into()))
        }
        "" | "0" => Ok(()),
        version if version == text(old, "resourceVersion") => Ok(()),
        version if version.parse::<u64>().is_err() => Err(invalid(
            json!(version),
            format!("strconv.ParseUint: parsing {version:?}: invalid syntax"),
        )),
        _ => Err(refusal::modified(resource, &request.name)),
    }
}
