//! Findings as text for people, and as JSON for scripts.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::finding::{Finding, Remedy, Severity};
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

/// What an examination found.
#[derive(Debug, PartialEq)]
pub struct Diagnosis {
    /// What was looked at.
    pub world: World,
    /// What is wrong, roots first; empty when nothing is.
    pub findings: Vec<Finding>,
    /// When it was looked at.
    pub now: Timestamp,
}

impl Diagnosis {
    /// The remedies in the order of their numbers, from 1.
    pub fn remedies(&self) -> Vec<&Remedy> {
        fn collect<'a>(finding: &'a Finding, depth: usize, remedies: &mut Vec<&'a Remedy>) {
            if depth < DEEPEST {
                for cause in &finding.because {
                    collect(cause, depth + 1, remedies);
                }
            }
            remedies.extend(&finding.remedies);
        }
        let mut remedies = Vec::new();
        for finding in &self.findings {
            collect(finding, 0, &mut remedies);
        }
        remedies
    }

    /// The sentence to read first; `None` when nothing is wrong.
    pub fn headline(&self) -> Option<&str> {
        self.findings.first().map(|finding| finding.root().sentence.as_str())
    }

    /// Whether something is worse than worth knowing.
    pub fn is_wrong(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity > Severity::Note)
    }

    /// A page about `title`: sentences first, evidence below them, remedies by number.
    pub fn document(&self, title: &str) -> Document {
        let mut page = Document::new();
        if self.findings.is_empty() {
            let line = format!("● Nothing wrong was found with {title}.");
            page.push(TextLine::new().with(Role::Good, &line));
        }
        let mut number = 0;
        for finding in &self.findings {
            if !page.lines.is_empty() {
                page.push(TextLine::new());
            }
            tell(&mut page, finding, 0, self.now, &mut number);
        }
        let mut unread = self.world.unread().peekable();
        if unread.peek().is_some() {
            page.push(TextLine::new());
        }
        for (what, why) in unread {
            let line = TextLine::new().with(Role::Dim, &format!("not checked: {what} ({why})"));
            page.push(line.hanging(2));
        }
        page
    }

    /// The findings for scripts.
    pub fn json(&self) -> Value {
        let unread: serde_json::Map<String, Value> = self
            .world
            .unread()
            .map(|(what, why)| (what.to_owned(), Value::from(why)))
            .collect();
        json!({
            "findings": self.findings.iter().map(one).collect::<Vec<_>>(),
            "notChecked": unread,
        })
    }
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
