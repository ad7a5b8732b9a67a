//! Whether an object is as its schema says, in the words of kube-openapi's validator.
//!
//! On an update what is wrong already, and has not been touched, is forgiven (KEP-4008): a part of the object that equals the
//! same part of the old one is not looked at.

use serde_json::Value;

use super::{Additional, Checks, Structural, same};
use crate::field::{Cause, Errors, Path, quote};

/// The mistakes in an object, or in the part of it below `path`.
pub(super) fn validate(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, errors: &mut Errors) {
    Validator {
        errors: std::mem::take(errors),
        matches: 0,
    }
    .run(schema, value, old, path, errors);
}

impl Structural {
    /// The mistakes in an object; `old` is the object it replaces.
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        validate(self, object, old, "", errors);
    }

    /// The mistakes in a value somewhere in an object.
    pub fn validate_at(&self, value: &Value, path: &Path, errors: &mut Errors) {
        let mut found = Errors::new();
        validate(self, value, None, "", &mut found);
        for mut error in found.into_vec() {
            let below = match error.path.as_str() {
                "" | NOWHERE => path.clone(),
                inner if inner.starts_with('[') => Path::new(&format!("{path}{inner}")),
                inner => path.child(inner),
            };
            error.path = below;
            errors.push(&error.path, error.cause, error.value, error.detail);
        }
    }
}

/// How Go prints the path of a mistake that is not told of a field.
const NOWHERE: &str = "<nil>";

struct Validator {
    errors: Errors,
    /// How many checks were made: of several alternatives that fail, the one that got furthest is told about.
    matches: usize,
}

impl Validator {
    fn run(mut self, schema: &Structural, value: &Value, old: Option<&Value>, path: &str, errors: &mut Errors) {
        self.value(schema, value, old, path);
        *errors = self.errors;
    }

    fn value(&mut self, schema: &Structural, value: &Value, old: Option<&Value>, path: &str) {
        if old.is_some_and(|old| same(value, old)) {
            return;
        }
        self.matches += 1;
        let fits = self.kind(schema, value, path);
        if value.is_null() {
            if fits && !schema.nullable {
                self.among(&schema.checks, value, path);
            }
            return;
        }
        self.junctors(schema, value, path);
        self.among(&schema.checks, value, path);
        match value {
            Value::String(text) => self.text(&schema.checks, text, path),
            Value::Number(number) => self.number(schema, number, value, path),
            Value::Array(items) => self.array(schema, items, old, path),
            Value::Object(_) => self.object(schema, value, old, path),
            _ => {}
        }
    }

    fn invalid(&mut self, path: &str, value: impl Into<Value>, detail: String) {
        self.errors.push(&at(path), Cause::Invalid, value, detail);
    }

    /// A mistake that is not told of a field.
    fn nowhere(&mut self, detail: String) {
        self.invalid(NOWHERE, "", detail);
    }

    /// Whether the JSON type fits.
    fn kind(&mut self, schema: &Structural, value: &Value, path: &str) -> bool {
        let wanted = match schema.kind.as_str() {
            "" if schema.int_or_string => "integer,string",
            "" => return true,
            kind => kind,
        };
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = match (wanted, value) {
            (_, Value::Null) => schema.nullable,
            ("number", Value::Number(_)) => true,
            ("integer" | "integer,string", Value::Number(number)) => {
                !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            ("integer,string", Value::String(_)) => true,
            _ => wanted == found,
        };
        if !fits {
            let detail = format!("{} must be of type {wanted}: {}", within(path), quote(found));
            self.errors.push(&at(path), Cause::TypeInvalid, found, detail);
        }
        fits
    }

    fn junctors(&mut self, schema: &Structural, value: &Value, path: &str) {
        let checks = &schema.checks;
        if !checks.any_of.is_empty() {
            let (valid, best) = self.alternatives(&checks.any_of, value, path, true);
            if valid == 0 {
                self.nowhere(format!("{} must validate at least one schema (anyOf)", quote(path)));
                self.add(best);
            }
        }
        if !checks.one_of.is_empty() {
            let (valid, best) = self.alternatives(&checks.one_of, value, path, false);
            if valid != 1 {
                let found = match valid {
                    0 => "Found none valid".to_owned(),
                    many => format!("Found {many} valid alternatives"),
                };
                self.nowhere(format!(
                    "{} must validate one and only one schema (oneOf). {found}",
                    quote(path)
                ));
                self.add(best);
            }
        }
        if !checks.all_of.is_empty() {
            let mut valid = 0;
            for inner in &checks.all_of {
                let (errors, _) = alone(inner, value, path);
                valid += usize::from(errors.is_empty());
                self.add(errors);
            }
            if valid != checks.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                self.nowhere(format!("{} must validate all the schemas (allOf){none}", quote(path)));
            }
        }
        if let Some(not) = &checks.not
            && alone(not, value, path).0.is_empty()
        {
            self.nowhere(format!("{} must not validate the schema (not)", quote(path)));
        }
    }

