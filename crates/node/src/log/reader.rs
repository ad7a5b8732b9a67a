//! Reading a log as `pods/log` asks.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use knarr_stream::backend::{LogOptions, LogStream};
use tokio::sync::watch;

use super::format::{self, Line};
use super::tail;
use super::writer::{ContainerLog, Progress};

const BLOCK: usize = 64 << 10;

/// A position in a log, and what is wanted of it.
pub(crate) struct Reader {
    log: Arc<ContainerLog>,
    progress: watch::Receiver<Progress>,
    segment: u64,
    file: Option<File>,
    pending: Vec<u8>,
    follow: bool,
    filter: Filter,
    done: bool,
}

/// Which lines, and how they look.
pub(crate) struct Filter {
    since: Option<Timestamp>,
    stream: Option<String>,
    timestamps: bool,
    left: Option<u64>,
    /// The last thing written was a part of a line.
    inside: bool,
}

impl Filter {
    pub(crate) fn new(options: &LogOptions, now: Timestamp) -> Self {
        let since = options
            .since
            .and_then(|since| now.checked_sub(jiff::SignedDuration::try_from(since).ok()?).ok());
        let stream = options
            .stream
            .clone()
            .filter(|stream| !stream.is_empty() && stream != "All");
        Self {
            since: since.or(options.since_time),
            stream: stream.map(|stream| stream.to_ascii_lowercase()),
            timestamps: options.timestamps,
            left: options.limit_bytes,
            inside: false,
        }
    }

    /// Appends the line as the client wants it. Returns false when no more is wanted.
    pub(crate) fn add(&mut self, output: &mut Vec<u8>, line: &Line<'_>) -> bool {
        if self
            .stream
            .as_deref()
            .is_some_and(|stream| stream != line.stream.name())
        {
            return true;
        }
        if let Some(since) = self.since {
            match line.stamp.parse::<Timestamp>() {
                Ok(at) if at < since => return true,
                // Later lines are not older.
                _ => self.since = None,
            }
        }
        let start = output.len();
        if self.timestamps && !self.inside {
            output.extend_from_slice(line.stamp.as_bytes());
            output.push(b' ');
        }
        output.extend_from_slice(line.text);
        if line.full {
            output.push(b'\n');
        }
        self.inside = !line.full;
        let Some(left) = &mut self.left else {
            return true;
        };
        let room = usize::try_from(*left).unwrap_or(usize::MAX);
        output.truncate(start.saturating_add(room).min(output.len()));
        *left -= (output.len() - start) as u64;
        *left > 0
    }
}

impl Reader {
    /// A reader of `log` as `options` ask, at `now`.
    pub(crate) fn new(log: Arc<ContainerLog>, options: &LogOptions, now: Timestamp) -> io::Result<Self> {
        let progress = log.progress();
        let (segment, offset) = match options.tail_lines {
            Some(count) => tail::start_of(&log, count)?,
            None => (log.segments().first().copied().unwrap_or(0), 0),
        };
        let mut file = log.open_segment(segment)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self {
            log,
            progress,
            segment,
            file: Some(file),
            pending: Vec::new(),
            follow: options.follow,
            filter: Filter::new(options, now),
            done: options.limit_bytes == Some(0),
        })
    }

    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while !self.done {
            // Looked at before reading: what is written in between is seen by the next round.
            let before = *self.progress.borrow_and_update();
            match self.read() {
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
                Ok(Some(output)) if output.is_empty() => tokio::task::yield_now().await,
                Ok(Some(output)) => return Some(Ok(output.into())),
                Ok(None) if !self.follow || before.closed => self.done = true,
                Ok(None) => self.done = self.progress.changed().await.is_err(),
            }
        }
        None
    }

    /// What one block holds; `None` at the present end.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let start = self.pending.len();
        self.pending.resize(start + BLOCK, 0);
        let read = file.read(&mut self.pending[start..])?;
        self.pending.truncate(start + read);
        if read == 0 {
            return self.advance();
        }
        let mut output = Vec::new();
        let mut used = 0;
        while let Some(end) = self.pending[used..].iter().position(|byte| *byte == b'\n') {
            let line = format::parse(&self.pending[used..used + end]);
            used += end + 1;
            if let Some(line) = line
                && !self.filter.add(&mut output, &line)
            {
                self.done = true;
                break;
            }
        }
        self.pending.drain(..used);
        Ok(Some(output))
    }

    /// Goes on to the next segment, if there is one.
    fn advance(&mut self) -> io::Result<Option<Vec<u8>>> {
        let later: VecDeque<u64> = self.log.segments().into_iter().filter(|n| *n > self.segment).collect();
        let Some(next) = later.front() else {
            return Ok(None);
        };
        self.pending.clear();
        self.segment = *next;
        match self.log.open_segment(*next) {
            Ok(file) => self.file = Some(file),
            // The writer has overtaken us: the lines are gone, the next segments are not.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Some(Vec::new()))
    }

    /// As the API server takes it.
    pub(crate) fn into_stream(self) -> LogStream {
        Box::pin(futures::stream::unfold(self, |mut reader| async move {
            let chunk = reader.next().await?;
            Some((chunk, reader))
        }))
    }
}

