//! One term of a filter, and what it tests.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use regex::Regex;

use crate::store::{Cell, Row};
use crate::text;

#[derive(Clone, Debug)]
pub(super) struct Term {
    pub inverse: bool,
    pub test: Test,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    /// Lower-case text anywhere.
    Text(String),
    /// Letters of the name.
    Fuzzy(String),
    Regex(Regex),
    Column {
        column: Column,
        op: Op,
        value: Value,
    },
    /// A label, and whether its value must (`false`) or must not (`true`) be this.
    Label {
        name: String,
        test: Option<(bool, String)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Namespace,
    Name,
    Cell(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Has,
    Is,
    Not,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What a column is compared with. `10m` is ten minutes or ten thousandths: the cell decides.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Lower case.
    text: String,
    thousandths: Option<i128>,
    duration: Option<SignedDuration>,
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self {
            text: text.to_lowercase(),
            thousandths: text::parse_quantity(text),
            duration: text::parse_duration(text),
        }
    }

    /// A value that has an order.
    pub(super) fn ordered(text: &str) -> Option<Self> {
        Some(Self::text(text)).filter(|value| value.thousandths.is_some() || value.duration.is_some())
    }
}

impl Op {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Op::Less => order == Ordering::Less,
            Op::AtMost => order != Ordering::Greater,
            Op::More => order == Ordering::Greater,
            Op::AtLeast => order != Ordering::Less,
            Op::Is | Op::Has => order == Ordering::Equal,
            Op::Not => order != Ordering::Equal,
        }
    }
}

impl Term {
    pub(super) fn text(text: &str) -> Self {
        Self {
            inverse: false,
            test: Test::Text(text.to_lowercase()),
        }
    }

    pub(super) fn passes(&self, row: &Row, now: Timestamp) -> bool {
        let passes = match &self.test {
            // Writing numbers out is dear, and pointless when the text cannot be in one.
            Test::Text(text) => {
                let numbers = text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'/' || byte == b'-');
                anywhere(row, numbers, |cell| contains(cell, text))
            }
            Test::Regex(regex) => anywhere(row, true, |cell| regex.is_match(cell)),
            Test::Fuzzy(pattern) => text::fuzzy_score(pattern, &row.id.name).is_some(),
            Test::Label { name, test } => match (row.label(name), test) {
                (value, Some((true, other))) => value != Some(other),
                (value, Some((false, wanted))) => value == Some(wanted),
                (value, None) => value.is_some(),
            },
            Test::Column { column, op, value } => match column {
                Column::Namespace => compare_text(&row.id.namespace, *op, value),
                Column::Name => compare_text(&row.id.name, *op, value),
                Column::Cell(at) => compare(row.cells.get(*at).unwrap_or(&Cell::Empty), *op, value, now),
            },
        };
        passes != self.inverse
    }

    /// What is to be looked for in the texts of the rows, when that is all there is to it.
    pub(super) fn scan(&self) -> Option<Scan<'_>> {
        match &self.test {
            // The ends of the texts are marked by line ends, which no text has.
            Test::Text(text) if !text.is_empty() && !text.contains('\n') => Some(Scan {
                needle: Finder::new(text),
                inverse: self.inverse,
            }),
            _ => None,
        }
    }

    /// Whether time alone may change what passes.
    pub(super) fn is_timely(&self) -> bool {
        matches!(&self.test, Test::Column { column: Column::Cell(_), value, .. } if value.duration.is_some())
    }

    pub(super) fn flip(&self, row: &Row, now: Timestamp) -> Option<Timestamp> {
        let Test::Column {
            column: Column::Cell(at),
            value: Value {
                duration: Some(limit), ..
            },
            ..
        } = &self.test
        else {
            return None;
        };
        let Some(Cell::Age(since)) = row.cells.get(*at) else {
            return None;
        };
        // Ages are compared in whole seconds, so the answer may change when one begins: at the limit and after it.
        let limit = since.checked_add(*limit).ok()?;
        let next = limit.checked_add(SignedDuration::from_secs(1)).ok()?;
        [limit, next].into_iter().find(|at| *at > now)
    }
}

/// A text to be looked for.
pub(super) struct Scan<'a> {
    pub(super) needle: Finder<'a>,
    /// Rows without it pass.
    pub(super) inverse: bool,
}

/// Adds what [`Test::Text`] looks at in a row, in lower case, each text with a line end.
pub(in crate::store) fn texts(row: &Row, out: &mut Vec<u8>) {
    let out = RefCell::new(out);
    // Nothing is ever found, so every text comes by.
    anywhere(row, true, |text| {
        let mut out = out.borrow_mut();
        let start = out.len();
        if text.is_ascii() {
            out.extend_from_slice(text.as_bytes());
            out[start..].make_ascii_lowercase();
        } else {
            out.extend_from_slice(text.to_lowercase().as_bytes());
        }
        out.push(b'\n');
        false
    });
}

