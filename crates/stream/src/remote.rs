//! Exec and attach: a process's standard streams, a terminal's size and an exit code, over whichever protocol the client
//! speaks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, BackendError, ExecOptions, Exit, PodRef, Process, Reader, TerminalSize, Writer};
use crate::handshake::{self, Wire};
use crate::mux::{self, Incoming, Outgoing};
use crate::spdy::{self, Session};
use crate::status::{Failure, exit_status, success};
use crate::websocket::{self, Codec};

/// Over SPDY version 5 is never chosen while the client offers another: its one addition is what SPDY streams do anyway.
const SPDY: &[&str] = &[
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];

const WEBSOCKET: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];

/// How long a client may take to open the streams it announced.
const STREAM_CREATION: Duration = Duration::from_secs(30);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// The longest text taken for a terminal size.
const MAX_RESIZE: usize = 4096;

/// Serves `pods/exec`: runs a command in a container and connects the client to it.
pub async fn exec(req: Request, backend: Arc<dyn Backend>, pod: PodRef, options: ExecOptions) -> Response {
    serve(req, backend, pod, options, Verb::Exec)
        .await
        .unwrap_or_else(Failure::into_response)
}

/// Serves `pods/attach`: connects the client to a container's main process.
pub async fn attach(req: Request, backend: Arc<dyn Backend>, pod: PodRef, options: ExecOptions) -> Response {
    serve(req, backend, pod, options, Verb::Attach)
        .await
        .unwrap_or_else(Failure::into_response)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Exec,
    Attach,
}

