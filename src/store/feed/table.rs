//! Tables made by the server (`meta.k8s.io` Table): the columns of `kubectl get` for kinds the workstation knows nothing better of.
//!
//! Cells arrive as text for people: `5m`, `3/4`, `12Mi`. They are given back the values they sort by.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::store::{Cell, Column};
use crate::text;

/// How a table is asked for; a server that makes none answers with the objects alone.
pub(super) const ACCEPT: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// The first column that can make way for others.
const FIRST_RANK: u8 = 1;

/// `metav1.TableColumnDefinition`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Definition {
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    priority: i32,
}

/// `metav1.TableRow`.
#[derive(Deserialize)]
pub(super) struct RawRow<'a> {
    #[serde(default)]
    pub cells: Vec<Value>,
    #[serde(borrow)]
    pub object: Option<&'a RawValue>,
}

/// The columns, as the table of a kind of our own has them.
pub(super) fn columns(definitions: &[Definition]) -> Arc<[Column]> {
    let columns = definitions.iter().enumerate().map(|(at, definition)| {
        let title = text::clean(&definition.name).to_uppercase();
        let is_age = definition.is_age();
        Column {
            right: is_age || matches!(&*definition.kind, "integer" | "number" | "date"),
            min: match at {
                0 => 20,
                _ if is_age => 5,
                _ => text::width(&title).clamp(4, 24) as u16,
            },
            rank: match at {
                0 => 0,
                _ if is_age => FIRST_RANK,
                at => FIRST_RANK.saturating_add(u8::try_from(at).unwrap_or(u8::MAX - FIRST_RANK - 1)),
            },
            wide: definition.priority > 0,
            title: Cow::Owned(title),
        }
    });
    columns.collect()
}

impl Definition {
    fn is_age(&self) -> bool {
        self.name.eq_ignore_ascii_case("age")
    }

    /// Whether the text is the time since a moment: it would grow if it were made anew.
    fn is_moment(&self) -> bool {
        self.kind == "date" || self.name == "Last Schedule"
    }
}

/// The cells of an object, from its row. `object` is its JSON, `now` is when the row was made.
pub(super) fn cells(
    definitions: &[Definition],
    row: &[Value],
    created: Option<Timestamp>,
    object: &str,
    now: Timestamp,
) -> Box<[Cell]> {
    let cell = |at: usize, definition: &Definition| match row.get(at) {
        _ if definition.is_age() && created.is_some() => created.map_or(Cell::Empty, Cell::Age),
        None | Some(Value::Null) => Cell::Empty,
        Some(Value::Number(number)) => match number.as_i64() {
            Some(number) => Cell::Int(number),
            None => Cell::quantity(&number.to_string()),
        },
        Some(Value::String(text)) if definition.is_moment() => moment(text, object, now),
        // A name of digits is a name.
        Some(Value::String(text)) if definition.format == "name" => Cell::text(text),
        Some(Value::String(text)) => humanized(text),
        Some(other) => Cell::text(&other.to_string()),
    };
    definitions
        .iter()
        .enumerate()
        .map(|(at, definition)| cell(at, definition))
        .collect()
}

/// What a text for people stands for: `3/4`, `12`, `128Mi`, `5m30s`; any other text is itself.
fn humanized(text: &str) -> Cell {
    if text == "<none>" {
        return Cell::Empty;
    }
    if !text.starts_with(|ch: char| ch.is_ascii_digit() || ch == '-') {
        return Cell::text(text);
    }
    if let Some((ready, wanted)) = text.split_once('/')
        && let (Ok(ready), Ok(wanted)) = (ready.parse(), wanted.parse())
    {
        return Cell::Ratio(ready, wanted);
    }
    match (text.parse(), text::parse_duration(text)) {
        (Ok(number), _) => Cell::Int(number),
        // `10m` is ten minutes in a table, and ten thousandths in a manifest.
        (_, Some(duration)) => Cell::duration(duration, text),
        _ => Cell::quantity(text),
    }
}

/// The moment that `5m` is the time since: one that the object names, if any reads like this now, else about then.
fn moment(text: &str, object: &str, now: Timestamp) -> Cell {
    let Some(age) = text::parse_duration(text).or_else(|| years(text)) else {
        return humanized(text);
    };
    // What is rounded in the text, and a little, for the row was made before it is read.
    let vague = SignedDuration::from_secs(2 + age.as_secs() / 10);
    let off = |moment: &Timestamp| (now.duration_since(*moment) - age).abs();
    let named = object
        .split('"')
        .filter(|word| (20..=35).contains(&word.len()) && word.as_bytes()[10] == b'T')
        .filter_map(|word| word.parse::<Timestamp>().ok());
    let nearest = named.filter(|moment| off(moment) <= vague).min_by_key(off);
    let moment = nearest.or_else(|| now.checked_sub(age).ok());
    moment.map_or_else(|| Cell::text(text), Cell::Age)
}

/// `2y15d`.
fn years(text: &str) -> Option<SignedDuration> {
    let (years, days) = text.split_once('y')?;
    let days = if days.is_empty() {
        SignedDuration::ZERO
    } else {
        text::parse_duration(days)?
    };
    let years = years.parse::<i64>().ok()?.checked_mul(365 * 86_400)?;
    SignedDuration::from_secs(years).checked_add(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(columns: &str, row: &str, object: &str) -> Vec<Cell> {
        let definitions: Vec<Definition> = serde_json::from_str(columns).expect("columns");
        let row: Vec<Value> = serde_json::from_str(row).expect("a row");
        let now = "2026-01-01T01:00:00Z".parse().expect("a time");
        cells(&definitions, &row, None, object, now).into_vec()
    }

    #[test]
    fn cells_for_people_get_the_values_they_sort_by() {
        let columns = r#"[{"name":"Name","format":"name"},{"name":"Completions"},{"name":"Duration"},{"name":"Capacity"},{"name":"Desired","type":"integer"},{"name":"Class"},{"name":"Missing"}]"#;
        let row = r#"["12","3/4","2m5s","10Gi",7,"<none>"]"#;
        let minutes = SignedDuration::from_secs(125);
        assert_eq!(
            made(columns, row, "{}"),
            [
                Cell::text("12"),
                Cell::Ratio(3, 4),
                Cell::duration(minutes, "2m5s"),
                Cell::quantity("10Gi"),
                Cell::Int(7),
                Cell::Empty,
                Cell::Empty,
            ]
        );
    }

    #[test]
    fn a_date_is_the_moment_in_the_object_that_reads_like_it_and_grows() {
        let object = r#"{"a":"2025-12-31T00:00:00Z","b":"2026-01-01T00:30:10Z","c":"not-a-time-at-all-here"}"#;
        let columns = r#"[{"name":"Since","type":"date"},{"name":"Long","type":"date"},{"name":"None","type":"date"}]"#;
        let cells = made(columns, r#"["29m","2y","<unknown>"]"#, object);
        let age = |text: &str| Cell::Age(text.parse().expect("a time"));
        assert_eq!(cells[0], age("2026-01-01T00:30:10Z"));
        assert_eq!(cells[1], age("2024-01-02T01:00:00Z"));
        assert_eq!(cells[2], Cell::text("<unknown>"));
    }
}
