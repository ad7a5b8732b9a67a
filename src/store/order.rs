//! The order of rows: total, so that a row has one place, and is found there again.
//!
//! Comparing two rows follows pointers to names and cells. That is fine for moving one row, but a sort of 50,000 makes a
//! million comparisons; so [`Key`] holds the beginning of all that would be compared, in bytes that compare alike.

use std::cmp::Ordering;
use std::sync::Arc;

use super::row::{natural, rank};
use crate::store::{Cell, Row, Sort};

impl Sort {
    /// The order of two rows. Descending turns the column around, not the names that break ties, and empty cells stay
    /// last; without a column, the names themselves turn around.
    pub fn order(self, a: &Row, b: &Row) -> Ordering {
        let Some(column) = self.column else {
            let names = names(a, b);
            return if self.descending { names.reverse() } else { names }.then_with(|| a.id.uid.cmp(&b.id.uid));
        };
        let cell = |row: &Row, other: &Row| match (row.cells.get(column), other.cells.get(column)) {
            (a, b) if self.descending && !is_empty(a) && !is_empty(b) => order(b, a),
            (a, b) => order(a, b),
        };
        cell(a, b)
            .then_with(|| names(a, b))
            .then_with(|| a.id.uid.cmp(&b.id.uid))
    }

    /// Sorts many rows.
    pub(super) fn sort(self, rows: Vec<Arc<Row>>) -> Vec<Arc<Row>> {
        let keys: Vec<Key> = rows.iter().map(|row| Key::of(row, self)).collect();
        // What is moved around is small, and mostly decides by itself.
        let mut order: Vec<(u128, usize)> = keys.iter().enumerate().map(|(at, key)| (key.head(), at)).collect();
        order.sort_unstable_by(|(x, a), (y, b)| match x.cmp(y) {
            decided @ (Ordering::Less | Ordering::Greater) if keys[*a].len >= 16 && keys[*b].len >= 16 => decided,
            _ => keys[*a].order(&keys[*b]).then_with(|| self.order(&rows[*a], &rows[*b])),
        });
        // Moved, not cloned: counting references touches every row once more.
        let mut rows: Vec<Option<Arc<Row>>> = rows.into_iter().map(Some).collect();
        order.into_iter().filter_map(|(_, at)| rows[at].take()).collect()
    }
}

fn is_empty(cell: Option<&Cell>) -> bool {
    cell.is_none_or(|cell| *cell == Cell::Empty)
}

fn order(a: Option<&Cell>, b: Option<&Cell>) -> Ordering {
    a.unwrap_or(&Cell::Empty).order(b.unwrap_or(&Cell::Empty))
}

fn names(a: &Row, b: &Row) -> Ordering {
    let clusters = a.id.cluster.cmp(&b.id.cluster);
    let same = Arc::ptr_eq(&a.id.namespace, &b.id.namespace);
    let namespaces = if same {
        Ordering::Equal
    } else {
        natural(&a.id.namespace, &b.id.namespace)
    };
    clusters.then(namespaces).then_with(|| natural(&a.id.name, &b.id.name))
}

/// Bytes of a key: enough for a value, a namespace and most of a name.
const LENGTH: usize = 47;

/// The beginning of what a row is compared by. Where two keys differ they decide; where one merely ends they say nothing,
/// so a key may stop at any point, and does where bytes cannot tell.
struct Key {
    bytes: [u8; LENGTH],
    len: u8,
}

impl Key {
    fn of(row: &Row, sort: Sort) -> Self {
        let mut key = Self {
            bytes: [0; LENGTH],
            len: 0,
        };
        // `None` stops here.
        let _ = key.fill(row, sort);
        key
    }

    /// The first bytes as one number, which compares alike when both keys have that many.
    fn head(&self) -> u128 {
        self.bytes.first_chunk().copied().map_or(0, u128::from_be_bytes)
    }

    fn order(&self, other: &Self) -> Ordering {
        let len = usize::from(self.len.min(other.len));
        self.bytes[..len].cmp(&other.bytes[..len])
    }

    fn fill(&mut self, row: &Row, sort: Sort) -> Option<()> {
        if let Some(column) = sort.column {
            let cell = row.cells.get(column).unwrap_or(&Cell::Empty);
            self.put(&[rank(cell)])?;
            let whole = self.cell(cell);
            if sort.descending && *cell != Cell::Empty {
                let len = usize::from(self.len);
                self.bytes[..len].iter_mut().for_each(|byte| *byte = !*byte);
                // Below the rank of empty cells, which do not turn around.
                self.bytes[0] = rank(&Cell::Empty) - 1 - rank(cell);
            }
            whole?;
        }
        let names = usize::from(self.len);
        let whole = self
            .put(&row.id.cluster.0.to_be_bytes())
            .and_then(|()| self.natural(&row.id.namespace))
            .and_then(|()| self.put(&[0]))
            .and_then(|()| self.natural(&row.id.name));
        if sort.descending && sort.column.is_none() {
            let len = usize::from(self.len);
            self.bytes[names..len].iter_mut().for_each(|byte| *byte = !*byte);
        }
        whole
    }

