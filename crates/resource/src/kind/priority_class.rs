//! PriorityClasses.

use super::Kind;
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct PriorityClass;

/// The highest priority that is not the system's.
const HIGHEST_USER: i64 = 1_000_000_000;
/// The classes every cluster has.
pub(crate) const SYSTEM: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

impl Kind for PriorityClass {
    fn default(&self, class: &mut Value) {
        default_to(class, "preemptionPolicy", "PreemptLowerPriority");
        if absent(class, "value") {
            set(class, "value", 0);
        }
    }

    fn validate(&self, class: &Value, errors: &mut Errors) {
        let (name, value) = (name_of(class), class["value"].as_i64().unwrap_or(0));
        if name.starts_with("system-") {
            if !SYSTEM
                .iter()
                .any(|(known, priority, _)| *known == name && *priority == value)
            {
                let detail = "priority class names with 'system-' prefix are reserved for system use only";
                errors.forbidden(&Path::new("metadata").child("name"), detail);
            }
        } else if value > HIGHEST_USER {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER}");
            errors.forbidden(&Path::new("value"), detail);
        }
        let policies = ["Never", "PreemptLowerPriority"];
        errors.one_of(&Path::new("preemptionPolicy"), &class["preemptionPolicy"], &policies);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        if new["value"] != old["value"] {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        if new["preemptionPolicy"] != old["preemptionPolicy"] {
            let shown = new["preemptionPolicy"].clone();
            errors.invalid(&Path::new("preemptionPolicy"), shown, "field is immutable");
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::integer("Value", "Priority of the pods of the class."),
            Column {
                kind: "boolean",
                ..Column::text("Global-Default", "Whether pods without a class are of this one.")
            },
            Column::AGE,
            Column::text("PreemptionPolicy", "Whether pods of the class may push out others."),
        ];
        COLUMNS.into()
    }

    fn row(&self, class: &Value, now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(class)),
            json!(class["value"].as_i64().unwrap_or(0)),
            json!(class["globalDefault"] == true),
            json!(age_of(class, now)),
            json!(text(class, "preemptionPolicy")),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_priorities_and_system_names_are_reserved() {
        for (name, value, expected) in [
            ("mine", 5, ""),
            (
                "mine",
                HIGHEST_USER + 1,
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            ),
            ("system-cluster-critical", 2_000_000_000, ""),
            (
                "system-mine",
                5,
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only",
            ),
        ] {
            let mut class = json!({"metadata": {"name": name}, "value": value});
            PriorityClass.default(&mut class);
            let mut errors = Errors::new();
            PriorityClass.validate(&class, &mut errors);
            let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(lines.join(""), expected, "{name}");
        }
    }
}
