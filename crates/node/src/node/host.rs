//! What the machine has.

use std::path::Path;

use jiff::Timestamp;

use crate::options::Capacity;

/// Pods per node, as kubelets have it by default.
const PODS: u32 = 110;

impl Capacity {
    /// The machine's processors and memory, and the size of the file system that holds `dir`.
    pub fn of_host(dir: &Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        Self {
            cpu_millis: cpus * 1000,
            memory_bytes: memory().unwrap_or(0),
            storage_bytes: disk(dir).map_or(0, |(size, _)| size),
            pods: PODS,
        }
    }
}

#[cfg(target_os = "linux")]
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(not(target_os = "linux"))]
fn memory() -> Option<u64> {
    let output = std::process::Command::new("sysctl")
        .args(["-n", "hw.memsize"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// What the machine uses.
pub(crate) struct MachineUsage {
    pub(crate) boot: Timestamp,
    pub(crate) cpu_nanos: u64,
    pub(crate) free_bytes: u64,
    pub(crate) available_bytes: u64,
}

/// As Linux tells it; other systems do not tell.
pub(crate) fn machine_usage() -> Option<MachineUsage> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    let boot = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    // user, nice, system, idle, iowait, irq, softirq, steal
    let times = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = times.split_whitespace().filter_map(|time| time.parse().ok()).collect();
    let busy: u64 = times
        .iter()
        .take(8)
        .enumerate()
        .filter(|(i, _)| !matches!(i, 3 | 4))
        .map(|(_, time)| time)
        .sum();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let ticks = u64::try_from(ticks).ok().filter(|ticks| *ticks > 0)?;
    Some(MachineUsage {
        boot: Timestamp::from_second(boot).ok()?,
        cpu_nanos: busy.saturating_mul(1_000_000_000 / ticks),
        free_bytes: bytes("MemFree:")?,
        available_bytes: bytes("MemAvailable:")?,
    })
}

/// Size and free space of the file system that holds `dir`, in bytes.
#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between systems")]
pub(crate) fn disk(dir: &Path) -> Option<(u64, u64)> {
    let found = nix::sys::statvfs::statvfs(dir).ok()?;
    let size = found.fragment_size() as u64;
    Some((found.blocks() as u64 * size, found.blocks_available() as u64 * size))
}

/// Name and release of the kernel and of the system, and IDs of the machine and of this boot.
pub(super) struct Identity {
    pub(super) kernel: String,
    pub(super) os_image: String,
    pub(super) machine_id: String,
    pub(super) boot_id: String,
}

pub(super) fn identity() -> Identity {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let release = read("/etc/os-release");
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    Identity {
        kernel: kernel.unwrap_or_default(),
        os_image: pretty.map_or_else(
            || std::env::consts::OS.to_owned(),
            |name| name.trim_matches('"').to_owned(),
        ),
        machine_id: read("/etc/machine-id"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_processors_memory_and_a_disk() {
        let found = Capacity::of_host(Path::new("/"));
        assert!(
            found.cpu_millis >= 1000 && found.memory_bytes > 1 << 20 && found.storage_bytes > 1 << 20,
            "{found:?}"
        );
    }
}
