//! Names, connections, requests: what the network programs and the example servers share.

pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod resolve;
pub(crate) mod serve;
pub(crate) mod tls;
pub(crate) mod url;
