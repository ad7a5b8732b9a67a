//! Simulated containers: see [`Hollow`].

mod command;
mod files;
mod io;
mod process;
mod script;
mod server;
mod shell;
mod terminal;
mod tool;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use knarr_clock::Clock;
use knarr_runtime::{
    Connection, ContainerSpec, ExecSpec, Mode, Runtime, RuntimeError, RuntimeStatus, Sandbox, SandboxSpec, Started,
    Usage,
};

use process::Container;
use server::Server;
use tokio::sync::watch;

/// Making a sandbox and starting a process take this long.
const SANDBOX: Duration = Duration::from_millis(20);
const START: Duration = Duration::from_millis(5);

/// A [`Runtime`] without processes: containers are tasks that behave like the built-in images, so that tests and rehearsals
/// need nothing of the host and run in virtual time.
///
/// A container's program decides what it does: `kuard`, `node` and `nginx` serve HTTP, shells run a small part of the
/// shell language with the everyday commands that tests need, and what is known to none of them does not exist. Networks
/// are tables: what listens can be dialled, everything else refuses.
#[derive(Clone)]
pub struct Hollow(Arc<Inner>);

struct Inner {
    clock: Clock,
    world: Mutex<World>,
    status: watch::Sender<RuntimeStatus>,
}

#[derive(Default)]
struct World {
    sandboxes: HashMap<String, Home>,
    containers: HashMap<String, Arc<Container>>,
    addresses: u32,
}

/// A sandbox.
#[derive(Clone)]
struct Home {
    ip: IpAddr,
    hostname: String,
    ports: HashMap<u16, Arc<Server>>,
}

impl Hollow {
    /// A runtime with no containers.
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// A runtime whose programs see the time of `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            world: Mutex::default(),
            status: watch::Sender::default(),
        }))
    }

    /// The runtime dies, and all its containers with it.
    pub fn go_down(&self, why: &str) {
        self.0.status.send_modify(|status| {
            status.epoch += 1;
            status.down = Some(why.to_owned());
        });
        let lost = self.world(|world| {
            world.sandboxes.clear();
            std::mem::take(&mut world.containers)
        });
        lost.values().for_each(|container| container.kill());
    }

    /// It is there again, with nothing of what it had.
    pub fn come_back(&self) {
        self.0.status.send_modify(|status| status.down = None);
    }

    fn check_up(&self) -> Result<(), RuntimeError> {
        match &self.0.status.borrow().down {
            None => Ok(()),
            Some(why) => Err(RuntimeError::Io {
                context: "ask the runtime".into(),
                source: std::io::Error::other(why.clone()),
            }),
        }
    }

    fn world<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.0.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        let found = self.world(|world| world.containers.get(id).cloned());
        found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))
    }

    /// Opens a port in a sandbox. False when it is taken.
    fn listen(&self, sandbox: &str, port: u16, server: Arc<Server>) -> bool {
        self.world(|world| match world.sandboxes.get_mut(sandbox) {
            Some(home) if !home.ports.contains_key(&port) => home.ports.insert(port, server).is_none(),
            _ => false,
        })
    }

    fn close(&self, sandbox: &str, port: u16) {
        self.world(|world| world.sandboxes.get_mut(sandbox).map(|home| home.ports.remove(&port)));
    }

    fn connect(&self, server: Option<Arc<Server>>, port: u16) -> Result<Box<dyn Connection>, RuntimeError> {
        match server {
            Some(server) => Ok(Box::new(server.connect())),
            None => Err(RuntimeError::Io {
                context: format!("connect to port {port}"),
                source: std::io::ErrorKind::ConnectionRefused.into(),
            }),
        }
    }
}

impl Default for Hollow {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Runtime for Hollow {
    fn mode(&self) -> Mode {
        Mode::Hollow
    }

    fn version(&self) -> String {
        concat!("hollow://", env!("CARGO_PKG_VERSION")).to_owned()
    }

    fn status(&self) -> watch::Receiver<RuntimeStatus> {
        self.0.status.subscribe()
    }

    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, RuntimeError> {
        tokio::time::sleep(SANDBOX).await;
        self.check_up()?;
        let ip = self.world(|world| {
            if let Some(home) = world.sandboxes.get(&spec.id) {
                return home.ip;
            }
            world.addresses += 1;
            // 10.244.0.2 and on; the first address is the node's.
            let ip = IpAddr::V4(Ipv4Addr::from(
                u32::from(Ipv4Addr::new(10, 244, 0, 1)).wrapping_add(world.addresses),
            ));
            let home = Home {
                ip,
                hostname: spec.hostname,
                ports: HashMap::new(),
            };
            world.sandboxes.insert(spec.id.clone(), home);
            ip
        });
        Ok(Sandbox { id: spec.id, ip })
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let orphans = self.world(|world| {
            world.sandboxes.remove(id);
            let inside = world
                .containers
                .values()
                .filter(|container| container.spec.sandbox == id);
            inside.cloned().collect::<Vec<_>>()
        });
        orphans.iter().for_each(|container| container.kill());
        Ok(())
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Started, RuntimeError> {
        tokio::time::sleep(START).await;
        self.check_up()?;
        let hostname = self.world(|world| world.sandboxes.get(&spec.sandbox).map(|home| home.hostname.clone()));
        let hostname = hostname.ok_or_else(|| RuntimeError::NotFound(format!("sandbox {}", spec.sandbox)))?;
        let id = spec.id.clone();
        let container = Arc::new(Container::new(spec, hostname, self.0.clock.clone()));
        let started = container.start(self)?;
        self.world(|world| world.containers.insert(id, container));
        Ok(started)
    }

    async fn signal(&self, container: &str, signal: i32) -> Result<(), RuntimeError> {
        if let Ok(container) = self.container(container) {
            container.signal(signal);
        }
        Ok(())
    }

    async fn remove(&self, container: &str) -> Result<(), RuntimeError> {
        if let Some(container) = self.world(|world| world.containers.remove(container)) {
            container.kill();
        }
        Ok(())
    }

    async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Started, RuntimeError> {
        let container = self.container(container)?;
        if container.ended() {
            return Err(RuntimeError::NotFound(format!(
                "container {} is not running",
                container.spec.id
            )));
        }
        tokio::time::sleep(START).await;
        container.exec(self, spec)
    }

    async fn dial(&self, sandbox: &str, port: u16) -> Result<Box<dyn Connection>, RuntimeError> {
        let server = self.world(|world| Some(world.sandboxes.get(sandbox)?.ports.get(&port).cloned()));
        let server = server.ok_or_else(|| RuntimeError::NotFound(format!("sandbox {sandbox}")))?;
        self.connect(server, port)
    }

    async fn dial_node(&self, address: SocketAddr) -> Result<Box<dyn Connection>, RuntimeError> {
        let server = self.world(|world| {
            let home = world.sandboxes.values().find(|home| home.ip == address.ip())?;
            home.ports.get(&address.port()).cloned()
        });
        self.connect(server, address.port())
    }

    async fn usage(&self, container: &str) -> Result<Usage, RuntimeError> {
        let container = self.container(container)?;
        Ok(Usage {
            // A thousandth of a core, and as much memory as a small program needs.
            cpu_nanos: u64::try_from(container.age().as_nanos() / 1000).unwrap_or(u64::MAX),
            memory_bytes: 8 << 20,
        })
    }
}

#[cfg(test)]
mod tests;
