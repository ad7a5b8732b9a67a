//! `watch [-n SECONDS] [-t] COMMAND`

use super::screen::{Key, Screen};
use crate::say::{fail, out, reason};

pub(crate) fn main(args: &[String]) -> i32 {
    let (mut delay, mut title) = (2.0_f64, true);
    let mut rest = args.iter().skip(1).peekable();
    while let Some(arg) = rest.next_if(|a| a.starts_with('-')) {
        match arg.as_str() {
            "-n" => delay = rest.next().and_then(|n| n.parse().ok()).unwrap_or(2.0),
            "-t" => title = false,
            "-d" | "-e" => {}
            other => match other.strip_prefix("-n").and_then(|n| n.parse().ok()) {
                Some(n) => delay = n,
                None => return fail("watch", format!("invalid option '{other}'")),
            },
        }
    }
    let words: Vec<&str> = rest.map(String::as_str).collect();
    if words.is_empty() {
        return fail("watch", "usage: watch [-n SEC] [-t] COMMAND");
    }
    let command = words.join(" ");
    let screen = Screen::enter(0);
    let millis = (delay.clamp(0.1, 3600.0) * 1000.0) as i32;
    loop {
        let output = match std::process::Command::new("sh")
            .args(["-c", &command])
            .stdin(std::process::Stdio::null())
            .output()
        {
            Ok(output) => output,
            Err(error) => return fail("watch", reason(&error)),
        };
        let (columns, rows) = Screen::size();
        let mut text = String::from("\x1b[H\x1b[2J");
        let mut row = 0;
        if title {
            let left = format!("Every {delay:.1}s: {command}");
            let right = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
            let left: String = left.chars().take(columns.saturating_sub(right.len() + 1)).collect();
            let pad = columns.saturating_sub(left.chars().count() + right.len());
            text.push_str(&format!("{left}{}{right}\r\n\r\n", " ".repeat(pad)));
            row = 2;
        }
        let all = [output.stdout, output.stderr].concat();
        for line in String::from_utf8_lossy(&all).lines().take(rows.saturating_sub(row)) {
            let line: String = line
                .chars()
                .filter(|c| !c.is_control() || *c == '\t')
                .take(columns)
                .collect();
            text.push_str(&format!("{line}\r\n"));
        }
        out(text.trim_end_matches("\r\n"));
        match &screen {
            Some(screen) => {
                if matches!(screen.key(millis), Key::Control('c') | Key::Char('q') | Key::Closed) {
                    return 0;
                }
            }
            None => crate::sys::sleep(millis),
        }
    }
}
