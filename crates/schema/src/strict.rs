//! Reading JSON and YAML as strictly as `fieldValidation=Strict` asks for.
//!
//! A body is read in three steps, so that the server can choose by `fieldValidation` what to do with each finding:
//! parsing finds duplicate fields, [`unknown_fields`] and [`type_errors`] look at the result with the type in hand, and
//! [`prune`] leaves of it what Go would have kept. All messages are worded as kube-apiserver words them; the caller puts
//! `strict decoding error: ` before the joined duplicates and unknown fields.

mod fields;
mod go;
mod json;
mod normal;
mod scalar;
mod yaml;

pub use fields::{type_errors, unknown_fields};
pub use json::parse as parse_json;
pub(crate) use normal::canonical;
pub use normal::prune;
pub use yaml::parse as parse_yaml;

/// Documents nested deeper than this are refused: as deep as a schema in a CustomResourceDefinition can reasonably be.
const MAX_DEPTH: usize = 256;

/// A body that is no JSON or YAML at all, or too big or too deep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

/// Where a value is: `spec.containers[0].image`.
#[derive(Debug, Default)]
struct Path(String);

impl Path {
    /// Runs `f` one field deeper.
    fn field<T>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.0.len();
        if before > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        let result = f(self);
        self.0.truncate(before);
        result
    }

    /// Runs `f` inside the item at `index`.
    fn item<T>(&mut self, index: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.0.len();
        self.0.push_str(&format!("[{index}]"));
        let result = f(self);
        self.0.truncate(before);
        result
    }
}

#[cfg(test)]
mod tests;
