//! The clusters the workstation talks to, and how.
//!
//! [`Source`] says where a cluster comes from, [`Link`] is the way to it. Reads leave through [`Link::read`]; whatever changes a cluster
//! is a [`Plan`] of [`Change`]s, carried out by [`execute()`] and remembered in the [`Journal`].

mod apply;
mod dial;
mod discovery;
#[cfg_attr(not(feature = "embedded"), path = "cluster/embedded/absent.rs")]
mod embedded;
mod execute;
mod journal;
mod kubectl;
mod link;
mod manifest;
mod merge;
mod place;
mod plan;
mod plugin;
mod request;
mod source;

pub use apply::{Applied, ApplyReport, Effect as ApplyEffect, preview};
pub use discovery::{Discovery, Resource};
pub use embedded::{ComponentLogs, Running, clusters_dir, reexec};
#[cfg(feature = "embedded")]
pub use embedded::{background, image};
pub use execute::{Content, Progress, Report, content, execute, list};
pub use journal::{Journal, masked};
pub(crate) use link::retry_after;
pub use link::{Changed, Link, LinkState};
pub use manifest::object as object_of_text;
pub use merge::reconciled;
pub use place::{ClusterId, Namespaces, Place};
pub use plan::{Change, ObjectRef, Pace, Plan, Write, subject};
pub use plugin::{Credential, PLUGIN, PLUGIN_SECONDS, Plugin};
pub use request::{Read, encode};
pub use source::{ConnectOptions, Contexts, Given, Size, Source, connect, plugin_of};

/// Who changes objects, as their managed fields remember it.
const MANAGER: &str = "knarr";
