//! Reads a script.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::{Action, Active, Address, Command, Limit};

struct Parser {
    chars: Vec<char>,
    pos: usize,
    extended: bool,
    open: Vec<usize>,
    labels: HashMap<String, usize>,
    jumps: Vec<(usize, String)>,
}

/// Reads a whole script.
pub(super) fn parse(text: &str, extended: bool) -> Result<Vec<Command>, String> {
    let mut parser = Parser {
        chars: text.chars().collect(),
        pos: 0,
        extended,
        open: Vec::new(),
        labels: HashMap::new(),
        jumps: Vec::new(),
    };
    let mut commands: Vec<Command> = Vec::new();
    loop {
        parser.skip(|c| c.is_whitespace() || c == ';');
        let Some(c) = parser.peek() else { break };
        if c == '#' {
            parser.skip(|c| c != '\n');
            continue;
        }
        let command = parser.command(commands.len())?;
        if matches!(command.action, Action::Close) {
            let start = parser.open.pop().ok_or("unexpected '}'")?;
            let end = commands.len();
            if let Some(Command {
                action: Action::Open(to),
                ..
            }) = commands.get_mut(start)
            {
                *to = end;
            }
        }
        commands.push(command);
    }
    if !parser.open.is_empty() {
        return Err("unmatched '{'".to_owned());
    }
    for (index, label) in std::mem::take(&mut parser.jumps) {
        let target = parser
            .labels
            .get(&label)
            .copied()
            .ok_or_else(|| format!("can't find label for jump to '{label}'"))?;
        if let Some(Command {
            action: Action::Branch(_, to),
            ..
        }) = commands.get_mut(index)
        {
            *to = Some(target);
        }
    }
    Ok(commands)
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.pos).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += 1;
        Some(c)
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.pos += 1;
        }
    }

    fn number(&mut self) -> u64 {
        let start = self.pos;
        self.skip(|c| c.is_ascii_digit());
        self.chars[start..self.pos]
            .iter()
            .collect::<String>()
            .parse()
            .unwrap_or(0)
    }

    fn address(&mut self) -> Result<Option<Address>, String> {
        Ok(Some(match self.peek() {
            Some(c) if c.is_ascii_digit() => {
                let first = self.number();
                if self.peek() == Some('~') {
                    self.pos += 1;
                    Address::Step(first, self.number())
                } else {
                    Address::Line(first)
                }
            }
            Some('$') => {
                self.pos += 1;
                Address::Last
            }
            Some(c @ ('/' | '\\')) => {
                self.pos += 1;
                let end = if c == '\\' {
                    self.next().ok_or("unterminated address regex")?
                } else {
                    '/'
                };
                let text = self.delimited(end).ok_or("unterminated address regex")?;
                let fold = self.peek() == Some('I');
                self.pos += usize::from(fold);
                Address::Match(self.regex(&text, fold)?)
            }
            _ => return Ok(None),
        }))
    }

    /// Text up to an unescaped delimiter, which is read too.
    fn delimited(&mut self, end: char) -> Option<String> {
        let mut text = String::new();
        let mut in_class = false;
        loop {
            let c = self.next()?;
            match c {
                '\\' => {
                    let next = self.next()?;
                    if next != end {
                        text.push('\\');
                    }
                    text.push(next);
                }
                '[' if end != '[' => {
                    in_class = true;
                    text.push(c);
                }
                ']' => {
                    in_class = false;
                    text.push(c);
                }
                c if c == end && !(in_class && self.class_closes()) => return Some(text),
                c => text.push(c),
            }
        }
    }

    /// Whether the bracket that is open closes before the next delimiter: then a slash in it is a slash.
    fn class_closes(&self) -> bool {
        self.chars[self.pos..]
            .iter()
            .find(|c| matches!(c, ']' | '/'))
            .is_some_and(|c| *c == ']')
    }

    /// `None`: the empty expression, which repeats the last one used.
    fn regex(&self, text: &str, fold: bool) -> Result<Option<Regex>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let source = if self.extended {
            super::super::grep::from_extended(text)
        } else {
            super::super::grep::from_basic(text)
        };
        let regex = RegexBuilder::new(&source)
            .case_insensitive(fold)
            .size_limit(8 << 20)
            .build();
        regex.map(Some).map_err(|_| format!("bad regex '{text}'"))
    }

    fn command(&mut self, index: usize) -> Result<Command, String> {
        let from = self.address()?;
        let mut to = Limit::None;
        if from.is_some() {
            self.skip(|c| c == ' ');
            if self.peek() == Some(',') {
                self.pos += 1;
                self.skip(|c| c == ' ');
                if self.peek() == Some('+') {
                    self.pos += 1;
                    to = Limit::Plus(self.number());
                } else {
                    to = Limit::To(self.address()?.ok_or("unexpected ','")?);
                }
            }
        }
        self.skip(|c| c == ' ' || c == '\t');
        let negate = self.peek() == Some('!');
        if negate {
            self.pos += 1;
            self.skip(|c| c == ' ' || c == '!');
        }
        let c = self.next().ok_or("missing command")?;
        let action = match c {
            '{' => {
                self.open.push(index);
                Action::Open(0)
            }
            '}' => Action::Close,
            ':' => {
                let label = self.word();
                self.labels.insert(label, index);
                Action::Label
            }
            's' => self.substitute()?,
            'y' => {
                let end = self.next().ok_or("unterminated 'y' command")?;
                let (a, b) = (self.delimited(end), self.delimited(end));
                let (Some(a), Some(b)) = (a, b) else {
                    return Err("unterminated 'y' command".to_owned());
                };
                let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
                if a.len() != b.len() {
                    return Err("strings for 'y' command are different lengths".to_owned());
                }
                Action::Translate(a.into_iter().zip(b).collect())
            }
            'a' | 'i' | 'c' => Action::Text(c, self.text()),
            'b' | 't' | 'T' => {
                let label = self.word();
                if !label.is_empty() {
                    self.jumps.push((index, label));
                }
                Action::Branch(c, None)
            }
            'q' | 'Q' => {
                self.skip(|c| c == ' ');
                Action::Quit(i32::try_from(self.number()).unwrap_or(0), c == 'q')
            }
            'r' | 'w' => {
                self.skip(|c| c == ' ');
                let start = self.pos;
                self.skip(|c| c != '\n');
                Action::File(c, self.chars[start..self.pos].iter().collect())
            }
            'd' | 'D' | 'g' | 'G' | 'h' | 'H' | 'l' | 'n' | 'N' | 'p' | 'P' | 'x' | '=' => Action::Simple(c),
            other => return Err(format!("unsupported command {other}")),
        };
        Ok(Command {
            from,
            to,
            negate,
            action,
            active: Active::No,
        })
    }

    fn word(&mut self) -> String {
        self.skip(|c| c == ' ');
        let start = self.pos;
        self.skip(|c| !c.is_whitespace() && c != ';' && c != '}');
        self.chars[start..self.pos].iter().collect()
    }

    fn text(&mut self) -> String {
        self.skip(|c| c == ' ' || c == '\t');
        if self.peek() == Some('\\') {
            self.pos += 1;
            self.skip(|c| c == ' ' || c == '\t');
            if self.peek() == Some('\n') {
                self.pos += 1;
            }
        }
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                '\n' => break,
                '\\' => match self.next() {
                    Some('t') => text.push('\t'),
                    Some(next) => text.push(next),
                    None => {}
                },
                c => text.push(c),
            }
        }
        text + "\n"
    }

    fn substitute(&mut self) -> Result<Action, String> {
        let end = self.next().ok_or("unterminated 's' command")?;
        let pattern = self.delimited(end).ok_or("unterminated 's' command")?;
        let mut with = String::new();
        loop {
            let c = self.next().ok_or("unterminated 's' command")?;
            if c == end {
                break;
            }
            with.push(c);
            if c == '\\' {
                let next = self.next().ok_or("unterminated 's' command")?;
                if next == end {
                    with.pop();
                }
                with.push(next);
            }
        }
        let (mut global, mut nth, mut print, mut fold, mut file) = (false, 0, false, false, None);
        while let Some(c) = self.peek() {
            match c {
                'g' => global = true,
                'p' => print = true,
                'i' | 'I' => fold = true,
                'm' | 'M' | 'e' => {}
                'w' => {
                    self.pos += 1;
                    file = Some(self.word());
                    break;
                }
                c if c.is_ascii_digit() => {
                    nth = usize::try_from(self.number()).unwrap_or(0);
                    continue;
                }
                _ => break,
            }
            self.pos += 1;
        }
        Ok(Action::Substitute {
            regex: self.regex(&pattern, fold)?,
            with,
            global,
            nth,
            print,
            file,
        })
    }
}
