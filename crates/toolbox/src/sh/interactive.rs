//! The shell at a terminal: prompt, reading commands that span lines, completion.

use super::edit::{Line, read_line};
use super::parse::{ParseError, Parser};
use super::{Run, Shell, Stop, builtin, job};

/// Lines of history kept.
const HISTORY: usize = 500;

impl Shell {
    /// Takes the terminal and sets up job control, where there is any.
    pub(super) fn start_interactive(&mut self) {
        let group = nix::unistd::getpgrp();
        match nix::unistd::tcgetpgrp(crate::sys::borrow(0)) {
            Ok(_) => {
                self.options.monitor = true;
                self.interactive_signals();
                let pid = nix::unistd::getpid();
                if group != pid && nix::unistd::getsid(None).ok() != Some(pid) {
                    job::set_group(0, 0);
                }
                job::take_terminal();
            }
            Err(_) => self.interactive_signals(),
        }
        if self.options.monitor {
            return;
        }
        self.complain("can't access tty; job control turned off");
    }

    /// Reads and runs commands until the input ends.
    pub(super) fn interact(&mut self) -> Run<i32> {
        self.start_interactive();
        if let Some(path) = self.vars.get("ENV").map(str::to_owned) {
            self.source_if_there(&path);
        }
        loop {
            self.report_jobs();
            if let Err(Stop::Exit(code)) = self.run_traps() {
                return Err(Stop::Exit(code));
            }
            match self.read_command() {
                None => {
                    let _ = crate::sys::write_all(2, b"");
                    return Ok(self.status);
                }
                Some(text) => {
                    let _ = crate::sys::take_pending();
                    match self.run_text(&text) {
                        Err(Stop::Exit(code)) => return Err(Stop::Exit(code)),
                        Err(Stop::Abort(status)) => {
                            self.status = status;
                            self.in_trap = false;
                            self.tested = 0;
                            self.loops = 0;
                            self.depth = 0;
                            if status == 130 {
                                let _ = crate::sys::write_all(2, b"\n");
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// One complete command, over as many lines as it takes. `None` at the end of the input.
    fn read_command(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let prompt = if text.is_empty() {
                let default = if self.bash { "\\u@\\h:\\w\\$ " } else { "\\w \\$ " };
                self.prompt(self.vars.get("PS1").unwrap_or(default))
            } else {
                self.prompt(self.vars.get("PS2").unwrap_or("> "))
            };
            let line = read_line(&prompt, &self.history, &|before| self.complete(before));
            match line {
                Line::End if text.is_empty() => return None,
                Line::End => {
                    self.complain("syntax error: unexpected end of file");
                    self.status = 2;
                    text.clear();
                }
                Line::Interrupted => {
                    self.status = 130;
                    text.clear();
                }
                Line::Text(line) => {
                    text.push_str(&line);
                    text.push('\n');
                    if !self.incomplete(&text) {
                        self.remember(text.trim_end());
                        return Some(text);
                    }
                }
            }
        }
    }

    fn incomplete(&self, text: &str) -> bool {
        let mut parser = Parser::new(text, &self.aliases, self.bash);
        loop {
            match parser.complete() {
                Ok(Some(_)) => {}
                Ok(None) => return text.ends_with("\\\n") && !text.ends_with("\\\\\n"),
                Err(ParseError::Incomplete) => return true,
                Err(ParseError::Syntax(_)) => return false,
            }
        }
    }

    fn remember(&mut self, text: &str) {
        if text.is_empty() || self.history.last().is_some_and(|last| last == text) {
            return;
        }
        if self.history.len() >= HISTORY {
            self.history.remove(0);
        }
        self.history.push(text.replace('\n', "; "));
    }

    /// Resolves the escapes of `PS1`.
    fn prompt(&self, text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('w') => out.push_str(&self.short_cwd()),
                Some('W') => {
                    let cwd = self.short_cwd();
                    out.push_str(cwd.rsplit('/').next().filter(|s| !s.is_empty()).unwrap_or(&cwd));
                }
                Some('u') => out.push_str(&crate::account::current().map_or_else(String::new, |a| a.name)),
                Some('h') => {
                    let host = crate::host::name();
                    out.push_str(host.split('.').next().unwrap_or(&host));
                }
                Some('H') => out.push_str(&crate::host::name()),
                Some('$') => out.push(if nix::unistd::geteuid().is_root() { '#' } else { '$' }),
                Some('s') => out.push_str(if self.bash { "bash" } else { "sh" }),
                Some('n') => out.push('\n'),
                Some('e') => out.push('\x1b'),
                Some('a') => out.push('\x07'),
                Some('[' | ']') | None => {}
                Some('\\') => out.push('\\'),
                Some('0') => {
                    let rest = chars.as_str();
                    if rest.starts_with("33") {
                        out.push('\x1b');
                        chars.nth(1);
                    }
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
            }
        }
        out
    }

    fn short_cwd(&self) -> String {
        let cwd = self.vars.get("PWD").unwrap_or("/").to_owned();
        let home = self.home();
        match cwd.strip_prefix(&home) {
            Some("") => "~".to_owned(),
            Some(rest) if rest.starts_with('/') && home != "/" => format!("~{rest}"),
            _ => cwd,
        }
    }

    fn complete(&self, before: &str) -> (usize, Vec<String>) {
        let start = before
            .rfind(|c: char| c.is_whitespace() || ";|&<>=(\"'`".contains(c))
            .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let word = &before[start..];
        let head = before[..start].trim_end();
        let command = !word.contains('/') && (head.is_empty() || head.ends_with(['|', ';', '&', '(', '`']));
        let mut found = if command {
            self.programs(word)
        } else {
            files(word, &self.home())
        };
        found.sort();
        found.dedup();
        (start, found)
    }

    fn programs(&self, word: &str) -> Vec<String> {
        let mut found: Vec<String> = builtin::names()
            .map(str::to_owned)
            .chain(self.functions.keys().cloned())
            .chain(self.aliases.keys().cloned())
            .filter(|n| n.starts_with(word))
            .collect();
        for dir in self.vars.get("PATH").unwrap_or("").split(':') {
            let Ok(entries) = std::fs::read_dir(dir) else { continue };
            found.extend(
                entries
                    .flatten()
                    .map(|e| e.file_name().to_string_lossy().into_owned())
                    .filter(|n| n.starts_with(word)),
            );
        }
        found
    }
}

fn files(word: &str, home: &str) -> Vec<String> {
    let (dir, prefix) = word
        .rsplit_once('/')
        .map_or(("", word), |(d, p)| (&word[..=d.len()], p));
    let real = match dir.strip_prefix("~/") {
        Some(rest) => format!("{home}/{rest}"),
        None if dir.is_empty() => ".".to_owned(),
        None => dir.to_owned(),
    };
    let Ok(entries) = std::fs::read_dir(&real) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(prefix) || (name.starts_with('.') && !prefix.starts_with('.')) {
            continue;
        }
        let slash = if std::fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) {
            "/"
        } else {
            ""
        };
        found.push(format!("{dir}{name}{slash}"));
    }
    found
}
