//! The list of what runs beside the views: logs, shells and port-forwards of every context, where to, from where, how much went through.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Data, Look, Reply, View, ViewCommand, not_here};
use crate::error::{Error, Result};
use crate::keys::{Line, Scope};
use crate::session::{Info, PodTarget, SessionId, Spec, Status};
use crate::text;
use crate::theme::Role;
use crate::widget::{ColumnSpec, Cut, TableCell, TableRow, fit, put, table};

/// Every log, shell and port-forward of this program.
#[derive(Debug, Default)]
pub struct Forwards {
    cursor: Option<SessionId>,
    index: usize,
    count: usize,
}

impl Forwards {
    /// The list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sessions, each with its pod, what it is, and its port.
    fn all(data: &dyn Data) -> Vec<(Info, PodTarget, &'static str, String)> {
        let only = |info: Info| match info.spec.clone() {
            Spec::Forward(spec) => Some((info, spec.target, "forward", spec.port.to_string())),
            Spec::Exec(spec) if spec.commands.is_empty() => Some((info, spec.target, "attach", "-".to_owned())),
            Spec::Exec(spec) => Some((info, spec.target, "shell", "-".to_owned())),
            Spec::Logs(spec) => Some((info, spec.sources.into_iter().next()?, "log", "-".to_owned())),
        };
        data.sessions().into_iter().filter_map(only).collect()
    }

    fn move_to(&mut self, data: &dyn Data, index: usize) {
        let all = Self::all(data);
        self.count = all.len();
        self.index = index.min(all.len().saturating_sub(1));
        self.cursor = all.get(self.index).map(|(info, ..)| info.id);
    }

    fn current(&self, data: &dyn Data) -> Result<Info> {
        let id = self.cursor.ok_or_else(|| Error::usage("there are no sessions"))?;
        data.session(id).ok_or_else(|| Error::usage("this session has ended"))
    }
}

impl View for Forwards {
    fn title(&self) -> String {
        "sessions".into()
    }

    fn crumbs(&self) -> Vec<String> {
        vec!["sessions".into()]
    }

    fn status(&self, _data: &dyn Data) -> String {
        self.count.to_string()
    }

    fn scopes(&self) -> Vec<Scope> {
        vec!["forwards", "table"]
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("view.enter", "open"),
            ("text.copy", "copy URL"),
            ("forward.stop", "stop"),
            ("view.back", "back"),
        ]
    }

    fn sync(&mut self, data: &dyn Data) {
        let at = Self::all(data)
            .iter()
            .position(|(info, ..)| Some(info.id) == self.cursor);
        self.move_to(data, at.unwrap_or(self.index));
    }

    fn command(&mut self, command: &ViewCommand, data: &dyn Data) -> Result<Reply> {
        // Whole screens of sessions are rare: a page is more than there are.
        const PAGE: usize = 20;
        match command {
            ViewCommand::Move(motion) => {
                self.move_to(data, motion.apply(self.index, PAGE));
                Ok(Reply::Done)
            }
            ViewCommand::Stop => {
                let id = self.current(data)?.id.0.to_string();
                Ok(Reply::Run(Line::with("session.close", [id, "--ask".into()])))
            }
            ViewCommand::Browse | ViewCommand::Enter => {
                let info = self.current(data)?;
                Ok(Reply::Run(match info.spec {
                    Spec::Forward(_) => Line::with("url.open", [url(&info)?]),
                    _ => Line::with("session.show", [info.id.0.to_string()]),
                }))
            }
            ViewCommand::Copy => Ok(Reply::Run(Line::with("clipboard.set", [url(&self.current(data)?)?]))),
            _ => Err(not_here("this")),
        }
    }

    fn tick(&self, _data: &dyn Data) -> Option<Duration> {
        (self.count > 0).then_some(Duration::from_secs(1))
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let all = Self::all(look.data);
        if all.is_empty() {
            let base = look.theme.style(Role::Text).patch(look.theme.style(Role::Dim));
            let keys = look.keymap.key_for(&["pods"], "pod.forward").unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|chord| chord.label()).collect();
            let note = format!("no sessions: {} on a pod opens one", keys.join(" "));
            put(buf, area.x + 4, area.y + 3, area.right(), &note, base);
            return;
        }
        let name = |title: &str, wanted: usize, rank| ColumnSpec::new(title, wanted.min(60), rank).cut(Cut::Middle, 6);
        let number = |title: &str, wanted, rank| ColumnSpec::new(title, wanted, rank).right();
        let local = |info: &Info| {
            info.local
                .map_or_else(|| "-".to_owned(), |local| format!("http://{local}"))
        };
        let pods = all
            .iter()
            .map(|(_, target, ..)| text::width(&target.pod))
            .max()
            .unwrap_or(8);
        let spaces = all
            .iter()
            .map(|(_, target, ..)| text::width(&target.namespace))
            .max()
            .unwrap_or(8);
        let state = |info: &Info| {
            let signs = look.theme.signs;
            match &info.status {
                Status::Opening => (signs.progress, Role::Progress, "opening".to_owned()),
                Status::Running if matches!(info.spec, Spec::Forward(_)) => {
                    (signs.good, Role::Good, "listening".to_owned())
                }
                Status::Running => (signs.good, Role::Good, "running".to_owned()),
                Status::Retrying(error) => (signs.warning, Role::Warning, error.line()),
                Status::Ended(_) => (signs.done, Role::Done, "ended".to_owned()),
                Status::Failed(error) => (signs.failed, Role::Failed, error.line()),
            }
        };
        let addresses = all.iter().map(|(info, ..)| local(info).len()).max();
        let contexts = all.iter().map(|(info, ..)| text::width(&info.context)).max();
        let states = all.iter().map(|(info, ..)| text::width(&state(info).2) + 2).max();
        let specs = [
            // Half an address is none.
            ColumnSpec::new("LOCAL", addresses.unwrap_or(8), 0),
            name("WHAT", 7, 0),
            name("CONTEXT", contexts.unwrap_or(8), 3),
            name("NAMESPACE", spaces, 3),
            name("POD", pods, 0),
            number("PORT", 5, 0),
            // Neither is half a reason.
            ColumnSpec::new("STATUS", states.unwrap_or(8), 0),
            number("OPEN", 4, 4),
            number("IN", 7, 2),
            number("OUT", 7, 2),
            number("AGE", 6, 5),
        ];
        let widths = fit(&specs, area.width);
        let now = look.data.now();
        let rows = all.iter().map(|(info, target, what, port)| {
            let (sign, role, word) = state(info);
            let plain = |text: String| TableCell::new(text);
            TableRow {
                cells: vec![
                    plain(local(info)),
                    plain((*what).to_owned()),
                    plain(text::clean(&info.context).into_owned()),
                    plain(target.namespace.to_string()),
                    plain(target.pod.to_string()),
                    plain(port.clone()),
                    plain(text::clean(&word).into_owned()),
                    plain(info.connections.to_string()),
                    plain(text::bytes(info.received)),
                    plain(text::bytes(info.sent)),
                    plain(text::age(info.since, now)),
                ],
                spine: Some((sign, role)),
                cursor: Some(info.id) == self.cursor,
                marked: false,
                role: None,
            }
        });
        table(area, buf, look.theme, &specs, &widths, None, rows);
    }
}

/// Where a port-forward listens.
fn url(info: &Info) -> Result<String> {
    let local = info.local.ok_or_else(|| Error::usage("it does not listen yet"))?;
    Ok(format!("http://{local}/"))
}
