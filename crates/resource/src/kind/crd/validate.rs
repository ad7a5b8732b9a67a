//! The mistakes in a definition. Follows `apiextensions-apiserver/pkg/apis/apiextensions/validation`.

use super::{condition, is_true, storage_version};
use crate::check::ca_bundle;
use crate::check::name::{label_1035, subdomain};
use crate::field::{Errors, FieldError, Path};
use crate::json::{absent, blank, equal, items, text};
use knarr_schema::structural::{self, Structural};
use serde_json::Value;

use crate::jsonpath::JsonPath;
use crate::rules;

pub(super) const APPROVAL: &str = "api-approved.kubernetes.io";
/// Fields that can be selected by, at most.
const SELECTABLE: usize = 8;
const DEPRECATION: usize = 256;

pub(super) fn create(crd: &Value, errors: &mut Errors) {
    let spec = &crd["spec"];
    let name = text(&crd["metadata"], "name");
    let wanted = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    if name != wanted {
        let path = Path::new("metadata").child("name");
        errors.invalid(&path, name, "must be spec.names.plural+\".\"+spec.group");
    }
    validate_spec(crd, None, errors);
    stored_versions(crd, errors);
    approval(crd, errors);
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    validate_spec(new, Some(old), errors);
    stored_versions(new, errors);
    let (spec, was) = (&new["spec"], &old["spec"]);
    let path = Path::new("spec");
    let mut fixed = vec![("group", None), ("names", Some("plural"))];
    if is_true(old, "Established") {
        fixed.extend([("scope", None), ("names", Some("kind"))]);
    }
    for (key, inner) in fixed {
        let (value, before, path) = match inner {
            Some(inner) => (&spec[key][inner], &was[key][inner], path.child(key).child(inner)),
            None => (&spec[key], &was[key], path.child(key)),
        };
        if value != before {
            errors.invalid(&path, value.clone(), "field is immutable");
        }
    }
    if condition(old, "KubernetesAPIApprovalPolicyConformant").is_none_or(|found| found["status"] == "True") {
        approval(new, errors);
    }
}

/// Versions that objects may be stored in cannot go.
pub(super) fn stored_versions(crd: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("storedVersions");
    let stored = items(&crd["status"]["storedVersions"]);
    if stored.is_empty() {
        errors.invalid(&path, Value::Array(Vec::new()), "must have at least one stored version");
    }
    let names: Vec<&str> = items(&crd["spec"]["versions"])
        .iter()
        .map(|v| text(v, "name"))
        .collect();
    let storage = storage_version(crd);
    for (index, version) in stored.iter().enumerate() {
        let version = version.as_str().unwrap_or_default();
        if !names.contains(&version) {
            let detail = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {version} and removes {version} from \
                 status.storedVersions"
            );
            errors.invalid(&path.index(index), version, detail);
        }
    }
    if !storage.is_empty() && !stored.is_empty() && !stored.iter().any(|version| version == storage) {
        let detail = format!("must have the storage version {storage}");
        errors.invalid(&path, stored.to_vec(), detail);
    }
}

/// Groups of Kubernetes itself need somebody's word that they may be used.
fn approval(crd: &Value, errors: &mut Errors) {
    let group = text(&crd["spec"], "group");
    if !is_protected(group) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    let value = text(&crd["metadata"]["annotations"], APPROVAL);
    if value.is_empty() {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVAL}\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        errors.required(&path, detail);
    } else if !is_approval(value) {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        errors.invalid(&path, value, detail);
    }
}

pub(super) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group == *own || group.strip_suffix(own).is_some_and(|rest| rest.ends_with('.')))
}

pub(super) fn is_approval(value: &str) -> bool {
    value.starts_with("unapproved") || value.split_once("://").is_some_and(|(_, rest)| !rest.is_empty())
}

fn validate_spec(crd: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = &crd["spec"];
    let path = Path::new("spec");
    let group = text(spec, "group");
    let at = path.child("group");
    if group.is_empty() {
        errors.required(&at, "");
    } else {
        for problem in subdomain(group) {
            errors.invalid(&at, group, problem);
        }
        if !group.contains('.') {
            errors.invalid(&at, group, "should be a domain with at least one dot");
        }
    }
    errors.one_of(&path.child("scope"), &spec["scope"], &["Cluster", "Namespaced"]);
    if spec["preserveUnknownFields"] == true {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&path.child("preserveUnknownFields"), true, detail);
    }
    names(&spec["names"], &path.child("names"), errors);
    versions(crd, old, errors);
    conversion(&spec["conversion"], &path.child("conversion"), errors);
    if let Some(old) = old.filter(|old| is_true(old, "Established")) {
        let bundle = |crd: &Value| crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].clone();
        // One that was wrong before may stay so.
        if let Some(problem) = ca_bundle::problem(&bundle(crd))
            && ca_bundle::problem(&bundle(old)).is_none()
        {
            let at = path.child("conversion").child("webhookClientConfig").child("caBundle");
            errors.invalid(&at, bundle(crd), problem);
        }
    }
}

