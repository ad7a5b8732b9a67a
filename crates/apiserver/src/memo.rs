//! What has been made of stored objects, kept so that it is made once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::store::Object;

/// By object as it was stored, and by what was made of it. An object that changes is another object, so nothing here goes
/// stale; what is too much is forgotten.
pub(crate) struct Memo<K, T> {
    most: usize,
    made: Mutex<HashMap<(usize, K), Made<T>>>,
}

struct Made<T> {
    /// Keeps the address, which is the key, from being given to another object.
    object: Weak<Object>,
    value: T,
}

impl<K: Eq + Hash, T: Clone> Memo<K, T> {
    /// Remembers of `most` objects.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            made: Mutex::default(),
        }
    }

    /// What was made of an object before.
    pub(crate) fn get(&self, object: &Arc<Object>, kind: K) -> Option<T> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.get(&(address(object), kind)).map(|made| made.value.clone())
    }

    /// Remembers what was made.
    pub(crate) fn put(&self, object: &Arc<Object>, kind: K, value: T) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= self.most {
            made.retain(|_, made| made.object.strong_count() > 0);
            // Half is left, so that this is done seldom.
            if made.len() > self.most / 2 {
                made.clear();
            }
        }
        let weak = Arc::downgrade(object);
        made.insert((address(object), kind), Made { object: weak, value });
    }
}

fn address(object: &Arc<Object>) -> usize {
    Arc::as_ptr(object) as usize
}