/// Whether the namespace, the name or the text of a cell passes. Ages are left out: they change by themselves, and `3m`
/// would be found in every image tag and every second age.
fn anywhere(row: &Row, numbers: bool, passes: impl Fn(&str) -> bool) -> bool {
    let skip = |cell: &Cell| match cell {
        Cell::Int(_) | Cell::Counted(..) | Cell::Ratio(..) => !numbers,
        // The name is in most rows a second time.
        Cell::Text(text) => Arc::ptr_eq(text, &row.id.name),
        _ => false,
    };
    let mut cells = row.cells.iter().filter(|cell| !skip(cell));
    passes(&row.id.name) || passes(&row.id.namespace) || cells.any(|cell| text_of(cell, &passes))
}

fn text_of(cell: &Cell, passes: impl Fn(&str) -> bool) -> bool {
    match cell {
        Cell::Empty | Cell::Age(_) => false,
        Cell::Text(text) | Cell::Status(_, text) | Cell::Quantity(_, text) | Cell::Duration(_, text) => passes(text),
        Cell::Int(number) | Cell::Counted(number, _) => passes(Digits::new().write(format_args!("{number}"))),
        Cell::Ratio(ready, wanted) => passes(Digits::new().write(format_args!("{ready}/{wanted}"))),
    }
}

/// Room for the longest number, so that testing 50,000 rows allocates nothing.
struct Digits {
    bytes: [u8; 24],
    len: usize,
}

impl Digits {
    const fn new() -> Self {
        Self { bytes: [0; 24], len: 0 }
    }

    fn write(&mut self, number: std::fmt::Arguments<'_>) -> &str {
        // Two u32 and a slash, or one i64, always fit.
        let _ = std::fmt::Write::write_fmt(self, number);
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl std::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self
            .bytes
            .get_mut(self.len..self.len + text.len())
            .ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

fn compare(cell: &Cell, op: Op, value: &Value, now: Timestamp) -> bool {
    let by_value = |known: i128, wanted: i128| op.holds(known.cmp(&wanted));
    match cell {
        Cell::Empty => op == Op::Not || (op == Op::Is && value.text == "-"),
        _ if op == Op::Has => text_of(cell, |text| contains(text, &value.text)),
        Cell::Text(text) => compare_text(text, op, value),
        Cell::Status(_, text) => compare_text(text, op, value),
        Cell::Int(number) | Cell::Counted(number, _) => value
            .thousandths
            .map_or(op == Op::Not, |wanted| by_value(i128::from(*number) * 1000, wanted)),
        // `ready<2` compares what is ready; `ready=1/2` both.
        Cell::Ratio(ready, wanted) => match value.text.split_once('/') {
            Some(_) => op.holds_text(Digits::new().write(format_args!("{ready}/{wanted}")), &value.text),
            None => value
                .thousandths
                .map_or(op == Op::Not, |wanted| by_value(i128::from(*ready) * 1000, wanted)),
        },
        Cell::Quantity(known, text) => match value.thousandths {
            Some(wanted) => by_value(**known, wanted),
            None => op.holds_text(text, &value.text),
        },
        Cell::Duration(known, text) => match value.duration {
            Some(wanted) => by_value(i128::from(*known), i128::from(wanted.as_secs())),
            None => op.holds_text(text, &value.text),
        },
        Cell::Age(since) => {
            let age = i128::from(now.duration_since(*since).as_secs());
            value
                .duration
                .map_or(op == Op::Not, |wanted| by_value(age, i128::from(wanted.as_secs())))
        }
    }
}

impl Op {
    /// Equality of texts in any case.
    fn holds_text(self, known: &str, wanted: &str) -> bool {
        let same = known.len() == wanted.len() && contains(known, wanted);
        match self {
            Op::Is => same,
            Op::Not => !same,
            _ => false,
        }
    }
}

fn compare_text(text: &str, op: Op, value: &Value) -> bool {
    match op {
        Op::Has => contains(text, &value.text),
        Op::Is | Op::Not => op.holds_text(text, &value.text),
        // Text that is a number or a duration, as printer columns of custom resources have it.
        _ => match (
            text::parse_quantity(text),
            value.thousandths,
            text::parse_duration(text),
            value.duration,
        ) {
            (Some(known), Some(wanted), ..) => op.holds(known.cmp(&wanted)),
            (_, _, Some(known), Some(wanted)) => op.holds(known.cmp(&wanted)),
            _ => false,
        },
    }
}

/// Whether `text` contains `lower`, which is in lower case, in any case.
fn contains(text: &str, lower: &str) -> bool {
    let (bytes, wanted) = (text.as_bytes(), lower.as_bytes());
    let Some(first) = wanted.first() else { return true };
    if !text.is_ascii() {
        return text.to_lowercase().contains(lower);
    }
    let Some(last) = bytes.len().checked_sub(wanted.len()) else {
        return false;
    };
    let other = first.to_ascii_uppercase();
    (0..=last).any(|at| {
        (bytes[at] == *first || bytes[at] == other) && bytes[at..at + wanted.len()].eq_ignore_ascii_case(wanted)
    })
}
