//! What the command prompt and the palette offer: what the schema of the command says may stand there.

use crate::action::{Argument, COMMANDS, Command, Place, Type, called, place, places};
use crate::keys::{Keymap, Line, split};
use crate::state::Cx;
use crate::text;
use crate::theme::Theme;
use crate::view::overlay::Candidate;
use crate::view::{Data, Vocabulary};

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

/// Candidates shown at most.
const MOST: usize = 100;

/// Whatever may be typed where the prompt was opened.
#[derive(Clone, Debug)]
pub struct Completion {
    vocabulary: Vocabulary,
    containers: Vec<String>,
    /// Aliases of the user, and what they stand for.
    aliases: Vec<(String, String)>,
}

impl Completion {
    /// For a line typed now.
    pub(super) fn here(cx: &Cx<'_>) -> Self {
        let view = cx.state.view();
        let containers = view.targets(cx.data).first().map(super::pod::container_names);
        Self {
            vocabulary: view.vocabulary(cx.data),
            containers: containers.unwrap_or_default(),
            aliases: cx.state.aliases.clone(),
        }
    }

    /// Candidates for the text left of the cursor: kinds, aliases and commands for the first word, then what fits the command's arguments.
    pub fn candidates(&self, before: &str, data: &dyn Data) -> Vec<Candidate> {
        let start = before.rfind(' ').map_or(0, |at| at + 1);
        let (head, word) = before.split_at(start);
        // A quote that is not closed yet is half a word: nothing fits it.
        let Ok(words) = split(head) else { return Vec::new() };
        match words.split_first() {
            None => self.first(word, data),
            Some((name, rest)) => self.argument(name, rest, word, data),
        }
    }

    fn first(&self, word: &str, data: &dyn Data) -> Vec<Candidate> {
        if let Some(context) = word.strip_prefix('@') {
            let named = |name: String| Candidate::new(format!("@{name}"), "context");
            return rank(
                data.contexts().iter().cloned().map(named).collect(),
                &format!("@{context}"),
            );
        }
        let mut all = kinds(data);
        all.extend(self.aliases.iter().map(|(alias, line)| Candidate::new(alias, line)));
        all.extend(COMMANDS.iter().flat_map(|command| {
            let aliases = command.aliases.iter().map(|alias| Candidate::new(*alias, command.doc));
            aliases.chain([Candidate::new(command.name, command.doc)])
        }));
        rank(all, word)
    }

    fn argument(&self, name: &str, rest: &[String], word: &str, data: &dyn Data) -> Vec<Candidate> {
        let alias = self.aliases.iter().find(|(alias, _)| alias == name);
        let expanded = alias.and_then(|(_, line)| Line::parse(line).ok());
        let (name, mut words) = match &expanded {
            Some(line) => (&*line.name, line.args.clone()),
            None => (name, Vec::new()),
        };
        let command = match called(name) {
            Some(command) => Some(command),
            // A kind by itself opens its table.
            None if data.discovery().find(name).is_some() => {
                words.insert(0, name.to_owned());
                called("view.open")
            }
            None => None,
        };
        let Some(command) = command else { return Vec::new() };
        words.extend(rest.iter().cloned());
        words.push(word.to_owned());
        let places = places(command.arguments, &words);
        let value =
            |value: Option<Type>, word: &str| value.map_or_else(Vec::new, |value| self.values(value, word, data));
        match places.last() {
            Some(Place::Flag(argument, Some(text))) => {
                let flag = argument.flag.unwrap_or_default();
                let mut all = value(argument.value, text);
                for candidate in &mut all {
                    candidate.text = format!("{flag}={}", candidate.text);
                }
                all
            }
            Some(Place::Value(argument)) => {
                let mut all = value(argument.value, word);
                if argument.value == Some(Type::Namespace) && command.name == "view.open" {
                    all.extend(self.values(Type::Selector, word, data));
                }
                all.extend(flags(command, word));
                all
            }
            _ => flags(command, word),
        }
    }

