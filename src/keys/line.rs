//! A command line: an action's name and its arguments, as keys, prompts, palette and plugins write it.

use crate::error::{Error, Result};

/// `pods.delete --force web`: words split as a shell splits them, without any expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The action, `noun.verb`.
    pub name: String,
    /// What follows it.
    pub args: Vec<String>,
}

impl Line {
    /// A line without arguments.
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            args: Vec::new(),
        }
    }

    /// A line with arguments.
    pub fn with(name: &str, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
        }
    }

    /// Parses a line. An unclosed quote is refused.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = split(text)?.into_iter();
        let name = words.next().ok_or_else(|| Error::usage("the command line is empty"))?;
        Ok(Self {
            name,
            args: words.collect(),
        })
    }

    /// Whether the flag (`--force`) is given.
    pub fn has(&self, flag: &str) -> bool {
        self.args.iter().any(|arg| arg == flag)
    }

    /// The value of `--name value` or `--name=value`.
    pub fn value(&self, flag: &str) -> Option<&str> {
        self.args
            .iter()
            .enumerate()
            .find_map(|(at, arg)| match arg.strip_prefix(flag) {
                Some("") => self.args.get(at + 1).map(String::as_str),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            })
    }

    /// The first argument that is not a flag.
    pub fn first(&self) -> Option<&str> {
        self.args.iter().find(|arg| !arg.starts_with("--")).map(String::as_str)
    }
}

/// Splits words at blanks; single and double quotes group, a backslash takes the next character as it is.
///
/// # Errors
///
/// When a quote is not closed.
pub fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        match (quote, ch) {
            (Some(open), _) if ch == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(ch);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, _) if ch.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(ch),
        }
    }
    if quote.is_some() {
        return Err(Error::usage(format!("a quote is not closed in {text:?}")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        let line = Line::parse(r#"run "two words" a\ b --flag=1 ''"#).expect("parses");
        assert_eq!(line.name, "run");
        assert_eq!(line.args, ["two words", "a b", "--flag=1", ""]);
        assert_eq!(line.value("--flag"), Some("1"));
        assert!(Line::parse("say 'x").is_err());
        assert!(Line::parse("   ").is_err());
    }
}
