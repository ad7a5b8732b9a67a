//! What can be done with any object.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::action::Action;
use crate::cluster::{Patch, Request, Verb};
use crate::document::TextLine;
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::kind;
use crate::state::{Cx, Effect, Then};
use crate::text;
use crate::theme::Role;
use crate::view::overlay::{Confirm, Field, Form};
use crate::view::{Target, Text, TextSource};

pub(super) const DESCRIBE: Action = Action::new("object.describe", "", "Describe the object, live", describe);
pub(super) const YAML: Action = Action::new("object.yaml", "", "Show the object as YAML, live", yaml);
pub(super) const EDIT: Action = Action::new("object.edit", "", "Edit the object in your editor", edit).changes();
pub(super) const DELETE: Action = Action::new(
    "object.delete",
    "[--force] [--cascade=orphan|foreground|background]",
    "Delete the object or all marked ones, after asking",
    delete,
)
.changes();
pub(super) const LABEL: Action = Action::new(
    "object.label",
    "[KEY=VALUE | KEY-]...",
    "Add, change or remove labels",
    label,
)
.changes();
pub(super) const ANNOTATE: Action = Action::new(
    "object.annotate",
    "[KEY=VALUE | KEY-]...",
    "Add, change or remove annotations",
    annotate,
)
.changes();
pub(super) const SCALE: Action = Action::new("object.scale", "[N]", "Change the number of replicas", scale).changes();
pub(super) const COPY_NAME: Action = Action::new("object.copy", "", "Copy the object's name", copy_name);

fn describe(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    let view = Text::new(TextSource::Describe(target), cx.data);
    cx.push(view);
    Ok(())
}

fn yaml(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    let view = Text::new(TextSource::Yaml { target, reveal: false }, cx.data);
    cx.push(view);
    Ok(())
}

fn edit(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    let before = kind::yaml(&target.object.value()).plain();
    let id = cx.state.fresh();
    cx.state.waiting.insert(
        id,
        Then::Edited {
            target,
            before: before.clone(),
        },
    );
    cx.effect(Effect::Edit(id, before));
    Ok(())
}

/// `pod kuard`, `deployment.apps web`.
pub(super) fn name_of(target: &Target) -> String {
    format!("{} {}", target.resource.singular, target.id.name)
}

fn path_of(target: &Target) -> String {
    target.resource.object_path(target.id.namespace(), &target.id.name)
}

fn delete(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = cx.targets()?;
    let force = line.has("--force");
    let cascade = match line.value("--cascade").unwrap_or("background") {
        "orphan" | "false" => "Orphan",
        "foreground" => "Foreground",
        "background" | "true" => "Background",
        other => {
            return Err(
                Error::usage(format!("--cascade={other} is not known")).hint("it is orphan, foreground or background")
            );
        }
    };
    if !line.has("--yes") {
        let title = match targets.as_slice() {
            [one] => format!("delete {}?", name_of(one)),
            many => format!("delete {}?", text::count(many.len(), &many[0].resource.singular)),
        };
        let impact = match targets.as_slice() {
            [one] => {
                let place = one.id.namespace().map(|namespace| format!("in namespace {namespace}"));
                let place = place.map(|place| TextLine::new().with(Role::Dim, &place));
                place.into_iter().chain(consequences(one, force, cascade)).collect()
            }
            many => impact_of_many(many, force, cascade),
        };
        let mut again = line.clone();
        again.args.push("--yes".into());
        let verb = if force { "force delete" } else { "delete" };
        cx.overlay(Confirm::new(title, verb, again, targets.clone(), impact), targets);
        return Ok(());
    }
    for target in &targets {
        let mut body = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": cascade,
            // By UID: a new object of the same name is not what the user meant.
            "preconditions": {"uid": &*target.id.uid},
        });
        if force {
            body["gracePeriodSeconds"] = json!(0);
        }
        let what = format!("delete {}", name_of(target));
        let request = Request::new(Verb::Delete, path_of(target), what).json(body);
        cx.send(request, Then::Say(format!("{} deleted", name_of(target))));
    }
    if targets.len() > 1 {
        let clear = Line::bare("mark.clear");
        let _ = cx.view_command(&clear);
    }
    Ok(())
}

