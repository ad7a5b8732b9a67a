//! Texts that many rows share are kept once: states, nodes, images, sets of labels.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Labels, sorted by key.
pub(super) type Labels = [(Box<str>, Box<str>)];

/// The fewest entries before those that nobody shares are forgotten.
const FEW: usize = 4096;

static WORDS: Mutex<Option<Known<str>>> = Mutex::new(None);
static LABELS: Mutex<Option<Known<Labels>>> = Mutex::new(None);

struct Known<T: ?Sized> {
    all: HashSet<Arc<T>>,
    most: usize,
}

/// A text that others may have, too.
pub(super) fn word(text: &str) -> Arc<str> {
    shared(&WORDS, text)
}

/// A set of labels that others may have, too.
pub(super) fn labels(labels: Box<Labels>) -> Arc<Labels> {
    shared(&LABELS, labels)
}

fn shared<T, V>(known: &Mutex<Option<Known<T>>>, value: V) -> Arc<T>
where
    T: Hash + Eq + ?Sized,
    V: AsRef<T> + Into<Arc<T>>,
{
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_with(|| Known {
        all: HashSet::new(),
        most: FEW,
    });
    if let Some(same) = known.all.get(value.as_ref()) {
        return same.clone();
    }
    if known.all.len() >= known.most {
        // Ours, and that of one row: nobody shares it.
        known.all.retain(|one| Arc::strong_count(one) > 2);
        known.most = FEW.max(known.all.len() * 2);
    }
    let new: Arc<T> = value.into();
    known.all.insert(new.clone());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_lonely_ones_are_forgotten() {
        let first = word("Running of this test");
        assert!(Arc::ptr_eq(&first, &word("Running of this test")));
        let second = first.clone();
        for number in 0..3 * FEW {
            word(&format!("10.0.0.{number} of this test"));
        }
        let size = WORDS.lock().unwrap().as_ref().map_or(0, |known| known.all.len());
        assert!(size <= 2 * FEW, "{size}");
        assert!(Arc::ptr_eq(&second, &word("Running of this test")));
        let set = || labels([("app".into(), "web".into())].into());
        assert!(Arc::ptr_eq(&set(), &set()));
    }
}
