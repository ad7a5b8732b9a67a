//! Rows: what a table shows of an object, typed, and formatted only when visible.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::intern;
use crate::store::{Object, ObjectId, Trail};
use crate::text;

/// How an object is doing. Ordered from what needs attention least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Health {
    /// Nothing to say: the kind has no health.
    #[default]
    None,
    /// Finished as it should.
    Done,
    /// Healthy.
    Good,
    /// On its way.
    Progress,
    /// Not known.
    Unknown,
    /// Needs a look.
    Warning,
    /// Broken.
    Failed,
}

impl Health {
    /// Every health, in order.
    pub const ALL: &[Health] = &[
        Health::None,
        Health::Done,
        Health::Good,
        Health::Progress,
        Health::Unknown,
        Health::Warning,
        Health::Failed,
    ];

    /// Whether it belongs into a faults-only listing.
    pub const fn needs_attention(self) -> bool {
        matches!(self, Health::Unknown | Health::Warning | Health::Failed)
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing: shown as `-`.
    Empty,
    /// Text.
    Text(Arc<str>),
    /// A state word with its sign.
    Status(Health, Arc<str>),
    /// A number.
    Int(i64),
    /// `ready/wanted`.
    Ratio(u32, u32),
    /// A count and when it last grew: `4 (8s ago)`.
    Counted(i64, Option<Timestamp>),
    /// A quantity in thousandths with its original text: sorts by value.
    Quantity(Box<i128>, Arc<str>),
    /// The age of this moment.
    Age(Timestamp),
    /// A time that something took, in seconds with its original text: sorts by length.
    Duration(i64, Arc<str>),
}

impl Cell {
    /// Text, or [`Cell::Empty`] when there is none. Untrusted text is made harmless here.
    pub fn text(text: &str) -> Self {
        if text.is_empty() {
            Cell::Empty
        } else {
            Cell::Text(intern::word(&text::clean(text)))
        }
    }

    /// A state word, made harmless.
    pub fn status(health: Health, word: &str) -> Self {
        Cell::Status(health, intern::word(&text::clean(word)))
    }

    /// A quantity such as `128Mi`; sorts by its value.
    pub fn quantity(quantity: &str) -> Self {
        match text::parse_quantity(quantity) {
            Some(value) => Cell::Quantity(Box::new(value), intern::word(quantity)),
            None => Cell::text(quantity),
        }
    }

    /// A time that something took, as `text` has it.
    pub fn duration(duration: SignedDuration, text: &str) -> Self {
        Cell::Duration(duration.as_secs(), intern::word(&text::clean(text)))
    }

    /// What is shown at `now`.
    pub fn show(&self, now: Timestamp) -> Cow<'_, str> {
        match self {
            Cell::Empty => Cow::Borrowed("-"),
            Cell::Text(text) | Cell::Status(_, text) | Cell::Quantity(_, text) | Cell::Duration(_, text) => {
                Cow::Borrowed(text)
            }
            Cell::Int(number) | Cell::Counted(number, None) => Cow::Owned(number.to_string()),
            Cell::Ratio(ready, wanted) => Cow::Owned(format!("{ready}/{wanted}")),
            Cell::Counted(number, Some(at)) => Cow::Owned(format!("{number} ({} ago)", text::age(*at, now))),
            Cell::Age(since) => Cow::Owned(text::age(*since, now)),
        }
    }

    /// Order within one column: numbers by value, ages youngest first, empty cells last.
    pub fn order(&self, other: &Self) -> Ordering {
        use Cell::{Age, Counted, Duration, Empty, Int, Quantity, Ratio, Status, Text};
        match (self, other) {
            (Empty, Empty) => Ordering::Equal,
            (Empty, _) => Ordering::Greater,
            (_, Empty) => Ordering::Less,
            (Text(a), Text(b)) => natural(a, b),
            (Status(ha, a), Status(hb, b)) => hb.cmp(ha).then_with(|| a.cmp(b)),
            (Int(a) | Counted(a, _), Int(b) | Counted(b, _)) => a.cmp(b),
            (Ratio(a, of_a), Ratio(b, of_b)) => {
                let share = |ready: u32, wanted: u32| f64::from(ready) / f64::from(wanted.max(1));
                share(*a, *of_a).total_cmp(&share(*b, *of_b)).then(of_a.cmp(of_b))
            }
            (Quantity(a, _), Quantity(b, _)) => a.cmp(b),
            (Age(a), Age(b)) => b.cmp(a),
            (Duration(a, _), Duration(b, _)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}

/// Order of cells that cannot be compared by value.
pub(super) fn rank(cell: &Cell) -> u8 {
    match cell {
        Cell::Int(_) | Cell::Counted(..) => 0,
        Cell::Ratio(..) => 1,
        Cell::Quantity(..) => 2,
        Cell::Age(_) => 3,
        Cell::Duration(..) => 4,
        Cell::Status(..) => 5,
        Cell::Text(_) => 6,
        Cell::Empty => 7,
    }
}

/// `web-2` before `web-10`: runs of digits compare as numbers.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    loop {
        match (left.first(), right.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let ((run_x, rest_x), (run_y, rest_y)) = (left.split_at(digits(left)), right.split_at(digits(right)));
                let trim = |run: &'_ [u8]| run.iter().position(|byte| *byte != b'0').unwrap_or(run.len());
                let (value_x, value_y) = (&run_x[trim(run_x)..], &run_y[trim(run_y)..]);
                let order = value_x.len().cmp(&value_y.len()).then_with(|| value_x.cmp(value_y));
                if order != Ordering::Equal {
                    return order;
                }
                (left, right) = (rest_x, rest_y);
            }
            (Some(x), Some(y)) if x == y => (left, right) = (&left[1..], &right[1..]),
            (x, y) => return x.cmp(&y).then_with(|| a.cmp(b)),
        }
    }
}

