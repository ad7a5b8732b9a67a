//! Paths into objects as kubectl's users write them: `.spec.containers[*].image`, `{.metadata.labels.app\.kubernetes\.io/name}`.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

/// A path, understood. Paths are equal when they are written alike.
#[derive(Clone, Debug)]
pub struct JsonPath {
    text: String,
    query: JpQuery,
}

impl PartialEq for JsonPath {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for JsonPath {}

impl JsonPath {
    /// Reads a path. Braces, `$` and the first dot may be left out, a backslash takes the next character as part of a name.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let standard = standard(text)?;
        let query = parse_json_path(&standard).map_err(|_| format!("{text:?} is not a JSONPath"))?;
        Ok(Self {
            text: text.to_owned(),
            query,
        })
    }

    /// All that it leads to in an object.
    pub fn find<'a>(&self, object: &'a Value) -> Vec<&'a Value> {
        let found = js_path_process(&self.query, object).unwrap_or_default();
        found.into_iter().map(jsonpath_rust::query::QueryRef::val).collect()
    }
}

/// The path as RFC 9535 has it: `$.spec['a.b'][*]`.
fn standard(text: &str) -> Result<String, String> {
    let inner = text.trim();
    let inner = match inner.strip_prefix('{') {
        Some(rest) => rest
            .strip_suffix('}')
            .ok_or_else(|| format!("the brace of {text:?} is not closed"))?,
        None => inner,
    };
    let inner = inner.strip_prefix('$').unwrap_or(inner);
    if inner.is_empty() {
        return Err("an empty path leads nowhere".to_owned());
    }
    let mut out = String::from("$");
    let mut chars = inner.chars().peekable();
    let mut name = String::new();
    let mut dots = usize::from(!inner.starts_with(['.', '[']));
    while let Some(ch) = chars.next() {
        match ch {
            '.' => {
                flush(&mut out, &mut name, &mut dots);
                dots += 1;
            }
            '\\' => name.extend(chars.next()),
            '[' => {
                flush(&mut out, &mut name, &mut dots);
                if std::mem::take(&mut dots) > 1 {
                    out.push_str("..");
                }
                bracket(&mut out, &mut chars).ok_or_else(|| format!("the bracket of {text:?} is not closed"))?;
            }
            ch => name.push(ch),
        }
    }
    flush(&mut out, &mut name, &mut dots);
    Ok(out)
}

/// Writes the name after one dot or two.
fn flush(out: &mut String, name: &mut String, dots: &mut usize) {
    if name.is_empty() {
        return;
    }
    if *dots > 1 {
        out.push_str("..");
    }
    match std::mem::take(name) {
        name if name == "*" => out.push_str(if *dots > 1 { "*" } else { ".*" }),
        name => {
            let quoted = name.replace('\\', "\\\\").replace('\'', "\\'");
            out.push_str(&format!("['{quoted}']"));
        }
    }
    *dots = 0;
}

/// Copies what is between brackets, quotes and inner brackets included.
fn bracket(out: &mut String, chars: &mut impl Iterator<Item = char>) -> Option<()> {
    out.push('[');
    let (mut depth, mut quote) = (1_usize, None);
    for ch in chars {
        out.push(ch);
        match (quote, ch) {
            (Some(open), ch) if ch == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(ch),
            (None, '[') => depth += 1,
            (None, ']') if depth == 1 => return Some(()),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_those_of_kubectl() {
        let object = json!({
            "metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"containers": [{"image": "x"}, {"image": "y"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        for (path, found) in [
            (".metadata.name", json!(["a"])),
            ("metadata.name", json!(["a"])),
            ("{.metadata.name}", json!(["a"])),
            ("{$.metadata.name}", json!(["a"])),
            (r".metadata.labels.app\.kubernetes\.io/name", json!(["web"])),
            (".metadata.labels['app.kubernetes.io/name']", json!(["web"])),
            (".spec.containers[*].image", json!(["x", "y"])),
            (".spec.containers[0].image", json!(["x"])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            ("..image", json!(["x", "y"])),
            (".spec.nothing", json!([])),
        ] {
            let parsed = JsonPath::parse(path).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(json!(parsed.find(&object)), found, "{path}");
        }
        for wrong in ["", "{.a", ".a[", ".a[?(]"] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
