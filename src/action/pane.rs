//! Panes: splitting, going between them, their sizes, and the way back through what they showed.

use crate::action::{self, Argument, Command, Type};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::state::Cx;
use crate::view::{Browser, Direction, PaneId, View, Way};

pub(super) const SPLIT: Command = Command::new(
    "pane.split",
    &[
        Argument::optional(Type::Choice(&["columns", "rows"])),
        Argument::many(Type::Command),
    ],
    "Split the pane, and run a command in the new one",
    split,
);
pub(super) const FOCUS: Command = Command::new(
    "pane.focus",
    &[Argument::required(Type::Choice(&["left", "down", "up", "right"]))],
    "Go to the pane beside this one",
    focus,
);
pub(super) const NEXT: Command = Command::new("pane.next", &[], "Go to the next pane", next);
pub(super) const CLOSE: Command = Command::new("pane.close", &[], "Close the pane and what runs in it", close);
pub(super) const ONLY: Command = Command::new("pane.only", &[], "Close all other panes of the tab", only);
pub(super) const ZOOM: Command = Command::new(
    "pane.zoom",
    &[],
    "Give the pane all the place, or show the others again",
    zoom,
);
pub(super) const SWAP: Command = Command::new("pane.swap", &[], "Change places with the next pane", swap);
pub(super) const RESIZE: Command = Command::new(
    "pane.resize",
    &[Argument::required(Type::Choice(&[
        "wider", "narrower", "taller", "shorter",
    ]))],
    "Change the size of the pane",
    resize,
);
pub(super) const EVEN: Command = Command::new("pane.even", &[], "Give all panes the same place", even);
pub(super) const LEAVE: Command = Command::new(
    "pane.leave",
    &[],
    "Leave a terminal running: go to the next pane, else to the tab shown before",
    leave,
);
pub(super) const PREVIEW: Command =
    Command::new("preview.toggle", &[], "Show or hide the preview", preview).only(&["objects", "preview"]);
pub(super) const LOGS_BESIDE: Command = Command::new(
    "logs.beside",
    &[],
    "Show the logs below the table, which keeps the focus",
    logs_beside,
)
.only(&["pods"]);
pub(super) const HISTORY_BACK: Command =
    Command::new("history.back", &[], "Show what the pane showed before", history_back);
pub(super) const HISTORY_FORWARD: Command = Command::new(
    "history.forward",
    &[],
    "Show again what was left by going back",
    history_forward,
);

/// Cells by which a pane grows or shrinks at a time: columns, rows.
const STEP: (i16, i16) = (6, 2);

fn split(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let way = match line.first() {
        Some("columns") | None => Way::Columns,
        Some("rows") => Way::Rows,
        Some(other) => {
            return Err(Error::usage(format!(
                "a pane is split into columns or rows, not {other:?}"
            )));
        }
    };
    let given = line.args.get(1..).filter(|rest| !rest.is_empty());
    let again = match given {
        Some(rest) => Line::with("command.run", [rest.join(" ")]),
        None => opened(cx).unwrap_or_else(|| Line::with("view.open", ["pods"])),
    };
    beside(cx, way, &again)?;
    Ok(())
}

/// What opens again what the pane with the focus shows, or the one that it follows.
fn opened(cx: &Cx<'_>) -> Option<Line> {
    let panes = cx.state.panes();
    let leader = panes.focused().follows.and_then(|leader| panes.get(leader));
    cx.opens(leader.unwrap_or(panes.focused()))
}

/// Runs a line in a new pane, about what is meant in the old one.
fn beside(cx: &mut Cx<'_>, way: Way, line: &Line) -> Result<PaneId> {
    if cx.pinned.is_empty() {
        cx.pinned = cx.state.view().targets(cx.data);
    }
    let pods = cx.resource("pods")?;
    let place = cx.place();
    let old = cx.state.panes().focused().id;
    let new = cx.split(way, Box::new(Browser::new(pods, place)) as Box<dyn View>);
    if let Err(error) = action::run(cx, line) {
        cx.close_pane(new);
        cx.state.panes_mut().focus(old);
        return Err(error);
    }
    let pane = cx.state.panes_mut().focused_mut();
    if pane.id == new {
        // The table was there only to be covered.
        let spare = pane.views.len() - 1;
        pane.views.drain(..spare);
        pane.behind.clear();
    }
    Ok(new)
}

