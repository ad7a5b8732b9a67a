//! The sections that the descriptions of many kinds share, worded as `kubectl describe` words them.

use std::borrow::Cow;

use serde_json::Value;

use super::Subject;
use super::field::{int, items, pairs, present, scalar, text, time};
use super::page::Page;
use crate::text;
use crate::theme::Role;

/// Longer annotations stand on lines of their own, and are cut.
const LONGEST_ANNOTATION: usize = 140;

/// What `kubectl apply` keeps for itself: the whole object once more.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `key=value`, one to a line.
pub(super) fn labels(page: &mut Page, level: usize, title: &str, labels: &Value) {
    let labels: Vec<_> = pairs(labels)
        .iter()
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    page.list(level, title, &labels);
}

/// Annotations; long and multi-line ones below their key.
pub(super) fn annotations(page: &mut Page, level: usize, title: &str, annotations: &Value) {
    let mut lines = Vec::new();
    for (key, value) in pairs(annotations) {
        if key == LAST_APPLIED {
            continue;
        }
        let value = scalar(value);
        let value = value.strip_suffix('\n').unwrap_or(&value);
        if key.len() + value.len() + 2 <= LONGEST_ANNOTATION && !value.contains('\n') {
            lines.push(format!("{key}: {value}"));
            continue;
        }
        lines.push(format!("{key}:"));
        lines.extend(
            value
                .split('\n')
                .map(|line| format!("  {}", shorten(line, LONGEST_ANNOTATION - 2))),
        );
    }
    page.list(level, title, &lines);
}

/// At most `length` bytes, and three dots where something is missing.
fn shorten(text: &str, length: usize) -> Cow<'_, str> {
    if text.len() <= length {
        return Cow::Borrowed(text);
    }
    let end = (0..=length)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default();
    Cow::Owned(format!("{}...", &text[..end]))
}

/// Name, namespace (where there is one, `kubectl` leaves none out), labels and annotations: how most descriptions begin.
pub(super) fn metadata(page: &mut Page, object: &Value, namespaced: bool) {
    let metadata = &object["metadata"];
    page.field(0, "Name", text(&metadata["name"]));
    if namespaced {
        page.field(0, "Namespace", text(&metadata["namespace"]));
    }
    labels(page, 0, "Labels", &metadata["labels"]);
    annotations(page, 0, "Annotations", &metadata["annotations"]);
}

/// `key=value:effect op=Exists for 300s`, one to a line.
pub(super) fn tolerations(page: &mut Page, level: usize, tolerations: &Value) {
    let mut sorted: Vec<&Value> = items(tolerations).iter().collect();
    sorted.sort_by_key(|toleration| text(&toleration["key"]));
    let lines: Vec<String> = sorted.into_iter().map(toleration).collect();
    page.list(level, "Tolerations", &lines);
}

fn toleration(toleration: &Value) -> String {
    let (key, value, effect) = (
        text(&toleration["key"]),
        text(&toleration["value"]),
        text(&toleration["effect"]),
    );
    let mut line = key.to_owned();
    if !value.is_empty() {
        line.push('=');
        line.push_str(value);
    }
    if !effect.is_empty() {
        line.push(':');
        line.push_str(effect);
    }
    if toleration["operator"] == "Exists" && value.is_empty() {
        line.push_str(if line.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = toleration["tolerationSeconds"].as_i64() {
        line.push_str(&format!(" for {seconds}s"));
    }
    line
}

/// Topology spread constraints, if there are any.
pub(super) fn spread(page: &mut Page, level: usize, constraints: &Value) {
    if !present(constraints) {
        return;
    }
    let mut sorted: Vec<&Value> = items(constraints).iter().collect();
    sorted.sort_by_key(|constraint| text(&constraint["topologyKey"]));
    let words = |constraint: &Value| {
        let line = format!(
            "{}:{} when max skew {} is exceeded",
            text(&constraint["topologyKey"]),
            text(&constraint["whenUnsatisfiable"]),
            int(&constraint["maxSkew"])
        );
        match &constraint["labelSelector"] {
            Value::Null => line,
            labels => format!("{line} for selector {}", selector(labels)),
        }
    };
    let lines: Vec<String> = sorted.into_iter().map(words).collect();
    page.list(level, "Topology Spread Constraints", &lines);
}

/// The conditions of a workload, if it has any.
pub(super) fn conditions(page: &mut Page, conditions: &Value) {
    if !present(conditions) {
        return;
    }
    page.head(0, "Conditions:");
    let rows: Vec<_> = items(conditions)
        .iter()
        .map(|condition| {
            let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
            let good = if kind == "ReplicaFailure" { "False" } else { "True" };
            vec![
                // The space is kubectl's: it sets its columns three apart here.
                (Role::Field, format!("{kind} ")),
                (condition_role(status, good), status.to_owned()),
                (Role::Value, text(&condition["reason"]).to_owned()),
            ]
        })
        .collect();
    page.table(1, &["Type", "Status", "Reason"], &rows);
}

/// A selector in words: `app=web,tier in (a,b)`; `<none>` when it selects nothing.
pub(super) fn selector(selector: &Value) -> String {
    let words = super::selector::query(selector);
    if words.is_empty() { "<none>".into() } else { words }
}

/// The Events table, or that there are none.
pub(super) fn events(page: &mut Page, subject: &Subject<'_>) {
    if subject.events.is_empty() {
        page.cells(0, &[(Role::Section, "Events:"), (Role::Dim, "<none>")]);
        return;
    }
    page.flush();
    page.head(0, "Events:");
    let rows: Vec<_> = subject.events.iter().map(|event| event_row(event, subject)).collect();
    page.ruled(
        1,
        &[("Type", 4), ("Reason", 6), ("Age", 4), ("From", 4), ("Message", 7)],
        &rows,
    );
}

fn event_row(event: &Value, subject: &Subject<'_>) -> Vec<(Role, String)> {
    let since = |value: &Value| time(value).map_or_else(|| "<unknown>".into(), |at| text::age(at, subject.now));
    let first = match &event["eventTime"] {
        Value::Null => since(&event["firstTimestamp"]),
        moment => since(moment),
    };
    let (series, count) = (&event["series"], int(&event["count"]));
    let age = if series.is_object() {
        format!(
            "{} (x{} over {first})",
            since(&series["lastObservedTime"]),
            int(&series["count"])
        )
    } else if count > 1 {
        format!("{} (x{count} over {first})", since(&event["lastTimestamp"]))
    } else {
        first
    };
    let from = match text(&event["source"]["component"]) {
        "" => text(&event["reportingComponent"]),
        component => component,
    };
    let message = text(&event["message"]).trim().to_owned();
    let warning = event["type"] == "Warning";
    let role = if warning { Role::Warning } else { Role::Value };
    vec![
        (
            if warning { Role::Warning } else { Role::Dim },
            text(&event["type"]).to_owned(),
        ),
        (role, text(&event["reason"]).to_owned()),
        (Role::Dim, age),
        (Role::Dim, from.to_owned()),
        (role, message),
    ]
}

/// The role of a condition's status: what should be `True` and is not stands out.
pub(super) fn condition_role(status: &str, good: &str) -> Role {
    match status {
        _ if status == good => Role::Value,
        "Unknown" => Role::Unknown,
        _ => Role::Warning,
    }
}
