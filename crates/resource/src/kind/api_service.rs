//! `APIService`: which group versions are served, and by whom.

use super::Kind;
use crate::check::name::{NameRule, subdomain};
use crate::field::{Errors, Path};
use crate::json::{absent, blank, existing, items, keep, set, text};
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct ApiService;

impl Kind for ApiService {
    fn name_rule(&self) -> NameRule {
        NameRule::Segment
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = existing(object, "spec")
            && let Some(service) = existing(spec, "service")
            && absent(service, "port")
        {
            set(service, "port", 443);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        if !absent(object, "spec") {
            set(object, "status", json!({}));
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        if subresource.is_none() {
            keep(new, old, "status");
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let spec = &object["spec"];
        let path = Path::new("spec");
        let (group, version) = (text(spec, "group"), text(spec, "version"));
        let wanted = format!("{version}.{group}");
        if name_of(object) != wanted {
            let at = Path::new("metadata").child("name");
            errors.invalid(
                &at,
                name_of(object),
                format!("must be `spec.version+\".\"+spec.group`: {wanted:?}"),
            );
        }
        if !group.is_empty() {
            for problem in subdomain(group) {
                errors.invalid(&path.child("group"), group, problem);
            }
        }
        for problem in crate::check::name::label_1035(version) {
            errors.invalid(&path.child("version"), version, problem);
        }
        for (key, limit) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
            let number = spec[key].as_i64().unwrap_or(0);
            if !(1..=limit).contains(&number) {
                let detail = format!("must be positive and less than {limit}");
                errors.invalid(&path.child(key), number, detail);
            }
        }
        let service = &spec["service"];
        if service.is_null() {
            if !blank(spec, "caBundle") {
                let detail = "local APIServices may not have a caBundle";
                errors.invalid(&path.child("caBundle"), spec["caBundle"].clone(), detail);
            }
            if spec["insecureSkipTLSVerify"] == true {
                let detail = "local APIServices may not have insecureSkipTLSVerify";
                errors.invalid(&path.child("insecureSkipTLSVerify"), true, detail);
            }
            return;
        }
        for key in ["namespace", "name"] {
            if blank(service, key) {
                errors.required(&path.child("service").child(key), "");
            }
        }
        let port = service["port"].as_i64().unwrap_or(443);
        if !(1..=65535).contains(&port) {
            let detail = "port is not valid: must be between 1 and 65535, inclusive";
            errors.invalid(&path.child("service").child("port"), port, detail);
        }
        if spec["insecureSkipTLSVerify"] == true && !blank(spec, "caBundle") {
            let detail = "may not be true if caBundle is present";
            errors.invalid(&path.child("insecureSkipTLSVerify"), true, detail);
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Service", "The reference to the service that hosts this API endpoint."),
            Column::text("Available", "Whether this service is available."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let service = &object["spec"]["service"];
        let service = match service.is_null() {
            true => "Local".to_owned(),
            false => format!("{}/{}", text(service, "namespace"), text(service, "name")),
        };
        let conditions = items(&object["status"]["conditions"]);
        let available = match conditions.iter().find(|condition| condition["type"] == "Available") {
            None => "Unknown".to_owned(),
            Some(condition) => match (text(condition, "status"), text(condition, "reason")) {
                ("True", _) => "True".to_owned(),
                (status, reason) => format!("{status} ({reason})"),
            },
        };
        Row::new(vec![
            json!(name_of(object)),
            json!(service),
            json!(available),
            json!(age_of(object, now)),
        ])
    }
}
