//! Applying manifests: read, dry-run on the server, show the difference, ask, apply.

use std::path::PathBuf;

use similar::{ChangeTag, TextDiff};

use crate::action::Action;
use crate::cluster::{ApplyReport, Change};
use crate::document::{Document, TextLine};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::state::{Cx, Effect, Level, Then};
use crate::text;
use crate::theme::Role;
use crate::view::overlay::{Confirm, Field, Form};
use crate::view::{Text, TextSource};

pub(super) const APPLY: Action = Action::new(
    "manifest.apply",
    "PATH",
    "Apply a file or a directory of manifests, after showing what changes",
    apply,
)
.changes();

fn apply(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    if let Some(text) = line.value("--text") {
        let text = text.to_owned();
        let id = cx.state.fresh();
        cx.state.waiting.insert(id, Then::Report);
        let namespace = namespace(cx);
        cx.effect(Effect::Apply {
            id,
            text,
            namespace,
            dry_run: false,
        });
        return Ok(());
    }
    let Some(path) = line.value("--path").or(line.first()) else {
        let field = Field::new("--path", "path", "a YAML or JSON file, or a directory of them").required();
        cx.overlay(
            Form::new("apply manifests", Line::bare("manifest.apply"), vec![field]),
            Vec::new(),
        );
        return Ok(());
    };
    let path = expand(path);
    let id = cx.state.fresh();
    cx.state.waiting.insert(id, Then::Preview(path.clone()));
    cx.effect(Effect::Read(id, path));
    Ok(())
}

fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

fn namespace(cx: &Cx<'_>) -> String {
    cx.state
        .namespace
        .clone()
        .unwrap_or_else(|| cx.data.cluster().namespace.clone())
        .to_string()
}

/// The text is read: ask the server what applying it would change.
pub(super) fn preview(cx: &mut Cx<'_>, origin: String, text: String) {
    let id = cx.state.fresh();
    cx.state.waiting.insert(
        id,
        Then::Ask {
            text: text.clone(),
            origin,
        },
    );
    let namespace = namespace(cx);
    cx.effect(Effect::Apply {
        id,
        text,
        namespace,
        dry_run: true,
    });
}

/// The dry run is back: show the difference, and ask when there is something to do.
pub(super) fn ask(cx: &mut Cx<'_>, text: String, origin: &str, report: &ApplyReport) -> Result<()> {
    let failed = report.objects.iter().filter(|object| object.result.is_err()).count();
    let changed = report
        .objects
        .iter()
        .filter(|object| matches!(object.result, Ok(Change::Created | Change::Configured)));
    let changed = changed.count();
    if report.objects.is_empty() {
        return Err(Error::usage(format!("{origin} holds no objects")));
    }
    let title = format!("apply {origin}");
    let view = Text::new(
        TextSource::Fixed {
            title: title.clone(),
            document: difference(report),
        },
        cx.data,
    );
    cx.push(view);
    if failed > 0 {
        cx.state.say(
            Level::Error,
            format!("{} refused: nothing was changed", text::count(failed, "object")),
        );
        return Ok(());
    }
    if changed == 0 {
        cx.say("nothing to change: the cluster is so already");
        return Ok(());
    }
    let count = |change| {
        report
            .objects
            .iter()
            .filter(|object| object.result == Ok(change))
            .count()
    };
    let impact = vec![TextLine::new().with(
        Role::Text,
        &format!(
            "{} created, {} changed, {} as they are. The difference is behind this dialog.",
            count(Change::Created),
            count(Change::Configured),
            count(Change::Unchanged)
        ),
    )];
    let line = Line::with("manifest.apply", [format!("--text={text}")]);
    let mut confirm = Confirm::new(format!("{title}?"), "apply", line, Vec::new(), impact);
    confirm.yes = true;
    cx.overlay(confirm, Vec::new());
    Ok(())
}

/// The text has been applied.
pub(super) fn report(cx: &mut Cx<'_>, report: &ApplyReport) {
    let failed = report.objects.iter().filter(|object| object.result.is_err()).count();
    if failed > 0 {
        let view = Text::new(
            TextSource::Fixed {
                title: "apply".into(),
                document: difference(report),
            },
            cx.data,
        );
        cx.push(view);
        cx.state.say(
            Level::Error,
            format!("{} could not be applied", text::count(failed, "object")),
        );
        return;
    }
    // Back to where the user came from: the difference has served its purpose.
    if cx.state.view().title().starts_with("apply ") {
        let _ = cx.back();
    }
    let names: Vec<String> = report
        .objects
        .iter()
        .map(|object| {
            let verb = match object.result {
                Ok(Change::Created) => "created",
                Ok(Change::Configured) => "configured",
                _ => "unchanged",
            };
            format!("{} {verb}", object.name)
        })
        .collect();
    cx.say(text::cut_end(&names.join(", "), 200).into_owned());
}

/// Every object with what changes in it.
fn difference(report: &ApplyReport) -> Document {
    let mut document = Document::new();
    for object in &report.objects {
        if !document.lines.is_empty() {
            document.push(TextLine::new());
        }
        let (role, word) = match &object.result {
            Ok(Change::Created) => (Role::DiffAdd, "created"),
            Ok(Change::Configured) => (Role::Warning, "changed"),
            Ok(Change::Unchanged) => (Role::Dim, "unchanged"),
            Err(_) => (Role::Failed, "refused"),
        };
        let place = object
            .namespace
            .as_ref()
            .map_or_else(String::new, |namespace| format!(" in {namespace}"));
        document.push(
            TextLine::new()
                .with(Role::Section, &object.name)
                .with(Role::Dim, &place)
                .with(Role::Text, "  ")
                .with(role, word)
                .with(Role::Dim, &format!("  (line {})", object.line)),
        );
        match &object.result {
            Err(error) => {
                let at = object
                    .error_line
                    .map_or_else(String::new, |line| format!("line {line}: "));
                document.push(
                    TextLine::new()
                        .with(Role::Failed, &format!("  {at}{}", error.line()))
                        .hanging(4),
                );
                for hint in &error.hints {
                    document.push(TextLine::new().with(Role::Dim, &format!("  {hint}")).hanging(4));
                }
            }
            Ok(Change::Unchanged) => {}
            Ok(_) => {
                let diff = TextDiff::from_lines(&object.before, &object.after);
                for group in diff.grouped_ops(3) {
                    for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                        let (sign, role) = match change.tag() {
                            ChangeTag::Delete => ("-", Role::DiffRemove),
                            ChangeTag::Insert => ("+", Role::DiffAdd),
                            ChangeTag::Equal => (" ", Role::Dim),
                        };
                        let text = change.value().trim_end_matches('\n');
                        document.push(TextLine::new().with(role, &format!("  {sign} {text}")).hanging(6));
                    }
                }
            }
        }
    }
    document
}
