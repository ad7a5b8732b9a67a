//! `sed`: the stream editor.

mod parse;
mod run;

use std::collections::HashMap;

use regex::{Captures, Regex};

use crate::say::{fail, reason};

/// Steps one input line may take: a script that loops for ever ends.
const MAX_STEPS: u64 = 100_000_000;

enum Address {
    Line(u64),
    Last,
    Match(Option<Regex>),
    Step(u64, u64),
}

enum Limit {
    None,
    To(Address),
    Plus(u64),
}

struct Command {
    from: Option<Address>,
    to: Limit,
    negate: bool,
    action: Action,
    /// Inside its range until this line, or until its end matches.
    active: Active,
}

#[derive(Clone, Copy, PartialEq)]
enum Active {
    No,
    Yes,
    Until(u64),
}

enum Action {
    Open(usize),
    Close,
    Label,
    Substitute {
        regex: Option<Regex>,
        with: String,
        global: bool,
        nth: usize,
        print: bool,
        file: Option<String>,
    },
    Translate(HashMap<char, char>),
    Text(char, String),
    Branch(char, Option<usize>),
    Quit(i32, bool),
    File(char, String),
    Simple(char),
}

struct Options {
    quiet: bool,
    extended: bool,
    in_place: Option<String>,
    separate: bool,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let mut options = Options {
        quiet: false,
        extended: false,
        in_place: None,
        separate: false,
    };
    let mut script: Vec<String> = Vec::new();
    let mut files = Vec::new();
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--" => files.extend(rest.by_ref().cloned()),
            "--quiet" | "--silent" => options.quiet = true,
            "--regexp-extended" => options.extended = true,
            "--expression" => script.extend(rest.next().cloned()),
            long if long.starts_with("--expression=") => script.push(long["--expression=".len()..].to_owned()),
            long if long.starts_with("--in-place") => {
                options.in_place = Some(long.trim_start_matches("--in-place").trim_start_matches('=').to_owned())
            }
            long if long.starts_with("--") => return fail("sed", format!("unrecognized option '{long}'")),
            word if word.len() > 1 && word.starts_with('-') => {
                for (i, letter) in word.char_indices().skip(1) {
                    let tail = &word[i + 1..];
                    let mut value = || {
                        if tail.is_empty() {
                            rest.next().cloned().unwrap_or_default()
                        } else {
                            tail.to_owned()
                        }
                    };
                    match letter {
                        'n' => options.quiet = true,
                        'E' | 'r' => options.extended = true,
                        's' => options.separate = true,
                        'u' | 'z' => {}
                        'i' => {
                            options.in_place = Some(tail.to_owned());
                            break;
                        }
                        'e' => {
                            script.push(value());
                            break;
                        }
                        'f' => {
                            let path = value();
                            match std::fs::read_to_string(&path) {
                                Ok(text) => script.push(text.trim_end_matches('\n').to_owned()),
                                Err(error) => return fail("sed", format!("{path}: {}", reason(&error))),
                            }
                            break;
                        }
                        other => return fail("sed", format!("invalid option -- '{other}'")),
                    }
                }
            }
            word => files.push(word.to_owned()),
        }
    }
    if script.is_empty() {
        if files.is_empty() {
            return fail("sed", "usage: sed [-nEi] [-e CMD] [-f FILE] [CMD] [FILE]...");
        }
        script.push(files.remove(0));
    }
    let commands = match parse::parse(&script.join("\n"), options.extended) {
        Ok(commands) => commands,
        Err(message) => return fail("sed", message),
    };
    run::run(commands, &options, &files)
}

/// Replaces the matches from the `nth` on, or that one alone. `None`: there is none.
pub(crate) fn substitute(text: &str, regex: &Regex, with: &str, global: bool, nth: usize) -> Option<String> {
    let mut done = String::new();
    let mut at = 0;
    let mut count = 0;
    let mut changed = false;
    for found in regex.captures_iter(text) {
        let whole = found.get(0)?;
        count += 1;
        if count < nth.max(1) {
            continue;
        }
        done.push_str(&text[at..whole.start()]);
        replacement(with, &found, &mut done);
        at = whole.end();
        changed = true;
        if !global {
            break;
        }
    }
    done.push_str(&text[at..]);
    changed.then_some(done)
}

/// Case of replaced text: for the next character, and for all until `\E`.
#[derive(Default)]
struct Case {
    once: Option<bool>,
    lasting: Option<bool>,
}

impl Case {
    fn push(&mut self, text: &str, into: &mut String) {
        for c in text.chars() {
            match self.once.take().or(self.lasting) {
                Some(true) => into.extend(c.to_uppercase()),
                Some(false) => into.extend(c.to_lowercase()),
                None => into.push(c),
            }
        }
    }
}

fn replacement(with: &str, found: &Captures<'_>, into: &mut String) {
    let mut chars = with.chars();
    let mut case = Case::default();
    let group = |n: usize| found.get(n).map_or("", |m| m.as_str());
    while let Some(c) = chars.next() {
        match c {
            '&' => case.push(group(0), into),
            '\\' => match chars.next() {
                Some(d) if d.is_ascii_digit() => case.push(group(d.to_digit(10).unwrap_or(0) as usize), into),
                Some('n') => case.push("\n", into),
                Some('t') => case.push("\t", into),
                Some(c @ ('U' | 'L')) => case.lasting = Some(c == 'U'),
                Some('E') => case.lasting = None,
                Some(c @ ('u' | 'l')) => case.once = Some(c == 'u'),
                Some(c) => case.push(c.encode_utf8(&mut [0; 4]), into),
                None => case.push("\\", into),
            },
            c => case.push(c.encode_utf8(&mut [0; 4]), into),
        }
    }
}
