//! Containers as plain processes, for hosts that allow no namespaces: macOS, locked-down CI.
//!
//! A mode for demonstrations and tests, and honest about it. What it does not do:
//! * no root file system: a container starts in a directory of its own (`$KNARR_ROOT`), below which its mounts appear as symbolic
//!   links; absolute paths inside programs mean the host's;
//! * no network of its own: on Linux a pod gets an address of `127.244.0.0/16` that its programs may bind, elsewhere all share
//!   `127.0.0.1`, and two programs on one port collide;
//! * no users, no limits, no read-only mounts, no shared memory or PID namespaces.

mod applet;
mod spawn;

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::{
    Connection, ContainerSpec, ExecSpec, Mode, Runtime, RuntimeError, Sandbox, SandboxSpec, Started, Usage, io_error,
};
use spawn::{Command, Spawner};

/// Runs containers as process groups.
pub struct ProcessRuntime {
    state_dir: PathBuf,
    spawner: Spawner,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<String, IpAddr>,
    containers: HashMap<String, Arc<Container>>,
    addresses: u16,
}

struct Container {
    spec: ContainerSpec,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    /// Also the ID of its process group.
    first: Pid,
    /// Becomes true when the first process has ended.
    ended: watch::Receiver<bool>,
}

impl Container {
    fn working_dir(&self) -> PathBuf {
        applet::below(&self.directory.join("root"), &self.spec.working_dir)
    }

    fn kill(&self, signal: Signal) {
        // Gone already is as good.
        let _ = killpg(self.first, signal);
    }
}

impl ProcessRuntime {
    /// Keeps containers' directories below `state_dir`. Call it inside the async runtime.
    pub fn new(state_dir: &Path) -> Result<Self, RuntimeError> {
        let containers = state_dir.join("containers");
        if containers.exists() {
            fs::remove_dir_all(&containers).map_err(io_error("clear the state directory"))?;
        }
        fs::create_dir_all(&containers).map_err(io_error("create the state directory"))?;
        let state_dir = state_dir.canonicalize().map_err(io_error("find the state directory"))?;
        Ok(Self {
            state_dir,
            spawner: Spawner::start(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        let found = self.state().containers.get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound(format!("container {id:?}")))
    }

    /// Makes a container's directory: `bin` with a link per program of the image, `root` with a link per mount. Returns it with the
    /// search path for programs.
    fn furnish(&self, spec: &ContainerSpec) -> Result<(PathBuf, String), RuntimeError> {
        let plain = !spec.id.is_empty()
            && spec
                .id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !plain {
            return Err(RuntimeError::NotFound(format!("a directory for the ID {:?}", spec.id)));
        }
        let directory = self.state_dir.join("containers").join(&spec.id);
        let (programs, whole) = applet::View::of(spec).programs(crate::program::search_path(&spec.env));
        let bin = directory.join("bin");
        let furnish = || {
            let root = directory.join("root");
            fs::create_dir_all(&bin)?;
            for (name, program) in programs {
                symlink(program, bin.join(name))?;
            }
            fs::create_dir_all(applet::below(&root, &spec.working_dir))?;
            for mount in spec.mounts.iter().filter(|m| !m.source.as_os_str().is_empty()) {
                if mount.tmpfs.is_some() {
                    fs::create_dir_all(&mount.source)?;
                }
                let source = mount.path();
                if !mount.sub_path.as_os_str().is_empty() && !source.exists() {
                    fs::create_dir_all(&source)?;
                }
                let target = applet::below(&root, &mount.target);
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent)?;
                }
                // Taken when one mount lies in another; the outer one shows what is there.
                drop(symlink(source, target));
            }
            Ok(())
        };
        furnish().map_err(io_error("make the container's directory"))?;
        let search = std::iter::once(bin)
            .chain(whole)
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(":");
        Ok((directory, search))
    }

