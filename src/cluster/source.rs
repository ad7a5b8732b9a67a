//! Where clusters come from. The only place that names the mini-cluster.

use std::path::PathBuf;

/// Where a cluster comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A kubeconfig (`None`: the usual places) and a context in it (`None`: the current one).
    Kubeconfig {
        /// File given by `--kubeconfig`.
        path: Option<PathBuf>,
        /// Context given by `--context`.
        context: Option<String>,
    },
    /// The cluster inside this program.
    Embedded {
        /// Which of several.
        name: String,
        /// Keep nothing.
        ephemeral: bool,
    },
}

/// The contexts of a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Names, in file order.
    pub names: Vec<String>,
    /// The current one.
    pub current: Option<String>,
}

/// A running embedded cluster.
pub struct Running {}

/// Runs the hidden sub-programs of the mini-cluster when this process was started as one; `Some` is its exit code.
pub fn reexec() -> Option<i32> {
    None
}
