//! Rules that many kinds share.

pub(crate) mod ca_bundle;
pub(crate) mod label;
pub(crate) mod name;
