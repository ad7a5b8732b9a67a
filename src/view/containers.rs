//! The containers of one pod, live: logs, shells and forwards started here are of the one under the cursor.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::browser::{sign, table_cell};
use super::{Data, Input, Look, MouseKind, Reply, Target, View, ViewCommand, not_here};
use crate::cluster::ClusterId;
use crate::error::Result;
use crate::keys::{Line, Scope};
use crate::kind::{self, CONTAINER_COLUMNS, ContainerRow};
use crate::store::{Cell, FeedState, Health, Need, Query};
use crate::text;
use crate::theme::Role;
use crate::widget::{ColumnSpec, Cut, TableRow, fit, put, table};

/// The containers of a pod.
#[derive(Debug)]
pub struct Containers {
    pod: Target,
    rows: Vec<ContainerRow>,
    /// The name of the container under the cursor.
    cursor: Option<String>,
    index: usize,
    top: usize,
    gone: bool,
    area: Rect,
}

impl Containers {
    /// The containers of a pod.
    pub fn new(pod: Target, data: &dyn Data) -> Self {
        let mut view = Self {
            pod,
            rows: Vec::new(),
            cursor: None,
            index: 0,
            top: 0,
            gone: false,
            area: Rect::default(),
        };
        view.read();
        // What is looked for is hardly an init container that has done its part.
        let first = view.rows.iter().position(|row| row.health != Health::Done);
        view.move_to(first.unwrap_or(0));
        view.sync(data);
        view
    }

    fn need(&self) -> Need {
        Need::all(Query::object(self.pod.resource.clone(), &self.pod.id))
    }

    fn read(&mut self) {
        self.rows = kind::containers(&self.pod.object.value());
    }

    fn move_to(&mut self, index: usize) {
        self.index = index.min(self.rows.len().saturating_sub(1));
        self.cursor = self.rows.get(self.index).map(|row| row.name.clone());
        let page = usize::from(self.area.height.saturating_sub(1)).max(1);
        self.top = self.top.min(self.index).max((self.index + 1).saturating_sub(page));
        self.top = self.top.min(self.rows.len().saturating_sub(page));
    }

    fn specs(&self, now: Timestamp) -> Vec<ColumnSpec> {
        let spec = |(at, column): (usize, &crate::store::Column)| {
            let widths = self.rows.iter().map(|row| match &row.cells[at] {
                Cell::Empty => 0,
                Cell::Counted(count, _) => count.to_string().len(),
                cell => text::width(&cell.show(now)),
            });
            let widest = widths.max().unwrap_or(0);
            let empty = widest == 0;
            let spec = ColumnSpec::new(column.title.to_string(), widest, column.rank);
            let spec = match &*column.title {
                "NAME" | "IMAGE" => spec.cut(Cut::Middle, column.min),
                "RESTARTS" => ColumnSpec {
                    brief: Some("R"),
                    ..spec
                },
                _ if column.right => spec,
                _ => spec.cut(Cut::End, column.min),
            };
            // A column with nothing in it does not come.
            ColumnSpec {
                right: column.right,
                spare: empty && column.rank > 2,
                ..spec
            }
        };
        CONTAINER_COLUMNS.iter().enumerate().map(spec).collect()
    }
}

impl View for Containers {
    fn title(&self) -> String {
        format!("containers:{}", self.pod.id.name)
    }

    fn crumbs(&self) -> Vec<String> {
        let namespace = self.pod.id.namespace().map(str::to_owned);
        let rest = ["pods".to_owned(), self.pod.id.name.to_string(), "containers".to_owned()];
        namespace.into_iter().chain(rest).collect()
    }

    fn status(&self, _data: &dyn Data) -> String {
        match self.rows.len() {
            0 => "0".to_owned(),
            count => format!("{}/{count}", self.index + 1),
        }
    }

    fn scopes(&self) -> Vec<Scope> {
        vec!["containers", "pods", "describe", "table"]
    }

