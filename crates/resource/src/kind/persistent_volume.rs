//! PersistentVolumes.

use super::{Kind, volume_source};
use crate::check::name::subdomain;
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, differences, entries, equal, existing, items, set, text};
use crate::kind::pod::{validate_amount, validate_node_selector};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use knarr_apimachinery::Quantity;
use serde_json::{Map, Value, json};

pub(crate) struct PersistentVolume;

pub(super) const MODES: &[&str] = &["Block", "Filesystem"];
const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const RECLAIM_POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];

impl Kind for PersistentVolume {
    fn default(&self, volume: &mut Value) {
        if let Some(spec) = existing(volume, "spec") {
            default_to(spec, "persistentVolumeReclaimPolicy", "Retain");
            default_to(spec, "volumeMode", "Filesystem");
            volume_source::default(spec);
        }
    }

    fn prepare_create(&self, volume: &mut Value) {
        set(volume, "status", json!({"phase": "Pending"}));
    }

    fn validate(&self, volume: &Value, errors: &mut Errors) {
        validate_spec(&volume["spec"], &Path::new("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return;
        }
        self.validate(new, errors);
        let (is, was) = (source(&new["spec"]), source(&old["spec"]));
        if !equal(&is, &was) {
            let changes = differences(&is, &was, "spec");
            let detail = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
            errors.forbidden(&Path::new("spec").child("persistentvolumesource"), detail);
        }
        immutable(&new["spec"], &old["spec"], "volumeMode", errors);
        if !absent(&old["spec"], "nodeAffinity") && !equal(&new["spec"]["nodeAffinity"], &old["spec"]["nodeAffinity"]) {
            let found = new["spec"]["nodeAffinity"].clone();
            errors.invalid(&Path::new("nodeAffinity"), found, "field is immutable");
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Capacity", "How much fits in the volume."),
            Column::text("Access Modes", "How the volume can be mounted."),
            Column::text("Reclaim Policy", "What becomes of the volume when its claim is gone."),
            Column::text("Status", "Whether a claim can have the volume."),
            Column::text("Claim", "The claim that has the volume."),
            Column::text("StorageClass", "StorageClass of the pv"),
            Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
            Column::text("Reason", "Why the volume has failed."),
            Column::AGE,
            Column::text("VolumeMode", "Whether the volume is a file system or a device.").wide(),
        ];
        COLUMNS.into()
    }

    fn row(&self, volume: &Value, now: Timestamp) -> Row {
        let (spec, claim) = (&volume["spec"], &volume["spec"]["claimRef"]);
        let claim = match claim.is_null() {
            true => String::new(),
            false => format!("{}/{}", text(claim, "namespace"), text(claim, "name")),
        };
        Row::new(vec![
            json!(name_of(volume)),
            json!(amount(&spec["capacity"]["storage"])),
            json!(short_modes(&spec["accessModes"])),
            json!(text(spec, "persistentVolumeReclaimPolicy")),
            json!(phase(volume)),
            json!(claim),
            json!(class(volume)),
            json!(or_unset(spec, "volumeAttributesClassName")),
            json!(text(&volume["status"], "reason")),
            json!(age_of(volume, now)),
            json!(or_unset(spec, "volumeMode")),
        ])
    }
}

/// The fields that say where the data is.
fn source(spec: &Value) -> Value {
    let fields = entries(spec).filter(|(key, _)| volume_source::PERSISTENT.contains(&key.as_str()));
    Value::Object(
        fields
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<Map<_, _>>(),
    )
}

/// A field of the spec that stays what it was. Kubernetes leaves the `spec` out of the path.
pub(super) fn immutable(new: &Value, old: &Value, key: &str, errors: &mut Errors) {
    if !equal(&new[key], &old[key]) {
        errors.invalid(&Path::new(key), new[key].clone(), "field is immutable");
    }
}

fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    if items(&spec["accessModes"]).is_empty() {
        errors.required(&path.child("accessModes"), "");
    }
    validate_access_modes(spec, path, errors);
    let at = path.child("capacity");
    let capacity = &spec["capacity"];
    let amounts = entries(capacity).count();
    if amounts == 0 {
        errors.required(&at, "");
    }
    if absent(capacity, "storage") || amounts > 1 {
        let found = if capacity.is_null() {
            json!({})
        } else {
            capacity.clone()
        };
        errors.not_supported(&at, found, &["storage"]);
    }
    for (name, quantity) in entries(capacity) {
        validate_amount(name, quantity, &at.key(name), errors);
        validate_positive(quantity, &at.key(name), errors);
    }
    errors.one_of(
        &path.child("persistentVolumeReclaimPolicy"),
        &spec["persistentVolumeReclaimPolicy"],
        RECLAIM_POLICIES,
    );
    let affinity = &spec["nodeAffinity"];
    if !affinity.is_null() {
        let at = path.child("nodeAffinity").child("required");
        match affinity["required"].is_null() {
            true => errors.required(&at, "must specify required node constraints"),
            false => validate_node_selector(&affinity["required"], &at, errors),
        }
    }
    validate_source(spec, path, errors);
    for problem in class_problems(spec, "storageClassName") {
        errors.invalid(&path.child("storageClassName"), text(spec, "storageClassName"), problem);
    }
    errors.one_of(&path.child("volumeMode"), &spec["volumeMode"], MODES);
}

