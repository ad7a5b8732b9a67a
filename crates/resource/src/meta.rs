//! What all objects share: names, identity and the rules for their metadata.

use crate::check::label::{validate_annotations, validate_labels};
use crate::check::name::{NameRule, qualified_name};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, entries, equal, items, keep, remove, set, text};
use jiff::Timestamp;
use rand::RngExt;
use serde_json::{Value, json};

/// Letters of generated suffixes: no vowels and no lookalikes, so that no suffix is a word.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// A generated name fits into a DNS label.
const GENERATED_LENGTH: usize = 63;

/// A name that starts with `base` and ends with five random letters.
pub fn generate_name(base: &str) -> String {
    let mut end = base.len().min(GENERATED_LENGTH - SUFFIX_LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    name.push_str(&suffix());
    name
}

/// Five random letters.
pub(crate) fn suffix() -> String {
    let mut rng = rand::rng();
    (0..SUFFIX_LENGTH)
        .map(|_| char::from(SUFFIX_LETTERS[rng.random_range(0..SUFFIX_LETTERS.len())]))
        .collect()
}

/// A random (version 4) UUID.
pub fn new_uid() -> String {
    let mut bytes: [u8; 16] = rand::rng().random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// A timestamp at the precision of `metav1.Time`.
pub(crate) fn stamp(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Drops what only the system may say of a new object.
pub(crate) fn prepare_create(object: &mut Value, namespace: &str, namespaced: bool) {
    let Some(meta) = crate::json::object(object, "metadata") else {
        return;
    };
    if namespaced {
        if blank(meta, "namespace") {
            set(meta, "namespace", namespace);
        }
    } else {
        remove(meta, "namespace");
    }
    for key in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
        "generation",
    ] {
        remove(meta, key);
    }
}

/// Gives a new object its identity, and a name if it asks for a generated one.
pub(crate) fn identify(object: &mut Value, now: Timestamp) {
    let Some(meta) = crate::json::object(object, "metadata") else {
        return;
    };
    if blank(meta, "name") && !blank(meta, "generateName") {
        let name = generate_name(text(meta, "generateName"));
        set(meta, "name", name);
    }
    set(meta, "uid", new_uid());
    set(meta, "creationTimestamp", stamp(now));
}

/// What a client can neither change nor forget.
pub(crate) fn prepare_update(new: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let Some(meta) = crate::json::object(new, "metadata") else {
        return;
    };
    for key in ["uid", "name", "namespace"] {
        if blank(meta, key) {
            keep(meta, old, key);
        }
    }
    for key in ["creationTimestamp", "generation"] {
        keep(meta, old, key);
    }
    if !absent(old, "deletionTimestamp") {
        keep(meta, old, "deletionTimestamp");
    } else {
        remove(meta, "deletionTimestamp");
    }
    if absent(meta, "deletionGracePeriodSeconds") {
        keep(meta, old, "deletionGracePeriodSeconds");
    }
    remove(meta, "selfLink");
}

/// A changed spec is a new generation; metadata and status are not part of the wish.
pub(crate) fn count_generation(new: &mut Value, old: &Value, desired: impl Fn(&Value) -> Value) {
    if equal(&desired(new), &desired(old)) {
        return;
    }
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
    if let Some(meta) = crate::json::object(new, "metadata") {
        set(meta, "generation", generation.saturating_add(1));
    }
}

pub(crate) fn validate(object: &Value, namespaced: bool, rule: NameRule, errors: &mut Errors) {
    let path = Path::new("metadata");
    let meta = &object["metadata"];
    if !blank(meta, "generateName") {
        rule.check_prefix(&path.child("generateName"), text(meta, "generateName"), errors);
    }
    // A name made from a bad prefix is bad as well; once is enough to say so.
    if blank(meta, "name") {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        rule.check(&path.child("name"), text(meta, "name"), errors);
    }
    let namespace = text(meta, "namespace");
    if namespaced {
        if namespace.is_empty() {
            errors.required(&path.child("namespace"), "");
        } else {
            NameRule::Label.check(&path.child("namespace"), namespace, errors);
        }
    } else if !namespace.is_empty() {
        errors.forbidden(&path.child("namespace"), "not allowed on this type");
    }
    validate_shared(meta, &path, errors);
}

fn validate_shared(meta: &Value, path: &Path, errors: &mut Errors) {
    validate_labels(&meta["labels"], &path.child("labels"), errors);
    validate_annotations(&meta["annotations"], &path.child("annotations"), errors);
    validate_owners(&meta["ownerReferences"], &path.child("ownerReferences"), errors);
    for (i, finalizer) in items(&meta["finalizers"]).iter().enumerate() {
        validate_finalizer(finalizer, &path.child("finalizers").index(i), errors);
    }
}

/// The metadata of an object inside of another one.
pub(crate) fn validate_embedded(meta: &Value, path: &Path, errors: &mut Errors) {
    validate_shared(meta, path, errors);
    for key in ["name", "generateName"] {
        if !blank(meta, key) {
            NameRule::Subdomain.check(&path.child(key), text(meta, key), errors);
        }
    }
}

/// Finalizers of somebody are best told apart by a domain.
pub(crate) fn finalizer_warnings(finalizers: &Value, before: &Value) -> Vec<String> {
    let standard = ["orphan", "foregroundDeletion", "kubernetes"];
    items(finalizers)
        .iter()
        .filter(|finalizer| !items(before).contains(finalizer))
        .filter_map(Value::as_str)
        .filter(|name| !name.contains('/') && !standard.contains(name) && qualified_name(name).is_empty())
        .map(|name| {
            let how = if name.contains('.') { " including a path (/)" } else { "" };
            format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{how} to avoid accidental conflicts with other finalizer writers"
            )
        })
        .collect()
}

fn validate_finalizer(finalizer: &Value, path: &Path, errors: &mut Errors) {
    let name = finalizer.as_str().unwrap_or_default();
    let mut problems = qualified_name(name);
    let standard = ["orphan", "foregroundDeletion", "kubernetes"];
    if problems.is_empty() && !name.contains('/') && !standard.contains(&name) {
        problems.push("name is neither a standard finalizer name nor is it fully qualified".to_owned());
    }
    for problem in problems {
        errors.invalid(path, name, problem);
    }
}

fn validate_owners(owners: &Value, path: &Path, errors: &mut Errors) {
    let mut controller = String::new();
    for (i, owner) in items(owners).iter().enumerate() {
        let at = path.index(i);
        if blank(owner, "apiVersion") {
            errors.invalid(&at.child("apiVersion"), "", "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if blank(owner, key) {
                errors.invalid(&at.child(key), "", "must not be empty");
            }
        }
        if owner["apiVersion"] == "v1" && owner["kind"] == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.invalid(path, owner.clone(), detail);
        }
        if owner["controller"] == true {
            let name = text(owner, "name").to_owned();
            if controller.is_empty() {
                controller = format!("{}/{name}", text(owner, "kind"));
            } else {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {controller} and {}/{name}",
                    text(owner, "kind")
                );
                errors.invalid(path, owners.clone(), detail);
            }
        }
    }
}

