//! Moving about: cursors, marks, filters, searches, tabs.

use crate::action::{self, Argument, Command, Type};
use crate::error::{Error, Result};
use crate::keys::{Line, Scope};
use crate::state::Cx;
use crate::view::overlay::{Mode, Prompt};
use crate::view::{Format, Motion, ViewCommand};

/// Where a cursor moves.
const MOVING: &[Scope] = &["table", "text", "logs", "preview"];
/// Where one searches.
const TEXTS: &[Scope] = &["text", "logs"];
/// Where one goes sideways: along a line, or into a fold and out of it.
const SIDEWAYS: &[Scope] = &["objects", "outline", "text", "logs"];
/// Where what is shown can be narrowed.
const FILTERED: &[Scope] = &["objects", "outline", "labels", "text", "logs"];
/// Tables of objects of the cluster.
const OBJECTS: &[Scope] = &["objects"];

/// A motion.
const fn motion(name: &'static str, doc: &'static str, run: fn(&Line) -> Result<ViewCommand>) -> Command {
    Command::of_view(name, &[], doc, MOVING, run)
}

pub(super) const DOWN: Command = motion("cursor.down", "Move down", |_| Ok(ViewCommand::Move(Motion::Down)));
pub(super) const UP: Command = motion("cursor.up", "Move up", |_| Ok(ViewCommand::Move(Motion::Up)));
pub(super) const PAGE_DOWN: Command = motion("cursor.page-down", "Move down by a page", |_| {
    Ok(ViewCommand::Move(Motion::PageDown))
});
pub(super) const PAGE_UP: Command = motion("cursor.page-up", "Move up by a page", |_| {
    Ok(ViewCommand::Move(Motion::PageUp))
});
pub(super) const HALF_DOWN: Command = motion("cursor.half-down", "Move down by half a page", |_| {
    Ok(ViewCommand::Move(Motion::HalfDown))
});
pub(super) const HALF_UP: Command = motion("cursor.half-up", "Move up by half a page", |_| {
    Ok(ViewCommand::Move(Motion::HalfUp))
});
pub(super) const FIRST: Command = motion("cursor.first", "Go to the first line", |_| {
    Ok(ViewCommand::Move(Motion::First))
});
pub(super) const LAST: Command = motion("cursor.last", "Go to the last line", |_| {
    Ok(ViewCommand::Move(Motion::Last))
});
pub(super) const LEFT: Command = Command::of_view("cursor.left", &[], "Scroll left, or fold", SIDEWAYS, |_| {
    Ok(ViewCommand::Move(Motion::Left))
});
pub(super) const RIGHT: Command = Command::of_view("cursor.right", &[], "Scroll right, or unfold", SIDEWAYS, |_| {
    Ok(ViewCommand::Move(Motion::Right))
});
pub(super) const ENTER: Command =
    Command::new("view.enter", &[], "Open what is under the cursor", enter).only(&["table"]);
pub(super) const BACK: Command = Command::new("view.back", &[], "Go one step back", back);
pub(super) const CLOSE: Command = Command::new(
    "view.close",
    &[],
    "Close the view; the last one leaves the program",
    close,
);
pub(super) const MARK: Command = Command::of_view("mark.toggle", &[], "Mark the object, or unmark it", OBJECTS, |_| {
    Ok(ViewCommand::Mark)
});
pub(super) const MARK_ALL: Command = Command::of_view("mark.all", &[], "Mark everything shown", OBJECTS, |_| {
    Ok(ViewCommand::MarkAll)
});
pub(super) const MARK_CLEAR: Command = Command::of_view("mark.clear", &[], "Unmark everything", OBJECTS, |_| {
    Ok(ViewCommand::MarkClear)
});
pub(super) const FILTER: Command =
    Command::new("filter.open", &[], "Filter what is shown while typing", filter).only(FILTERED);
