//! Rows in order, in copy-on-write chunks: a clone is one reference count, and moving one row among 50,000 copies two
//! chunks and the spine instead of everything.

use std::cmp::Ordering;
use std::sync::Arc;

use super::block::Block;
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
    block: Arc<Block>,
}

impl Chunk {
    fn new(start: usize, rows: Vec<Arc<Row>>) -> Self {
        Self {
            start,
            block: Arc::new(Block::new(rows)),
        }
    }

    fn rows(&self) -> &[Arc<Row>] {
        self.block.rows()
    }

    fn end(&self) -> usize {
        self.start + self.rows().len()
    }

    /// For writing; copied first when a listing still shows it.
    fn block_mut(&mut self) -> &mut Block {
        if Arc::get_mut(&mut self.block).is_none() {
            self.block = Arc::new(self.block.copy(CHUNK + 1));
        }
        Arc::get_mut(&mut self.block).expect("nobody else has it")
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
            spine.push(Chunk::new(start, chunk));
        }
        Self { spine: Arc::new(spine) }
    }

    pub(super) fn len(&self) -> usize {
        self.spine.last().map_or(0, Chunk::end)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Arc<Row>> {
        let chunk = self.spine.get(self.chunk_at(index))?;
        chunk.rows().get(index - chunk.start)
    }

    /// The rows in blocks, in order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.spine.iter().map(|chunk| &*chunk.block)
    }

    /// The rows from `start` on; costs nothing for those before.
    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = &Arc<Row>> {
        let first = self.chunk_at(start);
        let skip = self.spine.get(first).map_or(0, |chunk| start - chunk.start);
        self.spine
            .get(first..)
            .unwrap_or_default()
            .iter()
            .flat_map(|chunk| chunk.rows())
            .skip(skip)
    }

    /// Where `row` is: found by its place in the order, so it must be the row as it was when it was put here.
    pub(super) fn find(&self, row: &Row, sort: Sort) -> Option<usize> {
        let (chunk, at) = self.place(row, sort)?;
        Some(self.spine[chunk].start + at)
    }

    pub(super) fn insert(&mut self, row: Arc<Row>, sort: Sort) {
        let spine = Arc::make_mut(&mut self.spine);
        let after = spine.partition_point(|chunk| before(chunk.rows().last(), &row, sort));
        let Some(last) = spine.len().checked_sub(1) else {
            spine.push(Chunk::new(0, vec![row]));
            return;
        };
        let at = after.min(last);
        if after > last && spine[last].rows().len() >= FILL {
            // Lists arrive in order: full chunks, not halves.
            let start = spine[last].end();
            spine.push(Chunk::new(start, vec![row]));
            return;
        }
        let block = spine[at].block_mut();
        let place = block
            .rows()
            .partition_point(|known| sort.order(known, &row) == Ordering::Less);
        block.insert(place, row);
        if block.rows().len() > CHUNK {
            let half = Arc::new(block.split());
            let start = spine[at].end();
            spine.insert(at + 1, Chunk { start, block: half });
        }
        renumber(spine, at);
    }

    /// Removes `row`, as it was when it was put here; says whether it was there.
    pub(super) fn remove(&mut self, row: &Row, sort: Sort) -> bool {
        let Some((at, place)) = self.place(row, sort) else {
            return false;
        };
        let spine = Arc::make_mut(&mut self.spine);
        if spine[at].rows().len() == 1 {
            spine.remove(at);
        } else {
            spine[at].block_mut().remove(place);
            // Small neighbours become one, so that deletions do not leave a spine of crumbs.
            if let Some(next) = spine.get(at + 1)
                && spine[at].rows().len() + next.rows().len() <= FILL / 2
            {
                let next = spine.remove(at + 1);
                spine[at].block_mut().append(&next.block);
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
        Arc::make_mut(&mut self.spine)[at]
            .block_mut()
            .replace(place, new.clone());
        true
    }

    fn chunk_at(&self, index: usize) -> usize {
        self.spine.partition_point(|chunk| chunk.end() <= index)
    }

    fn place(&self, row: &Row, sort: Sort) -> Option<(usize, usize)> {
        let at = self
            .spine
            .partition_point(|chunk| before(chunk.rows().last(), row, sort));
        let rows = self.spine.get(at)?.rows();
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
