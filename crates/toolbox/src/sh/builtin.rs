//! Commands that the shell itself runs.

use std::io::ErrorKind;

use super::vars::is_name;
use super::{Run, Shell, Stop, limit, printf, signal, test, text};

pub(super) type Builtin = fn(&mut Shell, &[String]) -> Run<i32>;

const BUILTINS: &[(&str, Builtin)] = &[
    (".", source),
    (":", nothing),
    ("[", bracket),
    ("alias", alias),
    ("bg", bg),
    ("break", leave_loop),
    ("builtin", command),
    ("cd", cd),
    ("command", command),
    ("continue", leave_loop),
    ("declare", declare),
    ("echo", echo),
    ("eval", eval),
    ("exec", exec),
    ("exit", exit),
    ("export", export),
    ("false", no),
    ("fg", fg),
    ("getopts", getopts),
    ("hash", nothing),
    ("help", help),
    ("history", history),
    ("jobs", jobs),
    ("kill", kill),
    ("let", let_),
    ("local", local),
    ("printf", print_formatted),
    ("pwd", pwd),
    ("read", read),
    ("readonly", readonly),
    ("return", return_),
    ("set", set),
    ("shift", shift),
    ("shopt", nothing),
    ("source", source),
    ("test", bracket),
    ("times", times),
    ("trap", trap),
    ("true", nothing),
    ("type", type_),
    ("typeset", declare),
    ("ulimit", ulimit),
    ("umask", umask),
    ("unalias", unalias),
    ("unset", unset),
    ("wait", wait),
];

/// Looks a builtin up.
pub(super) fn find(name: &str) -> Option<Builtin> {
    BUILTINS.iter().find(|(n, _)| *n == name).map(|(_, run)| *run)
}

/// All names, for completion.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|(name, _)| *name)
}

/// POSIX' special builtins: assignments before them stay.
pub(super) fn is_special(name: &str) -> bool {
    matches!(
        name,
        "." | ":"
            | "break"
            | "continue"
            | "eval"
            | "exec"
            | "exit"
            | "export"
            | "readonly"
            | "return"
            | "set"
            | "shift"
            | "times"
            | "trap"
            | "unset"
    )
}

fn print(shell: &mut Shell, bytes: &[u8]) -> Run<i32> {
    match crate::sys::write_all(1, bytes) {
        Ok(()) => Ok(0),
        Err(error) => {
            shell.complain(&format!("write error: {}", crate::say::reason(&error)));
            Ok(1)
        }
    }
}

fn failed(shell: &Shell, message: &str) -> Run<i32> {
    shell.complain(message);
    Ok(1)
}

fn nothing(_: &mut Shell, _: &[String]) -> Run<i32> {
    Ok(0)
}

fn no(_: &mut Shell, _: &[String]) -> Run<i32> {
    Ok(1)
}

/// What `echo ARGS` writes.
pub(crate) fn echo_text(args: &[String]) -> Vec<u8> {
    let (mut newline, mut escapes) = (true, false);
    let mut rest = args;
    while let Some((first, after)) = rest.split_first()
        && first.len() > 1
        && first.starts_with('-')
        && first[1..].chars().all(|c| "neE".contains(c))
    {
        for c in first[1..].chars() {
            match c {
                'n' => newline = false,
                'e' => escapes = true,
                _ => escapes = false,
            }
        }
        rest = after;
    }
    let line = rest.join(" ");
    let mut bytes = line.into_bytes();
    if escapes {
        let (resolved, stop) = text::unescape(&String::from_utf8_lossy(&bytes), text::Octal::Zero);
        bytes = resolved;
        newline &= !stop;
    }
    if newline {
        bytes.push(b'\n');
    }
    bytes
}

fn echo(shell: &mut Shell, words: &[String]) -> Run<i32> {
    print(shell, &echo_text(&words[1..]))
}

