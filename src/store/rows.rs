//! Rows in order, in copy-on-write chunks: a clone is one reference count, and moving one row among 50,000 copies two
//! chunks and the spine instead of everything.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::store::{Row, Sort};

/// Most rows of a chunk. Tests use small ones, so that a few rows already split and join them.
const CHUNK: usize = if cfg!(test) { 8 } else { 512 };
/// Rows of a chunk made in bulk: leaves room for insertions before it must be split.
const FILL: usize = CHUNK / 4 * 3;

/// Sorted rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    spine: Arc<Vec<Chunk>>,
}

/// Never empty; `start` is the number of rows in all chunks before it.
#[derive(Clone, Debug)]
struct Chunk {
    start: usize,
    rows: Arc<Vec<Arc<Row>>>,
}

impl Chunk {
    fn end(&self) -> usize {
        self.start + self.rows.len()
    }

    /// The rows for writing; copied first when a listing still shows them.
    fn rows_mut(&mut self) -> &mut Vec<Arc<Row>> {
        if Arc::get_mut(&mut self.rows).is_none() {
            let mut copy = Vec::with_capacity(CHUNK + 1);
            copy.extend_from_slice(&self.rows);
            self.rows = Arc::new(copy);
        }
        Arc::make_mut(&mut self.rows)
    }
}

impl Rows {
    /// From rows that are in order.
    pub(super) fn from_sorted(rows: Vec<Arc<Row>>) -> Self {
        let mut spine = Vec::with_capacity(rows.len().div_ceil(FILL));
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let start = spine.len() * FILL;
            let mut chunk = Vec::with_capacity(CHUNK + 1);
            chunk.extend(rows.by_ref().take(FILL));
            spine.push(Chunk {
                start,
                rows: Arc::new(chunk),
            });
        }
        Self { spine: Arc::new(spine) }
    }

    pub(super) fn len(&self) -> usize {
        self.spine.last().map_or(0, Chunk::end)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Arc<Row>> {
        let chunk = self.spine.get(self.chunk_at(index))?;
        chunk.rows.get(index - chunk.start)
    }

    /// The rows from `start` on; costs nothing for those before.
    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = &Arc<Row>> {
        let first = self.chunk_at(start);
        let skip = self.spine.get(first).map_or(0, |chunk| start - chunk.start);
        self.spine
            .get(first..)
            .unwrap_or_default()
            .iter()
            .flat_map(|chunk| chunk.rows.iter())
            .skip(skip)
    }

    /// Where `row` is: found by its place in the order, so it must be the row as it was when it was put here.
    pub(super) fn find(&self, row: &Row, sort: Sort) -> Option<usize> {
        let (chunk, at) = self.place(row, sort)?;
        Some(self.spine[chunk].start + at)
    }

    pub(super) fn insert(&mut self, row: Arc<Row>, sort: Sort) {
        let spine = Arc::make_mut(&mut self.spine);
        let after = spine.partition_point(|chunk| before(chunk.rows.last(), &row, sort));
        let Some(last) = spine.len().checked_sub(1) else {
            spine.push(Chunk {
                start: 0,
                rows: Arc::new(vec![row]),
            });
            return;
        };
        let at = after.min(last);
        if after > last && spine[last].rows.len() >= FILL {
            // Lists arrive in order: full chunks, not halves.
            let start = spine[last].end();
            spine.push(Chunk {
                start,
                rows: Arc::new(vec![row]),
            });
            return;
        }
        let rows = spine[at].rows_mut();
        let place = rows.partition_point(|known| sort.order(known, &row) == Ordering::Less);
        rows.insert(place, row);
        if rows.len() > CHUNK {
            let half = rows.split_off(rows.len() / 2);
            let start = spine[at].end();
            spine.insert(
                at + 1,
                Chunk {
                    start,
                    rows: Arc::new(half),
                },
            );
        }
        renumber(spine, at);
    }

    /// Removes `row`, as it was when it was put here; says whether it was there.
    pub(super) fn remove(&mut self, row: &Row, sort: Sort) -> bool {
        let Some((at, place)) = self.place(row, sort) else {
            return false;
        };
        let spine = Arc::make_mut(&mut self.spine);
        if spine[at].rows.len() == 1 {
            spine.remove(at);
        } else {
            spine[at].rows_mut().remove(place);
            // Small neighbours become one, so that deletions do not leave a spine of crumbs.
            if let Some(next) = spine.get(at + 1)
                && spine[at].rows.len() + next.rows.len() <= FILL / 2
            {
                let next = spine.remove(at + 1);
                spine[at].rows_mut().extend_from_slice(&next.rows);
            }
        }
        renumber(spine, at.saturating_sub(1));
        true
    }

    /// Puts `new` where `old` is when it belongs there, which is the usual case: nothing moves.
    pub(super) fn replace(&mut self, old: &Row, new: &Arc<Row>, sort: Sort) -> bool {
        if sort.order(old, new) != Ordering::Equal {
            return false;
        }
        let Some((at, place)) = self.place(old, sort) else {
            return false;
        };
        Arc::make_mut(&mut self.spine)[at].rows_mut()[place] = new.clone();
        true
    }

    fn chunk_at(&self, index: usize) -> usize {
        self.spine.partition_point(|chunk| chunk.end() <= index)
    }

    fn place(&self, row: &Row, sort: Sort) -> Option<(usize, usize)> {
        let at = self.spine.partition_point(|chunk| before(chunk.rows.last(), row, sort));
        let rows = &self.spine.get(at)?.rows;
        let place = rows.partition_point(|known| sort.order(known, row) == Ordering::Less);
        (rows.get(place)?.id == row.id).then_some((at, place))
    }
}

fn before(last: Option<&Arc<Row>>, row: &Row, sort: Sort) -> bool {
    last.is_some_and(|last| sort.order(last, row) == Ordering::Less)
}

fn renumber(spine: &mut [Chunk], from: usize) {
    let mut start = from.checked_sub(1).and_then(|at| spine.get(at)).map_or(0, Chunk::end);
    for chunk in &mut spine[from..] {
        chunk.start = start;
        start = chunk.end();
    }
}
