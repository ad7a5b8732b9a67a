//! `printf`.

use super::text::{Octal, unescape};

/// What `printf FORMAT ARGS...` writes, and its complaints.
pub(crate) fn format(format: &str, args: &[String]) -> (Vec<u8>, Vec<String>) {
    let mut out = Vec::new();
    let mut errors = Vec::new();
    let mut args = args.iter();
    loop {
        let before = args.len();
        if !pass(format, &mut args, &mut out, &mut errors) || args.len() == 0 || args.len() == before {
            return (out, errors);
        }
    }
}

/// One pass over the format. `false` when `\c` ended everything.
fn pass(format: &str, args: &mut std::slice::Iter<'_, String>, out: &mut Vec<u8>, errors: &mut Vec<String>) -> bool {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let (text, stop) = unescape(&rest[..at], Octal::Bare);
        out.extend(text);
        if stop {
            return false;
        }
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push(b'%');
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (spec, tail) = rest.split_at(end);
        let Some(kind) = tail.chars().next() else {
            errors.push(format!("%{spec}: invalid format"));
            return true;
        };
        rest = &tail[1..];
        let spec = Spec::parse(spec, args);
        match kind {
            's' => out.extend(spec.pad_text(args.next().map_or("", String::as_str).as_bytes())),
            'b' => {
                let (text, stop) = unescape(args.next().map_or("", String::as_str), Octal::Zero);
                out.extend(spec.pad_text(&text));
                if stop {
                    return false;
                }
            }
            'q' => out.extend(spec.pad_text(super::text::quote(args.next().map_or("", String::as_str)).as_bytes())),
            'c' => {
                let text: String = args.next().map_or("", String::as_str).chars().take(1).collect();
                out.extend(spec.pad_text(text.as_bytes()));
            }
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let text = args.next().map_or("", String::as_str);
                let value = integer(text).unwrap_or_else(|| {
                    errors.push(format!("invalid number '{text}'"));
                    0
                });
                out.extend(spec.integer(kind, value).into_bytes());
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' => {
                let text = args.next().map_or("", String::as_str);
                let value = if text.is_empty() {
                    Some(0.0)
                } else {
                    text.trim().parse::<f64>().ok()
                };
                let value = value.unwrap_or_else(|| {
                    errors.push(format!("invalid number '{text}'"));
                    0.0
                });
                out.extend(spec.float(kind, value).into_bytes());
            }
            other => {
                errors.push(format!("%{other}: invalid format"));
                return true;
            }
        }
    }
    let (text, stop) = unescape(rest, Octal::Bare);
    out.extend(text);
    !stop
}

fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Some(c) = text.strip_prefix(['\'', '"']) {
        return Some(c.chars().next().map_or(0, |c| i64::from(u32::from(c))));
    }
    if text.is_empty() {
        return Some(0);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// The widest field: a format from a stranger must not ask for gigabytes.
const MOST: usize = 65_536;

#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn parse(text: &str, args: &mut std::slice::Iter<'_, String>) -> Self {
        let mut spec = Self::default();
        let mut rest = text;
        while let Some(flag) = rest.chars().next().filter(|c| "-0+ #".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                _ => spec.alternate = true,
            }
            rest = &rest[1..];
        }
        let (width, precision) = match rest.split_once('.') {
            Some((width, precision)) => (width, Some(precision)),
            None => (rest, None),
        };
        let mut number = |text: &str, left: &mut bool| -> usize {
            let value = if text == "*" {
                args.next().and_then(|a| a.parse::<i64>().ok()).unwrap_or(0)
            } else {
                text.parse().unwrap_or(0)
            };
            *left |= value < 0;
            usize::try_from(value.unsigned_abs()).unwrap_or(MOST).min(MOST)
        };
        spec.width = number(width, &mut spec.left);
        let mut ignored = false;
        spec.precision = precision.map(|p| number(p, &mut ignored));
        spec
    }

    fn pad(&self, text: String, numeric: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            format!("{text}{}", " ".repeat(missing))
        } else if self.zero && numeric {
            let sign = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
            format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
        } else {
            format!("{}{text}", " ".repeat(missing))
        }
    }

    fn pad_text(&self, text: &[u8]) -> Vec<u8> {
        let text = &text[..self.precision.unwrap_or(text.len()).min(text.len())];
        let missing = vec![b' '; self.width.saturating_sub(String::from_utf8_lossy(text).chars().count())];
        if self.left {
            [text, &missing].concat()
        } else {
            [&missing, text].concat()
        }
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        }
    }

    fn integer(&self, kind: char, value: i64) -> String {
        let digits = match kind {
            'x' => format!("{}{value:x}", if self.alternate { "0x" } else { "" }),
            'X' => format!("{}{value:X}", if self.alternate { "0X" } else { "" }),
            'o' => format!("{}{value:o}", if self.alternate { "0" } else { "" }),
            'u' => (value as u64).to_string(),
            _ => format!("{}", value.unsigned_abs()),
        };
        let least = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let sign = if matches!(kind, 'd' | 'i') {
            self.sign(value < 0)
        } else {
            ""
        };
        self.pad(format!("{sign}{}{digits}", "0".repeat(least)), self.precision.is_none())
    }

    fn float(&self, kind: char, value: f64) -> String {
        let precision = self.precision.unwrap_or(6);
        let size = value.abs();
        let text = match kind {
            'e' | 'E' => exponent(size, precision),
            'g' | 'G' => {
                let least = precision.max(1);
                let power = if size == 0.0 { 0 } else { size.log10().floor() as i32 };
                let text = if power < -4 || power >= i32::try_from(least).unwrap_or(i32::MAX) {
                    exponent(size, least - 1)
                } else {
                    let decimals = usize::try_from(i32::try_from(least).unwrap_or(6) - 1 - power).unwrap_or(0);
                    format!("{size:.decimals$}")
                };
                match text.split_once('e') {
                    Some((m, e)) if m.contains('.') => format!("{}e{e}", m.trim_end_matches('0').trim_end_matches('.')),
                    None if text.contains('.') => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    _ => text,
                }
            }
            _ => format!("{size:.precision$}"),
        };
        let text = if kind.is_ascii_uppercase() {
            text.to_uppercase()
        } else {
            text
        };
        self.pad(
            format!("{}{text}", self.sign(value.is_sign_negative())),
            value.is_finite(),
        )
    }
}

/// C's `1.5e+03`.
fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let Some((mantissa, power)) = text.split_once('e') else {
        return text;
    };
    let (sign, digits) = match power.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', power),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn formats_are_those_of_c() {
        let run = |f: &str, args: &[&str]| {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            String::from_utf8(format(f, &args).0).expect("text")
        };
        assert_eq!(run("%s-%d\\n", &["a", "7", "b", "8"]), "a-7\nb-8\n");
        assert_eq!(run("%05d|%-4s|%4s|", &["-42", "ab", "cd"]), "-0042|ab  |  cd|");
        assert_eq!(run("%x %X %o %c %%", &["255", "255", "8", "xyz"]), "ff FF 10 x %");
        assert_eq!(
            run("%.2f %e %g %g", &["3.14159", "1500", "0.0001", "1e10"]),
            "3.14 1.500000e+03 0.0001 1e+10"
        );
        assert_eq!(run("%b", &["a\\tb"]), "a\tb");
        assert_eq!(run("no arguments\\n", &[]), "no arguments\n");
    }
}
