//! The number of replicas of anything that has replicas.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::admission::Notes;
use knarr_resource::{Status, scale};
use knarr_schema::managed::{self, ApplyOptions};
use serde_json::{Value, json};

use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::{self, Outcome, Patch, Track};
use crate::server::Server;
use crate::verb::input::{self, Expected};
use crate::verb::patch;
use crate::verb::update::check_name;

const SCALE: Expected<'_> = Expected {
    api_version: "autoscaling/v1",
    kind: "Scale",
};

pub(crate) async fn answer(server: &Server, call: &RequestInfo, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    if call.verb == "get" {
        let live = registry::get(server, &call.request(), None).await?;
        let live = Outcome::Stored(live, false).into_value(&call.resource);
        return render::plain(form, StatusCode::OK, &read(call, &live)?);
    }
    let (change, warnings) = match call.verb {
        "update" => {
            let (scale, warnings) = input::read(call, &SCALE, bytes)?;
            call.request().check_place(&scale)?;
            check_name(call, &scale)?;
            (Change::Whole(scale), warnings)
        }
        _ => {
            let (patch, _) = patch::read(call, bytes)?;
            (Change::Patch(patch), Vec::new())
        }
    };
    let mut notes = Notes {
        warnings,
        ..Notes::default()
    };
    let outcome = registry::update(server, &call.request(), Track::Fields, &mut notes, |mut workload| {
        let scaled = change.apply(server, call, read(call, &workload)?)?;
        write(call, &mut workload, &scaled)?;
        Ok(workload)
    })
    .await?;
    let scaled = read(call, &outcome.into_value(&call.resource))?;
    let mut response = render::plain(form, StatusCode::OK, &scaled)?;
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}

/// The Scale of an object; a custom resource says where its replicas are.
fn read(call: &RequestInfo, object: &Value) -> Result<Value, Status> {
    match paths(call) {
        Some(paths) => paths.read(object),
        None => Ok(scale::read(object)),
    }
}

fn write(call: &RequestInfo, object: &mut Value, scaled: &Value) -> Result<(), Status> {
    match paths(call) {
        Some(paths) => paths.write(object, scaled),
        None => scale::write(object, scaled),
    }
}

fn paths(call: &RequestInfo) -> Option<&scale::Paths> {
    call.resource.definition.as_ref()?.scale.as_ref()
}

enum Change {
    Whole(Value),
    Patch(Patch),
}

impl Change {
    fn apply(&self, server: &Server, call: &RequestInfo, mut scale: Value) -> Result<Value, Status> {
        let schema = &SCALE.schema();
        match self {
            Self::Whole(whole) => Ok(whole.clone()),
            Self::Patch(Patch::Apply(applied)) => {
                let mut applied = applied.clone();
                applied["metadata"] = json!({"name": call.name, "namespace": call.namespace});
                let options = ApplyOptions {
                    manager: call.manager(),
                    force: call.query.flag("force"),
                    api_version: SCALE.api_version,
                    subresource: "scale",
                    now: server.clock.now(),
                };
                managed::apply(schema, Some(&scale), &applied, &options).map_err(refusal::internal)
            }
            Self::Patch(patch) => {
                patch.change(schema, &mut scale).map_err(registry::refuse_patch)?;
                Ok(scale)
            }
        }
    }
}