/// The log of a component as `options` ask.
pub(crate) fn chunks(log: crate::component::ComponentLog, options: &LogOptions, now: Timestamp) -> LogStream {
    const LINES: usize = 512;
    let filter = Filter::new(options, now);
    let written = log.subscribe();
    let end = *written.borrow();
    let next = options.tail_lines.map_or(0, |count| end.saturating_sub(count));
    let state = (
        log,
        written,
        next,
        filter,
        options.follow,
        options.limit_bytes == Some(0),
    );
    Box::pin(futures::stream::unfold(
        state,
        |(log, mut written, mut next, mut filter, follow, mut done)| async move {
            while !done {
                written.borrow_and_update();
                let (lines, after) = log.read(next, LINES);
                if lines.is_empty() {
                    done = !follow || written.changed().await.is_err();
                    continue;
                }
                next = after;
                let mut output = Vec::new();
                for (at, text) in lines {
                    let line = Line {
                        stamp: &format::stamp(at),
                        stream: format::Stream::Stderr,
                        full: true,
                        text: text.as_bytes(),
                    };
                    if !filter.add(&mut output, &line) {
                        done = true;
                        break;
                    }
                }
                if !output.is_empty() {
                    return Some((Ok(Bytes::from(output)), (log, written, next, filter, follow, done)));
                }
            }
            None
        },
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{FutureExt, StreamExt, TryStreamExt};
    use knarr_clock::Clock;

    use super::*;
    use crate::log::Stream;

    fn epoch() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("in range")
    }

    async fn read(log: &Arc<ContainerLog>, options: LogOptions, now: Timestamp) -> String {
        let reader = Reader::new(log.clone(), &options, now).expect("a reader");
        let chunks: Vec<Bytes> = reader.into_stream().try_collect().await.expect("readable");
        String::from_utf8(chunks.concat()).expect("text")
    }

    #[tokio::test(start_paused = true)]
    async fn every_option_of_kubectl_logs_is_heeded_across_segments() {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::virtual_at(epoch());
        let log = ContainerLog::create(dir.path(), 0, clock.clone())
            .expect("created")
            .with_segments_of(100);
        for i in 0..8 {
            let stream = if i % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
            log.write(stream, [(format!("line {i}").as_bytes(), true)]);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        log.close();
        assert!(log.segments().len() > 2, "several segments");
        let now = clock.now();
        let all = LogOptions::default();
        assert_eq!(read(&log, all.clone(), now).await.lines().count(), 8);
        let tail = |tail_lines| LogOptions {
            tail_lines: Some(tail_lines),
            ..all.clone()
        };
        assert_eq!(read(&log, tail(3), now).await, "line 5\nline 6\nline 7\n");
        assert_eq!(read(&log, tail(0), now).await, "");
        assert_eq!(read(&log, tail(100), now).await.lines().count(), 8);
        let since = LogOptions {
            since: Some(Duration::from_secs(2)),
            ..all.clone()
        };
        assert_eq!(read(&log, since, now).await, "line 6\nline 7\n");
        let stderr = LogOptions {
            stream: Some("Stderr".into()),
            tail_lines: Some(4),
            ..all.clone()
        };
        assert_eq!(read(&log, stderr, now).await, "line 5\nline 7\n");
        let limited = LogOptions {
            limit_bytes: Some(9),
            ..all.clone()
        };
        assert_eq!(read(&log, limited, now).await, "line 0\nli");
        let stamped = LogOptions {
            timestamps: true,
            tail_lines: Some(1),
            ..all
        };
        assert_eq!(
            read(&log, stamped, now).await,
            "2023-11-14T22:13:27.000000000Z line 7\n"
        );
    }

    #[tokio::test]
    async fn following_sees_new_lines_over_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = ContainerLog::create(dir.path(), 0, Clock::system())
            .expect("created")
            .with_segments_of(100);
        log.write(Stream::Stdout, [(b"first".as_slice(), true)]);
        let options = LogOptions {
            follow: true,
            ..LogOptions::default()
        };
        let mut lines = Reader::new(log.clone(), &options, epoch())
            .expect("a reader")
            .into_stream();
        assert_eq!(lines.next().await.expect("a chunk").expect("read"), "first\n");
        assert!(lines.next().now_or_never().is_none(), "waits for more");
        for i in 0..4 {
            log.write(Stream::Stdout, [(format!("more {i}").as_bytes(), true)]);
        }
        log.close();
        let rest: Vec<Bytes> = lines.try_collect().await.expect("readable");
        assert_eq!(rest.concat(), b"more 0\nmore 1\nmore 2\nmore 3\n");
    }

    #[tokio::test]
    async fn parts_of_a_long_line_are_joined_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = ContainerLog::create(dir.path(), 0, Clock::virtual_at(epoch())).expect("created");
        log.write(
            Stream::Stdout,
            [
                (b"ab".as_slice(), false),
                (b"cd".as_slice(), true),
                (b"e".as_slice(), true),
            ],
        );
        log.close();
        let options = LogOptions {
            timestamps: true,
            ..LogOptions::default()
        };
        let text = read(&log, options, epoch()).await;
        let texts: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(_, text)| text)
            .collect();
        assert_eq!(texts, ["abcd", "e"]);
    }

    #[tokio::test]
    async fn a_components_log_is_read_with_the_same_options() {
        let log = crate::component::ComponentLog::new(Clock::virtual_at(epoch()));
        log.push("one\ntwo\nthree");
        let options = LogOptions {
            tail_lines: Some(2),
            limit_bytes: Some(7),
            ..LogOptions::default()
        };
        let text: Vec<Bytes> = chunks(log, &options, epoch()).try_collect().await.expect("readable");
        assert_eq!(text.concat(), b"two\nthr");
    }
}
