//! Applying manifests: parse, resolve, dry-run, diff, server-side apply.

use crate::cluster::Link;
use crate::error::{Error, Result};

/// What applying does to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It did not exist.
    Created,
    /// It changes.
    Configured,
    /// It is so already.
    Unchanged,
}

/// One object of an applied text.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// `deployment.apps/web`.
    pub name: String,
    /// Namespace, when it has one.
    pub namespace: Option<String>,
    /// First line of its document in the text, 1-based.
    pub line: usize,
    /// What happened, or why not.
    pub result: Result<Change>,
    /// Line of the text the error is about, where it can be told.
    pub error_line: Option<usize>,
    /// The live object before, as YAML without server-side fields; empty when it did not exist.
    pub before: String,
    /// The object after, likewise.
    pub after: String,
}

/// What applying a text does.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ApplyReport {
    /// Every object, in the text's order.
    pub objects: Vec<Applied>,
    /// Whether nothing was changed yet.
    pub dry_run: bool,
}

/// Applies every document of `text` in order; with `dry_run`, asks the server what that would change.
pub async fn apply(_link: &Link, _text: &str, _namespace: &str, _dry_run: bool) -> Result<ApplyReport> {
    Err(Error::usage("not connected"))
}