fn names(names: &Value, path: &Path, errors: &mut Errors) {
    for (key, required) in [("plural", true), ("singular", false)] {
        let name = text(names, key);
        let at = path.child(key);
        if name.is_empty() {
            if required {
                errors.required(&at, "");
            }
            continue;
        }
        for problem in label_1035(name) {
            errors.invalid(&at, name, problem);
        }
    }
    for key in ["kind", "listKind"] {
        let name = text(names, key);
        let at = path.child(key);
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        for problem in label_1035(&name.to_lowercase()) {
            let detail = format!("may have mixed case, but should otherwise match: {problem}");
            errors.invalid(&at, name, detail);
        }
    }
    if !blank(names, "kind") && names["kind"] == names["listKind"] {
        let at = path.child("listKind");
        errors.invalid(&at, text(names, "listKind"), "kind and listKind may not be the same");
    }
    for key in ["shortNames", "categories"] {
        for (index, name) in items(&names[key]).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            for problem in label_1035(name) {
                errors.invalid(&path.child(key).index(index), name, problem);
            }
        }
    }
}

/// Where upstream says that a part of a version is: in one place for all, if all are the same.
fn place(versions: &[Value], index: usize, key: &str) -> Path {
    let same = versions.iter().all(|version| version[key] == versions[0][key]);
    match (same, key) {
        (true, "schema") => Path::new("spec").child("validation"),
        (true, key) => Path::new("spec").child(key),
        (false, key) => Path::new("spec").child("versions").index(index).child(key),
    }
}

fn versions(crd: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec").child("versions");
    let versions = items(&crd["spec"]["versions"]);
    let names: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    for (index, version) in versions.iter().enumerate() {
        let at = path.index(index);
        for problem in label_1035(names[index]) {
            errors.invalid(&at.child("name"), names[index], problem);
        }
        let warning = &version["deprecationWarning"];
        if let Some(text) = warning.as_str() {
            let at = at.child("deprecationWarning");
            if version["deprecated"] != true {
                errors.invalid(&at, text, "can only be set for deprecated versions");
            }
            if text.is_empty() {
                errors.invalid(&at, text, "must not be an empty string");
            } else if text.len() > DEPRECATION {
                errors.too_long(&at, DEPRECATION);
            } else if text.chars().any(|c| c.is_control()) {
                errors.invalid(&at, text, "must only contain printable UTF-8 characters");
            }
        }
    }
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() != names.len() {
        errors.invalid(
            &path,
            crd["spec"]["versions"].clone(),
            "must contain unique version names",
        );
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.invalid(&path, crd["spec"]["versions"].clone(), detail);
    }
    let mut said: Vec<FieldError> = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        let before = old.and_then(|old| {
            let versions = items(&old["spec"]["versions"]).iter();
            versions.into_iter().find(|before| before["name"] == version["name"])
        });
        let unchanged = before.is_some_and(|before| equal(&before["schema"], &version["schema"]));
        let mut found = Errors::new();
        validate_version(versions, index, version, unchanged, &mut found);
        let mut found = found.into_vec();
        // What was there before is not enforced anew.
        if let Some(before) = before
            && !found.is_empty()
        {
            let mut then = Errors::new();
            validate_version(versions, index, before, true, &mut then);
            let then = then.into_vec();
            found.retain(|error| !then.contains(error));
        }
        for error in found {
            if !said.contains(&error) {
                said.push(error.clone());
                errors.push(&error.path, error.cause, error.value, error.detail);
            }
        }
    }
}

