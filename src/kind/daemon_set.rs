//! DaemonSets.

use serde::Deserialize;
use serde_json::Value;

use super::brief::Brief;
use super::field::{int, text};
use super::page::Page;
use super::part::{Meta, parse};
use super::{Column, Drill, Kind, Related, Subject, describe, selector, template};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "apps",
    plural: "daemonsets",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::number("DESIRED", 7, 2),
        Column::number("CURRENT", 7, 5),
        Column::number("READY", 5, 1),
        Column::number("UP-TO-DATE", 10, 4),
        Column::number("AVAILABLE", 9, 3),
        Column::text("NODE SELECTOR", 13, 7),
        Column::number("AGE", 5, 6),
        Column::text("CONTAINERS", 10, 9).wide(),
        Column::text("IMAGES", 12, 8).wide(),
        Column::text("SELECTOR", 10, 10).wide(),
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
struct DaemonSet<'a> {
    metadata: Meta,
    #[serde(borrow)]
    spec: template::Spec<'a>,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    #[serde(rename = "observedGeneration")]
    observed: i64,
    #[serde(rename = "desiredNumberScheduled")]
    desired: i64,
    #[serde(rename = "currentNumberScheduled")]
    current: i64,
    #[serde(rename = "numberReady")]
    ready: i64,
    #[serde(rename = "updatedNumberScheduled")]
    updated: i64,
    #[serde(rename = "numberAvailable")]
    available: i64,
    #[serde(rename = "numberMisscheduled")]
    misplaced: i64,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: DaemonSet<'_> = parse(&json);
    let status = &parsed.status;
    let mut cells = vec![Cell::text(&object.id.name)];
    cells.extend(
        [
            status.desired,
            status.current,
            status.ready,
            status.updated,
            status.available,
        ]
        .map(Cell::Int),
    );
    cells.extend([Cell::text(&parsed.spec.nodes()), parsed.metadata.created.cell()]);
    cells.extend(parsed.spec.cells());
    (health(&parsed), cells)
}

fn health(set: &DaemonSet<'_>) -> Health {
    let status = &set.status;
    if set.metadata.deleted.0.is_some() || status.observed < set.metadata.generation || status.updated < status.desired
    {
        Health::Progress
    } else if status.misplaced > 0 || status.available < status.desired {
        Health::Warning
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
    page.field(0, "Selector", &selector::query(&spec["selector"]));
    page.field(
        0,
        "Node-Selector",
        &describe::selector(&spec["template"]["spec"]["nodeSelector"]),
    );
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    for (title, key) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        (
            "Number of Nodes Scheduled with Up-to-date Pods",
            "updatedNumberScheduled",
        ),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        page.line(0, Role::Value, &format!("{title}: {}", int(&status[key])));
    }
    if let Some(pods) = subject.related {
        page.field(0, "Pods Status", &template::phases(object, pods));
    }
    template::describe(&mut page, &spec["template"]);
    describe::events(&mut page, subject);
    page.finish()
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let status: &Value = &object["status"];
    let mut brief = Brief::new(subject.now);
    let health = DaemonSet::deserialize(object).map_or(Health::Unknown, |set| health(&set));
    let desired = int(&status["desiredNumberScheduled"]);
    brief.headline(
        health,
        &format!("{} of {desired} available", int(&status["numberAvailable"])),
    );
    match int(&status["numberMisscheduled"]) {
        0 => {}
        count => brief.say(Role::Warning, &format!("{count} run where they should not")),
    }
    brief.gap();
    brief.pair("image", &template::images(&object["spec"]["template"]));
    brief.pair(
        "nodes",
        &selector::query(&object["spec"]["template"]["spec"]["nodeSelector"]),
    );
    brief.pair("selector", &selector::query(&object["spec"]["selector"]));
    brief.finish()
}
