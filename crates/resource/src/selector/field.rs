//! Field selectors: `status.phase!=Failed,spec.nodeName=n1`.

use crate::field::quote;
use crate::resource::{Fields, ResourceInfo};
use crate::status::Status;
use serde_json::Value;

/// Conditions on fields, all of which must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    label: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses the text form for a resource; only the fields that the resource offers can be asked for.
    pub fn parse(resource: &ResourceInfo, selector: &str) -> Result<Self, Status> {
        let parsed = Self::read(selector)?;
        let offered = resource.fields(&Value::Null);
        match parsed.0.iter().find(|term| offered.get(&term.label).is_none()) {
            Some(term) => Err(Status::bad_request(unknown(&term.label, &offered))),
            None => Ok(parsed),
        }
    }

    /// Parses the text form, whatever it may be about.
    pub fn read(selector: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in split(selector).into_iter().filter(|part| !part.is_empty()) {
            let Some((label, equal, value)) = halves(part) else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{selector}'; can't understand '{part}'"
                )));
            };
            let value = unescape(value).map_err(Status::bad_request)?;
            terms.push(Term {
                label: label.to_owned(),
                equal,
                value,
            });
        }
        Ok(Self(terms))
    }

    /// Whether an object with these fields is selected.
    pub fn matches(&self, fields: &Fields) -> bool {
        self.0
            .iter()
            .all(|term| (fields.get(&term.label).unwrap_or_default() == term.value) == term.equal)
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that `label` must have, if one is asked for: a list by `metadata.name` is a lookup.
    pub fn exact(&self, label: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|t| t.equal && t.label == label)
            .map(|t| t.value.as_str())
    }
}

/// Kinds that offer fields of their own say less about the others than kinds that offer none.
fn unknown(label: &str, offered: &Fields) -> String {
    if offered.labels().any(|l| !l.starts_with("metadata.")) {
        return format!("field label not supported: {label}");
    }
    format!(
        "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        quote(label)
    )
}

/// Splits at commas that are not escaped.
fn split(selector: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&selector[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&selector[start..]);
    parts
}

fn halves(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = term[at..].strip_prefix(operator) {
            return Some((&term[..at], equal, value));
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => text.push(c),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(format!("invalid field selector: invalid escape sequence: {sequence}"));
                }
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {c}")),
            c => text.push(c),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;
    use serde_json::json;

    #[test]
    fn fields_are_compared_as_text() {
        let pods = find("", "v1", "pods").expect("served");
        let pod = json!({"metadata": {"name": "a", "namespace": "d"}, "spec": {"nodeName": "n"}, "status": {"phase": "Failed"}});
        for (selector, selected) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,metadata.namespace=d", true),
            ("status.phase!=Failed", false),
            ("spec.nodeName=,metadata.name=a", false),
            ("spec.nodeName!=", true),
            ("metadata.name=a\\,b", false),
        ] {
            let parsed = FieldSelector::parse(pods, selector).unwrap_or_else(|e| panic!("{selector}: {e:?}"));
            assert_eq!(parsed.matches(&pods.fields(&pod)), selected, "{selector}");
        }
        let by_name = FieldSelector::parse(pods, "metadata.name=a").expect("valid");
        assert_eq!(
            (by_name.exact("metadata.name"), by_name.exact("spec.nodeName")),
            (Some("a"), None)
        );
    }

    #[test]
    fn a_field_that_is_not_offered_is_refused() {
        let message = |plural, selector| {
            let resource = find("", "v1", plural).expect("served");
            FieldSelector::parse(resource, selector).map_err(|e| e.message)
        };
        let known = "\"x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
        for (plural, selector, expected) in [
            ("pods", "spec.foo=x", "field label not supported: spec.foo"),
            ("configmaps", "x=y", known),
            ("pods", "foo", "invalid selector: 'foo'; can't understand 'foo'"),
            (
                "pods",
                "metadata.name=a=b",
                "invalid field selector: unescaped character in value: =",
            ),
            (
                "pods",
                "metadata.name=a\\b",
                "invalid field selector: invalid escape sequence: \\b",
            ),
        ] {
            assert_eq!(message(plural, selector), Err(expected.to_owned()));
        }
    }
}
