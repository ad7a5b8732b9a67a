//! ServiceAccounts.

use super::Kind;
use crate::json::items;
use crate::printer::{Column, Columns, Row, age_of, name_of};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct ServiceAccount;

impl Kind for ServiceAccount {
    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::integer("Secrets", "Number of secrets that pods of the account may use."),
            Column::AGE,
        ];
        COLUMNS.into()
    }

    fn row(&self, account: &Value, now: Timestamp) -> Row {
        Row::new(vec![
            json!(name_of(account)),
            json!(items(&account["secrets"]).len()),
            json!(age_of(account, now)),
        ])
    }
}
