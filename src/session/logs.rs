//! Log tails: one stream per source into one ring, reconnected without repeating or losing lines.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use jiff::Timestamp;
use serde_json::Value;

use super::ring::{CHUNK, Ring};
use super::shared::Shared;
use super::{LogSpec, PodTarget, Status};
use crate::cluster::{Link, Read, encode};
use crate::error::{Error, ErrorKind};
use crate::text;

/// Longest pause before it is asked whether a container that has ended was started again, or a broken stream can be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Longest line kept; the rest of a longer one follows as lines of its own.
const MAX_LINE: usize = 64 * 1024;

/// One log line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Index into the spec's sources.
    pub source: u16,
    /// When the container wrote it, as the node stamped it.
    pub time: Option<Timestamp>,
    /// The line, harmless: escape sequences are removed.
    pub text: Box<str>,
}

/// The lines held at one moment; cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct LogSnapshot {
    /// Number of the first line held; grows when the ring drops old lines.
    pub first: u64,
    pub(super) chunks: Arc<[Arc<Vec<LogLine>>]>,
}

impl LogSnapshot {
    /// Lines held.
    pub fn len(&self) -> usize {
        match self.chunks.last() {
            Some(last) => (self.chunks.len() - 1) * CHUNK + last.len(),
            None => 0,
        }
    }

    /// Whether no line has come yet.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The line at `index` of those held.
    pub fn get(&self, index: usize) -> Option<&LogLine> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }
}

/// A log session's lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    ring: Mutex<Ring>,
}

impl Lines {
    /// A snapshot and its version; `None` when nothing has changed since `version`. Both are read under one lock, so that
    /// no line can slip in between and never be shown.
    pub(super) fn newer_than(&self, version: Option<u64>) -> Option<(u64, LogSnapshot)> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        (version != Some(ring.version())).then(|| (ring.version(), ring.snapshot()))
    }

    fn push(&self, line: LogLine) {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn clear(&self) {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Reads one source until it is over.
pub(super) async fn tail(link: Link, spec: LogSpec, source: u16, lines: Arc<Lines>, shared: Arc<Shared>) {
    let Some(target) = spec.sources.get(usize::from(source)).cloned() else {
        return;
    };
    let mut last: Option<Timestamp> = None;
    let mut pause = Duration::from_secs(1);
    loop {
        let ended = read(&link, &spec, &target, source, &lines, &shared, &mut last, &mut pause).await;
        match ended {
            Ok(()) if !spec.follow || is_over(&link, &target).await => {
                return shared.ended(source, Status::Ended(None));
            }
            // The container ended; a restarted one goes on in the same log.
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {
                return shared.ended(
                    source,
                    if last.is_some() {
                        Status::Ended(None)
                    } else {
                        Status::Failed(error)
                    },
                );
            }
            Err(error) if !spec.follow || error.kind == ErrorKind::Forbidden => {
                return shared.ended(source, Status::Failed(error));
            }
            Err(error) => shared.set(Status::Retrying(error)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether a container that has ended stays so: its pod is over or gone, or it is not to be started again.
async fn is_over(link: &Link, target: &PodTarget) -> bool {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}",
        encode(&target.namespace),
        encode(&target.pod)
    );
    match link.read(&Read::new(path, "read the pod")).await {
        Ok(bytes) => serde_json::from_slice(&bytes).is_ok_and(|pod| stays_ended(&pod, target.container.as_deref())),
        Err(error) => error.kind == ErrorKind::NotFound,
    }
}

fn stays_ended(pod: &Value, container: Option<&str>) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return true;
    }
    let entries = |part: &str, list: &str| pod[part][list].as_array().into_iter().flatten();
    let is_it = |entry: &&Value| container.is_none_or(|name| entry["name"] == name);
    let ended = |list: &str| {
        Some(&entries("status", list).find(is_it)?["state"]["terminated"]).filter(|ended| ended.is_object())
    };
    if ended("ephemeralContainerStatuses").is_some() {
        return true;
    }
    let well = |ended: &Value| ended["exitCode"] == 0;
    let policy = pod["spec"]["restartPolicy"].as_str();
    if let Some(ended) = ended("initContainerStatuses") {
        let sidecar = entries("spec", "initContainers")
            .find(is_it)
            .is_some_and(|init| init["restartPolicy"] == "Always");
        return !sidecar && (well(ended) || policy == Some("Never"));
    }
    ended("containerStatuses").is_some_and(|ended| match policy {
        Some("Never") => true,
        Some("OnFailure") => well(ended),
        _ => false,
    })
}

#[allow(clippy::too_many_arguments)]
async fn read(
    link: &Link,
    spec: &LogSpec,
    target: &PodTarget,
    source: u16,
    lines: &Lines,
    shared: &Shared,
    last: &mut Option<Timestamp>,
    pause: &mut Duration,
) -> Result<(), Error> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/log",
        encode(&target.namespace),
        encode(&target.pod)
    );
    let mut request = Read::new(path, "read the log").param("timestamps", "true");
    if let Some(container) = &target.container {
        request = request.param("container", &**container);
    }
    if spec.previous {
        request = request.param("previous", "true");
    } else if spec.follow {
        request = request.param("follow", "true");
    }
    request = match (*last, spec.tail) {
        // The server filters by whole seconds; what was seen of the last second is dropped below.
        (Some(last), _) => request.param("sinceTime", last.to_string()),
        (None, Some(tail)) => request.param("tailLines", tail.to_string()),
        (None, None) => request,
    };
    let mut reader = link.stream_get(&request).await?;
    shared.set(Status::Running);
    let resumed = *last;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let read = read_line(&mut reader, &mut buffer)
            .await
            .map_err(|error| Error::new(ErrorKind::Unreachable, "the log stream broke").because(&error))?;
        if read == 0 {
            return Ok(());
        }
        shared.received(read as u64);
        let raw = String::from_utf8_lossy(&buffer);
        let raw = raw.trim_end_matches(['\n', '\r']);
        let (time, text) = split_time(raw);
        if let Some(time) = time {
            if resumed.is_some_and(|resumed| time <= resumed) {
                continue;
            }
            *last = Some(time);
        }
        *pause = Duration::from_secs(1);
        lines.push(LogLine {
            source,
            time,
            text: harmless(text),
        });
        shared.dirty();
    }
}

