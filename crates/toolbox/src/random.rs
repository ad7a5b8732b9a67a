//! Numbers nobody has to guess: enough for `$RANDOM`, names of temporary files, DNS query IDs.

use std::hash::{BuildHasher, Hasher};

/// The next number. Each call takes a freshly keyed hasher, whose key the standard library seeds from the system.
pub(crate) fn next() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
