//! PersistentVolumeClaims.

use super::Kind;
use super::persistent_volume::{
    MODES, amount, class, class_problems, immutable, or_unset, phase, short_modes, validate_access_modes,
    validate_positive,
};
use crate::check::label::validate_selector;
use crate::check::name::{label, subdomain};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, default_to, differences, equal, existing, items, keep, remove, set, text};
use crate::kind::pod::validate_amount;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use knarr_apimachinery::Quantity;
use serde_json::{Value, json};

pub(crate) struct PersistentVolumeClaim;

const RULE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

impl Kind for PersistentVolumeClaim {
    fn default(&self, claim: &mut Value) {
        if let Some(spec) = existing(claim, "spec") {
            default_to(spec, "volumeMode", "Filesystem");
            same_data_source(spec);
        }
    }

    fn prepare_create(&self, claim: &mut Value) {
        set(claim, "status", json!({"phase": "Pending"}));
    }

    fn validate(&self, claim: &Value, errors: &mut Errors) {
        validate_spec(&claim["spec"], &Path::new("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return;
        }
        self.validate(new, errors);
        let annotation = |claim: &Value| claim["metadata"]["annotations"][CLASS].clone();
        if annotation(new) != annotation(old) {
            let at = Path::new("metadata").child("annotations").key(CLASS);
            errors.invalid(&at, annotation(new), "field is immutable");
        }
        validate_same(new, old, errors);
        validate_size(new, old, errors);
        immutable(&new["spec"], &old["spec"], "volumeMode", errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Status", "Whether the claim has its volume."),
            Column::text("Volume", "The volume that the claim has."),
            Column::text("Capacity", "How much fits in the volume."),
            Column::text("Access Modes", "How the volume can be mounted."),
            Column::text("StorageClass", "StorageClass of the pvc"),
            Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
            Column::AGE,
            Column::text("VolumeMode", "Whether the volume is a file system or a device.").wide(),
        ];
        COLUMNS.into()
    }

    fn row(&self, claim: &Value, now: Timestamp) -> Row {
        let (spec, status) = (&claim["spec"], &claim["status"]);
        let (capacity, modes) = match blank(spec, "volumeName") {
            true => (String::new(), String::new()),
            false => (
                amount(&status["capacity"]["storage"]),
                short_modes(&status["accessModes"]),
            ),
        };
        Row::new(vec![
            json!(name_of(claim)),
            json!(phase(claim)),
            json!(text(spec, "volumeName")),
            json!(capacity),
            json!(modes),
            json!(class(claim)),
            json!(or_unset(spec, "volumeAttributesClassName")),
            json!(age_of(claim, now)),
            json!(or_unset(spec, "volumeMode")),
        ])
    }
}

/// `dataSource` is the old name of a `dataSourceRef` within the namespace; each says what the other says.
fn same_data_source(spec: &mut Value) {
    let (old, new) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if !old.is_null() && new.is_null() {
        set(spec, "dataSourceRef", old);
    } else if old.is_null() && !new.is_null() && blank(&new, "namespace") {
        set(spec, "dataSource", new);
    }
}

/// The mistakes in what is claimed: by a claim, or by the template of one.
pub(super) fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    if items(&spec["accessModes"]).is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    if !absent(spec, "selector") {
        validate_selector(&spec["selector"], &path.child("selector"), errors);
    }
    validate_access_modes(spec, path, errors);
    let at = path.child("resources").key("storage");
    let wanted = &spec["resources"]["requests"]["storage"];
    match wanted.is_null() {
        true => errors.required(&at, ""),
        false => {
            validate_amount("storage", wanted, &at, errors);
            validate_positive(wanted, &at, errors);
        }
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        for problem in class_problems(spec, key) {
            errors.invalid(&path.child(key), text(spec, key), problem);
        }
    }
    errors.one_of(&path.child("volumeMode"), &spec["volumeMode"], MODES);
    for key in ["dataSource", "dataSourceRef"] {
        if !absent(spec, key) {
            validate_data_source(&spec[key], &path.child(key), errors);
        }
    }
}

fn validate_data_source(source: &Value, path: &Path, errors: &mut Errors) {
    for key in ["name", "kind"] {
        if blank(source, key) {
            errors.required(&path.child(key), "");
        }
    }
    let group = text(source, "apiGroup");
    if group.is_empty() && text(source, "kind") != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(path, text(source, "kind"), detail);
    }
    let named = [
        ("apiGroup", group, subdomain as fn(&str) -> _),
        ("namespace", text(source, "namespace"), label),
    ];
    for (key, name, rule) in named {
        for problem in rule(name).into_iter().filter(|_| !name.is_empty()) {
            errors.invalid(&path.child(key), name, problem);
        }
    }
}

