//! The programs inside the built-in images, in one multi-call binary: a shell, the everyday tools, and the example servers.
//!
//! A container's `/bin/ls` is a link to the executable that this crate is linked into; [`dispatch`], called first thing in `main`, sees the
//! name it was called by and becomes that program. Nothing else needs to be installed in an image.

mod account;
mod app;
mod host;
mod net;
mod nginx;
mod random;
mod say;
mod sh;
mod sys;
mod table;
mod tool;
mod vi;
mod which;

pub use table::{applet, dispatch, names};