/// The name is not checked again: it is what it was when the object was made.
pub(crate) fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("metadata");
    let (meta, was) = (&new["metadata"], &old["metadata"]);
    if !absent(was, "deletionTimestamp") {
        let added: Vec<&Value> = items(&meta["finalizers"])
            .iter()
            .filter(|f| !items(&was["finalizers"]).contains(f))
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {}",
                json!(added)
            );
            errors.forbidden(&path.child("finalizers"), detail);
        }
    }
    for key in ["name", "namespace", "uid", "creationTimestamp"] {
        if !equal(&meta[key], &was[key]) {
            errors.invalid(&path.child(key), meta[key].clone(), "field is immutable");
        }
    }
    validate_shared(meta, &path, errors);
}

/// Total size of the keys and values of a map of strings.
pub(crate) fn weight(map: &Value) -> usize {
    entries(map)
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errors;
    use crate::resource::tests::find;

    fn messages(found: Vec<crate::FieldError>) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_new_object_gets_an_identity_and_loses_what_it_may_not_claim() {
        let now = "2024-01-01T00:00:00.5Z".parse().expect("a time");
        let claims = json!({"metadata": {
            "generateName": "a-", "uid": "mine", "resourceVersion": "7", "generation": 3,
            "deletionTimestamp": "2020-01-01T00:00:00Z", "selfLink": "/x",
        }});
        let mut object = claims.clone();
        prepare_create(&mut object, "ns", true);
        identify(&mut object, now);
        let meta = &object["metadata"];
        assert_eq!(meta["namespace"], "ns");
        assert_eq!(meta["creationTimestamp"], "2024-01-01T00:00:00Z");
        assert_eq!(meta["uid"].as_str().map(str::len), Some(36));
        assert_ne!(meta["uid"], "mine");
        assert_eq!(meta["name"].as_str().map(str::len), Some(7));
        for key in ["resourceVersion", "generation", "deletionTimestamp", "selfLink"] {
            assert_eq!(meta.get(key), None, "{key}");
        }
        let mut global = json!({"metadata": {"namespace": "x"}});
        prepare_create(&mut global, "", false);
        assert_eq!(global["metadata"].get("namespace"), None);
    }

    #[test]
    fn generated_names_fit_into_a_label() {
        let name = generate_name(&"a".repeat(100));
        assert_eq!(name.len(), 63);
        assert_ne!(generate_name("a-"), generate_name("a-"));
    }

    #[test]
    fn mistakes_in_metadata_are_found() {
        let configmaps = find("", "v1", "configmaps").expect("served");
        let namespaces = find("", "v1", "namespaces").expect("served");
        let reject = |resource: &crate::ResourceInfo, meta: Value| {
            messages(resource.validate_create(&json!({"metadata": meta})))
        };
        assert_eq!(
            reject(configmaps, json!({"namespace": "n"})),
            ["metadata.name: Required value: name or generateName is required"]
        );
        assert_eq!(
            reject(configmaps, json!({"name": "a"})),
            ["metadata.namespace: Required value"]
        );
        assert_eq!(
            reject(namespaces, json!({"name": "a", "namespace": "n"})),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
        assert!(
            reject(namespaces, json!({"name": "A.b"}))[0]
                .starts_with("metadata.name: Invalid value: \"A.b\": a lowercase RFC 1123 label")
        );
        assert!(
            reject(configmaps, json!({"name": "a", "namespace": "n", "generateName": "A-"}))[0]
                .starts_with("metadata.generateName:")
        );
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
        assert_eq!(
            reject(
                configmaps,
                json!({
                    "name": "a", "namespace": "n",
                    "annotations": {"big": "x".repeat(300_000)},
                    "finalizers": ["mine"],
                    "ownerReferences": [{}, owner],
                })
            ),
            [
                "metadata.annotations: Too long: may not be more than 262144 bytes",
                "metadata.ownerReferences[0].apiVersion: Invalid value: \"\": version must not be empty",
                "metadata.ownerReferences[0].kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences[0].name: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences[0].uid: Invalid value: \"\": must not be empty",
                "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
            ]
        );
    }

    #[test]
    fn identity_outlives_updates() {
        let old = json!({"metadata": {
            "name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2024-01-01T00:00:00Z", "generation": 2,
            "deletionTimestamp": "2024-01-02T00:00:00Z", "deletionGracePeriodSeconds": 30, "finalizers": ["a/b"],
        }});
        let mut new = json!({"metadata": {"creationTimestamp": null, "finalizers": ["a/b", "c/d"], "selfLink": "x"}});
        prepare_update(&mut new, &old);
        let mut errors = Errors::new();
        validate_update(&new, &old, &mut errors);
        assert_eq!(
            messages(errors.into_vec()),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers [\"c/d\"]"
            ]
        );
        new["metadata"]["finalizers"] = old["metadata"]["finalizers"].clone();
        assert!(equal(&new, &old));
        new["metadata"]["uid"] = json!("other");
        let mut errors = Errors::new();
        validate_update(&new, &old, &mut errors);
        assert_eq!(
            messages(errors.into_vec()),
            ["metadata.uid: Invalid value: \"other\": field is immutable"]
        );
    }
}
