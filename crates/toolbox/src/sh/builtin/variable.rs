//! Variables, options and aliases.

use super::super::vars::{Var, is_name};
use super::super::{Run, Shell};
use super::{failed, print};

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

fn listed(shell: &mut Shell, command: &str, wanted: impl Fn(&Var) -> bool) -> Run<i32> {
    let mut lines = String::new();
    for (name, var) in shell.vars.iter().filter(|(n, v)| wanted(v) && is_name(n)) {
        match &var.value {
            Some(value) => lines.push_str(&format!("{command} {name}='{}'\n", value.replace('\'', "'\\''"))),
            None => lines.push_str(&format!("{command} {name}\n")),
        }
    }
    print(shell, lines.as_bytes())
}

pub(super) fn export(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

pub(super) fn readonly(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

pub(super) fn local(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

pub(super) fn declare(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

pub(super) fn unset(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

pub(super) fn set(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

pub(super) fn alias(shell: &mut Shell, words: &[String]) -> Run<i32> {
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

pub(super) fn unalias(shell: &mut Shell, words: &[String]) -> Run<i32> {
    if words.get(1).is_some_and(|w| w == "-a") {
        shell.aliases.clear();
    }
    for name in &words[1..] {
        shell.aliases.remove(name);
    }
    Ok(0)
}
