//! [`LinuxRuntime`]: the node process as a [`Runtime`].

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::link::{First, Link};
use super::node::network::{FIRST, node_ip};
use super::wire::{Answer, Ends, Request};
use crate::terminal::Terminal;
use crate::{
    Connection, ContainerSpec, ExecSpec, ExitStatus, Mode, NodeSpec, Runtime, RuntimeError, RuntimeStatus, Sandbox,
    SandboxSpec, Started, Usage, io_error,
};

/// Containers by namespaces: those of one of the nodes that a node process has. Dropping the last of these ends them all.
pub struct LinuxRuntime {
    process: Arc<NodeProcess>,
    /// Which of its nodes.
    node: u8,
}

struct NodeProcess {
    mode: Mode,
    refusals: Vec<String>,
    weaknesses: Vec<String>,
    link: Arc<Link>,
    supervisor: JoinHandle<()>,
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // The supervisor holds the link; closing that is what ends the node process.
        self.supervisor.abort();
    }
}

impl LinuxRuntime {
    /// Starts the node process, and keeps it running; files of containers go below `state_dir`, which is emptied of an earlier run's.
    /// `Ok(Err(..))` says why this host allows no isolation.
    pub async fn new(state_dir: &Path) -> Result<Result<Self, Vec<String>>, RuntimeError> {
        fs::create_dir_all(state_dir).map_err(io_error("create the state directory"))?;
        let state_dir = state_dir.canonicalize().map_err(io_error("find the state directory"))?;
        let link = Arc::new(Link::new(state_dir).map_err(io_error("start a thread"))?);
        let (sender, first) = oneshot::channel::<First>();
        let supervisor = tokio::spawn(link.clone().supervise(sender));
        let greeting = first.await.unwrap_or_else(|_| Err(unexpected()))?;
        let Some(mode) = greeting.mode else {
            return Ok(Err(greeting.refusals));
        };
        let process = NodeProcess {
            mode,
            refusals: greeting.refusals,
            weaknesses: greeting.weaknesses,
            link,
            supervisor,
        };
        Ok(Ok(Self {
            process: Arc::new(process),
            node: FIRST,
        }))
    }

    /// Why it could not be a better mode.
    pub fn refusals(&self) -> &[String] {
        &self.process.refusals
    }

    async fn launch(&self, process: u64, request: Request, stdin: bool) -> Result<Started, RuntimeError> {
        let (Answer::Started(ends), descriptors, exit) = self.process.link.start(process, request).await? else {
            return Err(unexpected());
        };
        // Without the node process there are no containers either.
        let killed = ExitStatus {
            code: 137,
            signal: 9,
            oom_killed: false,
        };
        let exit = exit.map(move |status| status.unwrap_or(killed)).boxed();
        let started = wrap(ends, descriptors, exit).map_err(io_error("take over a process's streams"))?;
        // A terminal can always be written to; whether that was asked for is not its concern.
        Ok(Started {
            stdin: started.stdin.filter(|_| stdin),
            ..started
        })
    }

    async fn sockets(&self, sandbox: Option<&str>) -> Result<Vec<OwnedFd>, RuntimeError> {
        let request = Request::Sockets {
            node: self.node,
            sandbox: sandbox.map(str::to_owned),
        };
        Ok(self.process.link.call(request).await?.1)
    }

    async fn bound(&self, address: SocketAddr, datagram: bool) -> Result<OwnedFd, RuntimeError> {
        let (_, sockets) = self.process.link.call(Request::Bind { address, datagram }).await?;
        sockets.into_iter().next().ok_or_else(unexpected)
    }
}

fn unexpected() -> RuntimeError {
    RuntimeError::Io {
        context: "ask the node process".into(),
        source: std::io::Error::other("unexpected answer"),
    }
}

fn wrap(
    ends: Ends,
    descriptors: Vec<OwnedFd>,
    exit: futures::future::BoxFuture<'static, ExitStatus>,
) -> std::io::Result<Started> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        descriptors
            .next()
            .ok_or_else(|| std::io::Error::other("a descriptor is missing"))
    };
    let pid = if ends.pidfd { host_pid(&next()?) } else { None };
    if ends.terminal {
        let (reader, writer, resize) = Terminal::open(next()?)?.split();
        return Ok(Started {
            pid,
            stdin: Some(Box::new(writer)),
            stdout: Box::new(reader),
            stderr: None,
            resize: Some(resize),
            exit,
        });
    }
    let stdin = if ends.stdin {
        Some(Box::new(pipe::Sender::from_owned_fd(next()?)?) as crate::Writer)
    } else {
        None
    };
    let stdout = Box::new(pipe::Receiver::from_owned_fd(next()?)?);
    let stderr = Box::new(pipe::Receiver::from_owned_fd(next()?)?);
    Ok(Started {
        pid,
        stdin,
        stdout,
        stderr: Some(stderr),
        resize: None,
        exit,
    })
}

/// The process ID as this process sees it.
fn host_pid(pidfd: &OwnedFd) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .filter(|pid| *pid > 0)
}

