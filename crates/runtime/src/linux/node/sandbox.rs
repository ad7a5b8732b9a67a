//! Sandboxes: the network, host name and shared memory that a pod's containers have in common; and sockets in those networks.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use nix::unistd::sethostname;

use super::container::end;
use super::namespace::Shared;
use super::network::{Addresses, FIRST, connect_node, connect_pod, join_node, node_at, node_ip};
use super::root;
use super::service::{Node, Outcome};
use super::state::{Member, Sandbox};
use crate::linux::wire::{Answer, Context, Failure};
use crate::{NodeSpec, SandboxSpec, Tmpfs};

const BACKLOG: i32 = 1024;
/// Bytes of a pod's `/dev/shm`.
const SHARED_MEMORY: u64 = 64 << 20;

/// IDs name directories.
pub(super) fn check_id(id: &str) -> Result<(), Failure> {
    let fine = !id.is_empty() && id.len() <= 128 && !id.starts_with('.');
    if fine
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return Ok(());
    }
    Err(Failure::other(
        format!("use the ID {id:?}"),
        "letters, digits, '-', '_' and '.' only",
    ))
}

impl Node {
    /// Starts with nothing: whatever a previous run left here died with it.
    pub(super) fn open(&mut self, state_dir: PathBuf) -> Result<Outcome, Failure> {
        for name in ["containers", "sandboxes", "trash"] {
            let directory = state_dir.join(name);
            match super::sweep::remove_tree(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::new(format!("clear {}", directory.display()), error));
                }
                _ => fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?,
            }
        }
        self.state_dir = Some(state_dir);
        Ok(Outcome::DONE)
    }

    pub(super) fn directory(&self, kind: &str, id: &str) -> Result<PathBuf, Failure> {
        check_id(id)?;
        let state = self
            .state_dir
            .as_ref()
            .ok_or_else(|| Failure::other("find the state directory", "not open yet"))?;
        Ok(state.join(kind).join(id))
    }

    pub(super) fn add_node(&mut self, spec: &NodeSpec) -> Result<Outcome, Failure> {
        if !self.members.contains_key(&spec.number) {
            let network = join_node(&self.home, spec.number)?;
            let name = format!("node{}", spec.number);
            let groups = self.groups.add(&name, &spec.limits).unwrap_or_default();
            groups.hand_down();
            let addresses = Addresses::new(spec.number);
            let member = Member {
                network,
                addresses,
                groups,
            };
            self.members.insert(spec.number, member);
        }
        Ok(Outcome::DONE)
    }

    pub(super) fn remove_node(&mut self, number: u8) -> Result<Outcome, Failure> {
        if number != FIRST
            && let Some(member) = self.members.remove(&number)
        {
            // Dropping the namespace takes its network down.
            member.groups.remove();
        }
        Ok(Outcome::DONE)
    }

    pub(super) fn connect_node(&self, number: u8, connected: bool) -> Result<Outcome, Failure> {
        self.member(number)?;
        connect_node(number, connected)?;
        Ok(Outcome::DONE)
    }

    fn member(&self, number: u8) -> Result<&Member, Failure> {
        self.members
            .get(&number)
            .ok_or_else(|| Failure::NotFound(format!("node {number}")))
    }

    pub(super) fn create_sandbox(&mut self, node: u8, spec: &SandboxSpec) -> Result<Outcome, Failure> {
        if !self.sandboxes.contains_key(&spec.id) {
            let own = self.directory("sandboxes", &spec.id)?.join("shm");
            let shm = if spec.host_ipc {
                self.node_shm()?
            } else {
                make_shm(own)?
            };
            match self.isolate(node, spec) {
                Ok((shared, address)) => {
                    let sandbox = Sandbox {
                        node,
                        shared,
                        address,
                        shm,
                        host_ipc: spec.host_ipc,
                        group: self.member(node)?.groups.add(&format!("pod{}", spec.id), &spec.limits),
                        memory: HashSet::new(),
                        pause: None,
                        removers: Vec::new(),
                    };
                    if let Some(group) = &sandbox.group {
                        group.hand_down();
                    }
                    self.sandboxes.insert(spec.id.clone(), sandbox);
                }
                Err(failure) => {
                    if !spec.host_ipc {
                        remove_shm(&shm);
                    }
                    return Err(failure);
                }
            }
        }
        let sandbox = self.sandbox(&spec.id)?;
        let ip = sandbox.address.unwrap_or(node_ip(sandbox.node));
        Ok(Outcome::Now(Answer::Sandbox { ip: IpAddr::V4(ip) }, Vec::new()))
    }

    fn isolate(&mut self, node: u8, spec: &SandboxSpec) -> Result<(Shared, Option<std::net::Ipv4Addr>), Failure> {
        let member = self
            .members
            .get_mut(&node)
            .ok_or_else(|| Failure::NotFound(format!("node {node}")))?;
        let mut kinds = CloneFlags::CLONE_NEWUTS;
        if !spec.host_ipc {
            kinds |= CloneFlags::CLONE_NEWIPC;
        }
        if !spec.host_network {
            kinds |= CloneFlags::CLONE_NEWNET;
        }
        let shared = self.home.visit(|| {
            member.network.enter_network()?;
            unshare(kinds).context("make the pod's namespaces")?;
            sethostname(&spec.hostname).context("set the host name")?;
            // Those of the network again when that stands: it comes up with defaults of its own.
            set_sysctls(spec, |name| !name.starts_with("net."))?;
            Shared::current()
        })?;
        if spec.host_network {
            return Ok((shared, None));
        }
        let address = member
            .addresses
            .take()
            .ok_or_else(|| Failure::other("find a pod address", "all 253 are in use"))?;
        let connected = connect_pod(&self.home, &member.network, &shared, address).and_then(|()| {
            self.home.visit(|| {
                shared.enter_network()?;
                set_sysctls(spec, |name| name.starts_with("net."))
            })
        });
        connected.inspect_err(|_| member.addresses.give_back(address))?;
        Ok((shared, Some(address)))
    }

    /// The shared memory of the node itself, made when the first pod asks for it.
    fn node_shm(&self) -> Result<PathBuf, Failure> {
        let shm = self.directory("sandboxes", "node")?.join("shm");
        if shm.is_dir() { Ok(shm) } else { make_shm(shm) }
    }

    pub(super) fn sandbox(&self, id: &str) -> Result<&Sandbox, Failure> {
        self.sandboxes
            .get(id)
            .ok_or_else(|| Failure::NotFound(format!("sandbox {id:?}")))
    }

    /// Mounts a memory-backed volume once for all containers of a sandbox, at its path on the host but in the node's mount namespace only.
    pub(super) fn mount_memory(&mut self, sandbox: &str, volume: &Path, wanted: Tmpfs) -> Result<(), Failure> {
        let Some(sandbox) = self.sandboxes.get_mut(sandbox) else {
            return Ok(());
        };
        if !sandbox.memory.contains(volume) {
            fs::create_dir_all(volume).with_context(|| format!("create {}", volume.display()))?;
            root::mount_tmpfs(volume, wanted)?;
            sandbox.memory.insert(volume.to_path_buf());
        }
        Ok(())
    }

    pub(super) fn remove_sandbox(&mut self, call: u64, id: &str) -> Result<Outcome, Failure> {
        let Some(sandbox) = self.sandboxes.get_mut(id) else {
            return Ok(Outcome::DONE);
        };
        sandbox.removers.push(call);
        let containers: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, c)| c.spec.sandbox == id)
            .map(|(name, _)| name.clone())
            .collect();
        for container in containers {
            self.doom(&container, None);
        }
        self.finish_sandbox(id);
        Ok(Outcome::Later)
    }

    /// Removes a sandbox once nothing of it is left but itself.
    pub(super) fn finish_sandbox(&mut self, id: &str) {
        let busy = self.containers.values().any(|c| c.spec.sandbox == id)
            || self
                .processes
                .values()
                .any(|p| matches!(&p.role, super::state::Role::Sweeper { sandbox, .. } if sandbox == id));
        if busy || self.sandboxes.get(id).is_none_or(|s| s.removers.is_empty()) {
            return;
        }
        let Some(sandbox) = self.sandboxes.remove(id) else {
            return;
        };
        if let Some(pause) = sandbox.pause {
            end(pause);
        }
        sandbox.memory.iter().for_each(|volume| unmount(volume));
        if !sandbox.host_ipc {
            remove_shm(&sandbox.shm);
        }
        // Its containers are gone, and their groups with them.
        sandbox.group.as_ref().map(super::cgroup::Groups::remove);
        if let (Some(address), Some(member)) = (sandbox.address, self.members.get_mut(&sandbox.node)) {
            member.addresses.give_back(address);
        }
        for call in sandbox.removers {
            self.answer(call, Ok(Answer::Done), &[]);
        }
        // Dropping the namespaces takes the pod's network down: the kernel does it once no socket in it is left.
    }

    pub(super) fn sockets(&self, node: u8, sandbox: Option<&str>) -> Result<Outcome, Failure> {
        let make = |family| stream(family).context("make a socket");
        let made = |()| {
            let mut sockets = vec![make(AddressFamily::Inet)?];
            // Absent where the kernel has IPv6 switched off.
            sockets.extend(make(AddressFamily::Inet6).ok());
            Ok(sockets)
        };
        let network = match sandbox {
            None => &self.member(node)?.network,
            Some(id) => &self.sandbox(id)?.shared,
        };
        let sockets = self.home.visit(|| network.enter_network().and_then(made))?;
        Ok(Outcome::Now(Answer::Done, sockets))
    }

    pub(super) fn bind(&self, address: SocketAddr, datagram: bool) -> Result<Outcome, Failure> {
        let owner = node_at(address.ip()).and_then(|number| self.members.get(&number));
        let socket = match owner {
            Some(member) => self
                .home
                .visit(|| member.network.enter_network().and_then(|()| bound(address, datagram))),
            None => bound(address, datagram),
        };
        Ok(Outcome::Now(Answer::Done, vec![socket?]))
    }
}

