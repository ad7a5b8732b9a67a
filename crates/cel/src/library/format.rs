//! `'%s'.format([...])`, as version 2 of the strings library has it: fixed and scientific numbers are those of the
//! en_US locale.

use super::{error, number};
use crate::eval::{Cx, Outcome, fail};
use crate::types::Type;
use crate::value::{List, Map, Val};

/// Decimals, where none are asked for.
const PRECISION: usize = 6;
/// Most decimals that anybody can mean; the rest would be zeros.
const MAX_PRECISION: usize = 1000;

pub(super) fn format<'a>(cx: &mut Cx<'_, 'a>, text: &str, values: &List<'a>) -> Outcome<String> {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    let mut used = 0;
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            made.push('%');
            rest = after;
            continue;
        }
        let Some(value) = values.get(used)? else {
            return fail(format!("index {used} out of range"));
        };
        used += 1;
        if rest.is_empty() {
            return fail("unexpected end of string");
        }
        let (clause, precision, after) = clause(rest)?;
        made.push_str(&formatted(cx, clause, precision, &value)?);
        cx.may_hold(made.len())?;
        rest = after;
    }
    made.push_str(rest);
    Ok(made)
}

/// The letter, the decimals if they are given, and what follows.
fn clause(text: &str) -> Outcome<(char, Option<usize>, &str)> {
    let wrong = |why: &str| error(format!("could not parse formatting clause: {why}"));
    let (mut rest, mut precision) = (text, None);
    if let Some(after) = text.strip_prefix('.') {
        let end = after.find(|c: char| !c.is_ascii_digit());
        let end =
            end.ok_or_else(|| wrong("error while parsing precision: could not find end of precision specifier"))?;
        let number: usize = after[..end]
            .parse()
            .map_err(|_| wrong("error while parsing precision: error while converting precision to integer"))?;
        if number > MAX_PRECISION {
            let why = format!("precision {number} exceeds maximum allowed precision {MAX_PRECISION}");
            return Err(wrong(&format!("error while parsing precision: {why}")));
        }
        precision = Some(number);
        rest = &after[end..];
    }
    let letter = rest.chars().next().ok_or_else(|| wrong("unexpected end of string"))?;
    if !"sdfebxXo".contains(letter) {
        return Err(wrong(&format!("unrecognized formatting clause \"{letter}\"")));
    }
    Ok((letter, precision, &rest[1..]))
}

fn formatted<'a>(cx: &mut Cx<'_, 'a>, clause: char, precision: Option<usize>, value: &Val<'a>) -> Outcome<String> {
    let precision = precision.unwrap_or(PRECISION);
    let wrong = |what: &str| {
        let given = value.type_of();
        fail(format!("error during formatting: {what}, was given {}", given.name()))
    };
    Ok(match (clause, value) {
        ('s', value) => return string(cx, value),
        ('d', Val::Int(number)) => number.to_string(),
        ('d', Val::Uint(number)) => number.to_string(),
        ('d', _) => return wrong("decimal clause can only be used on integers"),
        ('f', value) => match double(value) {
            Some(number) => fixed(number, precision),
            None => return wrong("fixed-point clause can only be used on doubles"),
        },
        ('e', value) => match double(value) {
            Some(number) => scientific(number, precision),
            None => return wrong("scientific clause can only be used on doubles"),
        },
        ('b', Val::Int(number)) => radix(*number, |number| format!("{number:b}")),
        ('b', Val::Uint(number)) => format!("{number:b}"),
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('b', _) => return wrong("only integers and bools can be formatted as binary"),
        ('o', Val::Int(number)) => radix(*number, |number| format!("{number:o}")),
        ('o', Val::Uint(number)) => format!("{number:o}"),
        ('o', _) => return wrong("octal clause can only be used on integers"),
        (_, value) => {
            let text = match value {
                Val::Int(number) => radix(*number, |number| format!("{number:x}")),
                Val::Uint(number) => format!("{number:x}"),
                Val::String(text) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                Val::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                _ => return wrong("only integers, byte buffers, and strings can be formatted as hex"),
            };
            if clause == 'X' { text.to_ascii_uppercase() } else { text }
        }
    })
}

