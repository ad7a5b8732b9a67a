//! What a view may be told. The registry of commands gives each its name, its arguments and the scopes in which it means something.

/// A command to a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewCommand {
    /// Move the cursor, or scroll.
    Move(Motion),
    /// Open what is under the cursor.
    Enter,
    /// Mark the object under the cursor, or unmark it.
    Mark,
    /// Mark everything shown.
    MarkAll,
    /// Unmark everything.
    MarkClear,
    /// Show only what matches.
    Filter(String),
    /// The typing of a filter is over.
    FilterKeep,
    /// Search for a text.
    Search(String),
    /// Go to the next match.
    SearchNext,
    /// Go to the match before.
    SearchPrevious,
    /// Sort by this column; again reverses.
    Sort(String),
    /// Show more columns, or fewer.
    Wide,
    /// Show only what needs attention, or everything.
    Faults,
    /// Show a label as a column, or hide it.
    Label(String),
    /// Wrap long lines, or do not.
    Wrap,
    /// Copy the whole text.
    Copy,
    /// Copy the whole table, or write it to a new file.
    Export(Format, Option<String>),
    /// Show or mask the values of a secret.
    Reveal,
    /// Pause a log, or follow it.
    Follow,
    /// Show timestamps, or hide them.
    Timestamps,
    /// Hide the lines so far.
    Clear,
    /// Show the lines around those that match, or more of them.
    Context,
    /// Save the log to a new file.
    Save(Option<String>),
    /// Show the log of the instance before, or of this one.
    Previous,
    /// Show the log of another container.
    Container,
    /// Stop the session under the cursor.
    Stop,
    /// Open the port-forward under the cursor in the browser.
    Browse,
}

/// Where a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// A line down.
    Down,
    /// A line up.
    Up,
    /// A page down.
    PageDown,
    /// A page up.
    PageUp,
    /// Half a page down.
    HalfDown,
    /// Half a page up.
    HalfUp,
    /// To the first line.
    First,
    /// To the last line.
    Last,
    /// To the left.
    Left,
    /// To the right.
    Right,
}

/// How a table is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values (RFC 4180), with a header.
    Csv,
    /// A JSON array of objects, one per row, by column.
    Json,
}

impl Motion {
    /// Where a cursor at `index` goes, when a page has `page` lines. Beyond the end is up to the view.
    pub fn apply(self, index: usize, page: usize) -> usize {
        match self {
            Motion::Down => index + 1,
            Motion::Up => index.saturating_sub(1),
            Motion::PageDown => index + page,
            Motion::PageUp => index.saturating_sub(page),
            Motion::HalfDown => index + page / 2,
            Motion::HalfUp => index.saturating_sub(page / 2),
            Motion::First => 0,
            Motion::Last => usize::MAX,
            Motion::Left | Motion::Right => index,
        }
    }

    /// By how many lines a text scrolls whose pages have `page` lines; `None` for its ends and its sides.
    pub fn lines(self, page: usize) -> Option<isize> {
        let page = isize::try_from(page).unwrap_or(isize::MAX);
        match self {
            Motion::Down => Some(1),
            Motion::Up => Some(-1),
            Motion::PageDown => Some(page),
            Motion::PageUp => Some(-page),
            Motion::HalfDown => Some(page / 2),
            Motion::HalfUp => Some(-(page / 2)),
            Motion::First | Motion::Last | Motion::Left | Motion::Right => None,
        }
    }
}
