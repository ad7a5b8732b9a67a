//! StatefulSets.

use serde::Deserialize;
use serde_json::Value;

use super::brief::Brief;
use super::field::{int, items, pairs, present, scalar, text, time};
use super::page::Page;
use super::part::{Meta, parse};
use super::{Column, Drill, Kind, Related, Subject, describe, selector, template};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "apps",
    plural: "statefulsets",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::number("READY", 5, 1),
        Column::number("AGE", 5, 2),
        Column::text("CONTAINERS", 10, 4).wide(),
        Column::text("IMAGES", 12, 3).wide(),
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
struct StatefulSet<'a> {
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
    #[serde(rename = "readyReplicas")]
    ready: i64,
    replicas: i64,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: StatefulSet<'_> = parse(&json);
    let ready = Cell::Ratio(
        template::pods(parsed.status.ready),
        template::pods(parsed.spec.desired()),
    );
    let mut cells = vec![Cell::text(&object.id.name), ready, parsed.metadata.created.cell()];
    cells.extend(parsed.spec.cells().into_iter().take(2));
    (health(&parsed), cells)
}

fn health(set: &StatefulSet<'_>) -> Health {
    let desired = set.spec.desired();
    let behind = set.status.observed < set.metadata.generation || set.metadata.deleted.0.is_some();
    if behind || set.status.ready < desired || set.status.replicas != desired {
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
    let created = page.moment(time(&metadata["creationTimestamp"]));
    page.field(0, "CreationTimestamp", &created);
    page.field(0, "Selector", &selector::query(&spec["selector"]));
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    let desired = spec["replicas"].as_i64().unwrap_or(1);
    page.field(
        0,
        "Replicas",
        &format!("{desired} desired | {} total", int(&status["replicas"])),
    );
    let strategy = &spec["updateStrategy"];
    page.field(0, "Update Strategy", text(&strategy["type"]));
    if let Some(partition) = strategy["rollingUpdate"]["partition"].as_i64() {
        page.field(1, "Partition", &partition.to_string());
        page.field_if(
            1,
            "MaxUnavailable",
            &scalar(&strategy["rollingUpdate"]["maxUnavailable"]),
        );
    }
    if let Some(pods) = subject.related {
        page.field(0, "Pods Status", &template::phases(object, pods));
    }
    template::describe(&mut page, &spec["template"]);
    claims(&mut page, &spec["volumeClaimTemplates"]);
    describe::events(&mut page, subject);
    page.finish()
}

fn claims(page: &mut Page, claims: &Value) {
    if !present(claims) {
        page.field_as(0, "Volume Claims", Role::Dim, "<none>");
        return;
    }
    page.head(0, "Volume Claims:");
    for claim in items(claims) {
        let (metadata, spec) = (&claim["metadata"], &claim["spec"]);
        page.field(1, "Name", text(&metadata["name"]));
        page.field(1, "StorageClass", text(&spec["storageClassName"]));
        describe::labels(page, 1, "Labels", &metadata["labels"]);
        let annotations: Vec<_> = pairs(&metadata["annotations"])
            .iter()
            .map(|(key, value)| format!("{key}={}", scalar(value)))
            .collect();
        page.list(1, "Annotations", &annotations);
        let capacity = scalar(&spec["resources"]["requests"]["storage"]);
        page.field(1, "Capacity", if capacity.is_empty() { "<default>" } else { &capacity });
        let modes: Vec<_> = items(&spec["accessModes"]).iter().map(text).collect();
        page.field(1, "Access Modes", &format!("[{}]", modes.join(" ")));
    }
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut brief = Brief::new(subject.now);
    let health = StatefulSet::deserialize(object).map_or(Health::Unknown, |set| health(&set));
    let desired = object["spec"]["replicas"].as_i64().unwrap_or(1);
    brief.headline(
        health,
        &format!("{} of {desired} ready", int(&object["status"]["readyReplicas"])),
    );
    brief.gap();
    brief.pair("image", &template::images(&object["spec"]["template"]));
    brief.pair("service", text(&object["spec"]["serviceName"]));
    brief.pair("selector", &selector::query(&object["spec"]["selector"]));
    brief.conditions(&object["status"]["conditions"], |_| false);
    brief.finish()
}