fn double(value: &Val<'_>) -> Option<f64> {
    match value {
        Val::Double(number) => Some(*number),
        Val::String(text) => match &**text {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn radix(number: i64, digits: fn(u64) -> String) -> String {
    format!("{}{}", if number < 0 { "-" } else { "" }, digits(number.unsigned_abs()))
}

fn special(number: f64) -> Option<&'static str> {
    match number {
        number if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("∞"),
        f64::NEG_INFINITY => Some("-∞"),
        _ => None,
    }
}

/// With commas between thousands.
fn fixed(number: f64, precision: usize) -> String {
    if let Some(text) = special(number) {
        return text.into();
    }
    let plain = format!("{number:.precision$}");
    let (sign, digits) = plain
        .strip_prefix('-')
        .map_or(("", plain.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.find('.').map_or((digits, ""), |at| digits.split_at(at));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

/// `1.234500×10⁰³`
fn scientific(number: f64, precision: usize) -> String {
    if let Some(text) = special(number) {
        return text.into();
    }
    let plain = format!("{number:.precision$e}");
    let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let (sign, digits) = exponent
        .strip_prefix('-')
        .map_or(("", exponent), |digits| ("⁻", digits));
    let raised: String = format!("{digits:0>2}")
        .chars()
        .filter_map(|digit| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit.to_digit(10)? as usize))
        .collect();
    format!("{mantissa}×10{sign}{raised}")
}

fn string<'a>(cx: &mut Cx<'_, 'a>, value: &Val<'a>) -> Outcome<String> {
    match value {
        Val::Null => Ok("null".into()),
        Val::List(list) => list_text(cx, list),
        Val::Map(map) => map_text(cx, map),
        Val::Opaque(_) | Val::Optional(_) | Val::Object(_) => fail(format!(
            "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
            value.type_of().name()
        )),
        other => Ok(number::to_string(other)?.to_string()),
    }
}

/// A value within a list or a map: such that it could be read again.
fn nested<'a>(cx: &mut Cx<'_, 'a>, value: &Val<'a>) -> Outcome<String> {
    cx.work(8)?;
    Ok(match value {
        Val::String(text) => format!("{:?}", &**text),
        Val::Bytes(_) => format!("b{:?}", number::to_string(value)?.to_string()),
        Val::Timestamp(at) => format!("timestamp(\"{at}\")"),
        Val::Duration(_) => format!("duration({:?})", number::to_string(value)?.to_string()),
        Val::Double(number) => match special(*number) {
            Some(_) => format!("{:?}", number::double_text(*number)),
            None => format!("{number:.PRECISION$}"),
        },
        Val::Type(Type::Type(_)) => "type".into(),
        other => string(cx, other)?,
    })
}

fn list_text<'a>(cx: &mut Cx<'_, 'a>, list: &List<'a>) -> Outcome<String> {
    let mut parts = Vec::with_capacity(list.len());
    for item in list.to_vec()? {
        parts.push(nested(cx, &item)?);
    }
    Ok(format!("[{}]", parts.join(", ")))
}

fn map_text<'a>(cx: &mut Cx<'_, 'a>, map: &Map<'a>) -> Outcome<String> {
    let mut parts = Vec::with_capacity(map.len());
    map.each(&mut |key, value| {
        if !matches!(key, Val::String(_) | Val::Bool(_) | Val::Int(_) | Val::Uint(_)) {
            return fail(format!(
                "no formatting function for map key of type {}",
                key.type_of().name()
            ));
        }
        parts.push((nested(cx, &key)?, nested(cx, &value)?));
        Ok(true)
    })?;
    parts.sort();
    let parts: Vec<String> = parts.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", parts.join(", ")))
}
