//! Moving about: cursors, marks, filters, searches, tabs.

use crate::action::{self, Action};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::state::Cx;
use crate::view::overlay::{Mode, Prompt};

pub(super) const DOWN: Action = Action::of_view("cursor.down", "", "Move down");
pub(super) const UP: Action = Action::of_view("cursor.up", "", "Move up");
pub(super) const PAGE_DOWN: Action = Action::of_view("cursor.page-down", "", "Move down by a page");
pub(super) const PAGE_UP: Action = Action::of_view("cursor.page-up", "", "Move up by a page");
pub(super) const HALF_DOWN: Action = Action::of_view("cursor.half-down", "", "Move down by half a page");
pub(super) const HALF_UP: Action = Action::of_view("cursor.half-up", "", "Move up by half a page");
pub(super) const FIRST: Action = Action::of_view("cursor.first", "", "Go to the first line");
pub(super) const LAST: Action = Action::of_view("cursor.last", "", "Go to the last line");
pub(super) const LEFT: Action = Action::of_view("cursor.left", "", "Scroll left");
pub(super) const RIGHT: Action = Action::of_view("cursor.right", "", "Scroll right");
pub(super) const ENTER: Action = Action::new("view.enter", "", "Open what is under the cursor", enter);
pub(super) const BACK: Action = Action::new("view.back", "", "Go one step back", back);
pub(super) const CLOSE: Action = Action::new(
    "view.close",
    "",
    "Close the view; the last one leaves the program",
    close,
);
pub(super) const MARK: Action = Action::of_view("mark.toggle", "", "Mark the object, or unmark it");
pub(super) const MARK_ALL: Action = Action::of_view("mark.all", "", "Mark everything shown");
pub(super) const MARK_CLEAR: Action = Action::of_view("mark.clear", "", "Unmark everything");
pub(super) const FILTER: Action = Action::new("filter.open", "", "Filter what is shown while typing", filter);
pub(super) const FILTER_SET: Action = Action::of_view("filter.set", "TEXT", "Show only what matches");
pub(super) const FILTER_KEEP: Action = Action::new("filter.keep", "", "Keep what was typed as a filter", filter_keep);
pub(super) const SEARCH: Action = Action::new("search.open", "", "Search while typing", search);
pub(super) const SEARCH_SET: Action = Action::of_view("search.set", "TEXT", "Search for a text");
pub(super) const SEARCH_NEXT: Action = Action::of_view("search.next", "", "Go to the next match");
pub(super) const SEARCH_PREVIOUS: Action = Action::of_view("search.previous", "", "Go to the previous match");
pub(super) const SORT: Action = Action::of_view("table.sort", "COLUMN", "Sort by a column; again reverses");
pub(super) const WIDE: Action = Action::of_view("table.wide", "", "Show more columns, or fewer");
pub(super) const FAULTS: Action = Action::of_view("table.faults", "", "Show only what needs attention");
pub(super) const LABEL_COLUMN: Action = Action::of_view("table.label", "KEY", "Show a label as a column, or hide it");
pub(super) const PREVIEW: Action = Action::of_view("preview.toggle", "", "Show or hide the preview pane");
pub(super) const WRAP: Action = Action::of_view("text.wrap", "", "Wrap long lines, or do not");
pub(super) const COPY_TEXT: Action = Action::of_view("text.copy", "", "Copy the whole text");
pub(super) const REVEAL: Action = Action::of_view("yaml.reveal", "", "Show or mask the values of a secret");
pub(super) const LOG_FOLLOW: Action = Action::of_view("logs.follow", "", "Pause the log, or follow it");
pub(super) const LOG_TIMESTAMPS: Action = Action::of_view("logs.timestamps", "", "Show timestamps, or hide them");
pub(super) const LOG_WRAP: Action = Action::of_view("logs.wrap", "", "Wrap long log lines, or do not");
pub(super) const LOG_CLEAR: Action = Action::of_view("logs.clear", "", "Hide the lines so far");
pub(super) const LOG_SAVE: Action = Action::of_view("logs.save", "[PATH]", "Save the log to a file");
pub(super) const LOG_PREVIOUS: Action = Action::of_view(
    "logs.previous",
    "",
    "Show the log of the instance before, or of this one",
);
pub(super) const LOG_CONTAINER: Action = Action::of_view("logs.container", "", "Show the log of another container");
pub(super) const FORWARD_STOP: Action = Action::of_view("forward.stop", "", "Stop the port-forward");
pub(super) const FORWARD_BROWSE: Action = Action::of_view("forward.browse", "", "Open the port-forward in the browser");
pub(super) const TAB_NEXT: Action = Action::new("tab.next", "", "Go to the next tab", tab_next);
pub(super) const TAB_PREVIOUS: Action = Action::new("tab.previous", "", "Go to the previous tab", tab_previous);
pub(super) const TAB_LAST: Action = Action::new("tab.last", "", "Go to the tab shown before", tab_last);
pub(super) const TAB_GO: Action = Action::new("tab.go", "NUMBER", "Go to a tab by its number", tab_go);
pub(super) const TAB_CLOSE: Action = Action::new("tab.close", "", "Close the tab and what runs in it", tab_close);

