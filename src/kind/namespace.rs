//! Namespaces.

use serde::Deserialize;

use super::brief::Brief;
use super::field::{items, present, text, time};
use super::page::Page;
use super::part::{Meta, Str, parse};
use super::{Column, Drill, Kind, Subject, describe};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "namespaces",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::text("STATUS", 8, 1),
        Column::number("AGE", 5, 2),
    ],
    row,
    related: |_| Vec::new(),
    describe: self::describe,
    summary,
    drill: Drill::NamespacePods,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Namespace<'a> {
    metadata: Meta,
    #[serde(borrow)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    phase: Str<'a>,
}

fn health(phase: &str) -> Health {
    match phase {
        "Active" => Health::Good,
        "Terminating" => Health::Progress,
        _ => Health::Unknown,
    }
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: Namespace<'_> = parse(&json);
    let health = health(&parsed.status.phase);
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::status(health, &parsed.status.phase),
        parsed.metadata.created.cell(),
    ];
    (health, cells)
}

fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, false);
    let phase = text(&object["status"]["phase"]);
    page.field_as(0, "Status", super::brief::role(health(phase)), phase);
    let conditions = &object["status"]["conditions"];
    if present(conditions) {
        page.head(0, "Conditions:");
        let rows: Vec<_> = items(conditions)
            .iter()
            .map(|condition| {
                let status = text(&condition["status"]);
                vec![
                    (Role::Field, text(&condition["type"]).to_owned()),
                    (describe::condition_role(status, "False"), status.to_owned()),
                    (Role::Dim, page.moment(time(&condition["lastTransitionTime"]))),
                    (Role::Value, text(&condition["reason"]).to_owned()),
                    (Role::Value, text(&condition["message"]).to_owned()),
                ]
            })
            .collect();
        page.table(1, &["Type", "Status", "LastTransitionTime", "Reason", "Message"], &rows);
    }
    // Quotas and limit ranges are objects of their own, which a cluster need not serve.
    page.finish()
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut brief = Brief::new(subject.now);
    let phase = text(&object["status"]["phase"]);
    brief.headline(health(phase), phase);
    for condition in items(&object["status"]["conditions"])
        .iter()
        .filter(|condition| condition["status"] == "True")
    {
        brief.say(Role::Warning, text(&condition["message"]));
    }
    let created = time(&object["metadata"]["creationTimestamp"]);
    brief.pair(
        "created",
        &created.map_or_else(String::new, |at| format!("{} ago", brief.age(at))),
    );
    brief.labels(object);
    brief.finish()
}