fn print_formatted(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let Some(format) = words.get(1) else {
        return failed(shell, "printf: usage: printf FORMAT [ARG]...");
    };
    let (bytes, errors) = printf::format(format, &words[2..]);
    let status = print(shell, &bytes)?;
    for error in &errors {
        shell.complain(&format!("printf: {error}"));
    }
    Ok(if errors.is_empty() { status } else { 1 })
}

fn bracket(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let mut args = &words[1..];
    if words[0] == "[" {
        match args.split_last() {
            Some((last, rest)) if last == "]" => args = rest,
            _ => {
                shell.complain("[: missing ]");
                return Ok(2);
            }
        }
    }
    match test::evaluate(args) {
        Ok(value) => Ok(i32::from(!value)),
        Err(message) => {
            shell.complain(&message);
            Ok(2)
        }
    }
}

fn cd(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let target = match words.iter().skip(1).find(|w| !matches!(w.as_str(), "--" | "-P" | "-L")) {
        None => shell.home(),
        Some(dash) if dash == "-" => match shell.vars.get("OLDPWD") {
            Some(old) => {
                let old = old.to_owned();
                print(shell, format!("{old}\n").as_bytes())?;
                old
            }
            None => return failed(shell, "cd: OLDPWD not set"),
        },
        Some(dir) => dir.clone(),
    };
    let before = shell.vars.get("PWD").unwrap_or("").to_owned();
    if let Err(error) = std::env::set_current_dir(&target) {
        return failed(
            shell,
            &format!("cd: can't cd to {target}: {}", crate::say::reason(&error)),
        );
    }
    // The path as the user went, through links, when it still leads here; else the real one.
    let logical = clean(&if target.starts_with('/') {
        target
    } else {
        format!("{before}/{target}")
    });
    let same = std::fs::canonicalize(&logical).ok() == std::env::current_dir().ok();
    let now = if same {
        logical
    } else {
        std::env::current_dir()
            .map(|d| d.to_string_lossy().into_owned())
            .unwrap_or(logical)
    };
    for (name, value) in [("OLDPWD", before), ("PWD", now)] {
        let done = shell.vars.set(name, value);
        shell.fine(done)?;
        shell.vars.export(name, true);
    }
    Ok(0)
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn pwd(shell: &mut Shell, _: &[String]) -> Run<i32> {
    let text = match shell.vars.get("PWD") {
        Some(pwd) => pwd.to_owned(),
        None => std::env::current_dir()
            .map(|d| d.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    print(shell, format!("{text}\n").as_bytes())
}

fn eval(shell: &mut Shell, words: &[String]) -> Run<i32> {
    shell.status = 0;
    shell.run_text(&words[1..].join(" "))
}

fn source(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let Some(name) = words.get(1) else {
        return failed(shell, ".: filename argument required");
    };
    let path = if name.contains('/') || std::path::Path::new(name).is_file() {
        name.clone()
    } else {
        shell.find_program(name).unwrap_or_else(|| name.clone())
    };
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let message = format!(".: can't open '{name}': {}", crate::say::reason(&error));
            return Err(shell.fatal(&message));
        }
    };
    if shell.depth >= 400 {
        return Err(shell.fatal(".: nested too deeply"));
    }
    let args = (words.len() > 2).then(|| std::mem::replace(&mut shell.args, words[2..].to_vec()));
    shell.depth += 1;
    shell.status = 0;
    let result = shell.run_text(&text);
    shell.depth -= 1;
    if let Some(args) = args {
        shell.args = args;
    }
    match result {
        Err(Stop::Return(status)) => Ok(status),
        other => other,
    }
}

fn command(shell: &mut Shell, words: &[String]) -> Run<i32> {
    match words.get(1).map(String::as_str) {
        None => Ok(0),
        Some("-v" | "-V") => {
            let mut status = 0;
            for name in &words[2..] {
                let text = if words[1] == "-V" {
                    Some(kind(shell, name))
                } else {
                    path_of(shell, name)
                };
                match text {
                    Some(text) => {
                        print(shell, format!("{text}\n").as_bytes())?;
                    }
                    None => status = 127,
                }
            }
            Ok(status)
        }
        Some(first) => {
            let rest = if matches!(first, "-p" | "--") {
                &words[2..]
            } else {
                &words[1..]
            };
            let Some(name) = rest.first() else { return Ok(0) };
            match find(name) {
                Some(run) => run(shell, rest),
                None => run_program(shell, rest),
            }
        }
    }
}

fn run_program(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let quoted: Vec<super::ast::Word> = words
        .iter()
        .map(|w| vec![super::ast::Part::Quoted(w.clone())])
        .collect();
    let hidden = words.first().and_then(|name| shell.functions.remove_entry(name));
    let simple = super::ast::Simple {
        words: quoted,
        line: shell.line,
        ..Default::default()
    };
    let result = shell.run(&super::ast::Cmd::Simple(simple));
    shell.functions.extend(hidden);
    result
}

fn path_of(shell: &Shell, name: &str) -> Option<String> {
    if let Some(text) = shell.aliases.get(name) {
        return Some(format!("alias {name}={}", text::quote(text)));
    }
    if shell.functions.contains_key(name) || find(name).is_some() || is_keyword(name) {
        return Some(name.to_owned());
    }
    if name.contains('/') {
        crate::which::is_program(name).then(|| name.to_owned())
    } else {
        shell.find_program(name)
    }
}

fn is_keyword(name: &str) -> bool {
    matches!(
        name,
        "if" | "then"
            | "else"
            | "elif"
            | "fi"
            | "do"
            | "done"
            | "case"
            | "esac"
            | "while"
            | "until"
            | "for"
            | "in"
            | "{"
            | "}"
            | "!"
            | "[["
    )
}

fn kind(shell: &Shell, name: &str) -> String {
    if let Some(text) = shell.aliases.get(name) {
        return format!("{name} is an alias for {text}");
    }
    if shell.functions.contains_key(name) {
        return format!("{name} is a function");
    }
    if is_keyword(name) {
        return format!("{name} is a shell keyword");
    }
    if find(name).is_some() {
        return format!("{name} is a shell builtin");
    }
    match path_of(shell, name) {
        Some(path) => format!("{name} is {path}"),
        None => format!("{name}: not found"),
    }
}

fn type_(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let mut status = 0;
    for name in words[1..].iter().filter(|w| !w.starts_with('-')) {
        status |= i32::from(path_of(shell, name).is_none()) * 127;
        let text = kind(shell, name);
        print(shell, format!("{text}\n").as_bytes())?;
    }
    Ok(status)
}

fn exec(shell: &mut Shell, words: &[String]) -> Run<i32> {
    if words.len() == 1 {
        return Ok(0);
    }
    shell.child_signals();
    let code = shell.replace(&words[1..]);
    Err(Stop::Exit(code))
}

fn number(shell: &mut Shell, words: &[String], default: i32) -> Run<i32> {
    match words.get(1) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => Err(shell.fatal(&format!("{}: Illegal number: {text}", words[0]))),
        },
    }
}

