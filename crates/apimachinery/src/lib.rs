//! What every part of Kubernetes agrees on, as the module of the same name upstream: resource quantities, schedules, durations
//! and the rules for names.
//!
//! A leaf: it knows neither a server nor a client.

pub mod cron;
pub mod duration;
mod quantity;
#[cfg(feature = "tls")]
pub mod tls;
pub mod validation;

pub use quantity::{ParseQuantityError, Quantity};
