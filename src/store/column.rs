//! Columns: what the cells of a row are called, and how much room they want.

use std::borrow::Cow;

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Header, upper case, as `kubectl get` has it.
    pub title: Cow<'static, str>,
    /// Numbers, ratios and ages stand on the right.
    pub right: bool,
    /// Narrowest useful width in columns.
    pub min: u16,
    /// 0 is always shown; the highest goes first when the terminal is narrow.
    pub rank: u8,
    /// Only shown in wide tables.
    pub wide: bool,
}

impl Column {
    /// A text column.
    pub const fn text(title: &'static str, min: u16, rank: u8) -> Self {
        Self {
            title: Cow::Borrowed(title),
            right: false,
            min,
            rank,
            wide: false,
        }
    }

    /// A right-aligned column.
    pub const fn number(title: &'static str, min: u16, rank: u8) -> Self {
        let mut column = Self::text(title, min, rank);
        column.right = true;
        column
    }

    /// The same column, shown in wide tables only.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.wide = true;
        self
    }
}
