//! Why the API server could not start, or could not store.

use std::path::PathBuf;

/// An error of the server itself. What clients get is a `Status`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be read. Nothing was changed in it.
    #[error("the cluster's database {path} is damaged: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Another process has the database open.
    #[error("the cluster's database {path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused a read or a write.
    #[error("the disk refused to store: {0}")]
    Disk(String),
    /// The options do not fit together.
    #[error("{0}")]
    Options(String),
}
