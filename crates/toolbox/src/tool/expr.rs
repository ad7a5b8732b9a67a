//! `expr`.

use crate::say::out;

/// Parentheses inside each other.
const MAX_DEPTH: usize = 100;

pub(crate) fn main(args: &[String]) -> i32 {
    let mut parser = Parser {
        words: args.get(1..).unwrap_or_default(),
        pos: 0,
        depth: 0,
    };
    let result = match parser.binary(0) {
        Ok(_) if parser.pos < parser.words.len() => Err("syntax error".to_owned()),
        other => other,
    };
    match result {
        Ok(value) => {
            let null = value.is_empty() || value.parse::<i64>() == Ok(0);
            out(format!("{value}\n"));
            i32::from(null)
        }
        Err(message) => {
            crate::say::fail("expr", message);
            2
        }
    }
}

const LEVELS: &[&[&str]] = &[
    &["|"],
    &["&"],
    &["<", "<=", "=", "==", "!=", ">=", ">"],
    &["+", "-"],
    &["*", "/", "%"],
    &[":"],
];

struct Parser<'a> {
    words: &'a [String],
    pos: usize,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<String, String> {
        let word = self.words.get(self.pos).cloned().ok_or("syntax error")?;
        self.pos += 1;
        Ok(word)
    }

    fn binary(&mut self, level: usize) -> Result<String, String> {
        let Some(ops) = LEVELS.get(level) else {
            return self.primary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(op) = self.words.get(self.pos).filter(|w| ops.contains(&w.as_str())) {
            self.pos += 1;
            let right = self.binary(level + 1)?;
            left = apply(&left, op, &right)?;
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<String, String> {
        let word = self.next()?;
        match word.as_str() {
            "(" => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err("nested too deeply".to_owned());
                }
                let value = self.binary(0)?;
                self.depth -= 1;
                if self.next()? != ")" {
                    return Err("syntax error".to_owned());
                }
                Ok(value)
            }
            "length" if self.pos < self.words.len() => Ok(self.next()?.chars().count().to_string()),
            "match" if self.pos + 1 < self.words.len() => {
                let (text, pattern) = (self.next()?, self.next()?);
                matched(&text, &pattern)
            }
            "index" if self.pos + 1 < self.words.len() => {
                let (text, set) = (self.next()?, self.next()?);
                Ok(text
                    .chars()
                    .position(|c| set.contains(c))
                    .map_or(0, |i| i + 1)
                    .to_string())
            }
            "substr" if self.pos + 2 < self.words.len() => {
                let (text, from, length) = (self.next()?, self.next()?, self.next()?);
                let from: usize = from.parse().unwrap_or(0);
                let length: usize = length.parse().unwrap_or(0);
                Ok(if from == 0 {
                    String::new()
                } else {
                    text.chars().skip(from - 1).take(length).collect()
                })
            }
            _ => Ok(word),
        }
    }
}

fn matched(text: &str, pattern: &str) -> Result<String, String> {
    let source = format!(
        "^(?:{})",
        super::grep::from_basic(pattern.strip_prefix('^').unwrap_or(pattern))
    );
    let regex = regex::Regex::new(&source).map_err(|_| "invalid regular expression".to_owned())?;
    let groups = regex.captures_len() > 1;
    Ok(match regex.captures(text) {
        Some(found) if groups => found.get(1).map_or(String::new(), |m| m.as_str().to_owned()),
        Some(found) => found.get(0).map_or(0, |m| m.as_str().chars().count()).to_string(),
        None if groups => String::new(),
        None => "0".to_owned(),
    })
}

fn apply(left: &str, op: &str, right: &str) -> Result<String, String> {
    let null = |text: &str| text.is_empty() || text == "0";
    let numbers = match (left.parse::<i64>(), right.parse::<i64>()) {
        (Ok(a), Ok(b)) => Some((a, b)),
        _ => None,
    };
    Ok(match op {
        "|" => if null(left) { right } else { left }.to_owned(),
        "&" => if null(left) || null(right) { "0" } else { left }.to_owned(),
        ":" => matched(left, right)?,
        "<" | "<=" | "=" | "==" | "!=" | ">=" | ">" => {
            let order = numbers.map_or_else(|| left.cmp(right), |(a, b)| a.cmp(&b));
            let holds = match op {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "!=" => order.is_ne(),
                _ => order.is_eq(),
            };
            i32::from(holds).to_string()
        }
        _ => {
            let (a, b) = numbers.ok_or("non-integer argument")?;
            let value = match op {
                "+" => a.checked_add(b),
                "-" => a.checked_sub(b),
                "*" => a.checked_mul(b),
                _ if b == 0 => return Err("division by zero".to_owned()),
                "/" => a.checked_div(b),
                _ => a.checked_rem(b),
            };
            value.ok_or("out of range")?.to_string()
        }
    })
}