    fn cell(&mut self, cell: &Cell) -> Option<()> {
        let signed = |value: i128| (value as u128 ^ (1 << 127)).to_be_bytes();
        match cell {
            Cell::Empty => Some(()),
            Cell::Int(number) | Cell::Counted(number, _) | Cell::Duration(number, _) => {
                self.put(&(*number as u64 ^ (1 << 63)).to_be_bytes())
            }
            Cell::Ratio(ready, wanted) => {
                // The bits of floats that are not negative compare like the floats.
                let share = f64::from(*ready) / f64::from((*wanted).max(1));
                self.put(&share.to_bits().to_be_bytes())
                    .and_then(|()| self.put(&wanted.to_be_bytes()))
            }
            Cell::Quantity(value, _) => self.put(&signed(**value)),
            Cell::Age(since) => self.put(&signed(-since.as_nanosecond())),
            Cell::Status(health, text) => {
                self.put(&[u8::MAX - *health as u8])?;
                let text = text.as_bytes();
                let end = memchr::memchr(0, text).unwrap_or(text.len());
                self.put(&text[..end])?;
                if end == text.len() { self.put(&[0]) } else { None }
            }
            Cell::Text(text) => self.natural(text).and_then(|()| self.put(&[0])),
        }
    }

    /// Text in natural order: a run of digits becomes how many there are, then the digits, and so sorts as a number.
    fn natural(&mut self, text: &str) -> Option<()> {
        let mut rest = text.as_bytes();
        while let Some(byte) = rest.first() {
            match byte {
                0 => return None,
                b'0'..=b'9' => {
                    let end = rest
                        .iter()
                        .position(|byte| !byte.is_ascii_digit())
                        .unwrap_or(rest.len());
                    let (run, after) = rest.split_at(end);
                    // Leading zeros only break ties, after all of the text; long numbers are left to the comparison.
                    if (run.len() > 1 && run[0] == b'0') || run.len() > 9 {
                        return None;
                    }
                    let digits = if run == b"0" { &[] } else { run };
                    self.put(&[b'0' + digits.len() as u8])?;
                    self.put(digits)?;
                    rest = after;
                }
                byte => {
                    self.put(&[*byte])?;
                    rest = &rest[1..];
                }
            }
        }
        Some(())
    }

    /// Adds what fits; `None` when that is not all.
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let len = usize::from(self.len);
        let fits = bytes.len().min(LENGTH - len);
        self.bytes[len..len + fits].copy_from_slice(&bytes[..fits]);
        self.len += fits as u8;
        (fits == bytes.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::ClusterId;
    use crate::store::{Health, Object, ObjectId};

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a0-2.:\u{0}é-]{0,6}",
            "web-0?[0-9]{1,12}:?",
            "[a-b]{30,50}",
            "[:;]|[0-9]{9,12}"
        ]
    }

    fn cell() -> impl Strategy<Value = Cell> {
        let health = prop::sample::select(vec![Health::None, Health::Good, Health::Failed]);
        let second = prop_oneof![-3..3_i64, any::<i32>().prop_map(i64::from)];
        prop_oneof![
            Just(Cell::Empty),
            text().prop_map(|text| Cell::Text(text.into())),
            (health, text()).prop_map(|(health, text)| Cell::Status(health, text.into())),
            prop_oneof![-2..3_i64, any::<i64>()].prop_map(Cell::Int),
            (-2..3_i64).prop_map(|count| Cell::Counted(count, None)),
            (0..4_u32, 0..4_u32).prop_map(|(ready, wanted)| Cell::Ratio(ready, wanted)),
            prop_oneof![-2..3_i128, any::<i128>()].prop_map(|value| Cell::Quantity(Box::new(value), "q".into())),
            second
                .clone()
                .prop_map(|second| Cell::Age(Timestamp::from_second(second).unwrap())),
            second.prop_map(|second| Cell::Duration(second, "d".into())),
        ]
    }

    prop_compose! {
        fn row()(cell in cell(), cluster in 0..2_u16, namespace in text(), name in text(), uid in 0..9_u8) -> Arc<Row> {
            let id = ObjectId { cluster: ClusterId(cluster), namespace: namespace.into(), name: name.into(), uid: format!("{uid}").into() };
            let object = Arc::new(Object::new(id.clone(), "", ""));
            Arc::new(Row { id, health: Health::None, cells: [cell].into(), labels: [].into(), object, changed: None, fresh: 0, trail: None })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn keys_never_contradict_the_order_and_the_order_is_total(
            rows in prop::collection::vec(row(), 3..12),
            column in prop::option::of(0..2_usize),
            descending: bool,
        ) {
            let sort = Sort { column, descending };
            for a in &rows {
                prop_assert_eq!(sort.order(a, a), Ordering::Equal);
                for b in &rows {
                    let order = sort.order(a, b);
                    let key = Key::of(a, sort).order(&Key::of(b, sort));
                    prop_assert!(key == Ordering::Equal || key == order, "{:?} {:?}", a, b);
                    prop_assert_eq!(order, sort.order(b, a).reverse());
                    for c in &rows {
                        if order != Ordering::Greater && sort.order(b, c) != Ordering::Greater {
                            prop_assert!(sort.order(a, c) != Ordering::Greater, "{:?} {:?} {:?}", a, b, c);
                        }
                    }
                }
            }
            let sorted = sort.sort(rows);
            prop_assert!(sorted.is_sorted_by(|a, b| sort.order(a, b) != Ordering::Greater));
        }
    }
}