fn validate_version(versions: &[Value], index: usize, version: &Value, unchanged: bool, errors: &mut Errors) {
    let status = version["subresources"]["status"].is_object();
    let schema = &version["schema"]["openAPIV3Schema"];
    let at = place(versions, index, "schema").child("openAPIV3Schema");
    if schema.is_null() {
        let at = Path::new("spec")
            .child("versions")
            .index(index)
            .child("schema")
            .child("openAPIV3Schema");
        errors.required(&at, "schemas are required");
    } else {
        let mut found = Errors::new();
        structural::check(schema, &at, status, &mut found);
        if found.is_empty() {
            rules::check(schema, &at, unchanged, &mut found);
        }
        for error in found.into_vec() {
            errors.push(&error.path, error.cause, error.value, error.detail);
        }
    }
    scale(
        &version["subresources"]["scale"],
        &place(versions, index, "subresources").child("scale"),
        errors,
    );
    let at = place(versions, index, "additionalPrinterColumns");
    for (column, at) in items(&version["additionalPrinterColumns"])
        .iter()
        .zip((0..).map(|i| at.index(i)))
    {
        if blank(column, "name") {
            errors.required(&at.child("name"), "");
        }
        match text(column, "type") {
            "" => errors.required(&at.child("type"), "must be one of boolean,date,integer,number,string"),
            "boolean" | "date" | "integer" | "number" | "string" => {}
            other => errors.invalid(
                &at.child("type"),
                other,
                "must be one of boolean,date,integer,number,string",
            ),
        }
        match text(column, "format") {
            "" | "int32" | "int64" | "float" | "double" | "byte" | "date" | "date-time" | "password" => {}
            other => errors.invalid(
                &at.child("format"),
                other,
                "must be one of byte,date,date-time,double,float,int32,int64,password",
            ),
        }
        match text(column, "jsonPath") {
            "" => errors.required(&at.child("jsonPath"), ""),
            path => simple_path(path, &at.child("jsonPath"), errors),
        }
    }
    let at = place(versions, index, "selectableFields");
    let fields = items(&version["selectableFields"]);
    if fields.len() > SELECTABLE {
        errors.too_many(&at, fields.len(), SELECTABLE);
    }
    let structural = Structural::parse(schema);
    let mut seen = Vec::new();
    for (field, at) in fields.iter().zip((0..).map(|i| at.index(i).child("jsonPath"))) {
        selectable(&structural, text(field, "jsonPath"), &at, &mut seen, errors);
    }
}

fn simple_path(text: &str, at: &Path, errors: &mut Errors) {
    if !text.starts_with('.') && JsonPath::parse(text).is_ok() {
        return errors.invalid(at, text, "must be a simple json path starting with .");
    }
    if let Err(error) = JsonPath::parse(text) {
        errors.invalid(at, text, error);
    }
}

fn selectable(schema: &Structural, path: &str, at: &Path, seen: &mut Vec<String>, errors: &mut Errors) {
    if path.is_empty() {
        return errors.required(at, "");
    }
    if path.contains(['[', ']', '*']) || !path.starts_with('.') {
        return errors.invalid(at, path, "must be a simple path without array notation");
    }
    let steps: Vec<&str> = path.trim_start_matches('.').split('.').collect();
    if steps[0] == "metadata" {
        return errors.invalid(at, path, "must not point to fields in metadata");
    }
    let target = steps
        .iter()
        .try_fold(schema, |schema, step| schema.properties.get(*step));
    match target {
        None => errors.invalid(at, path, "is an invalid path: does not refer to a valid field"),
        Some(field) if !["string", "boolean", "integer"].contains(&field.kind.as_str()) => {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.invalid(at, path, detail);
        }
        Some(_) if seen.iter().any(|other| other == path) => errors.duplicate(at, path),
        Some(_) => seen.push(path.to_owned()),
    }
}

fn scale(scale: &Value, path: &Path, errors: &mut Errors) {
    if !scale.is_object() {
        return;
    }
    for (key, roots, detail) in [
        ("specReplicasPath", &[".spec."][..], "should be a json path under .spec"),
        (
            "statusReplicasPath",
            &[".status."],
            "should be a json path under .status",
        ),
        (
            "labelSelectorPath",
            &[".spec.", ".status."],
            "should be a json path under either .spec or .status",
        ),
    ] {
        let text = text(scale, key);
        let at = path.child(key);
        if text.is_empty() {
            if key != "labelSelectorPath" {
                errors.required(&at, "");
            }
        } else if text.contains(['[', ']', '*']) || text.contains("..") {
            errors.invalid(&at, text, "should be a simple json path");
        } else if !roots.iter().any(|root| text.starts_with(root)) {
            errors.invalid(&at, text, detail);
        }
    }
}

