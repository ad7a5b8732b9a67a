//! What was changed: results, undo, and the journal of it.

use crate::action::Command;
use crate::cluster::{Plan, Report, Write};
use crate::document::{Document, TextLine};
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Line;
use crate::state::{Cx, Effect, Level, Review, Then, Waiting};
use crate::store::ObjectId;
use crate::text;
use crate::theme::Role;

pub(super) const UNDO: Command = Command::new("change.undo", &[], "Take back the last change", undo)
    .changes()
    .aliases(&["undo"]);
pub(super) const REDO: Command = Command::new("change.redo", &[], "Make the change again that was taken back", redo)
    .changes()
    .aliases(&["redo"]);
pub(super) const CANCEL: Command = Command::new(
    "change.cancel",
    &[],
    "Begin no further change of what is under way",
    cancel,
)
.aliases(&["cancel"]);
pub(super) const NOTICE: Command = Command::new(
    "notice.open",
    &[],
    "Answer the question, or read the result, that waits",
    notice,
);
pub(super) const JOURNAL: Command = Command::new(
    "journal.open",
    &[],
    "Say where every change is written down, and list the last ones",
    journal,
)
.aliases(&["journal"]);

pub(super) const KUBECTL: Command = Command::new(
    "change.kubectl",
    &[],
    "Copy what kubectl would be told to do the same as was done last",
    kubectl,
)
.aliases(&["kubectl"]);

/// Plans that can be taken back are kept up to this many.
const KEPT: usize = 100;

/// What became of a plan: said, remembered so that it can be taken back, and followed by the cursor.
///
/// # Errors
///
/// Why its one change was refused.
pub(super) fn report(cx: &mut Cx<'_>, waiting: &Waiting, plan: &Plan, report: &Report) -> Result<()> {
    let here = waiting.cluster == cx.data.cluster().id;
    if plan
        .changes
        .iter()
        .any(|change| &*change.target.resource.plural == "customresourcedefinitions")
    {
        let id = cx.state.wait(waiting.cluster, Then::Quiet);
        cx.effect(Effect::Discover(id, waiting.cluster));
    }
    if let Some(inverse) = plan.inverse(report) {
        remember(cx, plan, inverse);
    }
    if here {
        follow(cx, waiting, plan, report);
    }
    let place = if here { "" } else { " (in the cluster before)" };
    match report.results.as_slice() {
        [Err(error)] => return Err(error.clone()),
        [Ok(_)] => {
            let name = plan
                .changes
                .first()
                .map_or_else(String::new, |change| change.target.title());
            let namespace = plan.changes.first().and_then(|change| match change.request {
                Write::Create(_) => change.target.namespace.as_deref(),
                _ => None,
            });
            let namespace = namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"));
            cx.say(format!("{name} {}{namespace}{place}", plan.done));
            return Ok(());
        }
        _ => {}
    }
    let (made, all) = (report.made(), report.results.len());
    let failed = all - made;
    if failed == 0 {
        cx.say(format!("{} {}{place}", plan.subject(), plan.done));
        return Ok(());
    }
    let text = format!("{}: {made} {}, {failed} not{place}", plan.title, plan.done);
    cx.state.say(Level::Error, text.clone());
    let review = Review {
        title: plan.title.clone(),
        document: results(plan, report),
        question: None,
    };
    cx.present(waiting.keys, text, review);
    Ok(())
}

/// Every object with what became of it, what failed first.
fn results(plan: &Plan, report: &Report) -> Document {
    let mut document = Document::new();
    let all = || plan.changes.iter().zip(&report.results);
    for (change, result) in all().filter(|(_, result)| result.is_err()) {
        let Err(error) = result else { continue };
        let place = change
            .target
            .namespace
            .as_deref()
            .map_or_else(String::new, |namespace| format!("{namespace}/"));
        let cancelled = error.kind == ErrorKind::Cancelled;
        document.push(
            TextLine::new()
                .with(
                    if cancelled { Role::Dim } else { Role::Failed },
                    if cancelled { "left    " } else { "failed  " },
                )
                .with(Role::Strong, &format!("{place}{}", change.target.name))
                .with(
                    Role::Text,
                    &format!(
                        "  {}",
                        if cancelled {
                            "cancelled before it was tried".into()
                        } else {
                            error.line()
                        }
                    ),
                )
                .hanging(10),
        );
        for hint in error.hints.iter().filter(|_| !cancelled) {
            document.push(
                TextLine::new()
                    .with(Role::Dim, &format!("          {hint}"))
                    .hanging(10),
            );
        }
    }
    for (change, _) in all().filter(|(_, result)| result.is_ok()) {
        let place = change
            .target
            .namespace
            .as_deref()
            .map_or_else(String::new, |namespace| format!("{namespace}/"));
        document.push(
            TextLine::new()
                .with(Role::Good, "done    ")
                .with(Role::Text, &format!("{place}{}  {}", change.target.name, plan.done)),
        );
    }
    document
}

