//! `grep`, `egrep`, `fgrep`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use regex::bytes::{Regex, RegexBuilder};

use crate::say::{fail, out, reason};

#[derive(Default)]
struct Options {
    extended: bool,
    fixed: bool,
    fold: bool,
    invert: bool,
    count: bool,
    list: bool,
    list_without: bool,
    number: bool,
    only: bool,
    quiet: bool,
    silent: bool,
    recursive: bool,
    word: bool,
    line: bool,
    names: Option<bool>,
    color: bool,
    before: usize,
    after: usize,
    most: Option<u64>,
    patterns: Vec<String>,
    include: Vec<String>,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let mut options = Options::default();
    let name = args.first().map_or("grep", String::as_str);
    options.extended = name.ends_with("egrep");
    options.fixed = name.ends_with("fgrep");
    let mut words = match parse(&args[1..], &mut options) {
        Ok(words) => words,
        Err(message) => {
            fail("grep", message);
            return 2;
        }
    };
    if options.patterns.is_empty() {
        if words.is_empty() {
            fail(
                "grep",
                "usage: grep [-EFHhilLnoqrsvwxc] [-A N] [-B N] [-C N] [-m N] PATTERN [FILE]...",
            );
            return 2;
        }
        options.patterns.push(words.remove(0));
    }
    let regex = match compile(&options) {
        Ok(regex) => regex,
        Err(message) => {
            fail("grep", message);
            return 2;
        }
    };
    if words.is_empty() {
        words.push(if options.recursive { "." } else { "-" }.to_owned());
    }
    let many = words.len() > 1 || options.recursive;
    let mut search = Search {
        show_names: options.names.unwrap_or(many),
        options,
        regex,
        found: false,
        failed: false,
        done: false,
    };
    for word in words {
        if search.done {
            break;
        }
        search.target(&word, 0);
    }
    match (search.found, search.failed) {
        (true, _) if search.options.quiet => 0,
        (_, true) => 2,
        (found, false) => i32::from(!found),
    }
}

fn parse(args: &[String], options: &mut Options) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = args.iter();
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("invalid number '{text}'"));
    while let Some(arg) = rest.next() {
        if arg == "--" {
            words.extend(rest.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
            match name {
                "color" | "colour" => {
                    options.color = value == Some("always") || (value != Some("never") && crate::sys::is_tty(1))
                }
                "include" => options.include.push(value.unwrap_or("").to_owned()),
                "ignore-case" => options.fold = true,
                "invert-match" => options.invert = true,
                "count" => options.count = true,
                "line-number" => options.number = true,
                "recursive" => options.recursive = true,
                "quiet" | "silent" => options.quiet = true,
                "extended-regexp" => options.extended = true,
                "fixed-strings" => options.fixed = true,
                "only-matching" => options.only = true,
                "word-regexp" => options.word = true,
                "files-with-matches" => options.list = true,
                "no-messages" => options.silent = true,
                "line-buffered" | "text" => {}
                "regexp" => options.patterns.push(value.unwrap_or("").to_owned()),
                _ => return Err(format!("unrecognized option '--{long}'")),
            }
        } else if let Some(letters) = arg.strip_prefix('-').filter(|l| !l.is_empty()) {
            if let Ok(n) = letters.parse() {
                (options.before, options.after) = (n, n);
                continue;
            }
            for (i, letter) in letters.char_indices() {
                let tail = &letters[i + 1..];
                let mut value = || {
                    if tail.is_empty() {
                        rest.next().cloned().unwrap_or_default()
                    } else {
                        tail.to_owned()
                    }
                };
                match letter {
                    'E' => options.extended = true,
                    'F' => options.fixed = true,
                    'G' => options.extended = false,
                    'P' => options.extended = true,
                    'i' | 'y' => options.fold = true,
                    'v' => options.invert = true,
                    'c' => options.count = true,
                    'l' => options.list = true,
                    'L' => options.list_without = true,
                    'n' => options.number = true,
                    'o' => options.only = true,
                    'q' => options.quiet = true,
                    's' => options.silent = true,
                    'r' | 'R' => options.recursive = true,
                    'w' => options.word = true,
                    'x' => options.line = true,
                    'H' => options.names = Some(true),
                    'h' => options.names = Some(false),
                    'a' | 'I' | 'z' => {}
                    'A' => options.after = number(&value())?,
                    'B' => options.before = number(&value())?,
                    'C' => {
                        options.after = number(&value())?;
                        options.before = options.after;
                    }
                    'm' => options.most = Some(number(&value())? as u64),
                    'e' => options.patterns.push(value()),
                    'f' => {
                        let path = value();
                        let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {}", reason(&e)))?;
                        options.patterns.extend(text.lines().map(str::to_owned));
                    }
                    other => return Err(format!("invalid option -- '{other}'")),
                }
                if "ABCmef".contains(letter) {
                    break;
                }
            }
        } else {
            words.push(arg.clone());
        }
    }
    Ok(words)
}

