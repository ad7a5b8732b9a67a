//! Leases: who leads, and which nodes are alive.

use super::Kind;
use crate::field::{Errors, Path};
use crate::json::{absent, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct Lease;

impl Kind for Lease {
    fn validate(&self, lease: &Value, errors: &mut Errors) {
        let (path, spec) = (Path::new("spec"), &lease["spec"]);
        if !absent(spec, "leaseDurationSeconds") && spec["leaseDurationSeconds"].as_i64().is_none_or(|n| n <= 0) {
            let shown = spec["leaseDurationSeconds"].clone();
            errors.invalid(&path.child("leaseDurationSeconds"), shown, "must be greater than 0");
        }
        if spec["leaseTransitions"].as_i64().is_some_and(|n| n < 0) {
            let shown = spec["leaseTransitions"].clone();
            errors.invalid(
                &path.child("leaseTransitions"),
                shown,
                "must be greater than or equal to 0",
            );
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Holder", "Who holds the lease."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, lease: &Value, now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(lease)),
            json!(text(&lease["spec"], "holderIdentity")),
            json!(age_of(lease, now)),
        ])
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    /// Two that both believe to lead must not overwrite each other.
    fn updates_unconditionally(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts() {
        let mut errors = Errors::new();
        Lease.validate(
            &json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
            &mut errors,
        );
        let lines: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
