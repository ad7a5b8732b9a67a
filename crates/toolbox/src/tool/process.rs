//! Processes, from /proc: `ps`, `pgrep`, `pkill`, `pidof`, `killall`.

use crate::say::{fail, out};

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub pid: i32,
    pub parent: i32,
    pub uid: u32,
    pub state: char,
    pub name: String,
    pub command: String,
    /// Clock ticks used.
    pub ticks: u64,
    pub threads: u64,
    /// Bytes.
    pub virtual_size: u64,
    pub resident: u64,
    /// Clock ticks after boot.
    pub started: u64,
    pub tty: u64,
    pub nice: i64,
}

/// Clock ticks per second: fixed in what the kernel shows.
pub(crate) const TICKS: u64 = 100;

/// What a terminal may show.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn read(pid: i32) -> Option<Process> {
    use std::os::unix::fs::MetadataExt;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let uid = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    // The name stands in parentheses and may hold any character, more of them included.
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let name = stat.get(open + 1..close)?.to_owned();
    let fields: Vec<&str> = stat.get(close + 2..)?.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<i64>().ok()).unwrap_or(0);
    let unsigned = |i: usize| u64::try_from(number(i)).unwrap_or(0);
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&raw).trim_end_matches('\0').replace('\0', " ");
    let command = if command.is_empty() {
        format!("[{name}]")
    } else {
        command
    };
    Some(Process {
        pid,
        parent: i32::try_from(number(1)).unwrap_or(0),
        uid,
        state: fields.first()?.chars().next()?,
        name: printable(&name),
        command: printable(&command),
        ticks: unsigned(11) + unsigned(12),
        threads: unsigned(17),
        virtual_size: unsigned(20),
        resident: unsigned(21) * 4096,
        started: unsigned(19),
        tty: unsigned(4),
        nice: number(16),
    })
}

/// Every process that can be seen, by number.
pub(crate) fn all() -> Vec<Process> {
    let mut pids: Vec<i32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(read).collect()
}

/// Seconds since boot.
pub(crate) fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0.0)
}

pub(crate) fn user(uid: u32) -> String {
    crate::account::by_uid(uid).map_or_else(|| uid.to_string(), |a| a.name)
}

/// A size in the four columns of busybox' ps: `1234`, `12m`.
pub(crate) fn short_size(bytes: u64) -> String {
    match bytes >> 10 {
        kib @ 0..10_000 => kib.to_string(),
        kib @ 10_000..10_240_000 => format!("{}m", kib >> 10),
        kib => format!("{}g", kib >> 20),
    }
}

fn tty(number: u64) -> String {
    match number {
        0 => "?".to_owned(),
        n if (n >> 8) & 0xff >= 136 => format!("pts/{}", n & 0xff),
        n => format!("tty{}", n & 0xff),
    }
}

