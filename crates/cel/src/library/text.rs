//! Functions on text: the language's own, the strings library (version 2) and Kubernetes' regular expressions.

use regex::Regex;

use super::{Run, error, format, unfit};
use crate::eval::{Cx, Outcome, fail};
use crate::value::Val;

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "contains" => |_, args, _| test(args, |text, part| text.contains(part)),
        "startsWith" => |_, args, _| test(args, |text, part| text.starts_with(part)),
        "endsWith" => |_, args, _| test(args, |text, part| text.ends_with(part)),
        "matches" => |cx, args, ready| match args {
            [Val::String(text), Val::String(pattern)] => Ok(Val::Bool(regex(cx, pattern, ready)?.is_match(text))),
            _ => unfit(),
        },
        "find" => |cx, args, ready| match args {
            [Val::String(text), Val::String(pattern)] => {
                let found = regex(cx, pattern, ready)?.find(text).map_or("", |found| found.as_str());
                Ok(Val::string(found))
            }
            _ => unfit(),
        },
        "findAll" => |cx, args, ready| {
            let (text, pattern, limit) = match args {
                [Val::String(text), Val::String(pattern)] => (text, pattern, -1),
                [Val::String(text), Val::String(pattern), Val::Int(limit)] => (text, pattern, *limit),
                _ => return unfit(),
            };
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            let pattern = regex(cx, pattern, ready)?;
            Ok(Val::list(
                pattern
                    .find_iter(text)
                    .take(most)
                    .map(|found| Val::string(found.as_str()))
                    .collect(),
            ))
        },
        "charAt" => |_, args, _| match args {
            [Val::String(text), Val::Int(at)] => {
                let length = text.chars().count();
                match usize::try_from(*at) {
                    Ok(at) if at <= length => {
                        let found = text.chars().nth(at);
                        Ok(Val::string(found.map(String::from).unwrap_or_default()))
                    }
                    _ => fail(format!("index out of range: {at}")),
                }
            }
            _ => unfit(),
        },
        "lowerAscii" => |_, args, _| made(args, |text| text.to_ascii_lowercase()),
        "upperAscii" => |_, args, _| made(args, |text| text.to_ascii_uppercase()),
        "trim" => |_, args, _| made(args, |text| text.trim().to_owned()),
        "strings.quote" => |_, args, _| made(args, quote),
        "jsonpatch.escapeKey" => |_, args, _| made(args, |text| text.replace('~', "~0").replace('/', "~1")),
        "replace" => |cx, args, _| replace(cx, args),
        "split" => |_, args, _| split(args),
        "substring" => |_, args, _| substring(args),
        "join" => |cx, args, _| join(cx, args),
        "format" => |cx, args, _| match args {
            [Val::String(text), Val::List(values)] => Ok(Val::string(format::format(cx, text, values)?)),
            _ => unfit(),
        },
        _ => return None,
    })
}

/// The pattern that was compiled beforehand, or one for now.
fn regex(cx: &mut Cx<'_, '_>, pattern: &str, ready: Option<&Regex>) -> Outcome<Regex> {
    match ready {
        Some(ready) => Ok(ready.clone()),
        None => cx.pattern(pattern),
    }
}

fn test<'a>(args: &[Val<'a>], holds: fn(&str, &str) -> bool) -> Outcome<Val<'a>> {
    match args {
        [Val::String(text), Val::String(part)] => Ok(Val::Bool(holds(text, part))),
        _ => unfit(),
    }
}

fn made<'a>(args: &[Val<'a>], make: fn(&str) -> String) -> Outcome<Val<'a>> {
    match args {
        [Val::String(text)] => Ok(Val::string(make(text))),
        _ => unfit(),
    }
}

/// `indexOf` of text, counted in characters.
pub(super) fn index_of<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, part, from) = match args {
        [Val::String(text), Val::String(part)] => (text, part, 0),
        [Val::String(text), Val::String(part), Val::Int(from)] => (text, part, *from),
        _ => return unfit(),
    };
    let Ok(from) = usize::try_from(from) else {
        return fail(format!("index out of range: {from}"));
    };
    if part.is_empty() {
        return Ok(Val::Int(from.min(text.chars().count()) as i64));
    }
    let start = text.char_indices().nth(from).map(|(at, _)| at);
    let found = start.and_then(|start| text[start..].find(&**part).map(|at| start + at));
    Ok(Val::Int(found.map_or(-1, |at| text[..at].chars().count() as i64)))
}

