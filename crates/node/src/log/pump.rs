//! From a process's output into its log and to whoever is attached.

use std::sync::Arc;

use bytes::Bytes;
use knarr_runtime::Reader;
use tokio::io::AsyncReadExt;

use super::format::{LONGEST, Stream};
use super::writer::ContainerLog;

/// Copies until the output ends; `seen` gets the bytes as they are.
pub(crate) async fn pump(mut output: Reader, stream: Stream, log: Arc<ContainerLog>, seen: impl Fn(Bytes)) {
    let mut chunk = vec![0; LONGEST];
    let mut pending = Vec::new();
    loop {
        // An error is the end: a terminal gives EIO when its last process has gone.
        let read = match output.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        seen(Bytes::copy_from_slice(&chunk[..read]));
        pending.extend_from_slice(&chunk[..read]);
        let used = store(&log, stream, &pending);
        pending.drain(..used);
    }
    if !pending.is_empty() {
        log.write(stream, [(pending.as_slice(), true)]);
    }
}

/// Stores all whole lines, and parts of a line that is too long to wait for its end. Returns how many bytes that were.
fn store(log: &ContainerLog, stream: Stream, pending: &[u8]) -> usize {
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let rest = &pending[at..];
        match rest.iter().take(LONGEST + 1).position(|byte| *byte == b'\n') {
            Some(end) => {
                lines.push((&rest[..end], true));
                at += end + 1;
            }
            None if rest.len() > LONGEST => {
                lines.push((&rest[..LONGEST], false));
                at += LONGEST;
            }
            None => break,
        }
    }
    log.write(stream, lines);
    at
}

#[cfg(test)]
mod tests {
    use knarr_clock::Clock;

    use super::*;
    use crate::log::format;

    #[tokio::test]
    async fn long_lines_are_stored_in_parts_and_a_last_line_needs_no_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = ContainerLog::create(dir.path(), 0, Clock::system()).expect("created");
        let text = [b"one\n\n".as_slice(), &[b'x'; LONGEST + 10], b"\nend"].concat();
        let seen = std::sync::Mutex::new(0);
        let output: Reader = Box::new(std::io::Cursor::new(text.clone()));
        pump(output, Stream::Stdout, log.clone(), |bytes| {
            *seen.lock().expect("held") += bytes.len()
        })
        .await;
        let stored = std::fs::read(dir.path().join("0.0.log")).expect("stored");
        let lines: Vec<(usize, bool)> = stored
            .split(|byte| *byte == b'\n')
            .filter_map(format::parse)
            .map(|line| (line.text.len(), line.full))
            .collect();
        assert_eq!(lines, [(3, true), (0, true), (LONGEST, false), (10, true), (3, true)]);
        assert_eq!(*seen.lock().expect("held"), text.len());
    }
}