fn conversion(conversion: &Value, path: &Path, errors: &mut Errors) {
    let webhook = &conversion["webhook"];
    match text(conversion, "strategy") {
        "" => errors.required(&path.child("strategy"), ""),
        "None" => {
            if !absent(conversion, "webhook") {
                let detail = "should not be set when strategy is not set to Webhook";
                errors.forbidden(&path.child("webhookClientConfig"), detail);
            }
        }
        "Webhook" => {
            let at = path.child("webhookClientConfig");
            let client = &webhook["clientConfig"];
            if absent(webhook, "clientConfig") {
                errors.required(&at, "required when strategy is set to Webhook");
            } else if absent(client, "url") == absent(client, "service") {
                errors.required(&at, "exactly one of url or service is required");
            } else if let Some(url) = client["url"].as_str() {
                if !url.starts_with("https://") {
                    errors.invalid(&at.child("url"), url, "'https' is the only allowed URL scheme");
                }
            } else {
                for key in ["name", "namespace"] {
                    if blank(&client["service"], key) {
                        errors.required(&at.child("service").child(key), format!("service {key} is required"));
                    }
                }
                let port = client["service"]["port"].as_i64().unwrap_or(443);
                if !(1..=65535).contains(&port) {
                    let detail = "port is not valid: must be between 1 and 65535, inclusive";
                    errors.invalid(&at.child("service").child("port"), port, detail);
                }
            }
            let at = path.child("conversionReviewVersions");
            let versions = items(&webhook["conversionReviewVersions"]);
            if versions.is_empty() {
                errors.required(&at, "");
            }
            for (index, version) in versions.iter().enumerate() {
                if versions[..index].contains(version) {
                    errors.invalid(&at.index(index), version.clone(), "duplicate version");
                    continue;
                }
                for problem in label_1035(version.as_str().unwrap_or_default()) {
                    errors.invalid(&at.index(index), version.clone(), problem);
                }
            }
            if !versions.is_empty() && !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
                errors.invalid(&at, versions.to_vec(), "must include at least one of v1, v1beta1");
            }
        }
        other => errors.not_supported(&path.child("strategy"), other, &["None", "Webhook"]),
    }
}

pub(super) fn warnings(crd: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let versions = items(&crd["spec"]["versions"]);
    for version in versions {
        format_warnings(&Structural::parse(&version["schema"]["openAPIV3Schema"]), &mut found);
    }
    found.dedup();
    found
}

fn format_warnings(schema: &Structural, found: &mut Vec<String>) {
    let format = &schema.checks.format;
    if !format.is_empty() && !structural::knows_format(format) {
        found.push(format!("unrecognized format {format:?}"));
    }
    if schema.list_type == "set" && schema.items.as_ref().is_some_and(|items| items.kind == "object") {
        found.push(
            "x-kubernetes-list-type: set for items of type \"object\" is not supported by server-side apply or CEL validation rules"
                .to_owned(),
        );
    }
    let below = schema
        .properties
        .values()
        .chain(schema.items.as_deref())
        .chain(schema.values());
    for inner in below {
        format_warnings(inner, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;
    use serde_json::json;

    fn crd() -> Value {
        json!({
            "metadata": {"name": "foos.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        })
    }

    fn mistakes(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let resource = find("apiextensions.k8s.io", "v1", "customresourcedefinitions").expect("served");
        let mut object = crd();
        change(&mut object);
        resource.default(&mut object);
        resource.prepare_create(&mut object, "");
        let found = resource.validate_create(&object);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_definition_is_right_and_gets_its_defaults() {
        assert_eq!(mistakes(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_worded_as_upstream_words_them() {
        assert_eq!(
            mistakes(|crd| crd["metadata"]["name"] = json!("bars.example.com")),
            [r#"metadata.name: Invalid value: "bars.example.com": must be spec.names.plural+"."+spec.group"#]
        );
        assert_eq!(
            mistakes(|crd| {
                crd["spec"]["group"] = json!("local");
                crd["metadata"]["name"] = json!("foos.local");
            }),
            [r#"spec.group: Invalid value: "local": should be a domain with at least one dot"#]
        );
        assert_eq!(
            mistakes(|crd| crd["spec"]["scope"] = json!("Galaxy")),
            [r#"spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced""#]
        );
        assert_eq!(
            mistakes(|crd| crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
                json!({"type": "object", "properties": {"a": {}}})),
            [
                "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields"
            ]
        );
        assert_eq!(
            mistakes(|crd| crd["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".metadata.name"}])),
            [
                r#"spec.selectableFields[0].jsonPath: Invalid value: ".metadata.name": must not point to fields in metadata"#
            ]
        );
        assert_eq!(
            mistakes(|crd| {
                crd["spec"]["group"] = json!("foo.k8s.io");
                crd["metadata"]["name"] = json!("foos.foo.k8s.io");
            }),
            [
                r#"metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111"#
            ]
        );
    }
}
