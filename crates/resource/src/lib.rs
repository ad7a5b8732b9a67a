//! The served kinds, as pure functions over JSON.
//!
//! An API server is mostly one generic machine: it decodes, defaults, prepares, admits, validates and stores an object
//! without knowing what the object is. Everything it must know about one kind is here, behind [`ResourceInfo`], of
//! which a [`Registry`] holds all: under which path the kind is served, and the functions that fill in its defaults, reset
//! what a client may not set, find its mistakes, and print it for `kubectl get`.
//!
//! The order in which a server calls them for a write is the order of Kubernetes:
//!
//! 1. decode, then [`ResourceInfo::to_storage`] and [`ResourceInfo::default`];
//! 2. [`ResourceInfo::prepare_create`] or [`ResourceInfo::prepare_update`], and field ownership of what is left;
//! 3. the mutating phase of [`admission`], then step 2 once more, for what it put in;
//! 4. [`ResourceInfo::identify`], then [`ResourceInfo::validate_create`] or [`ResourceInfo::validate_update`], whose errors
//!    become a [`Status::invalid`];
//! 5. the validating phase of [`admission`].
//!
//! Nothing here does I/O, keeps state or panics on what a client sent.

pub mod admission;
pub mod allocate;
mod check;
pub mod conversion;
pub mod expressions;
mod json;
mod jsonpath;
mod kind;
mod meta;
mod printer;
mod resource;
pub mod resource_list;
mod rules;
pub mod scale;
pub mod selector;
mod served;
mod status;

pub use json::equal;
pub use kind::crd;
pub use kind::custom::{self, Definition};
pub use kind::pod::bind;
pub use knarr_schema::field::{self, Cause, Errors, FieldError, Path};
pub use meta::{generate_name, new_uid};
pub use printer::{Column, Columns, Row, Table, age, human_duration};
pub use resource::{Fields, Registry, ResourceInfo, Subresource};
pub use status::Status;
