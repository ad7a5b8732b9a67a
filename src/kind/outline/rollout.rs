//! A rollout as it goes: the sets of pods of each template, what holds it up, and every revision with what it changed.

use serde_json::Value;

use super::sight::{Sight, heading, note, role};
use super::{Item, Outline};
use crate::cluster::Resource;
use crate::document::{self, TextLine};
use crate::keys::Line;
use crate::kind::field::{int, items, text};
use crate::kind::rollout::{Revision, Standing, owns, revisions, standing};
use crate::kind::why;
use crate::kind::yaml;
use crate::store::{Health, ObjectId};
use crate::text::{age, count};
use crate::theme::Role;

pub(super) const KINDS: &[(&str, &str)] = &[
    ("apps", "replicasets"),
    ("apps", "controllerrevisions"),
    ("", "pods"),
    ("", "events"),
];

/// Cells of the bar of a rollout.
const BAR: usize = 20;
/// Events shown.
const EVENTS: usize = 8;

pub(super) fn outline(sight: &Sight, resource: &Resource, id: &ObjectId) -> Outline {
    let Some(object) = sight.object(&id.uid) else {
        return Outline::default();
    };
    let (health, said) = match standing(&resource.plural, &object) {
        Standing::Complete(said) => (Health::Good, said),
        Standing::Rolling(said) => (Health::Progress, said),
        Standing::Paused(said) => (Health::Warning, said),
        Standing::Stalled(said) => (Health::Failed, said),
    };
    let mut items =
        vec![Item::new("standing", 0, health, TextLine::new().with(role(health), &said)).about(sight.about(&object))];
    items.push(bar(&object));
    if health != Health::Good {
        let findings = why::diagnose(&sight.world, &object, sight.now);
        items.extend(findings.iter().take(2).enumerate().map(|(at, finding)| {
            let line = TextLine::new().with(Role::Warning, &finding.root().sentence);
            Item::new(format!("why{at}"), 1, Health::Warning, line.hanging(6))
        }));
    }
    let owned: Vec<Value> = ["ReplicaSet", "ControllerRevision"]
        .iter()
        .flat_map(|kind| sight.all("apps", kind))
        .filter(|keeper| owns(&object, keeper))
        .cloned()
        .collect();
    let all = revisions(&object, &owned);
    items.extend(sets(sight, &object, &owned, &all));
    items.extend(history(sight, &all));
    let events = sight.events(&object);
    if !events.is_empty() {
        items.push(heading("events", "Events", ""));
        items.extend(
            events
                .into_iter()
                .take(EVENTS)
                .map(|event| sight.event(1, "event", event, false)),
        );
    }
    Outline {
        items,
        status: said,
        about: sight.about(&object),
    }
}

/// How many pods are new and available, as a bar.
fn bar(object: &Value) -> Item {
    let (spec, status) = (&object["spec"], &object["status"]);
    let first = |keys: [&str; 2]| {
        keys.into_iter()
            .find_map(|key| status[key].as_i64())
            .unwrap_or_default()
    };
    let wanted = match status["desiredNumberScheduled"].as_i64() {
        Some(wanted) => wanted,
        None => spec["replicas"].as_i64().unwrap_or(1),
    };
    let updated = first(["updatedReplicas", "updatedNumberScheduled"]);
    let available = first(["availableReplicas", "numberAvailable"]);
    let cells = |number: i64| {
        let share = if wanted > 0 {
            number.clamp(0, wanted) as usize * BAR / wanted as usize
        } else {
            BAR
        };
        share.min(BAR)
    };
    let (done, new) = (cells(updated.min(available)), cells(updated));
    let line = TextLine::new()
        .with(Role::Good, &"█".repeat(done))
        .with(Role::Progress, &"▒".repeat(new - done.min(new)))
        .with(Role::GaugeRest, &"░".repeat(BAR - new.max(done)))
        .with(
            Role::Text,
            &format!(
                "  {updated} of {} updated, {available} available",
                count(wanted.max(0) as usize, "pod")
            ),
        );
    Item::new("bar", 0, Health::None, line)
}

