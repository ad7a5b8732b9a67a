//! Pure text functions: ages, quantities, display widths, sanitising, fuzzy matching.
//!
//! Everything a cluster sends (names, labels, logs, messages) is untrusted: it passes [`clean`] before it reaches a cell
//! of the terminal, so that no escape sequence in it can ever be executed.

mod age;
mod fuzzy;
mod jsonpath;
mod quantity;
mod width;

pub use age::{age, human_duration, parse_duration};
pub use fuzzy::fuzzy_score;
pub use jsonpath::JsonPath;
pub use quantity::{bytes, count, millicores, parse_quantity};
pub use width::{clean, cut_end, cut_middle, pad_left, pad_right, width, wrap, wraps};