fn clock(ticks: u64) -> String {
    let seconds = ticks / TICKS;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `ps`: busybox' columns; with `aux` or `-ef` those of the big one; `-o` chooses.
pub(crate) fn ps(args: &[String]) -> i32 {
    let width = if crate::sys::is_tty(1) {
        crate::sys::window(1).map_or(usize::MAX, |(columns, _)| usize::from(columns))
    } else {
        usize::MAX
    };
    let mut columns: Option<Vec<String>> = None;
    let mut style = "";
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        let letters = arg.trim_start_matches('-');
        if arg == "-o" {
            let list = rest.next().cloned().unwrap_or_default();
            columns
                .get_or_insert_default()
                .extend(list.split(',').map(|c| c.split('=').next().unwrap_or(c).to_owned()));
        } else if let Some(list) = letters.strip_prefix('o').filter(|l| !l.is_empty()) {
            columns
                .get_or_insert_default()
                .extend(list.split(',').map(str::to_owned));
        } else if !arg.starts_with('-') && letters.contains('u') {
            style = "aux";
        } else if arg.starts_with('-') && letters.contains('f') {
            style = "ef";
        } else if !letters.chars().all(|c| "aAewxlTHpj".contains(c)) && letters.parse::<i32>().is_err() {
            return fail("ps", format!("unrecognized option: {arg}"));
        }
    }
    let names: Vec<String> = columns.unwrap_or_else(|| {
        match style {
            "aux" => vec![
                "user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "start", "time", "args",
            ],
            "ef" => vec!["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"],
            _ => vec!["pid", "user", "time", "args"],
        }
        .into_iter()
        .map(str::to_owned)
        .collect()
    });
    let mut rows = vec![names.iter().map(|n| title(n, style)).collect::<Vec<_>>()];
    let total = super::system::memory("MemTotal").max(1);
    let up = uptime();
    for process in all() {
        let mut row = Vec::new();
        for name in &names {
            let Some(value) = cell(&process, name, style, total, up) else {
                return fail("ps", format!("bad -o argument '{name}'"));
            };
            row.push(value);
        }
        rows.push(row);
    }
    let widths: Vec<usize> = (0..names.len())
        .map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, value) in row.iter().enumerate() {
            let right = matches!(
                names[i].as_str(),
                "pid" | "ppid" | "vsz" | "rss" | "%cpu" | "%mem" | "c" | "nice" | "nlwp"
            );
            let pad = " ".repeat(widths[i] - value.chars().count());
            if i + 1 == row.len() {
                line.push_str(value);
            } else if right {
                line.push_str(&format!("{pad}{value} "));
            } else {
                line.push_str(&format!("{value}{pad} "));
            }
        }
        text.extend(line.chars().take(width));
        text.push('\n');
    }
    out(text);
    0
}

fn title(name: &str, style: &str) -> String {
    match name {
        "args" | "cmd" | "comm" if style == "ef" => "CMD".to_owned(),
        "args" | "cmd" | "comm" => "COMMAND".to_owned(),
        "tty" if style == "ef" => "TTY".to_owned(),
        "tty" => "TT".to_owned(),
        "nice" => "NI".to_owned(),
        other => other.to_uppercase(),
    }
}

fn cell(p: &Process, name: &str, style: &str, total: u64, up: f64) -> Option<String> {
    let age = (up - p.started as f64 / TICKS as f64).max(0.0);
    let start = || {
        let when = jiff::Zoned::now().checked_sub(jiff::SignedDuration::from_secs(age as i64));
        when.map(|t| t.strftime("%H:%M").to_string()).unwrap_or_default()
    };
    Some(match name {
        "pid" => p.pid.to_string(),
        "ppid" => p.parent.to_string(),
        "user" | "uid" | "euser" | "ruser" => user(p.uid),
        "time" if style.is_empty() => {
            let seconds = p.ticks / TICKS;
            format!("{}:{:02}", seconds / 60, seconds % 60)
        }
        "time" => clock(p.ticks),
        "etime" => {
            let s = age as u64;
            if s >= 3600 {
                format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
            } else {
                format!("{}:{:02}", s / 60, s % 60)
            }
        }
        "start" | "stime" => start(),
        "args" | "cmd" => p.command.clone(),
        "comm" => p.name.clone(),
        "stat" | "s" | "state" => p.state.to_string(),
        "tty" => tty(p.tty),
        "vsz" => (p.virtual_size >> 10).to_string(),
        "rss" => (p.resident >> 10).to_string(),
        "nice" | "ni" => p.nice.to_string(),
        "nlwp" | "thcount" => p.threads.to_string(),
        "c" => format!("{:.0}", p.ticks as f64 / age.max(1.0)),
        "%cpu" | "pcpu" => format!("{:.1}", p.ticks as f64 / age.max(1.0)),
        "%mem" | "pmem" => format!("{:.1}", p.resident as f64 * 100.0 / total as f64),
        _ => return None,
    })
}

