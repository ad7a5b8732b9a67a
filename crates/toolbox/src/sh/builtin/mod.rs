//! Commands that the shell itself runs.

mod input;
mod process;
mod variable;

use super::{Run, Shell, Stop, limit, printf, test, text};

pub(crate) use process::kill_with;

pub(super) type Builtin = fn(&mut Shell, &[String]) -> Run<i32>;

const BUILTINS: &[(&str, Builtin)] = &[
    (".", source),
    (":", nothing),
    ("[", bracket),
    ("alias", variable::alias),
    ("bg", process::bg),
    ("break", leave_loop),
    ("builtin", command),
    ("cd", cd),
    ("command", command),
    ("continue", leave_loop),
    ("declare", variable::declare),
    ("echo", echo),
    ("eval", eval),
    ("exec", exec),
    ("exit", exit),
    ("export", variable::export),
    ("false", no),
    ("fg", process::fg),
    ("getopts", input::getopts),
    ("hash", nothing),
    ("help", help),
    ("history", history),
    ("jobs", process::jobs),
    ("kill", process::kill),
    ("let", let_),
    ("local", variable::local),
    ("printf", print_formatted),
    ("pwd", pwd),
    ("read", input::read),
    ("readonly", variable::readonly),
    ("return", return_),
    ("set", variable::set),
    ("shift", shift),
    ("shopt", nothing),
    ("source", source),
    ("test", bracket),
    ("times", times),
    ("trap", process::trap),
    ("true", nothing),
    ("type", type_),
    ("typeset", variable::declare),
    ("ulimit", ulimit),
    ("umask", umask),
    ("unalias", variable::unalias),
    ("unset", variable::unset),
    ("wait", process::wait),
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
