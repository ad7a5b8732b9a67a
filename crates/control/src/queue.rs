//! The work queue of a controller.
//!
//! A key that is added many times before it is worked on is worked on once; a key that is added while it is being
//! worked on is worked on again afterwards, never twice at the same time. Failures come back after an exponentially
//! growing delay.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay of the first retry; doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// Longest delay of a retry.
const LAST_RETRY: Duration = Duration::from_secs(1000);

/// A deduplicating queue with delays.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Waiting in `ready`, or to be put there when its worker is done.
    dirty: HashSet<T>,
    working: HashSet<T>,
    later: BinaryHeap<Reverse<(Instant, T)>>,
    /// The earliest time of each item in `later`; its other entries there are void.
    due: HashMap<T, Instant>,
    failures: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: HashSet::new(),
                working: HashSet::new(),
                later: BinaryHeap::new(),
                due: HashMap::new(),
                failures: HashMap::new(),
            }),
            wake: Notify::new(),
        }
    }

    /// Asks for work on `item` as soon as possible.
    pub(crate) fn add(&self, item: T) {
        if self.lock().add(item) {
            self.wake.notify_one();
        }
    }

    /// Asks for work on `item` once `delay` has passed, or earlier if it was asked for earlier.
    pub(crate) fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        if self.lock().add_at(item, Instant::now() + delay) {
            self.wake.notify_one();
        }
    }

    /// Asks for another try after a failure.
    pub(crate) fn retry(&self, item: T) {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(item.clone()).or_insert(0);
            *failures += 1;
            *failures
        };
        let doubled = FIRST_RETRY.saturating_mul(1u32.checked_shl(failures - 1).unwrap_or(u32::MAX));
        self.add_after(item, doubled.min(LAST_RETRY));
    }

    /// Forgets earlier failures: the next retry starts at the shortest delay.
    pub(crate) fn forget(&self, item: &T) {
        self.lock().failures.remove(item);
    }

    /// Waits for the next item. The caller must call [`done`](Self::done) on it.
    pub(crate) async fn next(&self) -> T {
        loop {
            let woken = self.wake.notified();
            let next_at = {
                let mut state = self.lock();
                state.promote(Instant::now());
                if let Some(item) = state.ready.pop_front() {
                    state.dirty.remove(&item);
                    state.working.insert(item.clone());
                    return item;
                }
                state.later.peek().map(|Reverse((at, _))| *at)
            };
            match next_at {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, woken).await;
                }
                None => woken.await,
            }
        }
    }

    /// Ends the work on an item. If it was asked for in the meantime, it is ready again.
    pub(crate) fn done(&self, item: &T) {
        let mut state = self.lock();
        state.working.remove(item);
        if state.dirty.contains(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Eq + Hash + Ord> State<T> {
    /// Whether somebody has to be woken.
    fn add(&mut self, item: T) -> bool {
        if !self.dirty.insert(item.clone()) || self.working.contains(&item) {
            return false;
        }
        self.ready.push_back(item);
        true
    }

    /// Whether somebody has to be woken, to wait for less long.
    fn add_at(&mut self, item: T, at: Instant) -> bool {
        if self.due.get(&item).is_some_and(|due| *due <= at) {
            return false;
        }
        self.due.insert(item.clone(), at);
        self.later.push(Reverse((at, item)));
        true
    }

    fn promote(&mut self, now: Instant) {
        while let Some(Reverse((at, _))) = self.later.peek() {
            if *at > now {
                break;
            }
            if let Some(Reverse((at, item))) = self.later.pop()
                && self.due.get(&item) == Some(&at)
            {
                self.due.remove(&item);
                self.add(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_back_once() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().await, "b", "a is being worked on and must wait");
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        let more = tokio::time::timeout(Duration::from_secs(3600), queue.next()).await;
        assert!(more.is_err(), "nothing may be left");
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_delays_the_earliest_counts() {
        let (queue, start) = (Queue::new(), Instant::now());
        for seconds in [30, 10, 20] {
            queue.add_after("a", Duration::from_secs(seconds));
        }
        queue.next().await;
        queue.done(&"a");
        assert_eq!(start.elapsed().as_secs(), 10);
        let more = tokio::time::timeout(Duration::from_secs(3600), queue.next()).await;
        assert!(more.is_err(), "the later ones are void");
    }

    #[tokio::test(start_paused = true)]
    async fn retries_back_off_exponentially_up_to_the_cap() {
        let queue = Queue::new();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            queue.retry("a");
            queue.next().await;
            queue.done(&"a");
            waits.push(start.elapsed().as_millis());
        }
        assert_eq!(waits[..4], [5, 10, 20, 40]);
        assert_eq!(waits[19], 1_000_000);
        queue.forget(&"a");
        let start = Instant::now();
        queue.retry("a");
        queue.next().await;
        assert_eq!(start.elapsed().as_millis(), 5);
    }
}