fn exit(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let status = shell.status;
    Err(Stop::Exit(number(shell, words, status)? & 0xff))
}

fn return_(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let status = shell.status;
    Err(Stop::Return(number(shell, words, status)? & 0xff))
}

fn leave_loop(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let count = number(shell, words, 1)?.clamp(1, 1 << 20).unsigned_abs();
    if shell.loops == 0 {
        return Ok(0);
    }
    let count = count.min(shell.loops);
    Err(if words[0] == "break" {
        Stop::Break(count)
    } else {
        Stop::Continue(count)
    })
}

fn shift(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let count = usize::try_from(number(shell, words, 1)?).unwrap_or(0);
    if count > shell.args.len() {
        return failed(shell, "shift: can't shift that many");
    }
    shell.args.drain(..count);
    Ok(0)
}

/// `NAME=value` or `NAME` of export, readonly, local.
fn split(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }
}

fn marks(shell: &mut Shell, words: &[String], command: &str, mark: impl Fn(&mut Shell, &str)) -> Run<i32> {
    for word in words {
        let (name, value) = split(word);
        if !is_name(name) {
            return Err(shell.fatal(&format!("{command}: {name}: bad variable name")));
        }
        if let Some(value) = value {
            let done = shell.vars.set(name, value);
            shell.fine(done)?;
        }
        mark(shell, name);
    }
    Ok(0)
}

