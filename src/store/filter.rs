//! The filter a user types at `/`.
//!
//! | typed | keeps rows |
//! |---|---|
//! | `web` | with `web` in the namespace, the name or a shown cell (ages aside), in any case |
//! | `"two words"` | with this text, spaces and all |
//! | `web run` | that pass both terms |
//! | `web \| db` | that pass either side |
//! | `!web` | that do not pass the term |
//! | `~wbf` | whose name has these letters in this order |
//! | `/^web-\d+$/` | where the regular expression matches; `web-[12]` is one too, by its metacharacters |
//! | `status:crash` | with the text in this column; `namespace:` and `name:` always work |
//! | `status=Running`, `status!=Running` | whose cell is exactly this, in any case |
//! | `restarts>=3`, `age<10m`, `cpu>500m` | by number, duration, quantity; the start of a title is enough |
//! | `app=web`, `app!=web` | by label, when no column is called so |
//! | `label:app`, `label:app=web` | with this label |
//!
//! A filter is parsed while it is typed, so half a term is no error: what is still empty keeps everything.

mod parse;
mod term;

use jiff::Timestamp;

use std::sync::Arc;

use super::block::{Bits, Block};
use crate::error::Result;
use crate::store::Row;
pub(super) use term::texts;
use term::{Scan, Term};

/// A parsed filter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Alternatives of terms that must all pass; no alternative keeps everything.
    alternatives: Vec<Vec<Term>>,
}

impl Filter {
    /// Parses what the user typed; `columns` are the kind's column titles in the order of a row's cells.
    ///
    /// # Errors
    ///
    /// A regular expression between slashes that is none, a comparison with an unknown column or with no number.
    pub fn parse(text: &str, columns: &[&str]) -> Result<Self> {
        parse::parse(text, columns).map(|alternatives| Self { alternatives })
    }

    /// The text taken literally: for what cannot be parsed.
    pub fn literal(text: &str) -> Self {
        Self {
            alternatives: vec![vec![Term::text(text)]],
        }
    }

    /// Whether it keeps everything.
    pub fn is_empty(&self) -> bool {
        self.alternatives.is_empty()
    }

    /// Whether the row stays, at `now`.
    pub fn keeps(&self, row: &Row, now: Timestamp) -> bool {
        self.alternatives.is_empty()
            || self
                .alternatives
                .iter()
                .any(|terms| terms.iter().all(|term| term.passes(row, now)))
    }

    /// Adds the rows of a block that stay, at `now`.
    pub(super) fn pick(&self, block: &Block, now: Timestamp, kept: &mut Vec<Arc<Row>>) {
        if self.alternatives.is_empty() {
            return kept.extend_from_slice(block.rows());
        }
        let mut found = vec![0; block.rows().len().div_ceil(64)];
        for terms in &self.alternatives {
            let passed = passed(terms, block, now);
            found.iter_mut().zip(passed).for_each(|(all, these)| *all |= these);
        }
        let rows = block.rows().iter().enumerate();
        kept.extend(rows.filter(|(at, _)| has(&found, *at)).map(|(_, row)| row.clone()));
    }

    /// Whether time alone may change what it keeps.
    pub(super) fn is_timely(&self) -> bool {
        self.alternatives.iter().flatten().any(Term::is_timely)
    }

    /// The next moment after `now` at which time alone may change the answer for `row`.
    pub fn flip(&self, row: &Row, now: Timestamp) -> Option<Timestamp> {
        self.alternatives
            .iter()
            .flatten()
            .filter_map(|term| term.flip(row, now))
            .min()
    }
}

/// The rows of a block that pass all terms: what is quick to look for narrows what the others look at.
fn passed(terms: &[Term], block: &Block, now: Timestamp) -> Bits {
    let mut passed = vec![u64::MAX; block.rows().len().div_ceil(64)];
    for scan in terms.iter().filter_map(Term::scan) {
        let Scan { needle, inverse } = scan;
        let found = block.find(&needle);
        let flip = if inverse { u64::MAX } else { 0 };
        passed
            .iter_mut()
            .zip(found)
            .for_each(|(all, these)| *all &= these ^ flip);
    }
    for term in terms.iter().filter(|term| term.scan().is_none()) {
        for (at, row) in block.rows().iter().enumerate() {
            if has(&passed, at) && !term.passes(row, now) {
                passed[at / 64] &= !(1 << (at % 64));
            }
        }
    }
    passed
}

fn has(bits: &Bits, at: usize) -> bool {
    bits[at / 64] >> (at % 64) & 1 == 1
}

#[cfg(test)]
mod tests;
