//! Mistakes in one field, worded as every Kubernetes client expects them.

use serde_json::Value;
use std::fmt;

/// Where in an object a field is: `spec.containers[0].ports[1].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path that starts at the object's root.
    pub fn new(root: &str) -> Self {
        Self(root.to_owned())
    }

    /// The field `name` of the object at this path.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            return Self::new(name);
        }
        Self(format!("{}.{name}", self.0))
    }

    /// The element `index` of the list at this path.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of the map at this path.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It must be given.
    Required,
    /// Its value breaks a rule.
    Invalid,
    /// Its value breaks a rule, and is not repeated in the message.
    Unshown,
    /// Its value is none of a fixed set.
    NotSupported,
    /// It may not be set, or not be changed, here.
    Forbidden,
    /// The same value is there already.
    Duplicate,
    /// It names something that is not there.
    NotFound,
    /// Its text is too long.
    TooLong,
    /// Its list has too many items.
    TooMany,
    /// Its JSON type is wrong.
    TypeInvalid,
}

impl Cause {
    /// The `reason` of a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid | Self::Unshown => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::Unshown | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::Duplicate => "Duplicate value",
            Self::NotFound => "Not found",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
        }
    }

    /// Whether the message repeats the value. A value that is missing, secret or huge is not repeated.
    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Unshown)
    }
}

/// One mistake in one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// The field.
    pub path: Path,
    /// What is wrong with it.
    pub cause: Cause,
    /// The value found, [`Value::Null`] if there is none.
    pub value: Value,
    /// The rule that was broken, in words; may be empty.
    pub detail: String,
}

impl FieldError {
    /// The message without the path: what goes into the `message` of a Status cause.
    pub fn body(&self) -> String {
        let mut text = self.cause.words().to_owned();
        if self.cause.shows_value() {
            text.push_str(": ");
            text.push_str(&show(&self.value));
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() {
            return f.write_str(&self.body());
        }
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Strings are quoted, numbers and booleans are bare, and all else is JSON. Go prints a missing value as `"null"`.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "\"null\"".to_owned(),
        Value::String(text) => quote(text),
        // As Go's encoder escapes what could be HTML.
        other => other
            .to_string()
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026"),
    }
}

/// A string as Go's `%q` writes it. For printable text that is what JSON does too.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The mistakes found so far in one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// No mistakes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mistake.
    pub fn push(&mut self, path: &Path, cause: Cause, value: impl Into<Value>, detail: impl Into<String>) {
        self.0.push(FieldError {
            path: path.clone(),
            cause,
            value: value.into(),
            detail: detail.into(),
        });
    }

    /// A value must be given.
    pub fn required(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(path, Cause::Required, Value::Null, detail);
    }

    /// A value breaks a rule.
    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(path, Cause::Invalid, value, detail);
    }

    /// A value may not be set, or not be changed, here.
    pub fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(path, Cause::Forbidden, Value::Null, detail);
    }

    /// The same value is there already.
    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(path, Cause::Duplicate, value, "");
    }

    /// A value names something that is not there.
    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(path, Cause::NotFound, value, "");
    }

    /// A text has more than `limit` bytes.
    pub fn too_long(&mut self, path: &Path, limit: usize) {
        self.push(
            path,
            Cause::TooLong,
            Value::Null,
            format!("may not be more than {limit} bytes"),
        );
    }

    /// A list has more than `limit` items.
    pub fn too_many(&mut self, path: &Path, found: usize, limit: usize) {
        self.push(path, Cause::TooMany, found, {
            let items = if limit == 1 { "item" } else { "items" };
            format!("must have at most {limit} {items}")
        });
    }

    /// `value` is none of `supported`, which callers list in alphabetical order as Kubernetes does.
    pub fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
        self.push(
            path,
            Cause::NotSupported,
            value,
            format!("supported values: {}", list.join(", ")),
        );
    }

    /// Requires `value` to be one of `supported`; says so if it is absent.
    pub fn one_of(&mut self, path: &Path, value: &Value, supported: &[&str]) {
        match value.as_str() {
            None | Some("") => self.required(path, ""),
            Some(text) if !supported.contains(&text) => self.not_supported(path, text, supported),
            Some(_) => {}
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes, in the order found.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_are_worded_as_kubernetes_words_them() {
        let path = Path::new("spec").child("containers").index(0).child("image");
        let mut errors = Errors::new();
        errors.required(&path, "");
        errors.invalid(&path, "a\"b", "must not have quotes");
        errors.invalid(&path, json!({"app": "x"}), "field is immutable");
        errors.invalid(&path, 70000, "must be between 1 and 65535, inclusive");
        errors.not_supported(&path, "X", &["Always", "IfNotPresent", "Never"]);
        errors.forbidden(&path, "not here");
        errors.duplicate(&path.key("a"), "a");
        errors.not_found(&path, "v");
        errors.too_long(&path, 253);
        errors.too_many(&path, 5, 3);
        errors.push(&Path::default(), Cause::Invalid, Value::Null, "no path");
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "spec.containers[0].image: Required value",
                r#"spec.containers[0].image: Invalid value: "a\"b": must not have quotes"#,
                r#"spec.containers[0].image: Invalid value: {"app":"x"}: field is immutable"#,
                "spec.containers[0].image: Invalid value: 70000: must be between 1 and 65535, inclusive",
                r#"spec.containers[0].image: Unsupported value: "X": supported values: "Always", "IfNotPresent", "Never""#,
                "spec.containers[0].image: Forbidden: not here",
                r#"spec.containers[0].image[a]: Duplicate value: "a""#,
                r#"spec.containers[0].image: Not found: "v""#,
                "spec.containers[0].image: Too long: may not be more than 253 bytes",
                "spec.containers[0].image: Too many: 5: must have at most 3 items",
                r#"Invalid value: "null": no path"#,
            ]
        );
    }
}