fn listed(shell: &mut Shell, command: &str, wanted: impl Fn(&super::vars::Var) -> bool) -> Run<i32> {
    let mut lines = String::new();
    for (name, var) in shell.vars.iter().filter(|(n, v)| wanted(v) && is_name(n)) {
        match &var.value {
            Some(value) => lines.push_str(&format!("{command} {name}='{}'\n", value.replace('\'', "'\\''"))),
            None => lines.push_str(&format!("{command} {name}\n")),
        }
    }
    print(shell, lines.as_bytes())
}

fn export(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let rest: Vec<String> = words[1..]
        .iter()
        .filter(|w| !matches!(w.as_str(), "-p" | "-n" | "--"))
        .cloned()
        .collect();
    if rest.is_empty() {
        return listed(shell, "export", |v| v.exported);
    }
    let on = !words.iter().any(|w| w == "-n");
    marks(shell, &rest, "export", |shell, name| shell.vars.export(name, on))
}

fn readonly(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let rest: Vec<String> = words[1..]
        .iter()
        .filter(|w| !matches!(w.as_str(), "-p" | "--"))
        .cloned()
        .collect();
    if rest.is_empty() {
        return listed(shell, "readonly", |v| v.readonly);
    }
    marks(shell, &rest, "readonly", |shell, name| shell.vars.freeze(name))
}

fn local(shell: &mut Shell, words: &[String]) -> Run<i32> {
    for word in words[1..].iter().filter(|w| !w.starts_with('-')) {
        let (name, value) = split(word);
        if !is_name(name) {
            return Err(shell.fatal(&format!("local: {name}: bad variable name")));
        }
        if !shell.vars.localize(name) {
            return failed(shell, "local: not in a function");
        }
        match value {
            Some(value) => {
                let done = shell.vars.set(name, value);
                shell.fine(done)?;
            }
            None => {
                let done = shell.vars.unset(name);
                shell.fine(done)?;
            }
        }
    }
    Ok(0)
}

fn declare(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let flags: String = words[1..]
        .iter()
        .filter(|w| w.starts_with('-'))
        .map(String::as_str)
        .collect();
    let rest: Vec<String> = words[1..].iter().filter(|w| !w.starts_with('-')).cloned().collect();
    if rest.is_empty() {
        return listed(shell, "declare", |_| true);
    }
    if flags.contains(['a', 'A']) {
        return failed(shell, &format!("{}: arrays are not supported", words[0]));
    }
    marks(shell, &rest, &words[0], |shell, name| {
        if flags.contains('x') {
            shell.vars.export(name, true);
        }
        if flags.contains('r') {
            shell.vars.freeze(name);
        }
    })
}

fn unset(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let functions = words.get(1).is_some_and(|w| w == "-f");
    for name in words[1..].iter().filter(|w| !w.starts_with('-')) {
        if functions {
            shell.functions.remove(name);
        } else {
            let done = shell.vars.unset(name);
            shell.fine(done)?;
        }
    }
    Ok(0)
}

fn set(shell: &mut Shell, words: &[String]) -> Run<i32> {
    if words.len() == 1 {
        let mut lines = String::new();
        for (name, var) in shell.vars.iter().filter(|(n, _)| is_name(n)) {
            if let Some(value) = &var.value {
                lines.push_str(&format!("{name}='{}'\n", value.replace('\'', "'\\''")));
            }
        }
        return print(shell, lines.as_bytes());
    }
    let mut rest = words[1..].iter();
    while let Some(word) = rest.clone().next() {
        if word == "--" {
            rest.next();
            shell.args = rest.cloned().collect();
            return Ok(0);
        }
        if word.len() < 2 || !word.starts_with(['-', '+']) {
            shell.args = rest.cloned().collect();
            return Ok(0);
        }
        rest.next();
        let on = word.starts_with('-');
        for letter in word.chars().skip(1) {
            if letter == 'o' {
                let Some(name) = rest.next() else { return options(shell) };
                match shell.options.by_name(name) {
                    Some(flag) => *flag = on,
                    None => return Err(shell.fatal(&format!("set: illegal option -o {name}"))),
                }
            } else {
                match shell.options.by_letter(letter) {
                    Some(flag) => *flag = on,
                    None => return Err(shell.fatal(&format!("set: illegal option -{letter}"))),
                }
            }
        }
    }
    Ok(0)
}

