//! The served kinds, as pure functions over JSON.
//!
//! An API server is mostly one generic machine: it decodes, defaults, prepares, admits, validates and stores an object
//! without knowing what the object is. Everything it must know about one kind is here, behind [`Resource`]: the row of
//! [`RESOURCES`] that says under which path the kind is served, and the functions that fill in its defaults, reset what
//! a client may not set, find its mistakes, and print it for `kubectl get`.
//!
//! The order in which a server calls them for a write is the order of Kubernetes:
//!
//! 1. decode, then [`Resource::to_storage`] and [`Resource::default`];
//! 2. [`Resource::prepare_create`] or [`Resource::prepare_update`];
//! 3. [`admission::admit`], which may both change and refuse the object, then [`Resource::default`] once more;
//! 4. [`Resource::validate_create`] or [`Resource::validate_update`], whose errors become a [`Failure::invalid`].
//!
//! Nothing here does I/O, keeps state or panics on what a client sent.

pub mod admission;
pub mod allocate;
mod check;
mod field;
mod json;
mod kind;
mod meta;
mod printer;
mod quantity;
mod resource;
pub mod scale;
pub mod selector;
mod served;
mod status;

pub use field::{Cause, Errors, FieldError, Path};
pub use json::equal;
pub use kind::pod::bind;
pub use meta::{Context, generate_name, new_uid};
pub use printer::{Column, Row, Table, age, human_duration};
pub use quantity::Quantity;
pub use resource::{Fields, Resource, Subresource, by_kind, find};
pub use served::RESOURCES;
pub use status::Failure;
