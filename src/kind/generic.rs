//! Any kind without a file of its own, custom resources included.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::brief::Brief;
use super::field::{items, pairs, present, scalar, text, time};
use super::page::Page;
use super::part::{Condition, Meta, Str, condition, parse};
use super::{Column, Drill, Kind, Related, Subject, batch, describe, policy, storage};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

pub(super) static GENERIC: Kind = Kind {
    group: "",
    plural: "",
    columns: &[Column::text("NAME", 20, 0), Column::number("AGE", 5, 1)],
    row,
    related,
    describe: self::describe,
    summary,
    drill: Drill::Describe,
    sort: None,
};

/// How a kind is described whose table is the server's.
type Describe = fn(&Subject<'_>) -> Document;

/// Kinds with sections of their own, by group and kind.
const DESCRIBED: &[(&str, &str, Describe)] = &[
    ("", "PersistentVolume", storage::volume),
    ("", "PersistentVolumeClaim", storage::claim),
    ("", "ResourceQuota", policy::quota),
    ("autoscaling", "HorizontalPodAutoscaler", policy::autoscaler),
    ("batch", "CronJob", batch::cron_job),
    ("batch", "Job", batch::job),
    ("networking.k8s.io", "Ingress", policy::ingress),
    ("networking.k8s.io", "NetworkPolicy", policy::network_policy),
    ("policy", "PodDisruptionBudget", policy::budget),
    ("rbac.authorization.k8s.io", "ClusterRole", policy::role),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", policy::binding),
    ("rbac.authorization.k8s.io", "Role", policy::role),
    ("rbac.authorization.k8s.io", "RoleBinding", policy::binding),
    ("storage.k8s.io", "StorageClass", storage::class),
];

/// A claim is described with the pods that use it, an Ingress with the endpoints it leads to.
fn related(object: &Value) -> Vec<Related> {
    match text(&object["kind"]) {
        "PersistentVolumeClaim" => vec![Related::new("", "pods", &object["metadata"]["namespace"])],
        "Ingress" => vec![Related::new(
            "discovery.k8s.io",
            "endpointslices",
            &object["metadata"]["namespace"],
        )],
        _ => Vec::new(),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Partial<'a> {
    metadata: Meta,
    /// Whatever it is: a status of another shape must not cost the row its age.
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    conditions: Option<&'a RawValue>,
    #[serde(borrow)]
    phase: Option<&'a RawValue>,
}

/// What the server's table shows, else name and age, and the health that conditions and phase by their usual names tell.
pub(super) fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: Partial<'_> = parse(&json);
    let cells = match &object.cells {
        Some(cells) => cells.to_vec(),
        None => vec![Cell::text(&object.id.name), parsed.metadata.created.cell()],
    };
    (health(&parsed), cells)
}

/// Most custom resources have a `Ready` or `Available` condition or a phase; without either, there is nothing to say.
fn health(object: &Partial<'_>) -> Health {
    if object.metadata.deleted.0.is_some() {
        return Health::Progress;
    }
    let status: Status<'_> = object.status.map_or_else(Status::default, |raw| parse(raw.get()));
    let conditions: &[Condition<'_>] = &status.conditions.map_or_else(Vec::new, |raw| parse(raw.get()));
    let phase: Str<'_> = status.phase.map_or_else(Str::default, |raw| parse(raw.get()));
    let ready = ["Ready", "Available", "Complete", "Established", "Healthy"]
        .iter()
        .find_map(|kind| condition(conditions, kind));
    let failed = ["Failed", "Stalled", "Degraded"]
        .iter()
        .filter_map(|kind| condition(conditions, kind));
    if failed.into_iter().any(|failed| &*failed.status == "True") {
        return Health::Failed;
    }
    match (ready.map(|ready| (&*ready.kind, &*ready.status)), &*phase) {
        (Some(("Complete", "True")), _) => Health::Done,
        (Some((_, "True")), _) => Health::Good,
        (Some((_, "False")), _) => Health::Warning,
        (Some(_), _) => Health::Unknown,
        (None, "Running" | "Active" | "Ready" | "Bound" | "Available" | "Healthy") => Health::Good,
        (None, "Succeeded" | "Completed") => Health::Done,
        (None, "Failed" | "Error" | "Lost") => Health::Failed,
        (None, "Pending" | "Terminating" | "Creating" | "Released") => Health::Progress,
        _ => Health::None,
    }
}

/// Deepest indentation shown: what is deeper stands at the same depth.
const DEEPEST: usize = 24;

/// The sections of its kind where it has some; else metadata, everything else as an indented tree, and events.
pub(super) fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (group, kind) = (
        text(&object["apiVersion"])
            .rsplit_once('/')
            .map_or("", |(group, _)| group),
        text(&object["kind"]),
    );
    let own = DESCRIBED.iter().find(|(g, k, _)| (*g, *k) == (group, kind));
    if let Some((_, _, own)) = own {
        return own(subject);
    }
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, true);
    for (key, value) in pairs(object) {
        if key == "metadata" {
            page.head(0, "Metadata:");
            const SHOWN_ABOVE: [&str; 5] = ["managedFields", "name", "namespace", "labels", "annotations"];
            for (key, value) in pairs(value).into_iter().filter(|(key, _)| !SHOWN_ABOVE.contains(key)) {
                node(&mut page, 1, key, value);
            }
        } else {
            node(&mut page, 0, key, value);
        }
    }
    describe::events(&mut page, subject);
    page.finish()
}

