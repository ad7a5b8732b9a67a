//! The program itself: its cluster, its looks, its end.

use std::sync::Arc;

use crate::action::{Action, unknown_bindings};
use crate::cluster::Source;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::{Keymap, Line};
use crate::state::{Cx, Effect};
use crate::text;
use crate::theme::Theme;
use crate::view::overlay::{Entry, Picker};

pub(super) const EMBEDDED: Action =
    Action::new("cluster.embedded", "", "Start the cluster inside this program and connect to it", embedded);
pub(super) const RETRY: Action = Action::new("cluster.retry", "", "Try to reach the cluster now", retry);
pub(super) const THEME: Action = Action::new("app.theme", "[NAME]", "Change the theme", theme);
pub(super) const KEYMAP: Action = Action::new("app.keymap", "[NAME]", "Change the keymap", keymap);
pub(super) const CLIPBOARD: Action = Action::new("clipboard.set", "TEXT", "Put a text on the clipboard", clipboard);
pub(super) const QUIT: Action = Action::new("app.quit", "", "Leave", quit);

fn embedded(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.say("starting the embedded cluster ...");
    cx.effect(Effect::Connect(Source::Embedded { name: "default".into(), ephemeral: false }));
    Ok(())
}

fn retry(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let source = cx.state.source.clone();
    cx.effect(Effect::Connect(source));
    Ok(())
}

fn pick(cx: &mut Cx<'_>, title: &str, action: &str, names: impl Iterator<Item = &'static str>) {
    let entries = names
        .map(|name| Entry { text: name.to_owned(), doc: String::new(), line: Line::with(action, [name]) })
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
                return Err(Error::new(ErrorKind::Config, format!("keymap {name:?} binds unknown commands"))
                    .hint(unknown.join(", ")));
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

fn quit(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.state.quit = true;
    Ok(())
}