/// Each set of pods: those of the present template, and those of earlier ones that still have some.
fn sets(sight: &Sight, object: &Value, owned: &[Value], all: &[Revision]) -> Vec<Item> {
    let mut items = vec![heading("pods", "Pods", "")];
    let replica_sets: Vec<&Value> = owned.iter().filter(|keeper| keeper["spec"].is_object()).collect();
    let number = |name: &str| all.iter().find(|revision| revision.name == name);
    for revision in all {
        let Some(set) = replica_sets
            .iter()
            .find(|set| text(&set["metadata"]["name"]) == revision.name)
        else {
            continue;
        };
        let (wanted, has, ready) = (
            int(&set["spec"]["replicas"]),
            int(&set["status"]["replicas"]),
            int(&set["status"]["readyReplicas"]),
        );
        if wanted == 0 && has == 0 && !revision.current {
            continue;
        }
        let word = if revision.current { "new" } else { "old" };
        let line = TextLine::new()
            .with(
                if revision.current { Role::Accent } else { Role::Dim },
                &format!("{word}  "),
            )
            .with(Role::Strong, &revision.name)
            .with(
                Role::Text,
                &format!(
                    "  revision {}  {has} of {wanted} wanted, {ready} ready",
                    revision.number
                ),
            );
        items.push(Item::new(format!("set/{}", revision.name), 1, sight.health(set), line).about(sight.about(set)));
        items.extend(pods(sight, set, "set"));
    }
    if replica_sets.is_empty() {
        let mut own: Vec<&Value> = sight.all("", "Pod").iter().filter(|pod| owns(object, pod)).collect();
        own.sort_by_key(|pod| text(&pod["metadata"]["name"]).to_owned());
        for pod in own {
            let hash = text(&pod["metadata"]["labels"]["controller-revision-hash"]);
            let revision = number(hash).or_else(|| all.iter().find(|revision| revision.name.ends_with(hash)));
            let mut item = sight.item(1, "pods", pod);
            if let Some(revision) = revision.filter(|_| !hash.is_empty()) {
                let role = if revision.current { Role::Accent } else { Role::Dim };
                item.line.push(role, &format!("  revision {}", revision.number));
            }
            items.push(item);
        }
    }
    items
}

fn pods(sight: &Sight, set: &Value, path: &str) -> Vec<Item> {
    let mut own: Vec<&Value> = sight.world.children(set, "", "Pod");
    own.sort_by_key(|pod| text(&pod["metadata"]["creationTimestamp"]).to_owned());
    own.iter()
        .map(|pod| {
            let mut item = sight.item(2, path, pod);
            let restarts: i64 = self::items(&pod["status"]["containerStatuses"])
                .iter()
                .map(|status| int(&status["restartCount"]))
                .sum();
            if restarts > 0 {
                item.line
                    .push(Role::Warning, &format!("  {}", count(restarts as usize, "restart")));
            }
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                item.line.push(Role::Dim, "  ending");
            }
            item.line.push(Role::Dim, &format!("  {}", sight.age(pod)));
            item
        })
        .collect()
}

/// The revisions, the latest first, each with what it changed below it.
fn history(sight: &Sight, all: &[Revision]) -> Vec<Item> {
    let mut items = vec![heading(
        "history",
        "Revisions",
        "Enter goes back to one, → shows what it changed",
    )];
    for (at, revision) in all.iter().enumerate() {
        let mut line = TextLine::new().with(Role::Strong, &format!("{:>4}", revision.number));
        line.push(
            if revision.current { Role::Accent } else { Role::Dim },
            if revision.current { "  now  " } else { "       " },
        );
        line.push(Role::Text, &images(&revision.template));
        if let Some(made) = revision.made {
            line.push(Role::Dim, &format!("  {}", age(made, sight.now)));
        }
        if !revision.cause.is_empty() {
            line.push(Role::Dim, &format!("  {}", revision.cause));
        }
        let key = format!("revision/{}", revision.number);
        let mut item = Item::new(&*key, 1, Health::None, line).folded();
        if !revision.current {
            item = item.enter(Line::with(
                "rollout.undo",
                [format!("--to-revision={}", revision.number)],
            ));
        }
        items.push(item);
        let lines = match all.get(at + 1) {
            Some(before) => {
                let plain = |template: &Value| yaml::document(template).plain();
                document::difference(&plain(&before.template), &plain(&revision.template), 0)
            }
            None => vec![TextLine::new().with(Role::Dim, "the oldest that is kept")],
        };
        items.extend(
            lines
                .into_iter()
                .enumerate()
                .map(|(row, line)| Item::new(format!("{key}/{row}"), 2, Health::None, line)),
        );
    }
    if all.is_empty() {
        items.push(note("history/none", 1, Role::Dim, "none are kept"));
    }
    items
}

fn images(template: &Value) -> String {
    crate::kind::template::images(template)
}
