//! Applying manifests: read, dry-run on the server, show the difference, ask, apply.

use std::path::PathBuf;
use std::sync::Arc;

use crate::action::{Argument, Command, Type};
use crate::cluster::{Applied, ApplyEffect as Effects, ApplyReport, Pace};
use crate::document::{self, Document, TextLine};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::state::{Cx, Effect, Level, RequestId, Review, Then, Waiting};
use crate::text;
use crate::theme::Role;
use crate::view::overlay::{Field, Form};

pub(super) const APPLY: Command = Command::new(
    "manifest.apply",
    &[
        Argument::optional(Type::Path),
        Argument::option("--path", Type::Path).hidden(),
    ],
    "Apply a file or a directory of manifests, after showing what changes",
    apply,
)
.changes()
.aliases(&["apply"]);

fn apply(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let Some(path) = line.value("--path").or(line.first()) else {
        let field = Field::new("--path", "path", "a YAML or JSON file, or a directory of them").required();
        cx.overlay(
            Form::new("apply manifests", Line::bare("manifest.apply"), vec![field]),
            Vec::new(),
        );
        return Ok(());
    };
    let path = expand(path);
    // Here and now: what is typed while the file is read and tried does not move it elsewhere.
    let namespace = cx.namespace();
    let id = cx.wait(Then::Preview {
        path: path.clone(),
        namespace,
    });
    cx.effect(Effect::Read(id, path));
    Ok(())
}

fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// The text is read: ask the server what applying it would change.
pub(super) fn preview(
    cx: &mut Cx<'_>,
    asked: &Waiting,
    origin: String,
    text: String,
    namespace: Arc<str>,
) -> RequestId {
    let id = cx.state.fresh();
    let then = Then::Ask {
        origin,
        namespace: namespace.clone(),
    };
    cx.state.waiting.insert(id, Waiting { then, ..asked.clone() });
    cx.effect(Effect::Preview {
        id,
        cluster: asked.cluster,
        text,
        namespace: namespace.to_string(),
    });
    id
}

/// The dry run is back: show the difference, and ask when there is something to do.
pub(super) fn ask(cx: &mut Cx<'_>, keys: u64, origin: &str, namespace: Arc<str>, report: &ApplyReport) -> Result<()> {
    if report.objects.is_empty() {
        return Err(Error::usage(format!("{origin} holds no objects")));
    }
    let failed = report.objects.iter().filter(|object| object.result.is_err()).count();
    let changes = report.changes();
    let title = format!("apply {origin}");
    let mut review = Review {
        title: title.clone(),
        document: difference(report),
        question: None,
    };
    if failed > 0 {
        let text = format!("{} refused: nothing was changed", text::count(failed, "object"));
        cx.state.say(Level::Error, text.clone());
        cx.present(keys, format!("{title}: {text}"), review);
        return Ok(());
    }
    if changes.is_empty() {
        cx.say("nothing to change: the cluster already matches");
        return Ok(());
    }
    let count = |effect| {
        let same = |object: &&Applied| object.result == Ok(effect);
        report.objects.iter().filter(same).count()
    };
    let (created, changed, same) = (
        count(Effects::Created),
        count(Effects::Configured),
        count(Effects::Unchanged),
    );
    let place = format!(
        "in {}, namespace {namespace} where none is named",
        cx.data.cluster().name
    );
    let impact = format!("{created} created, {changed} changed, {same} unchanged, {place}.");
    let command = Line::with("manifest.apply", [origin]);
    let mut plan = cx.plan(&command, title.clone(), "applied", changes)?;
    // What a document needs stands above it.
    plan.pace = Pace::InTurn;
    let impact = vec![TextLine::new().with(Role::Text, &impact)];
    review.question = Some(cx.question(plan, "apply", Vec::new(), impact).at_bottom());
    cx.present(keys, format!("{title} waits for your answer"), review);
    Ok(())
}

/// Every object with what changes in it.
fn difference(report: &ApplyReport) -> Document {
    let mut document = Document::new();
    for object in &report.objects {
        if !document.lines.is_empty() {
            document.push(TextLine::new());
        }
        let (role, word) = match &object.result {
            Ok(Effects::Created) => (Role::DiffAdd, "created"),
            Ok(Effects::Configured) => (Role::Warning, "changed"),
            Ok(Effects::Unchanged) => (Role::Dim, "unchanged"),
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
            Ok(Effects::Unchanged) => {}
            Ok(_) => {
                document
                    .lines
                    .extend(document::difference(&object.before, &object.after, 2));
            }
        }
    }
    document
}
