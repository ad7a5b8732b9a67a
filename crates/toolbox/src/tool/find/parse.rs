//! Reads the expression.

use super::{Expr, Find, MAX_DEPTH};
use crate::say::reason;

pub(super) struct Parser<'a> {
    pub words: &'a [String],
    pub pos: usize,
    pub find: &'a mut Find,
    pub acts: bool,
    pub depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.pos).map(String::as_str)
    }

    fn value(&mut self, option: &str) -> Result<String, String> {
        let value = self
            .words
            .get(self.pos)
            .cloned()
            .ok_or_else(|| format!("missing argument to '{option}'"))?;
        self.pos += 1;
        Ok(value)
    }

    pub(super) fn or(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > 100 {
            return Err("expression nested too deeply".to_owned());
        }
        let mut left = self.and()?;
        while matches!(self.peek(), Some("-o" | "-or")) {
            self.pos += 1;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, String> {
        let mut left: Option<Expr> = None;
        loop {
            match self.peek() {
                None | Some("-o" | "-or" | ")") => return Ok(left.unwrap_or(Expr::True)),
                Some("-a" | "-and") => self.pos += 1,
                Some(_) => {
                    let next = self.one()?;
                    left = Some(match left {
                        Some(left) => Expr::And(Box::new(left), Box::new(next)),
                        None => next,
                    });
                }
            }
        }
    }

    fn one(&mut self) -> Result<Expr, String> {
        let word = self.value("find")?;
        let signed = |text: &str| -> (i8, String) {
            match text.as_bytes().first() {
                Some(b'+') => (1, text[1..].to_owned()),
                Some(b'-') => (-1, text[1..].to_owned()),
                _ => (0, text.to_owned()),
            }
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("invalid number '{text}'"));
        Ok(match word.as_str() {
            "!" | "-not" => {
                self.depth += 1;
                if self.depth > 100 {
                    return Err("expression nested too deeply".to_owned());
                }
                let inner = self.one()?;
                self.depth -= 1;
                Expr::Not(Box::new(inner))
            }
            "(" => {
                let inner = self.or()?;
                if self.peek() != Some(")") {
                    return Err("missing ')'".to_owned());
                }
                self.pos += 1;
                inner
            }
            "-true" => Expr::True,
            "-false" => Expr::Not(Box::new(Expr::True)),
            "-name" => Expr::Name(self.value(&word)?, false),
            "-iname" => Expr::Name(self.value(&word)?.to_lowercase(), true),
            "-path" | "-wholename" => Expr::Path(self.value(&word)?, false),
            "-ipath" => Expr::Path(self.value(&word)?.to_lowercase(), true),
            "-type" => Expr::Type(self.value(&word)?),
            "-empty" => Expr::Empty,
            "-size" => {
                let (sign, text) = signed(&self.value(&word)?);
                let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                let unit = match &text[digits.len()..] {
                    "c" => 1,
                    "w" => 2,
                    "k" => 1 << 10,
                    "M" => 1 << 20,
                    "G" => 1 << 30,
                    "" | "b" => 512,
                    other => return Err(format!("invalid size unit '{other}'")),
                };
                Expr::Size(sign, number(digits)?, unit)
            }
            "-mtime" | "-atime" | "-ctime" | "-mmin" | "-amin" | "-cmin" => {
                let (sign, text) = signed(&self.value(&word)?);
                let unit = if word.ends_with("min") { 60 } else { 86_400 };
                Expr::Age(word.chars().nth(1).unwrap_or('m'), sign, number(&text)?, unit)
            }
            "-newer" => {
                let path = self.value(&word)?;
                let time = std::fs::metadata(&path)
                    .and_then(|m| m.modified())
                    .map_err(|e| format!("{path}: {}", reason(&e)))?;
                Expr::Newer(time)
            }
            "-perm" => {
                let text = self.value(&word)?;
                let kind = text.chars().next().filter(|c| "-/".contains(*c)).unwrap_or('=');
                let mode = u32::from_str_radix(text.trim_start_matches(['-', '/']), 8)
                    .map_err(|_| format!("invalid mode '{text}'"))?;
                Expr::Perm(mode, kind)
            }
            "-user" | "-uid" => {
                let text = self.value(&word)?;
                let uid = crate::account::by_name(&text)
                    .map(|a| a.uid)
                    .or_else(|| text.parse().ok());
                Expr::User(uid.ok_or_else(|| format!("unknown user {text}"))?)
            }
            "-links" => {
                let (sign, text) = signed(&self.value(&word)?);
                Expr::Links(sign, number(&text)?)
            }
            "-executable" => Expr::Access(0o111),
            "-readable" => Expr::Access(0o444),
            "-writable" => Expr::Access(0o222),
            "-prune" => Expr::Prune,
            "-maxdepth" => {
                self.find.most = usize::try_from(number(&self.value(&word)?)?)
                    .unwrap_or(MAX_DEPTH)
                    .min(MAX_DEPTH);
                Expr::True
            }
            "-mindepth" => {
                self.find.least = usize::try_from(number(&self.value(&word)?)?).unwrap_or(0);
                Expr::True
            }
            "-depth" => {
                self.find.depth_first = true;
                Expr::True
            }
            "-xdev" | "-mount" | "-noleaf" => Expr::True,
            "-follow" => {
                self.find.follow = true;
                Expr::True
            }
            "-print" | "-print0" | "-quit" | "-delete" | "-ls" | "-exec" | "-execdir" | "-ok" => {
                self.acts = true;
                match word.as_str() {
                    "-print0" => Expr::Print('\0'),
                    "-quit" => Expr::Quit,
                    "-delete" => {
                        self.find.depth_first = true;
                        Expr::Delete
                    }
                    "-exec" | "-execdir" | "-ok" => self.exec(&word)?,
                    _ => Expr::Print('\n'),
                }
            }
            other => return Err(format!("unrecognized: {other}")),
        })
    }

    fn exec(&mut self, option: &str) -> Result<Expr, String> {
        let mut words = Vec::new();
        loop {
            let word = self.value(option)?;
            if word == ";" {
                return Ok(Expr::Exec {
                    words,
                    ok_only: option == "-ok",
                });
            }
            if word == "+" && words.last().is_some_and(|w| w == "{}") {
                words.pop();
                self.find.batches.push((words, Vec::new()));
                return Ok(Expr::ExecAll(self.find.batches.len() - 1));
            }
            words.push(word);
        }
    }
}
