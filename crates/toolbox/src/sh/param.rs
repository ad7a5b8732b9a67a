//! Parameters: `$1`, `${name:-word}`, `${name#pattern}` and their kin.

use super::ast::{Param, ParamOp, Part, Word};
use super::expand::Fields;
use super::pattern;
use super::{Run, Shell};

impl Shell {
    pub(super) fn param_fields(&mut self, param: &Param, quoted: bool, ifs: &str, fields: &mut Fields) -> Run<()> {
        let many = matches!(param.name.as_str(), "@" | "*") && !param.indirect;
        if many && (param.name == "@" || !quoted) {
            let list = match &param.op {
                ParamOp::Plain => Some(self.args.clone()),
                ParamOp::Slice { offset, length } => Some(self.slice_args(offset, length.as_ref())?),
                _ => None,
            };
            if let Some(list) = list {
                for (i, arg) in list.iter().enumerate() {
                    if i > 0 {
                        fields.close();
                    }
                    if quoted {
                        fields.open().push_quoted(arg)
                    } else {
                        fields.split(arg, ifs)
                    }
                }
                return Ok(());
            }
        }
        // The alternative of `${x:-...}` keeps its own quotes: `${x:-"a b"}` is one field, `${x:-a b}` is two.
        if let ParamOp::Unset { op, colon, word } = &param.op
            && !quoted
            && matches!(op, '-' | '+')
        {
            let set = self
                .param(&self.target(param))
                .is_some_and(|v| !(*colon && v.is_empty()));
            if set == (*op == '+') {
                for part in word {
                    match part {
                        Part::Lit(text) => fields.split(&self.tilde(text, true), ifs),
                        Part::Quoted(text) => fields.open().push_quoted(text),
                        Part::Param(inner, q) => self.param_fields(inner, *q, ifs, fields)?,
                        other => {
                            let value = self.expand_text(&vec![other.clone()])?;
                            match other {
                                Part::Command(_, true) => fields.open().push_quoted(&value),
                                _ => fields.split(&value, ifs),
                            }
                        }
                    }
                }
                return Ok(());
            }
        }
        let value = self.value(param)?;
        if quoted {
            fields.open().push_quoted(&value)
        } else {
            fields.split(&value, ifs)
        }
        Ok(())
    }

    /// A parameter's value by name, special ones included.
    pub(super) fn param(&self, name: &str) -> Option<String> {
        Some(match name {
            "@" | "*" => {
                if self.args.is_empty() {
                    return None;
                }
                let separator = match (name, self.vars.get("IFS")) {
                    ("*", Some(ifs)) => ifs.chars().next().map(String::from).unwrap_or_default(),
                    _ => " ".to_owned(),
                };
                self.args.join(&separator)
            }
            "#" => self.args.len().to_string(),
            "?" => self.status.to_string(),
            "-" => self.options.letters(),
            "$" => self.pid.to_string(),
            "!" => self.last_background?.to_string(),
            "0" => self.name.clone(),
            "RANDOM" => (crate::random::next() % 32768).to_string(),
            "SECONDS" => self.started.elapsed().as_secs().to_string(),
            "LINENO" => self.line.to_string(),
            _ if name.bytes().all(|b| b.is_ascii_digit()) => {
                let n: usize = name.parse().ok()?;
                self.args.get(n.checked_sub(1)?)?.clone()
            }
            _ => self.vars.get(name)?.to_owned(),
        })
    }

    fn target(&self, param: &Param) -> String {
        if param.indirect {
            self.param(&param.name).unwrap_or_default()
        } else {
            param.name.clone()
        }
    }

