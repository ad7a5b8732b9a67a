//! Opening views: by command line, by drilling down, by picking.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::{self, Argument, COMMANDS, Command, Completion, Task, Type};
use crate::cluster::{LinkState, Namespaces, Place};
use crate::document::{Document, TextLine};
use crate::error::{Error, Result};
use crate::keys::{Found, Keymap, Line, Scope};
use crate::kind::{self, Drill};
use crate::state::{Cx, Effect, Level, Then};
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::overlay::{Entry, Mode, Picker, Prompt};
use crate::view::{Browser, Card, Containers, Forwards, Group, KEYS, KeyEntry, Labels, Text, TextSource};

pub(super) const OPEN: Command = Command::new(
    "view.open",
    &[
        Argument::required(Type::Kind),
        Argument::many(Type::Namespace),
        Argument::option("-n", Type::Namespace).hidden(),
        Argument::option("--namespace", Type::Namespace).hidden(),
        Argument::option("-l", Type::Selector),
        Argument::option("--labels", Type::Selector).hidden(),
        Argument::option("--selector", Type::Selector).hidden(),
        Argument::option("--fields", Type::Fields).hidden(),
        Argument::option("--note", Type::Text).hidden(),
        Argument::flag("-A"),
        Argument::flag("--all-namespaces").hidden(),
        Argument::flag("--push").hidden(),
        Argument::flag("--faults").hidden(),
        Argument::option("--sort", Type::Column).hidden(),
        Argument::option("--sort-down", Type::Column).hidden(),
        Argument::optional(Type::Filter),
    ],
    "Open the table of a kind, of several namespaces and contexts too",
    open,
);
pub(super) const COMMAND: Command = Command::new(
    "command.open",
    &[Argument::many(Type::Command)],
    "Type a command",
    command,
);
pub(super) const COMMAND_RUN: Command = Command::new(
    "command.run",
    &[Argument::many(Type::Command)],
    "Run a command line",
    command_run,
);
pub(super) const PALETTE: Command = Command::new("palette.open", &[], "Search all commands", palette);
pub(super) const HELP: Command =
    Command::new("help.open", &[], "Show every key that works here", help).aliases(&["help"]);
pub(super) const MESSAGES: Command =
    Command::new("messages.open", &[], "Show the messages so far", messages).aliases(&["messages"]);
pub(super) const LABELS: Command = Command::new(
    "labels.open",
    &[Argument::optional(Type::Kind)],
    "Group objects by label",
    labels,
)
.aliases(&["labels"]);
pub(super) const FORWARDS: Command = Command::new(
    "forwards.open",
    &[],
    "List the port-forwards and shells, of every context",
    forwards,
)
.aliases(&["forwards", "pf", "sessions"]);

pub(super) const OWNER: Command =
    Command::new("object.owner", &[], "Go to what the object belongs to", owner).aliases(&["owner"]);

