//! The generic store behind every resource: every verb over the strategy of a kind, with admission, field ownership and
//! preconditions. Nothing here knows HTTP, which is one door to it.

mod account;
pub(crate) mod admission;
pub(crate) mod codec;
mod create;
mod delete;
mod list;
mod patch;
mod quota;
mod selection;
mod update;
mod watch;

use std::sync::Arc;

use knarr_resource::admission::{Attributes, Operation, UserInfo};
use knarr_resource::{ResourceInfo, Status};
use serde_json::Value;

use crate::object::{name_of, typed_for};
use crate::store::{self, Object};

pub(crate) use create::create;
pub(crate) use delete::{DeleteOptions, Deleted, delete, delete_collection, delete_with};
pub(crate) use list::{List, get, list};
pub(crate) use patch::{Patch, PatchOptions, Validation, patch, refuse as refuse_patch};
pub(crate) use quota::Controller as QuotaController;
pub(crate) use update::{assign, replace, update};
pub(crate) use watch::{Watch, WatchEvent, watch};

/// Who wants what, understood and permitted.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub user: UserInfo,
    pub verb: &'static str,
    pub resource: Arc<ResourceInfo>,
    /// Empty for the resource itself.
    pub subresource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// Who owns the fields that this request sets.
    pub manager: String,
    pub dry_run: bool,
    /// CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, with kind and version.
    pub options: Value,
}

impl Request {
    /// The key of the object that is meant.
    pub(crate) fn key(&self) -> String {
        store::key(&self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.resource, &self.name)
    }

    /// The request as admission sees it.
    pub(crate) fn attributes<'a>(&'a self, operation: Operation, name: &'a str) -> Attributes<'a> {
        Attributes {
            resource: &self.resource,
            subresource: &self.subresource,
            operation,
            namespace: &self.namespace,
            name,
            user: &self.user,
            dry_run: self.dry_run,
            options: &self.options,
        }
    }

    /// The namespace to list, or all of them.
    pub(crate) fn scope(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }

    /// The subresource as strategies ask for it.
    fn below(&self) -> Option<&str> {
        (!self.subresource.is_empty()).then_some(self.subresource.as_str())
    }

    /// Refuses an object that says it belongs elsewhere than its path.
    pub(crate) fn check_place(&self, object: &Value) -> Result<(), Status> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if self.resource.namespaced && !namespace.is_empty() && namespace != self.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let name = name_of(object);
        if !self.name.is_empty() && !name.is_empty() && name != self.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name
            )));
        }
        Ok(())
    }
}

/// `meta.k8s.io` ListOptions, also those of a watch and of a collection that is deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    pub limit: Option<i64>,
    /// `continue`
    pub next: Option<String>,
    pub resource_version: Option<u64>,
    pub resource_version_match: Option<String>,
    pub send_initial_events: Option<bool>,
    pub allow_watch_bookmarks: bool,
    pub timeout_seconds: Option<u64>,
}

/// Whether the server still has to note who owns the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Fields,
    /// An apply has noted it.
    Done,
}

/// What became of a write.
pub(crate) enum Outcome {
    /// The object as it is now, as the version of the request shows it, and whether it is new.
    Stored(Arc<Object>, bool),
    /// The object as it would be, as its strategy works with it, and whether it would be new.
    Dry(Value, bool),
}

impl Outcome {
    pub(crate) fn created(&self) -> bool {
        match self {
            Self::Stored(_, created) | Self::Dry(_, created) => *created,
        }
    }

    /// The object as this version shows it, with kind and version.
    pub(crate) fn into_value(self, resource: &ResourceInfo) -> Value {
        match self {
            Self::Stored(object, _) => {
                let mut value = object.value();
                typed_for(resource, &mut value);
                value
            }
            Self::Dry(value, _) => codec::present(resource, value),
        }
    }
}