    pub(super) fn value(&mut self, param: &Param) -> Run<String> {
        let name = self.target(param);
        let value = self.param(&name);
        if let ParamOp::Unset { op, colon, word } = &param.op {
            let set = value.as_ref().is_some_and(|v| !(*colon && v.is_empty()));
            return match (op, set) {
                ('+', true) | ('-' | '=', false) => {
                    let text = self.expand_text(word)?;
                    if *op == '=' {
                        let done = self.vars.set(&name, text.clone());
                        self.fine(done)?;
                    }
                    Ok(text)
                }
                ('+', false) => Ok(String::new()),
                ('?', false) => {
                    let text = self.expand_text(word)?;
                    let text = if text.is_empty() {
                        "parameter not set".to_owned()
                    } else {
                        text
                    };
                    Err(self.fatal(&format!("{name}: {text}")))
                }
                _ => Ok(value.unwrap_or_default()),
            };
        }
        if value.is_none() && self.options.nounset && !matches!(name.as_str(), "@" | "*") {
            return Err(self.fatal(&format!("{name}: parameter not set")));
        }
        let value = value.unwrap_or_default();
        Ok(match &param.op {
            ParamOp::Plain | ParamOp::Unset { .. } => value,
            ParamOp::Length if matches!(name.as_str(), "@" | "*") => self.args.len().to_string(),
            ParamOp::Length => value.chars().count().to_string(),
            ParamOp::Trim {
                suffix,
                longest,
                pattern,
            } => {
                let pattern: Vec<char> = self.expand_pattern(pattern)?.chars().collect();
                trim(&value, &pattern, *suffix, *longest)
            }
            ParamOp::Replace { anchor, pattern, with } => {
                let pattern: Vec<char> = self.expand_pattern(pattern)?.chars().collect();
                let with = self.expand_text(with)?;
                replace(&value, &pattern, &with, *anchor)
            }
            ParamOp::Slice { offset, length } => {
                if matches!(name.as_str(), "@" | "*") {
                    return Ok(self.slice_args(offset, length.as_ref())?.join(" "));
                }
                let chars: Vec<char> = value.chars().collect();
                let (from, to) = self.range(offset, length.as_ref(), chars.len())?;
                chars[from..to].iter().collect()
            }
            ParamOp::Case { upper, all } => {
                let change = |c: char| -> String {
                    if *upper {
                        c.to_uppercase().collect()
                    } else {
                        c.to_lowercase().collect()
                    }
                };
                let mut done = String::new();
                for (i, c) in value.chars().enumerate() {
                    if i == 0 || *all {
                        done.push_str(&change(c))
                    } else {
                        done.push(c)
                    }
                }
                done
            }
        })
    }

    fn range(&mut self, offset: &Word, length: Option<&Word>, size: usize) -> Run<(usize, usize)> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        let mut from = self.arith_value(offset)?;
        if from < 0 {
            from += size;
        }
        let from = from.clamp(0, size);
        let to = match length {
            None => size,
            Some(word) => match self.arith_value(word)? {
                n if n < 0 => size + n,
                n => from.saturating_add(n),
            },
        };
        let to = to.clamp(from, size);
        Ok((usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0)))
    }

    fn slice_args(&mut self, offset: &Word, length: Option<&Word>) -> Run<Vec<String>> {
        let mut all = vec![self.name.clone()];
        all.extend(self.args.iter().cloned());
        let (from, to) = self.range(offset, length, all.len())?;
        Ok(all[from..to].to_vec())
    }
}

fn trim(value: &str, pattern: &[char], suffix: bool, longest: bool) -> String {
    let chars: Vec<char> = value.chars().collect();
    let n = chars.len();
    let lengths: Vec<usize> = if longest {
        (0..=n).rev().collect()
    } else {
        (0..=n).collect()
    };
    for length in lengths {
        let (part, rest) = if suffix {
            (&chars[n - length..], &chars[..n - length])
        } else {
            (&chars[..length], &chars[length..])
        };
        if pattern::matches_chars(pattern, part) {
            return rest.iter().collect();
        }
    }
    value.to_owned()
}

fn replace(value: &str, pattern: &[char], with: &str, anchor: Option<char>) -> String {
    if pattern.is_empty() {
        return value.to_owned();
    }
    let chars: Vec<char> = value.chars().collect();
    let n = chars.len();
    let mut out = String::new();
    let mut i = 0;
    while i <= n {
        let ends: Vec<usize> = if anchor == Some('%') {
            vec![n]
        } else {
            (i..=n).rev().collect()
        };
        let end = ends
            .into_iter()
            .find(|&end| end > i && pattern::matches_chars(pattern, &chars[i..end]));
        if let Some(end) = end {
            out.push_str(with);
            i = end;
            if anchor != Some('/') {
                out.extend(&chars[i..]);
                return out;
            }
            continue;
        }
        if anchor == Some('#') {
            return value.to_owned();
        }
        if let Some(c) = chars.get(i) {
            out.push(*c);
        }
        i += 1;
    }
    out
}
