//! Which objects a list, a watch or a deletion is about.

use std::sync::Arc;

use knarr_resource::selector::{FieldSelector, LabelSelector};
use knarr_resource::{ResourceInfo, Status};

use super::{ListOptions, Request};
use crate::store::{self, Lane, Object};

/// The selectors of a request.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    resource: Arc<ResourceInfo>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub(crate) fn of(request: &Request, options: &ListOptions) -> Result<Self, Status> {
        let mut fields = options.field_selector.clone();
        // The old form of a watch on one object: its path names the object.
        if !request.name.is_empty() {
            let join = if fields.is_empty() { "" } else { "," };
            fields = format!("{fields}{join}metadata.name={}", request.name);
        }
        Ok(Self {
            resource: request.resource.clone(),
            labels: LabelSelector::parse(&options.label_selector).map_err(Status::bad_request)?,
            fields: FieldSelector::parse(&request.resource, &fields)?,
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
    pub(crate) fn lane(&self, request: &Request) -> Lane {
        let scope = match self.resource.namespaced {
            true => request.scope(),
            false => Some(""),
        };
        let node = self.fields.exact("spec.nodeName").filter(|node| !node.is_empty());
        match (scope, self.name(), node) {
            (Some(namespace), Some(name), _) => Lane::Object(store::key(namespace, name).into()),
            (_, _, Some(node)) if self.resource.native => Lane::Node(node.into()),
            (Some(namespace), _, _) if self.resource.namespaced => Lane::Namespace(namespace.into()),
            _ => Lane::All,
        }
    }

    /// Whether a stored object may be selected, as far as can be told before it is brought to the version of the request.
    pub(crate) fn may_match(&self, stored: &Object) -> bool {
        if self.resource.native {
            return self.matches(stored);
        }
        let by_webhook = |definition: &Arc<knarr_resource::Definition>| definition.conversion["strategy"] == "Webhook";
        self.name().is_none_or(|name| name == stored.name())
            && (self.resource.definition.as_ref().is_some_and(by_webhook) || self.labels.matches(&stored.index.labels))
    }

    /// Whether an object is selected, as the version of the request shows it.
    pub(crate) fn matches(&self, shown: &Object) -> bool {
        self.labels.matches(&shown.index.labels) && self.fields.matches(&shown.index.fields)
    }
}
