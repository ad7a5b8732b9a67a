//! The kubelet: it makes the pods bound to one node run, and tells the API server how they are.
//!
//! ```text
//!             watch                 one task per pod
//! API server ------> pod::dispatch ------> pod::worker --> runtime: sandbox, containers
//!     ^                                       |   ^ exits, probe results, hooks, timers, changed volumes
//!     +------ status patches, events ---------+   |
//! ```
//!
//! Nothing here polls. A worker sleeps until its pod's object changes, a process ends, a probe changes its mind, or a
//! time it has itself worked out (a back-off, a deadline, a token's refresh) comes.
//!
//! Start reading at `pod::worker`; what to do is decided in `pod::plan`, and what to report in `status`. Both are pure.

mod backend;
mod backoff;
mod command;
mod component;
mod container;
mod context;
mod env;
pub mod fleet;
pub mod hollow;
mod image;
mod kubelet;
mod log;
mod mirror;
mod node;
mod object;
mod options;
mod pod;
mod probe;
mod quantity;
mod sample;
mod server;
mod service;
mod status;
mod volume;

pub use component::{ComponentLog, ComponentPod};
pub use container::image_user;
pub use kubelet::{Kubelet, StartError};
pub use options::{Capacity, Options};
