//! Tests of whole expressions.

mod hostile;
mod matrix;
mod rules;