    /// How many of the schemas hold, and what is wrong by the best of those that do not if none does.
    fn alternatives(&self, schemas: &[Structural], value: &Value, path: &str, first: bool) -> (usize, Errors) {
        let (mut valid, mut best) = (0, None::<(Errors, usize)>);
        for schema in schemas {
            let (errors, matches) = alone(schema, value, path);
            if errors.is_empty() {
                valid += 1;
                if first {
                    break;
                }
            } else if best.as_ref().is_none_or(|(_, most)| matches > *most) {
                best = Some((errors, matches));
            }
        }
        let best = best
            .filter(|_| valid == 0)
            .map(|(errors, _)| errors)
            .unwrap_or_default();
        (valid, best)
    }

    fn add(&mut self, errors: Errors) {
        for error in errors.into_vec() {
            self.errors.push(&error.path, error.cause, error.value, error.detail);
        }
    }

    fn among(&mut self, checks: &Checks, value: &Value, path: &str) {
        if checks.values.is_empty() || checks.values.iter().any(|allowed| same(allowed, value)) {
            return;
        }
        let texts = checks.values.iter().map(|allowed| match allowed {
            Value::String(text) => quote(text),
            other => quote(&other.to_string()),
        });
        let detail = format!("supported values: {}", texts.collect::<Vec<_>>().join(", "));
        self.errors.push(&at(path), Cause::NotSupported, value.clone(), detail);
    }

    fn text(&mut self, checks: &Checks, text: &str, path: &str) {
        let length = text.chars().count() as u64;
        if let Some(limit) = checks.max_length
            && length > limit
        {
            self.errors
                .too_long(&at(path), usize::try_from(limit).unwrap_or(usize::MAX));
        }
        if let Some(limit) = checks.min_length
            && length < limit
        {
            self.invalid(
                path,
                text,
                format!("{} should be at least {limit} chars long", within(path)),
            );
        }
        if let Some((source, Some(pattern))) = &checks.pattern
            && !pattern.is_match(text)
        {
            self.invalid(path, text, format!("{} should match '{source}'", within(path)));
        }
        if !super::format::matches(&checks.format, text) {
            let detail = format!("{} must be of type {}: {}", within(path), checks.format, quote(text));
            self.errors.push(&at(path), Cause::TypeInvalid, text, detail);
        }
    }