/// `view.open pods web -l app=x /crash`: arguments in any order.
fn open(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let mut words = line.args.iter().map(String::as_str).peekable();
    let mut kind_name = None;
    let mut namespaces = cx.state.namespaces.clone();
    let mut clusters = Vec::new();
    let (mut labels, mut fields, mut note, mut filter) = (String::new(), String::new(), String::new(), String::new());
    let (mut push, mut faults, mut sort) = (false, false, None);
    while let Some(word) = words.next() {
        let mut value = |flag: &str| {
            words
                .next()
                .ok_or_else(|| Error::usage(format!("{flag} needs a value")))
        };
        match word {
            "-A" | "--all-namespaces" => namespaces = Namespaces::all(),
            "-n" | "--namespace" => namespaces = named_namespaces(cx, value(word)?)?,
            "-l" | "--labels" | "--selector" => {
                let first = value(word)?;
                super::selector::read(first, &mut words, &mut labels)?;
            }
            "--fields" => value(word)?.clone_into(&mut fields),
            "--note" => value(word)?.clone_into(&mut note),
            "--push" => push = true,
            "--faults" => faults = true,
            "--sort" | "--sort-down" => sort = Some((value(word)?.to_owned(), word == "--sort-down")),
            _ if word.starts_with('@') => {
                let cluster = cx.cluster_called(&word[1..])?;
                if !clusters.contains(&cluster) {
                    clusters.push(cluster);
                }
            }
            _ if word.starts_with('/') => word[1..].clone_into(&mut filter),
            _ if kind_name.is_none() => kind_name = Some(word),
            _ if super::selector::begins(word, words.peek().copied()) => {
                super::selector::read(word, &mut words, &mut labels)?;
            }
            _ => namespaces = named_namespaces(cx, word)?,
        }
    }
    // A context alone is a place to go to.
    if let (None, [cluster]) = (kind_name, clusters.as_slice()) {
        cx.effect(Effect::Connect(*cluster));
        return Ok(());
    }
    let name = kind_name.ok_or_else(|| Error::usage("open which kind?").hint("for example `:pods`"))?;
    let resource = cx.resource(name)?;
    if !resource.can("list") {
        return Err(Error::usage(format!("{} cannot be listed", resource.plural)));
    }
    let place = Place::new(cx.data.cluster().id, namespaces).across(&clusters);
    let sort = sort.or_else(|| cx.state.sorts.get(&resource.full_name()).cloned());
    let mut view = Browser::new(resource, place);
    if !labels.is_empty() {
        view = view.with_labels(&labels);
    }
    if !fields.is_empty() {
        view = view.with_fields(&fields, &note);
    }
    if !filter.is_empty() {
        view = view.with_filter(&filter);
    }
    if faults {
        view = view.with_faults();
    }
    if let Some((column, descending)) = sort {
        view.sort(&column, descending);
    }
    if push || !labels.is_empty() || !fields.is_empty() {
        cx.push(view);
    } else {
        cx.replace(view);
    }
    Ok(())
}

/// Namespaces by their names; one that is known not to exist is a slip.
fn named_namespaces(cx: &Cx<'_>, names: &str) -> Result<Namespaces> {
    let known = super::place::known_namespaces(cx.data);
    let namespaces = Namespaces::parse(names);
    let unknown = |name: &&Arc<str>| !known.iter().any(|other| **other == ***name);
    match namespaces.named().iter().find(unknown).filter(|_| known.len() > 1) {
        Some(name) => Err(Error::usage(format!("there is no namespace {:?}", &**name))
            .hint(format!("`/{name}` filters, `-l {name}` selects by label"))),
        None => Ok(namespaces),
    }
}

/// Enter on a row of a table: what its kind says.
pub(super) fn drill(cx: &mut Cx<'_>) -> Result<()> {
    let target = cx.target()?;
    let kind = kind::find(&target.resource);
    let here = Place::new(target.id.cluster, target.id.namespace().map(Arc::from));
    let everywhere = here.clone().within(Namespaces::all());
    let object = target.object.value();
    match kind.drill {
        Drill::SelectedPods => {
            let selector = kind::pod_selector(&object);
            if selector.is_empty() {
                return action::run(cx, &Line::bare("object.describe"));
            }
            let pods = cx.resource("pods")?;
            cx.push(Browser::new(pods, here).with_labels(&selector));
        }
        Drill::NodePods => {
            let pods = cx.resource("pods")?;
            let fields = format!("spec.nodeName={}", target.id.name);
            cx.push(Browser::new(pods, everywhere).with_fields(&fields, &format!("on {}", target.id.name)));
        }
        Drill::NamespacePods => {
            cx.state.namespaces = Namespaces::these([target.id.name.clone()]);
            let pods = cx.resource("pods")?;
            cx.push(Browser::new(pods, here.within(cx.state.namespaces.clone())));
        }
        Drill::Involved => {
            let word = |path: &str| {
                object
                    .pointer(path)
                    .and_then(|value| value.as_str())
                    .unwrap_or_default()
                    .to_owned()
            };
            let (api, kind, name) = (
                word("/involvedObject/apiVersion"),
                word("/involvedObject/kind"),
                word("/involvedObject/name"),
            );
            let space = here.within(&*word("/involvedObject/namespace"));
            return show_one(cx, space, (&api, &kind), &name);
        }
        Drill::Containers => {
            let view = Containers::new(target, cx.data);
            cx.push(view);
        }
        Drill::Describe => return action::run(cx, &Line::bare("object.describe")),
    }
    Ok(())
}

