//! What CSI drivers and those who run them write: CSIDrivers, CSINodes, CSIStorageCapacities and VolumeAttachments. Stored and shown; the
//! node mounts none of it.

use super::Kind;
use crate::check::name::subdomain;
use crate::field::{Errors, Path};
use crate::json::{absent, blank, existing, items, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct CsiDriver;

const POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
const LIFECYCLES: &[&str] = &["Ephemeral", "Persistent"];

const fn boolean<'a>(name: &'a str, description: &'a str) -> Column<'a> {
    Column {
        kind: "boolean",
        ..Column::text(name, description)
    }
}

impl Kind for CsiDriver {
    fn default(&self, driver: &mut Value) {
        let Some(spec) = existing(driver, "spec") else { return };
        for (key, value) in [
            ("attachRequired", json!(true)),
            ("podInfoOnMount", json!(false)),
            ("storageCapacity", json!(false)),
            ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
            ("volumeLifecycleModes", json!(["Persistent"])),
            ("requiresRepublish", json!(false)),
            ("seLinuxMount", json!(false)),
        ] {
            if absent(spec, key) {
                set(spec, key, value);
            }
        }
    }

    fn validate(&self, driver: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &driver["spec"]);
        errors.one_of(&path.child("fsGroupPolicy"), &spec["fsGroupPolicy"], POLICIES);
        let at = path.child("volumeLifecycleModes");
        for mode in items(&spec["volumeLifecycleModes"]).iter().filter_map(Value::as_str) {
            if !LIFECYCLES.contains(&mode) {
                errors.not_supported(&at, mode, LIFECYCLES);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate(new, errors);
        for (key, shown) in [
            ("attachRequired", "attachedRequired"),
            ("volumeLifecycleModes", "volumeLifecycleModes"),
        ] {
            if new["spec"][key] != old["spec"][key] {
                let at = Path::new("spec").child(shown);
                errors.invalid(&at, new["spec"][key].clone(), "field is immutable");
            }
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            boolean(
                "AttachRequired",
                "Whether volumes are attached before they are mounted.",
            ),
            boolean("PodInfoOnMount", "Whether the driver is told for which pod it mounts."),
            boolean("StorageCapacity", "Whether the driver says how much room it has."),
            Column::text("TokenRequests", "For whom the driver gets tokens."),
            boolean(
                "RequiresRepublish",
                "Whether the driver is asked to mount again and again.",
            ),
            Column::text("Modes", "What kinds of volumes the driver has."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, driver: &Value, now: Timestamp) -> Row {
        let spec = &driver["spec"];
        let words = |list: &Value, word: fn(&Value) -> &str| -> Vec<String> {
            items(list).iter().map(|item| word(item).to_owned()).collect()
        };
        let tokens = words(&spec["tokenRequests"], |request| text(request, "audience"));
        let modes = words(&spec["volumeLifecycleModes"], |mode| mode.as_str().unwrap_or_default());
        let tokens = if tokens.is_empty() {
            "<unset>".to_owned()
        } else {
            tokens.join(",")
        };
        Row::new(vec![
            json!(name_of(driver)),
            json!(spec["attachRequired"] == true),
            json!(spec["podInfoOnMount"] == true),
            json!(spec["storageCapacity"] == true),
            json!(tokens),
            json!(spec["requiresRepublish"] == true),
            json!(if modes.is_empty() {
                "<none>".to_owned()
            } else {
                modes.join(",")
            }),
            json!(age_of(driver, now)),
        ])
    }
}

pub(crate) struct CsiNode;

impl Kind for CsiNode {
    fn validate(&self, node: &Value, errors: &mut Errors) {
        for (i, driver) in items(&node["spec"]["drivers"]).iter().enumerate() {
            let at = Path::new("spec").child("drivers").index(i);
            for key in ["name", "nodeID"] {
                if blank(driver, key) {
                    errors.required(&at.child(key), "");
                }
            }
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::integer(
                "Drivers",
                "Drivers indicates the number of CSI drivers registered on the node",
            ),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, node: &Value, now: Timestamp) -> Row {
        let drivers = items(&node["spec"]["drivers"]).len();
        Row::new(vec![json!(name_of(node)), json!(drivers), json!(age_of(node, now))])
    }
}

pub(crate) struct CsiStorageCapacity;

impl Kind for CsiStorageCapacity {
    fn validate(&self, capacity: &Value, errors: &mut Errors) {
        let name = text(capacity, "storageClassName");
        for problem in subdomain(name) {
            errors.invalid(&Path::new("storageClassName"), name, problem);
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("StorageClassName", "The class whose volumes there is room for."),
            Column::text("Capacity", "How much room there is."),
        ];
        COLUMNS.into()
    }

    fn row(&self, capacity: &Value, _now: Timestamp) -> Row {
        let amount = super::persistent_volume::amount(&capacity["capacity"]);
        let amount = if absent(capacity, "capacity") {
            "<unset>".to_owned()
        } else {
            amount
        };
        Row::new(vec![
            json!(name_of(capacity)),
            json!(text(capacity, "storageClassName")),
            json!(amount),
        ])
    }
}

pub(crate) struct VolumeAttachment;

impl Kind for VolumeAttachment {
    fn prepare_create(&self, attachment: &mut Value) {
        set(attachment, "status", json!({"attached": false}));
    }

    fn validate(&self, attachment: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &attachment["spec"]);
        if blank(spec, "attacher") {
            errors.required(&path.child("attacher"), "");
        }
        let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        let source = &spec["source"];
        match (
            absent(source, "inlineVolumeSpec"),
            absent(source, "persistentVolumeName"),
        ) {
            (true, true) => errors.required(&path.child("source"), detail),
            (false, false) => errors.forbidden(&path.child("source"), detail),
            _ => {}
        }
        for problem in subdomain(text(spec, "nodeName")) {
            errors.invalid(&path.child("nodeName"), text(spec, "nodeName"), problem);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_none() && !crate::json::equal(&new["spec"], &old["spec"]) {
            errors.invalid(&Path::new("spec"), new["spec"].clone(), "field is immutable");
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Attacher", "Who attaches the volume."),
            Column::text("PV", "The volume."),
            Column::text("Node", "The node that the volume is to be attached to."),
            boolean("Attached", "Whether it is."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, attachment: &Value, now: Timestamp) -> Row {
        let spec = &attachment["spec"];
        Row::new(vec![
            json!(name_of(attachment)),
            json!(text(spec, "attacher")),
            json!(text(&spec["source"], "persistentVolumeName")),
            json!(text(spec, "nodeName")),
            json!(attachment["status"]["attached"] == true),
            json!(age_of(attachment, now)),
        ])
    }
}
