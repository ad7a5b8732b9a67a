//! Turns words into what a command gets: parameters, substitutions, field splitting, file names.

use super::ast::{Cmd, Param, ParamOp, Part, Word};
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
    fn push_bare(&mut self, text: &str) {
        self.text.push_str(text);
        self.pattern.push_str(text);
    }

    fn push_quoted(&mut self, text: &str) {
        self.text.push_str(text);
        pattern::escape(text, &mut self.pattern);
        self.quoted = true;
    }
}

/// The fields of one word.
#[derive(Default)]
struct Fields {
    done: Vec<Field>,
    open: Option<Field>,
}

impl Fields {
    fn open(&mut self) -> &mut Field {
        self.open.get_or_insert_with(Field::default)
    }

    fn close(&mut self) {
        self.done.extend(self.open.take());
    }

    /// An unquoted value: `IFS` splits it.
    fn split(&mut self, value: &str, ifs: &str) {
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

    fn param_fields(&mut self, param: &Param, quoted: bool, ifs: &str, fields: &mut Fields) -> Run<()> {
        let many = matches!(param.name.as_str(), "@" | "*") && !param.indirect;
        if many && (param.name == "@" || !quoted) {
            let list = match &param.op {
                ParamOp::Plain => Some(self.args.clone()),
                ParamOp::Slice { offset, length } => Some(self.slice_args(offset, length.as_ref())?),
                _ => None,
            };
            if let Some(list) = list {
                for (i, arg) in list.iter().enumerate() {
                    if i > 0 {
                        fields.close();
                    }
                    if quoted {
                        fields.open().push_quoted(arg)
                    } else {
                        fields.split(arg, ifs)
                    }
                }
                return Ok(());
            }
        }
        // The alternative of `${x:-...}` keeps its own quotes: `${x:-"a b"}` is one field, `${x:-a b}` is two.
        if let ParamOp::Unset { op, colon, word } = &param.op
            && !quoted
            && matches!(op, '-' | '+')
        {
            let set = self
                .param(&self.target(param))
                .is_some_and(|v| !(*colon && v.is_empty()));
            if set == (*op == '+') {
                for part in word {
                    match part {
                        Part::Lit(text) => fields.split(&self.tilde(text, true), ifs),
                        Part::Quoted(text) => fields.open().push_quoted(text),
                        Part::Param(inner, q) => self.param_fields(inner, *q, ifs, fields)?,
                        other => {
                            let value = self.expand_text(&vec![other.clone()])?;
                            match other {
                                Part::Command(_, true) => fields.open().push_quoted(&value),
                                _ => fields.split(&value, ifs),
                            }
                        }
                    }
                }
                return Ok(());
            }
        }
        let value = self.value(param)?;
        if quoted {
            fields.open().push_quoted(&value)
        } else {
            fields.split(&value, ifs)
        }
        Ok(())
    }

    fn tilde(&self, text: &str, whole: bool) -> String {
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

    /// A parameter's value by name, special ones included.
    pub(super) fn param(&self, name: &str) -> Option<String> {
        Some(match name {
            "@" | "*" => {
                if self.args.is_empty() {
                    return None;
                }
                let separator = match (name, self.vars.get("IFS")) {
                    ("*", Some(ifs)) => ifs.chars().next().map(String::from).unwrap_or_default(),
                    _ => " ".to_owned(),
                };
                self.args.join(&separator)
            }
            "#" => self.args.len().to_string(),
            "?" => self.status.to_string(),
            "-" => self.options.letters(),
            "$" => self.pid.to_string(),
            "!" => self.last_background?.to_string(),
            "0" => self.name.clone(),
            "RANDOM" => (crate::random::next() % 32768).to_string(),
            "SECONDS" => self.started.elapsed().as_secs().to_string(),
            "LINENO" => self.line.to_string(),
            _ if name.bytes().all(|b| b.is_ascii_digit()) => {
                let n: usize = name.parse().ok()?;
                self.args.get(n.checked_sub(1)?)?.clone()
            }
            _ => self.vars.get(name)?.to_owned(),
        })
    }

    fn target(&self, param: &Param) -> String {
        if param.indirect {
            self.param(&param.name).unwrap_or_default()
        } else {
            param.name.clone()
        }
    }

    fn value(&mut self, param: &Param) -> Run<String> {
        let name = self.target(param);
        let value = self.param(&name);
        if let ParamOp::Unset { op, colon, word } = &param.op {
            let set = value.as_ref().is_some_and(|v| !(*colon && v.is_empty()));
            return match (op, set) {
                ('+', true) | ('-' | '=', false) => {
                    let text = self.expand_text(word)?;
                    if *op == '=' {
                        let done = self.vars.set(&name, text.clone());
                        self.fine(done)?;
                    }
                    Ok(text)
                }
                ('+', false) => Ok(String::new()),
                ('?', false) => {
                    let text = self.expand_text(word)?;
                    let text = if text.is_empty() {
                        "parameter not set".to_owned()
                    } else {
                        text
                    };
                    Err(self.fatal(&format!("{name}: {text}")))
                }
                _ => Ok(value.unwrap_or_default()),
            };
        }
        if value.is_none() && self.options.nounset && !matches!(name.as_str(), "@" | "*") {
            return Err(self.fatal(&format!("{name}: parameter not set")));
        }
        let value = value.unwrap_or_default();
        Ok(match &param.op {
            ParamOp::Plain | ParamOp::Unset { .. } => value,
            ParamOp::Length if matches!(name.as_str(), "@" | "*") => self.args.len().to_string(),
            ParamOp::Length => value.chars().count().to_string(),
            ParamOp::Trim {
                suffix,
                longest,
                pattern,
            } => {
                let pattern: Vec<char> = self.expand_pattern(pattern)?.chars().collect();
                trim(&value, &pattern, *suffix, *longest)
            }
            ParamOp::Replace { anchor, pattern, with } => {
                let pattern: Vec<char> = self.expand_pattern(pattern)?.chars().collect();
                let with = self.expand_text(with)?;
                replace(&value, &pattern, &with, *anchor)
            }
            ParamOp::Slice { offset, length } => {
                if matches!(name.as_str(), "@" | "*") {
                    return Ok(self.slice_args(offset, length.as_ref())?.join(" "));
                }
                let chars: Vec<char> = value.chars().collect();
                let (from, to) = self.range(offset, length.as_ref(), chars.len())?;
                chars[from..to].iter().collect()
            }
            ParamOp::Case { upper, all } => {
                let change = |c: char| -> String {
                    if *upper {
                        c.to_uppercase().collect()
                    } else {
                        c.to_lowercase().collect()
                    }
                };
                let mut done = String::new();
                for (i, c) in value.chars().enumerate() {
                    if i == 0 || *all {
                        done.push_str(&change(c))
                    } else {
                        done.push(c)
                    }
                }
                done
            }
        })
    }

    fn range(&mut self, offset: &Word, length: Option<&Word>, size: usize) -> Run<(usize, usize)> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let mut from = self.arith_value(offset)?;
        if from < 0 {
            from += size;
        }
        let from = from.clamp(0, size);
        let to = match length {
            None => size,
            Some(word) => match self.arith_value(word)? {
                n if n < 0 => size + n,
                n => from.saturating_add(n),
            },
        };
        let to = to.clamp(from, size);
        Ok((usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0)))
    }

