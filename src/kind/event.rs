//! Events.

use serde::Deserialize;

use super::brief::Brief;
use super::field::{int, present, text, time};
use super::part::{Stamp, Str, parse};
use super::{Column, Drill, Kind, Subject, generic};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "events",
    columns: &[
        Column::number("LAST SEEN", 9, 0),
        Column::text("TYPE", 9, 2),
        Column::text("REASON", 12, 0),
        Column::text("OBJECT", 14, 0),
        Column::number("COUNT", 5, 3),
        Column::text("MESSAGE", 20, 0),
        Column::text("SUBOBJECT", 12, 5).wide(),
        Column::text("SOURCE", 10, 4).wide(),
        Column::number("FIRST SEEN", 10, 6).wide(),
        Column::text("NAME", 20, 7).wide(),
    ],
    row,
    related: |_| Vec::new(),
    describe: generic::describe,
    summary,
    drill: Drill::Involved,
    sort: Some((0, false)),
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    reason: Str<'a>,
    #[serde(borrow)]
    message: Str<'a>,
    #[serde(borrow, rename = "involvedObject")]
    object: Involved<'a>,
    count: Option<i64>,
    #[serde(rename = "firstTimestamp")]
    first: Stamp,
    #[serde(rename = "lastTimestamp")]
    last: Stamp,
    #[serde(rename = "eventTime")]
    time: Stamp,
    series: Option<Series>,
    #[serde(borrow)]
    source: Source<'a>,
    #[serde(borrow, rename = "reportingComponent")]
    reporter: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Involved<'a> {
    #[serde(borrow)]
    kind: Str<'a>,
    #[serde(borrow)]
    name: Str<'a>,
    #[serde(borrow, rename = "fieldPath")]
    path: Str<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Series {
    count: i64,
    #[serde(rename = "lastObservedTime")]
    last: Stamp,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Source<'a> {
    #[serde(borrow)]
    component: Str<'a>,
    #[serde(borrow)]
    host: Str<'a>,
}

fn health(kind: &str) -> Health {
    if kind == "Warning" {
        Health::Warning
    } else {
        Health::None
    }
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let event: Event<'_> = parse(&json);
    let health = health(&event.kind);
    let first = event.first.0.or(event.time.0);
    let series = event.series.as_ref();
    let last = series.and_then(|series| series.last.0).or(event.last.0).or(first);
    let count = series.map(|series| series.count).or(event.count).unwrap_or(1).max(1);
    let source = match (&*event.source.component, &*event.source.host) {
        ("", _) => event.reporter.to_string(),
        (component, "") => component.to_owned(),
        (component, host) => format!("{component}, {host}"),
    };
    let cells = vec![
        Stamp(last).cell(),
        Cell::text(&event.kind),
        // The sign stands here: the column of types goes first when it is narrow.
        match health {
            Health::Warning => Cell::status(health, &event.reason),
            _ => Cell::text(&event.reason),
        },
        Cell::text(&format!("{}/{}", event.object.kind.to_lowercase(), &*event.object.name)),
        Cell::Int(count),
        Cell::text(event.message.trim()),
        Cell::text(&event.object.path),
        Cell::text(&source),
        Stamp(first).cell(),
        Cell::text(&object.id.name),
    ];
    (health, cells)
}

fn summary(subject: &Subject<'_>) -> Document {
    let event = subject.object;
    let mut brief = Brief::new(subject.now);
    brief.headline(health(text(&event["type"])), text(&event["reason"]));
    for line in text(&event["message"]).lines() {
        brief.say(Role::Value, line);
    }
    brief.gap();
    let about = &event["involvedObject"];
    brief.pair("about", &format!("{} {}", text(&about["kind"]), text(&about["name"])));
    brief.pair("in", text(&about["fieldPath"]));
    let from = if present(&event["source"]["component"]) {
        &event["source"]["component"]
    } else {
        &event["reportingComponent"]
    };
    brief.pair("from", text(from));
    for (title, keys) in [
        ("first", ["/firstTimestamp", "/eventTime"]),
        ("last", ["/lastTimestamp", "/series/lastObservedTime"]),
    ] {
        let at = keys.iter().find_map(|path| event.pointer(path).and_then(time));
        brief.pair(
            title,
            &at.map_or_else(String::new, |at| format!("{} ago", brief.age(at))),
        );
    }
    if int(&event["count"]) > 1 {
        brief.pair("count", &int(&event["count"]).to_string());
    }
    brief.finish()
}
