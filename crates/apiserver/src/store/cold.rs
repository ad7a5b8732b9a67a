//! Objects that nobody has written for a while, packed.
//!
//! Pods of one Deployment, or the nodes of a cluster, hardly differ. Packed (LZ4) against one of their siblings as the
//! dictionary they take a few hundred bytes instead of many thousand. What has just been written stays as it is: watches
//! are about to send it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::object::Object;

/// Bytes of JSON that stay unpacked.
const WARM: usize = 8 << 20;
/// Smaller objects are not worth it.
const LEAST: usize = 512;
/// LZ4 looks back 64 KiB; the object itself wants some of that.
const DICTIONARY: usize = 32 << 10;

/// Freed memory goes back to the system when nothing has been packed for so long.
const SETTLE: Duration = Duration::from_secs(1);

/// What the objects of a table are packed against: the first of them that was packed.
#[derive(Clone, Debug, Default)]
pub(super) struct Sibling(Option<Arc<OnceLock<Arc<[u8]>>>>);

impl Sibling {
    /// For a table of this name. Secrets get none: it would stay in memory when they are deleted.
    pub(super) fn of(table: &str) -> Self {
        Self((table != "secrets").then(Arc::default))
    }
}

#[derive(Default)]
struct Queue {
    objects: VecDeque<(Arc<Object>, Sibling)>,
    bytes: usize,
    packing: bool,
    /// How often packing has begun.
    passes: u64,
}

/// The objects written last, oldest first.
#[derive(Clone, Default)]
pub(super) struct Warm(Arc<Mutex<Queue>>);

impl Warm {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds objects, and packs the oldest on another thread if there are too many.
    pub(super) fn add(&self, objects: impl IntoIterator<Item = (Arc<Object>, Sibling)>) {
        let mut queue = self.queue();
        for (object, sibling) in objects {
            if object.size() >= LEAST {
                queue.bytes += object.size();
                queue.objects.push_back((object, sibling));
            }
        }
        if queue.bytes > WARM && !queue.packing {
            queue.packing = true;
            queue.passes += 1;
            tokio::spawn(self.clone().pack(queue.passes));
        }
    }

    /// Packs on another thread, and gives back what that has freed unless there is more to pack soon.
    async fn pack(self, pass: u64) {
        let warm = self.clone();
        // It fails only where the whole program ends.
        let _ = tokio::task::spawn_blocking(move || while warm.pack_some() {}).await;
        tokio::time::sleep(SETTLE).await;
        if self.queue().passes == pass {
            let _ = tokio::task::spawn_blocking(give_back).await; // likewise
        }
    }

    /// Packs some of the oldest. False if that is enough.
    fn pack_some(&self) -> bool {
        let mut cold = Vec::new();
        {
            let mut queue = self.queue();
            while queue.bytes > WARM / 2
                && cold.len() < 64
                && let Some((object, sibling)) = queue.objects.pop_front()
            {
                queue.bytes -= object.size();
                cold.push((object, sibling));
            }
            queue.packing = !cold.is_empty();
        }
        for (object, sibling) in &cold {
            // Nobody but this queue knows it any more: an older state that the history has forgotten.
            if Arc::strong_count(object) > 1 {
                let dictionary = sibling.0.as_ref().map(|sibling| {
                    let first = || object.json()[..object.size().min(DICTIONARY)].into();
                    sibling.get_or_init(first).clone()
                });
                object.pack(dictionary);
            }
        }
        !cold.is_empty()
    }
}

/// Gives freed memory back to the system. glibc keeps what lies between pieces in use: 70 MB were left of the deletion of 1,500
/// objects of 14 KB.
#[allow(unsafe_code, reason = "only the C library can do it")]
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's own locks, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