/// A basic regular expression in the syntax of the library: there `+ ? | ( ) { }` are operators when bare, here when escaped.
pub(crate) fn from_basic(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut in_class = false;
    let mut start = true;
    while let Some(c) = chars.next() {
        let at_start = std::mem::replace(&mut start, false);
        match c {
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.push('^');
                    chars.next();
                }
                if chars.peek() == Some(&']') {
                    out.push_str("\\]");
                    chars.next();
                }
            }
            '[' if chars.peek() == Some(&':') => out.push('['),
            '[' => out.push_str("\\["),
            ']' if in_class => {
                in_class = out.ends_with(':');
                out.push(']');
            }
            '\\' if in_class => out.push_str("\\\\"),
            _ if in_class => out.push(c),
            '\\' => match chars.next() {
                Some(c @ ('+' | '?' | '|' | '(' | ')' | '{' | '}')) => {
                    out.push(c);
                    start = matches!(c, '(' | '|');
                }
                Some('<') => out.push_str("\\b"),
                Some('>') => out.push_str("\\b"),
                Some(c @ ('w' | 'W' | 's' | 'S' | 'b' | 'B' | 'n' | 't')) => out.extend(['\\', c]),
                Some(c) if c.is_ascii_digit() => out.extend(['\\', c]),
                Some(c) => out.push_str(&regex::escape(&c.to_string())),
                None => out.push_str("\\\\"),
            },
            '+' | '?' | '|' | '(' | ')' | '{' | '}' => out.extend(['\\', c]),
            '*' if at_start => out.push_str("\\*"),
            '^' if !at_start => out.push_str("\\^"),
            '^' => {
                out.push('^');
                start = true;
            }
            '$' if chars.peek().is_some() && chars.peek() != Some(&'\\') => out.push_str("\\$"),
            c => out.push(c),
        }
    }
    out
}

/// An extended regular expression in the syntax of the library.
pub(crate) fn from_extended(text: &str) -> String {
    text.replace("\\<", "\\b").replace("\\>", "\\b")
}

fn compile(options: &Options) -> Result<Regex, String> {
    let mut parts = Vec::new();
    for pattern in options.patterns.iter().flat_map(|p| p.split('\n')) {
        let text = if options.fixed {
            regex::escape(pattern)
        } else if options.extended {
            from_extended(pattern)
        } else {
            from_basic(pattern)
        };
        parts.push(format!("(?:{text})"));
    }
    let mut text = parts.join("|");
    if options.word {
        text = format!("\\b(?:{text})\\b");
    }
    if options.line {
        text = format!("^(?:{text})$");
    }
    RegexBuilder::new(&text)
        .case_insensitive(options.fold)
        .unicode(true)
        .size_limit(8 << 20)
        .build()
        .or_else(|_| {
            RegexBuilder::new(&text)
                .case_insensitive(options.fold)
                .unicode(false)
                .size_limit(8 << 20)
                .build()
        })
        .map_err(|_| format!("bad regex '{}'", options.patterns.join("|")))
}

struct Search {
    options: Options,
    regex: Regex,
    show_names: bool,
    found: bool,
    failed: bool,
    done: bool,
}

impl Search {
    fn complain(&mut self, name: &str, error: &std::io::Error) {
        if !self.options.silent {
            fail("grep", format!("{name}: {}", reason(error)));
        }
        self.failed = true;
    }

