//! The filter a user types at `/`.

use crate::error::Result;
use crate::store::Row;

/// A parsed filter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    text: String,
}

impl Filter {
    /// Parses what the user typed; `columns` are the kind's column titles, for `column:value` terms.
    pub fn parse(text: &str, _columns: &[&str]) -> Result<Self> {
        Ok(Self { text: text.to_lowercase() })
    }

    /// Whether the row stays.
    pub fn keeps(&self, row: &Row) -> bool {
        self.text.is_empty() || row.id.name.contains(&self.text)
    }
}
