//! Reads a script into commands, one complete command at a time, so that what has run (an `alias`, an `exit`) counts for what follows.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Assign, Cmd, Item, Redirect, Simple, Target, Word};
use super::word::plain;

/// Nesting a script may have: deep enough for people, shallow enough for the stack.
pub(super) const MAX_DEPTH: usize = 120;

/// Operators, longest first where one begins another.
const OPERATORS: &[&str] = &[
    "&>>", "<<<", "<<-", ";;&", "&&", "||", ";;", ";&", "<<", "<&", "<>", ">>", ">&", ">|", "&>", "|&", "|", "&", ";",
    "<", ">", "(", ")", "\n",
];

/// Words that end a list when they stand where a command could.
const CLOSERS: &[&str] = &["then", "do", "done", "fi", "esac", "else", "elif", "}"];

/// Why a command could not be read.
#[derive(Debug)]
pub(super) enum ParseError {
    /// The text ends inside it: more input may complete it.
    Incomplete,
    /// It cannot be completed.
    Syntax(String),
}

pub(super) type Parsed<T> = Result<T, ParseError>;

struct PendingHere {
    end: String,
    quoted: bool,
    strip_tabs: bool,
    body: Rc<OnceCell<Word>>,
}

/// A script and how far it has been read.
pub(super) struct Parser<'a> {
    pub(super) chars: Vec<char>,
    pub(super) pos: usize,
    pub(super) depth: usize,
    pub(super) bash: bool,
    pub(super) line: u32,
    counted: usize,
    pending: Vec<PendingHere>,
    aliases: &'a HashMap<String, String>,
    /// Aliases being expanded, with where their text ends: an alias is not expanded inside itself.
    expanding: Vec<(String, usize)>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &str, aliases: &'a HashMap<String, String>, bash: bool) -> Self {
        let chars = text.chars().collect();
        Self {
            chars,
            pos: 0,
            depth: 0,
            bash,
            line: 1,
            counted: 0,
            pending: Vec::new(),
            aliases,
            expanding: Vec::new(),
        }
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> String {
        self.chars[self.pos.min(self.chars.len())..].iter().collect()
    }

    /// Whether nothing but white space follows.
    pub(super) fn at_text_end(&self) -> bool {
        self.chars[self.pos.min(self.chars.len())..]
            .iter()
            .all(|c| c.is_whitespace())
    }

    /// The line a message should name.
    fn current_line(&mut self) -> u32 {
        let upto = self.pos.min(self.chars.len());
        if upto > self.counted {
            let lines = self.chars[self.counted..upto].iter().filter(|&&c| c == '\n').count();
            self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
            self.counted = upto;
        }
        self.line
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.pos).copied()
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.pos + ahead).copied()
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let matches = text.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c));
        if matches {
            self.pos += text.chars().count();
        }
        matches
    }

    /// Skips blanks, comments and joined lines.
    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.pos += 1,
                Some('\\') if self.peek_at(1) == Some('\n') => self.pos += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.pos += 1;
                    }
                }
                _ => return,
            }
        }
    }

    pub(super) fn peek_op(&mut self) -> Option<&'static str> {
        self.blanks();
        OPERATORS.iter().copied().find(|op| {
            (self.bash || !op.starts_with("&>")) && op.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c))
        })
    }

    pub(super) fn eat_op(&mut self, op: &str) -> bool {
        if self.peek_op() == Some(op) {
            self.pos += op.len();
            if op == "\n" {
                self.here_documents();
            }
            return true;
        }
        false
    }

    pub(super) fn newlines(&mut self) {
        while self.eat_op("\n") {}
    }

    /// After a line's end come the texts of its here-documents.
    fn here_documents(&mut self) {
        for here in std::mem::take(&mut self.pending) {
            let mut body = String::new();
            loop {
                if self.pos >= self.chars.len() {
                    // Ends with the file: shells take what there is. An interactive one asks for more, see `complete`.
                    self.pending.push(here);
                    return;
                }
                let mut text = String::new();
                while let Some(c) = self.peek() {
                    self.pos += 1;
                    if c == '\n' {
                        break;
                    }
                    text.push(c);
                }
                let shown = if here.strip_tabs {
                    text.trim_start_matches('\t')
                } else {
                    &text
                };
                if shown == here.end {
                    break;
                }
                body.push_str(shown);
                body.push('\n');
            }
            let word = if here.quoted {
                vec![super::ast::Part::Quoted(body)]
            } else {
                Parser::new(&body, self.aliases, self.bash)
                    .here_text()
                    .unwrap_or_default()
            };
            let _ = here.body.set(word);
        }
    }

    /// Reads up to the end of one complete command. `None` at the end of the text.
    pub(super) fn complete(&mut self) -> Parsed<Option<Cmd>> {
        self.newlines();
        if self.pos >= self.chars.len() {
            return Ok(None);
        }
        let mut items = Vec::new();
        loop {
            let start = self.pos;
            let cmd = self.and_or()?;
            let text: String = self.chars[start.min(self.pos)..self.pos].iter().collect();
            let background = self.peek_op() == Some("&");
            let more = self.eat_op("&") || self.eat_op(";");
            items.push(Item {
                cmd: Rc::new(cmd),
                background,
                text: text.trim().to_owned(),
            });
            if self.eat_op("\n") || self.pos >= self.chars.len() {
                break;
            }
            if !more {
                return Err(self.unexpected());
            }
        }
        if !self.pending.is_empty() {
            return Err(ParseError::Incomplete);
        }
        Ok(Some(Cmd::List(items)))
    }

    pub(super) fn unexpected(&mut self) -> ParseError {
        let Some(c) = self.peek() else {
            return ParseError::Incomplete;
        };
        let token = match self.peek_op() {
            Some("\n") => "newline".to_owned(),
            Some(op) => format!("\"{op}\""),
            None => {
                let word: String = self.chars[self.pos..]
                    .iter()
                    .take_while(|c| !c.is_whitespace() && !";&|()<>".contains(**c))
                    .take(40)
                    .collect();
                format!("\"{}\"", if word.is_empty() { c.to_string() } else { word })
            }
        };
        ParseError::Syntax(format!("syntax error: unexpected {token}"))
    }

    /// A list inside a compound command: ends before a closing word or operator.
    pub(super) fn list(&mut self) -> Parsed<Cmd> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ParseError::Syntax("syntax error: nested too deeply".to_owned()));
        }
        let mut items = Vec::new();
        loop {
            self.newlines();
            if self.at_end() {
                break;
            }
            let start = self.pos;
            let cmd = self.and_or()?;
            let text: String = self.chars[start.min(self.pos)..self.pos].iter().collect();
            let background = self.peek_op() == Some("&");
            let separated = self.eat_op("&") || self.eat_op(";") || self.eat_op("\n");
            items.push(Item {
                cmd: Rc::new(cmd),
                background,
                text: text.trim().to_owned(),
            });
            if !separated {
                break;
            }
        }
        self.depth -= 1;
        if items.is_empty() {
            Err(self.unexpected())
        } else {
            Ok(Cmd::List(items))
        }
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.pos >= self.chars.len()
            || matches!(self.peek_op(), Some(")" | ";;" | ";&" | ";;&"))
            || CLOSERS.iter().any(|word| self.at_word(word))
    }

    /// Whether the next word is exactly this reserved word.
    pub(super) fn at_word(&mut self, word: &str) -> bool {
        self.blanks();
        let n = word.chars().count();
        word.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c))
            && self
                .peek_at(n)
                .is_none_or(|c| c.is_whitespace() || ";&|()<>".contains(c))
    }

    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.pos += word.chars().count();
        }
        found
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Parsed<()> {
        self.newlines();
        if self.eat_word(word) {
            return Ok(());
        }
        match self.unexpected() {
            ParseError::Syntax(text) => Err(ParseError::Syntax(format!("{text} (expecting \"{word}\")"))),
            incomplete => Err(incomplete),
        }
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Parsed<()> {
        if self.eat_op(op) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn and_or(&mut self) -> Parsed<Cmd> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            let and = match self.peek_op() {
                Some("&&") => true,
                Some("||") => false,
                _ => break,
            };
            self.pos += 2;
            self.newlines();
            rest.push((and, self.pipeline()?));
        }
        Ok(if rest.is_empty() {
            first
        } else {
            Cmd::AndOr(Box::new(first), rest)
        })
    }

    fn pipeline(&mut self) -> Parsed<Cmd> {
        let mut negate = false;
        let mut timed = false;
        loop {
            if self.eat_word("!") {
                negate = !negate;
            } else if self.eat_word("time") {
                timed = true;
                let _ = self.eat_word("-p");
            } else {
                break;
            }
        }
        let mut stages = vec![self.command()?];
        loop {
            match self.peek_op() {
                Some("|") => self.pos += 1,
                Some("|&") => {
                    self.pos += 2;
                    let last = stages.pop().unwrap_or(Cmd::List(Vec::new()));
                    let to = Target::Dup(vec![super::ast::Part::Lit("1".to_owned())]);
                    stages.push(Cmd::Redirected(Box::new(last), vec![Redirect { fd: 2, to }]));
                }
                _ => break,
            }
            self.newlines();
            stages.push(self.command()?);
        }
        if stages.len() == 1 && !negate && !timed {
            return stages.pop().ok_or(ParseError::Incomplete);
        }
        Ok(Cmd::Pipeline { negate, timed, stages })
    }

    pub(super) fn command(&mut self) -> Parsed<Cmd> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ParseError::Syntax("syntax error: nested too deeply".to_owned()));
        }
        let compound = self.compound()?;
        let result = match compound {
            Some(cmd @ Cmd::Function { .. }) => Ok(cmd),
            Some(cmd) => {
                let mut redirects = Vec::new();
                while let Some(redirect) = self.redirect()? {
                    redirects.push(redirect);
                }
                Ok(if redirects.is_empty() {
                    cmd
                } else {
                    Cmd::Redirected(Box::new(cmd), redirects)
                })
            }
            None => self.simple(),
        };
        self.depth -= 1;
        result
    }

    /// A redirection, if one stands here.
    fn redirect(&mut self) -> Parsed<Option<Redirect>> {
        self.blanks();
        let digits = self.chars[self.pos.min(self.chars.len())..]
            .iter()
            .take_while(|c| c.is_ascii_digit())
            .count();
        let start = self.pos;
        let mut number = None;
        if digits > 0 && matches!(self.peek_at(digits), Some('<' | '>')) {
            number = self.chars[start..start + digits]
                .iter()
                .collect::<String>()
                .parse::<i32>()
                .ok();
            self.pos += digits;
        }
        let op = match self.peek_op() {
            Some(op) if op.starts_with(['<', '>']) || op == "&>" || op == "&>>" => op,
            _ => {
                self.pos = start;
                return Ok(None);
            }
        };
        self.pos += op.len();
        self.blanks();
        let fd = number.unwrap_or(i32::from(!op.starts_with('<')));
        let Some(word) = self.word()? else {
            return Err(self.unexpected());
        };
        let to = match op {
            "<" => Target::Read(word),
            ">" => Target::Write { word, clobber: false },
            ">|" => Target::Write { word, clobber: true },
            ">>" => Target::Append(word),
            "<>" => Target::ReadWrite(word),
            "&>" => Target::Both { word, append: false },
            "&>>" => Target::Both { word, append: true },
            "<<<" => Target::HereString(word),
            "<<" | "<<-" => {
                let quoted = word.iter().any(|p| matches!(p, super::ast::Part::Quoted(_)));
                let end = word.iter().map(super::word::source).collect();
                let body = Rc::new(OnceCell::new());
                self.pending.push(PendingHere {
                    end,
                    quoted,
                    strip_tabs: op == "<<-",
                    body: Rc::clone(&body),
                });
                Target::Here(body)
            }
            _ => Target::Dup(word),
        };
        Ok(Some(Redirect { fd, to }))
    }

    fn simple(&mut self) -> Parsed<Cmd> {
        let mut simple = Simple {
            line: self.current_line(),
            ..Simple::default()
        };
        loop {
            self.blanks();
            if simple.words.is_empty() {
                self.expand_alias();
            }
            if let Some(redirect) = self.redirect()? {
                simple.redirects.push(redirect);
                continue;
            }
            if simple.words.is_empty()
                && let Some(assign) = self.assignment()?
            {
                simple.assigns.push(assign);
                continue;
            }
            let Some(word) = self.word()? else { break };
            // `name()` begins a function.
            if simple.words.is_empty() && simple.assigns.is_empty() && self.peek_op() == Some("(") {
                let Some(name) = plain(&word) else {
                    return Err(self.unexpected());
                };
                self.pos += 1;
                self.expect_op(")")?;
                return self.function(name);
            }
            simple.words.push(word);
        }
        if simple.words.is_empty() && simple.assigns.is_empty() && simple.redirects.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Cmd::Simple(simple))
    }

    fn assignment(&mut self) -> Parsed<Option<Assign>> {
        let rest = &self.chars[self.pos.min(self.chars.len())..];
        let n = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
            .count();
        if n == 0 || rest[0].is_ascii_digit() {
            return Ok(None);
        }
        let append = rest.get(n) == Some(&'+') && rest.get(n + 1) == Some(&'=');
        if !append && rest.get(n) != Some(&'=') {
            return Ok(None);
        }
        let name = rest[..n].iter().collect();
        self.pos += n + 1 + usize::from(append);
        let ends = self.peek().is_none_or(|c| c.is_whitespace() || ";&|<>)".contains(c));
        let value = if ends {
            Word::new()
        } else {
            self.word()?.unwrap_or_default()
        };
        Ok(Some(Assign { name, append, value }))
    }

    fn expand_alias(&mut self) {
        let pos = self.pos;
        self.expanding.retain(|(_, end)| pos < *end);
        for _ in 0..16 {
            let start = self.pos;
            let name: String = self.chars[start.min(self.chars.len())..]
                .iter()
                .take_while(|c| !c.is_whitespace() && !";&|()<>\"'\\$`#".contains(**c))
                .collect();
            let Some(text) = self.aliases.get(&name) else { return };
            if name.is_empty() || self.expanding.iter().any(|(seen, _)| *seen == name) {
                return;
            }
            let end = start + name.chars().count();
            let new: Vec<char> = text.chars().collect();
            let grown = new.len();
            self.chars.splice(start..end, new);
            for entry in &mut self.expanding {
                entry.1 = (entry.1 + grown).saturating_sub(end - start);
            }
            self.expanding.push((name, start + grown));
            self.blanks();
        }
    }
}
