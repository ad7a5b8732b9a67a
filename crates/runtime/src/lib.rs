//! Runs containers as real processes.
//!
//! [`Runtime`] is the part of Kubernetes' Container Runtime Interface (CRI) that the kubelet here needs. Implementations differ in how much
//! the host lets them isolate: see [`Mode`]. A program that wants containers with namespaces lends itself to the runtime:
//!
//! ```no_run
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The runtime starts this program again as its node process.
//!     if knarr_runtime::is_node() {
//!         std::process::exit(knarr_runtime::node_main());
//!     }
//!     let state = std::path::Path::new("/var/lib/knarr");
//!     tokio::runtime::Runtime::new()?.block_on(async {
//!         let best = knarr_runtime::start_best(state).await?;
//!         tracing::info!(mode = best.runtime.mode().name(), refusals = ?best.refusals, "containers");
//!         Ok(())
//!     })
//! }
//! ```

mod capability;
mod descriptor;
mod inherited;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
#[path = "unsupported.rs"]
mod linux;
mod open;
mod process;
mod program;
mod terminal;
#[cfg(target_os = "linux")]
mod usage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

pub use capability::Capabilities;
pub use inherited::close_inherited_on_exec;
#[cfg(target_os = "linux")]
pub use linux::LinuxRuntime;
pub use linux::{is_node, node_main, probe};
pub use open::open_in_root;
pub use process::ProcessRuntime;

/// How containers are isolated on this host. Decided by trying, not by uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Linux namespaces with real root.
    Root,
    /// Linux namespaces inside a user namespace of an unprivileged user.
    UserNamespace,
    /// Plain processes: no root file system, no pod IPs of their own.
    Processes,
    /// No processes at all: simulated containers for tests and rehearsals.
    Hollow,
}

impl Mode {
    /// One word for labels and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::UserNamespace => "userns",
            Self::Processes => "processes",
            Self::Hollow => "hollow",
        }
    }
}

/// A node beside the first, on the same host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Chooses its addresses: 1 to 254.
    pub number: u8,
    /// What its pods may use together.
    pub limits: Limits,
}

/// A pod's shared namespaces: network, UTS, IPC.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Pod UID; also the sandbox's ID.
    pub id: String,
    /// Namespace of the pod, for messages.
    pub namespace: String,
    /// Name of the pod, for messages.
    pub name: String,
    /// UTS host name.
    pub hostname: String,
    /// The pod asks for `hostNetwork`: the node's network.
    pub host_network: bool,
    /// The pod asks for `hostIPC`: the node's IPC namespace and shared memory.
    pub host_ipc: bool,
    /// Kernel settings of the pod's own namespaces, as `kernel.shm_rmid_forced` and value.
    pub sysctls: Vec<(String, String)>,
    /// What its containers may use together.
    pub limits: Limits,
}

/// A running sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its ID, as asked.
    pub id: String,
    /// The pod's IP.
    pub ip: IpAddr,
}

/// One mount inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host: a file or a directory.
    pub source: PathBuf,
    /// A path below `source` to mount instead, whose links may not lead out of `source`; a directory is made where there is nothing.
    pub sub_path: PathBuf,
    /// Absolute path inside the container; created when missing.
    pub target: PathBuf,
    /// No writes through this mount, nor through what is mounted below it.
    pub read_only: bool,
    /// A file system in memory. With an empty `source`, a fresh one; otherwise one that all the sandbox's containers with the same
    /// `source` share: an `emptyDir` of medium `Memory`.
    pub tmpfs: Option<Tmpfs>,
    /// What the host mounts below the source later appears in the container too: `mountPropagation: HostToContainer`.
    pub follows_host: bool,
}

impl Mount {
    /// Where its files are on the host, for who needs no protection from them.
    pub fn path(&self) -> PathBuf {
        // Joining nothing would add a slash, and a file with one is not found.
        if self.sub_path.as_os_str().is_empty() {
            self.source.clone()
        } else {
            self.source.join(&self.sub_path)
        }
    }
}

/// A file system in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Bytes it may hold, 0 for the kernel's default of half the machine's memory.
    pub size: u64,
    /// The group that its files belong to, where not root's.
    pub group: Option<u32>,
}

/// Resource limits to enforce where the host allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU limit in thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// CPU request in thousandths of a core: the share when processors are short.
    pub cpu_request_millis: Option<u64>,
    /// Most processes and threads at once.
    pub processes: Option<u64>,
}