/// Opens the table of a kind on one of its objects.
fn show_one(cx: &mut Cx<'_>, place: Place, (api, kind): (&str, &str), name: &str) -> Result<()> {
    let cluster = place.clusters.first().copied().unwrap_or(cx.data.cluster().id);
    let discovery = cx.data.discovery_of(cluster);
    let resource = discovery.by_kind(api, kind).or_else(|| discovery.find(kind)).cloned();
    let resource = resource.ok_or_else(|| Error::usage(format!("the cluster does not serve {kind} any more")))?;
    cx.push(Browser::new(resource, place).with_fields(&format!("metadata.name={name}"), name));
    Ok(())
}

/// Opens the object that controls this one: the ReplicaSet of a pod, the Deployment of a ReplicaSet, the node of a static pod.
fn owner(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    let object = target.object.value();
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(|owners| owners.as_array());
    let owners = owners.map_or(&[][..], Vec::as_slice);
    let owner = owners
        .iter()
        .find(|owner| owner["controller"] == true)
        .or(owners.first());
    let Some(owner) = owner else {
        return Err(Error::usage(format!(
            "nothing owns {} {}",
            target.resource.singular, target.id.name
        )));
    };
    let word = |field: &str| owner[field].as_str().unwrap_or_default();
    let place = Place::new(target.id.cluster, target.id.namespace().map(Arc::from));
    show_one(cx, place, (word("apiVersion"), word("kind")), word("name"))
}

/// Opens the prompt, on the beginning of a line when one is given.
fn command(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let completion = Completion::here(cx);
    let prompt = Prompt::new(
        Mode::Command,
        &line.args.join(" "),
        cx.state.history.lines().to_vec(),
        Box::new(move |before, data| completion.candidates(before, data)),
        cx.data,
    );
    // What is meant is what the cursor was on when the typing began.
    let pinned = cx.state.view().targets(cx.data);
    cx.overlay(prompt, pinned);
    Ok(())
}

/// A typed line: a command by its name or an alias, or a kind by any of its names.
fn command_run(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let again = line.args.first().is_some_and(|arg| arg == AGAIN);
    let text = line.args[usize::from(again)..].join(" ");
    if !again {
        cx.remember(&text);
    }
    if let Some(line) = understood(cx, &Line::parse(&text)?) {
        return action::run(cx, &line);
    }
    let typed = Line::parse(&text)?;
    // The start of a kind's name is enough when something was offered for it.
    let offered = Completion::here(cx)
        .candidates(&typed.name, cx.data)
        .into_iter()
        .find(|candidate| candidate.text.starts_with(&typed.name));
    match offered.filter(|_| typed.name.len() > 1) {
        Some(candidate) => {
            let whole = Line {
                name: candidate.text,
                args: typed.args,
            };
            let line = understood(cx, &whole).ok_or_else(|| super::unknown(&typed.name))?;
            action::run(cx, &line)
        }
        // It may have been installed since the cluster was asked what it serves.
        None if !again && !typed.name.contains('.') && cx.data.cluster().state == LinkState::Up => {
            let id = cx.wait(Then::Again(Line::with("command.run", [AGAIN, &text])));
            let cluster = cx.data.cluster().id;
            cx.effect(Effect::Discover(id, cluster));
            Ok(())
        }
        None => Err(super::unknown(&typed.name)),
    }
}

/// A line that is run a second time, knowing what the cluster serves now.
const AGAIN: &str = "--again";

/// What people type to mean a whole line.
const ALIASES: &[(&str, &str)] = &[("q!", "app.quit --now"), ("qa!", "app.quit --now")];

