//! Characters to tokens. The grammar is CEL's; messages are those of its reference implementation.

use crate::source::Issues;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Operators and brackets, as they are written.
    Symbol(&'static str),
    Int,
    Uint,
    Float,
    String,
    Bytes,
    Ident,
    /// A name between backticks.
    EscapedIdent,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub token: Token,
    pub text: String,
    /// In characters.
    pub offset: u32,
}

const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%",
];
/// Words that are symbols.
const WORDS: [&str; 4] = ["in", "true", "false", "null"];

/// Words that mean something elsewhere, and no name may be.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a word has a meaning of its own.
pub(crate) fn is_reserved(word: &str) -> bool {
    WORDS.contains(&word) || RESERVED.contains(&word)
}

/// Whether a text can be the name of a variable.
pub fn is_identifier(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit()) && !is_reserved(name)
}

/// All tokens, the last of which is the end. What is no token is reported and left out.
pub(crate) fn lex(text: &str, issues: &mut Issues) -> Vec<Lexeme> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        if matches!(rest[0], '\t' | ' ' | '\r' | '\n' | '\x0c') {
            at += 1;
            continue;
        }
        if rest.starts_with(&['/', '/']) {
            at += rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
            continue;
        }
        match next(rest) {
            Ok((token, length)) => {
                found.push(Lexeme {
                    token,
                    text: rest[..length].iter().collect(),
                    offset: at as u32,
                });
                at += length;
            }
            Err(length) => {
                let wrong: String = rest[..length].iter().collect();
                let shown = wrong.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
                issues.report(
                    at as u32,
                    format!("Syntax error: token recognition error at: '{shown}'"),
                );
                at += length;
            }
        }
    }
    found.push(Lexeme {
        token: Token::End,
        text: "<EOF>".into(),
        offset: chars.len() as u32,
    });
    found
}

/// The token at the start and its length; or how many characters are none.
fn next(rest: &[char]) -> Result<(Token, usize), usize> {
    if let Some(result) = string(rest) {
        return result;
    }
    let first = rest[0];
    if first.is_ascii_digit() || (first == '.' && rest.get(1).is_some_and(char::is_ascii_digit)) {
        return Ok(number(rest));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || **c == '_')
            .count();
        let word: String = rest[..length].iter().collect();
        let token = WORDS
            .iter()
            .find(|known| **known == word)
            .map_or(Token::Ident, |known| Token::Symbol(known));
        return Ok((token, length));
    }
    if first == '`' {
        let inner = rest[1..]
            .iter()
            .take_while(|c| c.is_ascii_alphanumeric() || "_.-/ ".contains(**c))
            .count();
        if inner > 0 && rest.get(inner + 1) == Some(&'`') {
            return Ok((Token::EscapedIdent, inner + 2));
        }
        return Err((inner + 2).min(rest.len()));
    }
    for symbol in SYMBOLS {
        if symbol.chars().eq(rest.iter().copied().take(symbol.len())) {
            return Ok((Token::Symbol(symbol), symbol.len()));
        }
    }
    // The first half of `==`, `&&` and `||`: the character that disappoints belongs to the error.
    Err(if "=&|".contains(first) { rest.len().min(2) } else { 1 })
}