/// Whose processes a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Processes {
    /// Its own only.
    #[default]
    Own,
    /// Those of all containers of the sandbox that say so too: `shareProcessNamespace`.
    Sandbox,
    /// Those of another container: `targetContainerName`.
    Container(String),
    /// Those of all containers of the node: `hostPID`.
    Node,
}

/// Which system calls a container may make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Those that container runtimes allow by default: none that reach beyond the container.
    #[default]
    RuntimeDefault,
    /// All.
    Unconfined,
}

/// What a container's processes may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// What a program run by root can have at most.
    pub capabilities: Capabilities,
    /// Programs cannot gain rights their starter lacks: `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// Everything the node's root may do, with its devices. Only where the node has a real root.
    pub privileged: bool,
    /// Nothing of `/proc` is hidden or read-only: `procMount: Unmasked`.
    pub unmasked_proc: bool,
    /// Groups besides the primary one.
    pub groups: Vec<u32>,
    /// Also those that the image's `/etc/group` lists for the user: `supplementalGroupsPolicy: Merge`.
    pub groups_of_image: bool,
}

/// A container to create.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Container ID: 64 hex digits.
    pub id: String,
    /// Sandbox it joins.
    pub sandbox: String,
    /// Container name in the pod.
    pub name: String,
    /// Lower layer of the root file system; the container gets a writable layer of its own.
    pub root: PathBuf,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Working directory; created when missing.
    pub working_dir: PathBuf,
    /// Mounts, in order (image binds, /etc/hosts, /etc/resolv.conf, volumes).
    pub mounts: Vec<Mount>,
    /// Run on a pseudo-terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// Numeric user, when not root.
    pub uid: Option<u32>,
    /// Numeric group.
    pub gid: Option<u32>,
    /// Root file system is read-only.
    pub read_only_root: bool,
    /// Whose processes it sees.
    pub processes: Processes,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub security: Security,
}

/// How a container's or a command's process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Exit code; 128 + signal when killed by one.
    pub code: i32,
    /// The signal that killed it, or 0.
    pub signal: i32,
    /// Killed because it passed its memory limit.
    pub oom_killed: bool,
}

/// Bytes from a process.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes to a process; shut down or dropped = end of input.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Changes a terminal's size: (columns, rows).
pub type Resize = Arc<dyn Fn(u16, u16) + Send + Sync>;

/// A started process and its ends.
pub struct Started {
    /// Process ID on the host, when there is a process.
    pub pid: Option<i32>,
    /// Standard input, when asked for.
    pub stdin: Option<Writer>,
    /// Standard output; on a terminal, the terminal's output.
    pub stdout: Reader,
    /// Standard error; `None` on a terminal.
    pub stderr: Option<Reader>,
    /// Set on a terminal.
    pub resize: Option<Resize>,
    /// Resolves once, when the process has ended.
    pub exit: BoxFuture<'static, ExitStatus>,
}

/// A command to run inside a running container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in the container's `PATH`.
    pub argv: Vec<String>,
    /// Run on a pseudo-terminal.
    pub tty: bool,
    /// Give it standard input.
    pub stdin: bool,
}

/// Resource use of one container, cumulative CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time used, in nanoseconds.
    pub cpu_nanos: u64,
    /// Working set in bytes.
    pub memory_bytes: u64,
}

/// How the runtime itself is: what the condition `RuntimeReady` is in CRI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// Grows when all sandboxes and containers have been lost at once, because what ran them has died.
    pub epoch: u64,
    /// Why it cannot run containers now; `None` when it can.
    pub down: Option<String>,
}

