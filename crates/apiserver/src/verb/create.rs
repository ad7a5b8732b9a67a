//! POST: new objects.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::admission::{self, Operation};
use knarr_resource::{Context, Failure, generate_name};
use knarr_schema::managed;
use serde_json::Value;

use super::account;
use super::input::{self, Expected};
use super::modify::Outcome;
use crate::auth::escalate;
use crate::http::call::Call;
use crate::http::render;
use crate::object::{Service, name_of, typed_for};
use crate::refusal;
use crate::server::Server;
use crate::store::{self, Expect, Write, WriteError};

/// How often a generated name is tried again when it is taken.
const GENERATE_TRIES: usize = 8;

pub(crate) async fn answer(server: &Server, call: &Call, body: &[u8]) -> Result<Response<Body>, Failure> {
    call.form()?;
    let api_version = call.resource.api_version();
    let expected = Expected {
        api_version: &api_version,
        kind: &call.resource.kind,
    };
    let (object, warnings) = input::read(call, &expected, body)?;
    let created = async {
        check_place(call, &object)?;
        let outcome = insert(server, call, object, Track::Fields).await?;
        outcome.respond(server, call, StatusCode::CREATED)
    };
    // A refusal does not silence the warnings: a field with a typo is often why a required one is missing.
    let mut response = created.await.unwrap_or_else(refusal::response);
    render::warn(&mut response, &warnings);
    Ok(response)
}

/// Refuses an object that says it belongs elsewhere than its path.
pub(crate) fn check_place(call: &Call, object: &Value) -> Result<(), Failure> {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if call.resource.namespaced && !namespace.is_empty() && namespace != call.namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let name = name_of(object);
    if !call.name.is_empty() && !name.is_empty() && name != call.name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name
        )));
    }
    Ok(())
}

/// Whether the server still has to note who owns the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Fields,
    /// An apply has noted it.
    Done,
}

/// Takes a new object through defaults, admission and validation, and stores it.
pub(crate) async fn insert(server: &Server, call: &Call, object: Value, track: Track) -> Result<Outcome, Failure> {
    let dry_run = call.query.dry_run();
    let resource = &call.resource;
    let now = server.clock.now();
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && version != "0" {
        // Upstream it is the store that finds this, and nobody makes a Status of it.
        return Err(Failure {
            code: 500,
            reason: "",
            message: "resourceVersion should not be set on objects to be created".into(),
            details: Value::Null,
        });
    }
    let generated = name_of(&object).is_empty().then(|| {
        object["metadata"]["generateName"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    let mut value = object;
    resource.to_storage(&mut value);
    resource.default(&mut value);
    resource.prepare_create(
        &mut value,
        &Context {
            now,
            namespace: &call.namespace,
        },
    );
    account::awaited(server, call, &value).await;
    let name = name_of(&value).to_owned();
    let request = admission::Request {
        resource,
        subresource: None,
        operation: Operation::Create,
        namespace: &call.namespace,
        name: &name,
    };
    admission::admit(&request, &mut value, None, server)?;
    resource.default(&mut value);
    escalate::check(server, &call.user, resource, &value, None)?;
    let _lock = Service::lock(server, resource).await;
    Service::assign(server, resource, &mut value, None)?;
    let errors = resource.validate_create(&value);
    if !errors.is_empty() {
        return Err(Failure::invalid(
            &resource.group,
            &resource.kind,
            name_of(&value),
            &errors,
        ));
    }
    if track == Track::Fields {
        let options = managed::TrackOptions {
            manager: call.manager(),
            api_version: &resource.api_version(),
            subresource: "",
            now,
        };
        typed_for(resource, &mut value);
        managed::track(&resource.schema, None, &mut value, &options);
    }
    let slot = server.slot_of(resource);
    for _ in 0..GENERATE_TRIES {
        let name = name_of(&value).to_owned();
        let key = store::key(&call.namespace, &name);
        if dry_run {
            return match server.store.get(slot, &key) {
                Some(_) => Err(Failure::already_exists(resource, &name)),
                None => Ok(Outcome::Dry(value, true)),
            };
        }
        let write = Write {
            slot,
            key,
            expect: Expect::Absent,
            value: Some(value.clone()),
        };
        match server.store.write(write).await {
            Ok(object) => return Ok(Outcome::Stored(object, true)),
            Err(WriteError::Exists) if generated.is_some() => {
                value["metadata"]["name"] = generate_name(generated.as_deref().unwrap_or_default()).into();
            }
            Err(error) => return Err(refusal::write(resource, &name, &error)),
        }
    }
    Err(Failure::already_exists(resource, name_of(&value)))
}
