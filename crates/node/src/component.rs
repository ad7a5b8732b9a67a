//! The control plane's own components, shown as pods.
//!
//! On a real cluster the API server, the scheduler and the controllers run as static pods, and people look there for
//! their state and logs. Here they are parts of this process. A component pod is the mirror pod without the static pod:
//! it shows what runs and serves its log, and there is nothing in it to exec into.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use knarr_clock::Clock;
use tokio::sync::watch;

/// Bytes of log that one component keeps.
const KEPT: usize = 1 << 20;
/// Longest line that is kept whole.
const LONGEST: usize = 16 << 10;

/// One component of the control plane.
#[derive(Clone, Debug)]
pub struct ComponentPod {
    /// Name without the node: `kube-apiserver` is shown as `kube-apiserver-NODE`.
    pub name: String,
    /// The image shown.
    pub image: String,
    /// The command shown.
    pub command: Vec<String>,
    /// Where its log comes from.
    pub log: ComponentLog,
}

/// The log of a component: a bounded number of the last lines, and news of further ones. Clones share it.
#[derive(Clone, Debug)]
pub struct ComponentLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    lines: Mutex<Lines>,
    written: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<(Timestamp, String)>,
    bytes: usize,
    /// Number of the first line in `kept`, counted from the beginning.
    first: u64,
}

impl ComponentLog {
    /// An empty log.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            lines: Mutex::default(),
            written: watch::Sender::new(0),
        }))
    }

    /// Adds one line, or several separated by line feeds.
    pub fn push(&self, text: &str) {
        let now = self.0.clock.now();
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.trim_end_matches('\n').split('\n') {
            let mut end = line.len().min(LONGEST);
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            lines.bytes += end;
            lines.kept.push_back((now, line[..end].to_owned()));
        }
        while lines.bytes > KEPT
            && let Some((_, line)) = lines.kept.pop_front()
        {
            lines.bytes -= line.len();
            lines.first += 1;
        }
        let end = lines.first + lines.kept.len() as u64;
        drop(lines);
        self.0.written.send_replace(end);
    }

    /// Up to `limit` lines from number `from` on, and the number of the line after them.
    pub(crate) fn read(&self, from: u64, limit: usize) -> (Vec<(Timestamp, String)>, u64) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let from = from.max(lines.first);
        let skip = usize::try_from(from - lines.first).unwrap_or(usize::MAX);
        let read: Vec<_> = lines.kept.iter().skip(skip).take(limit).cloned().collect();
        let next = from + read.len() as u64;
        (read, next)
    }

    /// Tells of new lines; the value is the number of the line to come.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_log_keeps_the_last_lines_and_their_numbers() {
        let log = ComponentLog::new(Clock::system());
        log.push("one\ntwo\n");
        let (lines, next) = log.read(1, 10);
        assert_eq!((lines.len(), next, lines[0].1.as_str()), (1, 2, "two"));
        for _ in 0..200 {
            log.push(&"x".repeat(LONGEST + 5));
        }
        let (lines, next) = log.read(0, usize::MAX);
        assert_eq!((lines.len(), next), (KEPT / LONGEST, 202));
        assert_eq!(*log.subscribe().borrow(), 202);
    }
}