    fn slice_args(&mut self, offset: &Word, length: Option<&Word>) -> Run<Vec<String>> {
        let mut all = vec![self.name.clone()];
        all.extend(self.args.iter().cloned());
        let (from, to) = self.range(offset, length, all.len())?;
        Ok(all[from..to].to_vec())
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

fn trim(value: &str, pattern: &[char], suffix: bool, longest: bool) -> String {
    let chars: Vec<char> = value.chars().collect();
    let n = chars.len();
    let lengths: Vec<usize> = if longest {
        (0..=n).rev().collect()
    } else {
        (0..=n).collect()
    };
    for length in lengths {
        let (part, rest) = if suffix {
            (&chars[n - length..], &chars[..n - length])
        } else {
            (&chars[..length], &chars[length..])
        };
        if pattern::matches_chars(pattern, part) {
            return rest.iter().collect();
        }
    }
    value.to_owned()
}

fn replace(value: &str, pattern: &[char], with: &str, anchor: Option<char>) -> String {
    if pattern.is_empty() {
        return value.to_owned();
    }
    let chars: Vec<char> = value.chars().collect();
    let n = chars.len();
    let mut out = String::new();
    let mut i = 0;
    while i <= n {
        let ends: Vec<usize> = if anchor == Some('%') {
            vec![n]
        } else {
            (i..=n).rev().collect()
        };
        let end = ends
            .into_iter()
            .find(|&end| end > i && pattern::matches_chars(pattern, &chars[i..end]));
        if let Some(end) = end {
            out.push_str(with);
            i = end;
            if anchor != Some('/') {
                out.extend(&chars[i..]);
                return out;
            }
            continue;
        }
        if anchor == Some('#') {
            return value.to_owned();
        }
        if let Some(c) = chars.get(i) {
            out.push(*c);
        }
        i += 1;
    }
    out
}
