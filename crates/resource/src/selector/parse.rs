//! The text form of label selectors, read by recursive descent.

use super::Requirement;
use crate::check::name::{label_value, qualified_name};
use crate::field::quote;

/// The conditions of a selector, or what is wrong with it.
pub(super) fn parse(selector: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser {
        tokens: scan(selector),
        at: 0,
    };
    parser.selector()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
    Bad(String),
    End,
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Self::Word(text) | Self::Bad(text) => text,
            Self::Symbol(symbol) => symbol,
            Self::End => "",
        }
    }
}

/// Longer symbols first, so that `==` is not read as two.
const SYMBOLS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

fn scan(selector: &str) -> Vec<Token> {
    let special = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
    let mut tokens = Vec::new();
    let mut rest = selector;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else {
            tokens.push(Token::End);
            return tokens;
        };
        if special(first) {
            match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
                Some(symbol) => {
                    tokens.push(Token::Symbol(symbol));
                    rest = &rest[symbol.len()..];
                }
                None => {
                    tokens.push(Token::Bad(rest.to_owned()));
                    rest = "";
                }
            }
            continue;
        }
        let end = rest
            .find(|c: char| special(c) || c.is_ascii_whitespace())
            .unwrap_or(rest.len());
        tokens.push(Token::Word(rest[..end].to_owned()));
        rest = &rest[end..];
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn ends_here(&self) -> bool {
        matches!(self.peek(), Token::End | Token::Symbol(","))
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(requirements),
                Token::Word(_) | Token::Symbol("!") => {}
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.literal()
                    ));
                }
            }
            let requirement = self
                .requirement()
                .map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(format!("found '{}', expected: identifier after ','", other.literal())),
                },
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.literal())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = *self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.literal())),
        };
        let problems = qualified_name(&key);
        if !problems.is_empty() {
            // Kubernetes' parser has no path to name here and says so.
            return Err(format!(
                "<nil>: Invalid value: {}: {}",
                quote(&key),
                problems.join("; ")
            ));
        }
        if negated {
            return Ok(Requirement::Missing(key));
        }
        if self.ends_here() {
            return Ok(Requirement::Exists(key));
        }
        let operator = self.next();
        match operator.literal() {
            "in" | "notin" => {
                let values = self.set()?;
                if values.is_empty() {
                    let detail = "for 'in', 'notin' operators, values set can't be empty";
                    return Err(format!("values: Invalid value: []: {detail}"));
                }
                check_values(&key, &values)?;
                Ok(match operator.literal() {
                    "in" => Requirement::In(key, values),
                    _ => Requirement::NotIn(key, values),
                })
            }
            "=" | "==" | "!=" => {
                let value = self.exact_value()?;
                check_values(&key, std::slice::from_ref(&value))?;
                Ok(match operator.literal() {
                    "!=" => Requirement::NotEquals(key, value),
                    _ => Requirement::Equals(key, value),
                })
            }
            ">" | "<" => {
                let value = self.exact_value()?;
                let limit = value.parse::<i64>().map_err(|_| {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    format!("values[0]: Invalid value: {}: {detail}", quote(&value))
                })?;
                Ok(match operator.literal() {
                    ">" => Requirement::Greater(key, limit),
                    _ => Requirement::Less(key, limit),
                })
            }
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if self.ends_here() {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            other => Err(format!("found '{}', expected: identifier", other.literal())),
        }
    }

    /// `(a,b)`. A missing value between commas is the empty value.
    fn set(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.literal())),
        }
        if *self.peek() == Token::Symbol(")") {
            self.next();
            return Ok(Vec::new());
        }
        let mut values = Vec::new();
        loop {
            let value = match self.peek() {
                Token::Word(_) => self.next().literal().to_owned(),
                Token::Symbol("," | ")") => String::new(),
                other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.literal())),
            };
            values.push(value);
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => break,
                other => return Err(format!("found '{}', expected: ',' or ')'", other.literal())),
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

fn check_values(key: &str, values: &[String]) -> Result<(), String> {
    for (i, value) in values.iter().enumerate() {
        let problems = label_value(value);
        if !problems.is_empty() {
            return Err(format!(
                "values[{i}][{key}]: Invalid value: {}: {}",
                quote(value),
                problems.join("; ")
            ));
        }
    }
    Ok(())
}