/// Hands the line to the focused view, and runs what the view answers with.
pub(super) fn view_command(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    match cx.view_command(line)? {
        Some(next) if next.name != line.name => action::run(cx, &next),
        _ => Ok(()),
    }
}

fn enter(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    // A view that knows what Enter means says so; the table leaves it to the kind.
    match cx.view_command(line) {
        Ok(Some(next)) if next.name != line.name => action::run(cx, &next),
        Ok(_) => Ok(()),
        Err(_) => super::open::drill(cx),
    }
}

fn back(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    if !cx.state.view().search().is_empty() {
        let clear = Line::with("filter.set", [""]);
        return view_command(cx, &clear);
    }
    cx.back()
}

fn close(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    if cx.state.tabs[cx.state.tab].views.len() > 1 || cx.state.tab > 0 {
        return cx.back();
    }
    super::program::leave(cx, line)
}

fn live(cx: &mut Cx<'_>, action: &'static str) -> Result<()> {
    let before = cx.state.view().search().to_owned();
    // A view that cannot filter says so now rather than at the first letter.
    let again = Line::with(action, [before.clone()]);
    cx.view_command(&again)?;
    let prompt = Prompt::new(
        Mode::Live {
            action,
            before: before.clone(),
        },
        &before,
        Vec::new(),
        no_candidates,
        cx.data,
    );
    cx.overlay(prompt, Vec::new());
    Ok(())
}

fn no_candidates(_text: &str, _data: &dyn crate::view::Data) -> Vec<crate::view::overlay::Candidate> {
    Vec::new()
}

fn filter(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    live(cx, "filter.set")
}

/// Most views need not know that the typing is over.
fn filter_keep(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let _ = cx.view_command(line);
    Ok(())
}

fn search(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    live(cx, "search.set")
}

fn tab_next(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let count = cx.state.tabs.len();
    cx.go_tab((cx.state.tab + 1) % count);
    Ok(())
}

fn tab_previous(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let count = cx.state.tabs.len();
    cx.go_tab((cx.state.tab + count - 1) % count);
    Ok(())
}

fn tab_last(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.go_tab(cx.state.last_tab.min(cx.state.tabs.len() - 1));
    Ok(())
}

fn tab_go(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let count = cx.state.tabs.len();
    let number = line
        .first()
        .and_then(|text| text.parse::<usize>().ok())
        .filter(|number| (1..=count).contains(number));
    let number = number.ok_or_else(|| Error::usage(format!("there are tabs 1 to {count}")))?;
    cx.go_tab(number - 1);
    Ok(())
}

fn tab_close(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    cx.close_tab()
}
