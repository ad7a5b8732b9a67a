//! vi
pub(crate) fn main(_: &[String]) -> i32 {
    0
}
