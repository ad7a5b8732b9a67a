//! What can be done with any object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::action::{Argument, Command, Type};
use crate::cluster::{Change, ObjectRef, Write, object_of_text, subject};
use crate::document::TextLine;
use crate::error::{Error, Result};
use crate::keys::{self, Line};
use crate::kind;
use crate::state::{Cx, Edit, Effect, Then};
use crate::text;
use crate::theme::Role;
use crate::view::overlay::{Field, Form, Guard};
use crate::view::{Target, Text, TextSource};

pub(super) const DESCRIBE: Command = Command::new("object.describe", &[], "Describe the object, live", describe);
pub(super) const YAML: Command = Command::new("object.yaml", &[], "Show the object as YAML, live", yaml);
pub(super) const EDIT: Command = Command::new("object.edit", &[], "Edit the object in your editor", edit).changes();
pub(super) const DELETE: Command = Command::new(
    "object.delete",
    &[
        Argument::flag("--force"),
        Argument::option("--cascade", Type::Choice(CASCADES)),
        Argument::option("--grace-period", Type::Number),
        Argument::flag("--choose"),
    ],
    "Delete the object or all marked ones, after asking",
    delete,
)
.changes()
.aliases(&["delete"]);
pub(super) const LABEL: Command = Command::new(
    "object.label",
    &[
        Argument::many(Type::Label),
        Argument::option("--set", Type::Text).hidden(),
    ],
    "Add, change or remove labels",
    label,
)
.changes()
.aliases(&["label"]);
pub(super) const ANNOTATE: Command = Command::new(
    "object.annotate",
    &[
        Argument::many(Type::Label),
        Argument::option("--set", Type::Text).hidden(),
    ],
    "Add, change or remove annotations",
    annotate,
)
.changes()
.aliases(&["annotate"]);
pub(super) const SCALE: Command = Command::new(
    "object.scale",
    &[
        Argument::optional(Type::Number),
        Argument::option("--replicas", Type::Number).hidden(),
    ],
    "Change the number of replicas",
    scale,
)
.changes()
.aliases(&["scale"]);
pub(super) const COPY_NAME: Command = Command::new("object.copy", &[], "Copy the object's name", copy_name);

/// What may become of what a deleted object owns.
const CASCADES: &[&str] = &["background", "foreground", "orphan"];

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
    if target.resource.plural.as_ref() == "pods"
        && target
            .object
            .value()
            .pointer("/metadata/annotations/kubernetes.io~1config.mirror")
            .is_some()
    {
        return Err(
            Error::usage(format!("{} mirrors a static pod of its node", name_of(&target)))
                .hint("it is defined by a file on the node: an edit here would be undone"),
        );
    }
    let shown = kind::yaml(&target.object.value()).plain();
    let base = object_of_text(&shown)?;
    let cluster = target.id.cluster;
    let edit = Edit {
        target,
        base,
        shown: shown.clone(),
    };
    let id = cx.wait_in(cluster, Then::Edited(edit));
    cx.effect(Effect::Edit(id, shown));
    Ok(())
}

/// `pod kuard`, `deployment.apps web`.
pub(super) fn name_of(target: &Target) -> String {
    format!("{} {}", target.resource.singular, target.id.name)
}

fn delete(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = cx.targets()?;
    if line.has("--choose") {
        let fields = vec![
            Field::new(
                "--cascade",
                "what it owns",
                "background: goes after it; foreground: before it; orphan: stays",
            )
            .choices(CASCADES.iter().copied())
            .with(CASCADES[0]),
            Field::new(
                "--grace-period",
                "grace",
                "seconds to end; 0: at once; empty: as it says",
            ),
        ];
        let title = format!("delete {}", subject_of(&targets));
        cx.overlay(Form::new(&title, Line::bare(&line.name), fields), targets);
        return Ok(());
    }
    let grace = match line.value("--grace-period") {
        Some(text) => {
            let seconds = text.parse::<u32>();
            Some(seconds.map_err(|_| Error::usage(format!("{text:?} is not a number of seconds")))?)
        }
        None => line.has("--force").then_some(0),
    };
    let force = grace == Some(0);
    let cascade: &'static str = match line.value("--cascade").unwrap_or("background") {
        "orphan" | "false" => "Orphan",
        "foreground" => "Foreground",
        "background" | "true" => "Background",
        other => {
            return Err(
                Error::usage(format!("--cascade={other} is not known")).hint("it is orphan, foreground or background")
            );
        }
    };
    let changes = targets
        .iter()
        .map(|target| {
            Cx::change(
                target,
                Write::Delete {
                    propagation: cascade,
                    grace,
                },
            )
        })
        .collect();
    let impact = match targets.as_slice() {
        [one] => {
            let place = one.id.namespace().map(|namespace| format!("in namespace {namespace}"));
            let place = place.map(|place| TextLine::new().with(Role::Dim, &place));
            place.into_iter().chain(consequences(one, force, cascade)).collect()
        }
        many => impact_of_many(many, force, cascade),
    };
    let mut plan = cx.plan(line, "", "deleted", changes)?;
    let cluster = plan.cluster;
    plan.title = format!("delete {}", plan.subject());
    let verb = if force { "force delete" } else { "delete" };
    let namespaces: Vec<String> = targets
        .iter()
        .filter(|target| &*target.resource.plural == "namespaces")
        .map(|target| target.id.name.to_string())
        .collect();
    let mut question = cx.question(plan, verb, targets, impact);
    let Some(first) = namespaces.first() else {
        cx.overlay(question, Vec::new());
        return Ok(());
    };
    // What goes with a namespace is not seen in its row.
    question = question.guarded(Guard::new(first).until_counted()).counting();
    cx.overlay(question, Vec::new());
    let id = cx.wait_in(cluster, Then::Learn);
    if let Some(layer) = cx.state.layers.last_mut() {
        layer.waits = Some(id);
    }
    cx.effect(Effect::Count {
        id,
        cluster,
        namespaces,
    });
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
        let times = if count == targets.len() {
            "Each: ".to_owned()
        } else {
            format!("{count} of them: ")
        };
        lines.push(TextLine::new().with(role, &format!("{times}{}", line.plain())));
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
            say(Role::Dim, format!("Its containers get SIGTERM and {grace} s to end."));
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

