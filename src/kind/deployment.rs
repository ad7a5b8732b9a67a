//! Deployments.

use serde::Deserialize;
use serde_json::Value;

use super::brief::Brief;
use super::field::{int, items, pairs, present, scalar, text, time};
use super::page::Page;
use super::part::{Condition, Meta, condition, holds, parse};
use super::{Column, Drill, Kind, Related, Subject, describe, selector, template};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "apps",
    plural: "deployments",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::number("READY", 5, 1),
        Column::number("UP-TO-DATE", 10, 3),
        Column::number("AVAILABLE", 9, 2),
        Column::number("AGE", 5, 4),
        Column::text("CONTAINERS", 10, 6).wide(),
        Column::text("IMAGES", 12, 5).wide(),
        Column::text("SELECTOR", 10, 7).wide(),
    ],
    row,
    related: |object| {
        vec![Related::new("apps", "replicasets", &object["metadata"]["namespace"]).labels(super::pod_selector(object))]
    },
    describe: self::describe,
    summary,
    drill: Drill::SelectedPods,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Deployment<'a> {
    metadata: Meta,
    #[serde(borrow)]
    spec: template::Spec<'a>,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    #[serde(rename = "observedGeneration")]
    observed: i64,
    replicas: i64,
    #[serde(rename = "readyReplicas")]
    ready: i64,
    #[serde(rename = "updatedReplicas")]
    updated: i64,
    #[serde(rename = "availableReplicas")]
    available: i64,
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: Deployment<'_> = parse(&json);
    let (spec, status) = (&parsed.spec, &parsed.status);
    let mut cells = vec![
        Cell::text(&object.id.name),
        Cell::Ratio(template::pods(status.ready), template::pods(spec.desired())),
        Cell::Int(status.updated),
        Cell::Int(status.available),
        parsed.metadata.created.cell(),
    ];
    cells.extend(spec.cells());
    (health(&parsed), cells)
}

fn health(deployment: &Deployment<'_>) -> Health {
    let (status, desired) = (&deployment.status, deployment.spec.desired());
    let progressing = condition(&status.conditions, "Progressing");
    if progressing.is_some_and(|progressing| &*progressing.status == "False")
        || holds(&status.conditions, "ReplicaFailure")
    {
        return Health::Failed;
    }
    let rolling = status.observed < deployment.metadata.generation
        || status.updated < desired
        || status.replicas > status.updated
        || deployment.metadata.deleted.0.is_some();
    if rolling {
        return Health::Progress;
    }
    if status.available < desired {
        // Once a rollout is complete, missing pods are lost ones.
        let complete = progressing.is_some_and(|progressing| &*progressing.reason == "NewReplicaSetAvailable");
        return if complete { Health::Warning } else { Health::Progress };
    }
    Health::Good
}

fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    let created = page.moment(time(&metadata["creationTimestamp"]));
    page.field(0, "CreationTimestamp", &created);
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    page.field(0, "Selector", &selector::query(&spec["selector"]));
    let unavailable = int(&status["unavailableReplicas"]);
    page.field_as(
        0,
        "Replicas",
        if unavailable > 0 { Role::Warning } else { Role::Value },
        &format!(
            "{} desired | {} updated | {} total | {} available | {unavailable} unavailable",
            spec["replicas"].as_i64().unwrap_or(1),
            int(&status["updatedReplicas"]),
            int(&status["replicas"]),
            int(&status["availableReplicas"]),
        ),
    );
    page.field(0, "StrategyType", text(&spec["strategy"]["type"]));
    page.field(0, "MinReadySeconds", &int(&spec["minReadySeconds"]).to_string());
    let rolling = &spec["strategy"]["rollingUpdate"];
    if rolling.is_object() {
        let (unavailable, surge) = (scalar(&rolling["maxUnavailable"]), scalar(&rolling["maxSurge"]));
        page.field(
            0,
            "RollingUpdateStrategy",
            &format!("{unavailable} max unavailable, {surge} max surge"),
        );
    }
    template::describe(&mut page, &spec["template"]);
    describe::conditions(&mut page, &status["conditions"]);
    replica_sets(&mut page, subject);
    describe::events(&mut page, subject);
    page.finish()
}

/// The ReplicaSets of the deployment: the new one has its template, old ones still have pods.
fn replica_sets(page: &mut Page, subject: &Subject<'_>) {
    let Some(related) = subject.related else { return };
    let deployment = subject.object;
    let owned = |set: &&Value| {
        items(&set["metadata"]["ownerReferences"])
            .iter()
            .any(|owner| owner["uid"] == deployment["metadata"]["uid"])
    };
    let same = |set: &&Value| template::own(set) == template::own(deployment);
    let mut sets: Vec<&Value> = related.iter().filter(owned).collect();
    sets.sort_by_key(|set| text(&set["metadata"]["creationTimestamp"]));
    let new = sets.iter().copied().find(same);
    let old = sets
        .iter()
        .copied()
        .filter(|set| Some(*set) != new && int(&set["status"]["replicas"]) > 0);
    let word = |set: &Value| {
        let (created, desired) = (
            int(&set["status"]["replicas"]),
            set["spec"]["replicas"].as_i64().unwrap_or(1),
        );
        format!(
            "{} ({created}/{desired} replicas created)",
            text(&set["metadata"]["name"])
        )
    };
    let old: Vec<_> = old.map(word).collect();
    page.field(
        0,
        "OldReplicaSets",
        if old.is_empty() { "<none>" } else { "" }.max(&old.join(", ")),
    );
    page.field(0, "NewReplicaSet", &new.map_or_else(|| "<none>".into(), word));
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut brief = Brief::new(subject.now);
    let (desired, available) = (
        spec["replicas"].as_i64().unwrap_or(1),
        int(&status["availableReplicas"]),
    );
    let (updated, total) = (int(&status["updatedReplicas"]), int(&status["replicas"]));
    let health = Deployment::deserialize(object).map_or(Health::Unknown, |deployment| health(&deployment));
    let progressing = super::field::by(&status["conditions"], "type", "Progressing").unwrap_or(&Value::Null);
    let line = match health {
        Health::Failed => format!("{}: {available} of {desired} available", text(&progressing["reason"])),
        Health::Progress => format!("Rolling out: {updated} of {desired} updated, {available} available"),
        _ if desired == 0 => "Scaled to zero".into(),
        _ => format!("{available} of {desired} available"),
    };
    brief.headline(health, &line);
    if health == Health::Failed {
        brief.say(Role::Text, text(&progressing["message"]));
    } else if total > updated {
        brief.say(
            Role::Text,
            &format!(
                "{} of the old template left",
                crate::text::count((total - updated).unsigned_abs() as usize, "pod")
            ),
        );
    }
    brief.gap();
    brief.pair("image", &template::images(&spec["template"]));
    brief.pair("selector", &selector::query(&spec["selector"]));
    let strategy = text(&spec["strategy"]["type"]);
    let rolling: Vec<_> = pairs(&spec["strategy"]["rollingUpdate"])
        .iter()
        .map(|(key, value)| format!("{key} {}", scalar(value)))
        .collect();
    brief.pair("strategy", format!("{strategy} {}", rolling.join(", ")).trim());
    if present(&spec["paused"]) && spec["paused"] == true {
        brief.pair_as("paused", Role::Warning, "the rollout is paused");
    }
    brief.conditions(&status["conditions"], |kind| kind == "ReplicaFailure");
    brief.finish()
}
