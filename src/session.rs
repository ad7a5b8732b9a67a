//! Streams that outlive the views that show them: logs, shells, port-forwards.
//!
//! A session is a task of its own with bounded memory. Views see snapshots; keys go in as bytes.

mod exec;
mod forward;
mod logs;
mod ring;
mod sessions;
mod shared;

pub use logs::{LogLine, LogSnapshot};
pub use sessions::Sessions;

use std::sync::Arc;

use jiff::Timestamp;

use crate::cluster::ClusterId;
use crate::error::Error;

/// Names a session for as long as the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A pod, and maybe one of its containers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PodTarget {
    /// Cluster.
    pub cluster: ClusterId,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Pod name.
    pub pod: Arc<str>,
    /// Container; `None` is the default one.
    pub container: Option<Arc<str>>,
}

/// What to read of a pod's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Where from: one entry per stream, each in a colour of its own.
    pub sources: Vec<PodTarget>,
    /// The terminated instance before the current one.
    pub previous: bool,
    /// Keep reading as lines appear; reconnects when the stream breaks, without repeating or losing lines.
    pub follow: bool,
    /// Only the last lines; `None` is everything.
    pub tail: Option<u64>,
}

/// A command to run, or a process to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSpec {
    /// Where.
    pub target: PodTarget,
    /// Program and arguments; empty attaches to the container's main process. Several alternatives are tried in order while the
    /// program is missing: shells differ between images.
    pub commands: Vec<Vec<String>>,
    /// First size of the terminal, columns and rows.
    pub size: (u16, u16),
    /// Whether the process attached to has a terminal. A command gets one.
    pub tty: bool,
    /// Whether the process attached to reads what is typed.
    pub stdin: bool,
}

/// A port-forward to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardSpec {
    /// To where.
    pub target: PodTarget,
    /// Port in the pod.
    pub port: u16,
    /// Port on 127.0.0.1 and [::1]; 0 picks a free one.
    pub local: u16,
    /// The labels of the pods that serve as well: when the pod is replaced, another one takes its connections. Empty for a pod that was
    /// meant itself.
    pub selector: Arc<str>,
}

/// A session to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// Read logs.
    Logs(LogSpec),
    /// Run a program on a terminal.
    Exec(ExecSpec),
    /// Forward a local port.
    Forward(ForwardSpec),
}

impl Spec {
    /// The pods it is about.
    pub fn pods(&self) -> &[PodTarget] {
        match self {
            Spec::Logs(spec) => &spec.sources,
            Spec::Exec(spec) => std::slice::from_ref(&spec.target),
            Spec::Forward(spec) => std::slice::from_ref(&spec.target),
        }
    }
}

/// How a session is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Being opened.
    Opening,
    /// At work.
    Running,
    /// Lost its connection and trying again: why.
    Retrying(Error),
    /// Over: a process's exit code where there was one.
    Ended(Option<i32>),
    /// Over, by an error.
    Failed(Error),
}

/// What is known of a session at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its ID.
    pub id: SessionId,
    /// What was asked.
    pub spec: Spec,
    /// The contexts it belongs to, as they are called: `prod`, `prod,shop`.
    pub context: Arc<str>,
    /// How it is doing.
    pub status: Status,
    /// When it was opened.
    pub since: Timestamp,
    /// Local address once a forward listens: `127.0.0.1:8888`.
    pub local: Option<std::net::SocketAddr>,
    /// Bytes received from the cluster.
    pub received: u64,
    /// Bytes sent to the cluster.
    pub sent: u64,
    /// Connections open now (forwards).
    pub connections: u32,
}