/// What deleting many objects leads to: their names, and each consequence once with how many it holds for.
fn impact_of_many(targets: &[Target], force: bool, cascade: &str) -> Vec<TextLine> {
    const NAMED: usize = 6;
    let mut names: Vec<&str> = targets.iter().map(|target| &*target.id.name).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMED);
    let mut listed = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 {
        listed.push_str(&format!(", and {more} more"));
    }
    let mut lines = vec![TextLine::new().with(Role::Strong, &listed)];
    let mut counted: Vec<(TextLine, usize)> = Vec::new();
    for line in targets.iter().flat_map(|target| consequences(target, force, cascade)) {
        match counted.iter_mut().find(|(known, _)| *known == line) {
            Some((_, count)) => *count += 1,
            None => counted.push((line, 1)),
        }
    }
    let shown = counted.len().min(NAMED);
    for (line, count) in counted.drain(..shown) {
        let role = line.spans.first().map_or(Role::Text, |span| span.role);
        let times = if count > 1 {
            format!(" (for {count} of them)")
        } else {
            String::new()
        };
        lines.push(TextLine::new().with(role, &format!("{}{times}", line.plain())));
    }
    lines
}

/// What deleting an object leads to, said before the key is confirmed.
fn consequences(target: &Target, force: bool, cascade: &str) -> Vec<TextLine> {
    let object = target.object.value();
    let mut lines = Vec::new();
    let mut say = |role, text: String| lines.push(TextLine::new().with(role, &text));
    let owner = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .and_then(|owners| owners.iter().find(|owner| owner["controller"] == json!(true)));
    if let Some(owner) = owner {
        let word = |key: &str| owner[key].as_str().unwrap_or_default().to_owned();
        say(
            Role::Text,
            format!(
                "{} {} will create another one in its place.",
                word("kind"),
                word("name")
            ),
        );
    }
    if object
        .pointer("/metadata/annotations/kubernetes.io~1config.mirror")
        .is_some()
    {
        say(
            Role::Warning,
            "It mirrors a static pod of its node: it comes back at once.".into(),
        );
    }
    match (&*target.resource.plural, cascade) {
        ("namespaces", _) => say(Role::Danger, "Everything in the namespace is deleted with it.".into()),
        ("deployments" | "replicasets" | "statefulsets" | "daemonsets" | "jobs", "Orphan") => {
            say(Role::Text, "What it owns stays, without an owner.".into());
        }
        ("deployments" | "replicasets" | "statefulsets" | "daemonsets" | "jobs", _) => {
            let replicas = object.pointer("/status/replicas").and_then(Value::as_u64).unwrap_or(0);
            say(
                Role::Text,
                format!("Its {} go with it.", text::count(replicas as usize, "pod")),
            );
        }
        ("nodes", _) => say(
            Role::Danger,
            "Pods on the node are deleted; the machine itself keeps running.".into(),
        ),
        ("pods", _) if force => say(
            Role::Danger,
            "Force: the pod leaves the API at once, before its processes are known to have ended.".into(),
        ),
        ("pods", _) => {
            let grace = object
                .pointer("/spec/terminationGracePeriodSeconds")
                .and_then(Value::as_u64)
                .unwrap_or(30);
            say(Role::Dim, format!("Its containers get SIGTERM, and {grace} s to end."));
        }
        _ => {}
    }
    if object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty())
    {
        say(
            Role::Dim,
            "It has finalizers: it stays Terminating until they are done.".into(),
        );
    }
    lines
}

fn label(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    change_metadata(cx, line, "labels", "label")
}

fn annotate(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    change_metadata(cx, line, "annotations", "annotate")
}

