//! What the command prompt offers.

use crate::action::{ACTIONS, open, place};
use crate::text;
use crate::view::Data;
use crate::view::overlay::Candidate;

/// Kinds people open most.
const FIRST: &[&str] = &[
    "pods",
    "deployments",
    "services",
    "namespaces",
    "nodes",
    "events",
    "configmaps",
    "secrets",
    "replicasets",
];

/// Candidates for the text left of the cursor: kinds, aliases and actions for the first word, then what fits its arguments.
pub fn candidates(before: &str, data: &dyn Data) -> Vec<Candidate> {
    let start = before.rfind(' ').map_or(0, |at| at + 1);
    let (head, word) = before.split_at(start);
    let mut all: Vec<Candidate> = Vec::new();
    let first = head.split_whitespace().next();
    match first {
        None => {
            if let Some(context) = word.strip_prefix('@') {
                return contexts(context, data);
            }
            let discovery = data.discovery();
            let known: Vec<_> = FIRST.iter().filter_map(|name| discovery.find(name)).collect();
            let others = discovery.resources.iter().filter(|resource| !known.contains(resource));
            for resource in known
                .iter()
                .copied()
                .chain(others)
                .filter(|resource| resource.can("list"))
            {
                let mut doc = resource.kind.to_string();
                if !resource.group.is_empty() {
                    doc = format!("{doc}  {}", resource.group);
                }
                if !resource.short_names.is_empty() {
                    doc = format!("{doc}  {}", resource.short_names.join(" "));
                }
                all.push(Candidate {
                    text: resource.plural.to_string(),
                    doc,
                });
            }
            all.extend(open::aliases().map(|(text, doc)| Candidate {
                text: text.into(),
                doc: doc.into(),
            }));
            all.extend(ACTIONS.iter().map(|action| Candidate {
                text: action.name.into(),
                doc: action.doc.into(),
            }));
        }
        Some("ctx" | "context" | "contexts" | "context.set") => return contexts(word, data),
        Some("theme" | "app.theme") => {
            all.extend(crate::theme::Theme::built_in().map(|name| Candidate {
                text: name.into(),
                doc: String::new(),
            }));
        }
        Some("keymap" | "app.keymap") => {
            all.extend(crate::keys::Keymap::built_in().map(|name| Candidate {
                text: name.into(),
                doc: String::new(),
            }));
        }
        Some("apply" | "manifest.apply") => return Vec::new(),
        Some(_) => {
            let names = place::known_namespaces(data);
            all.extend(names.into_iter().map(|text| Candidate {
                text,
                doc: "namespace".into(),
            }));
        }
    }
    rank(all, word)
}

fn contexts(word: &str, data: &dyn Data) -> Vec<Candidate> {
    let names = data.contexts().iter().map(|name| Candidate {
        text: name.clone(),
        doc: "context".into(),
    });
    rank(names.collect(), word)
}

/// Prefixes first, then fuzzy matches; nothing but what was typed is left out.
fn rank(all: Vec<Candidate>, word: &str) -> Vec<Candidate> {
    if word.is_empty() {
        return all.into_iter().take(100).collect();
    }
    let mut scored: Vec<(i32, usize, Candidate)> = all
        .into_iter()
        .enumerate()
        .filter_map(|(at, candidate)| {
            let exact = if candidate.doc.split_whitespace().any(|short| short == word) {
                400
            } else {
                0
            };
            // Kinds are typed far more often than commands.
            let is_kind = !candidate.text.contains('.') && candidate.doc.starts_with(char::is_uppercase);
            let prefix = match (candidate.text.starts_with(word), is_kind) {
                (true, true) => 300,
                (true, false) => 200,
                (false, _) => 0,
            };
            let score = text::fuzzy_score(word, &candidate.text);
            let score = if exact > 0 { Some(score.unwrap_or(0)) } else { score };
            score.map(|score| (score + prefix + exact, at, candidate))
        })
        .collect();
    scored.sort_by_key(|(score, at, _)| (-score, *at));
    scored
        .into_iter()
        .map(|(_, _, candidate)| candidate)
        .take(100)
        .collect()
}
