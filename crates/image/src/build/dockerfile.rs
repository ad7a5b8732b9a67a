//! Reading Dockerfiles: lines into instructions, words with quotes and variables.

use crate::ImageError;

/// One instruction, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Line of the file, from 1.
    pub(super) line: usize,
    /// In capitals.
    pub(super) keyword: String,
    /// `--name=value` before everything else.
    pub(super) flags: Vec<(String, String)>,
    /// The rest, with continued lines joined.
    pub(super) rest: String,
    /// What follows as `<<EOF`.
    pub(super) heredoc: Option<String>,
}

impl Instruction {
    pub(super) fn error(&self, why: impl std::fmt::Display) -> ImageError {
        ImageError::Invalid(format!("Dockerfile:{}: {}: {why}", self.line, self.keyword))
    }

    /// As it stands in the file, for the history.
    pub(super) fn text(&self) -> String {
        let flags: String = self
            .flags
            .iter()
            .map(|(name, value)| format!("--{name}={value} "))
            .collect();
        format!("{} {flags}{}", self.keyword, self.rest)
    }

    /// The rest as a JSON array of strings, if it is one: the exec form.
    pub(super) fn exec(&self) -> Option<Vec<String>> {
        serde_json::from_str(self.rest.trim()).ok()
    }
}

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Vec<Instruction>, ImageError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape(text);
    let mut instructions = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || is_comment(line) {
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(begun) = continued(&whole, escape) {
            whole = begun.to_owned();
            // Comments and empty lines in between do not end an instruction.
            let next = lines
                .by_ref()
                .map(|(_, line)| line)
                .find(|line| !is_comment(line) && !line.trim().is_empty());
            match next {
                Some(next) => whole.push_str(next),
                None => break,
            }
        }
        let mut instruction = instruction(number + 1, whole.trim())?;
        if matches!(instruction.keyword.as_str(), "RUN" | "COPY" | "ADD")
            && let Some((word, strip)) = heredoc(&instruction.rest)
        {
            let mut body = String::new();
            loop {
                let (_, line) = lines
                    .next()
                    .ok_or_else(|| instruction.error(format!("unterminated heredoc {word:?}")))?;
                let line = if strip { line.trim_start_matches('\t') } else { line };
                if line == word {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            instruction.heredoc = Some(body);
        }
        instructions.push(instruction);
    }
    if instructions.is_empty() {
        return Err(ImageError::Invalid("file with no instructions".to_owned()));
    }
    Ok(instructions)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// What continues a line: `# escape=` at the top of the file says it.
fn escape(text: &str) -> char {
    let directives = text
        .lines()
        .map_while(|line| line.trim().strip_prefix('#')?.split_once('='));
    let mut named = directives.filter(|(name, _)| name.trim().eq_ignore_ascii_case("escape"));
    named
        .next()
        .and_then(|(_, value)| value.trim().chars().next())
        .unwrap_or('\\')
}

/// A line without the sign that another one follows.
fn continued(line: &str, escape: char) -> Option<&str> {
    line.trim_end().strip_suffix(escape)
}

fn instruction(line: usize, text: &str) -> Result<Instruction, ImageError> {
    let (keyword, mut rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let keyword = keyword.to_ascii_uppercase();
    if !KEYWORDS.contains(&keyword.as_str()) {
        return Err(ImageError::Invalid(format!(
            "Dockerfile:{line}: unknown instruction: {keyword}"
        )));
    }
    let mut flags = Vec::new();
    rest = rest.trim_start();
    if !matches!(keyword.as_str(), "CMD" | "ENTRYPOINT" | "ENV" | "LABEL" | "ONBUILD") {
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            let (name, value) = flag.split_once('=').unwrap_or((flag, "true"));
            flags.push((name.to_owned(), value.to_owned()));
            rest = after.trim_start();
        }
    }
    if rest.is_empty() && keyword != "CMD" && keyword != "ENTRYPOINT" {
        return Err(ImageError::Invalid(format!(
            "Dockerfile:{line}: {keyword} requires at least one argument"
        )));
    }
    Ok(Instruction {
        line,
        keyword,
        flags,
        rest: rest.to_owned(),
        heredoc: None,
    })
}

/// The word that ends what follows, and whether tabs in front are dropped.
fn heredoc(rest: &str) -> Option<(String, bool)> {
    let (_, after) = rest.split_once("<<")?;
    let (after, strip) = after.strip_prefix('-').map_or((after, false), |after| (after, true));
    let word = after.split_whitespace().next()?.trim_matches(['"', '\'']);
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && !word.is_empty()).then(|| (word.to_owned(), strip))
}

/// Splits at blanks, takes quotes away and fills in variables.
pub(super) fn words(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => (quote, begun) = (Some(c), true),
            (c, Some(open)) if c == open => quote = None,
            ('\\', None) => word.extend(chars.next()),
            ('\\', Some('"')) if matches!(chars.peek(), Some('"' | '\\' | '$')) => word.extend(chars.next()),
            ('$', None | Some('"')) => {
                word.push_str(&variable(&mut chars, lookup)?);
                begun = true;
            }
            (c, None) if c.is_whitespace() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, _) => word.push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Fills in variables and takes quotes away, and leaves blanks alone.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    Ok(words(text, lookup)?.join(" "))
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What stands for `$name`, `${name}`, `${name:-else}` or `${name:+instead}`.
fn variable(chars: &mut Chars<'_>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let named = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    if chars.peek() != Some(&'{') {
        let mut name = String::new();
        while let Some(c) = chars.next_if(named) {
            name.push(c);
        }
        return Ok(if name.is_empty() {
            "$".to_owned()
        } else {
            lookup(&name).unwrap_or_default()
        });
    }
    chars.next();
    let (mut inside, mut depth) = (String::new(), 1);
    for c in chars.by_ref() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            break;
        }
        inside.push(c);
    }
    if depth > 0 {
        return Err("a variable's brace is not closed".to_owned());
    }
    let end = inside.find(|c| !named(&c)).unwrap_or(inside.len());
    let (name, how) = inside.split_at(end);
    let value = lookup(name);
    let set = value.as_ref().is_some_and(|value| !value.is_empty());
    let other = |text: &str| expand(text, lookup);
    match how {
        "" => Ok(value.unwrap_or_default()),
        _ if how.starts_with(":-") => {
            if set {
                Ok(value.unwrap_or_default())
            } else {
                other(&how[2..])
            }
        }
        _ if how.starts_with('-') => value.map_or_else(|| other(&how[1..]), Ok),
        _ if how.starts_with(":+") => {
            if set {
                other(&how[2..])
            } else {
                Ok(String::new())
            }
        }
        _ if how.starts_with('+') => {
            if value.is_some() {
                other(&how[1..])
            } else {
                Ok(String::new())
            }
        }
        _ => Err(format!("unsupported modifier ({how}) in substitution")),
    }
}

