//! `free`, `uptime`, `mount`, `dmesg`.

use crate::say::{fail, out, reason};

/// A line of /proc/meminfo, in bytes.
pub(crate) fn memory(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(':')?;
            value.split_whitespace().next()?.parse::<u64>().ok()
        })
        .unwrap_or(0)
        * 1024
}

/// `free [-b|-k|-m|-g|-h]`
pub(crate) fn free(args: &[String]) -> i32 {
    let unit = args.get(1).map_or("-k", String::as_str);
    let shown = |bytes: u64| -> String {
        match unit {
            "-b" => bytes.to_string(),
            "-m" => (bytes >> 20).to_string(),
            "-g" => (bytes >> 30).to_string(),
            "-h" => match bytes {
                0..1_048_576 => format!("{}K", bytes >> 10),
                1_048_576..1_073_741_824 => format!("{:.1}M", bytes as f64 / 1_048_576.0),
                _ => format!("{:.1}G", bytes as f64 / 1_073_741_824.0),
            },
            _ => (bytes >> 10).to_string(),
        }
    };
    if !matches!(unit, "-b" | "-k" | "-m" | "-g" | "-h") {
        return fail("free", format!("invalid option '{unit}'"));
    }
    let (total, unused, available) = (memory("MemTotal"), memory("MemFree"), memory("MemAvailable"));
    let (shared, cached) = (
        memory("Shmem"),
        memory("Buffers") + memory("Cached") + memory("SReclaimable"),
    );
    let used = total.saturating_sub(unused).saturating_sub(cached);
    let (swap, swap_free) = (memory("SwapTotal"), memory("SwapFree"));
    let mut text = format!(
        "{:>19}{:>12}{:>12}{:>12}{:>12}{:>12}\n",
        "total", "used", "free", "shared", "buff/cache", "available"
    );
    let cells = [total, used, unused, shared, cached, available].map(|b| format!("{:>12}", shown(b)));
    text.push_str(&format!("Mem:   {}\n", cells.concat()));
    let cells = [swap, swap.saturating_sub(swap_free), swap_free].map(|b| format!("{:>12}", shown(b)));
    text.push_str(&format!("Swap:  {}\n", cells.concat()));
    out(text);
    0
}

pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(", ")
}

pub(crate) fn up() -> String {
    let seconds = super::process::uptime() as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = match days {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        n => format!("{n} days, "),
    };
    if hours > 0 {
        format!("{days}{hours:>2}:{minutes:02}")
    } else {
        format!("{days}{minutes} min")
    }
}

pub(crate) fn uptime(_: &[String]) -> i32 {
    out(format!(
        " {} up {},  load average: {}\n",
        jiff::Zoned::now().strftime("%H:%M:%S"),
        up(),
        load()
    ));
    0
}

/// `mount`: lists. Mounting is the kubelet's work here.
pub(crate) fn mount(args: &[String]) -> i32 {
    if args.len() > 1 && args[1] != "-l" && args[1] != "-t" {
        return fail("mount", "permission denied (are you root?)");
    }
    let wanted = args.iter().position(|a| a == "-t").and_then(|i| args.get(i + 1));
    let text = match std::fs::read_to_string("/proc/self/mounts") {
        Ok(text) => text,
        Err(error) => return fail("mount", reason(&error)),
    };
    let mut lines = String::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [source, target, kind, options, ..] = fields.as_slice() else {
            continue;
        };
        if wanted.is_none_or(|w| w == kind) {
            lines.push_str(&format!(
                "{source} on {} type {kind} ({options})\n",
                target.replace("\\040", " ")
            ));
        }
    }
    out(lines);
    0
}

pub(crate) fn dmesg(_: &[String]) -> i32 {
    fail("dmesg", "klogctl: Operation not permitted")
}