/// Why the runtime could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The program to run does not exist in the container. Message as runc words it:
    /// `exec: "bash": executable file not found in $PATH`.
    #[error("{0}")]
    NoSuchProgram(String),
    /// No such sandbox or container.
    #[error("{0} not found")]
    NotFound(String),
    /// A host port or address is taken.
    #[error("{0}")]
    AddressInUse(String),
    /// What was asked for cannot be had here, and why.
    #[error("{0}")]
    Unsupported(String),
    /// Anything else, with what was being done.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// A byte connection into a pod's network.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What runs containers. All methods may be called concurrently; per container the kubelet calls create, start, then the rest.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// How containers are isolated.
    fn mode(&self) -> Mode;

    /// In what containers are isolated less than their specifications say, a sentence each: for people.
    fn weaknesses(&self) -> Vec<String> {
        Vec::new()
    }

    /// Name and version as `status.nodeInfo.containerRuntimeVersion` shows them (`knarr://0.1.0`).
    fn version(&self) -> String;

    /// How the runtime is, now and whenever that changes. One that has nothing to lose stays as it is.
    fn status(&self) -> watch::Receiver<RuntimeStatus> {
        static ALWAYS: LazyLock<watch::Sender<RuntimeStatus>> = LazyLock::new(watch::Sender::default);
        ALWAYS.subscribe()
    }

    /// Makes a node beside this one, with a network of its own that reaches this one's, until it is removed by
    /// [`Runtime::remove_node`]. `None` where nodes have no networks of their own: then this one serves the pods of all.
    async fn add_node(&self, _spec: NodeSpec) -> Result<Option<Arc<dyn Runtime>>, RuntimeError> {
        Ok(None)
    }

    /// Removes this node, which is not the first and whose pods are gone.
    async fn remove_node(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// Lets this node's network reach the other nodes', or cuts it off. The first node's is never cut.
    async fn connect(&self, _connected: bool) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// The addresses that this node's pods get, as a CIDR block, when they have any of their own.
    fn pod_cidr(&self) -> Option<String> {
        None
    }

    /// Creates the pod's shared namespaces and gives it an IP. Idempotent per ID.
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, RuntimeError>;

    /// Kills what is left in the sandbox and removes it. Fine when it is gone already.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;

    /// Starts a container: makes its root file system and mounts, and runs its program.
    /// A program that does not exist is [`RuntimeError::NoSuchProgram`].
    async fn start(&self, spec: ContainerSpec) -> Result<Started, RuntimeError>;

    /// Sends a signal to the container's first process. Fine when it has ended.
    async fn signal(&self, container: &str, signal: i32) -> Result<(), RuntimeError>;

    /// Removes an ended container's writable layer. Kills it first when it still runs.
    async fn remove(&self, container: &str) -> Result<(), RuntimeError>;

    /// Runs a command inside a running container.
    async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Started, RuntimeError>;

    /// Connects to `localhost:port` inside the sandbox's network.
    async fn dial(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>, RuntimeError>;

    /// Connects to `host:port` as seen from the node's network (pod IPs are reachable): what probes use.
    async fn dial_node(&self, address: SocketAddr) -> Result<Box<dyn Connection>, RuntimeError>;

    /// The node's address as its pods see it.
    fn node_ip(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    /// Listens on an address of the node's network, where pods reach it; with namespaces, every service IP is one.
    async fn listen_node(&self, address: SocketAddr) -> Result<TcpListener, RuntimeError> {
        TcpListener::bind(address)
            .await
            .map_err(|error| bind_error("tcp", address, error))
    }

    /// The same for datagrams.
    async fn bind_node(&self, address: SocketAddr) -> Result<UdpSocket, RuntimeError> {
        UdpSocket::bind(address)
            .await
            .map_err(|error| bind_error("udp", address, error))
    }

    /// Where on this host is kept what a container has written outside its volumes; `None` where that cannot be told.
    fn layer(&self, _container: &str) -> Option<PathBuf> {
        None
    }

    /// What a container uses now.
    async fn usage(&self, container: &str) -> Result<Usage, RuntimeError>;
}

fn bind_error(network: &str, address: SocketAddr, source: std::io::Error) -> RuntimeError {
    if source.kind() == std::io::ErrorKind::AddrInUse {
        return RuntimeError::AddressInUse(format!("listen {network} {address}: bind: address already in use"));
    }
    RuntimeError::Io {
        context: format!("listen {network} {address}"),
        source,
    }
}

fn io_error(context: &'static str) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |source| RuntimeError::Io {
        context: context.to_owned(),
        source,
    }
}

fn version() -> String {
    concat!("knarr://", env!("CARGO_PKG_VERSION")).to_owned()
}

/// What [`probe`] found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The best mode that works.
    pub mode: Mode,
    /// Why better ones do not.
    pub refusals: Vec<String>,
}

/// A runtime as good as the host allows.
pub struct Best {
    /// The runtime; its mode says which it is.
    pub runtime: Arc<dyn Runtime>,
    /// Why better modes were refused.
    pub refusals: Vec<String>,
}

/// Starts the best runtime this host allows: namespaces where they are found to work, plain processes otherwise. Files of containers go
/// below `state_dir`.
pub async fn start_best(state_dir: &Path) -> Result<Best, RuntimeError> {
    let refusals = match linux::start(state_dir).await {
        Ok(Ok((runtime, refusals))) => return Ok(Best { runtime, refusals }),
        Ok(Err(refusals)) => refusals,
        Err(error) => {
            tracing::warn!(%error, "cannot start the node process");
            vec![error.to_string()]
        }
    };
    Ok(Best {
        runtime: Arc::new(ProcessRuntime::new(state_dir)?),
        refusals,
    })
}
