//! One container: what it is to be, the process it becomes, and its end.

mod account;
mod attach;
mod etc;
mod hook;
mod instance;
mod prepare;
mod security;
mod stop;
mod termination;

pub use account::lookup as image_user;
pub(crate) use attach::attach;
pub(crate) use hook::run as run_hook;
pub(crate) use instance::Instance;
pub(crate) use prepare::{Prepared, Refused, prepare};
pub(crate) use security::{is_rejection, sandbox};
pub(crate) use stop::{Stop, signal_number, stop};
pub(crate) use termination::message as termination_message;

use sha2::{Digest, Sha256};

/// Whether the pod shares the node's network.
pub(crate) fn on_host_network(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// A container ID: 64 hex digits that name one instance.
pub(crate) fn new_id(uid: &str, container: &str, attempt: u32) -> String {
    let salt: u64 = rand::random();
    let digest = Sha256::digest(format!("{uid}/{container}/{attempt}/{salt}"));
    hex(&digest)
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a string cannot fail
            text
        })
}