pub(super) const FILTER_SET: Command = Command::of_view(
    "filter.set",
    &[Argument::many(Type::Filter)],
    "Show only what matches",
    FILTERED,
    |line| Ok(ViewCommand::Filter(line.args.join(" "))),
);
pub(super) const FILTER_KEEP: Command =
    Command::new("filter.keep", &[], "Keep what was typed as a filter", filter_keep);
pub(super) const SEARCH: Command = Command::new("search.open", &[], "Search while typing", search).only(TEXTS);
pub(super) const SEARCH_SET: Command = Command::of_view(
    "search.set",
    &[Argument::many(Type::Filter)],
    "Search for a text",
    TEXTS,
    |line| Ok(ViewCommand::Search(line.args.join(" "))),
);
pub(super) const SEARCH_NEXT: Command = Command::of_view("search.next", &[], "Go to the next match", TEXTS, |_| {
    Ok(ViewCommand::SearchNext)
});
pub(super) const SEARCH_PREVIOUS: Command =
    Command::of_view("search.previous", &[], "Go to the previous match", TEXTS, |_| {
        Ok(ViewCommand::SearchPrevious)
    });
pub(super) const SORT: Command = Command::of_view(
    "table.sort",
    &[Argument::required(Type::Column)],
    "Sort by a column; again reverses",
    OBJECTS,
    |line| given(line, "sort by which column?").map(ViewCommand::Sort),
)
.aliases(&["sort"]);
pub(super) const WIDE: Command = Command::of_view("table.wide", &[], "Show more columns, or fewer", OBJECTS, |_| {
    Ok(ViewCommand::Wide)
});
pub(super) const FAULTS: Command =
    Command::of_view("table.faults", &[], "Show only what needs attention", OBJECTS, |_| {
        Ok(ViewCommand::Faults)
    });
pub(super) const LABEL_COLUMN: Command = Command::of_view(
    "table.label",
    &[Argument::required(Type::LabelKey)],
    "Show a label as a column, or hide it",
    OBJECTS,
    |line| given(line, "which label's column?").map(ViewCommand::Label),
);
pub(super) const EXPORT: Command = Command::of_view(
    "table.export",
    &[
        Argument::optional(Type::Path),
        Argument::option("--format", Type::Choice(&["csv", "json"])),
    ],
    "Write the table to a new .csv or .json file, or to the clipboard",
    OBJECTS,
    export,
)
.aliases(&["export"]);
pub(super) const WRAP: Command = Command::of_view("text.wrap", &[], "Wrap long lines, or do not", TEXTS, |_| {
    Ok(ViewCommand::Wrap)
});
pub(super) const COPY_TEXT: Command = Command::of_view(
    "text.copy",
    &[],
    "Copy the whole text",
    &["text", "logs", "forwards"],
    |_| Ok(ViewCommand::Copy),
);
pub(super) const REVEAL: Command = Command::of_view(
    "yaml.reveal",
    &[],
    "Show or mask the values of a secret",
    &["yaml"],
    |_| Ok(ViewCommand::Reveal),
);
/// The log view.
const LOG: &[Scope] = &["logs"];
pub(super) const LOG_FOLLOW: Command = Command::of_view("logs.follow", &[], "Pause the log, or follow it", LOG, |_| {
    Ok(ViewCommand::Follow)
});
pub(super) const LOG_TIMESTAMPS: Command =
    Command::of_view("logs.timestamps", &[], "Show timestamps, or hide them", LOG, |_| {
        Ok(ViewCommand::Timestamps)
    });