/// `name=value` pairs, or the old form of one name, a blank, and a value.
pub(super) fn pairs(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).ok_or("must have two arguments")?;
        return Ok(vec![(name.to_owned(), expand(value.trim(), lookup)?)]);
    }
    let pair = |word: String| {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| format!("syntax error: {word:?} must be of the form name=value"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    words(text, lookup)?.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_across_lines_comments_and_heredocs() {
        let text = "# syntax=docker/dockerfile:1\n\nfrom alpine AS base\nRUN echo one && \\\n  # a comment\n\n  echo two\nCOPY --chown=1:2 --from=base a b /c/\nRUN <<EOF\nset -e\necho $x\nEOF\nCMD [\"a\", \"b c\"]\n";
        let read = parse(text).unwrap();
        let seen: Vec<_> = read
            .iter()
            .map(|one| (one.line, one.keyword.as_str(), one.rest.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (3, "FROM", "alpine AS base"),
                (4, "RUN", "echo one &&   echo two"),
                (8, "COPY", "a b /c/"),
                (9, "RUN", "<<EOF"),
                (13, "CMD", "[\"a\", \"b c\"]"),
            ]
        );
        assert_eq!(
            read[2].flags,
            [("chown".into(), "1:2".into()), ("from".into(), "base".into())]
        );
        assert_eq!(read[3].heredoc.as_deref(), Some("set -e\necho $x\n"));
        assert_eq!(read[4].exec(), Some(vec!["a".into(), "b c".into()]));
        let windows = "# escape=`\nFROM a\nRUN one `\ntwo\n";
        assert_eq!(parse(windows).unwrap()[1].rest, "one two");
    }

    #[test]
    fn errors_say_the_line() {
        for (text, why) in [
            ("FROM a\nFROBNICATE x", "Dockerfile:2: unknown instruction: FROBNICATE"),
            ("FROM a\n\nCOPY", "Dockerfile:3: COPY requires at least one argument"),
            ("FROM a\nRUN <<X\necho", "Dockerfile:2: RUN: unterminated heredoc \"X\""),
            ("# nothing", "file with no instructions"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn variables_and_quotes_are_filled_in_as_shells_do() {
        let lookup = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("$A ${A}x '$A' \"$A b\" \\$A", &["one", "onex", "$A", "one b", "$A"][..]),
            (
                "${B:-else} ${A:-else} ${A:+set} ${EMPTY:-e}${EMPTY-kept}.",
                &["else", "one", "set", "e."],
            ),
            ("a=\"b c\" d=", &["a=b c", "d="]),
            ("$", &["$"]),
        ] {
            assert_eq!(words(text, &lookup).unwrap(), expected, "{text}");
        }
        assert!(
            words("'open", &lookup).is_err() && words("${A", &lookup).is_err() && words("${A?x}", &lookup).is_err()
        );
        assert_eq!(pairs("PATH /a b", &lookup).unwrap(), [("PATH".into(), "/a b".into())]);
    }
}
