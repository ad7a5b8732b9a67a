//! ConfigMaps, and what they share with Secrets: a map of small files.

use super::Kind;
use crate::check::name::config_key;
use crate::field::{Cause, Errors, Path};
use crate::json::{entries, equal};
use crate::meta::weight;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct ConfigMap;

/// Larger things belong into volumes.
pub(super) const SIZE: usize = 1024 * 1024;

impl Kind for ConfigMap {
    fn validate(&self, map: &Value, errors: &mut Errors) {
        for list in ["data", "binaryData"] {
            validate_keys(&map[list], &Path::new(list), errors);
        }
        for (key, _) in entries(&map["data"]) {
            if map["binaryData"].get(key).is_some() {
                let at = Path::new("data").key(key);
                errors.invalid(&at, key.as_str(), "duplicate of key present in binaryData");
            }
        }
        if weight(&map["data"]) + weight(&map["binaryData"]) / 4 * 3 > SIZE {
            errors.push(
                &Path::new("[]"),
                Cause::TooLong,
                Value::Null,
                format!("may not be more than {SIZE} bytes"),
            );
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        validate_immutable(new, old, &["data", "binaryData"], errors);
        self.validate(new, errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Data", "Number of its entries."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, map: &Value, now: Timestamp) -> Row {
        let count = entries(&map["data"]).count() + entries(&map["binaryData"]).count();
        Row::new(vec![json!(name_of(map)), json!(count), json!(age_of(map, now))])
    }
}

pub(super) fn validate_keys(data: &Value, path: &Path, errors: &mut Errors) {
    for (key, _) in entries(data) {
        for problem in config_key(key) {
            errors.invalid(&path.key(key), key.as_str(), problem);
        }
    }
}

/// Once set, `immutable` lets nodes stop watching for changes, so it cannot be taken back.
pub(super) fn validate_immutable(new: &Value, old: &Value, keys: &[&str], errors: &mut Errors) {
    if old["immutable"] != true {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        errors.forbidden(&Path::new("immutable"), detail);
    }
    for key in keys {
        if !equal(&new[*key], &old[*key]) {
            errors.forbidden(&Path::new(key), detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(map: Value) -> Vec<String> {
        let mut errors = Errors::new();
        ConfigMap.validate(&map, &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_are_file_names_and_the_whole_is_small() {
        assert_eq!(
            mistakes(json!({"data": {"a.b": "c"}, "binaryData": {"d": "AA=="}})),
            Vec::<String>::new()
        );
        assert!(
            mistakes(json!({"data": {"a/b": ""}}))[0]
                .starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key")
        );
        assert_eq!(
            mistakes(json!({"data": {"a": ""}, "binaryData": {"a": ""}})),
            ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]
        );
        assert_eq!(
            mistakes(json!({"data": {"a": "x".repeat(SIZE)}})),
            ["[]: Too long: may not be more than 1048576 bytes"]
        );
    }

    #[test]
    fn an_immutable_map_stays_as_it_is() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let mut errors = Errors::new();
        ConfigMap.validate_update(&json!({"data": {"a": "2"}}), &old, None, &mut errors);
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }

    #[test]
    fn a_row_counts_entries() {
        let map = json!({"metadata": {"name": "m"}, "data": {"a": "", "b": ""}, "binaryData": {"c": ""}});
        assert_eq!(
            ConfigMap.row(&map, Timestamp::UNIX_EPOCH).cells,
            [json!("m"), json!(3), json!("<unknown>")]
        );
    }
}
