//! Rules that many kinds share.

pub(crate) mod label;
pub(crate) mod name;
