//! Any kind without a file of its own, custom resources included.

use super::{Column, Drill, Kind, Subject};
use crate::document::Document;
use crate::store::{Cell, Health, Object};

pub(super) static GENERIC: Kind = Kind {
    group: "",
    plural: "",
    columns: &[Column::text("NAME", 20, 0), Column::number("AGE", 5, 0)],
    row,
    describe,
    summary,
    drill: Drill::Describe,
    sort: None,
};

fn row(object: &Object) -> (Health, Vec<Cell>) {
    (Health::None, vec![Cell::text(&object.id.name), super::age_cell(object)])
}

fn describe(_subject: &Subject<'_>) -> Document {
    Document::new()
}

fn summary(_subject: &Subject<'_>) -> Document {
    Document::new()
}
