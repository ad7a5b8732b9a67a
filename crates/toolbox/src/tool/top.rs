//! `top`: processes by use, again and again.

use std::collections::HashMap;
use std::time::Instant;

use super::process::{Process, TICKS, all, short_size, user};
use super::screen::{Key, Screen};
use super::system::{load, memory};
use crate::say::{fail, out};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Cpu,
    Memory,
    Pid,
    Time,
}

struct Sample {
    at: Instant,
    ticks: HashMap<i32, u64>,
    cpu: Vec<u64>,
}

impl Sample {
    fn take(processes: &[Process]) -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let cpu = text
            .lines()
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1)
            .filter_map(|n| n.parse().ok())
            .collect();
        Self {
            at: Instant::now(),
            ticks: processes.iter().map(|p| (p.pid, p.ticks)).collect(),
            cpu,
        }
    }
}

/// `top [-b] [-n COUNT] [-d SECONDS]`
pub(crate) fn main(args: &[String]) -> i32 {
    let (mut batch, mut count, mut delay) = (false, u64::MAX, 5.0_f64);
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        let (flag, inline) = arg.split_at(arg.len().min(2));
        let mut value = || {
            if inline.is_empty() {
                rest.next().cloned().unwrap_or_default()
            } else {
                inline.to_owned()
            }
        };
        match flag {
            "-b" => {
                batch = true;
                if let Some(n) = inline.strip_prefix('n') {
                    count = if n.is_empty() {
                        rest.next().and_then(|n| n.parse().ok())
                    } else {
                        n.parse().ok()
                    }
                    .unwrap_or(1);
                }
            }
            "-n" => count = value().parse().unwrap_or(1),
            "-d" => delay = value().parse().unwrap_or(5.0),
            "-H" | "-m" => {}
            _ => return fail("top", format!("unrecognized option '{arg}'")),
        }
    }
    let millis = (delay.clamp(0.1, 3600.0) * 1000.0) as i32;
    let screen = if batch { None } else { Screen::enter(0) };
    if !batch && screen.is_none() {
        batch = true;
    }
    let mut order = Order::Cpu;
    let mut last = Sample::take(&all());
    // The first picture needs two samples too.
    if screen.as_ref().is_some_and(|s| s.key(200) == Key::Char('q')) {
        return 0;
    }
    loop {
        let processes = all();
        let now = Sample::take(&processes);
        let (columns, rows) = if batch { (512, usize::MAX) } else { Screen::size() };
        let lines = picture(processes, &last, &now, order);
        last = now;
        if batch {
            out(lines.iter().map(|l| format!("{l}\n")).collect::<String>());
        } else {
            let mut text = String::from("\x1b[?25l\x1b[H");
            for (i, line) in lines.iter().take(rows).enumerate() {
                let line: String = line.chars().take(columns).collect();
                let shown = if i == 3 {
                    format!("\x1b[7m{line:<columns$}\x1b[0m")
                } else {
                    line
                };
                text.push_str(&format!("{}{shown}\x1b[K", if i > 0 { "\r\n" } else { "" }));
            }
            out(text + "\x1b[J");
        }
        count -= 1;
        if count == 0 {
            return 0;
        }
        let end = Instant::now() + std::time::Duration::from_millis(u64::try_from(millis).unwrap_or(5000));
        loop {
            let left = i32::try_from(end.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(millis);
            let key = match &screen {
                Some(screen) => screen.key(left),
                None => {
                    crate::sys::sleep(left);
                    Key::None
                }
            };
            match key {
                Key::Char('q') | Key::Control('c') | Key::Closed => return 0,
                Key::Char('M') => order = Order::Memory,
                Key::Char('P') => order = Order::Cpu,
                Key::Char('N') => order = Order::Pid,
                Key::Char('T') => order = Order::Time,
                Key::Resized | Key::Enter | Key::Char(' ') => {}
                _ if left > 0 => continue,
                _ => {}
            }
            break;
        }
    }
}

fn picture(mut processes: Vec<Process>, last: &Sample, now: &Sample, order: Order) -> Vec<String> {
    let seconds = now.at.duration_since(last.at).as_secs_f64().max(0.001);
    let delta: Vec<f64> = now
        .cpu
        .iter()
        .zip(last.cpu.iter().chain(std::iter::repeat(&0)))
        .map(|(a, b)| a.saturating_sub(*b) as f64)
        .collect();
    let total: f64 = delta.iter().sum::<f64>().max(1.0);
    let share = |i: usize| delta.get(i).unwrap_or(&0.0) * 100.0 / total;
    let use_of = |p: &Process| {
        p.ticks.saturating_sub(*last.ticks.get(&p.pid).unwrap_or(&p.ticks)) as f64 * 100.0 / TICKS as f64 / seconds
    };
    let memory_total = memory("MemTotal").max(1);
    let cached = memory("Cached") + memory("SReclaimable");
    let used = memory_total.saturating_sub(memory("MemFree"));
    let running = processes.iter().filter(|p| p.state == 'R').count();
    let mut lines = vec![
        format!(
            "Mem: {}K used, {}K free, {}K shrd, {}K buff, {}K cached",
            used >> 10,
            memory("MemFree") >> 10,
            memory("Shmem") >> 10,
            memory("Buffers") >> 10,
            cached >> 10
        ),
        format!(
            "CPU: {:>3.0}% usr {:>3.0}% sys {:>3.0}% nic {:>3.0}% idle {:>3.0}% io {:>3.0}% irq {:>3.0}% sirq",
            share(0),
            share(2),
            share(1),
            share(3),
            share(4),
            share(5),
            share(6)
        ),
        format!(
            "Load average: {} {running}/{} {}",
            load().replace(',', ""),
            processes.len(),
            processes.iter().map(|p| p.pid).max().unwrap_or(0)
        ),
        "  PID  PPID USER     STAT   VSZ %VSZ  RSS %CPU COMMAND".to_owned(),
    ];
    processes.sort_by(|a, b| match order {
        Order::Cpu => use_of(b).total_cmp(&use_of(a)).then(a.pid.cmp(&b.pid)),
        Order::Memory => b.resident.cmp(&a.resident),
        Order::Pid => a.pid.cmp(&b.pid),
        Order::Time => b.ticks.cmp(&a.ticks),
    });
    for p in &processes {
        let user: String = user(p.uid).chars().take(8).collect();
        lines.push(format!(
            "{:>5} {:>5} {user:<8} {:<4} {:>5} {:>3.0}% {:>5} {:>3.0}% {}",
            p.pid,
            p.parent,
            p.state,
            short_size(p.virtual_size),
            (p.virtual_size as f64 * 100.0 / memory_total as f64).min(999.0),
            short_size(p.resident),
            use_of(p),
            p.command
        ));
    }
    lines
}