/// Claims do not change, so that quotas and limits cannot be talked around; but for the volume, which is put in once, a class where there
/// was none, and the size of what is bound.
fn validate_same(new: &Value, old: &Value, errors: &mut Errors) {
    let (mut is, mut was) = (new["spec"].clone(), old["spec"].clone());
    if blank(&was, "volumeName") {
        keep(&mut was, &is, "volumeName");
    }
    if absent(&was, "storageClassName") && absent(&old["metadata"]["annotations"], CLASS) {
        keep(&mut was, &is, "storageClassName");
    }
    if new["status"]["phase"] == "Bound" {
        for spec in [&mut is, &mut was] {
            remove(spec, "volumeAttributesClassName");
            if let Some(requests) = existing(spec, "resources").and_then(|all| existing(all, "requests")) {
                remove(requests, "storage");
            }
        }
    }
    if !equal(&is, &was) {
        let detail = format!("{RULE}\n{}\n", differences(&is, &was, "spec"));
        errors.forbidden(&Path::new("spec"), detail);
    }
}

/// A request may fall again as long as nothing has grown to it.
fn validate_size(new: &Value, old: &Value, errors: &mut Errors) {
    let wanted = |claim: &Value| Quantity::of(&claim["spec"]["resources"]["requests"]["storage"]);
    let (Some(is), Some(was)) = (wanted(new), wanted(old)) else {
        return;
    };
    let has = Quantity::of(&old["status"]["capacity"]["storage"]).unwrap_or(Quantity::ZERO);
    if is < was && is <= has {
        let at = ["resources", "requests", "storage"]
            .iter()
            .fold(Path::new("spec"), |at, key| at.child(key));
        errors.forbidden(&at, "field can not be less than status.capacity");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    }

    fn lines(found: &[crate::FieldError]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mistakes_in_a_claim_are_named() {
        type Case = (fn(&mut Value), Vec<&'static str>);
        let resource = find("", "v1", "persistentvolumeclaims").expect("served");
        let cases: Vec<Case> = vec![
            (|_| {}, vec![]),
            (
                |s| *s = json!({}),
                vec![
                    "spec.accessModes: Required value: at least 1 access mode is required",
                    "spec.resources[storage]: Required value",
                ],
            ),
            (
                |s| s["volumeMode"] = json!("Tape"),
                vec![r#"spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem""#],
            ),
            (
                |s| s["dataSource"] = json!({"kind": "VolumeSnapshot", "name": "s"}),
                vec![
                    r#"spec.dataSource: Invalid value: "VolumeSnapshot": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#,
                    r#"spec.dataSourceRef: Invalid value: "VolumeSnapshot": must be 'PersistentVolumeClaim' when referencing the default apiGroup"#,
                ],
            ),
        ];
        for (change, expected) in cases {
            let mut claim = good();
            change(&mut claim["spec"]);
            resource.default(&mut claim);
            assert_eq!(lines(&resource.validate_create(&claim)), expected);
        }
    }

    #[test]
    fn a_claim_is_given_a_volume_once_and_only_a_bound_one_grows() {
        let resource = find("", "v1", "persistentvolumeclaims").expect("served");
        let told = |old: Value, change: fn(&mut Value)| {
            let (mut old, mut new) = (old.clone(), old);
            change(&mut new["spec"]);
            resource.default(&mut old);
            resource.default(&mut new);
            lines(&resource.validate_update(&new, &old, None))
        };
        let none: [&str; 0] = [];
        assert_eq!(told(good(), |s| s["volumeName"] = json!("v")), none);
        assert_eq!(told(good(), |s| s["storageClassName"] = json!("fast")), none);
        let grow = |s: &mut Value| s["resources"]["requests"]["storage"] = json!("2Gi");
        assert_eq!(
            told(good(), grow),
            [format!(
                "spec: Forbidden: {RULE}\n- spec.resources.requests.storage: \"1Gi\"\n+ spec.resources.requests.storage: \"2Gi\"\n"
            )]
        );
        let mut bound = good();
        bound["spec"]["volumeName"] = json!("v");
        bound["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        assert_eq!(told(bound.clone(), grow), none);
        assert_eq!(
            told(bound.clone(), |s| s["volumeName"] = json!("w")),
            [format!(
                "spec: Forbidden: {RULE}\n- spec.volumeName: \"v\"\n+ spec.volumeName: \"w\"\n"
            )]
        );
        assert_eq!(
            told(bound, |s| s["resources"]["requests"]["storage"] = json!("1Mi")),
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
        );
    }

    #[test]
    fn a_row_shows_what_the_claim_has() {
        let mut claim = good();
        PersistentVolumeClaim.default(&mut claim);
        claim["spec"]["volumeName"] = json!("v");
        claim["metadata"]["annotations"] = json!({CLASS: "old"});
        claim["status"] =
            json!({"phase": "Bound", "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]});
        let row = PersistentVolumeClaim.row(&claim, Timestamp::UNIX_EPOCH);
        assert_eq!(
            Value::from(row.cells),
            json!([
                "c",
                "Bound",
                "v",
                "5Gi",
                "RWO,ROX",
                "old",
                "<unset>",
                "<unknown>",
                "Filesystem"
            ])
        );
    }
}
