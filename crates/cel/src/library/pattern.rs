//! Regular expressions: the syntax of RE2, which Kubernetes promises, on the `regex` crate, which differs in details.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled pattern.
const MAX_SIZE: usize = 4 << 20;
/// How often RE2 lets a part be repeated.
const MAX_REPEAT: u32 = 1000;
/// Brackets within brackets.
const MAX_NESTING: u32 = 100;

/// Compiles a pattern written for RE2.
///
/// # Errors
/// In Go's words as far as they can be told.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern).map_err(|why| format!("error parsing regexp: {why}"))?;
    RegexBuilder::new(&translated)
        .size_limit(MAX_SIZE)
        .nest_limit(MAX_NESTING)
        .build()
        .map_err(|failed| match failed {
            regex::Error::CompiledTooBig(_) => "error parsing regexp: expression too large".into(),
            _ => format!("error parsing regexp: invalid pattern: `{pattern}`"),
        })
}

/// The same pattern for `regex`: `\d`, `\w`, `\s` and `\b` mean ASCII, classes have no operators, and braces that
/// repeat nothing are characters.
fn translate(pattern: &str) -> Result<String, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 16);
    let (mut at, mut in_class) = (0, false);
    // Whether what was just read is a quantifier: two in a row are an error.
    let mut repeated = false;
    while at < chars.len() {
        let c = chars[at];
        let was_repeated = std::mem::take(&mut repeated);
        match c {
            '\\' => {
                let Some(next) = chars.get(at + 1) else {
                    return Err("trailing backslash at end of expression: ``".into());
                };
                at += 2;
                match (next, in_class) {
                    ('Q', false) => {
                        let end = (at..chars.len()).find(|at| chars[*at..].starts_with(&['\\', 'E']));
                        let literal: String = chars[at..end.unwrap_or(chars.len())].iter().collect();
                        out.push_str(&regex::escape(&literal));
                        at = end.map_or(chars.len(), |end| end + 2);
                    }
                    ('d', true) => out.push_str("0-9"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('s', true) => out.push_str(r"\t\n\f\r\x20"),
                    ('d', false) => out.push_str("[0-9]"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('s', false) => out.push_str(r"[\t\n\f\r\x20]"),
                    ('D', _) => out.push_str("[^0-9]"),
                    ('W', _) => out.push_str("[^0-9A-Za-z_]"),
                    ('S', _) => out.push_str(r"[^\t\n\f\r\x20]"),
                    ('b', false) => out.push_str(r"(?-u:\b)"),
                    ('B', false) => out.push_str(r"(?-u:\B)"),
                    ('<' | '>', _) => out.push(*next),
                    ('a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' | 'p' | 'P', _) | ('A' | 'z', false) => {
                        out.push('\\');
                        out.push(*next);
                        // What belongs to it in braces is no repetition.
                        if chars.get(at) == Some(&'{') {
                            let end = (at..chars.len()).find(|at| chars[*at] == '}');
                            let Some(end) = end else {
                                return Err(format!("invalid escape sequence: `\\{next}`"));
                            };
                            out.extend(&chars[at..=end]);
                            at = end + 1;
                        }
                    }
                    ('0'..='7', _) => {
                        let digits: String = chars[at - 1..].iter().take(3).take_while(|c| c.is_digit(8)).collect();
                        if digits.len() < 2 && *next != '0' {
                            return Err(format!("invalid escape sequence: `\\{next}`"));
                        }
                        let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
                        out.push_str(&format!(r"\x{{{code:x}}}"));
                        at += digits.len() - 1;
                    }
                    (other, _) if other.is_ascii() && !other.is_ascii_alphanumeric() => {
                        out.push('\\');
                        out.push(*other);
                    }
                    (other, _) => return Err(format!("invalid escape sequence: `\\{other}`")),
                }
                continue;
            }
            '[' if in_class => {
                if chars.get(at + 1) == Some(&':') {
                    let end = (at + 2..chars.len()).find(|at| chars[*at..].starts_with(&[':', ']']));
                    if let Some(end) = end {
                        out.extend(&chars[at..end + 2]);
                        at = end + 2;
                        continue;
                    }
                }
                out.push_str("\\[");
            }
            '[' => {
                in_class = true;
                out.push('[');
                if chars.get(at + 1) == Some(&'^') {
                    out.push('^');
                    at += 1;
                }
                // A bracket at the start of a class is a character.
                if chars.get(at + 1) == Some(&']') {
                    out.push_str("\\]");
                    at += 1;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && chars.get(at + 1) == Some(&'-') => out.push_str("\\-"),
            '{' if !in_class => match repetition(&chars[at..]) {
                Some((length, most)) => {
                    if was_repeated {
                        return Err("invalid nested repetition operator".into());
                    }
                    if most > MAX_REPEAT {
                        let text: String = chars[at..at + length].iter().collect();
                        return Err(format!("invalid repeat count: `{text}`"));
                    }
                    out.extend(&chars[at..at + length]);
                    at += length;
                    if chars.get(at) == Some(&'?') {
                        out.push('?');
                        at += 1;
                    }
                    repeated = true;
                    continue;
                }
                None => out.push_str("\\{"),
            },
            '}' if !in_class => out.push_str("\\}"),
            '*' | '+' | '?' if !in_class => {
                if was_repeated {
                    return Err("invalid nested repetition operator".into());
                }
                out.push(c);
                if chars.get(at + 1) == Some(&'?') {
                    out.push('?');
                    at += 1;
                }
                repeated = true;
            }
            '(' if !in_class && chars.get(at + 1) == Some(&'?') => {
                // Only RE2's flags; `regex` has more.
                let inside: String = chars[at + 2..].iter().take_while(|c| !":)".contains(**c)).collect();
                let named = inside.starts_with("P<")
                    || (inside.starts_with('<') && !inside.starts_with("<=") && !inside.starts_with("<!"));
                if !named && !inside.chars().all(|c| "imsU-".contains(c)) {
                    let shown: String = chars[at..].iter().take(3).collect();
                    return Err(format!("invalid or unsupported Perl syntax: `{shown}`"));
                }
                out.push_str("(?");
                at += 1;
                // The question mark is no quantifier.
                at += 1;
                continue;
            }
            c => out.push(c),
        }
        at += 1;
    }
    if in_class {
        return Err("missing closing ]".into());
    }
    Ok(out)
}

/// The length of `{n}`, `{n,}` or `{n,m}` and its highest number, if that is what is there.
fn repetition(chars: &[char]) -> Option<(usize, u32)> {
    let end = chars.iter().take(16).position(|c| *c == '}')?;
    let inside: String = chars[1..end].iter().collect();
    let (low, high) = inside.split_once(',').unwrap_or((&inside, ""));
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u32>().ok())?
    };
    let low = number(low)?;
    let high = if high.is_empty() { low } else { number(high)? };
    Some((end + 1, low.max(high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_re2() {
        for (pattern, text, matches) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^\w+$", "aä", false),
            (r"^[\w-]+$", "a-b", true),
            (r"^[\s\S]*$", "a\n", true),
            ("^[[]$", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[a&&b]+$", "&", true),
            ("^[[:alpha:]]+$", "ab", true),
            ("^{a}$", "{a}", true),
            ("^a{2,3}$", "aaa", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            ("(?i)^ABC$", "abc", true),
            ("^(?P<x>a)(?:b)$", "ab", true),
            (r"^\x{1F600}\pL$", "😀ä", true),
            (r"^\101$", "A", true),
            (r"\bfoo\b", "a foo b", true),
            ("^a*?$", "aa", true),
        ] {
            assert_eq!(
                compile(pattern).expect(pattern).is_match(text),
                matches,
                "{pattern} on {text}"
            );
        }
        for wrong in [
            "(",
            "[",
            "a**",
            "a{1001}",
            r"\1",
            r"\Z",
            r"\y",
            "(?=a)",
            "(?x)a",
            "\\",
            "*a",
            "(?<=a)",
            "x{1000}{2}",
        ] {
            assert!(compile(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_cannot_fill_the_memory() {
        assert!(compile("((a{1000}){1000}){1000}").is_err());
        assert!(compile(&"(".repeat(10_000)).is_err());
    }
}
