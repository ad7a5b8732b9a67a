//! What admission is told of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::resource::ResourceInfo;
use serde_json::{Value, json};

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store a new object, or send one to a subresource.
    Create,
    /// Replace an object.
    Update,
    /// Remove an object.
    Delete,
    /// Open a stream to an object.
    Connect,
}

impl Operation {
    /// `CREATE`, as rules of webhooks and policies spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// Who asks: `authentication.k8s.io` UserInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name that authentication found.
    pub name: String,
    /// Tells users of the same name apart, if the authenticator can.
    pub uid: String,
    /// Groups the user is in.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Every authenticated user is in this group.
const AUTHENTICATED: &str = "system:authenticated";
/// Everybody else is in this one.
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of a request without credentials.
const ANONYMOUS: &str = "system:anonymous";

impl UserInfo {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..Self::default()
        }
    }

    /// A user who has proved who it is.
    pub fn authenticated(name: &str, groups: &[impl AsRef<str>]) -> Self {
        let mut user = Self {
            name: name.into(),
            groups: groups.iter().map(|group| group.as_ref().to_owned()).collect(),
            ..Self::default()
        };
        user.add_implied_groups();
        user
    }

    /// Adds the groups that follow from the name.
    pub fn add_implied_groups(&mut self) {
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

    /// Whether the user is in `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The service account of a user name, as namespace and name.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// The node that the user is the kubelet of.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        self.in_group("system:nodes").then_some(name)
    }

    /// As in reviews.
    pub fn to_value(&self) -> Value {
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

/// A request as admission sees it, without the objects.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// The resource in the path.
    pub resource: &'a Arc<ResourceInfo>,
    /// The subresource in the path, empty for the resource itself.
    pub subresource: &'a str,
    /// What is to be done.
    pub operation: Operation,
    /// The namespace in the path, empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// The name of the object; empty while a name is still to be generated.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// Whether nothing may be written, neither here nor elsewhere.
    pub dry_run: bool,
    /// CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, with kind and version.
    pub options: &'a Value,
}

impl Attributes<'_> {
    /// Whether it makes a new object of the core resource `plural`.
    pub fn creates(&self, plural: &str) -> bool {
        self.operation == Operation::Create && self.is_about(plural)
    }

    /// Whether it writes objects of the core resource `plural` themselves.
    pub fn is_about(&self, plural: &str) -> bool {
        self.subresource.is_empty() && self.is_resource("", plural)
    }

    /// Whether the path is below this resource.
    pub fn is_resource(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }

    /// What messages call the object: a name that is still to be generated is known by its beginning.
    pub fn name_of<'o>(&'o self, object: &'o Value) -> &'o str {
        let text = |key: &str| object["metadata"][key].as_str().filter(|text| !text.is_empty());
        match self.name {
            "" => text("name").or_else(|| text("generateName")).unwrap_or("Unknown"),
            name => name,
        }
    }
}

/// What admission tells besides yes or no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// For the client: `Warning` headers.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub audit: Vec<(String, String)>,
}

impl Notes {
    /// Adds a warning, unless it was given already.
    pub fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Adds an annotation to the request's audit event.
    pub fn annotate(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.audit.push((key.into(), value.into()));
    }
}
