//! Exec, attach, port-forward and logs on the wire.
//!
//! [`backend`] is what a node offers; the other modules speak the protocols real clients use (SPDY/3.1 and the WebSocket
//! channel protocols) and pump bytes between a client's connection and a [`backend::Process`] or [`backend::Duplex`].

pub mod backend;
