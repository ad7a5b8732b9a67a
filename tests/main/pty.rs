//! The real binary on a real terminal: what no test inside the process can see.

mod end;
mod terminal;
mod trouble;
mod walk;

pub(crate) use terminal::{Home, Terminal};