fn node(page: &mut Page, level: usize, key: &str, value: &Value) {
    let level = level.min(DEEPEST);
    let title = title(key);
    let role = if level == 0 { Role::Section } else { Role::Field };
    match value {
        Value::Object(_) => {
            page.line(level, role, &format!("{title}:"));
            tree(page, level + 1, value);
        }
        Value::Array(items) => {
            page.line(level, role, &format!("{title}:"));
            for item in items {
                match item {
                    Value::Object(_) => tree(page, level + 1, item),
                    other => page.line((level + 1).min(DEEPEST), Role::Value, &shown(other)),
                }
            }
        }
        other => page.field_as(level, &title, scalar_role(other), &shown(other)),
    }
}

fn tree(page: &mut Page, level: usize, map: &Value) {
    for (key, value) in pairs(map) {
        node(page, level, key, value);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        other => scalar(other).into_owned(),
    }
}

fn scalar_role(value: &Value) -> Role {
    match value {
        Value::Number(_) => Role::Number,
        Value::Bool(_) | Value::Null => Role::Literal,
        _ => Role::Value,
    }
}

/// A field name as a title: `lastTransitionTime` is `Last Transition Time`, `apiURL` is `API URL`. Names with other characters than
/// letters and dashes stay as they are.
pub(super) fn title(field: &str) -> String {
    if field.is_empty() || !field.chars().all(|ch| ch.is_alphabetic() || ch == '-') {
        return field.to_owned();
    }
    let words: Vec<String> = split_camel(field)
        .into_iter()
        .map(|word| {
            let upper = word.to_uppercase();
            if matches!(upper.as_str(), "API" | "URL" | "UID" | "OSB" | "GUID") {
                return upper;
            }
            let mut chars = word.chars();
            chars
                .next()
                .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
        })
        .collect();
    words.join(" ")
}

/// Words of a camel-case name: a new one starts at each change from lower to upper case, and before the last capital of a run of
/// them that a lower-case letter follows. Dashes are words of their own.
fn split_camel(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let class = |ch: char| {
        if ch.is_lowercase() {
            1
        } else if ch.is_uppercase() {
            2
        } else {
            3
        }
    };
    let mut words: Vec<Vec<char>> = Vec::new();
    let mut last = 0;
    for ch in chars {
        match words.last_mut() {
            Some(word) if class(ch) == last => word.push(ch),
            _ => words.push(vec![ch]),
        }
        last = class(ch);
    }
    for at in 0..words.len().saturating_sub(1) {
        if words[at].last().is_some_and(|ch| ch.is_uppercase())
            && words[at + 1].first().is_some_and(|ch| ch.is_lowercase())
            && let Some(capital) = words[at].pop()
        {
            words[at + 1].insert(0, capital);
        }
    }
    words
        .into_iter()
        .filter(|word| !word.is_empty())
        .map(|word| word.into_iter().collect())
        .collect()
}

/// Scalars of the status shown in a summary.
const SCALARS: usize = 8;

/// State, a few scalars of the status, conditions, owner and labels.
pub(super) fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut brief = Brief::new(subject.now);
    let health = Partial::deserialize(object).map_or(Health::None, |object| health(&object));
    let status = &object["status"];
    let ready = items(&status["conditions"])
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let word = match (text(&status["phase"]), ready) {
        ("", Some(ready)) if ready["status"] == "True" => "Ready",
        ("", Some(_)) => "not ready",
        (phase, _) => phase,
    };
    if present(&object["metadata"]["deletionTimestamp"]) {
        brief.headline(Health::Progress, "Terminating");
        let finalizers: Vec<_> = items(&object["metadata"]["finalizers"]).iter().map(text).collect();
        brief.pair("waits for", &finalizers.join(", "));
    } else if !word.is_empty() {
        brief.headline(health, word);
    }
    if let Some(ready) = ready.filter(|ready| ready["status"] != "True") {
        brief.say(
            Role::Text,
            &[text(&ready["reason"]), text(&ready["message"])].join(": "),
        );
    }
    let scalars = pairs(status)
        .into_iter()
        .filter(|(key, value)| *key != "phase" && !value.is_object() && !value.is_array());
    for (key, value) in scalars.take(SCALARS) {
        brief.pair(key, &scalar(value));
    }
    brief.pair("owner", &super::field::controller(object));
    let created = time(&object["metadata"]["creationTimestamp"]);
    brief.pair(
        "created",
        &created.map_or_else(String::new, |at| format!("{} ago", brief.age(at))),
    );
    brief.labels(object);
    brief.conditions(&status["conditions"], |kind| {
        matches!(kind, "Failed" | "Stalled" | "Degraded" | "Progressing")
    });
    brief.finish()
}