/// One row of a listing.
#[derive(Debug, PartialEq)]
pub struct Row {
    /// The object it stands for.
    pub id: ObjectId,
    /// How it is doing.
    pub health: Health,
    /// Cells, in the order of the kind's columns.
    pub cells: Box<[Cell]>,
    /// Labels, sorted by key, made harmless.
    pub labels: Arc<[(Box<str>, Box<str>)]>,
    /// The object itself.
    pub object: Arc<Object>,
    /// When the feed last saw it change; `None` while it is as first listed.
    pub changed: Option<Timestamp>,
    /// Which cells that change was in: a bit for each of the first 32.
    pub fresh: u32,
    /// What has been happening to it; `None` when it has long been as it is.
    pub trail: Option<Box<Trail>>,
}

impl Row {
    /// Whether a cell changed within the second before `now`.
    pub fn is_fresh(&self, cell: usize, now: Timestamp) -> bool {
        self.changed.is_some_and(|at| now.duration_since(at).as_millis() < 1000)
            && u32::try_from(cell).is_ok_and(|cell| self.fresh.checked_shr(cell).unwrap_or(0) & 1 == 1)
    }

    /// Takes the place of `before`: which cells are new, and what has been happening.
    fn follow(&mut self, before: &Row, now: Timestamp) {
        let differs = |(at, cell): (usize, &Cell)| before.cells.get(at) != Some(cell);
        let fresh = self.cells.iter().enumerate().take(32).filter(|cell| differs(*cell));
        self.fresh = fresh.fold(0, |fresh, (at, _)| fresh | 1 << at);
        // A heartbeat that changes nothing one can see is no change to point at.
        let looks_same = self.fresh == 0 && self.health == before.health && self.labels == before.labels;
        if looks_same || self.changed.is_none() {
            (self.changed, self.fresh) = (before.changed, before.fresh);
        }
        self.trail = Trail::after(before, self, now);
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(known, _)| &**known == key)
            .map(|(_, value)| &**value)
    }
}

/// When an object was seen like this, and how it looked before.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Now.
    pub at: Timestamp,
    /// The row it takes the place of.
    pub before: Option<&'a Row>,
    /// Whether a watch told it: what was missed between two watches is not news to point at.
    pub live: bool,
}

/// Makes the row of `object` from what its kind makes of it.
pub fn row_of(object: &Arc<Object>, seen: Seen<'_>, kind: impl Fn(&Object) -> (Health, Vec<Cell>)) -> Row {
    #[derive(Deserialize)]
    struct Meta {
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Partial<'a> {
        metadata: Meta,
        #[serde(borrow, default)]
        status: Option<&'a RawValue>,
    }
    let json = object.json();
    let partial = serde_json::from_str::<Partial<'_>>(&json).ok();
    let status = partial.as_ref().and_then(|partial| partial.status);
    let labels = partial.as_ref().map(|partial| &partial.metadata.labels);
    let labels: Box<intern::Labels> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (text::clean(key).into(), text::clean(value).into()))
        .collect();
    let (health, mut cells) = kind(object);
    // The name is in most rows a second time.
    for cell in &mut cells {
        if let Cell::Text(text) = cell
            && **text == *object.id.name
        {
            *text = object.id.name.clone();
        }
    }
    let mut row = Row {
        id: object.id.clone(),
        health,
        cells: cells.into(),
        labels: intern::labels(labels),
        object: object.clone(),
        changed: seen.live.then_some(seen.at),
        fresh: u32::MAX,
        trail: None,
    };
    match seen.before {
        Some(before) => row.follow(before, seen.at),
        None if health == Health::None => {}
        None => row.trail = Trail::told(&row, status.and_then(ready_since), seen.at),
    }
    row
}

/// Since when the object has been as ready as it is.
fn ready_since(status: &RawValue) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Condition<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(rename = "lastTransitionTime")]
        since: Option<Timestamp>,
    }
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow)]
        conditions: Vec<Condition<'a>>,
    }
    let status: Status<'_> = serde_json::from_str(status.get()).ok()?;
    let telling = |condition: &&Condition<'_>| matches!(&*condition.kind, "Ready" | "Available");
    status.conditions.iter().find(telling)?.since
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_sort_as_numbers() {
        assert_eq!(natural("web-2", "web-10"), Ordering::Less);
        assert_eq!(natural("web-02", "web-2"), "web-02".cmp("web-2"));
        assert_eq!(natural("a", "a"), Ordering::Equal);
        assert_eq!(natural("a1", "a"), Ordering::Greater);
    }

    #[test]
    fn hostile_text_is_harmless_in_a_cell() {
        assert_eq!(Cell::text("a\u{1b}[31mb"), Cell::Text("a␛[31mb".into()));
    }

    #[test]
    fn empty_cells_sort_last() {
        assert_eq!(Cell::Empty.order(&Cell::Int(1)), Ordering::Greater);
    }
}
