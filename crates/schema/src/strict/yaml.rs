//! YAML as Kubernetes reads it: version 1.1 in its scalars (`yes` is a bool, `0644` is octal), converted to JSON.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

use super::{MAX_DEPTH, ParseError, json};

/// What anchors and their aliases may add to a document, in bytes: a few nested ones can stand for gigabytes.
const MAX_ALIASED: usize = 16 << 20;

/// The document (the first, if there are several) and its duplicate fields; of duplicates the last one counts.
pub fn parse(body: &[u8]) -> Result<(Value, Vec<String>), ParseError> {
    let text = std::str::from_utf8(body).map_err(|_| error(None, "invalid UTF-8"))?;
    if text.trim_start().starts_with('{')
        && let Ok(parsed) = json::parse(body)
    {
        return Ok(parsed);
    }
    let mut options = Options::default();
    options.emit_comments = false;
    options.block_nesting_limit = MAX_DEPTH - 1;
    options.flow_nesting_limit = MAX_DEPTH - 1;
    let mut document = Document {
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        aliased: 0,
        duplicates: String::new(),
        depth: 0,
    };
    let value = document.first()?;
    let mut duplicates = Vec::new();
    if !document.duplicates.is_empty() {
        duplicates.push(format!("yaml: unmarshal errors:{}", document.duplicates));
    }
    Ok((value, duplicates))
}

struct Document<'a> {
    events: Parser<'a, StrInput<'a>>,
    /// Each anchor's value and what a copy of it costs.
    anchors: HashMap<usize, (Value, usize)>,
    aliased: usize,
    duplicates: String,
    depth: usize,
}

impl<'a> Document<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), ParseError> {
        loop {
            match self.events.next() {
                Some(Ok((Event::StreamStart | Event::DocumentStart(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(failed)) => return Err(syntax(&failed)),
                None => return Err(error(None, "unexpected end of the document")),
            }
        }
    }

    fn first(&mut self) -> Result<Value, ParseError> {
        match self.next()? {
            (Event::StreamEnd | Event::DocumentEnd, _) => Ok(Value::Null),
            (event, span) => self.value(event, &span),
        }
    }

    /// The value that begins with this event. A document nests no deeper than the parser's limits allow.
    fn value(&mut self, event: Event<'a>, span: &Span) -> Result<Value, ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(error(Some(span), "exceeded max depth"));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(text, style, tag.as_deref(), span)?),
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.value(event, &span)?),
                    }
                }
                (anchor, items.into())
            }
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping()?.into()),
            Event::Alias(anchor) => {
                // An anchor that is still open is an endless value.
                let (value, cost) = self
                    .anchors
                    .get(&anchor)
                    .ok_or_else(|| error(Some(span), "anchor value contains itself"))?;
                let copies = Self::charge(self.aliased, *cost)?;
                let value = value.clone();
                self.aliased = copies;
                (0, value)
            }
            _ => return Err(error(Some(span), "did not find expected node content")),
        };
        if anchor != 0 {
            // The copy that is kept for the aliases counts as well: anchors can nest.
            let cost = cost(&value);
            self.aliased = Self::charge(self.aliased, cost)?;
            self.anchors.insert(anchor, (value.clone(), cost));
        }
        self.depth -= 1;
        Ok(value)
    }

    /// What has been copied so far and one copy more.
    fn charge(so_far: usize, cost: usize) -> Result<usize, ParseError> {
        let total = so_far.saturating_add(cost);
        match total > MAX_ALIASED {
            true => Err(error(None, "document contains excessive aliasing")),
            false => Ok(total),
        }
    }

    fn mapping(&mut self) -> Result<Map<String, Value>, ParseError> {
        let mut map = Map::new();
        let mut merged: HashSet<String> = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(map);
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match self.value(event, &span)? {
                Value::String(key) => key,
                Value::Bool(key) => key.to_string(),
                Value::Number(key) => key.to_string(),
                other => return Err(error(Some(&span), &format!("unsupported map key {other}"))),
            };
            let (event, value_span) = self.next()?;
            let value = self.value(event, &value_span)?;
            if is_merge {
                merge(&mut map, value, &mut merged, &value_span)?;
                continue;
            }
            if map.contains_key(&key) && !merged.remove(&key) && self.duplicates.len() < 1 << 16 {
                let _ = write!(
                    self.duplicates,
                    "\n  line {}: key {key:?} already set in map",
                    span.start.line()
                );
            }
            map.insert(key, value);
        }
    }
}