/// `KEY=VALUE` sets, `KEY-` removes: one merge patch per object, null removing a key.
fn change_metadata(cx: &mut Cx<'_>, line: &Line, field: &str, verb: &str) -> Result<()> {
    let targets = cx.targets()?;
    let text = match line.value("--set") {
        Some(text) => text.to_owned(),
        None => line.args.join(" "),
    };
    if text.trim().is_empty() {
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for target in &targets {
            let object = target.object.value();
            let entries = object
                .pointer(&format!("/metadata/{field}"))
                .and_then(Value::as_object)
                .cloned();
            for (key, value) in entries.into_iter().flatten() {
                known.insert(key, value.as_str().unwrap_or_default().to_owned());
            }
        }
        let note: Vec<TextLine> = known
            .iter()
            .take(8)
            .map(|(key, value)| {
                TextLine::new()
                    .with(Role::Field, key)
                    .with(Role::Dim, "=")
                    .with(Role::Value, &text::cut_end(value, 50))
            })
            .collect();
        let choices = known
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .chain(known.keys().map(|key| format!("{key}-")));
        let input = Field::new("--set", "change", "key=value adds or changes, key- removes")
            .required()
            .choices(choices);
        let title = match targets.as_slice() {
            [one] => format!("{verb} {}", name_of(one)),
            many => format!("{verb} {}", text::count(many.len(), &many[0].resource.singular)),
        };
        let name = line.name.clone();
        cx.overlay(
            Form::new(&title, Line::bare(&name), vec![input]).with_note(note),
            targets,
        );
        return Ok(());
    }
    let mut changes = serde_json::Map::new();
    for word in text.split_whitespace() {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => changes.insert(key.to_owned(), json!(value)),
            (None, Some(key)) if !key.is_empty() => changes.insert(key.to_owned(), Value::Null),
            _ => {
                return Err(Error::usage(format!("{word:?} changes nothing"))
                    .hint("write key=value to add or change, key- to remove"));
            }
        };
    }
    for target in &targets {
        let what = format!("{verb} {}", name_of(target));
        let body = json!({"metadata": {"uid": &*target.id.uid, field: changes}});
        let request = Request::new(Verb::Patch(Patch::Merge), path_of(target), what)
            .param("fieldManager", "knarr")
            .json(body);
        cx.send(
            request,
            Then::Say(format!(
                "{} {verb}{}",
                name_of(target),
                if verb == "label" { "ed" } else { "d" }
            )),
        );
    }
    Ok(())
}

fn scale(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = cx.targets()?;
    if let Some(wrong) = targets.iter().find(|target| !target.resource.has("scale")) {
        return Err(Error::usage(format!("{} cannot be scaled", wrong.resource.plural)));
    }
    let Some(text) = line.value("--replicas").or(line.first()) else {
        let now = targets[0].object.value();
        let now = now
            .pointer("/spec/replicas")
            .and_then(Value::as_u64)
            .unwrap_or(1)
            .to_string();
        let title = format!("scale {}", name_of(&targets[0]));
        let field = Field::new("--replicas", "replicas", "a number").with(&now).required();
        cx.overlay(Form::new(&title, Line::bare("object.scale"), vec![field]), targets);
        return Ok(());
    };
    let replicas: u32 = text
        .parse()
        .map_err(|_| Error::usage(format!("{text:?} is no number of replicas")))?;
    for target in &targets {
        let what = format!("scale {} to {replicas}", name_of(target));
        let request = Request::new(Verb::Patch(Patch::Merge), format!("{}/scale", path_of(target)), what)
            .param("fieldManager", "knarr")
            .json(json!({"spec": {"replicas": replicas}}));
        cx.send(request, Then::Say(format!("{} scaled to {replicas}", name_of(target))));
    }
    Ok(())
}

fn copy_name(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let names: Vec<String> = cx.targets()?.iter().map(|target| target.id.name.to_string()).collect();
    cx.say(format!("copied {}", text::cut_end(&names.join(" "), 60)));
    cx.effect(Effect::Copy(names.join("\n")));
    Ok(())
}

/// The edited text of an object: what changed is sent as a replacement of the object that was read, so that a change made
/// meanwhile by somebody else is refused and not overwritten.
pub(super) fn edited(cx: &mut Cx<'_>, target: Target, before: &str, text: String) -> Result<()> {
    if text == before || text.trim().is_empty() {
        cx.say("edit cancelled: nothing changed");
        return Ok(());
    }
    let value: Value = serde_yaml::from_str(&text).map_err(|error| {
        let line = error
            .location()
            .map_or_else(String::new, |at| format!(" at line {}", at.line()));
        Error::new(
            crate::error::ErrorKind::Invalid,
            format!("the edited text is no YAML{line}"),
        )
        .because(&error)
    })?;
    let what = format!("edit {}", name_of(&target));
    let request = Request::new(Verb::Put, path_of(&target), what)
        .param("fieldManager", "knarr")
        .param("fieldValidation", "Strict")
        .json(value);
    cx.send(request, Then::Sent { target, text });
    Ok(())
}
