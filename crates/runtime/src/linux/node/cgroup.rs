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
use crate::{Limits, Mode, Usage};

const MOUNT: &str = "/sys/fs/cgroup";
/// A node's group is named by this and its guard's process ID.
const PREFIX: &str = "knarr-";
/// Groups in a node's group: of a further node, of a pod, of a container.
const DEPTH: usize = 3;
/// Length of the scheduling period that a CPU limit is a share of.
const PERIOD_MICROS: u64 = 100_000;

/// Devices that every container may use, as version 1's controller writes them: type, numbers, read, write and make.
const DEVICES: [&str; 9] = [
    "c 1:3 rwm",   // null
    "c 1:5 rwm",   // zero
    "c 1:7 rwm",   // full
    "c 1:8 rwm",   // random
    "c 1:9 rwm",   // urandom
    "c 5:0 rwm",   // tty
    "c 5:1 rwm",   // console
    "c 5:2 rwm",   // ptmx
    "c 136:* rwm", // terminals
];
/// Controllers of version 2 that are handed down.
const HANDED_DOWN: [&str; 3] = ["+memory", "+cpu", "+pids"];

/// A group, one directory per hierarchy: the node's, a pod's or a container's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// Version 2.
    unified: Option<PathBuf>,
    /// Version 1, by controller.
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    pids: Option<PathBuf>,
    devices: Option<PathBuf>,
}

impl Groups {
    /// Makes the groups of the node whose guard is `process` wherever that is allowed, with a limit for all pods together that leaves the
    /// machine something to live on.
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
        let memory = legacy("memory");
        let unified = if memory.is_none() {
            own_path(&own, "").and_then(|path| unified(path, node))
        } else {
            None
        };
        let groups = Self {
            unified,
            memory,
            cpu: legacy("cpu"),
            cpuacct: legacy("cpuacct"),
            pids: legacy("pids"),
            devices: legacy("devices"),
        };
        set(&groups.memory, "memory.use_hierarchy", "1");
        groups.limit(&Limits {
            memory_bytes: memory_total().map(|total| total - (total / 10).clamp(256 << 20, 2 << 30).min(total / 2)),
            processes: Some(most_processes()),
            ..Limits::default()
        });
        groups
    }

    /// Whether processes are counted and limited.
    pub(super) fn count_processes(&self) -> bool {
        let handed = |directory: &PathBuf| directory.join("pids.max").exists();
        self.pids.is_some() || self.unified.as_ref().is_some_and(handed)
    }

    /// What is not limited here, for people.
    pub(super) fn weaknesses(&self, mode: Mode) -> Vec<String> {
        let handed = |file: &str| {
            self.unified
                .as_ref()
                .is_some_and(|directory| directory.join(file).exists())
        };
        let mut missing = Vec::new();
        if self.memory.is_none() && !handed("memory.max") {
            missing.push("memory");
        }
        if self.cpu.is_none() && !handed("cpu.max") {
            missing.push("cpu");
        }
        if !self.count_processes() {
            missing.push("pids");
        }
        let mut weaknesses = Vec::new();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            weaknesses.push(format!(
                "no control groups may be made for {missing}: limits of it are not enforced"
            ));
        }
        // In a user namespace the kernel opens no device for them anyway.
        if mode == Mode::Root && self.devices.is_none() {
            let why = "no control group filters devices: containers are kept from the host's by having no right to make a node of one";
            weaknesses.push(why.into());
        }
        weaknesses
    }

    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        [
            &self.unified,
            &self.memory,
            &self.cpu,
            &self.cpuacct,
            &self.pids,
            &self.devices,
        ]
        .into_iter()
        .flatten()
    }

    /// What a container sees of its own groups: where each is below `/sys/fs/cgroup`, and its directory.
    pub(super) fn views(&self) -> Vec<(PathBuf, PathBuf)> {
        let legacy = [
            ("memory", &self.memory),
            ("cpu", &self.cpu),
            ("cpuacct", &self.cpuacct),
            ("pids", &self.pids),
            ("devices", &self.devices),
        ];
        let legacy = legacy
            .into_iter()
            .filter_map(|(name, directory)| Some((name.into(), directory.clone()?)));
        match &self.unified {
            Some(directory) => vec![(PathBuf::new(), directory.clone())],
            None => legacy.collect(),
        }
    }

    /// Removes what [`Groups::create`] made, and the empty groups of nodes, pods and containers in it.
    pub(super) fn remove_all(&self) {
        self.directories().for_each(|directory| remove_group(directory, DEPTH));
    }

    /// A group inside this one. `None` where none can be made.
    pub(super) fn add(&self, name: &str, limits: &Limits) -> Option<Self> {
        let under = |directory: &Option<PathBuf>| {
            let path = directory.as_ref()?.join(name);
            make(&path).map(|()| path)
        };
        let inner = Self {
            unified: under(&self.unified),
            memory: under(&self.memory),
            cpu: under(&self.cpu),
            cpuacct: under(&self.cpuacct),
            pids: under(&self.pids),
            devices: under(&self.devices),
        };
        inner.directories().next()?;
        set(&inner.memory, "memory.use_hierarchy", "1");
        inner.limit(limits);
        Some(inner)
    }

    /// Lets groups be made inside that are limited themselves.
    pub(super) fn hand_down(&self) {
        for controller in HANDED_DOWN {
            set(&self.unified, "cgroup.subtree_control", controller);
        }
    }

    /// Lets the processes in it use no devices but those that every container has.
    pub(super) fn deny_devices(&self) {
        set(&self.devices, "devices.deny", "a");
        for device in DEVICES {
            set(&self.devices, "devices.allow", device);
        }
    }
}

