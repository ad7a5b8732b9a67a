//! Answers: what happens when what was asked of the world is back.

use std::sync::Arc;

use crate::action::{change, explain, job, manifest, node, object, outline, pod, rights, rollout, why};
use crate::cluster::{Plan, Report, reconciled};
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Line;
use crate::kind;
use crate::state::{Cx, Edit, Effect, Errand, Level, Outcome, RequestId, Then, Waiting};
use crate::view::Target;

/// Handles the answer to `id`. An answer nobody waits for is dropped.
pub fn answered(cx: &mut Cx<'_>, id: RequestId, result: Result<Outcome>) {
    cx.state.operations.remove(&id);
    let Some(waiting) = cx.state.waiting.remove(&id) else {
        return;
    };
    cx.started = None;
    let here = waiting.cluster == cx.data.cluster().id;
    let done = match (result, &waiting.then) {
        (Ok(Outcome::Counted(content)), Then::Learn) => return learn(cx, id, &Ok(content)),
        (Err(error), Then::Learn) => return learn(cx, id, &Err(error)),
        // What was begun in one cluster goes on in no other.
        (
            Ok(_),
            Then::Preview { .. } | Then::Ask { .. } | Then::Edited(_) | Then::Reconcile { .. } | Then::GoOn(..),
        ) if !here => {
            let error = Error::new(
                ErrorKind::Cancelled,
                "another cluster was chosen meanwhile: nothing was changed",
            );
            Err(error.hint("go back to the context, and ask again"))
        }
        (Err(error), Then::Edited(edit)) => Err(kept(edit, error)),
        (Err(error), Then::Reconcile { edit, .. }) => Err(kept(edit, error)),
        (Err(error), _) => Err(error),
        (Ok(outcome), _) => follow(cx, &waiting, outcome),
    };
    settle(cx, id, done);
}

/// The overlay that asked closes, waits on for what followed, or shows what is wrong.
fn settle(cx: &mut Cx<'_>, id: RequestId, done: Result<()>) {
    let next = cx.started.take();
    let at = cx.state.layers.iter().position(|layer| layer.waits == Some(id));
    match (done, at) {
        (Ok(()), Some(at)) => match next {
            Some(next) => cx.state.layers[at].waits = Some(next),
            None => {
                cx.state.layers.remove(at);
            }
        },
        (Ok(()), None) => {}
        // Said once, where the input is.
        (Err(error), Some(at)) => {
            cx.state.layers[at].waits = None;
            cx.state.layers[at].overlay.refuse(&error);
            cx.state.record(&error);
        }
        (Err(error), None) => cx.state.fail(&error),
    }
}

fn learn(cx: &mut Cx<'_>, id: RequestId, content: &Result<crate::cluster::Content>) {
    let asked = cx.state.layers.iter_mut().find(|layer| layer.waits == Some(id));
    if let Some(layer) = asked {
        layer.waits = None;
        layer.overlay.learn(content);
    }
}

/// An editor that could not be run: what it was to edit is not lost, because nothing was written yet.
fn kept(edit: &Edit, error: Error) -> Error {
    error.hint(format!("{} is as it was", object::name_of(&edit.target)))
}

