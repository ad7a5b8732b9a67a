//! The clusters the workstation talks to, and how.
//!
//! [`Source`] says where a cluster comes from, [`Link`] is the way to it. Every request leaves through [`Link::send`], so read-only mode
//! is enforced there and nowhere else.

mod apply;
mod discovery;
mod link;
mod manifest;
mod request;
mod source;

pub use apply::{Applied, ApplyReport, Change, apply};
pub use discovery::{Discovery, Resource};
pub use link::{Link, LinkState};
pub use request::{Patch, Request, Verb, encode};
pub(crate) use source::connect;
pub use source::{ComponentLogs, ConnectOptions, Contexts, Given, Running, Source, background, clusters_dir, reexec};
