//! From objects to rows: what the kind, the server and the user want a table to show.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::config::ColumnChoice;
use crate::store::{Cell, Column, Object, Row, Seen};
use crate::text::JsonPath;

/// Makes one row, with the cells that the kind or the server gives.
pub type MakeRow = Arc<dyn Fn(&Arc<Object>, Seen<'_>) -> Row + Send + Sync>;

/// Makes the rows of one resource: the columns belong to the kinds, which the store does not know.
#[derive(Clone)]
pub struct RowMaker {
    /// The columns, in the order of a row's cells.
    pub columns: Arc<[Column]>,
    /// Whether the server is asked for a table: nothing better is known of the kind.
    pub tabular: bool,
    make: MakeRow,
    choices: Arc<[ColumnChoice]>,
    /// Where the cells of the chosen columns come from; none takes all as they are.
    picks: Arc<[Pick]>,
}

/// Where a chosen cell comes from.
#[derive(Clone, Debug)]
enum Pick {
    /// A cell of the kind's or the server's own.
    Own(usize),
    /// The object.
    Path(JsonPath),
    /// Nowhere: the table has no such column.
    Nowhere,
}

impl RowMaker {
    /// Rows of these columns.
    pub fn new(columns: impl Into<Arc<[Column]>>, tabular: bool, make: MakeRow) -> Self {
        Self {
            columns: columns.into(),
            tabular,
            make,
            choices: Arc::default(),
            picks: Arc::default(),
        }
    }

    /// The same rows, with the columns the user has chosen. The name always comes first.
    #[must_use]
    pub fn choosing(mut self, choices: Arc<[ColumnChoice]>) -> Self {
        self.choices = choices;
        let own = self.columns.clone();
        self.learn(own);
        self
    }

    /// Takes the columns that the server's table has.
    pub(super) fn learn(&mut self, own: Arc<[Column]>) {
        if self.choices.is_empty() {
            self.columns = own;
            return;
        }
        let name = own.first().cloned().map(|column| (column, Pick::Own(0)));
        let is_name = |title: &str| own.first().is_some_and(|column| column.title == title);
        let chosen = self
            .choices
            .iter()
            .filter(|choice| !is_name(&choice.title))
            .map(|choice| {
                let at = own.iter().position(|column| column.title == choice.title);
                match (&choice.path, at) {
                    (Some(path), _) => (chosen_column(choice), Pick::Path(path.clone())),
                    (None, Some(at)) => (shown(own[at].clone()), Pick::Own(at)),
                    (None, None) => (chosen_column(choice), Pick::Nowhere),
                }
            });
        let (columns, picks): (Vec<_>, Vec<_>) = name.into_iter().chain(chosen).unzip();
        (self.columns, self.picks) = (columns.into(), picks.into());
    }

    /// The row of an object, and how it was seen.
    pub fn row(&self, object: &Arc<Object>, seen: Seen<'_>) -> Row {
        let mut row = (self.make)(object, seen);
        if self.picks.is_empty() {
            return row;
        }
        let needs_object = self.picks.iter().any(|pick| matches!(pick, Pick::Path(_)));
        let value = if needs_object { object.value() } else { Value::Null };
        row.cells = self
            .picks
            .iter()
            .map(|pick| match pick {
                Pick::Own(at) => row.cells.get(*at).cloned().unwrap_or(Cell::Empty),
                Pick::Path(path) => cell(&path.find(&value)),
                Pick::Nowhere => Cell::Empty,
            })
            .collect();
        row
    }
}

/// A column that was asked for is shown, however wide the others are.
fn shown(mut column: Column) -> Column {
    column.wide = false;
    column
}

fn chosen_column(choice: &ColumnChoice) -> Column {
    let mut column = Column::text("", 6, 2);
    column.title = Cow::Owned(choice.title.clone());
    column
}

/// What a path leads to: a number, a moment as its age, else text; several are joined.
fn cell(found: &[&Value]) -> Cell {
    match found {
        [] | [Value::Null] => Cell::Empty,
        [Value::Number(number)] => match number.as_i64() {
            Some(number) => Cell::Int(number),
            None => Cell::quantity(&number.to_string()),
        },
        [Value::String(text)] => match text.parse::<Timestamp>() {
            Ok(moment) => Cell::Age(moment),
            Err(_) => Cell::text(text),
        },
        several => {
            let text = |value: &&Value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Cell::text(&several.iter().map(text).collect::<Vec<_>>().join(","))
        }
    }
}
