//! Keys in, screen out: the production loop on a buffer, a real cluster in memory, virtual time.

mod change;
mod cluster;
mod command;
mod harness;
mod identity;
mod look;
mod object;
mod operate;
mod pane;
mod server;
mod shape;
mod states;
mod table;
mod walk;
mod why;

pub(crate) use harness::{Desk, Setup, Tui};
