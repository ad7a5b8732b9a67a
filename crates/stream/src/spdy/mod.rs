//! SPDY/3.1, the server's side: kubectl's streaming protocol since the first version.
//!
//! HTTP is left behind at the upgrade and no SPDY request is ever made: the client opens streams whose headers name their
//! purpose, the server accepts them, and both write.

#[cfg(test)]
pub(crate) mod client;
mod dictionary;
mod frame;
mod header;
mod session;

pub(crate) use session::{Session, Stream, open};
