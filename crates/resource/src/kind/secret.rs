//! Secrets.

use super::Kind;
use super::configmap::{SIZE, validate_immutable, validate_keys};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, entries, object, remove, set, text};
use crate::meta::weight;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use crate::resource::Fields;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct Secret;

/// Messages must not give away what is secret.
const REDACTED: &str = "<secret contents redacted>";
const ACCOUNT: &str = "kubernetes.io/service-account.name";

impl Kind for Secret {
    fn default(&self, secret: &mut Value) {
        default_to(secret, "type", "Opaque");
        if absent(secret, "stringData") {
            return;
        }
        // Plain text is a convenience for writers; only the encoded form is stored.
        let plain: Vec<(String, String)> = entries(&secret["stringData"])
            .map(|(key, value)| (key.clone(), STANDARD.encode(value.as_str().unwrap_or_default())))
            .collect();
        if !plain.is_empty()
            && let Some(data) = object(secret, "data")
        {
            for (key, encoded) in plain {
                set(data, &key, encoded);
            }
        }
        remove(secret, "stringData");
    }

    fn validate(&self, secret: &Value, errors: &mut Errors) {
        let (path, data) = (Path::new("data"), &secret["data"]);
        validate_keys(data, &path, errors);
        if weight(data) / 4 * 3 > SIZE {
            errors.too_long(&path, SIZE);
        }
        for (key, value) in entries(data) {
            if decode(value).is_none() {
                errors.invalid(&path.key(key), REDACTED, "illegal base64 data");
            }
        }
        let needs = |keys: &[&str], errors: &mut Errors| {
            for key in keys.iter().filter(|key| absent(data, key)) {
                errors.required(&path.key(key), "");
            }
        };
        match text(secret, "type") {
            "kubernetes.io/service-account-token" if blank(&secret["metadata"]["annotations"], ACCOUNT) => {
                let at = Path::new("metadata").child("annotations").key(ACCOUNT);
                errors.required(&at, "");
            }
            "kubernetes.io/dockercfg" => validate_json(data, ".dockercfg", &path, errors),
            "kubernetes.io/dockerconfigjson" => validate_json(data, ".dockerconfigjson", &path, errors),
            "kubernetes.io/basic-auth" if absent(data, "username") && absent(data, "password") => {
                needs(&["username", "password"], errors);
            }
            "kubernetes.io/ssh-auth" => needs(&["ssh-privatekey"], errors),
            "kubernetes.io/tls" => needs(&["tls.crt", "tls.key"], errors),
            _ => {}
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        if new["type"] != old["type"] {
            errors.invalid(&Path::new("type"), new["type"].clone(), "field is immutable");
        }
        validate_immutable(new, old, &["data"], errors);
        self.validate(new, errors);
    }

    fn fields(&self, secret: &Value, fields: &mut Fields) {
        fields.add("type", text(secret, "type"));
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Type", "What the secret is for."),
            Column::integer("Data", "Number of its entries."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, secret: &Value, now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(secret)),
            json!(text(secret, "type")),
            json!(entries(&secret["data"]).count()),
            json!(age_of(secret, now)),
        ])
    }
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    if value.is_null() {
        return Some(Vec::new());
    }
    // Line breaks are fine: tools wrap long base64.
    let text: String = value.as_str()?.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    STANDARD.decode(text).ok()
}

fn validate_json(data: &Value, key: &str, path: &Path, errors: &mut Errors) {
    if absent(data, key) {
        return errors.required(&path.key(key), "");
    }
    let bytes = decode(&data[key]).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.invalid(&path.key(key), REDACTED, error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_stored_encoded() {
        let mut secret = json!({"data": {"a": "AA=="}, "stringData": {"b": "hi"}});
        Secret.default(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "AA==", "b": "aGk="}, "type": "Opaque"}));
    }

    #[test]
    fn each_type_needs_its_keys() {
        for (secret, expected) in [
            (json!({"type": "Opaque", "data": {"a": "aGk=\n"}}), vec![]),
            (
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
                vec!["data[tls.key]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/basic-auth"}),
                vec!["data[username]: Required value", "data[password]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/ssh-auth"}),
                vec!["data[ssh-privatekey]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson"}),
                vec!["data[.dockerconfigjson]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}),
                vec![],
            ),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
            (
                json!({"data": {"a": "!"}}),
                vec!["data[a]: Invalid value: \"<secret contents redacted>\": illegal base64 data"],
            ),
        ] {
            let mut errors = Errors::new();
            Secret.validate(&secret, &mut errors);
            let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn the_type_stays() {
        let mut errors = Errors::new();
        Secret.validate_update(&json!({"type": "b"}), &json!({"type": "a"}), None, &mut errors);
        assert_eq!(
            errors.into_vec()[0].to_string(),
            "type: Invalid value: \"b\": field is immutable"
        );
    }
}