/// Writes a setting, where there is that hierarchy. A refused limit is no reason not to run: the scheduler has honoured the pod's
/// requests, and many hosts delegate no controller. [`Groups::weaknesses`] tells.
fn set(directory: &Option<PathBuf>, file: &str, value: &str) {
    if let Some(directory) = directory {
        drop(fs::write(directory.join(file), value));
    }
}

/// How many processes all pods may have together: half of what the kernel allows.
pub(super) fn most_processes() -> u64 {
    let most = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
    let most = most.into_iter().filter_map(|file| number(Path::new(file))).min();
    (most.unwrap_or(1 << 15) / 2).max(1024)
}

fn memory_total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Controllers may be mounted together under several names: then what one made is there for the next.
fn make(directory: &Path) -> Option<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => None,
        _ => Some(()),
    }
}

/// Removes a group with the empty groups in it, so many levels deep. The kernel refuses to remove one with processes.
fn remove_group(directory: &Path, depth: usize) {
    if depth > 0 {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_group(&entry.path(), depth - 1);
            }
        }
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
            remove_group(&entry.path(), DEPTH);
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
        for controller in HANDED_DOWN {
            drop(fs::write(parent.join("cgroup.subtree_control"), controller));
        }
        let directory = joinable(directory)?;
        let hand_down = |controller: &&str| fs::write(directory.join("cgroup.subtree_control"), controller).is_ok();
        let usable = HANDED_DOWN.iter().filter(|controller| hand_down(controller)).count() > 0;
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

impl Groups {
    fn limit(&self, limits: &Limits) {
        let set = |directory: &Option<PathBuf>, file: &str, value: String| set(directory, file, &value);
        if let Some(bytes) = limits.memory_bytes {
            set(&self.memory, "memory.limit_in_bytes", bytes.to_string());
            set(&self.memory, "memory.memsw.limit_in_bytes", bytes.to_string());
            set(&self.unified, "memory.max", bytes.to_string());
            set(&self.unified, "memory.swap.max", "0".to_owned());
            set(&self.unified, "memory.oom.group", "1".to_owned());
        }
        if let Some(millis) = limits.cpu_millis {
            let quota = millis.saturating_mul(PERIOD_MICROS / 1000).max(1000);
            set(&self.cpu, "cpu.cfs_period_us", PERIOD_MICROS.to_string());
            set(&self.cpu, "cpu.cfs_quota_us", quota.to_string());
            set(&self.unified, "cpu.max", format!("{quota} {PERIOD_MICROS}"));
        }
        if let Some(millis) = limits.cpu_request_millis {
            let shares = (millis.saturating_mul(1024) / 1000).clamp(2, 262_144);
            set(&self.cpu, "cpu.shares", shares.to_string());
            set(
                &self.unified,
                "cpu.weight",
                (1 + (shares - 2) * 9999 / 262_142).to_string(),
            );
        }
        if let Some(most) = limits.processes {
            set(&self.pids, "pids.max", most.to_string());
            set(&self.unified, "pids.max", most.to_string());
        }
    }

    /// Moves the calling process in.
    pub(super) fn join(&self) -> Result<(), Failure> {
        for directory in self.directories() {
            fs::write(directory.join("cgroup.procs"), "0").context("join the container's control group")?;
        }
        Ok(())
    }

    /// Whether the kernel killed a process here for want of memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let legacy = self.memory.as_ref().map(|d| d.join("memory.oom_control"));
        let unified = self.unified.as_ref().map(|d| d.join("memory.events"));
        [legacy, unified]
            .into_iter()
            .flatten()
            .any(|file| field(&file, "oom_kill").is_some_and(|count| count > 0))
    }

    /// CPU time and working set, when both are counted here.
    pub(super) fn usage(&self) -> Option<Usage> {
        if let Some(unified) = &self.unified {
            let memory = number(&unified.join("memory.current"))?;
            let idle = field(&unified.join("memory.stat"), "inactive_file").unwrap_or(0);
            let cpu = field(&unified.join("cpu.stat"), "usage_usec")?;
            return Some(Usage {
                cpu_nanos: cpu.saturating_mul(1000),
                memory_bytes: memory.saturating_sub(idle),
            });
        }
        let (memory, cpu) = (self.memory.as_ref()?, self.cpuacct.as_ref()?);
        let used = number(&memory.join("memory.usage_in_bytes"))?;
        let idle = field(&memory.join("memory.stat"), "total_inactive_file").unwrap_or(0);
        Some(Usage {
            cpu_nanos: number(&cpu.join("cpuacct.usage"))?,
            memory_bytes: used.saturating_sub(idle),
        })
    }

    /// Removes the group; `false` while the kernel still counts a process in it.
    pub(super) fn remove(&self) -> bool {
        self.directories().fold(true, |all, directory| {
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
