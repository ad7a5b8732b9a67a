//! Objects as YAML. Written here rather than by a serialiser, so that every token has its role, keys stand in the order people
//! read them, and no string is written that YAML 1.1, which `kubectl` reads, would take for something else.

use serde_json::{Map, Value};

use crate::document::{Document, TextLine};
use crate::text;
use crate::theme::Role;

/// Keys longer than a parser accepts before a colon are written in YAML's explicit form.
const LONG_KEY: usize = 500;

/// The keys of an object that come first and those that come last.
const OBJECT: (&[&str], &[&str]) = (&["apiVersion", "kind", "metadata", "spec"], &["status"]);
const METADATA: (&[&str], &[&str]) = (&["name", "generateName", "namespace", "labels", "annotations"], &[]);

/// An object as YAML.
pub(super) fn document(object: &Value) -> Document {
    let mut writer = Writer {
        lines: Vec::new(),
        line: TextLine::new(),
    };
    match object {
        Value::Object(map) if !map.is_empty() => writer.map(map, 0, OBJECT, true),
        Value::Array(items) if !items.is_empty() => writer.list(items, 0),
        other => {
            writer.scalar(other, 0);
            writer.end(0);
        }
    }
    Document { lines: writer.lines }
}

struct Writer {
    lines: Vec<TextLine>,
    /// The line being written.
    line: TextLine,
}

impl Writer {
    fn end(&mut self, indent: usize) {
        let line = std::mem::take(&mut self.line).hanging(indent + 2);
        self.lines.push(line);
    }

    fn indent(&mut self, indent: usize) {
        self.line.push(Role::Text, &" ".repeat(indent));
    }

    /// Writes a map whose first key the line is ready for.
    fn map(&mut self, map: &Map<String, Value>, indent: usize, order: (&[&str], &[&str]), object: bool) {
        let rank = |key: &str| match (order.0.iter().position(|first| *first == key), order.1.contains(&key)) {
            (Some(at), _) => at,
            (None, false) => order.0.len(),
            (None, true) => order.0.len() + 1,
        };
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_by_key(|(key, _)| rank(key));
        for (at, (key, value)) in entries.into_iter().enumerate() {
            if at > 0 {
                self.indent(indent);
            }
            let written = quoted(key);
            if written.len() > LONG_KEY {
                self.line.push(Role::Field, &format!("? {written}"));
                self.end(indent);
                self.indent(indent);
            } else {
                self.line.push(Role::Field, &written);
            }
            self.line.push(Role::Dim, ":");
            match value {
                Value::Object(inner) if object && key == "metadata" && !inner.is_empty() => {
                    self.end(indent);
                    self.indent(indent + 2);
                    self.map(inner, indent + 2, METADATA, false);
                }
                value => self.value(value, indent),
            }
        }
    }

    /// Writes the value after a colon.
    fn value(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.end(indent);
                self.indent(indent + 2);
                self.map(map, indent + 2, (&[], &[]), false);
            }
            Value::Array(items) if !items.is_empty() => {
                self.end(indent);
                self.indent(indent);
                self.list(items, indent);
            }
            other => {
                self.line.push(Role::Text, " ");
                self.scalar(other, indent);
                self.end(indent);
            }
        }
    }

    /// Writes a list whose first dash the line is ready for.
    fn list(&mut self, items: &[Value], indent: usize) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.indent(indent);
            }
            self.line.push(Role::Dim, "- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.map(map, indent + 2, (&[], &[]), false),
                Value::Array(inner) if !inner.is_empty() => self.list(inner, indent + 2),
                other => {
                    self.scalar(other, indent);
                    self.end(indent);
                }
            }
        }
    }

    /// Writes what needs no structure: scalars, and what is empty. Block scalars leave their last line open.
    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.line.push(Role::Literal, "null"),
            Value::Bool(value) => self.line.push(Role::Literal, if *value { "true" } else { "false" }),
            Value::Number(number) => self.line.push(Role::Number, &number.to_string()),
            Value::String(text) if is_block(text) => self.block(text, indent),
            Value::String(text) => self.line.push(Role::String, &quoted(text)),
            Value::Array(_) => self.line.push(Role::Dim, "[]"),
            Value::Object(_) => self.line.push(Role::Dim, "{}"),
        }
    }

    fn block(&mut self, text: &str, indent: usize) {
        let body = text.strip_suffix('\n');
        let sign = match body {
            None => "|-",
            Some(body) if body.ends_with('\n') => "|+",
            Some(_) => "|",
        };
        self.line.push(Role::Dim, sign);
        for line in body.unwrap_or(text).split('\n') {
            self.end(indent);
            if !line.is_empty() {
                self.indent(indent + 2);
                self.line.push(Role::String, line);
            }
        }
    }
}

/// Whether the text is best written as the lines it is: only where every parser reads it back the same.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with(' ')
        && !text.contains(" \n")
        && text.split('\n').all(is_harmless)
}

/// Whether the text is shown as it is.
fn is_harmless(line: &str) -> bool {
    matches!(text::clean(line), std::borrow::Cow::Borrowed(_))
        && !line.contains(['\u{2028}', '\u{2029}', '\u{fffe}', '\u{ffff}'])
}

