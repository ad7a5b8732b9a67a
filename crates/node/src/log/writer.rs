//! The log of one instance of a container.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use knarr_clock::Clock;
use tokio::sync::watch;

use super::format::{self, Stream};

/// A segment is full at 10 MiB, and five are kept.
const SEGMENT_BYTES: u64 = 10 << 20;
const SEGMENTS: usize = 5;

/// How far a log has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Grows with every write.
    pub(crate) written: u64,
    /// Nothing will follow.
    pub(crate) closed: bool,
}

/// The log of one instance of a container, being written or complete.
#[derive(Debug)]
pub(crate) struct ContainerLog {
    dir: PathBuf,
    attempt: u32,
    clock: Clock,
    segment_bytes: u64,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    size: u64,
    /// Numbers of the segments that exist, oldest first.
    segments: VecDeque<u64>,
}

impl ContainerLog {
    /// Starts a log. Instances before the previous one lose theirs.
    pub(crate) fn create(dir: &Path, attempt: u32, clock: Clock) -> io::Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        for (found, segment) in list(dir) {
            if found + 1 < attempt || found >= attempt {
                let _ = fs::remove_file(path(dir, found, segment)); // it is only in the way
            }
        }
        let file = File::create(path(dir, attempt, 0))?;
        let state = State {
            file: Some(file),
            size: 0,
            segments: VecDeque::from([0]),
        };
        Ok(Self::new(dir, attempt, clock, state, false))
    }

    /// The log of an instance that has ended, perhaps long ago.
    pub(crate) fn open(dir: &Path, attempt: u32, clock: Clock) -> Option<Arc<Self>> {
        let mut segments: Vec<u64> = list(dir)
            .filter(|(found, _)| *found == attempt)
            .map(|(_, segment)| segment)
            .collect();
        segments.sort_unstable();
        let state = State {
            segments: segments.into(),
            ..State::default()
        };
        (!state.segments.is_empty()).then(|| Self::new(dir, attempt, clock, state, true))
    }

    fn new(dir: &Path, attempt: u32, clock: Clock, state: State, closed: bool) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.to_owned(),
            attempt,
            clock,
            segment_bytes: SEGMENT_BYTES,
            state: Mutex::new(state),
            progress: watch::Sender::new(Progress { written: 0, closed }),
        })
    }

    #[cfg(test)]
    pub(crate) fn with_segments_of(self: Arc<Self>, bytes: u64) -> Arc<Self> {
        let mut log = Arc::into_inner(self).expect("not shared yet");
        log.segment_bytes = bytes;
        Arc::new(log)
    }

    /// Adds lines, all stamped with the present time; `full` is false for a part of a long line.
    pub(crate) fn write<'a>(&self, stream: Stream, lines: impl IntoIterator<Item = (&'a [u8], bool)>) {
        let stamp = format::stamp(self.clock.now());
        let mut buffer = Vec::new();
        for (text, full) in lines {
            format::write(&mut buffer, &stamp, stream, full, text);
        }
        if buffer.is_empty() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.append(&mut state, &buffer) {
            tracing::warn!(dir = %self.dir.display(), %error, "container output lost");
        }
        drop(state);
        self.progress
            .send_modify(|progress| progress.written += buffer.len() as u64);
    }

    fn append(&self, state: &mut State, buffer: &[u8]) -> io::Result<()> {
        if state.size > 0 && state.size + buffer.len() as u64 > self.segment_bytes {
            let next = state.segments.back().map_or(0, |last| last + 1);
            state.file = Some(File::create(path(&self.dir, self.attempt, next))?);
            state.size = 0;
            state.segments.push_back(next);
            while state.segments.len() > SEGMENTS
                && let Some(oldest) = state.segments.pop_front()
            {
                fs::remove_file(path(&self.dir, self.attempt, oldest))?;
            }
        }
        if let Some(file) = &mut state.file {
            file.write_all(buffer)?;
            state.size += buffer.len() as u64;
        }
        Ok(())
    }

    /// Nothing will follow: readers that follow it come to an end.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).file = None;
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// Numbers of the segments that exist now, oldest first.
    pub(crate) fn segments(&self) -> Vec<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.segments.iter().copied().collect()
    }

    pub(crate) fn open_segment(&self, segment: u64) -> io::Result<File> {
        File::open(path(&self.dir, self.attempt, segment))
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The end of what the container said, for its termination message: at most 80 lines and 2 KiB.
    pub(crate) fn last_words(&self) -> String {
        super::tail::last_words(self, 80, 2048)
    }
}

fn path(dir: &Path, attempt: u32, segment: u64) -> PathBuf {
    dir.join(format!("{attempt}.{segment}.log"))
}

/// Attempt and segment of every log file in `dir`.
fn list(dir: &Path) -> impl Iterator<Item = (u32, u64)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let (attempt, segment) = name.to_str()?.strip_suffix(".log")?.split_once('.')?;
        Some((attempt.parse().ok()?, segment.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_segments_are_followed_by_new_ones_and_five_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = ContainerLog::create(dir.path(), 0, Clock::system())
            .expect("created")
            .with_segments_of(1000);
        for _ in 0..100 {
            log.write(Stream::Stdout, [([b'x'; 60].as_slice(), true)]);
        }
        let segments = log.segments();
        assert_eq!(segments.len(), SEGMENTS);
        assert_eq!(list(dir.path()).count(), SEGMENTS);
        let again = ContainerLog::open(dir.path(), 0, Clock::system()).expect("found");
        assert_eq!(again.segments(), segments);
        assert!(again.progress().borrow().closed);
    }

    #[test]
    fn only_the_previous_instance_keeps_its_log() {
        let dir = tempfile::tempdir().expect("a directory");
        for attempt in 0..4 {
            ContainerLog::create(dir.path(), attempt, Clock::system()).expect("created");
        }
        let mut attempts: Vec<u32> = list(dir.path()).map(|(attempt, _)| attempt).collect();
        attempts.sort_unstable();
        assert_eq!(attempts, [2, 3]);
        assert!(ContainerLog::open(dir.path(), 1, Clock::system()).is_none());
    }
}