fn validate_source(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for kind in volume_source::PERSISTENT.iter().filter(|kind| !absent(spec, kind)) {
        let at = path.child(kind);
        if std::mem::replace(&mut found, true) {
            errors.forbidden(&at, "may not specify more than 1 volume type");
            continue;
        }
        volume_source::validate(kind, &spec[*kind], &at, errors);
        if *kind == "csi" && blank(&spec["csi"], "volumeHandle") {
            errors.required(&at.child("volumeHandle"), "");
        }
        if *kind == "local" && absent(spec, "nodeAffinity") {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
    let root = text(&spec["hostPath"], "path");
    if !root.is_empty() && root.chars().all(|c| c == '/') && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), detail);
    }
}

pub(super) fn validate_access_modes(spec: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("accessModes");
    let modes: Vec<&str> = items(&spec["accessModes"]).iter().filter_map(Value::as_str).collect();
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(&at, *mode, ACCESS_MODES);
    }
    let (alone, others): (Vec<&str>, Vec<&str>) = modes
        .into_iter()
        .filter(|mode| ACCESS_MODES.contains(mode))
        .partition(|mode| *mode == "ReadWriteOncePod");
    if !alone.is_empty() && !others.is_empty() {
        errors.forbidden(&at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Nothing is no size.
pub(super) fn validate_positive(quantity: &Value, path: &Path, errors: &mut Errors) {
    if Quantity::of(quantity).is_some_and(|amount| amount <= Quantity::ZERO) {
        errors.invalid(path, amount(quantity), "must be greater than zero");
    }
}

/// What is wrong with the name of a class; no class is fine.
pub(super) fn class_problems(spec: &Value, key: &str) -> Vec<String> {
    match text(spec, key) {
        "" => Vec::new(),
        name => subdomain(name),
    }
}

/// A quantity as people write it.
pub(super) fn amount(quantity: &Value) -> String {
    match quantity {
        Value::String(text) => text.clone(),
        Value::Null => "0".to_owned(),
        other => other.to_string(),
    }
}

/// `RWO,ROX`: each mode once, in Kubernetes' order.
pub(super) fn short_modes(modes: &Value) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| items(modes).iter().any(|found| found == mode);
    let short: Vec<&str> = known
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect();
    short.join(",")
}

/// `status.phase`, or that it is on its way out.
pub(super) fn phase(object: &Value) -> &str {
    match absent(&object["metadata"], "deletionTimestamp") {
        true => text(&object["status"], "phase"),
        false => "Terminating",
    }
}

/// The class of a volume or a claim. The annotation is how classes began, and is still read first.
pub(crate) fn class(object: &Value) -> &str {
    let annotations = &object["metadata"]["annotations"];
    match annotations["volume.beta.kubernetes.io/storage-class"].as_str() {
        Some(class) => class,
        None => text(&object["spec"], "storageClassName"),
    }
}

pub(super) fn or_unset<'a>(spec: &'a Value, key: &str) -> &'a str {
    spec[key].as_str().unwrap_or("<unset>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({"metadata": {"name": "v"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}})
    }

    fn mistakes(change: fn(&mut Value)) -> Vec<String> {
        let resource = find("", "v1", "persistentvolumes").expect("served");
        let mut volume = good();
        change(&mut volume["spec"]);
        resource.default(&mut volume);
        let found = resource.validate_create(&volume);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mistakes_in_a_volume_are_named() {
        type Case = (fn(&mut Value), Vec<&'static str>);
        let cases: Vec<Case> = vec![
            (|_| {}, vec![]),
            (
                |s| *s = json!({}),
                vec![
                    "spec.accessModes: Required value",
                    "spec.capacity: Required value",
                    r#"spec.capacity: Unsupported value: {}: supported values: "storage""#,
                    "spec: Required value: must specify a volume type",
                ],
            ),
            (
                |s| s["accessModes"] = json!(["ReadWriteOncePod", "ReadWriteOnce", "RWO"]),
                vec![
                    r#"spec.accessModes: Unsupported value: "RWO": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#,
                    "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                ],
            ),
            (
                |s| s["capacity"]["storage"] = json!("0"),
                vec![r#"spec.capacity[storage]: Invalid value: "0": must be greater than zero"#],
            ),
            (
                |s| s["nfs"] = json!({"server": "s", "path": "/"}),
                vec!["spec.nfs: Forbidden: may not specify more than 1 volume type"],
            ),
            (
                |s| {
                    s["hostPath"] = Value::Null;
                    s["local"] = json!({"path": "/x"});
                },
                vec!["spec.nodeAffinity: Required value: Local volume requires node affinity"],
            ),
            (
                |s| {
                    s["hostPath"]["path"] = json!("/");
                    s["persistentVolumeReclaimPolicy"] = json!("Recycle");
                },
                vec!["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
            ),
            (
                |s| {
                    s["hostPath"] = Value::Null;
                    s["nfs"] = json!({"path": "x"});
                },
                vec![
                    "spec.nfs.server: Required value",
                    r#"spec.nfs.path: Invalid value: "x": must be an absolute path"#,
                ],
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(mistakes(change), expected);
        }
    }

    #[test]
    fn where_the_data_is_stays() {
        let resource = find("", "v1", "persistentvolumes").expect("served");
        let (mut old, mut new) = (good(), good());
        new["spec"]["hostPath"]["path"] = json!("/other");
        new["spec"]["capacity"]["storage"] = json!("2Gi");
        resource.default(&mut old);
        resource.default(&mut new);
        let found = resource.validate_update(&new, &old, None);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n- spec.hostPath.path: \"/data\"\n+ spec.hostPath.path: \"/other\""
            ]
        );
    }

    #[test]
    fn a_row_shows_who_has_the_volume() {
        let mut volume = good();
        PersistentVolume.default(&mut volume);
        volume["spec"]["claimRef"] = json!({"namespace": "n", "name": "c"});
        volume["spec"]["storageClassName"] = json!("fast");
        volume["status"] = json!({"phase": "Bound"});
        let row = PersistentVolume.row(&volume, Timestamp::UNIX_EPOCH);
        assert_eq!(
            Value::from(row.cells),
            json!([
                "v",
                "1Gi",
                "RWO",
                "Retain",
                "Bound",
                "n/c",
                "fast",
                "<unset>",
                "",
                "<unknown>",
                "Filesystem"
            ])
        );
    }
}
