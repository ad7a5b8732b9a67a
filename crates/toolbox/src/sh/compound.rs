//! Reads compound commands: `if`, loops, `case`, functions, `[[`.

use std::rc::Rc;

use super::ast::{Arm, Cmd, Test};
use super::parse::{MAX_DEPTH, ParseError, Parsed, Parser};
use super::word::plain;

impl Parser<'_> {
    pub(super) fn compound(&mut self) -> Parsed<Option<Cmd>> {
        self.blanks();
        if self.bash && self.peek() == Some('(') && self.peek_at(1) == Some('(') {
            let start = self.pos;
            self.pos += 2;
            if let Ok(word) = self.arith_text() {
                return Ok(Some(Cmd::Arith(word)));
            }
            self.pos = start;
        }
        if self.eat_op("(") {
            let body = self.list()?;
            self.expect_op(")")?;
            return Ok(Some(Cmd::Subshell(Rc::new(body))));
        }
        Ok(Some(if self.eat_word("{") {
            let body = self.list()?;
            self.expect_word("}")?;
            Cmd::Group(Box::new(body))
        } else if self.eat_word("if") {
            self.if_clause()?
        } else if self.eat_word("while") {
            self.while_clause(false)?
        } else if self.eat_word("until") {
            self.while_clause(true)?
        } else if self.eat_word("for") {
            self.for_clause()?
        } else if self.eat_word("case") {
            self.case_clause()?
        } else if self.eat_word("[[") {
            let test = self.test_or()?;
            self.expect_word("]]")?;
            Cmd::Test(test)
        } else if self.eat_word("function") {
            let Some(name) = self.word()?.as_ref().and_then(plain) else {
                return Err(self.unexpected());
            };
            if self.eat_op("(") {
                self.expect_op(")")?;
            }
            self.function(name)?
        } else {
            return Ok(None);
        }))
    }

    pub(super) fn function(&mut self, name: String) -> Parsed<Cmd> {
        self.newlines();
        let body = Rc::new(self.command()?);
        Ok(Cmd::Function { name, body })
    }

    fn if_clause(&mut self) -> Parsed<Cmd> {
        let mut arms = Vec::new();
        loop {
            let condition = self.list()?;
            self.expect_word("then")?;
            arms.push((condition, self.list()?));
            self.newlines();
            if self.eat_word("elif") {
                continue;
            }
            let otherwise = if self.eat_word("else") {
                Some(Box::new(self.list()?))
            } else {
                None
            };
            self.expect_word("fi")?;
            return Ok(Cmd::If { arms, otherwise });
        }
    }

    fn do_group(&mut self) -> Parsed<Box<Cmd>> {
        self.expect_word("do")?;
        let body = self.list()?;
        self.expect_word("done")?;
        Ok(Box::new(body))
    }

    fn while_clause(&mut self, until: bool) -> Parsed<Cmd> {
        let condition = Box::new(self.list()?);
        Ok(Cmd::While {
            until,
            condition,
            body: self.do_group()?,
        })
    }

    fn for_clause(&mut self) -> Parsed<Cmd> {
        self.blanks();
        if self.bash && self.eat("((") {
            let start = self.arith_until(';')?;
            let condition = self.arith_until(';')?;
            let step = self.arith_text()?;
            let _ = self.eat_op(";");
            return Ok(Cmd::ArithFor {
                start,
                condition,
                step,
                body: self.do_group()?,
            });
        }
        let Some(name) = self
            .word()?
            .as_ref()
            .and_then(plain)
            .filter(|n| super::vars::is_name(n))
        else {
            return Err(match self.unexpected() {
                ParseError::Incomplete => ParseError::Incomplete,
                ParseError::Syntax(_) => ParseError::Syntax("syntax error: bad for loop variable".to_owned()),
            });
        };
        self.newlines();
        let mut words = None;
        if self.eat_word("in") {
            let mut list = Vec::new();
            while let Some(word) = self.word()? {
                list.push(word);
            }
            words = Some(list);
        }
        let _ = self.eat_op(";");
        Ok(Cmd::For {
            name,
            words,
            body: self.do_group()?,
        })
    }

    fn case_clause(&mut self) -> Parsed<Cmd> {
        let Some(word) = self.word()? else {
            return Err(self.unexpected());
        };
        self.expect_word("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines();
            if self.eat_word("esac") {
                return Ok(Cmd::Case { word, arms });
            }
            let _ = self.eat_op("(");
            let mut patterns = Vec::new();
            loop {
                let Some(pattern) = self.word()? else {
                    return Err(self.unexpected());
                };
                patterns.push(pattern);
                if !self.eat_op("|") {
                    break;
                }
            }
            self.expect_op(")")?;
            self.newlines();
            let body = if self.at_end() {
                Cmd::List(Vec::new())
            } else {
                self.list()?
            };
            self.newlines();
            let fall_through = self.peek_op() == Some(";&");
            arms.push(Arm {
                patterns,
                body,
                fall_through,
            });
            if !(self.eat_op(";;") || self.eat_op(";&") || self.eat_op(";;&")) {
                self.expect_word("esac")?;
                return Ok(Cmd::Case { word, arms });
            }
        }
    }

    fn test_or(&mut self) -> Parsed<Test> {
        let mut left = self.test_and()?;
        while self.eat_op("||") {
            self.newlines();
            left = Test::Or(Box::new(left), Box::new(self.test_and()?));
        }
        Ok(left)
    }

    fn test_and(&mut self) -> Parsed<Test> {
        let mut left = self.test_one()?;
        while self.eat_op("&&") {
            self.newlines();
            left = Test::And(Box::new(left), Box::new(self.test_one()?));
        }
        Ok(left)
    }

    fn test_one(&mut self) -> Parsed<Test> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ParseError::Syntax("syntax error: nested too deeply".to_owned()));
        }
        let test = self.test_term();
        self.depth -= 1;
        test
    }

    fn test_term(&mut self) -> Parsed<Test> {
        self.newlines();
        if self.eat_word("!") {
            return Ok(Test::Not(Box::new(self.test_one()?)));
        }
        if self.eat_op("(") {
            let inner = self.test_or()?;
            self.expect_op(")")?;
            return Ok(inner);
        }
        let Some(left) = self.word()? else {
            return Err(self.unexpected());
        };
        if let Some(op) = plain(&left)
            && op.len() == 2
            && op.starts_with('-')
            && !self.at_word("]]")
            && let Some(operand) = self.word()?
        {
            return Ok(Test::Unary(op, operand));
        }
        if self.at_word("]]") || matches!(self.peek_op(), Some("&&" | "||" | ")")) {
            return Ok(Test::Text(left));
        }
        let op = if self.eat_op("<") {
            "<".to_owned()
        } else if self.eat_op(">") {
            ">".to_owned()
        } else {
            match self.word()?.as_ref().and_then(plain) {
                Some(op) => op,
                None => return Err(self.unexpected()),
            }
        };
        self.blanks();
        let right = if op == "=~" { self.regex_word()? } else { self.word()? };
        match right {
            Some(right) => Ok(Test::Binary(left, op, right)),
            None => Err(self.unexpected()),
        }
    }
}