async fn serve(
    mut req: Request,
    backend: Arc<dyn Backend>,
    pod: PodRef,
    mut options: ExecOptions,
    verb: Verb,
) -> Result<Response, Failure> {
    if !options.stdin && !options.stdout && !options.stderr {
        return Err(Failure::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    // A terminal has one output.
    options.stderr &= !options.tty;
    let handshake = handshake::negotiate(req.version(), req.headers(), SPDY, WEBSOCKET)?;

    let process = match verb {
        Verb::Exec => backend.exec(&pod, options.clone()).await,
        Verb::Attach => backend.attach(&pod, options.clone()).await,
    };
    let process = match process {
        Ok(process) => Ok(process),
        // What goes wrong inside the container is part of the conversation: kubectl prints the error stream's message as
        // it is, but takes a failed request for a broken server, and newer ones would first try another protocol.
        Err(BackendError::Internal(text)) => Err(text),
        Err(error) => return Err(error.into()),
    };

    let upgrade = hyper::upgrade::on(&mut req);
    let conversation = Conversation {
        process,
        options,
        verb,
        protocol: handshake.protocol,
    };
    let wire = handshake.wire;
    tokio::spawn(async move {
        match (upgrade.await, wire) {
            (Ok(io), Wire::Spdy) => conversation.over_spdy(TokioIo::new(io)).await,
            (Ok(io), Wire::WebSocket) => conversation.over_websocket(TokioIo::new(io)).await,
            (Err(error), _) => tracing::debug!(%error, "the client left before the upgrade"),
        }
    });
    Ok(handshake.response)
}

/// One exec or attach, after the upgrade.
struct Conversation {
    /// The process, or why there is none.
    process: Result<Process, String>,
    options: ExecOptions,
    verb: Verb,
    protocol: &'static str,
}

/// The client's streams.
struct Client {
    stdin: Option<Incoming>,
    stdout: Option<Outgoing>,
    stderr: Option<Outgoing>,
    error: Outgoing,
    resize: Option<Incoming>,
}

impl Conversation {
    async fn over_spdy(self, io: impl AsyncRead + AsyncWrite + Send) {
        let (mut session, driver) = spdy::open(io);
        let work = async {
            let streams = streams(&mut session, &self.options, self.protocol);
            match timeout(STREAM_CREATION, streams).await {
                Ok(Some(client)) => self.run(client, &session.peer.gone).await,
                Ok(None) => {}
                Err(_) => tracing::debug!("timed out waiting for the client to create streams"),
            }
            session.peer.close().await;
        };
        tokio::join!(driver, work);
    }

    async fn over_websocket(self, io: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let socket = websocket::accept(io).await;
        let options = &self.options;
        let readable = [(STDIN, options.stdin), (RESIZE, options.tty)];
        let readable = readable
            .into_iter()
            .filter_map(|(channel, wanted)| wanted.then_some(channel));
        let (mut incoming, peer, driver) = websocket::open(socket, Codec::of(self.protocol), readable);
        let outgoing = |channel: u8, wanted: bool| wanted.then(|| peer.outgoing(channel.into()));
        let client = Client {
            stdin: incoming.remove(&STDIN),
            stdout: outgoing(STDOUT, options.stdout),
            stderr: outgoing(STDERR, options.stderr),
            error: peer.outgoing(ERROR.into()),
            resize: incoming.remove(&RESIZE),
        };
        let work = async {
            greet(&client, self.protocol).await;
            self.run(client, &peer.gone).await;
            peer.close().await;
        };
        tokio::join!(driver, work);
    }

    /// Connects the process and the client until either is gone. Returning early drops the process, which closes its
    /// standard input and hangs its terminal up, but does not kill it.
    async fn run(self, client: Client, gone: &CancellationToken) {
        let structured = structured(self.protocol);
        let Client {
            stdin,
            stdout,
            stderr,
            error,
            resize,
        } = client;
        let exit = match self.process {
            Err(text) => Exit::Failed(text),
            Ok(process) => tokio::select! {
                biased;
                exit = follow(process, stdin, &stdout, &stderr, resize) => exit,
                () = gone.cancelled() => return,
            },
        };
        for stream in [stdout, stderr].into_iter().flatten() {
            stream.end().await;
        }
        let failure = match (exit, self.verb) {
            (Exit::Code(0), _) => None,
            // Nobody asked for the main process's exit code; the pod's status tells it.
            (Exit::Code(_), Verb::Attach) => None,
            (Exit::Code(code), Verb::Exec) => Some(exit_status(code, &self.options.command)),
            (Exit::Failed(text), _) => Some(Failure::internal(text).to_json()),
        };
        let report = match (failure, structured) {
            (None, true) => success().to_string(),
            (None, false) => String::new(),
            (Some(status), true) => status.to_string(),
            (Some(status), false) => status["message"].as_str().unwrap_or_default().to_owned(),
        };
        if !report.is_empty() {
            let _ = error.send(report.into()).await;
        }
        error.end().await;
    }
}

/// Waits until the client has opened every stream its request announced. `None` if it leaves before.
async fn streams(session: &mut Session, options: &ExecOptions, protocol: &str) -> Option<Client> {
    let sized = options.tty && (structured(protocol) || protocol.starts_with("v3."));
    let wanted = [
        ("error", true),
        ("stdin", options.stdin),
        ("stdout", options.stdout),
        ("stderr", options.stderr),
        ("resize", sized),
    ];
    let mut wanted: Vec<_> = wanted
        .into_iter()
        .filter_map(|(name, wanted)| wanted.then_some(name))
        .collect();
    let mut streams = HashMap::new();
    while !wanted.is_empty() {
        let stream = session.streams.recv().await?;
        let kind = stream
            .headers
            .get("streamtype")
            .and_then(|kind| wanted.iter().position(|name| *name == kind));
        match kind {
            Some(index) => {
                streams.insert(wanted.swap_remove(index), stream);
            }
            None => stream.outgoing.reset().await,
        }
    }
    let error = streams.remove("error")?.outgoing;
    Some(Client {
        stdin: streams.remove("stdin").map(|stream| stream.incoming),
        stdout: streams.remove("stdout").map(|stream| stream.outgoing),
        stderr: streams.remove("stderr").map(|stream| stream.outgoing),
        error,
        resize: streams.remove("resize").map(|stream| stream.incoming),
    })
}

/// An empty message tells clients of the older WebSocket protocols that the streams are connected.
async fn greet(client: &Client, protocol: &str) {
    if !protocol.starts_with("v5.") {
        let first = client
            .stdout
            .as_ref()
            .or(client.stderr.as_ref())
            .unwrap_or(&client.error);
        let _ = first.send(Bytes::new()).await;
    }
}

/// Whether the error stream carries a `Status` rather than plain text.
fn structured(protocol: &str) -> bool {
    protocol.starts_with("v4.") || protocol.starts_with("v5.")
}

/// Pumps until the process has ended and all it wrote is sent.
async fn follow(
    process: Process,
    client_stdin: Option<Incoming>,
    client_stdout: &Option<Outgoing>,
    client_stderr: &Option<Outgoing>,
    client_resize: Option<Incoming>,
) -> Exit {
    let Process {
        stdin,
        stdout,
        stderr,
        resize,
        exit,
    } = process;
    let input = async {
        tokio::join!(feed(client_stdin, stdin), follow_size(client_resize, resize));
        // The end of the input is not the end of the conversation.
        future::pending::<Infallible>().await
    };
    let output = async { tokio::join!(exit, drain(stdout, client_stdout), drain(stderr, client_stderr)).0 };
    tokio::select! {
        biased;
        exit = output => exit,
        never = input => match never {},
    }
}

/// Feeds a process. A process that has closed its standard input ends this; the rest is discarded.
async fn feed(from: Option<Incoming>, to: Option<Writer>) {
    if let (Some(mut from), Some(to)) = (from, to) {
        let _ = from.write_to(to).await;
    }
}

async fn drain(from: Option<Reader>, to: &Option<Outgoing>) {
    match (from, to) {
        (Some(from), Some(to)) => {
            // A pseudo-terminal reports its end as an error, so an error is an end.
            let _ = mux::pump(from, to).await;
        }
        // Nobody wants it, yet the process must not block on a full pipe.
        (Some(mut from), None) => {
            let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
        }
        (None, _) => {}
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Passes terminal sizes on: JSON objects, cut into messages anyhow.
async fn follow_size(from: Option<Incoming>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut text = BytesMut::new();
    while let Some(bytes) = from.recv().await {
        text.extend_from_slice(&bytes);
        for Size { width, height } in take_sizes(&mut text) {
            if width > 0 && height > 0 && to.send(TerminalSize { width, height }).await.is_err() {
                return;
            }
        }
    }
}

/// Takes the whole sizes out of `text` and leaves what may become one.
fn take_sizes(text: &mut BytesMut) -> Vec<Size> {
    let mut sizes = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(text).into_iter::<Size>();
    let rest = loop {
        match stream.next() {
            Some(Ok(size)) => sizes.push(size),
            Some(Err(error)) if error.is_eof() => break stream.byte_offset(),
            // Not a size: forget it, along with what follows it in the same message.
            Some(Err(_)) | None => break text.len(),
        }
    };
    let _ = text.split_to(rest);
    if text.len() > MAX_RESIZE {
        text.clear();
    }
    sizes
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use crate::spdy::client::{Client as SpdyClient, Frame};

    use super::*;

    fn conversation(process: Result<Process, String>, protocol: &'static str) -> Conversation {
        let command = ["sh", "-c", "exit 3"].map(str::to_owned).into();
        let options = ExecOptions {
            command,
            stdin: true,
            stdout: true,
            stderr: true,
            ..ExecOptions::default()
        };
        Conversation {
            process,
            options,
            verb: Verb::Exec,
            protocol,
        }
    }

    async fn open_all(client: &mut SpdyClient) -> [u32; 4] {
        let mut ids = [0; 4];
        for (id, kind) in ids.iter_mut().zip(["error", "stdin", "stdout", "stderr"]) {
            *id = client.open(&[("streamtype", kind)]).await;
        }
        ids
    }

    /// Echoes its input in capitals once the input has ended, and complains.
    fn shouting() -> Process {
        let (stdin, mut typed) = tokio::io::duplex(1024);
        let (stdout, mut out) = tokio::io::duplex(1024);
        let exit = async move {
            let mut text = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut typed, &mut text)
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut out, text.to_uppercase().as_bytes())
                .await
                .unwrap();
            Exit::Code(3)
        };
        Process {
            stdin: Some(Box::pin(stdin)),
            stdout: Some(Box::pin(stdout)),
            stderr: Some(Box::pin(&b"too loud"[..])),
            resize: None,
            exit: exit.boxed(),
        }
    }

    #[tokio::test]
    async fn over_spdy_a_half_closed_input_ends_and_the_exit_code_follows_the_output() {
        let (mut client, io) = SpdyClient::new();
        tokio::spawn(conversation(Ok(shouting()), "v4.channel.k8s.io").over_spdy(io));
        let [error, stdin, stdout, stderr] = open_all(&mut client).await;
        client.send(stdin, b"hello ", false).await;
        client.send(stdin, b"world", true).await;
        let [status, out, err] = client.collect([error, stdout, stderr]).await;
        assert_eq!((out, err), ("HELLO WORLD".into(), "too loud".into()));
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(
            status["details"]["causes"][0],
            serde_json::json!({"reason": "ExitCode", "message": "3"})
        );
    }

    #[tokio::test]
    async fn the_oldest_clients_get_plain_text() {
        let (mut client, io) = SpdyClient::new();
        tokio::spawn(conversation(Err("no shell".to_owned()), "").over_spdy(io));
        let [error, _, stdout, stderr] = open_all(&mut client).await;
        let [text, ..] = client.collect([error, stdout, stderr]).await;
        assert_eq!(text, "Internal error occurred: no shell");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_opens_its_streams_is_given_up() {
        let (mut client, io) = SpdyClient::new();
        tokio::spawn(conversation(Ok(shouting()), "v4.channel.k8s.io").over_spdy(io));
        let stream = client.open(&[("streamtype", "stdin")]).await;
        let stray = client.open(&[("streamtype", "stdin")]).await;
        let before = tokio::time::Instant::now();
        let mut frames = Vec::new();
        while let Some(frame) = client.next().await {
            if !matches!(frame, Frame::Ping { .. }) {
                frames.push(frame);
            }
        }
        let accepted = [stream, stray].map(|stream| Frame::Headers { stream, fin: false });
        assert_eq!(
            frames,
            [&accepted[..], &[Frame::Reset { stream: stray }, Frame::GoAway]].concat()
        );
        assert!(before.elapsed() >= STREAM_CREATION);
    }

    fn sizes(text: &mut BytesMut) -> Vec<(u16, u16)> {
        take_sizes(text)
            .into_iter()
            .map(|size| (size.width, size.height))
            .collect()
    }

    #[test]
    fn terminal_sizes_are_found_however_they_are_cut() {
        let mut text = BytesMut::from("{\"Width\":100,\"Height\":30}\n{\"Width\":80,\"He");
        assert_eq!(sizes(&mut text), [(100, 30)]);
        text.extend_from_slice(b"ight\":24}");
        assert_eq!(sizes(&mut text), [(80, 24)]);
        assert!(text.is_empty());
        text.extend_from_slice(b"{\"Width\":70000,\"Height\":1}{\"Width\":1,\"Height\":1}");
        assert_eq!(sizes(&mut text), []);
        text.extend_from_slice(b"{\"Width\":1,\"Height\":1}");
        assert_eq!(sizes(&mut text), [(1, 1)]);
        text.extend_from_slice(&b" ".repeat(10_000));
        assert_eq!(sizes(&mut text), []);
        text.extend_from_slice(&[b"{\"Width\":1,", b" ".repeat(10_000).as_slice()].concat());
        assert_eq!(sizes(&mut text), []);
        assert!(text.is_empty(), "an endless object is given up");
    }
}
