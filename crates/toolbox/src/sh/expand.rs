//! Turns words into what a command gets: parameters, substitutions, field splitting, file names.

use super::ast::{Cmd, Part, Word};
use super::pattern;
use super::{Run, Shell, Stop, arith};

/// Text being built, twice: as it reads, and as a pattern in which quoted wildcards are escaped.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    pub text: String,
    pub pattern: String,
    /// The literal `{` of a brace expansion may only be unquoted text.
    quoted: bool,
}

impl Field {
    pub(super) fn push_bare(&mut self, text: &str) {
        self.text.push_str(text);
        self.pattern.push_str(text);
    }

    pub(super) fn push_quoted(&mut self, text: &str) {
        self.text.push_str(text);
        pattern::escape(text, &mut self.pattern);
        self.quoted = true;
    }
}

/// The fields of one word.
#[derive(Default)]
pub(super) struct Fields {
    done: Vec<Field>,
    open: Option<Field>,
}

impl Fields {
    pub(super) fn open(&mut self) -> &mut Field {
        self.open.get_or_insert_with(Field::default)
    }

    pub(super) fn close(&mut self) {
        self.done.extend(self.open.take());
    }

    /// An unquoted value: `IFS` splits it.
    pub(super) fn split(&mut self, value: &str, ifs: &str) {
        let white = |c: char| ifs.contains(c) && " \t\n".contains(c);
        let hard = |c: char| ifs.contains(c) && !" \t\n".contains(c);
        let mut chars = value.chars().peekable();
        while let Some(c) = chars.next() {
            if white(c) {
                while chars.next_if(|c| white(*c)).is_some() {}
                if chars.peek().is_some_and(|c| hard(*c)) {
                    continue;
                }
                self.close();
            } else if hard(c) {
                self.open();
                self.close();
                while chars.next_if(|c| white(*c)).is_some() {}
            } else {
                let mut buffer = [0; 4];
                self.open().push_bare(c.encode_utf8(&mut buffer));
            }
        }
    }
}

impl arith::Scope for Shell {
    fn get(&self, name: &str) -> Option<String> {
        self.param(name)
    }

    fn set(&mut self, name: &str, value: i64) -> Result<(), String> {
        self.vars.set(name, value.to_string())
    }
}

impl Shell {
    /// The words of a command: everything happens to them.
    pub(super) fn expand_words(&mut self, words: &[Word]) -> Run<Vec<String>> {
        let mut all = Vec::new();
        for word in words {
            for word in if self.bash {
                super::brace::expand(word)
            } else {
                vec![word.clone()]
            } {
                for field in self.fields(&word)? {
                    if !self.options.noglob && pattern::is_pattern(&field.pattern) {
                        let files = pattern::files(&field.pattern);
                        if !files.is_empty() {
                            all.extend(files);
                            continue;
                        }
                    }
                    all.push(field.text);
                }
            }
        }
        Ok(all)
    }

    /// One string: no splitting, no file names. For assignments, redirections, `case`.
    pub(super) fn expand_text(&mut self, word: &Word) -> Run<String> {
        Ok(self.expand_field(word)?.text)
    }

    /// One pattern in which what was quoted is escaped.
    pub(super) fn expand_pattern(&mut self, word: &Word) -> Run<String> {
        Ok(self.expand_field(word)?.pattern)
    }

    /// As [`Self::expand_text`], for regular expressions: quoted text means itself.
    pub(super) fn expand_regex(&mut self, word: &Word) -> Run<String> {
        let mut all = String::new();
        for part in word {
            match part {
                Part::Quoted(text) => all.push_str(&regex::escape(text)),
                other => all.push_str(&self.expand_text(&vec![other.clone()])?),
            }
        }
        Ok(all)
    }

    fn expand_field(&mut self, word: &Word) -> Run<Field> {
        let mut field = Field::default();
        for (i, part) in word.iter().enumerate() {
            match part {
                Part::Lit(text) => {
                    let text = if i == 0 {
                        self.tilde(text, word.len() == 1)
                    } else {
                        text.clone()
                    };
                    field.push_bare(&text);
                }
                Part::Quoted(text) => field.push_quoted(text),
                Part::Param(param, quoted) => {
                    let value = self.value(param)?;
                    if *quoted {
                        field.push_quoted(&value)
                    } else {
                        field.push_bare(&value)
                    }
                }
                Part::Command(cmd, quoted) => {
                    let value = self.capture(cmd)?;
                    if *quoted {
                        field.push_quoted(&value)
                    } else {
                        field.push_bare(&value)
                    }
                }
                Part::Arith(text, _) => field.push_bare(&self.arith_value(text)?.to_string()),
            }
        }
        Ok(field)
    }

