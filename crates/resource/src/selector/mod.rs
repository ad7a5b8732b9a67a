//! Label and field selectors, as they come in query strings and in objects.

mod field;
mod label;
mod parse;

pub use field::FieldSelector;
pub use label::{LabelSelector, Requirement};