fn options(shell: &mut Shell) -> Run<i32> {
    let mut lines = String::new();
    for name in [
        "allexport",
        "errexit",
        "monitor",
        "noclobber",
        "noexec",
        "noglob",
        "nounset",
        "pipefail",
        "verbose",
        "xtrace",
    ] {
        let on = shell.options.by_name(name).is_some_and(|flag| *flag);
        lines.push_str(&format!("{name:<16}{}\n", if on { "on" } else { "off" }));
    }
    print(shell, lines.as_bytes())
}

fn alias(shell: &mut Shell, words: &[String]) -> Run<i32> {
    if words.len() == 1 {
        let mut lines: Vec<String> = shell.aliases.iter().map(|(n, v)| format!("{n}='{v}'\n")).collect();
        lines.sort();
        return print(shell, lines.concat().as_bytes());
    }
    let mut status = 0;
    for word in &words[1..] {
        match split(word) {
            (name, Some(value)) => {
                shell.aliases.insert(name.to_owned(), value.to_owned());
            }
            (name, None) => match shell.aliases.get(name) {
                Some(value) => {
                    let line = format!("{name}='{value}'\n");
                    print(shell, line.as_bytes())?;
                }
                None => status = failed(shell, &format!("alias: {name} not found"))?,
            },
        }
    }
    Ok(status)
}

fn unalias(shell: &mut Shell, words: &[String]) -> Run<i32> {
    if words.get(1).is_some_and(|w| w == "-a") {
        shell.aliases.clear();
    }
    for name in &words[1..] {
        shell.aliases.remove(name);
    }
    Ok(0)
}

fn trap(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let rest: &[String] = if words.get(1).is_some_and(|w| w == "--") {
        &words[2..]
    } else {
        &words[1..]
    };
    match rest {
        [] => {
            let mut lines = String::new();
            for (number, action) in &shell.traps {
                let name = if *number == 0 {
                    "EXIT"
                } else {
                    signal::name(*number).unwrap_or("?")
                };
                lines.push_str(&format!("trap -- '{}' {name}\n", action.replace('\'', "'\\''")));
            }
            print(shell, lines.as_bytes())
        }
        [flag] if flag == "-l" => print(shell, signal_list().as_bytes()),
        _ => {
            // `trap TERM` and `trap 15 2` reset: the first word is a condition, not an action.
            let (action, names) = match rest.split_first() {
                Some((first, names)) if first == "-" => (None, names),
                Some((first, names)) if !names.is_empty() && first.parse::<u32>().is_err() => {
                    (Some(first.clone()), names)
                }
                _ => (None, rest),
            };
            for name in names {
                match signal::number(name) {
                    Some(number) => shell.trap(number, action.clone()),
                    None if matches!(name.as_str(), "ERR" | "DEBUG" | "RETURN") => {}
                    None => return failed(shell, &format!("trap: {name}: invalid signal specification")),
                }
            }
            Ok(0)
        }
    }
}

fn signal_list() -> String {
    signal::all()
        .map(|(number, name)| format!("{number:2}) {name}\n"))
        .collect()
}

