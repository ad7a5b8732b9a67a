//! ConfigMaps.

use serde::Deserialize;

use super::brief::Brief;
use super::field::{pairs, present, scalar, text};
use super::page::Page;
use super::part::{Count, Meta, parse};
use super::{Column, Drill, Kind, Subject, decoded_len, describe};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "configmaps",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::number("DATA", 4, 1),
        Column::number("AGE", 5, 2),
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
struct ConfigMap {
    metadata: Meta,
    data: Count,
    #[serde(rename = "binaryData")]
    binary: Count,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: ConfigMap = parse(&json);
    let entries = i64::try_from(parsed.data.0 + parsed.binary.0).unwrap_or(i64::MAX);
    (
        Health::None,
        vec![
            Cell::text(&object.id.name),
            Cell::Int(entries),
            parsed.metadata.created.cell(),
        ],
    )
}

fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, true);
    page.blank();
    page.head(0, "Data");
    page.line(0, Role::Rule, "====");
    for (key, value) in pairs(&object["data"]) {
        page.line(0, Role::Field, &format!("{key}:"));
        page.line(0, Role::Rule, "----");
        for line in scalar(value).split('\n') {
            page.line(0, Role::Value, line);
        }
        page.blank();
    }
    page.blank();
    page.head(0, "BinaryData");
    page.line(0, Role::Rule, "====");
    for (key, value) in pairs(&object["binaryData"]) {
        page.line(0, Role::Value, &format!("{key}: {} bytes", decoded_len(text(value))));
    }
    page.blank();
    describe::events(&mut page, subject);
    page.finish()
}

/// Lines of one entry shown in a summary.
const LINES: usize = 8;

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut brief = Brief::new(subject.now);
    for (key, value) in pairs(&object["data"]) {
        let value = scalar(value);
        brief.block(key, &crate::text::bytes(value.len() as u64));
        for line in value.lines().take(LINES) {
            brief.say(Role::Value, line);
        }
        if value.lines().nth(LINES).is_some() {
            brief.say(Role::Dim, "…");
        }
    }
    for (key, value) in pairs(&object["binaryData"]) {
        brief.block(
            key,
            &format!("{}, binary", crate::text::bytes(decoded_len(text(value)) as u64)),
        );
    }
    if !present(&object["data"]) && !present(&object["binaryData"]) {
        brief.say(Role::Dim, "no data");
    }
    brief.finish()
}
