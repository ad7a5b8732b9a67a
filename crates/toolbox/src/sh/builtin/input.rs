//! `read` and `getopts`.

use std::io::ErrorKind;

use super::super::vars::is_name;
use super::super::{Run, Shell};
use super::failed;

pub(super) fn read(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let (mut raw, mut prompt, mut names, mut limit, mut seconds, mut silent) =
        (false, None, Vec::new(), None, None, false);
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-r" => raw = true,
            "-p" => prompt = rest.next().cloned(),
            "-rp" => (raw, prompt) = (true, rest.next().cloned()),
            "-n" | "-N" => limit = rest.next().and_then(|n| n.parse::<usize>().ok()),
            "-t" => seconds = rest.next().and_then(|n| n.parse::<f64>().ok()),
            "-s" => silent = true,
            name if is_name(name) => names.push(name.to_owned()),
            other => return failed(shell, &format!("read: '{other}': bad variable name")),
        }
    }
    if let Some(prompt) = prompt {
        let _ = crate::sys::write_all(2, prompt.as_bytes());
    }
    let modes = if silent {
        nix::sys::termios::tcgetattr(crate::sys::borrow(0)).ok()
    } else {
        None
    };
    if let Some(mut quiet) = modes.clone() {
        quiet.local_flags.remove(nix::sys::termios::LocalFlags::ECHO);
        let _ = nix::sys::termios::tcsetattr(crate::sys::borrow(0), nix::sys::termios::SetArg::TCSADRAIN, &quiet);
    }
    let line = read_line(shell, raw, limit, seconds);
    if let Some(modes) = modes {
        let _ = nix::sys::termios::tcsetattr(crate::sys::borrow(0), nix::sys::termios::SetArg::TCSADRAIN, &modes);
    }
    let (line, ended) = line?;
    let ifs = shell.vars.get("IFS").unwrap_or(" \t\n").to_owned();
    if names.is_empty() {
        names.push("REPLY".to_owned());
    }
    let mut rest = line.as_str();
    let white = |c: char| ifs.contains(c) && c.is_whitespace();
    let count = names.len();
    for (i, name) in names.iter().enumerate() {
        rest = rest.trim_start_matches(white);
        let value = if i + 1 == count {
            let value = rest.trim_end_matches(white);
            rest = "";
            value
        } else {
            let end = rest.find(|c| ifs.contains(c)).unwrap_or(rest.len());
            let value = &rest[..end];
            rest = rest[end..].trim_start_matches(white);
            if let Some(c) = rest.chars().next().filter(|c| ifs.contains(*c) && !c.is_whitespace()) {
                rest = &rest[c.len_utf8()..];
            }
            value
        };
        let done = shell.vars.set(name, value);
        shell.fine(done)?;
    }
    Ok(i32::from(ended))
}

/// A line from standard input, read byte by byte because the rest belongs to others. The flag: the input ended first.
fn read_line(shell: &mut Shell, raw: bool, limit: Option<usize>, seconds: Option<f64>) -> Run<(String, bool)> {
    let end = seconds.map(|s| std::time::Instant::now() + std::time::Duration::from_secs_f64(s.clamp(0.0, 1e9)));
    let mut bytes = Vec::new();
    let mut escaped = false;
    let ended = loop {
        if limit.is_some_and(|n| bytes.len() >= n) {
            break false;
        }
        if let Some(end) = end {
            let left = end.saturating_duration_since(std::time::Instant::now());
            if !crate::sys::readable(0, i32::try_from(left.as_millis()).unwrap_or(i32::MAX)) {
                break true;
            }
        }
        let mut byte = [0];
        match crate::sys::read(0, &mut byte) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                shell.run_traps()?;
                continue;
            }
            Err(_) => break true,
        }
        match byte[0] {
            b'\n' if escaped => escaped = false,
            b'\n' => break false,
            b'\\' if !raw && !escaped => escaped = true,
            0 => {}
            other => {
                escaped = false;
                bytes.push(other);
            }
        }
    };
    Ok((String::from_utf8_lossy(&bytes).into_owned(), ended))
}

pub(super) fn getopts(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let [_, letters, name, args @ ..] = words else {
        return failed(shell, "usage: getopts OPTSTRING VAR [ARG]...");
    };
    let args = if args.is_empty() {
        shell.args.clone()
    } else {
        args.to_vec()
    };
    // OPTIND counts arguments; where inside `-abc` we are is kept beside it.
    let index: usize = shell.vars.get("OPTIND").and_then(|v| v.parse().ok()).unwrap_or(1);
    let at: usize = shell
        .vars
        .get("_OPTAT")
        .and_then(|v| v.parse().ok())
        .filter(|_| index > 0)
        .unwrap_or(1);
    let word = args.get(index.saturating_sub(1)).cloned().unwrap_or_default();
    let put = |shell: &mut Shell, values: [(&str, String); 4]| -> Run<()> {
        for (name, value) in values {
            let done = shell.vars.set(name, value);
            shell.fine(done)?;
        }
        Ok(())
    };
    if word.len() < 2 || !word.starts_with('-') || word == "--" {
        let next = index + usize::from(word == "--");
        put(
            shell,
            [
                (name, "?".into()),
                ("OPTIND", next.to_string()),
                ("_OPTAT", "1".into()),
                ("OPTARG", String::new()),
            ],
        )?;
        return Ok(1);
    }
    let chars: Vec<char> = word.chars().collect();
    let letter = chars.get(at).copied().unwrap_or('?');
    let silent = letters.starts_with(':');
    let known = letters.find(letter).filter(|_| letter != ':');
    let wants = known.is_some_and(|i| letters[i + letter.len_utf8()..].starts_with(':'));
    let (mut next, mut next_at) = if at + 1 < chars.len() {
        (index, at + 1)
    } else {
        (index + 1, 1)
    };
    let (mut result, mut value) = (letter.to_string(), String::new());
    if known.is_none() {
        result = "?".to_owned();
        if silent {
            value = letter.to_string()
        } else {
            shell.complain(&format!("illegal option -{letter}"))
        }
    } else if wants {
        let inside: String = chars[at + 1..].iter().collect();
        (next, next_at) = (index + 1, 1);
        if !inside.is_empty() {
            value = inside;
        } else if let Some(argument) = args.get(index) {
            value = argument.clone();
            next += 1;
        } else if silent {
            (result, value) = (":".to_owned(), letter.to_string());
        } else {
            result = "?".to_owned();
            shell.complain(&format!("option requires an argument -{letter}"));
        }
    }
    put(
        shell,
        [
            (name, result),
            ("OPTIND", next.to_string()),
            ("_OPTAT", next_at.to_string()),
            ("OPTARG", value),
        ],
    )?;
    Ok(0)
}
