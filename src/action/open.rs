//! Opening views: by command line, by drilling down, by picking.

use std::sync::Arc;

use crate::action::{self, ACTIONS, Action};
use crate::cluster::{LinkState, Namespaces, Place};
use crate::document::{Document, TextLine};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::kind::{self, Drill};
use crate::state::{Cx, Effect, Level, Then};
use crate::text;
use crate::theme::Role;
use crate::view::overlay::{Entry, Mode, Picker, Prompt};
use crate::view::{Browser, Forwards, Labels, Text, TextSource};

pub(super) const OPEN: Action = Action::new(
    "view.open",
    "KIND [NAMESPACE,...] [@CONTEXT...] [-l SELECTOR] [-A] [/FILTER]",
    "Open the table of a kind, of several namespaces and contexts too",
    open,
);
pub(super) const COMMAND: Action = Action::new("command.open", "", "Type a command", command);
pub(super) const COMMAND_RUN: Action = Action::new("command.run", "LINE", "Run a command line", command_run);
pub(super) const PALETTE: Action = Action::new("palette.open", "", "Search all commands", palette);
pub(super) const HELP: Action = Action::new("help.open", "", "Show every key that works here", help);
pub(super) const MESSAGES: Action = Action::new("messages.open", "", "Show the messages so far", messages);
pub(super) const LABELS: Action = Action::new("labels.open", "[KIND]", "Group objects by label", labels);
pub(super) const FORWARDS: Action = Action::new(
    "forwards.open",
    "",
    "List the port-forwards and shells, of every context",
    forwards,
);

