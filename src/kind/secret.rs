//! Secrets. Their values are shown nowhere here: only how long they are.

use serde::Deserialize;

use super::brief::Brief;
use super::field::{pairs, text};
use super::page::Page;
use super::part::{Count, Meta, Str, parse};
use super::{Column, Drill, Kind, Subject, decoded_len, describe};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::text::count;
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "secrets",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::text("TYPE", 8, 2),
        Column::number("DATA", 4, 1),
        Column::number("AGE", 5, 3),
    ],
    row,
    related: |_| Vec::new(),
    describe: self::describe,
    summary,
    drill: Drill::Describe,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Secret<'a> {
    metadata: Meta,
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    data: Count,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: Secret<'_> = parse(&json);
    let entries = i64::try_from(parsed.data.0).unwrap_or(i64::MAX);
    let cells = vec![
        Cell::text(&object.id.name),
        Cell::text(&parsed.kind),
        Cell::Int(entries),
        parsed.metadata.created.cell(),
    ];
    (Health::None, cells)
}

fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, true);
    page.blank();
    page.field(0, "Type", text(&object["type"]));
    page.blank();
    page.head(0, "Data");
    page.line(0, Role::Rule, "====");
    for (key, value) in pairs(&object["data"]) {
        page.field(0, key, &format!("{} bytes", decoded_len(text(value))));
    }
    page.finish()
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut brief = Brief::new(subject.now);
    brief.pair("type", text(&object["type"]));
    for (key, value) in pairs(&object["data"]) {
        brief.pair(key, &count(decoded_len(text(value)), "byte"));
    }
    brief.labels(object);
    brief.finish()
}