/// The line of a command that is meant by what was typed.
fn understood(cx: &Cx<'_>, typed: &Line) -> Option<Line> {
    let with = |name: &str, before: &[String]| Line {
        name: name.to_owned(),
        args: before.iter().chain(&typed.args).cloned().collect(),
    };
    let own = cx.state.aliases.iter().map(|(alias, line)| (&**alias, &**line));
    let mut aliases = own.chain(ALIASES.iter().copied());
    if let Some((_, line)) = aliases.find(|(alias, _)| *alias == typed.name) {
        let line = Line::parse(line).ok()?;
        // An alias may stand for a kind, or for a command by its alias; not for itself.
        return match action::called(&line.name) {
            Some(command) => Some(with(command.name, &line.args)),
            None => Some(with("view.open", &[vec![line.name], line.args].concat())),
        };
    }
    if let Some(command) = action::called(&typed.name) {
        return Some(with(command.name, &[]));
    }
    let is_kind = typed.name.starts_with('@') || cx.data.discovery().find(&typed.name).is_some();
    is_kind.then(|| with("view.open", std::slice::from_ref(&typed.name)))
}

/// Everything there is, searched by a few letters: commands that mean something here, kinds, namespaces, contexts, themes, and the lines
/// typed before.
fn palette(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let scopes = cx.state.scopes(false);
    // What people look for comes first; they know how to move.
    let rank = |command: &Command| match command.name.split('.').next().unwrap_or_default() {
        "pod" | "object" => 0,
        "cursor" | "mark" => 2,
        _ => 1,
    };
    let mut commands: Vec<&Command> = COMMANDS
        .iter()
        .copied()
        .filter(|command| command.fits(&scopes) && !command.is_plumbing())
        .collect();
    commands.sort_by_key(|command| rank(command));
    let mut entries: Vec<Entry> = commands
        .iter()
        .map(|command| command_entry(cx, &scopes, command))
        .collect();
    let entry = |text: String, doc: &str, line: Line| Entry {
        text,
        doc: doc.to_owned(),
        line,
    };
    entries.extend(super::complete::kinds(cx.data).into_iter().map(|kind| Entry {
        line: Line::with("view.open", [&kind.text]),
        text: kind.text,
        doc: kind.doc,
    }));
    entries.extend(super::place::known_namespaces(cx.data).into_iter().map(|name| {
        let line = Line::with("namespace.set", [&name]);
        entry(name, "namespace", line)
    }));
    entries.extend(cx.data.contexts().iter().map(|name| {
        let line = Line::with("context.set", [name]);
        entry(format!("@{name}"), "context", line)
    }));
    entries.extend(Theme::built_in().map(|name| entry(name.to_owned(), "theme", Line::with("app.theme", [name]))));
    entries.extend(cx.state.history.lines().iter().rev().map(|typed| {
        let line = Line::with("command.run", [typed]);
        entry(format!(":{typed}"), "typed before", line)
    }));
    let pinned = cx.state.view().targets(cx.data);
    cx.overlay(Picker::new("commands", entries), pinned);
    Ok(())
}

/// A command in the palette, with its keys. One that needs something more opens the prompt.
fn command_entry(cx: &Cx<'_>, scopes: &[Scope], command: &Command) -> Entry {
    let keys = cx.state.keymap.key_for(scopes, command.name).unwrap_or_default();
    let keys = keys.iter().map(|chord| chord.label()).collect::<Vec<_>>().join(" ");
    Entry {
        text: command.name.to_owned(),
        doc: match &*keys {
            "" => command.doc.to_owned(),
            keys => format!("{}  ({keys})", command.doc),
        },
        line: match command.arguments.iter().any(|argument| argument.required) {
            true => Line::with("command.open", [format!("{} ", command.name)]),
            false => Line::bare(command.name),
        },
    }
}

/// The help is the keymap itself: every key that works here, by task.
fn help(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let keymap = cx.state.keymap.clone();
    let title = format!("help: {} keymap", keymap.name);
    let card = card(&keymap, &cx.state.scopes(false));
    let view = Text::new(TextSource::Keys { title, card }, cx.data);
    cx.push(view);
    Ok(())
}

