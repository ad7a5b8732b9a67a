//! Everything an outline is made from: the objects, parsed once, and the rows they are shown by.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{About, Item};
use crate::cluster::Resource;
use crate::document::TextLine;
use crate::kind::field::{int, items, text, time};
use crate::kind::why::World;
use crate::store::{Health, Listing, Row};
use crate::text::age;
use crate::theme::Role;

/// What is in sight.
pub(super) struct Sight {
    pub(super) now: Timestamp,
    pub(super) world: World,
    /// Events, which the world keeps by what they are about.
    happened: Vec<Value>,
    /// By UID.
    rows: HashMap<Arc<str>, About>,
}

/// Most objects of a kind that are parsed: of more, those that need no attention are only counted.
const MOST: usize = 20_000;

impl Sight {
    pub(super) fn of(sources: &[(Arc<Resource>, Arc<Listing>)], now: Timestamp) -> Self {
        let mut world = World::default();
        let mut rows = HashMap::new();
        let mut happened = Vec::new();
        for (resource, listing) in sources {
            if matches!(
                listing.state,
                crate::store::FeedState::Failed(_) | crate::store::FeedState::Loading
            ) {
                continue;
            }
            let wanted = |row: &&Arc<Row>| listing.len() <= MOST || row.health.needs_attention();
            let objects = listing.iter().filter(wanted).map(|row| {
                let about = About {
                    resource: resource.clone(),
                    row: row.clone(),
                };
                rows.insert(row.id.uid.clone(), about);
                row.object.value()
            });
            // What is watched in some namespaces is known there alone: nothing is said to be missing elsewhere.
            let objects: Vec<Value> = objects.collect();
            if &*resource.kind == "Event" {
                happened.clone_from(&objects);
            }
            world.list(&resource.group, &resource.kind, "", objects);
        }
        Self {
            now,
            world,
            happened,
            rows,
        }
    }

    /// All objects of a kind.
    pub(super) fn all(&self, group: &str, kind: &str) -> &[Value] {
        self.world.all(group, kind)
    }

    /// The objects of a kind in a namespace.
    pub(super) fn within<'a>(&'a self, group: &str, kind: &str, namespace: &'a str) -> impl Iterator<Item = &'a Value> {
        self.world.within(group, kind, namespace)
    }

    /// The object of this UID.
    pub(super) fn object(&self, uid: &str) -> Option<Value> {
        self.rows.get(uid).map(|about| about.row.object.value())
    }

    /// Whether the object of this UID is in sight.
    pub(super) fn is_known(&self, uid: &str) -> bool {
        self.rows.contains_key(uid)
    }

    /// The row of an object.
    pub(super) fn about(&self, object: &Value) -> Option<About> {
        self.rows.get(text(&object["metadata"]["uid"])).cloned()
    }

    /// How an object is doing, as its table says.
    pub(super) fn health(&self, object: &Value) -> Health {
        self.about(object).map_or(Health::None, |about| about.row.health)
    }

    /// How long ago something was made.
    pub(super) fn age(&self, object: &Value) -> String {
        time(&object["metadata"]["creationTimestamp"]).map_or_else(String::new, |at| age(at, self.now))
    }

    /// The events about an object, the newest first.
    pub(super) fn events(&self, object: &Value) -> Vec<&Value> {
        let uid = &object["metadata"]["uid"];
        newest(
            self.happened
                .iter()
                .filter(|event| event["involvedObject"]["uid"] == *uid),
        )
    }

    /// All events, the newest first.
    pub(super) fn happened(&self) -> Vec<&Value> {
        newest(self.happened.iter())
    }

    /// A line about an object: its kind, its name, and what its table says of it.
    pub(super) fn line(&self, object: &Value) -> TextLine {
        let kind = text(&object["kind"]).to_lowercase();
        let mut line = TextLine::new()
            .with(Role::Dim, &format!("{kind} "))
            .with(Role::Strong, text(&object["metadata"]["name"]));
        if let Some(said) = self.said(object) {
            let role = role(self.health(object));
            line.push(role, &format!("  {said}"));
        }
        line
    }

    /// What the row of an object says of its state: `2/3`, `CrashLoopBackOff`.
    fn said(&self, object: &Value) -> Option<String> {
        use crate::store::Cell;
        let about = self.about(object)?;
        let words: Vec<String> = about
            .row
            .cells
            .iter()
            .filter(|cell| matches!(cell, Cell::Status(..) | Cell::Ratio(..)))
            .map(|cell| cell.show(self.now).into_owned())
            .collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// An object as a line of an outline.
    pub(super) fn item(&self, depth: usize, path: &str, object: &Value) -> Item {
        let key = format!("{path}/{}", text(&object["metadata"]["uid"]));
        Item::new(key, depth, self.health(object), self.line(object)).about(self.about(object))
    }

    /// An event as a line.
    pub(super) fn event(&self, depth: usize, path: &str, event: &Value, with_object: bool) -> Item {
        let since = last_seen(event).map_or_else(String::new, |at| age(at, self.now));
        let warning = event["type"] == "Warning";
        let role = if warning { Role::Warning } else { Role::Text };
        let mut line = TextLine::new()
            .with(Role::Dim, &crate::text::pad_left(&since, 5))
            .with(Role::Text, "  ")
            .with(role, text(&event["reason"]));
        if with_object {
            let about = &event["involvedObject"];
            let name = format!("  {} {}", text(&about["kind"]).to_lowercase(), text(&about["name"]));
            line.push(Role::Strong, &name);
        }
        let times = int(&event["count"]).max(int(&event["series"]["count"]));
        if times > 1 {
            line.push(Role::Dim, &format!("  ×{times}"));
        }
        line.push(Role::Text, &format!("  {}", text(&event["message"]).trim()));
        let health = if warning { Health::Warning } else { Health::None };
        let key = format!("{path}/{}", text(&event["metadata"]["uid"]));
        // What an event is about is what one wants to look at.
        let about = self
            .rows
            .get(text(&event["involvedObject"]["uid"]))
            .cloned()
            .or_else(|| self.about(event));
        Item::new(key, depth, health, line.hanging(9)).about(about)
    }
}

/// Events in the order in which they were last seen, the newest first.
fn newest<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut events: Vec<&Value> = events.collect();
    events.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
    events
}

/// When an event was last seen.
fn last_seen(event: &Value) -> Option<Timestamp> {
    [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ]
    .into_iter()
    .find_map(time)
}

/// How a health is written.
pub(super) fn role(health: Health) -> Role {
    match health {
        Health::None => Role::Value,
        Health::Good => Role::Good,
        Health::Progress => Role::Progress,
        Health::Warning => Role::Warning,
        Health::Failed => Role::Failed,
        Health::Done => Role::Done,
        Health::Unknown => Role::Unknown,
    }
}

/// The owner that controls an object.
pub(super) fn controller(object: &Value) -> Option<&Value> {
    items(&object["metadata"]["ownerReferences"])
        .iter()
        .find(|owner| owner["controller"] == true)
}

/// A heading.
pub(super) fn heading(key: &str, text: &str, more: &str) -> Item {
    let line = TextLine::new().with(Role::Section, text);
    let line = if more.is_empty() {
        line
    } else {
        line.with(Role::Dim, &format!("  {more}"))
    };
    Item::new(key, 0, Health::None, line)
}

/// A line of text.
pub(super) fn note(key: impl Into<String>, depth: usize, role: Role, text: &str) -> Item {
    Item::new(
        key,
        depth,
        Health::None,
        TextLine::new().with(role, text).hanging(2 * depth + 2),
    )
}
