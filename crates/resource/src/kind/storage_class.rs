//! StorageClasses and VolumeAttributesClasses.

use super::Kind;
use crate::check::name::qualified_name;
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, entries, equal, items, text};
use crate::meta::weight;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct StorageClass;

/// How many parameters there may be, and how large they may be together.
const MOST_PARAMETERS: usize = 512;
const PARAMETERS_SIZE: usize = 256 * 1024;

impl Kind for StorageClass {
    fn default(&self, class: &mut Value) {
        default_to(class, "reclaimPolicy", "Delete");
        default_to(class, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, class: &Value, errors: &mut Errors) {
        let root = Path::default();
        validate_driver(class, "provisioner", errors);
        validate_parameters(&class["parameters"], errors);
        errors.one_of(
            &root.child("reclaimPolicy"),
            &class["reclaimPolicy"],
            &["Delete", "Retain"],
        );
        let modes = ["Immediate", "WaitForFirstConsumer"];
        errors.one_of(&root.child("volumeBindingMode"), &class["volumeBindingMode"], &modes);
        for (i, term) in items(&class["allowedTopologies"]).iter().enumerate() {
            let at = root.child("allowedTopologies").index(i).child("matchLabelExpressions");
            for (i, expression) in items(&term["matchLabelExpressions"]).iter().enumerate() {
                if items(&expression["values"]).is_empty() {
                    errors.required(&at.index(i).child("values"), "");
                }
                for problem in qualified_name(text(expression, "key")) {
                    errors.invalid(&at.index(i).child("key"), text(expression, "key"), problem);
                }
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            if !equal(&new[key], &old[key]) {
                errors.invalid(&Path::new(key), new[key].clone(), "field is immutable");
            }
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Provisioner", "Who makes the volumes of the class."),
            Column::text(
                "ReclaimPolicy",
                "What becomes of its volumes when their claims are gone.",
            ),
            Column::text("VolumeBindingMode", "When its volumes are made and bound."),
            Column::text("AllowVolumeExpansion", "Whether its volumes can grow."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, class: &Value, now: Timestamp) -> Row {
        let default = if is_default(class) { " (default)" } else { "" };
        Row::new(vec![
            json!(format!("{}{default}", name_of(class))),
            json!(text(class, "provisioner")),
            json!(text(class, "reclaimPolicy")),
            json!(text(class, "volumeBindingMode")),
            json!(class["allowVolumeExpansion"] == true),
            json!(age_of(class, now)),
        ])
    }
}

/// Whether what names no class is of this one, be it of storage or of Ingresses.
pub(crate) fn is_default(class: &Value) -> bool {
    let annotations = &class["metadata"]["annotations"];
    [
        "storageclass.kubernetes.io",
        "storageclass.beta.kubernetes.io",
        "ingressclass.kubernetes.io",
    ]
    .iter()
    .any(|domain| annotations[format!("{domain}/is-default-class")] == "true")
}

fn validate_driver(class: &Value, key: &str, errors: &mut Errors) {
    let (at, name) = (Path::new(key), text(class, key));
    if name.is_empty() {
        return errors.required(&at, "");
    }
    for problem in qualified_name(&name.to_lowercase()) {
        errors.invalid(&at, name, problem);
    }
}

fn validate_parameters(parameters: &Value, errors: &mut Errors) {
    let at = Path::new("parameters");
    if entries(parameters).count() > MOST_PARAMETERS {
        return errors.too_long(&at, MOST_PARAMETERS);
    }
    if entries(parameters).any(|(key, _)| key.is_empty()) {
        errors.invalid(&at, "", "field can not be empty.");
    }
    if weight(parameters) > PARAMETERS_SIZE {
        errors.too_long(&at, PARAMETERS_SIZE);
    }
}

pub(crate) struct VolumeAttributesClass;

impl Kind for VolumeAttributesClass {
    fn validate(&self, class: &Value, errors: &mut Errors) {
        validate_driver(class, "driverName", errors);
        validate_parameters(&class["parameters"], errors);
        if absent(class, "parameters") || entries(&class["parameters"]).next().is_none() {
            errors.required(&Path::new("parameters"), "must contain at least one key/value pair");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        for key in ["driverName", "parameters"] {
            if !equal(&new[key], &old[key]) {
                errors.forbidden(&Path::new(key), format!("updates to {key} are forbidden."));
            }
        }
        self.validate(new, errors);
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("DriverName", "Who changes the volumes of the class."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, class: &Value, now: Timestamp) -> Row {
        let driver = text(class, "driverName");
        Row::new(vec![json!(name_of(class)), json!(driver), json!(age_of(class, now))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    #[test]
    fn mistakes_in_a_class_are_named() {
        let resource = find("storage.k8s.io", "v1", "storageclasses").expect("served");
        for (class, expected) in [
            (json!({"provisioner": "knarr.dev/local"}), vec![]),
            (json!({}), vec!["provisioner: Required value"]),
            (
                json!({"provisioner": "x", "reclaimPolicy": "Recycle", "volumeBindingMode": "Late"}),
                vec![
                    r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#,
                    r#"volumeBindingMode: Unsupported value: "Late": supported values: "Immediate", "WaitForFirstConsumer""#,
                ],
            ),
        ] {
            let mut class = class;
            class["metadata"] = json!({"name": "c"});
            resource.default(&mut class);
            let found = resource.validate_create(&class);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_class_s_ways_stay_and_the_default_is_marked() {
        let resource = find("storage.k8s.io", "v1", "storageclasses").expect("served");
        let mut class = json!({"metadata": {"name": "c", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "x"});
        resource.default(&mut class);
        let row = StorageClass.row(&class, Timestamp::UNIX_EPOCH);
        assert_eq!(
            Value::from(row.cells),
            json!(["c (default)", "x", "Delete", "Immediate", false, "<unknown>"])
        );
        let mut new = class.clone();
        new["reclaimPolicy"] = json!("Retain");
        let found = resource.validate_update(&new, &class, None);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [r#"reclaimPolicy: Invalid value: "Retain": field is immutable"#]
        );
    }
}