    fn number(&mut self, schema: &Structural, number: &serde_json::Number, value: &Value, path: &str) {
        let checks = &schema.checks;
        let found = number.as_f64().unwrap_or_default();
        if let Some(of) = checks.multiple_of
            && of != 0.0
            && ((found / of).round() * of - found).abs() > 1e-9 * found.abs().max(1.0)
        {
            let detail = format!("{} should be a multiple of {}", within(path), number_text(of));
            self.invalid(path, value.clone(), detail);
        }
        for (bound, exclusive, above, words) in [
            (
                checks.maximum,
                checks.exclusive_maximum,
                true,
                ["less than or equal to", "less than"],
            ),
            (
                checks.minimum,
                checks.exclusive_minimum,
                false,
                ["greater than or equal to", "greater than"],
            ),
        ] {
            let Some(bound) = bound else { continue };
            let beyond = if above { found > bound } else { found < bound };
            if beyond || (exclusive && found == bound) {
                let words = words[usize::from(exclusive)];
                let detail = format!("{} should be {words} {}", within(path), number_text(bound));
                self.invalid(path, value.clone(), detail);
            }
        }
        let kind = schema.kind.as_str();
        let in_range = match checks.format.as_str() {
            "int32" => found.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&found),
            "int64" => number.is_i64() || (found.fract() == 0.0 && found.abs() < 9.3e18 && !number.is_u64()),
            "float" => found.abs() <= f64::from(f32::MAX),
            _ => true,
        };
        if !in_range && matches!(kind, "integer" | "number") {
            let format = &checks.format;
            let detail = format!("Checked value must be of type {kind} with format {format} in {path}");
            self.invalid(NOWHERE, "", detail);
        }
    }

    fn array(&mut self, schema: &Structural, items: &[Value], old: Option<&Value>, path: &str) {
        let checks = &schema.checks;
        if let Some(item) = &schema.items {
            for (index, value) in items.iter().enumerate() {
                let before = old.and_then(|old| correlated(schema, old, value));
                self.value(item, value, before, &format!("{path}[{index}]"));
            }
        }
        let length = items.len() as u64;
        if let Some(limit) = checks.min_items
            && length < limit
        {
            let detail = format!("{} should have at least {limit} items", within(path));
            self.invalid(path, length, detail);
        }
        if let Some(limit) = checks.max_items
            && length > limit
        {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            self.errors.too_many(&at(path), items.len(), limit);
        }
    }

    fn object(&mut self, schema: &Structural, value: &Value, old: Option<&Value>, path: &str) {
        let checks = &schema.checks;
        let Some(map) = value.as_object() else { return };
        let length = map.len() as u64;
        if let Some(limit) = checks.min_properties
            && length < limit
        {
            let detail = format!("{} should have at least {limit} properties", within(path));
            return self.invalid(path, length, detail);
        }
        if let Some(limit) = checks.max_properties
            && length > limit
        {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            return self.errors.too_many(&at(path), map.len(), limit);
        }
        for name in &checks.required {
            if !map.contains_key(name) {
                self.errors.required(&at(&below(path, name)), "");
            }
        }
        for (name, inner) in map {
            let field = match (schema.properties.get(name), schema.additional.as_deref()) {
                (Some(field), _) | (None, Some(Additional::Of(field))) => field,
                _ => continue,
            };
            self.value(field, inner, old.and_then(|old| old.get(name)), &below(path, name));
        }
    }
}

/// What a schema alone says of a value, and how far it got.
fn alone(schema: &Structural, value: &Value, path: &str) -> (Errors, usize) {
    let mut inner = Validator {
        errors: Errors::new(),
        matches: 0,
    };
    inner.value(schema, value, None, path);
    (inner.errors, inner.matches)
}

/// The item of the old list that this one replaces. Only lists with keys can tell.
fn correlated<'a>(schema: &Structural, old: &'a Value, item: &Value) -> Option<&'a Value> {
    if schema.list_type != "map" {
        return None;
    }
    let keys = &schema.list_map_keys;
    let equal = |other: &&Value| keys.iter().all(|key| same(&other[key.as_str()], &item[key.as_str()]));
    old.as_array()?.iter().find(equal)
}

fn at(path: &str) -> Path {
    Path::new(if path.is_empty() { NOWHERE } else { path })
}

fn below(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// `spec.a in body`, and at the root ` in body`, as upstream prints it.
fn within(path: &str) -> String {
    format!("{path} in body")
}

/// A float as Go prints it.
fn number_text(number: f64) -> String {
    match number.fract() == 0.0 && number.abs() < 1e21 {
        true => format!("{number:.0}"),
        false => number.to_string(),
    }
}
