//! ServiceAccounts.

use serde::Deserialize;
use serde_json::Value;

use super::brief::Brief;
use super::field::{items, text};
use super::page::Page;
use super::part::{Count, Meta, parse};
use super::{Column, Drill, Kind, Related, Subject, describe};
use crate::document::Document;
use crate::store::{Cell, Health, Object};
use crate::theme::Role;

/// The type of secrets that hold a token that does not expire.
const TOKEN: &str = "kubernetes.io/service-account-token";

pub(super) static KIND: Kind = Kind {
    group: "",
    plural: "serviceaccounts",
    columns: &[
        Column::text("NAME", 20, 0),
        Column::number("SECRETS", 7, 2),
        Column::number("AGE", 5, 1),
    ],
    row,
    related: |object| {
        let tokens = Related::new("", "secrets", &object["metadata"]["namespace"]);
        vec![tokens.fields(format!("type={TOKEN}"))]
    },
    describe: self::describe,
    summary,
    drill: Drill::Describe,
    sort: None,
};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Account {
    metadata: Meta,
    secrets: Count,
}

fn row(object: &Object) -> (Health, Vec<Cell>) {
    let json = object.json();
    let parsed: Account = parse(&json);
    let secrets = i64::try_from(parsed.secrets.0).unwrap_or(i64::MAX);
    (
        Health::None,
        vec![
            Cell::text(&object.id.name),
            Cell::Int(secrets),
            parsed.metadata.created.cell(),
        ],
    )
}

fn describe(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, true);
    page.list(0, "Image pull secrets", &names(&object["imagePullSecrets"]));
    page.list(0, "Mountable secrets", &names(&object["secrets"]));
    if let Some(secrets) = subject.related {
        let own = |secret: &&Value| {
            let annotations = &secret["metadata"]["annotations"];
            annotations["kubernetes.io/service-account.uid"] == object["metadata"]["uid"]
                || (annotations["kubernetes.io/service-account.uid"].is_null()
                    && annotations["kubernetes.io/service-account.name"] == object["metadata"]["name"])
        };
        let tokens = secrets.iter().filter(|secret| secret["type"] == TOKEN).filter(own);
        let tokens: Vec<_> = tokens
            .map(|secret| text(&secret["metadata"]["name"]).to_owned())
            .collect();
        page.list(0, "Tokens", &tokens);
    }
    describe::events(&mut page, subject);
    page.finish()
}

fn names(references: &Value) -> Vec<String> {
    items(references)
        .iter()
        .map(|reference| text(&reference["name"]).to_owned())
        .collect()
}

fn summary(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut brief = Brief::new(subject.now);
    brief.pair("pull", &names(&object["imagePullSecrets"]).join(", "));
    brief.pair("secrets", &names(&object["secrets"]).join(", "));
    if object["automountServiceAccountToken"] == false {
        brief.say(Role::Dim, "no token is mounted into its pods");
    }
    brief.labels(object);
    brief.finish()
}