/// `lastIndexOf` of text: the last that begins no later than the given place.
pub(super) fn last_index_of<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, part, from) = match args {
        [Val::String(text), Val::String(part)] => (text, part, None),
        [Val::String(text), Val::String(part), Val::Int(from)] => (text, part, Some(*from)),
        _ => return unfit(),
    };
    let length = text.chars().count();
    let from = match from {
        None if part.is_empty() => return Ok(Val::Int(length as i64)),
        None if length == 0 => return Ok(Val::Int(-1)),
        None => length - 1,
        Some(from) => match usize::try_from(from) {
            Ok(from) => from,
            Err(_) => return fail(format!("index out of range: {from}")),
        },
    };
    if part.is_empty() {
        return Ok(Val::Int(from.min(length) as i64));
    }
    let Some((start, _)) = text.char_indices().nth(from) else {
        return Ok(Val::Int(-1));
    };
    let end = (start + part.len()).min(text.len());
    let end = (end..=text.len())
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(text.len());
    let found = text[..end].rfind(&**part);
    Ok(Val::Int(found.map_or(-1, |at| text[..at].chars().count() as i64)))
}

fn replace<'a>(cx: &mut Cx<'_, 'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, old, new, most) = match args {
        [Val::String(text), Val::String(old), Val::String(new)] => (text, old, new, -1),
        [Val::String(text), Val::String(old), Val::String(new), Val::Int(most)] => (text, old, new, *most),
        _ => return unfit(),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let places = if old.is_empty() {
        text.chars().count() + 1
    } else {
        text.len() / old.len()
    };
    cx.may_hold(text.len().saturating_add(places.min(most).saturating_mul(new.len())))?;
    Ok(Val::string(text.replacen(&**old, new, most)))
}

fn split<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, separator, most) = match args {
        [Val::String(text), Val::String(separator)] => (text, separator, -1),
        [Val::String(text), Val::String(separator), Val::Int(most)] => (text, separator, *most),
        _ => return unfit(),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let parts: Vec<&str> = if most == 0 {
        Vec::new()
    } else if separator.is_empty() {
        // Between any two characters.
        let mut rest: &str = text;
        let mut parts = Vec::new();
        while let Some(first) = rest.chars().next() {
            if parts.len() + 1 == most {
                break;
            }
            let (part, after) = rest.split_at(first.len_utf8());
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(rest);
        }
        parts
    } else {
        text.splitn(most, &**separator).collect()
    };
    Ok(Val::list(parts.into_iter().map(Val::string).collect()))
}

fn substring<'a>(args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (text, start, end) = match args {
        [Val::String(text), Val::Int(start)] => (text, *start, None),
        [Val::String(text), Val::Int(start), Val::Int(end)] => (text, *start, Some(*end)),
        _ => return unfit(),
    };
    let length = text.chars().count() as i64;
    if let Some(end) = end.filter(|end| start > *end) {
        return fail(format!("invalid substring range. start: {start}, end: {end}"));
    }
    let end = end.unwrap_or(length);
    for at in [start, end] {
        if !(0..=length).contains(&at) {
            return fail(format!("index out of range: {at}"));
        }
    }
    let part: String = text.chars().skip(start as usize).take((end - start) as usize).collect();
    Ok(Val::string(part))
}

fn join<'a>(cx: &mut Cx<'_, 'a>, args: &[Val<'a>]) -> Outcome<Val<'a>> {
    let (list, separator) = match args {
        [Val::List(list)] => (list, ""),
        [Val::List(list), Val::String(separator)] => (list, &**separator),
        _ => return unfit(),
    };
    let mut joined = String::new();
    let mut first = true;
    list.each(&mut |item| {
        let Val::String(item) = item else {
            return Err(error(format!("join: invalid input: {item}")));
        };
        if !std::mem::take(&mut first) {
            joined.push_str(separator);
        }
        joined.push_str(&item);
        cx.may_hold(joined.len())?;
        Ok(true)
    })?;
    Ok(Val::string(joined))
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