fn follow(cx: &mut Cx<'_>, waiting: &Waiting, outcome: Outcome) -> Result<()> {
    match (waiting.then.clone(), outcome) {
        (Then::Say(text), _) => {
            cx.say(text);
            Ok(())
        }
        (Then::Quiet, _) => Ok(()),
        // Only when nothing else has been begun since.
        (Then::Again(line), _) if waiting.keys == cx.state.keys => crate::action::run(cx, &line),
        (Then::Again(_), _) => Ok(()),
        (Then::Explain(target), Outcome::Examined(diagnosis)) => {
            why::show(cx, waiting, target, diagnosis);
            Ok(())
        }
        (Then::Preview { path, namespace }, Outcome::Bytes(bytes)) => {
            let origin = path.display().to_string();
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| Error::usage(format!("{origin} is not text")))?;
            cx.started = Some(manifest::preview(cx, waiting, origin, text, namespace));
            Ok(())
        }
        (Then::Ask { origin, namespace }, Outcome::Previewed(report)) => {
            // The form that asked for it makes room for the question.
            let forms = cx.state.layers.len();
            cx.state.layers.retain(|layer| layer.waits.is_none());
            let asked_here = forms > cx.state.layers.len();
            let keys = if asked_here { cx.state.keys } else { waiting.keys };
            manifest::ask(cx, keys, &origin, namespace, &report)
        }
        (Then::Report(plan), Outcome::Executed(report)) => change::report(cx, waiting, &plan, &report),
        (Then::Edited(edit), Outcome::Bytes(bytes)) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            object::edited(cx, edit, text)
        }
        (
            Then::Sent {
                edit,
                text,
                edited,
                plan,
            },
            Outcome::Executed(report),
        ) => {
            sent(cx, waiting, edit, &text, edited, &plan, &report);
            Ok(())
        }
        (Then::Reconcile { edit, edited }, Outcome::Object(now)) => {
            let shown = kind::yaml(&now).plain();
            let base = crate::cluster::object_of_text(&shown)?;
            let (wanted, clashes) = reconciled(&edit.base, &edited, &base);
            let error = Error::new(
                ErrorKind::Conflict,
                format!(
                    "{} has changed meanwhile where you change it",
                    object::name_of(&edit.target)
                ),
            );
            let error = clashes.into_iter().fold(error, Error::hint);
            let error = error.hint("below is what it would be with your changes: save it, or change it first");
            let text = kind::yaml(&wanted).plain();
            object::open_editor(cx, Edit { base, ..edit }, &text, &error);
            Ok(())
        }
        (Then::GoOn(errand, line, targets), outcome) => go_on(cx, waiting, errand, &line, &targets, outcome),
        (_, _) => {
            cx.state
                .say(Level::Warning, "an answer came back that was not expected");
            Ok(())
        }
    }
}

/// An edit was made, or the editor opens again on what the user wrote.
fn sent(
    cx: &mut Cx<'_>,
    waiting: &Waiting,
    edit: Edit,
    text: &str,
    edited: serde_json::Value,
    plan: &Arc<Plan>,
    report: &Report,
) {
    let error = match change::report(cx, waiting, plan, report) {
        Ok(()) => return,
        Err(error) => error,
    };
    cx.state.fail(&error);
    if waiting.cluster != cx.data.cluster().id {
        return;
    }
    match error.kind {
        ErrorKind::Conflict => {
            let target = (&edit.target).into();
            let id = cx.wait(Then::Reconcile { edit, edited });
            cx.effect(Effect::Fetch(id, waiting.cluster, target));
        }
        _ => {
            let error = error.hint("this is what you wrote; save it unchanged to give up");
            object::open_editor(cx, edit, &object::strip_note(text), &error);
        }
    }
}

/// What a command needed has been read. When other keys were pressed meanwhile, it is dropped: what it would ask now answers no key.
fn go_on(
    cx: &mut Cx<'_>,
    waiting: &Waiting,
    errand: Errand,
    line: &Line,
    targets: &[Target],
    outcome: Outcome,
) -> Result<()> {
    // The form that asked makes room for what follows.
    let asked_here = cx.state.layers.iter().any(|layer| layer.waits.is_some());
    if waiting.keys != cx.state.keys && !asked_here {
        cx.state.say(
            Level::Warning,
            format!("{} came too late: press the key again", line.name),
        );
        return Ok(());
    }
    match (errand, outcome) {
        (Errand::Drain, Outcome::Lists(pods)) => node::drain_of(cx, line, targets, &pods),
        (Errand::Sanitize, Outcome::Lists(pods)) => job::sanitize_all(cx, line, &pods),
        (Errand::Undo, Outcome::Lists(kept)) => rollout::undo_to(cx, line, targets, &kept.concat()),
        (Errand::Answer, Outcome::Bytes(bytes)) => {
            outline::answer(cx, targets, waiting.keys, &bytes);
            Ok(())
        }
        (Errand::Forward, Outcome::Lists(pods)) => pod::forward_to(cx, line, targets, &pods.concat()),
        (Errand::CanI, Outcome::Object(answer)) => {
            rights::told(cx, line, &answer);
            Ok(())
        }
        (Errand::Rights, Outcome::Object(answer)) => {
            rights::rights(cx, waiting.keys, &answer);
            Ok(())
        }
        (Errand::WhoCan, Outcome::Lists(lists)) => rights::everybody(cx, waiting.keys, line, &lists),
        (Errand::Account, Outcome::Lists(lists)) => rights::of_account(cx, waiting.keys, targets, &lists),
        (Errand::Explain, Outcome::Bytes(bytes)) => explain::explained(cx, waiting.keys, line, &bytes),
        (errand, _) => Err(Error::new(
            ErrorKind::Other,
            format!("an answer came back that {errand:?} did not expect"),
        )),
    }
}
