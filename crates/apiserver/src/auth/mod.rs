//! Who asks (authentication) and whether they may (authorization).

pub(crate) mod authn;
pub(crate) mod defaults;
pub(crate) mod escalate;
pub(crate) mod rbac;
pub(crate) mod review;
pub(crate) mod token;

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Every authenticated user is in this group.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everybody else is in this one.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of a request without credentials.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Members may do everything, whatever the roles in the store say. This is how a cluster is set up and rescued.
pub(crate) const MASTERS: &str = "system:masters";

/// A user as the authorizer and the reviews see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub(crate) fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// A user who has proved who it is.
    pub(crate) fn authenticated(name: &str, groups: &[impl AsRef<str>]) -> Self {
        let mut user = Self {
            name: name.into(),
            groups: groups.iter().map(|group| group.as_ref().to_owned()).collect(),
            ..Self::default()
        };
        user.add_implied_groups();
        user
    }

    /// The service account of a user name, as namespace and name.
    pub(crate) fn service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// Adds the groups that follow from the name.
    pub(crate) fn add_implied_groups(&mut self) {
        let mut implied = Vec::new();
        if let Some((namespace, _)) = self.service_account() {
            implied.push("system:serviceaccounts".to_owned());
            implied.push(format!("system:serviceaccounts:{namespace}"));
        }
        let anonymous = self.name == ANONYMOUS;
        implied.push(if anonymous { UNAUTHENTICATED } else { AUTHENTICATED }.to_owned());
        for group in implied {
            if !self.groups.contains(&group) {
                self.groups.push(group);
            }
        }
    }

    pub(crate) fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// `authentication.k8s.io` UserInfo.
    pub(crate) fn to_value(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}
