//! RuntimeClasses.

use super::Kind;
use super::pod::toleration;
use crate::check::label::validate_labels;
use crate::check::name::label;
use crate::field::{Errors, Path};
use crate::json::text;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct RuntimeClass;

impl Kind for RuntimeClass {
    fn validate(&self, class: &Value, errors: &mut Errors) {
        let (path, handler) = (Path::new("handler"), text(class, "handler"));
        if handler.is_empty() {
            errors.required(&path, "");
        } else {
            for problem in label(handler) {
                errors.invalid(&path, handler, problem);
            }
        }
        let (scheduling, path) = (&class["scheduling"], Path::new("scheduling"));
        validate_labels(&scheduling["nodeSelector"], &path.child("nodeSelector"), errors);
        toleration::validate(&scheduling["tolerations"], &path.child("tolerations"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        if new["handler"] != old["handler"] {
            errors.invalid(&Path::new("handler"), new["handler"].clone(), "field is immutable");
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Handler", "What of the node's runtime runs the pods."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, class: &Value, now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(class)),
            json!(text(class, "handler")),
            json!(age_of(class, now)),
        ])
    }
}
