//! New objects.

use knarr_resource::admission::{Notes, Operation};
use knarr_resource::{Status, generate_name};
use knarr_schema::managed;
use serde_json::Value;

use super::{Outcome, Request, Track, account, admission, codec, quota};
use crate::auth::escalate;
use crate::object::{Service, name_of, typed_for};
use crate::refusal;
use crate::server::Server;
use crate::store::{self, Expect, Write, WriteError};

/// How often a generated name is tried again when it is taken, and a quota when somebody else charges it.
const TRIES: usize = 64;
const GENERATE_TRIES: usize = 8;

/// Takes a new object through defaults, admission and validation, and stores it.
pub(crate) async fn create(
    server: &Server,
    request: &Request,
    object: Value,
    track: Track,
    notes: &mut Notes,
) -> Result<Outcome, Status> {
    let resource = &request.resource;
    let now = server.clock.now();
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && version != "0" {
        // Upstream it is the store that finds this, and nobody makes a Status of it.
        return Err(Status {
            code: 500,
            reason: "",
            message: "resourceVersion should not be set on objects to be created".into(),
            details: Value::Null,
        });
    }
    let mut value = object;
    resource.to_storage(&mut value);
    resource.default(&mut value);
    resource.prepare_create(&mut value, &request.namespace);
    let generated = name_of(&value).is_empty().then(|| {
        let base = value["metadata"]["generateName"].as_str();
        base.unwrap_or_default().to_owned()
    });
    // What admission puts in belongs to nobody, so the fields are counted before.
    if track == Track::Fields {
        let options = managed::TrackOptions {
            manager: &request.manager,
            api_version: &resource.api_version(),
            subresource: "",
            now,
        };
        typed_for(resource, &mut value);
        managed::track(&resource.schema, None, &mut value, &options);
    }
    account::awaited(server, request, &value).await;
    let name = name_of(&value).to_owned();
    let attributes = request.attributes(Operation::Create, &name);
    admission::mutate(server, &attributes, &mut value, None, notes).await?;
    resource.identify(&mut value, now);
    resource.prepare_create(&mut value, &request.namespace);
    resource.default(&mut value);
    escalate::check(server, &request.user, resource, &value, None)?;
    let _lock = Service::lock(server, resource).await;
    Service::assign(server, resource, &mut value, None)?;
    let errors = resource.validate_create(&value);
    if !errors.is_empty() {
        let name = name_of(&value);
        return Err(Status::invalid(&resource.group, &resource.kind, name, &errors));
    }
    notes.warnings.extend(resource.warnings(&value, None));
    let name = name_of(&value).to_owned();
    let attributes = request.attributes(Operation::Create, &name);
    admission::validate(server, &attributes, &value, None, notes).await?;
    store(server, request, value, generated).await
}

async fn store(
    server: &Server,
    request: &Request,
    mut value: Value,
    generated: Option<String>,
) -> Result<Outcome, Status> {
    let resource = &request.resource;
    let slot = server.slot_of(resource);
    let mut names = GENERATE_TRIES;
    let mut stored = codec::encode(server, resource, value.clone()).await?;
    for _ in 0..TRIES {
        let name = name_of(&value).to_owned();
        let key = store::key(&request.namespace, &name);
        let attributes = request.attributes(Operation::Create, &name);
        let charges = quota::charge(server, &attributes, &value, None)?;
        if request.dry_run {
            return match server.store.get(slot, &key) {
                Some(_) => Err(Status::already_exists(resource, &name)),
                None => Ok(Outcome::Dry(value, true)),
            };
        }
        let mut writes = vec![Write {
            slot,
            key,
            expect: Expect::Absent,
            value: Some(stored.clone()),
        }];
        writes.extend(charges);
        match server.store.transact(writes).await {
            Ok(objects) => {
                let object = objects.into_iter().next();
                let object = object.ok_or_else(|| refusal::internal("the store returned no object"))?;
                return Ok(Outcome::Stored(codec::show_one(server, resource, object).await?, true));
            }
            // Somebody else charged the same quota: what is left of it may still do.
            Err(refused) if refused.index > 0 => {}
            Err(refused) => match refused.error {
                WriteError::Exists if generated.is_some() && names > 1 => {
                    names -= 1;
                    value["metadata"]["name"] = generate_name(generated.as_deref().unwrap_or_default()).into();
                    stored["metadata"]["name"] = value["metadata"]["name"].clone();
                }
                error => return Err(refusal::write(resource, &name, &error)),
            },
        }
    }
    Err(refusal::modified(resource, name_of(&value)))
}
