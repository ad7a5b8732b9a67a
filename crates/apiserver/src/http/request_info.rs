//! One request for a resource, understood and permitted.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use knarr_resource::{ResourceInfo, Status, Subresource};
use knarr_schema::proto;

use super::accept::{self, Form, Offer};
use super::options;
use super::query::Query;
use crate::auth::UserInfo;
use crate::registry::Request;
use crate::store;

/// What a verb gets to work with, besides the body.
pub(crate) struct RequestInfo {
    pub user: UserInfo,
    pub verb: &'static str,
    pub resource: Arc<ResourceInfo>,
    pub subresource: Option<Subresource>,
    /// Empty for cluster-scoped resources and requests over all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The path after a `proxy` subresource.
    pub rest: Option<String>,
    pub query: Query,
    pub parts: Parts,
}

impl RequestInfo {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The key of the object named by the path.
    pub(crate) fn key(&self) -> String {
        store::key(&self.namespace, &self.name)
    }

    pub(crate) fn form(&self) -> Result<Form, Status> {
        let resource = &self.resource;
        let offer = Offer {
            protobuf: proto::can_encode(&resource.group, &resource.version, &resource.kind),
            // What is only answered, such as a review, has no columns.
            tables: resource.stored(),
        };
        let form = accept::negotiate(self.headers(), &self.query, offer)?;
        match self.verb {
            "watch" => Ok(form),
            verb => form.fits(resource, matches!(verb, "list" | "deletecollection")),
        }
    }

    /// Who owns the fields that this request sets.
    pub(crate) fn manager(&self) -> &str {
        self.query
            .get("fieldManager")
            .unwrap_or_else(|| knarr_schema::managed::default_manager(self.header("user-agent")))
    }

    /// The request without what is HTTP's.
    pub(crate) fn request(&self) -> Request {
        let subresource = self.subresource.as_ref().map_or("", |subresource| subresource.name);
        let manager = self.manager().to_owned();
        Request {
            user: self.user.clone(),
            verb: self.verb,
            resource: self.resource.clone(),
            subresource: subresource.to_owned(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            dry_run: self.query.dry_run(),
            options: options::of(self),
            manager,
        }
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.resource, &self.name)
    }
}