fn remember(cx: &mut Cx<'_>, plan: &Plan, inverse: Plan) {
    let state = &mut *cx.state;
    let stack = if plan.command.name == UNDO.name {
        &mut state.redo
    } else {
        if plan.command.name != REDO.name {
            state.redo.retain(|kept| kept.cluster != plan.cluster);
        }
        &mut state.undo
    };
    if stack.len() >= KEPT {
        stack.remove(0);
    }
    stack.push(inverse);
}

/// The cursor goes to what the last key made.
fn follow(cx: &mut Cx<'_>, waiting: &Waiting, plan: &Plan, report: &Report) {
    let made = plan.changes.iter().zip(&report.results).find_map(|(change, result)| {
        let (Write::Create(_), Ok(changed)) = (&change.request, result) else {
            return None;
        };
        let uid = changed.after.as_ref()?.pointer("/metadata/uid")?.as_str()?;
        Some((change, uid))
    });
    let Some((change, uid)) = made else { return };
    let same = cx
        .state
        .view()
        .resource()
        .is_some_and(|resource| resource == change.target.resource);
    if same && cx.state.keys == waiting.keys {
        let id = ObjectId {
            cluster: change.target.cluster,
            namespace: change.target.namespace.clone().unwrap_or_else(|| "".into()),
            name: change.target.name.clone(),
            uid: uid.into(),
        };
        let data = cx.data;
        cx.state.view_mut().select(&id, data);
    }
}

fn undo(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    take_back(cx, line, true)
}

fn redo(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    take_back(cx, line, false)
}

fn take_back(cx: &mut Cx<'_>, line: &Line, undo: bool) -> Result<()> {
    let cluster = cx.data.cluster().id;
    let stack = if undo { &mut cx.state.undo } else { &mut cx.state.redo };
    let at = stack.iter().rposition(|plan| plan.cluster == cluster).ok_or_else(|| {
        let what = if undo {
            "nothing that was done here can be taken back"
        } else {
            "nothing was taken back here"
        };
        Error::usage(what)
    })?;
    let mut plan = stack.remove(at);
    plan.command = line.clone();
    let mut names: Vec<String> = plan
        .changes
        .iter()
        .take(6)
        .map(|change| change.target.title())
        .collect();
    if plan.changes.len() > names.len() {
        names.push(format!("and {} more", plan.changes.len() - names.len()));
    }
    let mut impact = vec![TextLine::new().with(Role::Strong, &names.join(", "))];
    if plan
        .changes
        .iter()
        .any(|change| matches!(change.request, Write::Delete { .. }))
    {
        impact.push(TextLine::new().with(Role::Danger, "What was made is deleted again."));
    }
    let kept = plan.clone();
    let before = cx.state.layers.len();
    let done = cx.carry_out(plan, "take back", impact);
    // A question may be answered with no: then it can be asked again.
    if done.is_err() || cx.state.layers.len() > before {
        let stack = if undo { &mut cx.state.undo } else { &mut cx.state.redo };
        stack.insert(at, kept);
    }
    done
}

fn cancel(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let running: Vec<u64> = cx.state.operations.keys().copied().collect();
    if running.is_empty() {
        return Err(Error::usage("nothing is under way"));
    }
    for id in running {
        if let Some(operation) = cx.state.operations.get_mut(&id) {
            operation.cancelled = true;
        }
        cx.effect(Effect::Cancel(id));
    }
    Ok(())
}

fn notice(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let notice = cx
        .state
        .notices
        .pop_front()
        .ok_or_else(|| Error::usage("nothing waits for an answer"))?;
    cx.review(notice.review);
    Ok(())
}

fn kubectl(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let plan = cx.state.done.clone();
    let plan = plan.ok_or_else(|| Error::usage("nothing has been changed yet"))?;
    let lines = plan.kubectl();
    let mut document = Document::new();
    document.push(TextLine::new().with(Role::Dim, &format!("{}, with kubectl (copied):", plan.title)));
    for line in lines.iter().flat_map(|line| line.lines()) {
        document.push(TextLine::new().with(Role::Text, line).hanging(2));
    }
    cx.effect(Effect::Copy(lines.join("\n")));
    cx.review(Review {
        title: "kubectl".into(),
        document,
        question: None,
    });
    Ok(())
}

fn journal(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let mut document = Document::new();
    match &cx.state.journal {
        Some(path) => document.push(TextLine::new().with(
            Role::Dim,
            &format!("Every change is written down in {}", path.display()),
        )),
        None => document.push(TextLine::new().with(Role::Dim, "No journal is kept.")),
    }
    for (word, stack) in [("u takes back", &cx.state.undo), ("taken back", &cx.state.redo)] {
        for plan in stack.iter().rev() {
            let names: Vec<String> = plan
                .changes
                .iter()
                .take(8)
                .map(|change| change.target.title())
                .collect();
            let title = plan.title.trim_start_matches("undo: ");
            document.push(
                TextLine::new()
                    .with(Role::Dim, &text::pad_right(word, 14))
                    .with(Role::Strong, title)
                    .with(Role::Dim, &format!("  {}", text::cut_end(&names.join(", "), 200)))
                    .hanging(14),
            );
        }
    }
    cx.review(Review {
        title: "journal".into(),
        document,
        question: None,
    });
    Ok(())
}
