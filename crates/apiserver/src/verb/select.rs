//! Which objects a list, a watch or a deletion is about.

use std::sync::Arc;

use knarr_resource::selector::{FieldSelector, LabelSelector};
use knarr_resource::{ResourceInfo, Status};

use crate::http::request_info::RequestInfo;
use crate::object::present;
use crate::store::{self, Lane, Object};

/// The selectors of a request.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    resource: Arc<ResourceInfo>,
    /// The stored index knows the fields only as the native version names them.
    native: bool,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn of(call: &RequestInfo) -> Result<Self, Status> {
        let labels = call.query.get("labelSelector").unwrap_or_default();
        let mut fields = call.query.get("fieldSelector").unwrap_or_default().to_owned();
        // The old form of a watch on one object: its path names the object.
        if !call.name.is_empty() {
            let join = if fields.is_empty() { "" } else { "," };
            fields = format!("{fields}{join}metadata.name={}", call.name);
        }
        Ok(Self {
            native: call.resource.native,
            resource: call.resource.clone(),
            labels: LabelSelector::parse(labels).map_err(Status::bad_request)?,
            fields: FieldSelector::parse(&call.resource, &fields)?,
        })
    }

    /// Whether everything is selected.
    pub(crate) fn everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The only name that can be selected.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// The smallest part of its table in which everything that is selected is.
    pub(crate) fn lane(&self, call: &RequestInfo) -> Lane {
        let scope = match call.resource.namespaced {
            true => call.scope(),
            false => Some(""),
        };
        let node = self.fields.exact("spec.nodeName").filter(|node| !node.is_empty());
        match (scope, self.name(), node) {
            (Some(namespace), Some(name), _) => Lane::Object(store::key(namespace, name).into()),
            (_, _, Some(node)) if self.native => Lane::Node(node.into()),
            (Some(namespace), _, _) if call.resource.namespaced => Lane::Namespace(namespace.into()),
            _ => Lane::All,
        }
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        if !self.labels.matches(&object.index.labels) {
            return false;
        }
        if self.fields.is_empty() {
            return true;
        }
        if self.native {
            return self.fields.matches(&object.index.fields);
        }
        self.fields
            .matches(&self.resource.fields(&present(&self.resource, object)))
    }
}
