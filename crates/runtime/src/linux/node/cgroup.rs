//! Control groups: limits, accounting, and noticing that the kernel killed a container for its memory.
//!
//! They are used where the host lets us make groups next to our own (root, or a delegated subtree) and left out elsewhere. Version 1 has
//! a hierarchy per controller, version 2 a single one; a host may have both.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::child;
use crate::linux::wire::{self, Context, Failure};
use crate::{Limits, Usage};

const MOUNT: &str = "/sys/fs/cgroup";
/// A node's group is named by this and its guard's process ID.
const PREFIX: &str = "knarr-";
/// Length of the scheduling period that a CPU limit is a share of.
const PERIOD_MICROS: u64 = 100_000;

/// The groups of this node, one directory per hierarchy.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    /// Version 2.
    unified: Option<PathBuf>,
    /// Version 1, by controller.
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
}

impl Groups {
    /// Makes the groups of the node whose guard is `process` wherever that is allowed.
    pub(super) fn create(process: Pid) -> Self {
        let node = &format!("{PREFIX}{process}");
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let legacy = |controller: &str| {
            let path = own_path(&own, controller)?;
            let parent = Path::new(MOUNT).join(controller).join(path);
            remove_stale(&parent);
            let directory = parent.join(node);
            make(&directory)?;
            joinable(directory)
        };
        let (memory, cpu, cpuacct) = (legacy("memory"), legacy("cpu"), legacy("cpuacct"));
        let unified = if memory.is_none() {
            own_path(&own, "").and_then(|path| unified(path, node))
        } else {
            None
        };
        Self {
            unified,
            memory,
            cpu,
            cpuacct,
        }
    }

    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.unified, &self.memory, &self.cpu, &self.cpuacct]
            .into_iter()
            .flatten()
    }

    /// Removes what [`Groups::create`] made, and the empty groups of containers in it.
    pub(super) fn remove(&self) {
        self.directories().for_each(|directory| remove_group(directory));
    }

    /// A container's group. `None` where none can be made.
    pub(super) fn add(&self, container: &str, limits: &Limits) -> Option<Group> {
        let under = |directory: &Option<PathBuf>| {
            let path = directory.as_ref()?.join(container);
            make(&path).map(|()| path)
        };
        let inner = Self {
            unified: under(&self.unified),
            memory: under(&self.memory),
            cpu: under(&self.cpu),
            cpuacct: under(&self.cpuacct),
        };
        inner.directories().next()?;
        let group = Group(inner);
        group.limit(limits);
        Some(group)
    }
}

/// Controllers may be mounted together under several names: then what one made is there for the next.
fn make(directory: &Path) -> Option<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => None,
        _ => Some(()),
    }
}

/// Removes a node's group with the empty groups of containers in it. The kernel refuses to remove one with processes.
fn remove_group(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        drop(fs::remove_dir(entry.path()));
    }
    drop(fs::remove_dir(directory));
}

/// Removes the groups of nodes whose guard was killed before it could.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            remove_group(&entry.path());
        }
    }
}

/// Where `/proc/<pid>/cgroup` says a process is in the hierarchy with `controller`; version 2's has none.
fn own_path<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|c| c == controller)
            .then(|| path.trim_start_matches('/'))
    })
}

/// A version 2 group may not both hold processes and hand controllers down, so the node's group goes beside our own rather than
/// inside; inside is for when we are in the topmost one, which is exempt.
fn unified(own: &str, node: &str) -> Option<PathBuf> {
    let own = Path::new(MOUNT).join(own);
    let candidates = [
        own.parent().filter(|parent| parent.starts_with(MOUNT)),
        Some(own.as_path()),
    ];
    candidates.into_iter().flatten().find_map(|parent| {
        remove_stale(parent);
        let directory = parent.join(node);
        fs::create_dir(&directory).ok()?;
        drop(fs::write(parent.join("cgroup.subtree_control"), "+memory +cpu"));
        let directory = joinable(directory)?;
        let usable = fs::write(directory.join("cgroup.subtree_control"), "+memory +cpu").is_ok();
        if !usable {
            drop(fs::remove_dir(&directory));
        }
        usable.then_some(directory)
    })
}