fn number(rest: &[char]) -> (Token, usize) {
    let digits = |from: usize| rest[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let unsigned = |length: usize| {
        if matches!(rest.get(length), Some('u' | 'U')) {
            (Token::Uint, length + 1)
        } else {
            (Token::Int, length)
        }
    };
    if rest[0] == '0' && rest.get(1) == Some(&'x') {
        let hex = rest[2..].iter().take_while(|c| c.is_ascii_hexdigit()).count();
        if hex > 0 {
            return unsigned(2 + hex);
        }
    }
    let mut length = digits(0);
    let mut float = false;
    if rest.get(length) == Some(&'.') {
        let fraction = digits(length + 1);
        if fraction > 0 {
            float = true;
            length += 1 + fraction;
        }
    }
    if matches!(rest.get(length), Some('e' | 'E')) {
        let sign = usize::from(matches!(rest.get(length + 1), Some('+' | '-')));
        let exponent = if length + 1 + sign <= rest.len() {
            digits(length + 1 + sign)
        } else {
            0
        };
        if exponent > 0 {
            float = true;
            length += 1 + sign + exponent;
        }
    }
    if float {
        (Token::Float, length)
    } else {
        unsigned(length)
    }
}

/// A string or bytes, if a quote follows at most two prefixes.
fn string(rest: &[char]) -> Option<Result<(Token, usize), usize>> {
    let mut at = 0;
    let bytes = matches!(rest.first(), Some('b' | 'B'));
    at += usize::from(bytes);
    let raw = matches!(rest.get(at), Some('r' | 'R'));
    at += usize::from(raw);
    let quote = *rest.get(at).filter(|c| matches!(c, '"' | '\''))?;
    let long = rest[at..].starts_with(&[quote; 3]);
    let width = if long { 3 } else { 1 };
    at += width;
    let token = if bytes { Token::Bytes } else { Token::String };
    loop {
        let Some(c) = rest.get(at) else {
            // Three quotes without an end are an empty string and one more quote.
            return Some(if long {
                Ok((token, at_empty(bytes, raw)))
            } else {
                Err(rest.len())
            });
        };
        if *c == quote && (!long || rest[at..].starts_with(&[quote; 3])) {
            return Some(Ok((token, at + width)));
        }
        if !long && matches!(c, '\n' | '\r') {
            return Some(Err(at + 1));
        }
        if *c == '\\' && !raw {
            match escape(&rest[at..]) {
                Some(length) => at += length,
                None if long => return Some(Ok((token, at_empty(bytes, raw)))),
                None => return Some(Err(bad_escape(rest, at))),
            }
        } else {
            at += 1;
        }
    }
}

fn at_empty(bytes: bool, raw: bool) -> usize {
    usize::from(bytes) + usize::from(raw) + 2
}

/// Where a lexer that goes character by character would give up in a wrong escape.
fn bad_escape(rest: &[char], at: usize) -> usize {
    let valid = match rest.get(at + 1) {
        Some('x' | 'X' | 'u' | 'U') => rest[at + 2..].iter().take_while(|c| c.is_ascii_hexdigit()).count() + 1,
        Some('0'..='3') => {
            rest[at + 2..]
                .iter()
                .take(2)
                .take_while(|c| ('0'..='7').contains(*c))
                .count()
                + 1
        }
        _ => 0,
    };
    (at + valid + 2).min(rest.len())
}

/// The length of a valid escape sequence.
fn escape(rest: &[char]) -> Option<usize> {
    let hex = |count: usize| {
        (rest.len() >= 2 + count && rest[2..2 + count].iter().all(char::is_ascii_hexdigit)).then_some(2 + count)
    };
    match rest.get(1)? {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(2),
        'x' | 'X' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        '0'..='3' => (rest.len() >= 4 && rest[2..4].iter().all(|c| ('0'..='7').contains(c))).then_some(4),
        _ => None,
    }
}

/// The content of a string or bytes token, unquoted and unescaped; `None` when an escape names no character.
pub(crate) fn unquote(text: &str, bytes: bool) -> Option<Vec<u8>> {
    let mut rest: &str = text;
    if bytes {
        rest = &rest[1..];
    }
    let raw = rest.starts_with(['r', 'R']);
    if raw {
        rest = &rest[1..];
    }
    let width = if rest.len() >= 6 && (rest.starts_with("\"\"\"") || rest.starts_with("'''")) {
        3
    } else {
        1
    };
    let inner = &rest[width..rest.len() - width];
    // Line ends are the same everywhere.
    let inner = inner.replace("\r\n", "\n").replace('\r', "\n");
    if raw {
        return Some(inner.into_bytes());
    }
    let mut out = Vec::with_capacity(inner.len());
    let push = |out: &mut Vec<u8>, code: u32| -> Option<()> {
        let c = char::from_u32(code)?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    };
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(&mut out, u32::from(c))?;
            continue;
        }
        let kind = chars.next()?;
        let mut digits = |count: usize, radix: u32| {
            let digits: String = chars.by_ref().take(count).collect();
            u32::from_str_radix(&digits, radix).ok()
        };
        match kind {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            'u' | 'U' if bytes => return None,
            'u' => push(&mut out, digits(4, 16)?)?,
            'U' => push(&mut out, digits(8, 16)?)?,
            'x' | 'X' => {
                let code = digits(2, 16)?;
                if bytes {
                    out.push(code as u8)
                } else {
                    push(&mut out, code)?
                }
            }
            '0'..='3' => {
                let code = digits(2, 8)? + kind.to_digit(8)? * 64;
                if bytes {
                    out.push(code as u8)
                } else {
                    push(&mut out, code)?
                }
            }
            other => push(&mut out, u32::from(other))?,
        }
    }
    Some(out)
}
