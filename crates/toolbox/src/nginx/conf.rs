//! nginx's configuration language: directives with words, blocks in braces, `include`.

use std::path::Path;

/// A directive with its words and, if it has one, its block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directive {
    pub name: String,
    pub args: Vec<String>,
    pub block: Option<Vec<Directive>>,
    pub file: String,
    pub line: usize,
}

impl Directive {
    pub(super) fn arg(&self, n: usize) -> &str {
        self.args.get(n).map_or("", String::as_str)
    }

    pub(super) fn children(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The last directive of that name in the block.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        self.children().iter().rev().find(|d| d.name == name)
    }
}

/// Files included inside each other, and blocks inside each other.
const MAX_DEPTH: usize = 16;

/// Largest configuration file.
const MAX_FILE: u64 = 4 << 20;

/// Reads a file and all that it includes. Errors are worded as nginx does, without their `[emerg]`.
pub(super) fn load(path: &str) -> Result<Vec<Directive>, String> {
    load_at(path, 0)
}

fn load_at(path: &str, depth: usize) -> Result<Vec<Directive>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("too many nested includes in {path}"));
    }
    let large = std::fs::metadata(path).is_ok_and(|m| m.len() > MAX_FILE);
    let text = std::fs::read_to_string(path).map_err(|error| {
        let number = error.raw_os_error().unwrap_or(0);
        format!("open() \"{path}\" failed ({number}: {})", crate::say::reason(&error))
    })?;
    if large {
        return Err(format!("{path} is too large"));
    }
    parse_at(&text, path, depth)
}

/// Parses a text as if it were the file `path`.
pub(super) fn parse(text: &str, path: &str) -> Result<Vec<Directive>, String> {
    parse_at(text, path, 0)
}

fn parse_at(text: &str, path: &str, depth: usize) -> Result<Vec<Directive>, String> {
    let mut parser = Parser {
        chars: text.chars().collect(),
        pos: 0,
        line: 1,
        path,
        depth,
    };
    let all = parser.block(0)?;
    Ok(all)
}

struct Parser<'a> {
    chars: Vec<char>,
    pos: usize,
    line: usize,
    path: &'a str,
    depth: usize,
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
    Eof,
}

impl Parser<'_> {
    fn here(&self) -> String {
        format!("in {}:{}", self.path, self.line)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.pos).copied()?;
        self.pos += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn token(&mut self) -> Result<Token, String> {
        loop {
            match self.chars.get(self.pos) {
                None => return Ok(Token::Eof),
                Some(c) if c.is_whitespace() => {
                    self.next();
                }
                Some('#') => while self.next().is_some_and(|c| c != '\n') {},
                Some(_) => break,
            }
        }
        let first = self.chars[self.pos];
        match first {
            ';' | '{' | '}' => {
                self.pos += 1;
                return Ok(match first {
                    ';' => Token::End,
                    '{' => Token::Open,
                    _ => Token::Close,
                });
            }
            _ => {}
        }
        let mut word = String::new();
        if first == '"' || first == '\'' {
            self.pos += 1;
            loop {
                match self.next() {
                    None => return Err(format!("unexpected end of file, expecting \"{first}\" {}", self.here())),
                    Some(c) if c == first => return Ok(Token::Word(word)),
                    Some('\\') => match self.next() {
                        Some('n') => word.push('\n'),
                        Some('t') => word.push('\t'),
                        Some('r') => word.push('\r'),
                        Some(c) if c == first || c == '\\' => word.push(c),
                        Some(c) => word.extend(['\\', c]),
                        None => {}
                    },
                    Some(c) => word.push(c),
                }
            }
        }
        while let Some(&c) = self.chars.get(self.pos) {
            if c.is_whitespace() || c == ';' || (c == '{' && !word.ends_with('$')) {
                break;
            }
            if c == '}' && !word.contains("${") {
                break;
            }
            word.push(c);
            self.next();
        }
        Ok(Token::Word(word))
    }

    fn block(&mut self, level: usize) -> Result<Vec<Directive>, String> {
        if level > MAX_DEPTH {
            return Err(format!("blocks nested too deeply {}", self.here()));
        }
        let mut all = Vec::new();
        let mut words: Vec<String> = Vec::new();
        loop {
            match self.token()? {
                Token::Word(word) => words.push(word),
                Token::End => {
                    if words.is_empty() {
                        return Err(format!("unexpected \";\" {}", self.here()));
                    }
                    let name = words.remove(0);
                    let args = std::mem::take(&mut words);
                    if name == "include" {
                        self.include(args.first().map_or("", String::as_str), &mut all)?;
                    } else {
                        all.push(Directive {
                            name,
                            args,
                            block: None,
                            file: self.path.to_owned(),
                            line: self.line,
                        });
                    }
                }
                Token::Open => {
                    if words.is_empty() {
                        return Err(format!("unexpected \"{{\" {}", self.here()));
                    }
                    let line = self.line;
                    let name = words.remove(0);
                    let args = std::mem::take(&mut words);
                    let block = Some(self.block(level + 1)?);
                    all.push(Directive {
                        name,
                        args,
                        block,
                        file: self.path.to_owned(),
                        line,
                    });
                }
                Token::Close if level > 0 && words.is_empty() => return Ok(all),
                Token::Close => return Err(format!("unexpected \"}}\" {}", self.here())),
                Token::Eof if level == 0 && words.is_empty() => return Ok(all),
                Token::Eof => {
                    let expected = if words.is_empty() { "\"}\"" } else { "\";\" or \"}\"" };
                    return Err(format!("unexpected end of file, expecting {expected} {}", self.here()));
                }
            }
        }
    }

    fn include(&mut self, pattern: &str, all: &mut Vec<Directive>) -> Result<(), String> {
        let full = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            let dir = Path::new(self.path).parent().unwrap_or(Path::new("/etc/nginx"));
            dir.join(pattern).to_string_lossy().into_owned()
        };
        if crate::sh::pattern::is_pattern(&full) {
            for file in crate::sh::pattern::files(&full) {
                all.extend(load_at(&file, self.depth + 1)?);
            }
        } else {
            let inner = load_at(&full, self.depth + 1).map_err(|e| {
                if e.contains(" in ") {
                    e
                } else {
                    format!("{e} {}", self.here())
                }
            })?;
            all.extend(inner);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn directives_blocks_quotes_and_comments_are_read() {
        let all = parse(
            "a 1 \"two words\"; # note\nserver { listen 80; location ~ \\.php$ { return 403; } }",
            "x.conf",
        )
        .expect("valid");
        assert_eq!(all[0].args, ["1", "two words"]);
        let location = all[1].find("location").expect("a location");
        assert_eq!(location.args, ["~", "\\.php$"]);
        assert_eq!(location.find("return").expect("a return").arg(0), "403");
    }

    #[test]
    fn mistakes_name_their_place() {
        for (text, expected) in [
            ("a 1", "unexpected end of file, expecting \";\" or \"}\" in x.conf:1"),
            ("a {\nb 1;\n", "unexpected end of file, expecting \"}\" in x.conf:3"),
            ("}", "unexpected \"}\" in x.conf:1"),
            ("a \"b", "unexpected end of file, expecting \"\"\" in x.conf:1"),
            (";", "unexpected \";\" in x.conf:1"),
        ] {
            assert_eq!(parse(text, "x.conf").expect_err("invalid"), expected);
        }
        assert!(parse(&"a{".repeat(1000), "x.conf").is_err());
    }
}