/// Annotations that hold a whole object, maybe a Secret: neither shown nor offered.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `KEY=VALUE` sets, `KEY-` removes: one merge patch per object, null removing a key.
fn change_metadata(cx: &mut Cx<'_>, line: &Line, field: &str, verb: &str) -> Result<()> {
    let targets = cx.targets()?;
    let words = match line.value("--set") {
        Some(text) => keys::split(text)?,
        None => line.args.clone(),
    };
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for target in &targets {
        let object = target.object.value();
        let entries = object.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        for (key, value) in entries.into_iter().flatten().filter(|(key, _)| *key != LAST_APPLIED) {
            let value = value.as_str().unwrap_or_default().to_owned();
            known.entry(key.clone()).or_default().insert(value);
        }
    }
    if words.is_empty() {
        let note: Vec<TextLine> = known
            .iter()
            .take(8)
            .map(|(key, values)| {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                TextLine::new()
                    .with(Role::Field, key)
                    .with(Role::Dim, "=")
                    .with(Role::Value, &text::cut_end(&values.join(" | "), 50))
            })
            .collect();
        let quoted = |value: &str| {
            if value.contains(|ch: char| ch.is_whitespace() || matches!(ch, '"' | '\'' | '\\')) {
                format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
            } else {
                value.to_owned()
            }
        };
        let choices = known
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |value| format!("{key}={}", quoted(value))))
            .chain(known.keys().map(|key| format!("{key}-")));
        let input = Field::new(
            "--set",
            "change",
            "key=value adds or changes, key- removes; \"quotes\" keep blanks",
        )
        .required()
        .choices(choices);
        let title = format!("{verb} {}", subject_of(&targets));
        let name = line.name.clone();
        cx.overlay(
            Form::new(&title, Line::bare(&name), vec![input]).with_note(note),
            targets,
        );
        return Ok(());
    }
    let mut changes = serde_json::Map::new();
    let mut replaced = Vec::new();
    for word in &words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                let others = known.get(key).into_iter().flatten().filter(|old| *old != value);
                replaced.extend(others.map(|old| format!("{key} was {old}")));
                changes.insert(key.to_owned(), json!(value));
            }
            (None, Some(key)) if !key.is_empty() => {
                changes.insert(key.to_owned(), Value::Null);
            }
            _ => {
                return Err(Error::usage(format!("{word:?} is not a change"))
                    .hint("write key=value to add or change, key- to remove"));
            }
        }
    }
    let writes = merges(&targets, None, |_| json!({"metadata": {field: changes}}));
    let mut done = format!("{verb}{}", if verb == "label" { "ed" } else { "d" });
    if !replaced.is_empty() {
        done.push_str(&format!(" ({})", text::cut_end(&replaced.join(", "), 60)));
    }
    let plan = cx.plan(line, format!("{verb} {}", subject_of(&targets)), done, writes)?;
    let impact = vec![TextLine::new().with(Role::Text, &words.join(" "))];
    cx.carry_out(plan, verb, impact)
}

/// One merge patch per object, of this very object.
pub(super) fn merges(
    targets: &[Target],
    subresource: Option<&'static str>,
    patch: impl Fn(&Target) -> Value,
) -> Vec<Change> {
    let change = |target: &Target| {
        let mut patch = patch(target);
        patch["metadata"]["uid"] = json!(&*target.id.uid);
        Cx::change(target, Write::Merge { subresource, patch })
    };
    targets.iter().map(change).collect()
}

/// `pod kuard`, `3 pods`.
pub(super) fn subject_of(targets: &[Target]) -> String {
    let refs: Vec<ObjectRef> = targets.iter().map(ObjectRef::from).collect();
    subject(&refs.iter().collect::<Vec<_>>())
}