/// A string as a scalar on one line.
fn quoted(text: &str) -> String {
    if !is_harmless(text) || is_ambiguous(text) {
        escaped(text)
    } else if is_plain(text) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for ch in text.chars() {
        match ch {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(ch),
            _ if is_harmless(ch.encode_utf8(&mut [0; 4])) => out.push(ch),
            _ if (ch as u32) < 0x100 => out.push_str(&format!("\\x{:02x}", ch as u32)),
            _ if (ch as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", ch as u32)),
            _ => out.push_str(&format!("\\U{:08x}", ch as u32)),
        }
    }
    out.push('"');
    out
}

/// Whether the string needs no quotes, apart from meaning something else without them.
fn is_plain(text: &str) -> bool {
    let starts = |ch: char| ch.is_alphanumeric() || matches!(ch, '/' | '_' | '.' | '+' | '(' | '$' | ';' | '<' | '^');
    text.starts_with(starts) && !text.ends_with([' ', ':']) && !text.contains(": ") && !text.contains(" #")
}

/// Whether the string without quotes would be a null, boolean, number or date to some YAML parser.
fn is_ambiguous(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity",
    ];
    if text.is_empty() {
        return true;
    }
    if text.len() > 64 {
        // No date and no word: at most a very long number.
        return text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || b"._+-:xob".contains(&byte));
    }
    if !text.starts_with(|ch: char| ch.is_ascii_alphanumeric() || matches!(ch, '.' | '+' | '-')) {
        return false;
    }
    let lower = text.trim_start_matches(['+', '-', '.']).to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    let digits: String = text.chars().filter(|ch| *ch != '_').collect();
    let radix = lower.starts_with("0x") || lower.starts_with("0o") || lower.starts_with("0b");
    let sexagesimal = lower.contains(':')
        && lower
            .chars()
            .all(|ch| ch.is_ascii_digit() || matches!(ch, ':' | '.' | '_'));
    let date = text.len() >= 8
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && text.as_bytes()[4] == b'-'
        && text.as_bytes()[5].is_ascii_digit();
    digits.parse::<f64>().is_ok() || radix || sexagesimal || date
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn plain(value: &Value) -> String {
        document(value).plain()
    }

    #[test]
    fn an_object_reads_as_people_write_it() {
        let object = json!({
            "status": {"phase": "Running"},
            "spec": {"containers": [{"name": "web", "args": ["-c", "exit 1"], "ports": [{"containerPort": 80}], "env": []}]},
            "data": {"a": "1", "conf": "listen 80;\nroot /x;\n", "keep": "x\n\n", "strip": "a\nb", "tab": "a\tb\n"},
            "metadata": {"uid": "x", "labels": {"app": "web", "on": "yes"}, "namespace": "default", "name": "web",
                "creationTimestamp": "2024-01-01T00:00:00Z"},
            "kind": "Pod",
            "apiVersion": "v1",
        });
        assert_eq!(
            plain(&object),
            r#"apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: default
  labels:
    app: web
    "on": "yes"
  uid: x
  creationTimestamp: "2024-01-01T00:00:00Z"
spec:
  containers:
  - name: web
    args:
    - '-c'
    - exit 1
    ports:
    - containerPort: 80
    env: []
data:
  a: "1"
  conf: |
    listen 80;
    root /x;
  keep: |+
    x

  strip: |-
    a
    b
  tab: "a\tb\n"
status:
  phase: Running
"#
        );
    }

    #[test]
    fn hostile_bytes_are_escaped_and_survive() {
        let value = json!({"a\u{1b}[2J": "x\u{9b}\u{7}\u{202e}\u{feff}\u{ffff}\r\n", "\u{e0001}": ["\u{0}"]});
        let text = plain(&value);
        assert!(
            text.chars().all(|ch| ch == '\n' || (' '..='~').contains(&ch)),
            "{text:?}"
        );
        assert_eq!(serde_yaml::from_str::<Value>(&text).expect("YAML"), value);
    }

    #[test]
    fn strings_that_look_like_something_else_are_quoted() {
        for text in [
            "",
            "1",
            "1e3",
            "0x1f",
            "0o7",
            "1_000",
            "12:30:45",
            ".5",
            "+1",
            "-1",
            "yes",
            "No",
            "~",
            "null",
            ".inf",
            "-.INF",
            "2024-01-01",
            "=",
            "<<",
            "y",
            "NaN",
            &"1".repeat(70),
        ] {
            assert!(quoted(text).starts_with(['"', '\'', '<']), "{text}");
            assert_ne!(quoted(text), text.trim_matches('<'), "{text}");
        }
        for text in [
            "web",
            "10.96.0.1",
            "1.2.3",
            "busybox:1.28",
            "/bin/sh",
            "100m",
            "128Mi",
            "a b",
            "v1",
            "0/1",
            "sha256:0a",
        ] {
            assert_eq!(quoted(text), text);
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,12}",
            "[a-c\n \t:#'\"|>-]{0,12}",
            "\\PC{0,8}",
            any::<String>().prop_map(|text| text.chars().take(8).collect()),
            Just("x".repeat(LONG_KEY + 1)),
            "[0-9._:eExo+-]{0,6}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(value in values()) {
            let text = plain(&value);
            let read: Value = serde_yaml::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
