//! The program itself: its cluster, its looks, its end.

use std::sync::Arc;

use crate::action::{Argument, Command, Type, unknown_bindings};
use crate::document::TextLine;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::{Keymap, Line};
use crate::session::{Info, SessionId, Spec, Status};
use crate::state::{Cx, Effect, Then};
use crate::text;
use crate::theme::{Role, Theme};
use crate::view::overlay::{Confirm, Entry, Picker};

pub(super) const EMBEDDED: Command = Command::new(
    "cluster.embedded",
    &[],
    "Start the cluster inside this program and connect to it",
    embedded,
)
.aliases(&["embedded"]);
pub(super) const RETRY: Command = Command::new("cluster.retry", &[], "Try to reach the cluster now", retry);
pub(super) const LOGIN: Command = Command::new(
    "cluster.login",
    &[],
    "Lend the terminal to the credential plugin, which may ask you to sign in, then connect",
    login,
)
.aliases(&["login"]);
pub(super) const THEME: Command = Command::new(
    "app.theme",
    &[Argument::optional(Type::Theme)],
    "Change the theme",
    theme,
)
.aliases(&["theme"]);
pub(super) const KEYMAP: Command = Command::new(
    "app.keymap",
    &[Argument::optional(Type::Keymap)],
    "Change the keymap",
    keymap,
)
.aliases(&["keymap"]);
pub(super) const CLIPBOARD: Command = Command::new(
    "clipboard.set",
    &[Argument::many(Type::Text)],
    "Put a text on the clipboard",
    clipboard,
);
pub(super) const FILE_SAVE: Command = Command::new(
    "file.save",
    &[Argument::required(Type::Path), Argument::many(Type::Text)],
    "Write a text to a new file",
    file_save,
);
pub(super) const URL_OPEN: Command = Command::new(
    "url.open",
    &[Argument::required(Type::Url)],
    "Open a page in the browser",
    url_open,
);
pub(super) const SESSION_CLOSE: Command = Command::new(
    "session.close",
    &[Argument::required(Type::Session), Argument::flag("--ask").hidden()],
    "End a session",
    session_close,
);
pub(super) const SESSION_SHOW: Command = Command::new(
    "session.show",
    &[Argument::required(Type::Session)],
    "Go to the tab of a session",
    session_show,
);
pub(super) const QUIT: Command = Command::new(
    "app.quit",
    &[Argument::flag("--now")],
    "Leave; asks when shells or port-forwards would end",
    leave,
)
.aliases(&["q", "quit", "qa", "exit"]);

pub(super) const INTERRUPT: Command = Command::new(
    "app.interrupt",
    &[],
    "Stop what is under way, else leave; asks when shells or port-forwards would end",
    interrupt,
);

fn interrupt(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    if cx.state.operations.is_empty() {
        return leave(cx, line);
    }
    crate::action::run(cx, &Line::bare("change.cancel"))
}

fn embedded(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.say("starting the embedded cluster ...");
    let cluster = cx.cluster_called("embedded")?;
    cx.effect(Effect::Connect(cluster));
    Ok(())
}

fn retry(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let cluster = cx.data.cluster().id;
    cx.effect(Effect::Retry(cluster));
    Ok(())
}

fn login(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let cluster = cx.data.cluster().id;
    cx.effect(Effect::Login(cluster));
    Ok(())
}

fn picker(title: &str, action: &str, names: impl Iterator<Item = &'static str>) -> Picker {
    let entries = names
        .map(|name| Entry {
            text: name.to_owned(),
            doc: String::new(),
            line: Line::with(action, [name]),
        })
        .collect();
    Picker::new(title, entries)
}

fn theme(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    match line.first() {
        None => {
            let back = Line::with("app.theme", [cx.state.theme.name.clone()]);
            let picker = picker("theme", "app.theme", Theme::built_in()).live(back);
            cx.overlay(picker, Vec::new());
        }
        Some(name) => {
            let theme = Theme::load(name, cx.state.themes.as_deref())?;
            cx.state.theme = Arc::new(theme.shown_as(&cx.state.theme));
        }
    }
    Ok(())
}

fn keymap(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    match line.first() {
        None => cx.overlay(picker("keymap", "app.keymap", Keymap::built_in()), Vec::new()),
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
    let count = cx.data.sessions().iter().filter(|info| is_alive(info)).count();
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
        vec![TextLine::new().with(Role::Text, &impact)],
    );
    cx.overlay(question, Vec::new());
    Ok(())
}

fn file_save(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let [path, content] = line.args.as_slice() else {
        return Err(Error::usage("save what, and where?"));
    };
    let lines = text::count(content.lines().count(), "line");
    let full = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let id = cx.wait(Then::Say(format!("{lines} saved to {}", full.display())));
    cx.effect(Effect::Write(id, path.into(), content.clone()));
    Ok(())
}

fn url_open(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let url = line.first().ok_or_else(|| Error::usage("open which page?"))?;
    cx.say(format!("opening {url}"));
    cx.effect(Effect::Browse(url.to_owned()));
    Ok(())
}

fn session_id(line: &Line) -> Result<SessionId> {
    let id = line.first().and_then(|id| id.parse().ok());
    id.map(SessionId).ok_or_else(|| Error::usage("which session?"))
}

fn session_close(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let id = session_id(line)?;
    // What others are connected through, or somebody types into, does not end by one key.
    if let Some(info) = cx.data.session(id).filter(|info| line.has("--ask") && is_alive(info)) {
        let (what, target) = match info.spec {
            Spec::Forward(spec) => ("port-forward", spec.target),
            Spec::Exec(spec) => ("shell", spec.target),
            Spec::Logs(_) => ("log", crate::session::PodTarget::default()),
        };
        let open = match info.connections {
            0 => String::new(),
            count => format!(" {} through it end.", text::count(count as usize, "connection")),
        };
        let impact = format!("In {}, namespace {}.{open}", info.context, target.namespace);
        let question = Confirm::new(
            format!("end the {what} to {}?", target.pod),
            "end it",
            Line::with("session.close", [id.0.to_string()]),
            vec![TextLine::new().with(Role::Text, &impact)],
        );
        cx.overlay(question, Vec::new());
        return Ok(());
    }
    cx.effect(Effect::Close(id));
    Ok(())
}

fn session_show(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let id = session_id(line)?;
    let at = cx
        .state
        .tabs
        .iter()
        .position(|tab| tab.views().any(|view| view.sessions().contains(&id)));
    cx.go_tab(at.ok_or_else(|| Error::usage("this session has no tab"))?);
    let shows = |pane: &&crate::view::Pane| pane.views.iter().any(|view| view.sessions().contains(&id));
    if let Some(pane) = cx.state.panes().all().iter().find(shows).map(|pane| pane.id) {
        cx.state.panes_mut().focus(pane);
    }
    Ok(())
}

/// Whether something would be lost with a session.
fn is_alive(info: &Info) -> bool {
    !matches!(info.spec, Spec::Logs(_)) && !matches!(info.status, Status::Ended(_) | Status::Failed(_))
}
