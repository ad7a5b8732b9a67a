//! What a plain scalar means in YAML 1.1, as `kubectl` reads it.

use serde_json::{Number, Value};

/// The value of a plain scalar.
///
/// # Errors
///
/// Infinities and NaN are numbers in YAML, but not in JSON, which is what the API speaks.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => match number(text) {
            Some(number) => Value::Number(number),
            None if is_no_number(text) => return Err(format!("{text} is no JSON number")),
            None => Value::String(text.to_owned()),
        },
    })
}

fn is_no_number(text: &str) -> bool {
    let word = text.trim_start_matches(['+', '-']);
    matches!(word, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN")
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|ch: char| ch.is_ascii_digit() || matches!(ch, '+' | '-' | '.')) {
        return None;
    }
    let plain: String = text.chars().filter(|ch| *ch != '_').collect();
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if let Some(value) = integer(digits) {
        return if negative {
            value.checked_neg().and_then(Number::from_i128)
        } else {
            Number::from_i128(value)
        };
    }
    let is_float = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    if !is_float {
        return None;
    }
    let value: f64 = plain.parse().ok()?;
    // Go writes a float without a fraction as the whole number that an integer field takes.
    if value.fract() == 0.0 && value.abs() < 9e15 {
        Some(Number::from(value as i64))
    } else {
        Number::from_f64(value)
    }
}

/// A whole number: a leading zero makes it octal.
fn integer(digits: &str) -> Option<i128> {
    let (digits, radix) = match digits.get(..2) {
        Some("0x" | "0X") => (&digits[2..], 16),
        Some("0b" | "0B") => (&digits[2..], 2),
        Some("0o" | "0O") => (&digits[2..], 8),
        Some(start) if start.starts_with('0') => (&digits[1..], 8),
        _ => (digits, 10),
    };
    // Signs are dealt with; one here would be a second.
    if !digits.starts_with(|ch: char| ch.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    (value <= i128::from(u64::MAX)).then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("yEs", json!("yEs")),
            ("80", json!(80)),
            ("-1", json!(-1)),
            ("+7", json!(7)),
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("089", json!(89)),
            ("1.", json!(1)),
            ("1e400", json!("1e400")),
            ("1_0.5", json!(10.5)),
            ("0.5", json!(0.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("100m", json!("100m")),
            ("-", json!("-")),
            ("--1", json!("--1")),
            ("0x", json!("0x")),
            ("2024-01-01", json!("2024-01-01")),
            ("12:30", json!("12:30")),
            ("infinity", json!("infinity")),
            ("한국어", json!("한국어")),
        ] {
            assert_eq!(resolve(text), Ok(expected), "{text:?}");
        }
        assert!(resolve("-.inf").is_err() && resolve(".NaN").is_err());
    }
}