/// Keeps a new group only when processes may be moved in. That takes rights on the groups above both places, not just on this one, so
/// a process tries.
fn joinable(directory: PathBuf) -> Option<PathBuf> {
    let tried = wire::pair().context("make a report socket").and_then(|(_, report)| {
        child::fork(report, |_| {
            let joined = fs::write(directory.join("cgroup.procs"), "0");
            std::process::exit(i32::from(joined.is_err()))
        })
    });
    let joined = tried.is_ok_and(|child| matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))));
    if !joined {
        drop(fs::remove_dir(&directory));
    }
    joined.then_some(directory)
}

/// One container's group.
#[derive(Debug)]
pub(super) struct Group(Groups);

impl Group {
    fn limit(&self, limits: &Limits) {
        // A refused limit is no reason not to run: the pod's requests were honoured by the scheduler, and many hosts delegate no controller.
        let set = |directory: &Option<PathBuf>, file: &str, value: String| {
            if let Some(directory) = directory {
                drop(fs::write(directory.join(file), value));
            }
        };
        if let Some(bytes) = limits.memory_bytes {
            set(&self.0.memory, "memory.limit_in_bytes", bytes.to_string());
            set(&self.0.memory, "memory.memsw.limit_in_bytes", bytes.to_string());
            set(&self.0.unified, "memory.max", bytes.to_string());
            set(&self.0.unified, "memory.swap.max", "0".to_owned());
            set(&self.0.unified, "memory.oom.group", "1".to_owned());
        }
        if let Some(millis) = limits.cpu_millis {
            let quota = millis.saturating_mul(PERIOD_MICROS / 1000).max(1000);
            set(&self.0.cpu, "cpu.cfs_period_us", PERIOD_MICROS.to_string());
            set(&self.0.cpu, "cpu.cfs_quota_us", quota.to_string());
            set(&self.0.unified, "cpu.max", format!("{quota} {PERIOD_MICROS}"));
        }
    }

    /// Moves the calling process in.
    pub(super) fn join(&self) -> Result<(), Failure> {
        for directory in self.0.directories() {
            fs::write(directory.join("cgroup.procs"), "0").context("join the container's control group")?;
        }
        Ok(())
    }

    /// Whether the kernel killed a process here for want of memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let legacy = self.0.memory.as_ref().map(|d| d.join("memory.oom_control"));
        let unified = self.0.unified.as_ref().map(|d| d.join("memory.events"));
        [legacy, unified]
            .into_iter()
            .flatten()
            .any(|file| field(&file, "oom_kill").is_some_and(|count| count > 0))
    }

    /// CPU time and working set, when both are counted here.
    pub(super) fn usage(&self) -> Option<Usage> {
        if let Some(unified) = &self.0.unified {
            let memory = number(&unified.join("memory.current"))?;
            let idle = field(&unified.join("memory.stat"), "inactive_file").unwrap_or(0);
            let cpu = field(&unified.join("cpu.stat"), "usage_usec")?;
            return Some(Usage {
                cpu_nanos: cpu.saturating_mul(1000),
                memory_bytes: memory.saturating_sub(idle),
            });
        }
        let (memory, cpu) = (self.0.memory.as_ref()?, self.0.cpuacct.as_ref()?);
        let used = number(&memory.join("memory.usage_in_bytes"))?;
        let idle = field(&memory.join("memory.stat"), "total_inactive_file").unwrap_or(0);
        Some(Usage {
            cpu_nanos: number(&cpu.join("cpuacct.usage"))?,
            memory_bytes: used.saturating_sub(idle),
        })
    }

    /// Removes the group; `false` while the kernel still counts a process in it.
    pub(super) fn remove(&self) -> bool {
        self.0.directories().fold(true, |all, directory| {
            let gone = fs::remove_dir(directory).is_ok() || !directory.exists();
            all && gone
        })
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A value of a file with a `name value` pair per line.
fn field(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_per_controller_and_for_version_2() {
        let text = "4:memory:/a/b\n2:cpu,cpuacct:/c\n1:name=systemd:/d\n0::/user.slice/x\n";
        assert_eq!(own_path(text, "memory"), Some("a/b"));
        assert_eq!(own_path(text, "cpuacct"), Some("c"));
        assert_eq!(own_path(text, ""), Some("user.slice/x"));
        assert_eq!(own_path(text, "pids"), None);
    }

    #[test]
    fn counters_are_read_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "oom_kill_disable 0\noom_kill 3\n").unwrap();
        assert_eq!(field(file.path(), "oom_kill"), Some(3));
        assert_eq!(field(file.path(), "oom"), None);
    }
}
