//! Commands after a colon.

use super::{Buffer, Editor, motion};

/// First and last line of a command.
type Range = (usize, usize);

impl Editor {
    /// Runs one command.
    pub(super) fn ex(&mut self, line: &str) {
        let line = line.trim();
        let (range, rest) = match self.range(line) {
            Ok(found) => found,
            Err(message) => {
                self.message = message;
                return;
            }
        };
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
        let after = &rest[name.len()..];
        let (force, arg) = match after.strip_prefix('!') {
            Some(arg) => (true, arg.trim()),
            None => (false, after.trim()),
        };
        let (from, to) = range.unwrap_or((self.row, self.row));
        match name.as_str() {
            "" if range.is_some() => {
                self.row = to;
                self.column = motion::indent(&self.buffer, to.min(self.buffer.len() - 1));
            }
            "" => {}
            "w" | "write" => {
                self.write(arg, force, range);
            }
            "wq" | "x" | "xit" | "wqa" | "xa" => {
                let needed = name.starts_with('w') || self.buffer.modified();
                if !needed || self.write(arg, force, range) {
                    self.done = Some(0);
                }
            }
            "q" | "quit" | "qa" => {
                if self.buffer.modified() && !force {
                    self.message = "No write since last change (:q! overrides)".to_owned();
                } else {
                    self.done = Some(0);
                }
            }
            "e" | "edit" => self.reopen(arg, force),
            "r" | "read" => self.read(arg, to),
            "d" | "delete" | "y" | "yank" => {
                if !name.starts_with('y') {
                    self.checkpoint();
                    let lines = self.buffer.remove(from, to + 1);
                    self.register = super::Register { lines, whole: true };
                    self.row = from;
                } else {
                    let lines = (from..=to).map(|r| self.buffer.line(r).to_owned()).collect();
                    self.register = super::Register { lines, whole: true };
                }
            }
            "s" | "substitute" => self.substitute(after, from, to),
            "set" | "se" => match arg {
                "nu" | "number" => self.numbers = true,
                "nonu" | "nonumber" => self.numbers = false,
                _ => {}
            },
            "noh" | "nohlsearch" => self.search = None,
            "f" | "file" => {
                if !arg.is_empty() {
                    self.path = Some(arg.to_owned());
                }
                self.message = self.position();
            }
            other => self.message = format!("':{other}' is not implemented"),
        }
        self.clamp();
    }