/// `kill [-SIGNAL] PID|%JOB...`; jobs are known to the shell only, so the program of that name passes none.
pub(crate) fn kill_with(args: &[String], job: impl Fn(&str) -> Option<i32>) -> Result<Option<String>, Vec<String>> {
    let mut rest = args.iter();
    let mut number = 15;
    let mut targets = Vec::new();
    while let Some(arg) = rest.next() {
        if arg == "-l" {
            let Some(code) = rest.next() else {
                return Ok(Some(signal_list()));
            };
            let code = code
                .parse::<i32>()
                .map_or_else(|_| signal::number(code), |n| Some(if n > 128 { n - 128 } else { n }));
            let text = code.map_or_else(
                || "?".to_owned(),
                |n| signal::name(n).map_or_else(|| n.to_string(), str::to_owned),
            );
            return Ok(Some(format!("{text}\n")));
        }
        let option = arg.strip_prefix('-').filter(|_| targets.is_empty());
        match option {
            Some("s" | "n") => {
                let name = rest.next().map_or("", String::as_str);
                number = signal::number(name).ok_or_else(|| vec![format!("bad signal name '{name}'")])?;
            }
            Some("-") => targets.extend(rest.by_ref().cloned()),
            Some(name) => number = signal::number(name).ok_or_else(|| vec![format!("bad signal name '{name}'")])?,
            None => targets.push(arg.clone()),
        }
    }
    if targets.is_empty() {
        return Err(vec!["you need to specify whom to kill".to_owned()]);
    }
    let mut errors = Vec::new();
    for target in targets {
        let pid = if target.starts_with('%') {
            job(&target)
        } else {
            target.parse().ok()
        };
        let Some(pid) = pid else {
            errors.push(format!("invalid number '{target}'"));
            continue;
        };
        let signal = nix::sys::signal::Signal::try_from(number).ok();
        if let Err(error) = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal) {
            errors.push(format!(
                "can't kill pid {pid}: {}",
                crate::say::reason(&std::io::Error::from(error))
            ));
        }
    }
    if errors.is_empty() { Ok(None) } else { Err(errors) }
}

fn kill(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let job = |spec: &str| {
        let job = shell.jobs.get(shell.jobs.resolve(Some(spec))?)?;
        job.group.map(|g| -g).or_else(|| job.pids().last())
    };
    match kill_with(&words[1..], job) {
        Ok(text) => print(shell, text.unwrap_or_default().as_bytes()),
        Err(errors) => {
            for error in errors {
                shell.complain(&error);
            }
            Ok(1)
        }
    }
}

fn jobs(shell: &mut Shell, words: &[String]) -> Run<i32> {
    while matches!(shell.wait_any(super::job::Wait::No), super::job::Waited::Changed) {}
    let pids = words.iter().any(|w| w == "-l");
    let only = words.iter().any(|w| w == "-p");
    let last = shell.jobs.iter().last().map(|j| j.id);
    let mut lines = String::new();
    let mut done = Vec::new();
    for job in shell.jobs.iter() {
        if only {
            lines.push_str(&format!("{}\n", job.pids().next().unwrap_or(0)));
        } else {
            lines.push_str(&job.describe(Some(job.id) == last, pids));
        }
        if matches!(job.state(), super::job::State::Done(_)) && shell.options.interactive {
            done.push(job.id);
        }
    }
    for id in done {
        shell.jobs.remove(id);
    }
    print(shell, lines.as_bytes())
}

fn fg(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let Some(id) = shell.jobs.resolve(words.get(1).map(String::as_str)) else {
        return failed(shell, "fg: no current job");
    };
    let text = shell.jobs.get(id).map(|j| j.text.clone()).unwrap_or_default();
    print(shell, format!("{text}\n").as_bytes())?;
    Ok(shell.resume(id, true))
}

fn bg(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let Some(id) = shell.jobs.resolve(words.get(1).map(String::as_str)) else {
        return failed(shell, "bg: no current job");
    };
    let text = shell.jobs.get(id).map(|j| j.text.clone()).unwrap_or_default();
    print(shell, format!("[{id}] {text}\n").as_bytes())?;
    Ok(shell.resume(id, false))
}