/// Reads up to a newline or [`MAX_LINE`] bytes; the number of bytes read, 0 at the end.
async fn read_line(reader: &mut (impl futures::AsyncBufRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(buffer.len());
        }
        let room = MAX_LINE - buffer.len();
        let (take, done) = match available.iter().take(room).position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (available.len().min(room), available.len() >= room),
        };
        buffer.extend_from_slice(&available[..take]);
        reader.consume_unpin(take);
        if done {
            return Ok(buffer.len());
        }
    }
}

fn split_time(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ') {
        Some((stamp, rest)) => match stamp.parse() {
            Ok(time) => (Some(time), rest),
            Err(_) => (None, line),
        },
        None => match line.parse() {
            Ok(time) => (Some(time), ""),
            Err(_) => (None, line),
        },
    }
}

/// Colour sequences are dropped whole; every other control character is made visible.
fn harmless(line: &str) -> Box<str> {
    // A terminal would show what follows the last carriage return: progress bars rewrite their line.
    let line = line.rsplit('\r').next().unwrap_or(line);
    if !line.contains('\u{1b}') {
        return text::clean(line).into();
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        match tail.find(|ch: char| !(ch.is_ascii_digit() || ch == ';' || ch == ':')) {
            Some(end) if tail[end..].starts_with(['m', 'K']) => rest = &tail[end + 1..],
            _ => {
                out.push_str("\u{1b}[");
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    text::clean(&out).into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use serde_json::json;

    use super::super::shared::Bell;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_log_that_breaks_goes_on_without_repeating_or_losing_a_line_and_ends_with_its_container() {
        let line = |second: u32, text: &str| format!("2026-01-01T00:00:0{second}.5Z {text}\n");
        // Three streams: one that breaks, one that the server ends while the container is started again, and the last.
        let streams = [
            (vec![line(1, "one"), line(2, "two"), line(3, "thr")], true),
            (vec![line(2, "two"), line(3, "three"), line(4, "four")], false),
            (vec![line(4, "four"), line(5, "five")], false),
        ];
        let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let (mut streams, mut looked) = (streams.into_iter(), 0);
        let server = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let pieces: Vec<Result<Frame<Bytes>, std::io::Error>> = if request.uri().path().ends_with("/log") {
                let _ = told.send(query);
                let (lines, breaks) = streams.next().expect("three streams");
                let mut text = lines.concat();
                if breaks {
                    // In the middle of a line.
                    text.pop();
                }
                let broken = breaks.then(|| Err(std::io::Error::other("connection reset by peer")));
                std::iter::once(Ok(Frame::data(text.into()))).chain(broken).collect()
            } else {
                looked += 1;
                let phase = if looked == 1 { "Running" } else { "Succeeded" };
                vec![Ok(Frame::data(json!({"status": {"phase": phase}}).to_string().into()))]
            };
            let body = StreamBody::new(futures::stream::iter(pieces));
            std::future::ready(Ok::<_, std::io::Error>(http::Response::new(body)))
        });
        let link = Link::untried(kube::Client::new(server, "default"));
        let target = PodTarget {
            cluster: Default::default(),
            namespace: "shop".into(),
            pod: "web".into(),
            container: None,
        };
        let spec = LogSpec {
            sources: vec![target],
            previous: false,
            follow: true,
            tail: Some(100),
        };
        let lines = Arc::new(Lines::default());
        let shared = Arc::new(Shared::new(Arc::new(Bell::new(Arc::new(|| {}))), 1));
        tail(link, spec, 0, lines.clone(), shared.clone()).await;
        let (_, shown) = lines.newer_than(None).expect("lines");
        let texts: Vec<&str> = (0..shown.len()).filter_map(|at| Some(&*shown.get(at)?.text)).collect();
        assert_eq!(texts, ["one", "two", "three", "four", "five"]);
        assert!(matches!(shared.status().0, Status::Ended(None)));
        let mut queries = Vec::new();
        while let Some(query) = asked.recv().await {
            queries.push(query);
        }
        assert!(queries[0].contains("tailLines=100"), "{queries:?}");
        assert!(
            queries[1].contains("sinceTime=2026-01-01T00%3A00%3A02.5Z"),
            "{queries:?}"
        );
        assert!(
            queries[2].contains("sinceTime=2026-01-01T00%3A00%3A04.5Z"),
            "{queries:?}"
        );
    }

    #[test]
    fn an_ended_container_is_over_when_nobody_will_start_it_again() {
        let pod = |policy: &str, list: &str, code: u8| {
            json!({
                "spec": {"restartPolicy": policy, "initContainers": [{"name": "app"}]},
                "status": {"phase": "Running", list: [{"name": "app", "state": {"terminated": {"exitCode": code}}}]},
            })
        };
        for (policy, list, code, over) in [
            ("Always", "containerStatuses", 0, false),
            ("OnFailure", "containerStatuses", 1, false),
            ("OnFailure", "containerStatuses", 0, true),
            ("Never", "containerStatuses", 1, true),
            ("Always", "initContainerStatuses", 0, true),
            ("Always", "initContainerStatuses", 1, false),
            ("Always", "ephemeralContainerStatuses", 1, true),
        ] {
            assert_eq!(
                stays_ended(&pod(policy, list, code), Some("app")),
                over,
                "{policy} {list} {code}"
            );
        }
        let failed = json!({"status": {"phase": "Failed"}});
        assert!(stays_ended(&failed, Some("app")) && !stays_ended(&json!({"status": "ok"}), Some("app")));
    }

    #[test]
    fn colours_go_and_other_sequences_become_visible() {
        assert_eq!(&*harmless("\u{1b}[1;31mred\u{1b}[0m plain"), "red plain");
        assert_eq!(&*harmless("\u{1b}[2Jx"), "␛[2Jx");
        assert_eq!(&*harmless("a\u{1b}]52;c;evil\u{7}"), "a␛]52;c;evil␇");
    }

    #[test]
    fn a_line_that_comes_after_a_snapshot_makes_a_newer_one() {
        let lines = Lines::default();
        let line = |text: &str| LogLine {
            source: 0,
            time: None,
            text: text.into(),
        };
        lines.push(line("one"));
        let (version, snapshot) = lines.newer_than(None).expect("never taken");
        assert_eq!(snapshot.len(), 1);
        assert!(lines.newer_than(Some(version)).is_none());
        lines.push(line("two"));
        assert_eq!(
            lines.newer_than(Some(version)).map(|(_, snapshot)| snapshot.len()),
            Some(2)
        );
    }

    #[test]
    fn timestamps_are_split_off() {
        let (time, text) = split_time("2026-01-01T00:00:00.123456789Z hello world");
        assert!(time.is_some());
        assert_eq!(text, "hello world");
        assert_eq!(split_time("no stamp here"), (None, "no stamp here"));
    }

    #[tokio::test]
    async fn endless_lines_are_cut_and_nothing_is_lost() {
        let long = "x".repeat(MAX_LINE + 10) + "\nnext\n";
        let mut reader = futures::io::Cursor::new(long.clone().into_bytes());
        let mut total = 0;
        let mut pieces = Vec::new();
        loop {
            let mut buffer = Vec::new();
            match read_line(&mut reader, &mut buffer).await.expect("in memory") {
                0 => break,
                read => total += read,
            }
            pieces.push(buffer.len());
        }
        assert_eq!(total, long.len());
        assert_eq!(pieces, [MAX_LINE, 11, 5]);
    }
}
