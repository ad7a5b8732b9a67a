//! Whether a JSON value fits a scalar type.

use knarr_apimachinery::Quantity;
use serde_json::Value;

use crate::table::Kind;

/// Whether the value's JSON type fits; an error if it does but its text does not.
pub(super) fn check(kind: &Kind, value: &Value) -> Result<bool, String> {
    match (kind, value) {
        (Kind::String | Kind::IntOrString, Value::String(_)) | (Kind::Bool, Value::Bool(_)) => Ok(true),
        (Kind::Float, Value::Number(_)) => Ok(true),
        (Kind::Int32 | Kind::IntOrString, Value::Number(number)) => {
            Ok(number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()))
        }
        (Kind::Int64, Value::Number(number)) => Ok(number.as_i64().is_some()),
        (Kind::Quantity, Value::String(text)) => Quantity::parse(text.trim())
            .map(|_| true)
            .map_err(|error| error.to_string()),
        (Kind::Quantity, other) => Quantity::parse(&other.to_string())
            .map(|_| true)
            .map_err(|error| error.to_string()),
        (Kind::Bytes, Value::String(text)) => match bad_base64(text) {
            Some(at) => Err(format!("illegal base64 data at input byte {at}")),
            None => Ok(true),
        },
        (Kind::Time, Value::String(text)) => check_time(text, "2006-01-02T15:04:05Z07:00").map(|()| true),
        (Kind::MicroTime, Value::String(text)) => check_time(text, "2006-01-02T15:04:05.000000Z07:00").map(|()| true),
        _ => Ok(false),
    }
}

/// Where Go's decoder of standard base64, which skips line ends, gives up.
fn bad_base64(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut in_quantum = 0;
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' | b'\n' => continue,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => {
                if in_quantum == 0 {
                    start = at;
                }
                in_quantum = (in_quantum + 1) % 4;
            }
            b'=' if in_quantum >= 2 => {
                let rest = bytes[at + 1..]
                    .iter()
                    .enumerate()
                    .filter(|(_, b)| !matches!(b, b'\r' | b'\n'));
                let mut rest = rest.map(|(i, &b)| (at + 1 + i, b));
                if in_quantum == 2 {
                    match rest.next() {
                        Some((_, b'=')) => {}
                        Some((at, _)) => return Some(at),
                        None => return Some(bytes.len()),
                    }
                }
                return rest.next().map(|(at, _)| at);
            }
            _ => return Some(at),
        }
    }
    (in_quantum != 0).then_some(start)
}

/// Go reads a time element by element of its layout and names the first that fails.
fn check_time(text: &str, layout: &str) -> Result<(), String> {
    let fail = |rest: &str, element: &str| {
        Err(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}"
        ))
    };
    let mut rest = text;
    for element in ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05"] {
        let good = match rest.split_at_checked(element.len()) {
            Some((head, _)) if element.len() > 1 => head.bytes().all(|b| b.is_ascii_digit()),
            Some((head, _)) => head == element,
            None => false,
        };
        if !good {
            return fail(rest, element);
        }
        rest = &rest[element.len()..];
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let zone = rest.as_bytes();
    let good = match zone {
        [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !good {
        return fail(rest, "Z07:00");
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap_or(u32::MAX);
    let month = number(5..7);
    for (bad, what) in [
        (!(1..=12).contains(&month), "month"),
        (!(1..=31).contains(&number(8..10)), "day"),
        (number(11..13) > 23, "hour"),
        (number(14..16) > 59, "minute"),
        (number(17..19) > 59, "second"),
        (text.parse::<jiff::Timestamp>().is_err(), "day"),
    ] {
        if bad {
            return Err(format!("parsing time {text:?}: {what} out of range"));
        }
    }
    Ok(())
}