/// `pgrep` and `pkill [-SIGNAL] [-f] [-x] [-o] [-n] [-l] PATTERN`
pub(crate) fn pgrep(args: &[String]) -> i32 {
    let name = args.first().map_or("pgrep", String::as_str);
    let kill = name.ends_with("pkill");
    let (mut full, mut exact, mut oldest, mut newest, mut long, mut signal, mut pattern) =
        (false, false, false, false, false, 15, None);
    for arg in &args[1..] {
        match arg.as_str() {
            "-f" => full = true,
            "-x" => exact = true,
            "-o" => oldest = true,
            "-n" => newest = true,
            "-l" | "-a" => long = true,
            option if option.starts_with('-') && kill => match crate::sh::signal_number(&option[1..]) {
                Some(number) => signal = number,
                None => return fail("pkill", format!("bad signal name '{}'", &option[1..])),
            },
            option if option.starts_with('-') => return fail("pgrep", format!("invalid option '{option}'")),
            text => pattern = Some(text),
        }
    }
    let Some(pattern) = pattern else {
        return fail(if kill { "pkill" } else { "pgrep" }, "no pattern given");
    };
    let text = if exact {
        format!("^(?:{pattern})$")
    } else {
        pattern.to_owned()
    };
    let Ok(regex) = regex::Regex::new(&text) else {
        return fail(name, format!("bad regex '{pattern}'"));
    };
    let own = std::process::id();
    let mut found: Vec<Process> = all()
        .into_iter()
        .filter(|p| p.pid.unsigned_abs() != own && regex.is_match(if full { &p.command } else { base(p) }))
        .collect();
    if oldest {
        found.truncate(1);
    } else if newest {
        found = found.split_off(found.len().saturating_sub(1));
    }
    for process in &found {
        if kill {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(process.pid),
                nix::sys::signal::Signal::try_from(signal).ok(),
            );
        } else if long {
            out(format!("{} {}\n", process.pid, process.command));
        } else {
            out(format!("{}\n", process.pid));
        }
    }
    i32::from(found.is_empty())
}

/// The program's name. All programs here are one executable, so the kernel's name for a process can be that of the executable; what it
/// was called as says more.
fn base(p: &Process) -> &str {
    let first = p.command.split(' ').next().unwrap_or("");
    let called = first.trim_start_matches('-').rsplit('/').next().unwrap_or("");
    if called.is_empty() || first.starts_with('[') {
        &p.name
    } else {
        called.trim_end_matches(':')
    }
}

/// `pidof NAME...` and `killall [-SIGNAL] NAME...`
pub(crate) fn pidof(args: &[String]) -> i32 {
    let kill = args.first().is_some_and(|n| n.ends_with("killall"));
    let mut signal = 15;
    let mut missing = false;
    let mut pids = Vec::new();
    for arg in &args[1..] {
        if let Some(option) = arg.strip_prefix('-') {
            match (kill, crate::sh::signal_number(option)) {
                (true, Some(number)) => signal = number,
                (true, None) if option == "q" => {}
                (true, None) => return fail("killall", format!("bad signal name '{option}'")),
                (false, _) => {}
            }
            continue;
        }
        let own = std::process::id();
        let found: Vec<i32> = all()
            .iter()
            .filter(|p| p.pid.unsigned_abs() != own && base(p) == arg)
            .map(|p| p.pid)
            .collect();
        if kill && found.is_empty() {
            fail("killall", format!("{arg}: no process killed"));
        }
        missing |= found.is_empty();
        pids.extend(found);
    }
    if kill {
        for pid in pids {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::try_from(signal).ok(),
            );
        }
        return i32::from(missing);
    }
    if pids.is_empty() {
        return 1;
    }
    out(format!(
        "{}\n",
        pids.iter().rev().map(i32::to_string).collect::<Vec<_>>().join(" ")
    ));
    0
}