fn wait(shell: &mut Shell, words: &[String]) -> Run<i32> {
    use super::job::{State, Waited};
    let any = words.get(1).is_some_and(|w| w == "-n");
    let specs = &words[1 + usize::from(any)..];
    let mut ids = Vec::new();
    for spec in specs {
        let id = if spec.starts_with('%') {
            shell.jobs.resolve(Some(spec))
        } else {
            spec.parse().ok().and_then(|pid| shell.jobs.with_pid(pid))
        };
        ids.push(id);
    }
    let mut status = 0;
    loop {
        let running = |shell: &Shell, id: usize| shell.jobs.get(id).is_some_and(|j| j.state() == State::Running);
        if any {
            let done = shell.jobs.iter().find_map(|j| match j.state() {
                State::Done(code) => Some((j.id, code)),
                _ => None,
            });
            if let Some((id, code)) = done {
                shell.jobs.remove(id);
                return Ok(code);
            }
        } else if specs.is_empty() {
            if !shell.jobs.iter().any(|j| j.state() == State::Running) {
                let ended: Vec<usize> = shell
                    .jobs
                    .iter()
                    .filter(|j| matches!(j.state(), State::Done(_)))
                    .map(|j| j.id)
                    .collect();
                for id in ended {
                    shell.jobs.remove(id);
                }
                return Ok(0);
            }
        } else if !ids.iter().flatten().any(|id| running(shell, *id)) {
            for id in ids {
                status = match id.and_then(|id| shell.jobs.get(id)).map(super::job::Job::state) {
                    Some(State::Done(code)) => code,
                    _ => 127,
                };
                if let Some(id) = id {
                    shell.jobs.remove(id);
                }
            }
            return Ok(status);
        }
        match shell.wait_any(super::job::Wait::UntilSignal) {
            Waited::Changed | Waited::Nothing => {}
            Waited::NoChildren => return Ok(if specs.is_empty() && !any { status } else { 127 }),
            Waited::Interrupted => {
                let bits = crate::sys::pending() & !(1 << 17);
                let number = (1..64).find(|n| bits & (1 << n) != 0).unwrap_or(0);
                shell.run_traps()?;
                return Ok(128 + number);
            }
        }
    }
}

fn read(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

fn getopts(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

fn let_(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let mut value = 0;
    for word in &words[1..] {
        let result = super::arith::evaluate(word, shell);
        value = shell.fine(result)?;
    }
    Ok(i32::from(value == 0))
}

fn history(shell: &mut Shell, _: &[String]) -> Run<i32> {
    let lines: String = shell
        .history
        .iter()
        .enumerate()
        .map(|(i, line)| format!("{:>5}  {line}\n", i + 1))
        .collect();
    print(shell, lines.as_bytes())
}

fn help(shell: &mut Shell, _: &[String]) -> Run<i32> {
    let names: Vec<&str> = names().collect();
    print(shell, format!("Built-in commands:\n\t{}\n", names.join(" ")).as_bytes())
}

fn times(shell: &mut Shell, _: &[String]) -> Run<i32> {
    let (user, system, children_user, children_system) = crate::sys::times();
    let show = |s: f64| format!("{}m{:.3}s", (s / 60.0) as u64, s % 60.0);
    let text = format!(
        "{} {}\n{} {}\n",
        show(user),
        show(system),
        show(children_user),
        show(children_system)
    );
    print(shell, text.as_bytes())
}

fn ulimit(shell: &mut Shell, words: &[String]) -> Run<i32> {
    match limit::ulimit(shell, words) {
        Ok(text) => print(shell, text.as_bytes()),
        Err(message) => failed(shell, &message),
    }
}

fn umask(shell: &mut Shell, words: &[String]) -> Run<i32> {
    use nix::sys::stat::{Mode, umask};
    match words.get(1) {
        None => {
            let current = umask(Mode::empty());
            umask(current);
            print(shell, format!("{:04o}\n", current.bits()).as_bytes())
        }
        Some(text) => match nix::libc::mode_t::from_str_radix(text, 8) {
            Ok(bits) => {
                umask(Mode::from_bits_truncate(bits));
                Ok(0)
            }
            Err(_) => failed(shell, &format!("umask: illegal mode: {text}")),
        },
    }
}
