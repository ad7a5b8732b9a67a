//! The workloads of a place with their pods: what is healthy folded, what is not open.

use std::collections::BTreeMap;

use serde_json::Value;

use super::sight::{Sight, controller, heading, note};
use super::{Item, Outline};
use crate::kind::field::text;
use crate::kind::template;
use crate::store::Health;
use crate::theme::Role;

pub(super) const KINDS: &[(&str, &str)] = &[
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("apps", "replicasets"),
    ("", "replicationcontrollers"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("", "pods"),
];

const KINDS_IN_ORDER: &[(&str, &str)] = &[
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
    ("", "Pod"),
];

/// What each object controls, by its UID.
fn controlled(sight: &Sight) -> BTreeMap<&str, Vec<&Value>> {
    let mut below: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for object in sight.world.everything() {
        if let Some(owner) = controller(object) {
            below.entry(text(&owner["uid"])).or_default().push(object);
        }
    }
    for list in below.values_mut() {
        list.sort_by_key(|object| (text(&object["kind"]), text(&object["metadata"]["name"])));
    }
    below
}

/// The worst health of an object and of everything it controls.
fn worst(sight: &Sight, below: &BTreeMap<&str, Vec<&Value>>, object: &Value) -> Health {
    let own = sight.health(object);
    let uid = text(&object["metadata"]["uid"]);
    let others = below
        .get(uid)
        .into_iter()
        .flatten()
        .map(|object| worst(sight, below, object));
    others.fold(own, Ord::max)
}

pub(super) fn outline(sight: &Sight) -> Outline {
    let below = controlled(sight);
    let mut spaces: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (group, kind) in KINDS_IN_ORDER {
        // What an owner in sight controls stands below it.
        let tops = sight.all(group, kind).iter().filter(|object| {
            let owner = controller(object).map(|owner| text(&owner["uid"]));
            owner.is_none_or(|uid| !sight.is_known(uid))
        });
        for object in tops {
            spaces
                .entry(text(&object["metadata"]["namespace"]))
                .or_default()
                .push(object);
        }
    }
    let mut lines = Vec::new();
    let (mut all, mut wrong) = (0, 0);
    let many = spaces.len() > 1;
    for (space, objects) in &spaces {
        let depth = usize::from(many);
        let health = objects.iter().map(|object| worst(sight, &below, object));
        let faults = health.filter(|health| health.needs_attention()).count();
        (all, wrong) = (all + objects.len(), wrong + faults);
        if many {
            let more = match faults {
                0 => crate::text::count(objects.len(), "workload"),
                _ => format!("{}, {faults} to look at", crate::text::count(objects.len(), "workload")),
            };
            lines.push(heading(&format!("space/{space}"), space, &more));
        }
        for object in objects {
            branch(sight, &below, object, depth, &mut lines);
        }
    }
    if lines.is_empty() {
        lines.push(note("none", 0, Role::Dim, "no workloads here: r runs an image"));
    }
    let status = match wrong {
        0 => all.to_string(),
        wrong => format!("{all}, {wrong} to look at"),
    };
    Outline {
        items: lines,
        status,
        about: None,
    }
}

fn branch(sight: &Sight, below: &BTreeMap<&str, Vec<&Value>>, object: &Value, depth: usize, lines: &mut Vec<Item>) {
    let own: Vec<&Value> = below
        .get(text(&object["metadata"]["uid"]))
        .into_iter()
        .flatten()
        .copied()
        // Old ReplicaSets without pods say nothing.
        .filter(|object| {
            object["kind"] != "ReplicaSet" || object["spec"]["replicas"] != 0 || object["status"]["replicas"] != 0
        })
        .collect();
    let health = worst(sight, below, object);
    let mut item = sight.item(depth, "workload", object);
    item.health = health;
    let images = template::images(&object["spec"]["template"]);
    if !images.is_empty() {
        item.line.push(Role::Dim, &format!("  {images}"));
    }
    item.line.push(Role::Dim, &format!("  {}", sight.age(object)));
    item.folded = !own.is_empty() && !health.needs_attention() && health != Health::Progress;
    lines.push(item);
    for object in own {
        branch(sight, below, object, depth + 1, lines);
    }
}