fn scale(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = cx.targets()?;
    if let Some(wrong) = targets.iter().find(|target| !target.resource.has("scale")) {
        return Err(Error::usage(format!("{} cannot be scaled", wrong.resource.plural)));
    }
    let replicas_of = |target: &Target| {
        let object = target.object.value();
        object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
    };
    let Some(text) = line.value("--replicas").or(line.first()) else {
        let mut now: Vec<String> = targets.iter().map(|target| replicas_of(target).to_string()).collect();
        now.dedup();
        let title = format!("scale {}", subject_of(&targets));
        let mut field = Field::new("--replicas", "replicas", "a number").required();
        if let [same] = now.as_slice() {
            field = field.with(same);
        }
        let note = match now.as_slice() {
            [_] => Vec::new(),
            many => vec![TextLine::new().with(Role::Dim, &format!("now: {}", text::cut_end(&many.join(", "), 60)))],
        };
        let form = Form::new(&title, Line::bare("object.scale"), vec![field]).with_note(note);
        cx.overlay(form, targets);
        return Ok(());
    };
    let replicas: u32 = text
        .parse()
        .map_err(|_| Error::usage(format!("{text:?} is not a number of replicas")))?;
    let changes = merges(&targets, Some("scale"), |_| json!({"spec": {"replicas": replicas}}));
    let mut before: Vec<String> = targets.iter().map(|target| replicas_of(target).to_string()).collect();
    before.dedup();
    let was = match before.as_slice() {
        [one] => format!(", from {one}"),
        _ => String::new(),
    };
    let title = format!("scale {} to {replicas}", subject_of(&targets));
    let plan = cx.plan(line, title, format!("scaled to {replicas}{was}"), changes)?;
    cx.carry_out(plan, "scale", Vec::new())
}

fn copy_name(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let names: Vec<String> = cx.targets()?.iter().map(|target| target.id.name.to_string()).collect();
    cx.say(format!("copied {}", text::cut_end(&names.join(" "), 60)));
    cx.effect(Effect::Copy(names.join("\n")));
    Ok(())
}

/// The edited text of an object: what the user changed is changed on the server, whatever else has changed there meanwhile.
pub(super) fn edited(cx: &mut Cx<'_>, edit: Edit, text: String) -> Result<()> {
    if text == edit.shown || text.trim().is_empty() {
        cx.say("edit cancelled: nothing changed");
        return Ok(());
    }
    let edited = match object_of_text(&text) {
        Ok(edited) => edited,
        // A slip in the text must not cost the text.
        Err(error) => {
            open_editor(cx, edit, &strip_note(&text), &error);
            return Ok(());
        }
    };
    let target = &edit.target;
    for field in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
        if edited.pointer(field) != edit.base.pointer(field) {
            let name = field.trim_start_matches('/').replace('/', ".");
            let error = Error::usage(format!("{name} cannot be changed: it says which object this is"));
            open_editor(cx, edit, &strip_note(&text), &error);
            return Ok(());
        }
    }
    if edited == edit.base {
        cx.say("edit cancelled: nothing changed");
        return Ok(());
    }
    cx.may_change()?;
    let change = Change {
        target: ObjectRef::from(target),
        before: Some(edit.base.clone()),
        request: Write::Edit {
            base: edit.base.clone(),
            edited: edited.clone(),
        },
    };
    let plan = cx.plan(
        &Line::bare("object.edit"),
        format!("edit {}", name_of(target)),
        "edited",
        vec![change],
    )?;
    if cx.is_protected(plan.cluster) {
        let question = cx.question(plan, "save", Vec::new(), Vec::new());
        cx.overlay(question, Vec::new());
        return Ok(());
    }
    let plan = Arc::new(plan);
    let then = Then::Sent {
        edit,
        text,
        edited,
        plan: plan.clone(),
    };
    cx.perform(plan, then);
    Ok(())
}

/// Opens the editor on a text that was refused, with the reason on top.
pub(super) fn open_editor(cx: &mut Cx<'_>, edit: Edit, text: &str, error: &Error) {
    let mut note = String::new();
    for line in std::iter::once(error.line())
        .chain(error.hints.clone())
        .flat_map(|said| said.lines().map(str::to_owned).collect::<Vec<_>>())
    {
        note.push_str(if note.is_empty() { "# not saved: " } else { "# " });
        note.push_str(&line);
        note.push('\n');
    }
    let shown = format!("{note}{text}");
    let cluster = edit.target.id.cluster;
    let edit = Edit {
        shown: shown.clone(),
        ..edit
    };
    let id = cx.wait_in(cluster, Then::Edited(edit));
    cx.effect(Effect::Edit(id, shown));
}

/// The text without the notes that an earlier refusal put on top.
pub(super) fn strip_note(text: &str) -> String {
    let mut lines = text
        .lines()
        .skip_while(|line| line.starts_with("# "))
        .collect::<Vec<_>>()
        .join("\n");
    lines.push('\n');
    lines
}
