//! Evictions: deletions of pods that disruption budgets have a say in.

use axum::body::Body;
use http::{Response, StatusCode};
use knarr_resource::Status;
use knarr_resource::admission::{Notes, Operation};
use knarr_resource::selector::LabelSelector;
use serde_json::{Value, json};

use crate::http::body;
use crate::http::render;
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::registry::{self, DeleteOptions, Request, admission};
use crate::server::Server;
use crate::store::{Expect, Write};

pub(crate) async fn post(server: &Server, call: &RequestInfo, bytes: &[u8]) -> Result<Response<Body>, Status> {
    let (eviction, _) = body::decode(call.header("content-type"), "Eviction", bytes)?;
    let api_version = eviction["apiVersion"].as_str().unwrap_or("policy/v1");
    let kind = eviction["kind"].as_str().unwrap_or("Eviction");
    if (api_version, kind) != ("policy/v1", "Eviction") {
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {api_version:?}"
        )));
    }
    let name = eviction["metadata"]["name"].as_str().unwrap_or_default();
    if !name.is_empty() && name != call.name {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let mut options = match &eviction["deleteOptions"] {
        Value::Null => DeleteOptions::default(),
        options => DeleteOptions::parse(options.clone())?,
    };
    if call.query.dry_run() {
        options.dry_run = Some(vec!["All".into()]);
    }
    let mut notes = Notes::default();
    let request = call.request();
    let attributes = request.attributes(Operation::Create, &call.name);
    let mut eviction = eviction;
    admission::mutate(server, &attributes, &mut eviction, None, &mut notes).await?;
    admission::validate(server, &attributes, &eviction, None, &mut notes).await?;
    let deletion = Request {
        subresource: String::new(),
        dry_run: options.is_dry(),
        options: options.to_value(),
        ..request
    };
    // The budget is charged in the transaction that deletes the pod: neither happens without the other.
    let charge = |pod: &Value| charge_budget(server, call, pod);
    registry::delete_with(server, &deletion, &options, &mut notes, charge).await?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let mut response = render::plain(call.form()?, StatusCode::CREATED, &status)?;
    render::warn(&mut response, &notes.warnings);
    Ok(response)
}

/// Takes one disruption out of the budget that protects the pod.
fn charge_budget(server: &Server, call: &RequestInfo, pod: &Value) -> Result<Vec<Write>, Status> {
    let Some(budgets) = server.resource("policy", "v1", "poddisruptionbudgets") else {
        return Ok(Vec::new());
    };
    // A pod that is over or not yet running is missed by nobody.
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed" | "Pending") || pod["metadata"]["deletionTimestamp"].is_string() {
        return Ok(Vec::new());
    }
    let slot = server.slot_of(&budgets);
    let snapshot = server.store.list(slot, Some(&call.namespace));
    let mut protecting = snapshot.objects.iter().filter_map(|object| {
        let budget = object.value();
        let selector = LabelSelector::from_object(&budget["spec"]["selector"])?;
        selector.matches(&pod["metadata"]["labels"]).then_some((object, budget))
    });
    let Some((object, mut budget)) = protecting.next() else {
        return Ok(Vec::new());
    };
    if protecting.next().is_some() {
        return Err(refusal::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    let status = &budget["status"];
    let observed = status["observedGeneration"].as_i64().unwrap_or(0);
    let wait = |cause: String| {
        refusal::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.").with_cause(
            "DisruptionBudget",
            &cause,
            "",
        )
    };
    if observed < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        return Err(wait(format!(
            "The disruption budget {} is still being processed by the server.",
            object.name()
        )));
    }
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
    if allowed <= 0 {
        let number = |key: &str| status[key].as_i64().unwrap_or(0);
        return Err(wait(format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            object.name(),
            number("desiredHealthy"),
            number("currentHealthy")
        )));
    }
    budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
    budget["status"]["disruptedPods"][&call.name] = json!(server.clock.now_seconds().to_string());
    Ok(vec![Write {
        slot,
        key: object.key.to_string(),
        expect: Expect::Version(object.version),
        value: Some(budget),
    }])
}