/// `view.open pods web -l app=x /crash`: arguments in any order.
fn open(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let mut words = line.args.iter().map(String::as_str).peekable();
    let mut kind_name = None;
    let mut namespaces = cx.state.namespaces.clone();
    let mut clusters = Vec::new();
    let (mut labels, mut fields, mut note, mut filter) = (String::new(), String::new(), String::new(), String::new());
    let mut push = false;
    while let Some(word) = words.next() {
        let mut value = |flag: &str| {
            words
                .next()
                .ok_or_else(|| Error::usage(format!("{flag} needs a value")))
        };
        match word {
            "-A" | "--all-namespaces" => namespaces = Namespaces::all(),
            "-n" | "--namespace" => namespaces = named_namespaces(cx, value(word)?)?,
            "-l" | "--labels" | "--selector" => value(word)?.clone_into(&mut labels),
            "--fields" => value(word)?.clone_into(&mut fields),
            "--note" => value(word)?.clone_into(&mut note),
            "--push" => push = true,
            _ if word.starts_with('@') => {
                let cluster = cx.cluster_called(&word[1..])?;
                if !clusters.contains(&cluster) {
                    clusters.push(cluster);
                }
            }
            _ if word.starts_with('/') => word[1..].clone_into(&mut filter),
            _ if kind_name.is_none() => kind_name = Some(word),
            _ if word.contains('=') || word.contains('!') => word.clone_into(&mut labels),
            // A set-based selector has blanks: `-l app in (web,two)`.
            "in" | "notin" if !labels.is_empty() => {
                let set = words
                    .next()
                    .ok_or_else(|| Error::usage(format!("{word} needs a set: (a,b)")))?;
                labels = format!("{labels} {word} {set}");
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
            let discovery = cx.data.discovery_of(target.id.cluster);
            let resource = discovery
                .by_kind(&api, &kind)
                .or_else(|| discovery.find(&kind))
                .cloned();
            let resource =
                resource.ok_or_else(|| Error::usage(format!("the cluster does not serve {kind} any more")))?;
            let space = here.within(&*word("/involvedObject/namespace"));
            cx.push(Browser::new(resource, space).with_fields(&format!("metadata.name={name}"), &name));
        }
        Drill::Containers | Drill::Describe => return action::run(cx, &Line::bare("object.describe")),
    }
    Ok(())
}

fn command(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let prompt = Prompt::new(Mode::Command, "", cx.state.history.clone(), super::candidates, cx.data);
    // What is meant is what the cursor was on when the typing began.
    let pinned = cx.state.view().targets(cx.data);
    cx.overlay(prompt, pinned);
    Ok(())
}

/// A typed line: an action by name, a short alias, or a kind by any of its names.
fn command_run(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let args: Vec<&str> = line
        .args
        .iter()
        .map(String::as_str)
        .filter(|arg| *arg != AGAIN)
        .collect();
    let text = args.join(" ");
    let typed = Line::parse(&text)?;
    cx.state.history.retain(|known| *known != text);
    cx.state.history.push(text);
    if cx.state.history.len() > 500 {
        cx.state.history.remove(0);
    }
    if let Some(alias) = alias(&typed) {
        return action::run(cx, &alias);
    }
    if action::find(&typed.name).is_some() {
        return action::run(cx, &typed);
    }
    if typed.name.starts_with('@') || cx.data.discovery().find(&typed.name).is_some() {
        let mut args = vec![typed.name];
        args.extend(typed.args);
        return action::run(
            cx,
            &Line {
                name: "view.open".into(),
                args,
            },
        );
    }
    // The start of a kind's name is enough when something was offered for it.
    let offered = super::candidates(&typed.name, cx.data)
        .into_iter()
        .find(|candidate| candidate.text.starts_with(&typed.name));
    match offered.filter(|_| typed.name.len() > 1) {
        Some(candidate) => {
            let rest = Line {
                name: candidate.text,
                args: typed.args,
            };
            let line = alias(&rest)
                .or_else(|| action::find(&rest.name).map(|_| rest.clone()))
                .unwrap_or_else(|| {
                    let args = std::iter::once(rest.name.clone()).chain(rest.args.clone()).collect();
                    Line {
                        name: "view.open".into(),
                        args,
                    }
                });
            action::run(cx, &line)
        }
        // It may have been installed since the cluster was asked what it serves.
        None if !line.has(AGAIN) && !typed.name.contains('.') && cx.data.cluster().state == LinkState::Up => {
            let mut again = line.clone();
            again.args.push(AGAIN.into());
            let id = cx.wait(Then::Again(again));
            let cluster = cx.data.cluster().id;
            cx.effect(Effect::Discover(id, cluster));
            Ok(())
        }
        None => Err(super::unknown(&typed.name)),
    }
}

/// A line that is run a second time, knowing what the cluster serves now.
const AGAIN: &str = "--again";

/// Short forms users of other tools type.
const ALIASES: &[(&str, &str, &str)] = &[
    ("q", "app.quit", "leave"),
    ("quit", "app.quit", "leave"),
    ("qa", "app.quit", "leave"),
    ("exit", "app.quit", "leave"),
    ("ctx", "context.pick", "contexts"),
    ("context", "context.pick", "contexts"),
    ("contexts", "context.pick", "contexts"),
    ("run", "pod.run", "run an image"),
    ("undo", "change.undo", "take back the last change"),
    ("redo", "change.redo", "make it again"),
    ("cancel", "change.cancel", "stop what is under way"),
    ("journal", "journal.open", "what was changed"),
    ("apply", "manifest.apply", "apply a file or a directory"),
    ("forwards", "forwards.open", "port-forwards"),
    ("pf", "forwards.open", "port-forwards"),
    ("sessions", "forwards.open", "port-forwards and shells"),
    ("labels", "labels.open", "objects grouped by label"),
    ("theme", "app.theme", "change the theme"),
    ("keymap", "app.keymap", "change the keymap"),
    ("embedded", "cluster.embedded", "connect to the embedded cluster"),
    ("messages", "messages.open", "messages so far"),
    ("help", "help.open", "keys"),
    ("sort", "table.sort", "sort by a column"),
    ("label", "object.label", "add, change or remove labels"),
    ("annotate", "object.annotate", "add, change or remove annotations"),
    ("delete", "object.delete", "delete"),
    ("scale", "object.scale", "change the number of replicas"),
    ("logs", "pod.logs", "logs"),
    ("forward", "pod.forward", "forward a port"),
    ("sh", "pod.shell", "open a shell"),
    ("shell", "pod.shell", "open a shell"),
];

fn alias(typed: &Line) -> Option<Line> {
    let args = typed.args.clone();
    match (typed.name.as_str(), args.first().map(String::as_str)) {
        ("ns" | "namespace" | "namespaces", Some("all" | "-A")) => return Some(Line::bare("namespace.all")),
        ("ns" | "namespace" | "namespaces", Some(name)) if !name.starts_with(['-', '/']) => {
            return Some(Line::with("namespace.set", [name]));
        }
        ("q!" | "qa!", _) => return Some(Line::with("app.quit", ["--now"])),
        ("ctx" | "context" | "contexts", Some(name)) => return Some(Line::with("context.set", [name])),
        _ => {}
    }
    let (_, name, _) = ALIASES.iter().find(|(short, ..)| *short == typed.name)?;
    Some(Line {
        name: (*name).to_owned(),
        args,
    })
}

/// The aliases with what they stand for, for completion.
pub(super) fn aliases() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALIASES.iter().map(|(short, _, doc)| (*short, *doc))
}