pub(super) const LOG_CLEAR: Command = Command::of_view("logs.clear", &[], "Hide the lines so far", LOG, |_| {
    Ok(ViewCommand::Clear)
});
pub(super) const LOG_CONTEXT: Command = Command::of_view(
    "logs.context",
    &[],
    "Show the lines around those that match too: none, 3, or 10",
    LOG,
    |_| Ok(ViewCommand::Context),
);
pub(super) const LOG_SAVE: Command = Command::of_view(
    "logs.save",
    &[Argument::optional(Type::Path)],
    "Save the log to a file",
    LOG,
    |line| Ok(ViewCommand::Save(line.first().map(str::to_owned))),
);
pub(super) const LOG_PREVIOUS: Command = Command::of_view(
    "logs.previous",
    &[],
    "Show the log of the instance before, or of this one",
    LOG,
    |_| Ok(ViewCommand::Previous),
);
pub(super) const LOG_CONTAINER: Command =
    Command::of_view("logs.container", &[], "Show the log of another container", LOG, |_| {
        Ok(ViewCommand::Container)
    });
pub(super) const FORWARD_STOP: Command =
    Command::of_view("forward.stop", &[], "Stop the port-forward", &["forwards"], |_| {
        Ok(ViewCommand::Stop)
    });
pub(super) const FORWARD_BROWSE: Command = Command::of_view(
    "forward.browse",
    &[],
    "Open the port-forward in the browser",
    &["forwards"],
    |_| Ok(ViewCommand::Browse),
);
pub(super) const TAB_NEXT: Command = Command::new("tab.next", &[], "Go to the next tab", tab_next);
pub(super) const TAB_PREVIOUS: Command = Command::new("tab.previous", &[], "Go to the previous tab", tab_previous);
pub(super) const TAB_LAST: Command = Command::new("tab.last", &[], "Go to the tab shown before", tab_last);
pub(super) const TAB_GO: Command = Command::new(
    "tab.go",
    &[Argument::required(Type::Number)],
    "Go to a tab by its number",
    tab_go,
);
pub(super) const TAB_CLOSE: Command = Command::new("tab.close", &[], "Close the tab and what runs in it", tab_close);

fn given(line: &Line, question: &str) -> Result<String> {
    line.first().map(str::to_owned).ok_or_else(|| Error::usage(question))
}

fn export(line: &Line) -> Result<ViewCommand> {
    let path = line.first().map(str::to_owned);
    let by_name = path
        .as_deref()
        .and_then(|path| path.rsplit_once('.'))
        .map(|(_, end)| end);
    match line.value("--format").or(by_name).unwrap_or("csv") {
        "csv" => Ok(ViewCommand::Export(Format::Csv, path)),
        "json" => Ok(ViewCommand::Export(Format::Json, path)),
        other => Err(Error::usage(format!("{other:?} is not a format of tables")).hint("choose csv or json")),
    }
}

fn enter(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    // A view that knows what Enter means says so; the table leaves it to the kind.
    match cx.view_command(&ViewCommand::Enter) {
        Ok(Some(next)) if next.name != line.name => action::run(cx, &next),
        Ok(_) => Ok(()),
        Err(_) => super::open::drill(cx),
    }
}

fn back(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    if !cx.state.view().search().is_empty() {
        return action::run(cx, &Line::with("filter.set", [""]));
    }
    cx.back()
}

fn close(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let pane = cx.state.panes().focused();
    if pane.views.len() > 1 {
        return cx.back();
    }
    let id = pane.id;
    if cx.close_pane(id) {
        return Ok(());
    }
    if cx.state.tab > 0 {
        return cx.back();
    }
    super::program::leave(cx, line)
}

fn live(cx: &mut Cx<'_>, action: &'static str) -> Result<()> {
    let before = cx.state.view().search().to_owned();
    // A view that cannot filter says so now rather than at the first letter.
    action::run(cx, &Line::with(action, [before.clone()]))?;
    let prompt = Prompt::new(
        Mode::Live {
            action,
            before: before.clone(),
        },
        &before,
        Vec::new(),
        Box::new(|_, _| Vec::new()),
        cx.data,
    );
    cx.overlay(prompt, Vec::new());
    Ok(())
}

fn filter(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    live(cx, "filter.set")
}

/// Most views need not know that the typing is over.
fn filter_keep(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let _ = cx.view_command(&ViewCommand::FilterKeep);
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
