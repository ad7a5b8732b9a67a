//! ReplicaSets.

use serde::Deserialize;

use super::brief::Brief;
use super::field::{controller, int, items, text};
use super::page::Page;
use super::part::{Condition, Meta, holds, parse};
use super::{Column, Drill, Kind, Related, Subject, describe, selector, template};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "apps",
    plural: "replicasets",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::number("DESIRED", 7, 2),
        Column::number("CURRENT", 7, 3),
        Column::number("READY", 5, 1),
        Column::number("AGE", 5, 4),
        Column::text("CONTAINERS", 10, 6).wide(),
        Column::text("IMAGES", 12, 5).wide(),
        Column::text("SELECTOR", 10, 7).wide(),
    ],
    row,
    related: |object| {
        vec![Related::new("", "pods", &object["metadata"]["namespace"]).labels(super::pod_selector(object))]
    },
    describe: self::describe,
    summary,
    drill: Drill::SelectedPods,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReplicaSet<'a> {
    metadata: Meta,
    #[serde(borrow)]
    spec: template::Spec<'a>,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    replicas: i64,
    #[serde(rename = "readyReplicas")]
    ready: i64,
    #[serde(borrow)]
    conditions: Vec<Condition<'a>>,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: ReplicaSet<'_> = parse(&json);
    let mut cells = vec![
        Cell::text(&object.id.name),
        Cell::Int(parsed.spec.desired()),
        Cell::Int(parsed.status.replicas),
        Cell::Int(parsed.status.ready),
        parsed.metadata.created.cell(),
    ];
    cells.extend(parsed.spec.cells());
    (health(&parsed), cells)
}

/// A ReplicaSet that wants nothing and has nothing is the past of its deployment: it has no health.
fn health(set: &ReplicaSet<'_>) -> Health {
    let desired = set.spec.desired();
    if holds(&set.status.conditions, "ReplicaFailure") {
        Health::Failed
    } else if desired == 0 && set.status.replicas == 0 {
        Health::None
    } else if set.status.ready < desired || set.status.replicas != desired || set.metadata.deleted.0.is_some() {
        Health::Progress
    } else {
        Health::Good
    }
}

fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    page.field(0, "Selector", &describe::selector(&spec["selector"]));
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    page.field_if(0, "Controlled By", &controller(object));
    let desired = spec["replicas"].as_i64().unwrap_or(1);
    page.field(
        0,
        "Replicas",
        &format!("{} current / {desired} desired", int(&status["replicas"])),
    );
    if let Some(related) = subject.related {
        page.field(0, "Pods Status", &template::phases(object, related));
    }
    template::describe(&mut page, &spec["template"]);
    describe::conditions(&mut page, &status["conditions"]);
    describe::events(&mut page, subject);
    page.finish()
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut brief = Brief::new(subject.now);
    let (ready, desired) = (
        int(&object["status"]["readyReplicas"]),
        object["spec"]["replicas"].as_i64().unwrap_or(1),
    );
    let health = ReplicaSet::deserialize(object).map_or(Health::Unknown, |set| health(&set));
    let line = if health == Health::None {
        "Scaled to zero".into()
    } else {
        format!("{ready} of {desired} ready")
    };
    brief.headline(health, &line);
    for condition in items(&object["status"]["conditions"])
        .iter()
        .filter(|condition| condition["status"] == "True")
    {
        brief.say(Role::Text, text(&condition["message"]));
    }
    brief.gap();
    brief.pair("image", &template::images(&object["spec"]["template"]));
    brief.pair("owner", &controller(object));
    brief.pair(
        "revision",
        text(&object["metadata"]["annotations"]["deployment.kubernetes.io/revision"]),
    );
    brief.pair("selector", &selector::query(&object["spec"]["selector"]));
    brief.finish()
}
