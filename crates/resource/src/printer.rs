//! Tables: what `kubectl get` prints is made here, on the server.

use crate::json::text;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::borrow::Cow;

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Heading, as in `Nominated Node`; kubectl prints it in capitals.
    pub name: &'a str,
    /// OpenAPI type of the cells: `string`, `integer`, `number`, `boolean`.
    pub kind: &'a str,
    /// OpenAPI format; `name` marks the column that names the object.
    pub format: &'a str,
    /// What the column shows.
    pub description: &'a str,
    /// 0 is always shown, 1 only by `-o wide`.
    pub priority: i32,
}

/// The columns of a kind.
pub type Columns<'a> = Cow<'a, [Column<'a>]>;

impl<'a> Column<'a> {
    pub(crate) const NAME: Self = Self {
        name: "Name",
        kind: "string",
        format: "name",
        description: "Name must be unique within a namespace.",
        priority: 0,
    };
    pub(crate) const AGE: Self = Self::text("Age", "Time since the object was created.");
    /// As custom resources have it without columns of their own.
    pub(crate) const AGE_AS_DATE: Self = Self {
        kind: "date",
        ..Self::AGE
    };

    /// A column of text that is always shown.
    pub(crate) const fn text(name: &'a str, description: &'a str) -> Self {
        Self {
            name,
            kind: "string",
            format: "",
            description,
            priority: 0,
        }
    }

    /// A column of whole numbers that is always shown.
    pub(crate) const fn integer(name: &'a str, description: &'a str) -> Self {
        Self {
            kind: "integer",
            ..Self::text(name, description)
        }
    }

    /// The same column, shown only by `-o wide`.
    pub(crate) const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    /// The column as a `metav1.TableColumnDefinition`.
    pub fn to_value(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// One object's cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// A value for every column, wide ones included.
    pub cells: Vec<Value>,
    /// `metav1.TableRowCondition`s: marks rows of objects that are done.
    pub conditions: Vec<Value>,
}

impl Row {
    pub(crate) fn new(cells: Vec<Value>) -> Self {
        Self {
            cells,
            conditions: Vec::new(),
        }
    }
}

/// Columns and rows of some objects of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<'a> {
    /// The columns, the same for every table of a kind.
    pub columns: Columns<'a>,
    /// A row for each object, in the order given.
    pub rows: Vec<Row>,
}

impl Table<'_> {
    /// `columnDefinitions` of a `metav1.Table`.
    pub fn column_definitions(&self) -> Value {
        self.columns.iter().map(Column::to_value).collect()
    }
}

pub(crate) fn name_of(object: &Value) -> &str {
    text(&object["metadata"], "name")
}

/// Age of an object by its creation.
pub(crate) fn age_of(object: &Value, now: Timestamp) -> String {
    age(&object["metadata"]["creationTimestamp"], now)
}

/// Time since a timestamp in a field: `<unknown>` if the field is empty.
pub fn age(field: &Value, now: Timestamp) -> String {
    match field.as_str().and_then(|t| t.parse::<Timestamp>().ok()) {
        Some(then) => human_duration((now.as_millisecond() - then.as_millisecond()) / 1000),
        None => "<unknown>".to_owned(),
    }
}

/// A duration in at most two units, coarser the longer it is: `12s`, `2m5s`, `3h4m`, `5d12h`, `2y15d`.
pub fn human_duration(seconds: i64) -> String {
    // A clock that is a second ahead is forgiven; more is not an age.
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let s = seconds.max(0);
    let (minutes, hours, days) = (s / 60, s / 3600, s / 86400);
    let pair = |big: i64, unit: &str, small: i64, sub: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{sub}"),
    };
    if s < 120 {
        format!("{s}s")
    } else if minutes < 10 {
        pair(minutes, "m", s % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        pair(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2920 {
        pair(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_get_coarser_as_they_grow() {
        let (m, h, d) = (60, 3600, 86400);
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (10 * m + 5, "10m"),
            (179 * m, "179m"),
            (3 * h, "3h"),
            (3 * h + 4 * m, "3h4m"),
            (8 * h + 4 * m, "8h"),
            (47 * h, "47h"),
            (48 * h, "2d"),
            (5 * d + 12 * h, "5d12h"),
            (8 * d + h, "8d"),
            (729 * d, "729d"),
            (745 * d, "2y15d"),
            (2920 * d, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn an_age_without_a_timestamp_is_unknown() {
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        assert_eq!(age(&Value::Null, now), "<unknown>");
        assert_eq!(age(&json!("2023-11-14T22:13:08Z"), now), "12s");
    }
}