fn palette(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let scopes = cx.state.scopes(false);
    // What people look for comes first; they know how to move.
    let motion = |action: &&&Action| action.name.starts_with("cursor.") || action.name.starts_with("mark.");
    let (motions, others): (Vec<&&Action>, Vec<&&Action>) = ACTIONS.iter().partition(motion);
    let (acting, rest): (Vec<&&Action>, Vec<&&Action>) = others
        .into_iter()
        .partition(|action| action.name.starts_with("pod.") || action.name.starts_with("object."));
    let entries = acting
        .into_iter()
        .chain(rest)
        .chain(motions)
        .filter(|action| {
            !matches!(
                action.name,
                "command.run" | "filter.set" | "search.set" | "clipboard.set"
            )
        })
        .map(|action| {
            let keys = cx.state.keymap.key_for(&scopes, action.name).unwrap_or_default();
            let keys = keys.iter().map(|chord| chord.label()).collect::<Vec<_>>().join(" ");
            Entry {
                text: action.name.to_owned(),
                doc: if keys.is_empty() {
                    action.doc.to_owned()
                } else {
                    format!("{}  ({keys})", action.doc)
                },
                line: Line::bare(action.name),
            }
        })
        .collect();
    let pinned = cx.state.view().targets(cx.data);
    cx.overlay(Picker::new("commands", entries), pinned);
    Ok(())
}

/// The help is the keymap itself: every scope that holds here, with what each key does.
fn help(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let mut document = Document::new();
    let keymap = cx.state.keymap.clone();
    for scope in cx.state.scopes(false) {
        let bindings = keymap.bindings(scope);
        if bindings.is_empty() {
            continue;
        }
        if !document.lines.is_empty() {
            document.push(TextLine::new());
        }
        document.push(TextLine::new().with(Role::Section, scope));
        for binding in bindings {
            let keys = binding
                .chords
                .iter()
                .map(|chord| chord.label())
                .collect::<Vec<_>>()
                .join(" ");
            let doc = action::find(&binding.line.name).map_or("", |action| action.doc);
            let mut line = TextLine::new().hanging(16).with(Role::Text, "  ");
            line.push(Role::Key, &text::pad_right(&keys, 12));
            line.push(Role::Text, "  ");
            line.push(Role::Text, doc);
            if !binding.line.args.is_empty() {
                line.push(Role::Dim, &format!(" ({})", binding.line.args.join(" ")));
            }
            line.push(Role::Dim, &format!("  {}", binding.line.name));
            document.push(line);
        }
    }
    let view = Text::new(
        TextSource::Fixed {
            title: format!("help: {} keymap", keymap.name),
            document,
        },
        cx.data,
    );
    cx.push(view);
    Ok(())
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