fn focus(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let direction = match line.first() {
        Some("left") => Direction::Left,
        Some("down") => Direction::Down,
        Some("up") => Direction::Up,
        Some("right") => Direction::Right,
        _ => return Err(Error::usage("go left, down, up or right?")),
    };
    match cx.state.panes_mut().go(direction) {
        true => moved(cx),
        false => Err(Error::usage("there is no pane in that direction")),
    }
}

/// Another pane has the focus. While one has all the place, that is another one now.
fn moved(cx: &mut Cx<'_>) -> Result<()> {
    cx.state.laid_out = false;
    Ok(())
}

fn next(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    match cx.state.panes_mut().focus_next() {
        true => moved(cx),
        false => Err(Error::usage("there is no other pane here")),
    }
}

fn close(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let id = cx.state.panes().focused().id;
    if cx.close_pane(id) {
        return Ok(());
    }
    cx.close_tab()
        .map_err(|_| Error::usage("this is the last pane of the last tab").hint("`:quit` leaves the program"))
}

fn only(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let panes = cx.state.panes();
    let kept = panes.focused().follows.unwrap_or(panes.focused().id);
    let others: Vec<PaneId> = panes
        .all()
        .iter()
        .filter(|pane| pane.id != kept && pane.follows.is_none())
        .map(|pane| pane.id)
        .collect();
    for other in others {
        cx.close_pane(other);
    }
    Ok(())
}

fn zoom(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.state.panes_mut().zoom();
    cx.state.laid_out = false;
    Ok(())
}

fn swap(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    match cx.state.panes_mut().swap() {
        true => moved(cx),
        false => Err(Error::usage("there is no other pane to change places with")),
    }
}

fn resize(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let (way, by) = match line.first() {
        Some("wider") => (Way::Columns, STEP.0),
        Some("narrower") => (Way::Columns, -STEP.0),
        Some("taller") => (Way::Rows, STEP.1),
        Some("shorter") => (Way::Rows, -STEP.1),
        _ => return Err(Error::usage("wider, narrower, taller or shorter?")),
    };
    match cx.state.panes_mut().resize(way, by) {
        true => moved(cx),
        false => Err(Error::usage("there is no pane on that side to take it from")),
    }
}

fn even(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.state.panes_mut().even();
    moved(cx)
}

fn leave(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    if cx.state.panes_mut().focus_next() {
        return moved(cx);
    }
    action::run(cx, &Line::bare("tab.last"))
}

fn preview(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let panes = cx.state.panes();
    let leader = panes.focused().follows.unwrap_or(panes.focused().id);
    if let Some(follower) = panes.follower(leader) {
        cx.close_pane(follower);
        return Ok(());
    }
    if !panes.focused().view().leads() {
        return Err(Error::usage("there is nothing here that a preview could follow"));
    }
    cx.preview();
    let panes = cx.state.panes();
    if let Some(follower) = panes.follower(leader).filter(|follower| !panes.has_room(*follower)) {
        cx.close_pane(follower);
        return Err(
            Error::usage("the preview needs 110 columns, or 34 rows below the table")
                .hint("describe the object instead"),
        );
    }
    Ok(())
}

fn logs_beside(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let table = cx.state.panes().focused().id;
    beside(cx, Way::Rows, &Line::bare("pod.logs"))?;
    if cx.state.layers.is_empty() {
        cx.state.panes_mut().focus(table);
    }
    Ok(())
}

fn history_back(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    travel(cx, true)
}

fn history_forward(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    travel(cx, false)
}

fn travel(cx: &mut Cx<'_>, back: bool) -> Result<()> {
    let here = opened(cx);
    let pane = cx.state.panes_mut().focused_mut();
    let (mut behind, mut ahead) = (std::mem::take(&mut pane.behind), std::mem::take(&mut pane.ahead));
    let (from, to) = if back {
        (&mut behind, &mut ahead)
    } else {
        (&mut ahead, &mut behind)
    };
    let wanted = from.pop();
    let done = match &wanted {
        Some(line) => {
            to.extend(here);
            action::run(cx, line)
        }
        None => Err(Error::usage(if back {
            "this pane has shown nothing before"
        } else {
            "nothing was left by going back"
        })),
    };
    let pane = cx.state.panes_mut().focused_mut();
    (pane.behind, pane.ahead) = (behind, ahead);
    done
}
