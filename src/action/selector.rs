//! Label selectors as people type them, unquoted: `app=web`, `env in (a, b),tier!=x`, `!canary`.

use std::iter::Peekable;

use crate::error::{Error, Result};

/// Whether a word, with the one after it, begins a requirement.
pub(super) fn begins(word: &str, next: Option<&str>) -> bool {
    word.contains(['=', '!', ',', '(']) || matches!(next, Some("in" | "notin"))
}

/// Reads the requirement that `word` begins, with the set that may follow, and adds it to `selector`. What blanks tore apart is joined.
///
/// # Errors
///
/// A set that is not there, or not closed.
pub(super) fn read<'a>(
    word: &str,
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
    selector: &mut String,
) -> Result<()> {
    if !selector.is_empty() && !selector.ends_with(',') && !word.starts_with(',') {
        selector.push(',');
    }
    let begun = selector.len();
    selector.push_str(word);
    loop {
        let open = selector[begun..].matches('(').count() > selector[begun..].matches(')').count();
        let last = selector[begun..].rsplit(' ').next().unwrap_or_default();
        let after_operator = matches!(last, "in" | "notin");
        match words.peek().copied() {
            Some(next) if open || (after_operator && next.starts_with('(')) => {
                if after_operator {
                    selector.push(' ');
                }
                selector.push_str(next);
            }
            Some(next @ ("in" | "notin")) => {
                selector.push(' ');
                selector.push_str(next);
            }
            Some(next) if selector.ends_with(',') || next.starts_with(',') => selector.push_str(next),
            _ if open => return Err(Error::usage(format!("the set in {selector:?} is not closed")).hint("write (a,b)")),
            _ if after_operator => {
                return Err(Error::usage(format!("{last} needs a set")).hint("write it like env in (a,b)"));
            }
            _ => return Ok(()),
        }
        words.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<(String, Vec<&str>)> {
        let mut words = text.split_whitespace().peekable();
        let (mut selector, mut others) = (String::new(), Vec::new());
        while let Some(word) = words.next() {
            if begins(word, words.peek().copied()) {
                read(word, &mut words, &mut selector)?;
            } else {
                others.push(word);
            }
        }
        Ok((selector, others))
    }

    #[test]
    fn selectors_need_no_quotes() {
        for (typed, selector, others) in [
            ("web app=x", "app=x", vec!["web"]),
            ("env in (a,b),tier!=x web", "env in (a,b),tier!=x", vec!["web"]),
            (
                "env in (a, b), tier notin (x) web",
                "env in (a,b),tier notin (x)",
                vec!["web"],
            ),
            ("app=x web tier=y", "app=x,tier=y", vec!["web"]),
            ("!canary", "!canary", vec![]),
        ] {
            let read = all(typed).expect(typed);
            assert_eq!(read, (selector.to_owned(), others), "{typed}");
        }
        assert!(all("env in (a").is_err());
        assert!(all("env in").is_err());
    }
}
