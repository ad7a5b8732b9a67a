//! `test`, `[` and `[[`.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::ast::Test;
use super::{Run, Shell, pattern};

/// Evaluates the arguments of `test` (without the closing bracket).
pub(crate) fn evaluate(args: &[String]) -> Result<bool, String> {
    let mut parser = Args { args, pos: 0, depth: 0 };
    if args.is_empty() {
        return Ok(false);
    }
    let value = match args {
        [only] => !only.is_empty(),
        [not, only] if not == "!" => only.is_empty(),
        [op, operand] => unary(op, operand).ok_or_else(|| format!("{op}: unknown operand"))?,
        // POSIX: with three arguments a binary operator in the middle wins over everything.
        [left, op, right] if is_binary(op) => binary(left, op, right)?,
        _ => {
            let value = parser.or()?;
            if parser.pos < args.len() {
                return Err(format!("{}: unknown operand", args[parser.pos]));
            }
            value
        }
    };
    Ok(value)
}

struct Args<'a> {
    args: &'a [String],
    pos: usize,
    depth: usize,
}

impl Args<'_> {
    fn peek(&self) -> Option<&str> {
        self.args.get(self.pos).map(String::as_str)
    }

    fn or(&mut self) -> Result<bool, String> {
        let mut value = self.and()?;
        while self.peek() == Some("-o") {
            self.pos += 1;
            value |= self.and()?;
        }
        Ok(value)
    }

    fn and(&mut self) -> Result<bool, String> {
        let mut value = self.not()?;
        while self.peek() == Some("-a") {
            self.pos += 1;
            value &= self.not()?;
        }
        Ok(value)
    }

    fn not(&mut self) -> Result<bool, String> {
        self.depth += 1;
        if self.depth > 200 {
            return Err("nested too deeply".to_owned());
        }
        let value = if self.peek() == Some("!") && self.pos + 1 < self.args.len() {
            self.pos += 1;
            !self.not()?
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn primary(&mut self) -> Result<bool, String> {
        let Some(first) = self.args.get(self.pos) else {
            return Err("argument expected".to_owned());
        };
        if let (Some(op), Some(right)) = (self.args.get(self.pos + 1), self.args.get(self.pos + 2))
            && is_binary(op)
        {
            self.pos += 3;
            return binary(first, op, right);
        }
        if first == "(" {
            self.pos += 1;
            let value = self.or()?;
            if self.peek() != Some(")") {
                return Err("closing paren expected".to_owned());
            }
            self.pos += 1;
            return Ok(value);
        }
        if let Some(operand) = self.args.get(self.pos + 1)
            && let Some(value) = unary(first, operand)
        {
            self.pos += 2;
            return Ok(value);
        }
        self.pos += 1;
        Ok(!first.is_empty())
    }
}

fn is_binary(op: &str) -> bool {
    matches!(
        op,
        "=" | "==" | "!=" | "<" | ">" | "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "-nt" | "-ot" | "-ef"
    )
}

fn unary(op: &str, operand: &str) -> Option<bool> {
    let meta = || std::fs::metadata(operand);
    let kind = |check: fn(&std::fs::FileType) -> bool| meta().is_ok_and(|m| check(&m.file_type()));
    let access = |mode| nix::unistd::access(operand, mode).is_ok();
    use nix::unistd::AccessFlags;
    Some(match op {
        "-e" | "-a" => meta().is_ok(),
        "-f" => meta().is_ok_and(|m| m.is_file()),
        "-d" => meta().is_ok_and(|m| m.is_dir()),
        "-L" | "-h" => std::fs::symlink_metadata(operand).is_ok_and(|m| m.is_symlink()),
        "-b" => kind(FileTypeExt::is_block_device),
        "-c" => kind(FileTypeExt::is_char_device),
        "-p" => kind(FileTypeExt::is_fifo),
        "-S" => kind(FileTypeExt::is_socket),
        "-s" => meta().is_ok_and(|m| m.len() > 0),
        "-r" => access(AccessFlags::R_OK),
        "-w" => access(AccessFlags::W_OK),
        "-x" => access(AccessFlags::X_OK),
        "-u" => meta().is_ok_and(|m| m.permissions().mode() & 0o4000 != 0),
        "-g" => meta().is_ok_and(|m| m.permissions().mode() & 0o2000 != 0),
        "-k" => meta().is_ok_and(|m| m.permissions().mode() & 0o1000 != 0),
        "-O" => meta().is_ok_and(|m| m.uid() == nix::unistd::geteuid().as_raw()),
        "-G" => meta().is_ok_and(|m| m.gid() == nix::unistd::getegid().as_raw()),
        "-t" => operand.parse().is_ok_and(crate::sys::is_tty),
        "-z" => operand.is_empty(),
        "-n" => !operand.is_empty(),
        _ => return None,
    })
}

fn binary(left: &str, op: &str, right: &str) -> Result<bool, String> {
    let number = |text: &str| text.trim().parse::<i64>().map_err(|_| format!("{text}: bad number"));
    let modified = |path: &str| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    Ok(match op {
        "=" | "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        ">" => left > right,
        "-nt" => modified(left) > modified(right),
        "-ot" => modified(left) < modified(right),
        "-ef" => {
            let same = |a: std::fs::Metadata, b: std::fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
            std::fs::metadata(left)
                .and_then(|a| Ok(same(a, std::fs::metadata(right)?)))
                .unwrap_or(false)
        }
        _ => {
            let (a, b) = (number(left)?, number(right)?);
            match op {
                "-eq" => a == b,
                "-ne" => a != b,
                "-lt" => a < b,
                "-le" => a <= b,
                "-gt" => a > b,
                _ => a >= b,
            }
        }
    })
}

impl Shell {
    /// `[[ ... ]]`: words are not split, `==` matches patterns, `=~` regular expressions.
    pub(super) fn conditional(&mut self, test: &Test) -> Run<bool> {
        Ok(match test {
            Test::Not(inner) => !self.conditional(inner)?,
            Test::And(a, b) => self.conditional(a)? && self.conditional(b)?,
            Test::Or(a, b) => self.conditional(a)? || self.conditional(b)?,
            Test::Text(word) => !self.expand_text(word)?.is_empty(),
            Test::Unary(op, word) => {
                let operand = self.expand_text(word)?;
                if op == "-v" {
                    return Ok(self.param(&operand).is_some());
                }
                match unary(op, &operand) {
                    Some(value) => value,
                    None => return Err(self.fatal(&format!("{op}: unknown operand"))),
                }
            }
            Test::Binary(left, op, right) => {
                let left = self.expand_text(left)?;
                match op.as_str() {
                    "=" | "==" | "!=" => {
                        let pattern = self.expand_pattern(right)?;
                        pattern::matches(&pattern, &left) == (op != "!=")
                    }
                    "=~" => {
                        let text = self.expand_regex(right)?;
                        match regex::Regex::new(&text) {
                            Ok(regex) => regex.is_match(&left),
                            Err(_) => return Err(self.fatal(&format!("{text}: bad regular expression"))),
                        }
                    }
                    op if is_binary(op) => {
                        let right = self.expand_text(right)?;
                        let result = binary(&left, op, &right);
                        self.fine(result)?
                    }
                    other => return Err(self.fatal(&format!("{other}: unknown operand"))),
                }
            }
        })
    }
}

/// The programs `test` and `[`.
pub(crate) fn main(args: &[String]) -> i32 {
    let name = args.first().map_or("test", String::as_str);
    let bracket = name.rsplit('/').next() == Some("[");
    let mut rest = args.get(1..).unwrap_or_default();
    if bracket {
        match rest.split_last() {
            Some((last, before)) if last == "]" => rest = before,
            _ => {
                crate::say::fail("[", "missing ]");
                return 2;
            }
        }
    }
    match evaluate(rest) {
        Ok(value) => i32::from(!value),
        Err(message) => {
            crate::say::fail(if bracket { "[" } else { "test" }, message);
            2
        }
    }
}