async fn connect(socket: OwnedFd, address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    // Probes and forwarded keystrokes are small and want to be early.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn dialled(address: SocketAddr) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |source| RuntimeError::Io {
        context: format!("dial tcp {address}"),
        source,
    }
}

#[async_trait]
impl Runtime for LinuxRuntime {
    fn mode(&self) -> Mode {
        self.process.mode
    }

    fn weaknesses(&self) -> Vec<String> {
        let mut all = self.process.weaknesses.clone();
        if self.process.mode == Mode::UserNamespace {
            all.push(
                "containers run in a user namespace with one user and one group: every runAsUser is that user to the host, \
                 and fsGroup and supplementalGroups cannot be had besides runAsGroup"
                    .to_owned(),
            );
        }
        all
    }

    fn version(&self) -> String {
        crate::version()
    }

    fn status(&self) -> watch::Receiver<RuntimeStatus> {
        self.process.link.status()
    }

    fn node_ip(&self) -> IpAddr {
        node_ip(self.node).into()
    }

    fn pod_cidr(&self) -> Option<String> {
        let [a, b, c, _] = node_ip(self.node).octets();
        Some(format!("{a}.{b}.{c}.0/24"))
    }

    async fn add_node(&self, spec: NodeSpec) -> Result<Option<Arc<dyn Runtime>>, RuntimeError> {
        let node = spec.number;
        self.process.link.add_node(spec).await?;
        Ok(Some(Arc::new(Self {
            process: self.process.clone(),
            node,
        })))
    }

    async fn remove_node(&self) -> Result<(), RuntimeError> {
        self.process.link.remove_node(self.node).await
    }

    async fn connect(&self, connected: bool) -> Result<(), RuntimeError> {
        if self.node == FIRST {
            return Ok(());
        }
        self.process.link.connect_node(self.node, connected).await
    }

    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, RuntimeError> {
        let id = spec.id.clone();
        match self
            .process
            .link
            .call(Request::CreateSandbox { node: self.node, spec })
            .await?
            .0
        {
            Answer::Sandbox { ip } => Ok(Sandbox { id, ip }),
            _ => Err(unexpected()),
        }
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.process
            .link
            .call(Request::RemoveSandbox { id: id.to_owned() })
            .await
            .map(drop)
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        let process = self.process.link.number();
        let stdin = spec.stdin;
        self.launch(
            process,
            Request::Start {
                process,
                spec: Box::new(spec),
            },
            stdin,
        )
        .await
    }

    async fn signal(&self, container: &str, signal: i32) -> Result<(), RuntimeError> {
        self.process
            .link
            .call(Request::Signal {
                container: container.to_owned(),
                signal,
            })
            .await
            .map(drop)
    }

    async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        self.process
            .link
            .call(Request::Remove {
                container: container.to_owned(),
            })
            .await
            .map(drop)
    }

    async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Started, RuntimeError> {
        let process = self.process.link.number();
        let stdin = spec.stdin;
        self.launch(
            process,
            Request::Exec {
                process,
                container: container.to_owned(),
                spec,
            },
            stdin,
        )
        .await
    }

    async fn dial(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>, RuntimeError> {
        let mut sockets = self.sockets(Some(sandbox)).await?.into_iter();
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let refused = match connect(sockets.next().ok_or_else(unexpected)?, v4).await {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => dialled(v4)(error),
        };
        // As with Kubernetes, "localhost" means both addresses.
        if let Some(socket) = sockets.next()
            && let Ok(stream) = connect(socket, (Ipv6Addr::LOCALHOST, port).into()).await
        {
            return Ok(Box::new(stream));
        }
        Err(refused)
    }

    async fn dial_node(&self, address: SocketAddr) -> Result<Box<dyn Connection>, RuntimeError> {
        let mut sockets = self.sockets(None).await?.into_iter();
        let socket = if address.is_ipv4() {
            sockets.next()
        } else {
            sockets.nth(1)
        };
        let stream = connect(socket.ok_or_else(unexpected)?, address)
            .await
            .map_err(dialled(address))?;
        Ok(Box::new(stream))
    }

    async fn listen_node(&self, address: SocketAddr) -> Result<TcpListener, RuntimeError> {
        let listener = std::net::TcpListener::from(self.bound(address, false).await?);
        TcpListener::from_std(listener).map_err(io_error("watch a listener"))
    }

    async fn bind_node(&self, address: SocketAddr) -> Result<UdpSocket, RuntimeError> {
        let socket = std::net::UdpSocket::from(self.bound(address, true).await?);
        UdpSocket::from_std(socket).map_err(io_error("watch a socket"))
    }

    fn layer(&self, container: &str) -> Option<PathBuf> {
        Some(self.process.link.layer(container))
    }

    async fn usage(&self, container: &str) -> Result<Usage, RuntimeError> {
        match self
            .process
            .link
            .call(Request::Usage {
                container: container.to_owned(),
            })
            .await?
            .0
        {
            Answer::Usage(usage) => Ok(usage),
            _ => Err(unexpected()),
        }
    }
}