/// `<<: *defaults` adds what the mapping does not say itself.
fn merge(
    map: &mut Map<String, Value>,
    from: Value,
    merged: &mut HashSet<String>,
    span: &Span,
) -> Result<(), ParseError> {
    match from {
        Value::Object(from) => {
            for (key, value) in from {
                if !map.contains_key(&key) {
                    merged.insert(key.clone());
                    map.insert(key, value);
                }
            }
            Ok(())
        }
        Value::Array(items) if items.iter().all(Value::is_object) => {
            items.into_iter().try_for_each(|item| merge(map, item, merged, span))
        }
        _ => Err(error(
            Some(span),
            "map merge requires map or sequence of maps as the value",
        )),
    }
}

fn cost(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(cost).sum(),
            Value::Object(map) => map.iter().map(|(key, value)| key.len() + cost(value)).sum(),
            _ => 0,
        }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Value, ParseError> {
    let tag = tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
    match tag.as_deref() {
        Some("binary") => {
            let bytes = STANDARD.decode(text.split_whitespace().collect::<String>()).ok();
            let bytes = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            return bytes
                .map(Value::from)
                .ok_or_else(|| error(Some(span), "!!binary value contains invalid base64 data"));
        }
        Some("str") => return Ok(text.into_owned().into()),
        _ if style != ScalarStyle::Plain => return Ok(text.into_owned().into()),
        _ => {}
    }
    Ok(match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => true.into(),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => false.into(),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan" | ".NaN"
        | ".NAN" => {
            return Err(error(Some(span), &format!("JSON has no value for {text}")));
        }
        _ => match number(&text) {
            Some(number) => Value::Number(number),
            None => text.into_owned().into(),
        },
    })
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, &plain[..]),
    };
    let radix = |prefixes: [&str; 2]| prefixes.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let parse = |digits: &str, radix| {
        // from_str_radix takes a sign of its own.
        let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
        if plain {
            i128::from_str_radix(digits, radix).ok()
        } else {
            None
        }
    };
    let whole = if let Some(digits) = radix(["0x", "0X"]) {
        parse(digits, 16)
    } else if let Some(digits) = radix(["0b", "0B"]) {
        parse(digits, 2)
    } else if let Some(digits) = radix(["0o", "0O"]) {
        parse(digits, 8)
    } else if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        parse(digits, 8)
    } else {
        parse(digits, 10)
    };
    if let Some(whole) = whole {
        let whole = if negative { -whole } else { whole };
        if let Ok(number) = i64::try_from(whole) {
            return Some(number.into());
        }
        return match u64::try_from(whole) {
            Ok(number) => Some(number.into()),
            Err(_) => Number::from_f64(whole as f64),
        };
    }
    let mut parts = digits.splitn(2, ['e', 'E']);
    let (mantissa, exponent) = (parts.next()?, parts.next());
    let mantissa_is_one = mantissa.bytes().any(|b| b.is_ascii_digit())
        && mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && mantissa.bytes().filter(|b| *b == b'.').count() <= 1;
    let exponent_is_one = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    if !(mantissa_is_one && exponent_is_one) {
        return None;
    }
    let float: f64 = plain.parse().ok()?;
    // JSON in Go writes 1.0 as 1, so that a count in YAML may be given as 1e3.
    let whole = float as i64;
    if whole as f64 == float && whole.unsigned_abs() < 1 << 53 {
        Some(whole.into())
    } else {
        Number::from_f64(float)
    }
}

fn syntax(failed: &ScanError) -> ParseError {
    ParseError(format!(
        "error converting YAML to JSON: yaml: line {}: {}",
        failed.marker().line(),
        failed.info()
    ))
}

fn error(span: Option<&Span>, what: &str) -> ParseError {
    ParseError(match span {
        Some(span) => format!(
            "error converting YAML to JSON: yaml: line {}: {what}",
            span.start.line()
        ),
        None => format!("error converting YAML to JSON: yaml: {what}"),
    })
}