    /// What a value of this type may be.
    fn values(&self, value: Type, word: &str, data: &dyn Data) -> Vec<Candidate> {
        let named = |names: Vec<String>, doc: &str| {
            let all = names.into_iter().map(|name| Candidate::new(name, doc)).collect();
            rank(all, word)
        };
        match value {
            Type::Kind => rank(kinds(data), word),
            Type::Namespace => named(place::known_namespaces(data), "namespace"),
            Type::Context => named(data.contexts().to_vec(), "context"),
            Type::Column => named(
                self.vocabulary
                    .columns
                    .iter()
                    .map(|title| title.to_lowercase())
                    .collect(),
                "column",
            ),
            Type::LabelKey => named(self.vocabulary.labels.keys().cloned().collect(), "label"),
            Type::Selector | Type::Label => self.labels(word),
            Type::Theme => named(Theme::built_in().map(str::to_owned).collect(), "theme"),
            Type::Keymap => named(Keymap::built_in().map(str::to_owned).collect(), "keymap"),
            Type::Container => named(self.containers.clone(), "container"),
            Type::Choice(words) => named(words.iter().map(|word| (*word).to_owned()).collect(), ""),
            Type::Command => self.first(word, data),
            Type::Fields
            | Type::Filter
            | Type::Number
            | Type::Ports
            | Type::Path
            | Type::Name
            | Type::Image
            | Type::Session
            | Type::Url
            | Type::Text => Vec::new(),
        }
    }

    /// The keys of labels, and their values once there is an operator; earlier requirements of a selector stay.
    fn labels(&self, word: &str) -> Vec<Candidate> {
        let start = word.rfind(',').map_or(0, |at| at + 1);
        let (before, requirement) = word.split_at(start);
        let labels = &self.vocabulary.labels;
        let (all, typed): (Vec<String>, String) = match requirement.find('=') {
            None => (
                labels.keys().map(|key| format!("{before}{key}=")).collect(),
                word.to_owned(),
            ),
            Some(at) => {
                let key = requirement[..at].trim_end_matches('!');
                let values = labels.get(key).into_iter().flatten();
                let head = format!("{before}{}", &requirement[..=at]);
                (values.map(|value| format!("{head}{value}")).collect(), word.to_owned())
            }
        };
        rank(
            all.into_iter().map(|text| Candidate::new(text, "label")).collect(),
            &typed,
        )
    }
}

/// The flags of a command, once a dash is typed.
fn flags(command: &Command, word: &str) -> Vec<Candidate> {
    if !word.starts_with('-') {
        return Vec::new();
    }
    let text = |argument: &Argument| {
        let flag = argument.flag.filter(|flag| !argument.hidden && *flag != "--")?;
        let wants = argument.value.is_some() && flag.starts_with("--");
        let doc = argument.value.map(Type::name).unwrap_or_default();
        Some(Candidate::new(
            if wants { format!("{flag}=") } else { flag.to_owned() },
            doc,
        ))
    };
    rank(command.arguments.iter().filter_map(text).collect(), word)
}

/// Kinds that can be listed, those people open most first.
pub(super) fn kinds(data: &dyn Data) -> Vec<Candidate> {
    let discovery = data.discovery();
    let known: Vec<_> = FIRST.iter().filter_map(|name| discovery.find(name)).collect();
    let others = discovery.resources.iter().filter(|resource| !known.contains(resource));
    let listed = known
        .iter()
        .copied()
        .chain(others)
        .filter(|resource| resource.can("list"));
    let candidate = |resource: &std::sync::Arc<crate::cluster::Resource>| {
        let mut doc = resource.kind.to_string();
        if !resource.group.is_empty() {
            doc = format!("{doc}  {}", resource.group);
        }
        if !resource.short_names.is_empty() {
            doc = format!("{doc}  {}", resource.short_names.join(" "));
        }
        Candidate::new(resource.plural.to_string(), doc)
    };
    listed.map(candidate).collect()
}

/// Prefixes first, then fuzzy matches; nothing but what was typed is left out.
fn rank(all: Vec<Candidate>, word: &str) -> Vec<Candidate> {
    if word.is_empty() {
        return all.into_iter().take(MOST).collect();
    }
    let mut scored: Vec<(i32, usize, Candidate)> = all
        .into_iter()
        .enumerate()
        .filter_map(|(at, candidate)| {
            let exact = if candidate.text == word || candidate.doc.split_whitespace().any(|short| short == word) {
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
        .take(MOST)
        .collect()
}
