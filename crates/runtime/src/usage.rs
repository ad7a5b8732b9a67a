//! What processes use, as `/proc` tells it.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use crate::Usage;

/// Every process ID there is, with what `select` says of it.
pub(crate) fn select(select: impl Fn(&str) -> bool) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| name.parse::<i32>().ok().filter(|_| select(&name)))
        .collect()
}

/// Sums CPU time and memory.
pub(crate) fn sum(processes: &[i32]) -> Usage {
    processes.iter().fold(Usage::default(), |mut sum, pid| {
        sum.cpu_nanos = sum.cpu_nanos.saturating_add(cpu(*pid).unwrap_or(0));
        sum.memory_bytes = sum.memory_bytes.saturating_add(memory(*pid).unwrap_or(0));
        sum
    })
}

/// The numbered fields of `/proc/<pid>/stat` from the third on. The name in the second may hold spaces and parentheses.
pub(crate) fn fields(stat: &str) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    let name_ends = stat.rfind(')')?;
    Some(stat.get(name_ends + 1..)?.split_ascii_whitespace())
}

fn cpu(pid: i32) -> Option<u64> {
    let ticks = ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??)
        .ok()
        .filter(|t| *t > 0)?;
    Some(ticks.saturating_mul(1_000_000_000 / per_second))
}

/// utime, stime and those of waited-for children: fields 14 to 17.
fn ticks(stat: &str) -> Option<u64> {
    Some(
        fields(stat)?
            .skip(11)
            .take(4)
            .filter_map(|f| f.parse::<u64>().ok())
            .sum(),
    )
}

/// Proportional share where the kernel reports it, else everything resident.
fn memory(pid: i32) -> Option<u64> {
    if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        && let Some(kib) = text.lines().find_map(|l| {
            l.strip_prefix("Pss:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
    {
        return Some(kib.saturating_mul(1024));
    }
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    Some(pages.saturating_mul(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_any_process_name() {
        let stat = "12 (a) b) (c) S 1 12 12 0 -1 4194560 100 0 0 0 7 5 3 2 20 0 1 0 100 1000 10";
        assert_eq!(ticks(stat), Some(17));
        assert_eq!(ticks("garbage"), None);
    }

    #[test]
    fn the_own_process_uses_memory() {
        let own = std::process::id().to_string();
        assert!(sum(&select(|pid| pid == own)).memory_bytes > 0);
    }
}
