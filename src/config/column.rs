//! The columns that the user wants a kind's table to have.

use crate::text::JsonPath;

/// One column of the user's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnChoice {
    /// Its title, upper case: that of one of the table's own columns, unless there is a path.
    pub title: String,
    /// Where its cells come from in an object.
    pub path: Option<JsonPath>,
}

impl ColumnChoice {
    /// Reads `STATUS`, one of the table's own, or `IMAGE:.spec.containers[*].image`, as `kubectl get -o custom-columns` has it.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (title, path) = match text.split_once(':') {
            Some((title, path)) => (title, Some(JsonPath::parse(path)?)),
            None => (text, None),
        };
        let title = title.trim().to_uppercase();
        match title.is_empty() {
            true => Err(format!("{text:?} has no title: write TITLE or TITLE:.path")),
            false => Ok(Self { title, path }),
        }
    }
}