    /// The lines a command is for, and the rest of it.
    fn range<'a>(&self, line: &'a str) -> Result<(Option<Range>, &'a str), String> {
        let last = self.buffer.len() - 1;
        if let Some(rest) = line.strip_prefix('%') {
            return Ok((Some((0, last)), rest.trim_start()));
        }
        let address = |text: &'a str| -> (Option<usize>, &'a str) {
            let text = text.trim_start();
            let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (base, rest) = if digits > 0 {
                (
                    Some(text[..digits].parse::<usize>().unwrap_or(usize::MAX).saturating_sub(1)),
                    &text[digits..],
                )
            } else if let Some(rest) = text.strip_prefix('.') {
                (Some(self.row), rest)
            } else if let Some(rest) = text.strip_prefix('$') {
                (Some(last), rest)
            } else if text.starts_with(['+', '-']) {
                (Some(self.row), text)
            } else {
                (None, text)
            };
            let Some(base) = base else { return (None, rest) };
            let Some(sign) = rest.chars().next().filter(|c| "+-".contains(*c)) else {
                return (Some(base), rest);
            };
            let digits = rest[1..].len() - rest[1..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let n: usize = if digits == 0 {
                1
            } else {
                rest[1..=digits].parse().unwrap_or(0)
            };
            let moved = if sign == '+' {
                base.saturating_add(n)
            } else {
                base.saturating_sub(n)
            };
            (Some(moved), &rest[1 + digits..])
        };
        let (from, rest) = address(line);
        let Some(from) = from else { return Ok((None, rest)) };
        let (to, rest) = match rest.trim_start().strip_prefix(',') {
            Some(rest) => {
                let (to, rest) = address(rest);
                (to.unwrap_or(self.row), rest)
            }
            None => (from, rest),
        };
        if from > to {
            return Err("Backwards range".to_owned());
        }
        Ok((Some((from.min(last), to.min(last))), rest.trim_start()))
    }

    fn write(&mut self, arg: &str, force: bool, range: Option<(usize, usize)>) -> bool {
        let path = if arg.is_empty() {
            self.path.clone()
        } else {
            Some(arg.to_owned())
        };
        let Some(path) = path else {
            self.message = "No current filename".to_owned();
            return false;
        };
        let own = self.path.as_ref().is_none_or(|p| *p == path);
        if own && self.read_only && !force {
            self.message = format!("'{path}' is read only (:w! overrides)");
            return false;
        }
        if !own && !force && std::path::Path::new(&path).exists() {
            self.message = "File exists (:w! overrides)".to_owned();
            return false;
        }
        let text = match range {
            Some((from, to)) => (from..=to).map(|r| format!("{}\n", self.buffer.line(r))).collect(),
            // An empty new file is written empty.
            None if self.buffer.len() == 1 && self.buffer.line(0).is_empty() => String::new(),
            None => self.buffer.text(),
        };
        // In place rather than by renaming: a file that is mounted by itself, as from a ConfigMap, cannot be replaced.
        match std::fs::write(&path, &text) {
            Ok(()) => {
                self.message = format!("'{path}' {}L, {}C written", text.lines().count(), text.len());
                if range.is_none() {
                    self.path.get_or_insert(path);
                    if own {
                        self.buffer.saved = self.buffer.version;
                    }
                }
                true
            }
            Err(error) => {
                self.message = format!("'{path}': {}", crate::say::reason(&error));
                false
            }
        }
    }

    fn reopen(&mut self, arg: &str, force: bool) {
        if self.buffer.modified() && !force {
            self.message = "No write since last change (:e! overrides)".to_owned();
            return;
        }
        let path = if arg.is_empty() {
            self.path.clone()
        } else {
            Some(arg.to_owned())
        };
        let Some(path) = path else {
            self.message = "No current filename".to_owned();
            return;
        };
        let fresh = Self::open(&path);
        let (register, search, numbers, page) = (self.register.clone(), self.search.clone(), self.numbers, self.page);
        *self = Self {
            register,
            search,
            numbers,
            page,
            ..fresh
        };
    }

    fn read(&mut self, arg: &str, row: usize) {
        match Buffer::load(arg) {
            Ok(Some(text)) => {
                self.checkpoint();
                for (i, line) in text.lines().enumerate() {
                    self.buffer.insert(row + 1 + i, line);
                }
                self.row = row + 1;
            }
            Ok(None) => self.message = format!("'{arg}': No such file or directory"),
            Err(message) => self.message = format!("'{arg}': {message}"),
        }
    }

    /// `s/pattern/text/[g][i]`
    fn substitute(&mut self, rest: &str, from: usize, to: usize) {
        let Some(mark) = rest.chars().next() else { return };
        let mut parts = vec![String::new()];
        let mut chars = rest[mark.len_utf8()..].chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => {
                    let next = chars.next().unwrap_or('\\');
                    let part = parts.last_mut().map_or_else(String::new, std::mem::take);
                    let added = if next == mark {
                        next.to_string()
                    } else {
                        format!("\\{next}")
                    };
                    if let Some(last) = parts.last_mut() {
                        *last = part + &added;
                    }
                }
                c if c == mark && parts.len() < 3 => parts.push(String::new()),
                c => parts.last_mut().into_iter().for_each(|p| p.push(c)),
            }
        }
        let flags = parts.get(2).cloned().unwrap_or_default();
        let with = parts.get(1).cloned().unwrap_or_default();
        let regex = match (parts[0].as_str(), &self.search) {
            ("", Some((regex, _))) => Ok(regex.clone()),
            (text, _) => regex::RegexBuilder::new(&crate::tool::grep::from_basic(text))
                .case_insensitive(flags.contains('i'))
                .build(),
        };
        let Ok(regex) = regex else {
            self.message = format!("bad pattern: {}", parts[0]);
            return;
        };
        self.checkpoint();
        let mut lines = 0;
        for row in from..=to {
            let line = self.buffer.line(row).to_owned();
            if let Some(new) = crate::tool::sed::substitute(&line, &regex, &with, flags.contains('g'), 1) {
                self.buffer.set(row, &new);
                self.row = row;
                lines += 1;
            }
        }
        self.search = Some((regex, true));
        if lines == 0 {
            self.message = "No match".to_owned();
        } else if lines > 1 {
            self.message = format!("{lines} substitutions");
        }
        self.column = 0;
    }
}
