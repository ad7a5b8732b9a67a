//! What a node offers to the API server for the streaming subresources of a pod.
//!
//! The API server holds one [`Backend`] per node name and calls it for `pods/log`, `pods/exec`, `pods/attach`,
//! `pods/portforward` and `pods/proxy`. The kubelet implements it.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

/// Names one pod on a node. The UID tells a pod from a later one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// UID of the pod.
    pub uid: String,
}

/// Options of `GET pods/NAME/log` (PodLogOptions).
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Container to read; the API server has already resolved the default.
    pub container: String,
    /// Keep the stream open for new lines until the container ends.
    pub follow: bool,
    /// Read the previous, terminated instance of the container.
    pub previous: bool,
    /// Only lines not older than this.
    pub since: Option<Duration>,
    /// Only lines at or after this time.
    pub since_time: Option<Timestamp>,
    /// Prefix each line with its RFC 3339 timestamp (nanoseconds) and a space.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Stop after this many bytes.
    pub limit_bytes: Option<u64>,
    /// `All` (default), `Stdout` or `Stderr`.
    pub stream: Option<String>,
}

/// What to run, or which streams to attach.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// Container to run in; the API server has already resolved the default.
    pub container: String,
    /// Program and arguments; empty for attach.
    pub command: Vec<String>,
    /// The client sends standard input.
    pub stdin: bool,
    /// The client wants standard output.
    pub stdout: bool,
    /// The client wants standard error (never together with `tty`).
    pub stderr: bool,
    /// Run on a pseudo-terminal.
    pub tty: bool,
}

/// Terminal size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Exit code, 0 for success; death by signal N is reported as 128+N.
    Code(i32),
    /// The process could not be run or followed to its end; the text is for the client, as [`BackendError::Internal`]'s is.
    Failed(String),
}

/// Bytes from a process.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// Bytes to a process. Dropping or shutting it down closes the process's standard input.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Both directions of one connection.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}
/// Both directions of one connection, boxed.
pub type Duplex = Box<dyn Connection>;

/// A running process or an attachment to one.
pub struct Process {
    /// Standard input, when asked for.
    pub stdin: Option<Writer>,
    /// Standard output (with `tty`: the terminal's output).
    pub stdout: Option<Reader>,
    /// Standard error, when asked for and no `tty`.
    pub stderr: Option<Reader>,
    /// Terminal sizes, when on a `tty`.
    pub resize: Option<tokio::sync::mpsc::Sender<TerminalSize>>,
    /// Resolves when the process has ended.
    pub exit: BoxFuture<'static, Exit>,
}

/// A log as a stream of chunks (whole lines, each with its newline).
pub type LogStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Why a node could not serve a streaming request.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No such pod or container on the node; HTTP 404.
    #[error("{0}")]
    NotFound(String),
    /// The request does not fit the container's state; HTTP 400.
    #[error("{0}")]
    BadRequest(String),
    /// The node failed; HTTP 500. For exec and attach the text goes to the client's error stream, after `Internal error
    /// occurred: ` and otherwise as it is; a kubelet begins it with `error executing command in container: `.
    #[error("{0}")]
    Internal(String),
}

/// What a node's own HTTP server answers.
#[derive(Clone, Debug)]
pub struct NodeAnswer {
    /// Its media type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// What is used: processors at a rate, memory now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Billionths of a core.
    pub nano_cores: u64,
    /// Working set in bytes.
    pub memory_bytes: u64,
}

/// What one pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// The pod.
    pub pod: PodRef,
    /// Over how long the rates were measured.
    pub window: Duration,
    /// Its running containers, by name.
    pub containers: Vec<(String, Used)>,
}

/// What a node and its pods use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUsage {
    /// When that was measured.
    pub at: Timestamp,
    /// Over how long the node's rate was measured.
    pub window: Duration,
    /// All of the node.
    pub node: Used,
    /// Its pods that run.
    pub pods: Vec<PodUsage>,
}

/// What a node offers. All methods may be called concurrently.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The log of one container.
    async fn logs(&self, pod: &PodRef, options: LogOptions) -> Result<LogStream, BackendError>;
    /// Run a command inside a container.
    async fn exec(&self, pod: &PodRef, options: ExecOptions) -> Result<Process, BackendError>;
    /// Attach to a container's main process.
    async fn attach(&self, pod: &PodRef, options: ExecOptions) -> Result<Process, BackendError>;
    /// Connect to `localhost:port` as seen inside the pod's network.
    async fn dial(&self, pod: &PodRef, port: u16) -> Result<Duplex, BackendError>;
    /// What the node tells of itself at a path of its own HTTP server, such as `/stats/summary`.
    async fn node(&self, _path: &str) -> Result<NodeAnswer, BackendError> {
        Err(BackendError::NotFound("404 page not found\n".into()))
    }
    /// What the node and its pods use.
    async fn usage(&self) -> Result<NodeUsage, BackendError> {
        Err(BackendError::NotFound("404 page not found\n".into()))
    }
}
