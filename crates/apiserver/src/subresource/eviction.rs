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
    let charge = |pod: &Value, left: Option<&mut Value>| {
        let writes = charge_budget(server, call, pod)?;
        if let Some(left) = left {
            mark_as_target(server, left);
        }
        Ok(writes)
    };
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
    let number = |key: &str| status[key].as_i64().unwrap_or(0);
    // A pod that serves nobody may go, if the budget says so, or if enough others serve.
    let ready = items(&pod["status"]["conditions"]).any(|it| it["type"] == "Ready" && it["status"] == "True");
    let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    let healthy = number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy");
    if !ready && (always || healthy) {
        return Ok(Vec::new());
    }
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let cause = format!(
            "The disruption budget {} is still being processed by the server.",
            object.name()
        );
        return Err(refuse(cause, Some(10)));
    }
    let forbid = |why: &str| Err(Status::forbidden(&budgets, object.name(), why));
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return forbid("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().map_or(0, serde_json::Map::len) > MOST_DISRUPTED {
        return forbid("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let cause = format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            object.name(),
            number("desiredHealthy"),
            number("currentHealthy")
        );
        return Err(refuse(cause, None));
    }
    let now = server.clock.now_seconds().to_string();
    budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
    budget["status"]["disruptedPods"][&call.name] = json!(now);
    if allowed == 1
        && let Some(condition) = budget["status"]["conditions"]
            .as_array_mut()
            .and_then(|all| all.iter_mut().find(|it| it["type"] == "DisruptionAllowed"))
    {
        condition["status"] = json!("False");
        condition["reason"] = json!("InsufficientPods");
        condition["lastTransitionTime"] = json!(now);
    }
    Ok(vec![Write {
        slot,
        key: object.key.to_string(),
        expect: Expect::Version(object.version),
        value: Some(budget),
    }])
}

/// Most evictions of pods that are still there.
const MOST_DISRUPTED: usize = 2000;

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// 429 until the budget allows a disruption again. `after` is in seconds; without it nobody knows when to ask again.
fn refuse(cause: String, after: Option<u32>) -> Status {
    let mut status = refusal::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.")
        .with_cause("DisruptionBudget", &cause, "");
    if let Some(seconds) = after {
        status.details["retryAfterSeconds"] = json!(seconds);
    }
    status
}

/// Notes in the pod why it goes, unless it does already.
fn mark_as_target(server: &Server, pod: &mut Value) {
    let is_target = |it: &Value| it["type"] == "DisruptionTarget" && it["status"] == "True";
    if items(&pod["status"]["conditions"]).any(is_target) {
        return;
    }
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": server.clock.now_seconds().to_string(),
    });
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|it| it["type"] != "DisruptionTarget");
            conditions.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
}
