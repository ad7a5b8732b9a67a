//! Findings as text for people, and as JSON for scripts.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::finding::{Finding, Severity};
use super::world::World;
use crate::document::{Document, TextLine};
use crate::text::age;
use crate::theme::Role;

/// How deep causes of causes are told.
const DEEPEST: usize = 4;

fn role(severity: Severity) -> Role {
    match severity {
        Severity::Note => Role::Dim,
        Severity::Warning => Role::Warning,
        Severity::Critical => Role::Failed,
    }
}

/// The sign of a severity: a shape, so that colour is not needed.
fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "-",
        Severity::Warning => "▲",
        Severity::Critical => "✗",
    }
}

/// What an examination of `title` found, as a page: sentences first, evidence below, remedies by number.
pub fn document(title: &str, findings: &[Finding], world: &World, now: Timestamp) -> Document {
    let mut page = Document::new();
    if findings.is_empty() {
        page.push(TextLine::new().with(Role::Good, &format!("● Nothing wrong was found with {title}.")));
    }
    let mut number = 0;
    for finding in findings {
        if !page.lines.is_empty() {
            page.push(TextLine::new());
        }
        tell(&mut page, finding, 0, now, &mut number);
    }
    let mut unread = world.unread().peekable();
    if unread.peek().is_some() {
        page.push(TextLine::new());
    }
    for (what, why) in unread {
        let line = TextLine::new().with(Role::Dim, &format!("not checked: {what} ({why})"));
        page.push(line.hanging(2));
    }
    page
}

fn tell(page: &mut Document, finding: &Finding, depth: usize, now: Timestamp, number: &mut usize) {
    let indent = "  ".repeat(depth);
    let mut line = TextLine::new()
        .with(Role::Text, &indent)
        .with(role(finding.severity), &format!("{} ", sign(finding.severity)))
        .with(Role::Text, &finding.sentence);
    if let Some(since) = finding.since {
        line.push(Role::Dim, &format!("  {}", age(since, now)));
    }
    page.push(line.hanging(indent.len() + 2));
    if depth > 0 {
        let about = format!("{indent}  {}", finding.subject.argument());
        page.push(TextLine::new().with(Role::Dim, &about));
    }
    for evidence in &finding.evidence {
        let mut line = TextLine::new().with(Role::Text, &format!("{indent}    "));
        if evidence.object != finding.subject {
            line.push(Role::Dim, &format!("{} ", evidence.object.argument()));
        }
        line.push(Role::Dim, &format!("{}: ", evidence.path));
        line.push(Role::Text, &evidence.value);
        page.push(line.hanging(indent.len() + 6));
    }
    if depth < DEEPEST {
        for cause in &finding.because {
            tell(page, cause, depth + 1, now, number);
        }
    }
    for remedy in &finding.remedies {
        *number += 1;
        let danger = if remedy.danger { " (careful)" } else { "" };
        let line = TextLine::new()
            .with(Role::Text, &format!("{indent}  "))
            .with(Role::Key, &format!("{number}"))
            .with(Role::Text, &format!(" {}", remedy.text))
            .with(Role::Warning, danger);
        page.push(line.hanging(indent.len() + 4));
        if !remedy.kubectl.is_empty() {
            let line = TextLine::new().with(Role::Dim, &format!("{indent}    {}", remedy.kubectl));
            page.push(line.hanging(indent.len() + 6));
        }
    }
}

/// The findings as JSON.
pub fn json(findings: &[Finding], world: &World) -> Value {
    let unread: serde_json::Map<String, Value> = world
        .unread()
        .map(|(what, why)| (what.to_owned(), Value::from(why)))
        .collect();
    json!({
        "findings": findings.iter().map(one).collect::<Vec<_>>(),
        "notChecked": unread,
    })
}

fn one(finding: &Finding) -> Value {
    json!({
        "cause": finding.cause,
        "severity": finding.severity.word(),
        "subject": thing(&finding.subject),
        "sentence": finding.sentence,
        "since": finding.since.map(|since| since.to_string()),
        "evidence": finding.evidence.iter().map(|evidence| json!({
            "object": thing(&evidence.object),
            "path": evidence.path,
            "value": evidence.value,
        })).collect::<Vec<_>>(),
        "remedies": finding.remedies.iter().map(|remedy| json!({
            "text": remedy.text,
            "kubectl": remedy.kubectl,
            "danger": remedy.danger,
        })).collect::<Vec<_>>(),
        "because": finding.because.iter().map(one).collect::<Vec<_>>(),
    })
}

fn thing(thing: &super::Thing) -> Value {
    json!({
        "group": thing.group,
        "kind": thing.kind,
        "namespace": thing.namespace,
        "name": thing.name,
    })
}
