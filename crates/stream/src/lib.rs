//! Exec, attach, port-forward, proxy and logs on the wire.
//!
//! [`backend`] is what a node offers; the functions here each turn one HTTP request into the answer a real client
//! expects, speaking SPDY/3.1 or a WebSocket channel protocol with it where the request asks for an upgrade, and pump bytes
//! between the client's connection and a [`backend::Process`] or [`backend::Duplex`].
//!
//! The API server has authenticated and authorised the request and resolved the pod, the container and the node before it
//! calls any of them.

pub mod backend;
mod forward;
mod handshake;
mod log;
mod mux;
mod proxy;
mod remote;
mod spdy;
mod status;
mod websocket;

pub use forward::port_forward;
pub use log::logs;
pub use proxy::proxy;
pub use remote::{attach, exec};
