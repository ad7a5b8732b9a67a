//! Answers: what happens when what was asked of the world is back.

use crate::action::{manifest, object};
use crate::error::{Error, Result};
use crate::state::{Cx, Effect, Level, Outcome, RequestId, Then};

/// Handles the answer to `id`. An answer nobody waits for is dropped.
pub fn answered(cx: &mut Cx<'_>, id: RequestId, result: Result<Outcome>) {
    let Some(then) = cx.state.waiting.remove(&id) else {
        return;
    };
    let outcome = match (result, &then) {
        (Ok(outcome), _) => outcome,
        (Err(error), Then::Sent { target, text }) => {
            let error = error.hint("your text is kept: the editor opens on it again");
            cx.state.fail(&error);
            let note = format!("# not saved: {}\n", error.line().replace('\n', "\n# "));
            let id = cx.state.fresh();
            let text = strip_note(text);
            cx.state.waiting.insert(
                id,
                Then::Edited {
                    target: target.clone(),
                    before: format!("{note}{text}"),
                },
            );
            cx.effect(Effect::Edit(id, format!("{note}{text}")));
            return;
        }
        (Err(error), _) => {
            cx.state.fail(&error);
            return;
        }
    };
    let done = match (then, outcome) {
        (Then::Say(text), _) => {
            cx.say(text);
            Ok(())
        }
        (Then::Quiet, _) => Ok(()),
        (Then::Preview(path), Outcome::Bytes(bytes)) => {
            let origin = path.display().to_string();
            match String::from_utf8(bytes.to_vec()) {
                Ok(text) => {
                    manifest::preview(cx, origin, text);
                    Ok(())
                }
                Err(_) => Err(Error::usage(format!("{origin} is no text"))),
            }
        }
        (Then::Ask { text, origin }, Outcome::Applied(report)) => manifest::ask(cx, text, &origin, &report),
        (Then::Report, Outcome::Applied(report)) => {
            manifest::report(cx, &report);
            Ok(())
        }
        (Then::Edited { target, before }, Outcome::Bytes(bytes)) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            object::edited(cx, target, &before, text)
        }
        (Then::Sent { target, .. }, _) => {
            cx.say(format!("{} edited", object::name_of(&target)));
            Ok(())
        }
        (_, _) => {
            cx.state
                .say(Level::Warning, "an answer came back that was not expected");
            Ok(())
        }
    };
    if let Err(error) = done {
        cx.state.fail(&error);
    }
}

/// The text without the notes an earlier refusal put on top.
fn strip_note(text: &str) -> String {
    let mut lines = text
        .lines()
        .skip_while(|line| line.starts_with("# "))
        .collect::<Vec<_>>()
        .join("\n");
    lines.push('\n');
    lines
}