/// A socket that listens in the network this process is in.
fn bound(address: SocketAddr, datagram: bool) -> Result<OwnedFd, Failure> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let (kind, name) = if datagram {
        (SockType::Datagram, "udp")
    } else {
        (SockType::Stream, "tcp")
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let doing = || format!("listen {name} {address}");
    let socket = socket(family, kind, flags, None).with_context(doing)?;
    if !datagram {
        setsockopt(&socket, sockopt::ReuseAddr, &true).with_context(doing)?;
    }
    match bind(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Err(nix::Error::EADDRINUSE) => {
            return Err(Failure::AddressInUse(format!(
                "listen {name} {address}: bind: address already in use"
            )));
        }
        other => other.with_context(doing)?,
    }
    if !datagram {
        let backlog = Backlog::new(BACKLOG).with_context(doing)?;
        listen(&socket, backlog).with_context(doing)?;
    }
    Ok(socket)
}

fn stream(family: AddressFamily) -> nix::Result<OwnedFd> {
    socket(
        family,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )
}

fn make_shm(shm: PathBuf) -> Result<PathBuf, Failure> {
    fs::create_dir_all(&shm).context("create the sandbox's directory")?;
    let wanted = Tmpfs {
        size: SHARED_MEMORY,
        group: None,
    };
    root::mount_tmpfs(&shm, wanted)?;
    Ok(shm)
}

fn remove_shm(shm: &Path) {
    unmount(shm);
    if let Some(directory) = shm.parent() {
        drop(fs::remove_dir_all(directory));
    }
}

/// Sets those of a pod's kernel settings that `select` names, in the namespaces this process is in.
fn set_sysctls(spec: &SandboxSpec, select: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for (name, value) in spec.sysctls.iter().filter(|(name, _)| select(name)) {
        // Both separators are in use; the kubelet has checked that the name is a known one.
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(path, value).with_context(|| format!("set the sysctl {name} to {value:?}"))?;
    }
    Ok(())
}

fn unmount(path: &Path) {
    // Nothing to do about a refusal: the mount is gone with this process at the latest.
    let _ = umount2(path, MntFlags::MNT_DETACH);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_that_are_plain_file_names_are_taken() {
        for good in ["0f3a", "pod-1_a.b"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", "..", ".x", "a/b", "a b", &"x".repeat(200)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
