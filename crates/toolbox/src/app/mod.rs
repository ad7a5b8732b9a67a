//! The example applications.

pub(crate) mod files;
pub(crate) mod fortune;
pub(crate) mod kuard;
pub(crate) mod node;
pub(crate) mod pause;
mod pet;
pub(crate) mod proxy;