    async fn run(
        &self,
        container: &Container,
        argv: &[String],
        tty: bool,
        stdin: bool,
    ) -> Result<Started, RuntimeError> {
        let search = crate::program::search_path(&container.environment);
        let program = applet::View::of(&container.spec).program(argv, search, &container.spec.working_dir)?;
        let environment = crate::program::environment(&container.environment, &[], tty);
        let command = Command {
            program,
            argv: argv.to_vec(),
            environment,
            directory: container.working_dir(),
            tty,
            stdin,
        };
        self.spawner.spawn(command).await
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn mode(&self) -> Mode {
        Mode::Processes
    }

    fn weaknesses(&self) -> Vec<String> {
        [
            "containers are plain processes of the user who runs the node: they see and may change all that this user may",
            "runAsUser, fsGroup, capabilities, seccompProfile, readOnlyRootFilesystem and read-only mounts have no effect",
            "limits of memory, cpu and pids are not enforced",
            "pods share the host's network: what listens on the host's loopback is in their reach",
        ]
        .map(str::to_owned)
        .into()
    }

    fn version(&self) -> String {
        crate::version()
    }

    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, RuntimeError> {
        let mut state = self.state();
        if let Some(ip) = state.sandboxes.get(&spec.id).copied() {
            return Ok(Sandbox { id: spec.id, ip });
        }
        let ip = if cfg!(target_os = "linux") && !spec.host_network {
            // Every address of 127.0.0.0/8 is the host's own on Linux.
            state.addresses = state.addresses.wrapping_add(1);
            let [high, low] = state.addresses.to_be_bytes();
            Ipv4Addr::new(127, 244, high, low).into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        state.sandboxes.insert(spec.id.clone(), ip);
        Ok(Sandbox { id: spec.id, ip })
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let containers: Vec<String> = {
            let mut state = self.state();
            state.sandboxes.remove(id);
            state
                .containers
                .values()
                .filter(|c| c.spec.sandbox == id)
                .map(|c| c.spec.id.clone())
                .collect()
        };
        for container in containers {
            self.remove(&container).await?;
        }
        Ok(())
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        let ip = self.state().sandboxes.get(&spec.sandbox).copied();
        let ip = ip
            .ok_or_else(|| RuntimeError::NotFound(format!("sandbox {:?}", spec.sandbox)))?
            .to_string();
        let (directory, search) = self.furnish(&spec)?;
        let root = directory.join("root");
        let mut environment: Vec<_> = spec.env.iter().filter(|(name, _)| name != "PATH").cloned().collect();
        environment.push(("PATH".to_owned(), search));
        let root_text = root.display().to_string();
        let extra = [
            ("KNARR_ROOT", root_text.as_str()),
            ("HOME", root_text.as_str()),
            ("POD_IP", ip.as_str()),
        ];
        let environment = crate::program::environment(&environment, &extra, false);
        let (sender, ended) = watch::channel(false);
        let (argv, tty, stdin, id) = (spec.argv.clone(), spec.tty, spec.stdin, spec.id.clone());
        let mut container = Container {
            spec,
            directory,
            environment,
            first: Pid::from_raw(0),
            ended,
        };
        let mut started = match self.run(&container, &argv, tty, stdin).await {
            Ok(started) => started,
            Err(error) => {
                drop(fs::remove_dir_all(&container.directory));
                return Err(error);
            }
        };
        container.first = Pid::from_raw(started.pid.unwrap_or(i32::MAX));
        let exit = started.exit;
        let group = container.first;
        // Waits whether or not the caller does, so that removal can.
        let waited = tokio::spawn(async move {
            let status = exit.await;
            // What a PID namespace's kernel does.
            let _ = killpg(group, Signal::SIGKILL);
            sender.send_replace(true);
            status
        });
        started.exit = Box::pin(async move { waited.await.unwrap_or(spawn::KILLED) });
        self.state().containers.insert(id, Arc::new(container));
        Ok(started)
    }

    async fn signal(&self, container: &str, signal: i32) -> Result<(), RuntimeError> {
        let container = self.container(container)?;
        let signal = Signal::try_from(signal).map_err(|error| io_error("send a signal")(error.into()))?;
        if !*container.ended.borrow() {
            container.kill(signal);
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let Ok(container) = self.container(id) else {
            return Ok(());
        };
        let mut ended = container.ended.clone();
        if !*ended.borrow() {
            container.kill(Signal::SIGKILL);
            // An error means that the waiting task is gone, and the process with it.
            drop(ended.wait_for(|ended| *ended).await);
        }
        self.state().containers.remove(id);
        match fs::remove_dir_all(&container.directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("remove the container's directory")(error))
            }
            _ => Ok(()),
        }
    }

    async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Started, RuntimeError> {
        let container = self.container(container)?;
        if *container.ended.borrow() {
            return Err(RuntimeError::NotFound(format!(
                "running container {:?}",
                container.spec.id
            )));
        }
        let started = self.run(&container, &spec.argv, spec.tty, spec.stdin).await?;
        let (exit, mut ended) = (started.exit, container.ended.clone());
        let group = started.pid.map(Pid::from_raw);
        let waited = tokio::spawn(async move {
            let mut exit = exit;
            tokio::select! {
                status = &mut exit => return status,
                _ = ended.wait_for(|ended| *ended) => {}
            }
            // A command does not outlive its container.
            if let Some(group) = group {
                let _ = killpg(group, Signal::SIGKILL);
            }
            exit.await
        });
        Ok(Started {
            exit: Box::pin(async move { waited.await.unwrap_or(spawn::KILLED) }),
            ..started
        })
    }

    async fn dial(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>, RuntimeError> {
        let ip = self.state().sandboxes.get(sandbox).copied();
        let ip = ip.ok_or_else(|| RuntimeError::NotFound(format!("sandbox {sandbox:?}")))?;
        match self.dial_node((ip, port).into()).await {
            Err(_) if ip != Ipv4Addr::LOCALHOST => self.dial_node((Ipv4Addr::LOCALHOST, port).into()).await,
            other => other,
        }
    }

    async fn dial_node(&self, address: SocketAddr) -> Result<Box<dyn Connection>, RuntimeError> {
        match TcpStream::connect(address).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(RuntimeError::Io {
                context: format!("dial tcp {address}"),
                source,
            }),
        }
    }

    async fn usage(&self, container: &str) -> Result<Usage, RuntimeError> {
        let container = self.container(container)?;
        Ok(if *container.ended.borrow() {
            Usage::default()
        } else {
            spawn::usage(container.first)
        })
    }
}
