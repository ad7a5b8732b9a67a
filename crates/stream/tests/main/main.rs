//! The streaming responses behind a real HTTP server, used by real clients.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod client;
mod kubectl;
mod node;
mod proxy;
mod server;
mod wire;