    fn hints(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("view.enter", "logs"),
            ("pod.shell", "shell"),
            ("pod.forward", "forward"),
            ("object.describe", "describe"),
            ("object.why", "why"),
            ("object.edit", "edit"),
            ("view.back", "back"),
            ("command.open", "command"),
            ("help.open", "help"),
        ]
    }

    fn targets(&self, _data: &dyn Data) -> Vec<Target> {
        vec![self.pod.clone()]
    }

    fn container(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    fn cluster(&self) -> Option<ClusterId> {
        Some(self.pod.id.cluster)
    }

    fn focus(&self) -> Option<u16> {
        let line = u16::try_from(self.index.checked_sub(self.top)?).ok()?;
        Some(self.area.y + 1 + line).filter(|row| *row < self.area.bottom())
    }

    fn needs(&self) -> Vec<Need> {
        vec![self.need()]
    }

    fn sync(&mut self, data: &dyn Data) {
        let listing = data.listing(&self.need());
        let row = listing.find(&self.pod.id);
        self.gone = listing.state == FeedState::Live && row.is_none();
        if let Some(row) = row {
            self.pod.object = row.object.clone();
            self.read();
        }
        let at = self.rows.iter().position(|row| Some(&row.name) == self.cursor.as_ref());
        self.move_to(at.unwrap_or(self.index));
    }

    fn layout(&mut self, area: Rect, _data: &dyn Data) -> Reply {
        self.area = area;
        self.move_to(self.index);
        Reply::Done
    }

    fn on(&mut self, input: &Input, _data: &dyn Data) -> Reply {
        let Input::Mouse(mouse) = input else {
            return Reply::Ignored;
        };
        match mouse.kind {
            MouseKind::WheelDown => self.move_to(self.index + 1),
            MouseKind::WheelUp => self.move_to(self.index.saturating_sub(1)),
            MouseKind::Click if mouse.row > self.area.y => {
                let index = self.top + usize::from(mouse.row - self.area.y - 1);
                if index == self.index {
                    return Reply::Run(Line::bare("view.enter"));
                }
                if index < self.rows.len() {
                    self.move_to(index);
                }
            }
            _ => return Reply::Ignored,
        }
        Reply::Done
    }

    fn command(&mut self, command: &ViewCommand, _data: &dyn Data) -> Result<Reply> {
        let page = usize::from(self.area.height).max(3) - 2;
        match (command, &self.cursor) {
            (ViewCommand::Move(motion), _) => self.move_to(motion.apply(self.index, page)),
            (ViewCommand::Enter, Some(_)) => return Ok(Reply::Run(Line::bare("pod.logs"))),
            _ => return Err(not_here("this")),
        }
        Ok(Reply::Done)
    }

    fn tick(&self, data: &dyn Data) -> Option<Duration> {
        let cells = self.rows.iter().flat_map(|row| &row.cells);
        super::tick::until_age(cells, data.now())
    }

    fn draw(&self, area: Rect, buf: &mut Buffer, look: &Look<'_>) {
        let now = look.data.now();
        let specs = self.specs(now);
        let widths = fit(&specs, area.width.saturating_sub(1));
        let rows = self.rows.iter().enumerate().skip(self.top).map(|(at, row)| TableRow {
            cells: row
                .cells
                .iter()
                .map(|cell| table_cell(row.health, cell, look.theme, now))
                .collect(),
            spine: Some(sign(row.health, look.theme)),
            cursor: at == self.index,
            marked: false,
            role: (row.health == Health::Done || self.gone).then_some(Role::Dim),
        });
        table(area, buf, look.theme, &specs, &widths, None, rows);
        if self.gone {
            let y = area.y + 2 + self.rows.len() as u16;
            let note = format!(
                "{} the pod is gone: above is how it was last seen",
                look.theme.signs.warning
            );
            let style = look.theme.style(Role::Text).patch(look.theme.style(Role::Warning));
            if y < area.bottom() {
                put(buf, area.x + 4, y, area.right(), &note, style);
            }
        }
    }
}