    fn fields(&mut self, word: &Word) -> Run<Vec<Field>> {
        let ifs = self.vars.get("IFS").unwrap_or(" \t\n").to_owned();
        let mut fields = Fields::default();
        for (i, part) in word.iter().enumerate() {
            match part {
                Part::Lit(text) => {
                    let text = if i == 0 {
                        self.tilde(text, word.len() == 1)
                    } else {
                        text.clone()
                    };
                    fields.open().push_bare(&text);
                }
                Part::Quoted(text) => fields.open().push_quoted(text),
                Part::Param(param, quoted) => self.param_fields(param, *quoted, &ifs, &mut fields)?,
                Part::Command(cmd, quoted) => {
                    let value = self.capture(cmd)?;
                    if *quoted {
                        fields.open().push_quoted(&value)
                    } else {
                        fields.split(&value, &ifs)
                    }
                }
                Part::Arith(text, quoted) => {
                    let value = self.arith_value(text)?.to_string();
                    if *quoted {
                        fields.open().push_quoted(&value)
                    } else {
                        fields.split(&value, &ifs)
                    }
                }
            }
        }
        fields.close();
        Ok(fields.done)
    }

    pub(super) fn tilde(&self, text: &str, whole: bool) -> String {
        let Some(rest) = text.strip_prefix('~') else {
            return text.to_owned();
        };
        let (user, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !whole && tail.is_empty() {
            return text.to_owned();
        }
        let home = if user.is_empty() {
            Some(self.home())
        } else {
            crate::account::by_name(user).map(|a| a.home)
        };
        home.map_or_else(
            || text.to_owned(),
            |home| format!("{}{tail}", if home == "/" && !tail.is_empty() { "" } else { &home }),
        )
    }

    pub(super) fn home(&self) -> String {
        match self.vars.get("HOME") {
            Some(home) if !home.is_empty() => home.to_owned(),
            _ => crate::account::current().map_or_else(|| "/".to_owned(), |a| a.home),
        }
    }

    pub(super) fn arith_value(&mut self, word: &Word) -> Run<i64> {
        let text = self.expand_text(word)?;
        let result = arith::evaluate(&text, self);
        self.fine(result)
    }

    /// `$(...)`: runs in a child, its output without the last line ends.
    fn capture(&mut self, cmd: &Cmd) -> Run<String> {
        if matches!(cmd, Cmd::List(items) if items.is_empty()) {
            return Ok(String::new());
        }
        let (read, write) = match crate::sys::pipe() {
            Ok(ends) => ends,
            Err(error) => return Err(self.fatal(&format!("can't create pipe: {error}"))),
        };
        let child = match crate::sys::fork() {
            Ok(Some(child)) => child,
            Ok(None) => {
                crate::sys::close(read);
                let _ = crate::sys::dup_to(write, 1);
                crate::sys::close(write);
                self.become_subshell();
                let result = self.run(cmd);
                self.finish(result)
            }
            Err(error) => {
                crate::sys::close(read);
                crate::sys::close(write);
                return Err(self.fatal(&format!("can't fork: {error}")));
            }
        };
        crate::sys::close(write);
        let mut bytes = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match crate::sys::read(read, &mut buffer) {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        crate::sys::close(read);
        self.status = self.wait_for(child);
        self.captured = true;
        while bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        bytes.retain(|b| *b != 0);
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// Reports an error that ends a script and, at a prompt, the command.
    pub(super) fn fatal(&mut self, message: &str) -> Stop {
        self.complain(message);
        self.status = 2;
        if self.options.interactive {
            Stop::Abort(2)
        } else {
            Stop::Exit(2)
        }
    }

    pub(super) fn fine<T>(&mut self, result: Result<T, String>) -> Run<T> {
        result.map_err(|message| self.fatal(&message))
    }
}
