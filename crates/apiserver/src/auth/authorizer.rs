//! Whether a user may: the Node authorizer, and then the roles.

use std::sync::Arc;

use knarr_resource::Status;
use serde_json::{Value, json};

use super::node::NodeAuthorizer;
use super::rbac::{self, Attributes, Policy};
use super::{MASTERS, UserInfo};
use crate::server::Server;

/// Both authorizers, with the roles and bindings as they are now.
#[derive(Clone)]
pub(crate) struct Authorizer {
    nodes: Arc<NodeAuthorizer>,
    policy: Arc<Policy>,
}

impl Authorizer {
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            nodes: server.nodes.clone(),
            policy: rbac::policy(server),
        }
    }

    /// Why the user may, which is empty for who may everything.
    ///
    /// # Errors
    /// Why not, which may be empty.
    pub(crate) fn authorize(&self, user: &UserInfo, asked: &Attributes<'_>) -> Result<String, String> {
        if user.in_group(MASTERS) {
            return Ok(String::new());
        }
        let why = match user.node().map(|node| self.nodes.authorize(node, asked)) {
            Some(Ok(())) => return Ok(String::new()),
            Some(Err(why)) => why,
            None => String::new(),
        };
        self.policy.allowed(user, asked).ok_or(why)
    }
}

/// Whether the user may.
pub(crate) fn allowed(server: &Server, user: &UserInfo, asked: &Attributes<'_>) -> bool {
    Authorizer::new(server).authorize(user, asked).is_ok()
}

/// Refuses with 403 what is not allowed.
pub(crate) fn check(server: &Server, user: &UserInfo, asked: &Attributes<'_>) -> Result<(), Status> {
    let authorized = Authorizer::new(server).authorize(user, asked);
    authorized.map(drop).map_err(|why| refused(user, asked, &why))
}

/// 403 in the words of Kubernetes.
pub(crate) fn refused(user: &UserInfo, asked: &Attributes<'_>, why: &str) -> Status {
    let why = match why {
        "" => String::new(),
        why => format!(": {why}"),
    };
    if let Some(path) = asked.path {
        return Status {
            code: 403,
            reason: "Forbidden",
            message: format!(
                "forbidden: User {:?} cannot {} path {path:?}{why}",
                user.name, asked.verb
            ),
            details: json!({}),
        };
    }
    let resource = match asked.subresource {
        "" => asked.resource.to_owned(),
        subresource => format!("{}/{subresource}", asked.resource),
    };
    let qualified = match asked.group {
        "" => asked.resource.to_owned(),
        group => format!("{}.{group}", asked.resource),
    };
    let object = match asked.name {
        "" => qualified,
        name => format!("{qualified} {name:?}"),
    };
    let scope = match asked.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let mut details = serde_json::Map::new();
    for (key, value) in [("name", asked.name), ("group", asked.group), ("kind", asked.resource)] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    Status {
        code: 403,
        reason: "Forbidden",
        message: format!(
            "{object} is forbidden: User {:?} cannot {} resource {resource:?} in API group {:?} {scope}{why}",
            user.name, asked.verb, asked.group
        ),
        details: Value::Object(details),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_who_may_not_do_what_where() {
        let user = UserInfo::authenticated("x", &[] as &[&str]);
        let list = Attributes {
            verb: "list",
            resource: "pods",
            namespace: "a",
            ..Attributes::default()
        };
        assert_eq!(
            refused(&user, &list, "").message,
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "a""#
        );
        let path = Attributes {
            verb: "get",
            path: Some("/metrics"),
            ..Attributes::default()
        };
        assert_eq!(
            refused(&user, &path, "").message,
            r#"forbidden: User "x" cannot get path "/metrics""#
        );
    }
}
