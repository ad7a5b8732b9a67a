//! The part of the shell language that simulated containers understand: lists of simple commands, `while` and `until` loops,
//! quotes, variables, and output into files.

/// Nesting of loops and substitutions that is followed.
pub(super) const DEPTH: usize = 8;

/// How a statement depends on the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Anything,
    Success,
    Failure,
}

/// Where output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Into {
    pub(super) path: String,
    pub(super) append: bool,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// Words as they are written, quotes and all.
    Simple { words: Vec<String>, into: Option<Into> },
    /// Repeats `body` while `test` succeeds, or until it does.
    Loop {
        until: bool,
        test: Vec<(After, Statement)>,
        body: Vec<(After, Statement)>,
    },
}

/// A list of statements.
pub(super) type List = Vec<(After, Statement)>;

/// Takes a script apart; `Err` names what is not understood.
pub(super) fn parse(script: &str) -> Result<List, String> {
    let tokens = tokens(script);
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let list = parser.list(&[], 0)?;
    match parser.peek() {
        None => Ok(list),
        Some(token) => Err(format!("syntax error: unexpected {token:?}")),
    }
}

/// Words and operators. Quotes stay in the words.
fn tokens(script: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut depth = 0_usize;
    let mut chars = script.chars().peekable();
    while let Some(c) = chars.next() {
        let plain = quote.is_none() && depth == 0;
        match c {
            '\'' | '"' if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            '(' if word.ends_with('$') || depth > 0 => depth += 1,
            ')' if depth > 0 => depth -= 1,
            '#' if plain && word.is_empty() => {
                while chars.peek().is_some_and(|next| *next != '\n') {
                    chars.next();
                }
                continue;
            }
            ' ' | '\t' if plain => {
                tokens.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            ';' | '\n' | '&' | '|' | '>' if plain => {
                // A digit in front of `>` says which output.
                if c == '>' && matches!(word.as_str(), "1" | "2") {
                    tokens.push(std::mem::take(&mut word) + ">");
                } else {
                    tokens.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                    let double = c != ';' && c != '\n' && chars.next_if_eq(&c).is_some();
                    tokens.push(if c == '\n' {
                        ";".into()
                    } else {
                        c.to_string().repeat(1 + usize::from(double))
                    });
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    tokens.extend((!word.is_empty()).then_some(word));
    tokens
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<&str> {
        self.at += 1;
        self.tokens.get(self.at - 1).map(String::as_str)
    }

    /// Statements up to one of the words in `ends`, which is left.
    fn list(&mut self, ends: &[&str], depth: usize) -> Result<List, String> {
        if depth > DEPTH {
            return Err("too deeply nested".into());
        }
        let mut list = List::new();
        let mut after = After::Anything;
        while let Some(token) = self.peek() {
            match token {
                ";" => after = After::Anything,
                "&&" => after = After::Success,
                "||" => after = After::Failure,
                _ if ends.contains(&token) => break,
                "while" | "until" => {
                    let until = token == "until";
                    self.at += 1;
                    let test = self.list(&["do"], depth + 1)?;
                    self.at += 1;
                    let body = self.list(&["done"], depth + 1)?;
                    if self.next() != Some("done") {
                        return Err("syntax error: unexpected end of file (expecting \"done\")".into());
                    }
                    list.push((after, Statement::Loop { until, test, body }));
                    continue;
                }
                "if" | "for" | "case" | "&" | "|" | "do" | "done" | "{" | "(" => {
                    return Err(format!("syntax error: unexpected {token:?}"));
                }
                _ => {
                    list.push((after, self.simple()?));
                    continue;
                }
            }
            self.at += 1;
        }
        Ok(list)
    }

    fn simple(&mut self) -> Result<Statement, String> {
        let (mut words, mut into) = (Vec::new(), None);
        while let Some(token) = self.peek() {
            match token {
                ";" | "&&" | "||" | "&" | "|" => break,
                ">" | ">>" | "1>" => {
                    let append = token == ">>";
                    self.at += 1;
                    let path = self.next().ok_or("syntax error: unexpected end of file")?.to_owned();
                    into = Some(Into { path, append });
                }
                // Where errors go makes no difference here.
                "2>" => {
                    self.at += 1;
                    if self.peek() == Some("&") {
                        self.at += 1;
                    }
                    self.at += 1;
                }
                word => {
                    words.push(word.to_owned());
                    self.at += 1;
                }
            }
        }
        Ok(Statement::Simple { words, into })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_loops_and_redirections_are_understood() {
        let simple = |words: &[&str]| Statement::Simple {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            into: None,
        };
        assert_eq!(
            parse("echo 'a; b' && false || exit 3 # done").expect("parsed"),
            [
                (After::Anything, simple(&["echo", "'a; b'"])),
                (After::Success, simple(&["false"])),
                (After::Failure, simple(&["exit", "3"])),
            ]
        );
        let list = parse("while true; do date >> /log; sleep 5; done; echo $(hostname -s)").expect("parsed");
        let Statement::Loop { body, .. } = &list[0].1 else {
            panic!("a loop: {list:?}");
        };
        assert_eq!(body.len(), 2);
        assert_eq!(list[1].1, simple(&["echo", "$(hostname -s)"]));
        let into = Into {
            path: "/log".into(),
            append: true,
        };
        assert_eq!(
            body[0].1,
            Statement::Simple {
                words: vec!["date".into()],
                into: Some(into)
            }
        );
        assert_eq!(
            parse("cat /x 2>&1").expect("parsed"),
            [(After::Anything, simple(&["cat", "/x"]))]
        );
        for wrong in ["if true; then x; fi", "a | b", "while true; do x", "done"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&"while true; do ".repeat(1000)).is_err());
    }
}