/// The keys that work where these scopes hold: by task, and those that follow another key under that key as well.
fn card(keymap: &Keymap, scopes: &[Scope]) -> Card {
    let mut tasks: BTreeMap<Task, Vec<KeyEntry>> = BTreeMap::new();
    let mut nested: Vec<Group> = Vec::new();
    for binding in scopes.iter().flat_map(|scope| keymap.bindings(scope)) {
        // An inner scope may have taken the key for itself.
        let Found::Line(line) = keymap.find(scopes, &binding.chords) else {
            continue;
        };
        let Some(command) = action::find(&line.name).filter(|command| command.fits(scopes)) else {
            continue;
        };
        let (last, before) = binding.chords.split_last().expect("a binding has keys");
        let entry = |keys: String| KeyEntry {
            keys,
            label: action::label(&line),
            doc: command.doc.to_owned(),
            command: line.name.clone(),
        };
        // The digits are one thing.
        let digit = last.typed().is_some_and(|ch| ch.is_ascii_digit()) && !line.args.is_empty();
        if digit && before.is_empty() {
            let label = action::label(&Line::bare(&line.name));
            let digits = KeyEntry {
                label,
                ..entry("1 .. 9".into())
            };
            let entries = tasks.entry(Task::of(&line)).or_default();
            if !entries.contains(&digits) {
                entries.push(digits);
            }
            continue;
        }
        let Found::Prefix(label, _) = keymap.find(scopes, before) else {
            add(tasks.entry(Task::of(&line)).or_default(), entry(last.label()));
            continue;
        };
        let prefix = before.iter().map(|chord| chord.label()).collect::<Vec<_>>().join(" ");
        let heading = format!("{prefix}  {label}");
        if !nested.iter().any(|group| group.heading == heading) {
            let leads = KeyEntry {
                keys: prefix.clone(),
                label: format!("{label} ..."),
                doc: format!("Wait for the keys that follow: {label}"),
                command: String::new(),
            };
            add(tasks.entry(Task::leading(&label, &line)).or_default(), leads);
            nested.push(Group {
                heading: heading.clone(),
                entries: Vec::new(),
                nested: true,
            });
        }
        let group = nested.iter_mut().find(|group| group.heading == heading);
        let group = group.expect("it has just been made");
        add(&mut group.entries, entry(format!("{prefix} {}", last.label())));
    }
    let tasks = tasks.into_iter().map(|(task, entries)| Group {
        heading: task.heading().to_owned(),
        entries,
        nested: false,
    });
    Card {
        groups: tasks.chain(nested).collect(),
    }
}

/// Adds a key to those of a task; another key for the same stands beside the first.
fn add(entries: &mut Vec<KeyEntry>, entry: KeyEntry) {
    let same = |known: &&mut KeyEntry| known.label == entry.label && known.command == entry.command;
    match entries.iter_mut().find(same) {
        Some(known) if known.keys.split(' ').any(|key| key == entry.keys) => {}
        // One key that can be read is better than two that are cut.
        Some(known) if text::width(&known.keys) + 1 + text::width(&entry.keys) > KEYS => {}
        Some(known) => known.keys = format!("{} {}", known.keys, entry.keys),
        None => entries.push(entry),
    }
}

fn messages(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let mut document = Document::new();
    for flash in cx.state.messages.iter().rev() {
        let role = match flash.level {
            Level::Info => Role::Text,
            Level::Warning => Role::Warning,
            Level::Error => Role::Failed,
        };
        document.push(TextLine::new().with(role, &flash.text).hanging(2));
        for hint in &flash.hints {
            document.push(TextLine::new().with(Role::Dim, &format!("  {hint}")).hanging(4));
        }
    }
    if document.lines.is_empty() {
        document.push(TextLine::new().with(Role::Dim, "no messages yet"));
    }
    let view = Text::new(
        TextSource::Fixed {
            title: "messages".into(),
            document,
        },
        cx.data,
    );
    cx.push(view);
    Ok(())
}

fn labels(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let resource = match (line.first(), cx.state.view().resource()) {
        (Some(name), _) => cx.resource(name)?,
        (None, Some(resource)) => resource,
        (None, None) => cx.resource("pods")?,
    };
    let place = cx.place();
    cx.push(Labels::new(resource, place));
    Ok(())
}

fn forwards(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.push(Forwards::new());
    Ok(())
}
