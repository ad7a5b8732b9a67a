//! Label selectors: `app=web,tier in (front,back),!canary,version>3`.

use super::parse::parse;
use crate::json::{entries, items, text};
use serde_json::Value;
use std::fmt;

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there with this value.
    Equals(String, String),
    /// The label is absent or has another value.
    NotEquals(String, String),
    /// The label is there with one of the values, which are sorted.
    In(String, Vec<String>),
    /// The label is absent or has none of the values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is absent.
    Missing(String),
    /// The label is there and is a number greater than this.
    Greater(String, i64),
    /// The label is there and is a number less than this.
    Less(String, i64),
}

impl Requirement {
    /// The label it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Equals(key, _) | Self::NotEquals(key, _) | Self::Exists(key) | Self::Missing(key) => key,
            Self::In(key, _) | Self::NotIn(key, _) => key,
            Self::Greater(key, _) | Self::Less(key, _) => key,
        }
    }

    /// Whether an object with these labels (`metadata.labels`) meets the condition.
    pub fn matches(&self, labels: &Value) -> bool {
        let value = |key: &str| labels.get(key).and_then(Value::as_str);
        let number = |key: &str| value(key).and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::Equals(key, wanted) => value(key).is_some_and(|v| v == wanted),
            Self::NotEquals(key, other) => value(key).is_none_or(|v| v != other),
            Self::In(key, values) => value(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(key, values) => value(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists(key) => value(key).is_some(),
            Self::Missing(key) => value(key).is_none(),
            Self::Greater(key, limit) => number(key).is_some_and(|n| n > *limit),
            Self::Less(key, limit) => number(key).is_some_and(|n| n < *limit),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(key, value) => write!(f, "{key}={value}"),
            Self::NotEquals(key, value) => write!(f, "{key}!={value}"),
            Self::In(key, values) => write!(f, "{key} in ({})", values.join(",")),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(",")),
            Self::Exists(key) => f.write_str(key),
            Self::Missing(key) => write!(f, "!{key}"),
            Self::Greater(key, limit) => write!(f, "{key}>{limit}"),
            Self::Less(key, limit) => write!(f, "{key}<{limit}"),
        }
    }
}

/// Conditions on labels, all of which must be met. Without any, everything is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Parses the text form. The error is the sentence a client gets with a 400.
    pub fn parse(selector: &str) -> Result<Self, String> {
        parse(selector).map(Self)
    }

    /// The selector of an object: a `metav1.LabelSelector` with matchLabels and matchExpressions.
    ///
    /// `None`, which selects nothing, if the selector is missing or malformed.
    pub fn from_object(selector: &Value) -> Option<Self> {
        if !selector.is_object() {
            return None;
        }
        let mut requirements = Self::from_map(&selector["matchLabels"]).0;
        for expression in items(&selector["matchExpressions"]) {
            let key = text(expression, "key").to_owned();
            let mut values: Vec<String> = items(&expression["values"])
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            values.sort();
            requirements.push(match text(expression, "operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Missing(key),
                _ => return None,
            });
        }
        requirements.sort_by(|a, b| a.key().cmp(b.key()));
        Some(Self(requirements))
    }

    /// The selector of a Service: a map of labels and their values.
    pub fn from_map(labels: &Value) -> Self {
        let mut requirements: Vec<Requirement> = entries(labels)
            .map(|(key, value)| Requirement::Equals(key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        requirements.sort_by(|a, b| a.key().cmp(b.key()));
        Self(requirements)
    }

    /// Whether an object with these labels (`metadata.labels`) is selected.
    pub fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_selector_is_printed_so_that_every_client_can_parse_it() {
        let selector = json!({
            "matchLabels": {"tier": "web"},
            "matchExpressions": [
                {"key": "nope", "operator": "DoesNotExist"},
                {"key": "app", "operator": "In", "values": ["kubiars"]},
                {"key": "app", "operator": "Exists"},
                {"key": "app", "operator": "NotIn", "values": ["z"]},
            ],
        });
        let printed = LabelSelector::from_object(&selector).map(|selector| selector.to_string());
        assert_eq!(
            printed.as_deref(),
            Some("app in (kubiars),app,app notin (z),!nope,tier=web")
        );
    }

    #[test]
    fn selectors_choose_by_equality_sets_existence_and_order() {
        let labels = json!({"app": "web", "tier": "front", "version": "4", "in": "x", "empty": ""});
        for (selector, selected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("! other", true),
            ("app=web", true),
            ("app == web", true),
            ("app=web,tier=back", false),
            ("app!=web", false),
            ("other!=web", true),
            ("tier in (front, back)", true),
            ("tier notin (front,back)", false),
            ("other notin (a)", true),
            ("other in (a)", false),
            ("empty in (,a)", true),
            ("empty=", true),
            ("version>3", true),
            ("version<3", false),
            ("app>3", false),
            ("in=x", true),
            ("app=web,in in (x)", true),
        ] {
            let parsed = LabelSelector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
            assert_eq!(parsed.matches(&labels), selected, "{selector}");
        }
    }

    #[test]
    fn mistakes_are_named_as_kubernetes_names_them() {
        for (selector, message) in [
            ("a,", "found '', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            (
                "a in (=",
                "unable to parse requirement: found '=', expected: ',', ')' or identifier",
            ),
            ("a=(", "unable to parse requirement: found '(', expected: identifier"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            (
                "a in ()",
                "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
            ),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(LabelSelector::parse(selector), Err(message.to_owned()), "{selector}");
        }
        for (selector, start) in [
            (
                "-a=b",
                "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of",
            ),
            (
                "a=-b",
                "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be",
            ),
        ] {
            let error = LabelSelector::parse(selector).expect_err(selector);
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn a_selector_in_an_object_prints_as_text() {
        let selector = LabelSelector::from_object(&json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "t", "operator": "In", "values": ["y", "x"]},
                {"key": "n", "operator": "DoesNotExist"},
            ],
        }))
        .expect("a selector");
        assert_eq!(selector.to_string(), "a=1,b=2,!n,t in (x,y)");
        assert!(selector.matches(&json!({"a": "1", "b": "2", "t": "x"})));
        assert_eq!(LabelSelector::from_object(&Value::Null), None);
        assert_eq!(
            LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Like"}]})),
            None
        );
    }
}
