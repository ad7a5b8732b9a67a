//! The program itself: its cluster, its looks, its end.

use std::sync::Arc;

use crate::action::{Action, unknown_bindings};
use crate::cluster::Source;
use crate::document::TextLine;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::{Keymap, Line};
use crate::session::{Info, SessionId, Spec, Status};
use crate::state::{Cx, Effect, Then};
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::overlay::{Confirm, Entry, Picker};

pub(super) const EMBEDDED: Action = Action::new(
    "cluster.embedded",
    "",
    "Start the cluster inside this program and connect to it",
    embedded,
);
pub(super) const RETRY: Action = Action::new("cluster.retry", "", "Try to reach the cluster now", retry);
pub(super) const THEME: Action = Action::new("app.theme", "[NAME]", "Change the theme", theme);
pub(super) const KEYMAP: Action = Action::new("app.keymap", "[NAME]", "Change the keymap", keymap);
pub(super) const CLIPBOARD: Action = Action::new("clipboard.set", "TEXT", "Put a text on the clipboard", clipboard);
pub(super) const FILE_SAVE: Action = Action::new("file.save", "PATH TEXT", "Write a text to a new file", file_save);
pub(super) const URL_OPEN: Action = Action::new("url.open", "URL", "Open a page in the browser", url_open);
pub(super) const SESSION_CLOSE: Action = Action::new("session.close", "ID", "End a session", session_close);
pub(super) const QUIT: Action = Action::new(
    "app.quit",
    "[--now]",
    "Leave; asks when shells or port-forwards would end",
    leave,
);

fn embedded(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.say("starting the embedded cluster ...");
    cx.effect(Effect::Connect(Source::Embedded {
        name: "default".into(),
        ephemeral: false,
    }));
    Ok(())
}

fn retry(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let source = cx.state.source.clone();
    cx.effect(Effect::Connect(source));
    Ok(())
}

fn pick(cx: &mut Cx<'_>, title: &str, action: &str, names: impl Iterator<Item = &'static str>) {
    let entries = names
        .map(|name| Entry {
            text: name.to_owned(),
            doc: String::new(),
            line: Line::with(action, [name]),
        })
        .collect();
    cx.overlay(Picker::new(title, entries), Vec::new());
}

fn theme(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    match line.first() {
        None => pick(cx, "theme", "app.theme", Theme::built_in()),
        Some(name) => {
            let signs = cx.state.theme.signs;
            let mut theme = Theme::load(name, cx.state.themes.as_deref())?;
            theme.signs = signs;
            cx.state.theme = Arc::new(theme);
        }
    }
    Ok(())
}

fn keymap(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    match line.first() {
        None => pick(cx, "keymap", "app.keymap", Keymap::built_in()),
        Some(name) => {
            let keymap = Keymap::load(name, cx.state.keymaps.as_deref())?;
            let unknown = unknown_bindings(&keymap);
            if !unknown.is_empty() {
                return Err(
                    Error::new(ErrorKind::Config, format!("keymap {name:?} binds unknown commands"))
                        .hint(unknown.join(", ")),
                );
            }
            cx.state.keymap = Arc::new(keymap);
            cx.say(format!("keymap {name}"));
        }
    }
    Ok(())
}

fn clipboard(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let text = line.args.join(" ");
    cx.say(format!("copied {}", text::count(text.lines().count(), "line")));
    cx.effect(Effect::Copy(text));
    Ok(())
}

/// Leaves. Shells and port-forwards end with the program, so it asks while there are any.
pub(super) fn leave(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let alive = |info: &Info| {
        !matches!(info.spec, Spec::Logs(_)) && !matches!(info.status, Status::Ended(_) | Status::Failed(_))
    };
    let count = cx.data.sessions().iter().filter(|info| alive(info)).count();
    if count == 0 || line.has("--now") {
        cx.state.quit = true;
        return Ok(());
    }
    let verb = if count == 1 { "ends" } else { "end" };
    let impact = format!("{} {verb} with the program.", text::count(count, "running session"));
    let question = Confirm::new(
        "leave knarr?".into(),
        "leave",
        Line::with("app.quit", ["--now"]),
        Vec::new(),
        vec![TextLine::new().with(Role::Text, &impact)],
    );
    cx.overlay(question, Vec::new());
    Ok(())
}

fn file_save(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let [path, content] = line.args.as_slice() else {
        return Err(Error::usage("save what, and where?"));
    };
    let id = cx.state.fresh();
    let lines = text::count(content.lines().count(), "line");
    let full = std::path::absolute(path).unwrap_or_else(|_| path.into());
    cx.state
        .waiting
        .insert(id, Then::Say(format!("{lines} saved to {}", full.display())));
    cx.effect(Effect::Write(id, path.into(), content.clone()));
    Ok(())
}

fn url_open(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let url = line.first().ok_or_else(|| Error::usage("open which page?"))?;
    cx.say(format!("opening {url}"));
    cx.effect(Effect::Browse(url.to_owned()));
    Ok(())
}

fn session_close(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let id = line
        .first()
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| Error::usage("end which session?"))?;
    cx.effect(Effect::Close(SessionId(id)));
    Ok(())
}
