//! `xargs`.

use std::io::Read;

use crate::say::{fail, reason};

/// Bytes of arguments per command, well below what the kernel takes.
const MAX_BYTES: usize = 100_000;

pub(crate) fn main(args: &[String]) -> i32 {
    let (mut zero, mut lines, mut empty_too, mut trace, mut most, mut replace) =
        (false, None, true, false, usize::MAX, None);
    let mut delimiter = None;
    let mut rest = args.iter().skip(1).peekable();
    while let Some(arg) = rest.next_if(|a| a.starts_with('-') && a.len() > 1) {
        let (flag, inline) = arg.split_at(2);
        let mut value = || {
            if inline.is_empty() {
                rest.next().cloned().unwrap_or_default()
            } else {
                inline.to_owned()
            }
        };
        match flag {
            "-0" => zero = true,
            "-r" => empty_too = false,
            "-t" => trace = true,
            "-n" => most = value().parse().unwrap_or(1).max(1),
            "-L" => {
                lines = Some(());
                most = value().parse().unwrap_or(1).max(1);
            }
            "-I" => replace = Some(value()),
            "-i" => {
                replace = Some(if inline.is_empty() {
                    "{}".to_owned()
                } else {
                    inline.to_owned()
                })
            }
            "-d" => {
                delimiter = crate::sh::text::unescape(&value(), crate::sh::text::Octal::Bare)
                    .0
                    .first()
                    .copied()
            }
            "-P" | "-s" => drop(value()),
            "--" if inline.is_empty() => break,
            "--" if inline == "no-run-if-empty" => empty_too = false,
            "--" if inline == "null" => zero = true,
            other => {
                return fail(
                    "xargs",
                    format!("invalid option -- '{}'", other.trim_start_matches('-')),
                );
            }
        }
    }
    let command: Vec<String> = rest.cloned().collect();
    let command = if command.is_empty() {
        vec!["echo".to_owned()]
    } else {
        command
    };
    let mut input = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut input) {
        return fail("xargs", reason(&error));
    }
    let items = if zero {
        split(&input, 0)
    } else if let Some(delimiter) = delimiter {
        split(&input, delimiter)
    } else if replace.is_some() || lines.is_some() {
        split(&input, b'\n')
            .into_iter()
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect()
    } else {
        match words(&String::from_utf8_lossy(&input)) {
            Ok(words) => words,
            Err(message) => return fail("xargs", message),
        }
    };
    let mut status = 0;
    let mut go = |words: Vec<String>| -> bool {
        if trace {
            let _ = crate::sys::write_all(2, format!("{}\n", words.join(" ")).as_bytes());
        }
        let (name, args) = words.split_first().map_or(("", &[][..]), |(n, a)| (n.as_str(), a));
        match std::process::Command::new(name).args(args).status() {
            Ok(done) if done.success() => true,
            Ok(done) if done.code() == Some(255) => {
                status = 124;
                false
            }
            Ok(_) => {
                status = 123;
                true
            }
            Err(error) => {
                fail("xargs", format!("{name}: {}", reason(&error)));
                status = if error.kind() == std::io::ErrorKind::NotFound {
                    127
                } else {
                    126
                };
                false
            }
        }
    };
    if let Some(mark) = replace {
        for item in items {
            if !go(command.iter().map(|w| w.replace(&mark, &item)).collect()) {
                break;
            }
        }
        return status;
    }
    if items.is_empty() {
        if empty_too {
            go(command);
        }
        return status;
    }
    let mut batch = command.clone();
    let mut size = 0;
    for item in items {
        if batch.len() - command.len() >= most || (size + item.len() > MAX_BYTES && batch.len() > command.len()) {
            if !go(std::mem::replace(&mut batch, command.clone())) {
                return status;
            }
            size = 0;
        }
        size += item.len() + 1;
        batch.push(item);
    }
    go(batch);
    status
}

fn split(input: &[u8], delimiter: u8) -> Vec<String> {
    let mut parts: Vec<String> = input
        .split(|b| *b == delimiter)
        .map(|p| String::from_utf8_lossy(p).into_owned())
        .collect();
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    parts
}

/// Words between white space; quotes and backslashes as xargs has them.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => all.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some(inner) => word.push(inner),
                        None => return Err("unmatched quote".to_owned()),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    Ok(all)
}
