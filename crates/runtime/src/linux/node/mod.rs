//! The node process: the one that owns the namespaces.
//!
//! A program with several threads may not join a user namespace, and forking one is unsafe to do anything in. So `knarr` runs itself once more
//! as a process of one thread that makes the namespaces, starts the containers and makes sockets in their networks, and passes
//! pipes, terminals and sockets back to the main process, which does all reading and writing.
//!
//! ```text
//! knarr (threads, async) --- socket pair --- guard: outside the node's PID namespace; cleans up
//!                                              `- node: PID 1 of it; namespace owner, event loop
//!                                                   |- container: PID 1 of its own, forked with everything set up
//!                                                   `- command of an exec: joined the container's namespaces
//! ```
//!
//! Nothing outlives the main process: its death closes the socket pair, which ends the guard and the node, and the end of a PID
//! namespace's first process is the end of all in it.

mod cgroup;
mod child;
mod container;
mod guard;
mod layer;
mod member;
mod namespace;
pub(super) mod network;
mod pause;
mod privilege;
mod program;
mod root;
mod sandbox;
mod seccomp;
mod service;
mod state;
mod sweep;
mod sys;
mod tree;
mod trial;

use std::ffi::CStr;

pub(super) use guard::run;
pub(crate) use tree::Tree;

/// First argument of a node process.
pub(super) const ARGUMENT: &str = "__node";
const ARGUMENT_C: &CStr = c"__node";
