//! Reads words: quotes, `$` in all its forms, and text that is expanded later.

use std::rc::Rc;

use super::ast::{Param, ParamOp, Part, Word};
use super::parse::{ParseError, Parsed, Parser};

/// The text of a word that has no expansions and no quotes.
pub(super) fn plain(word: &Word) -> Option<String> {
    match word.as_slice() {
        [Part::Lit(text)] => Some(text.clone()),
        _ => None,
    }
}

/// A part's text as far as it is literal: what the end of a here-document is compared with.
pub(super) fn source(part: &Part) -> &str {
    match part {
        Part::Lit(text) | Part::Quoted(text) => text,
        Part::Param(..) | Part::Command(..) | Part::Arith(..) => "",
    }
}

fn push_lit(word: &mut Word, c: char) {
    if let Some(Part::Lit(text)) = word.last_mut() {
        text.push(c);
    } else {
        word.push(Part::Lit(c.to_string()));
    }
}

fn push_quoted(word: &mut Word, c: char) {
    if let Some(Part::Quoted(text)) = word.last_mut() {
        text.push(c);
    } else {
        word.push(Part::Quoted(c.to_string()));
    }
}

impl Parser<'_> {
    /// The next word, if one stands here.
    pub(super) fn word(&mut self) -> Parsed<Option<Word>> {
        self.blanks();
        let word = self.word_until(|c| c.is_whitespace() || ";&|()<>".contains(c), false)?;
        Ok((!word.is_empty()).then_some(word))
    }

    /// The right side of `=~`: parentheses and bars belong to it.
    pub(super) fn regex_word(&mut self) -> Parsed<Option<Word>> {
        let word = self.word_until(char::is_whitespace, false)?;
        Ok((!word.is_empty()).then_some(word))
    }

    /// The body of a here-document: expansions, no quotes.
    pub(super) fn here_text(&mut self) -> Parsed<Word> {
        let mut word = Word::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' if matches!(self.peek_at(1), Some('$' | '`' | '\\')) => {
                    push_quoted(&mut word, self.peek_at(1).unwrap_or('\\'));
                    self.pos += 2;
                }
                '\\' if self.peek_at(1) == Some('\n') => self.pos += 2,
                '$' => self.dollar(&mut word, true)?,
                '`' => self.backquote(&mut word, true)?,
                c => {
                    push_quoted(&mut word, c);
                    self.pos += 1;
                }
            }
        }
        Ok(word)
    }

    fn word_until(&mut self, ends: impl Fn(char) -> bool, in_quotes: bool) -> Parsed<Word> {
        let mut word = Word::new();
        while let Some(c) = self.peek() {
            if ends(c) {
                break;
            }
            match c {
                '\\' => {
                    match self.peek_at(1) {
                        None => return Err(ParseError::Incomplete),
                        Some('\n') => {}
                        Some(next) if in_quotes && !"$`\"\\}".contains(next) => {
                            push_quoted(&mut word, '\\');
                            push_quoted(&mut word, next);
                        }
                        Some(next) => push_quoted(&mut word, next),
                    }
                    self.pos += 2;
                }
                '\'' if !in_quotes => self.single(&mut word)?,
                '"' => {
                    self.pos += 1;
                    self.double(&mut word)?;
                }
                '$' => self.dollar(&mut word, in_quotes)?,
                '`' => self.backquote(&mut word, in_quotes)?,
                c => {
                    if in_quotes {
                        push_quoted(&mut word, c);
                    } else {
                        push_lit(&mut word, c);
                    }
                    self.pos += 1;
                }
            }
        }
        Ok(word)
    }

    fn single(&mut self, word: &mut Word) -> Parsed<()> {
        self.pos += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(ParseError::Incomplete);
            };
            self.pos += 1;
            if c == '\'' {
                word.push(Part::Quoted(text));
                return Ok(());
            }
            text.push(c);
        }
    }

    fn double(&mut self, word: &mut Word) -> Parsed<()> {
        let before = word.len();
        // A part of its own, so that `""` is a word and `a""b` keeps its neighbours apart.
        let mut inner = Word::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(ParseError::Incomplete);
            };
            match c {
                '"' => {
                    self.pos += 1;
                    word.append(&mut inner);
                    if word.len() == before {
                        word.push(Part::Quoted(String::new()));
                    }
                    return Ok(());
                }
                '\\' => {
                    match self.peek_at(1) {
                        None => return Err(ParseError::Incomplete),
                        Some('\n') => {}
                        Some(next) if "$`\"\\".contains(next) => push_quoted(&mut inner, next),
                        Some(next) => {
                            push_quoted(&mut inner, '\\');
                            push_quoted(&mut inner, next);
                        }
                    }
                    self.pos += 2;
                }
                '$' => self.dollar(&mut inner, true)?,
                '`' => self.backquote(&mut inner, true)?,
                c => {
                    push_quoted(&mut inner, c);
                    self.pos += 1;
                }
            }
        }
    }

    fn dollar(&mut self, word: &mut Word, quoted: bool) -> Parsed<()> {
        let next = self.peek_at(1);
        match next {
            Some('(') if self.peek_at(2) == Some('(') => {
                let start = self.pos;
                self.pos += 3;
                match self.arith_text() {
                    Ok(text) => word.push(Part::Arith(text, quoted)),
                    Err(ParseError::Incomplete) => return Err(ParseError::Incomplete),
                    Err(ParseError::Syntax(_)) => {
                        self.pos = start + 2;
                        self.substitution(word, quoted)?;
                    }
                }
            }
            Some('(') => {
                self.pos += 2;
                self.substitution(word, quoted)?;
            }
            Some('{') => {
                self.pos += 2;
                self.braced(word, quoted)?;
            }
            Some('\'') if !quoted => {
                self.pos += 2;
                self.ansi_quoted(word)?;
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                self.pos += 1;
                let name = self.name();
                word.push(Part::Param(
                    Box::new(Param {
                        name,
                        indirect: false,
                        op: ParamOp::Plain,
                    }),
                    quoted,
                ));
            }
            Some(c) if c.is_ascii_digit() || "@*#?-$!".contains(c) => {
                self.pos += 2;
                let param = Param {
                    name: c.to_string(),
                    indirect: false,
                    op: ParamOp::Plain,
                };
                word.push(Part::Param(Box::new(param), quoted));
            }
            _ => {
                self.pos += 1;
                if quoted {
                    push_quoted(word, '$');
                } else {
                    push_lit(word, '$');
                }
            }
        }
        Ok(())
    }

    fn substitution(&mut self, word: &mut Word, quoted: bool) -> Parsed<()> {
        self.blanks();
        let cmd = if self.peek() == Some(')') {
            super::ast::Cmd::List(Vec::new())
        } else {
            self.list()?
        };
        self.blanks();
        if !self.eat(")") {
            return Err(self.unexpected());
        }
        word.push(Part::Command(Rc::new(cmd), quoted));
        Ok(())
    }

    fn backquote(&mut self, word: &mut Word, quoted: bool) -> Parsed<()> {
        self.pos += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(ParseError::Incomplete);
            };
            self.pos += 1;
            match c {
                '`' => break,
                '\\' if matches!(self.peek(), Some('`' | '\\' | '$')) || (quoted && self.peek() == Some('"')) => {
                    text.push(self.peek().unwrap_or('\\'));
                    self.pos += 1;
                }
                c => text.push(c),
            }
        }
        let aliases = std::collections::HashMap::new();
        let mut inner = Parser::new(&text, &aliases, self.bash);
        inner.depth = self.depth + 1;
        let cmd = if text.trim().is_empty() {
            super::ast::Cmd::List(Vec::new())
        } else {
            inner.list()?
        };
        if !inner.rest().trim().is_empty() {
            return Err(inner.unexpected());
        }
        word.push(Part::Command(Rc::new(cmd), quoted));
        Ok(())
    }

    fn name(&mut self) -> String {
        let rest = &self.chars[self.pos.min(self.chars.len())..];
        let name: String = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
            .collect();
        self.pos += name.len();
        name
    }

    /// `${...}` after the brace.
    fn braced(&mut self, word: &mut Word, quoted: bool) -> Parsed<()> {
        self.depth += 1;
        if self.depth > 120 {
            return Err(ParseError::Syntax("syntax error: nested too deeply".to_owned()));
        }
        let length =
            self.peek() == Some('#') && !matches!(self.peek_at(1), Some('}' | ':' | '-' | '=' | '?' | '+' | '%'));
        let indirect =
            self.peek() == Some('!') && self.peek_at(1).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        if length || indirect {
            self.pos += 1;
        }
        let name = match self.peek() {
            None => return Err(ParseError::Incomplete),
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => self.name(),
            Some(c) if "@*#?-$!".contains(c) => {
                self.pos += 1;
                c.to_string()
            }
            Some(_) => return Err(ParseError::Syntax("syntax error: bad substitution".to_owned())),
        };
        let op = if length {
            ParamOp::Length
        } else {
            self.param_op(quoted)?
        };
        if self.peek().is_none() {
            return Err(ParseError::Incomplete);
        }
        if !self.eat("}") {
            return Err(ParseError::Syntax("syntax error: bad substitution".to_owned()));
        }
        self.depth -= 1;
        word.push(Part::Param(Box::new(Param { name, indirect, op }), quoted));
        Ok(())
    }

    fn param_op(&mut self, quoted: bool) -> Parsed<ParamOp> {
        let colon = self.peek() == Some(':');
        let at = if colon { self.peek_at(1) } else { self.peek() };
        let Some(c) = at else {
            return Err(ParseError::Incomplete);
        };
        if "-=?+".contains(c) {
            self.pos += 1 + usize::from(colon);
            let word = self.word_until(|c| c == '}', quoted)?;
            return Ok(ParamOp::Unset { op: c, colon, word });
        }
        if colon {
            self.pos += 1;
            let offset = self.word_until(|c| c == ':' || c == '}', true)?;
            let length = if self.eat(":") {
                Some(self.word_until(|c| c == '}', true)?)
            } else {
                None
            };
            return Ok(ParamOp::Slice { offset, length });
        }
        Ok(match c {
            '#' | '%' => {
                self.pos += 1;
                let longest = self.peek() == Some(c);
                self.pos += usize::from(longest);
                ParamOp::Trim {
                    suffix: c == '%',
                    longest,
                    pattern: self.word_until(|c| c == '}', false)?,
                }
            }
            '/' => {
                self.pos += 1;
                let anchor = self.peek().filter(|c| "/#%".contains(*c));
                self.pos += usize::from(anchor.is_some());
                let pattern = self.word_until(|c| c == '/' || c == '}', false)?;
                let with = if self.eat("/") {
                    self.word_until(|c| c == '}', false)?
                } else {
                    Word::new()
                };
                ParamOp::Replace { anchor, pattern, with }
            }
            '^' | ',' => {
                self.pos += 1;
                let all = self.peek() == Some(c);
                self.pos += usize::from(all);
                ParamOp::Case { upper: c == '^', all }
            }
            _ => ParamOp::Plain,
        })
    }

    /// `$'...'`: C escapes.
    fn ansi_quoted(&mut self, word: &mut Word) -> Parsed<()> {
        let mut raw = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(ParseError::Incomplete);
            };
            self.pos += 1;
            match c {
                '\'' => break,
                '\\' => {
                    let Some(next) = self.peek() else {
                        return Err(ParseError::Incomplete);
                    };
                    self.pos += 1;
                    if next == '\'' || next == '"' {
                        raw.push(next);
                    } else {
                        raw.push('\\');
                        raw.push(next);
                    }
                }
                c => raw.push(c),
            }
        }
        let (bytes, _) = super::text::unescape(&raw, super::text::Octal::Bare);
        word.push(Part::Quoted(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(())
    }

    /// Arithmetic up to `))`, which is read too.
    pub(super) fn arith_text(&mut self) -> Parsed<Word> {
        let word = self.arith_body(None)?;
        if self.eat("))") {
            Ok(word)
        } else {
            Err(ParseError::Syntax("syntax error: missing '))'".to_owned()))
        }
    }

    /// Arithmetic up to `end`, which is read too: the parts of `for ((;;))`.
    pub(super) fn arith_until(&mut self, end: char) -> Parsed<Word> {
        let word = self.arith_body(Some(end))?;
        self.pos += 1;
        Ok(word)
    }

    fn arith_body(&mut self, end: Option<char>) -> Parsed<Word> {
        let mut word = Word::new();
        let mut open = 0usize;
        loop {
            let Some(c) = self.peek() else {
                return Err(ParseError::Incomplete);
            };
            match c {
                c if open == 0 && end == Some(c) => return Ok(word),
                ')' if open == 0 => return Ok(word),
                '(' => open += 1,
                ')' => open -= 1,
                '$' => {
                    self.dollar(&mut word, true)?;
                    continue;
                }
                '`' => {
                    self.backquote(&mut word, true)?;
                    continue;
                }
                '"' => {
                    self.pos += 1;
                    continue;
                }
                '\\' if self.peek_at(1) == Some('\n') => {
                    self.pos += 2;
                    continue;
                }
                _ => {}
            }
            push_quoted(&mut word, c);
            self.pos += 1;
        }
    }
}