    fn target(&mut self, name: &str, depth: usize) {
        if name == "-" {
            return self.stream("(standard input)", &mut std::io::stdin().lock());
        }
        let path = Path::new(name);
        if path.is_dir() {
            if !self.options.recursive {
                return self.complain(name, &std::io::Error::from_raw_os_error(nix::libc::EISDIR));
            }
            let mut entries: Vec<_> = match std::fs::read_dir(path) {
                Ok(entries) => entries.flatten().collect(),
                Err(error) => return self.complain(name, &error),
            };
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                // Links are not followed below the start, and only files and directories are read: FIFOs would hang.
                let kind = entry.file_type();
                let base = name.trim_end_matches('/');
                let inner = format!("{base}/{}", entry.file_name().to_string_lossy());
                let is_file = kind.as_ref().is_ok_and(std::fs::FileType::is_file);
                let is_dir = kind.as_ref().is_ok_and(std::fs::FileType::is_dir);
                let file_name = entry.file_name().to_string_lossy().into_owned();
                let included = self.options.include.is_empty()
                    || self
                        .options
                        .include
                        .iter()
                        .any(|p| crate::sh::pattern::matches(p, &file_name));
                if (is_dir && depth < 64) || (is_file && included) {
                    self.target(&inner, depth + 1);
                }
                if self.done {
                    return;
                }
            }
            return;
        }
        match std::fs::File::open(path) {
            Ok(file) => self.stream(name, &mut BufReader::with_capacity(64 * 1024, file)),
            Err(error) => self.complain(name, &error),
        }
    }

    fn stream(&mut self, name: &str, input: &mut dyn BufRead) {
        let mut count = 0u64;
        let mut number = 0u64;
        let mut before: std::collections::VecDeque<(u64, Vec<u8>)> = std::collections::VecDeque::new();
        let mut after = 0;
        let mut last_shown = 0u64;
        let context = self.options.before + self.options.after > 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            match input.take(64 << 20).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.complain(name, &error);
                    break;
                }
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            number += 1;
            let hit = self.regex.is_match(&line) != self.options.invert;
            if !hit {
                if after > 0 {
                    after -= 1;
                    last_shown = number;
                    self.show(name, number, &line, '-');
                } else if self.options.before > 0 {
                    before.push_back((number, line.clone()));
                    if before.len() > self.options.before {
                        before.pop_front();
                    }
                }
                continue;
            }
            count += 1;
            self.found |= !self.options.list_without;
            if self.options.quiet {
                self.done = true;
                return;
            }
            if self.options.list || self.options.list_without {
                break;
            }
            if !self.options.count {
                let first = before.front().map_or(number, |(n, _)| *n);
                if context && last_shown > 0 && first > last_shown + 1 {
                    out("--\n");
                }
                for (n, text) in std::mem::take(&mut before) {
                    self.show(name, n, &text, '-');
                }
                self.show(name, number, &line, ':');
                last_shown = number;
                after = self.options.after;
            }
            if self.options.most.is_some_and(|most| count >= most) {
                break;
            }
        }
        if self.options.count {
            let prefix = if self.show_names {
                format!("{name}:")
            } else {
                String::new()
            };
            out(format!("{prefix}{count}\n"));
        }
        if (self.options.list && count > 0) || (self.options.list_without && count == 0) {
            self.found = true;
            out(format!("{name}\n"));
        }
    }

    fn show(&self, name: &str, number: u64, line: &[u8], mark: char) {
        let mut prefix = String::new();
        if self.show_names {
            prefix.push_str(name);
            prefix.push(mark);
        }
        if self.options.number {
            prefix.push_str(&format!("{number}{mark}"));
        }
        let mut text = Vec::new();
        if self.options.only {
            if mark == ':' && !self.options.invert {
                for found in self.regex.find_iter(line).filter(|m| !m.is_empty()) {
                    text.extend(prefix.as_bytes());
                    text.extend(found.as_bytes());
                    text.push(b'\n');
                }
            }
        } else {
            text.extend(prefix.as_bytes());
            if self.options.color && mark == ':' && !self.options.invert {
                let mut at = 0;
                for found in self.regex.find_iter(line) {
                    text.extend(&line[at..found.start()]);
                    text.extend(b"\x1b[01;31m");
                    text.extend(found.as_bytes());
                    text.extend(b"\x1b[m");
                    at = found.end();
                }
                text.extend(&line[at..]);
            } else {
                text.extend(line);
            }
            text.push(b'\n');
        }
        out(text);
    }
}

#[cfg(test)]
mod tests {
    use super::from_basic;

    #[test]
    fn basic_expressions_are_translated() {
        for (basic, expected) in [
            ("a+b", "a\\+b"),
            ("a\\+b", "a+b"),
            ("\\(ab\\)\\{2\\}", "(ab){2}"),
            ("[a+]*", "[a+]*"),
            ("[]x]", "[\\]x]"),
            ("[[:digit:]]x", "[[:digit:]]x"),
            ("^*a$", "^\\*a$"),
            ("a|b", "a\\|b"),
            ("a^b$c", "a\\^b\\$c"),
        ] {
            assert_eq!(from_basic(basic), expected);
        }
    }
}
