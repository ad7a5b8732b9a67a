//! `knarr cluster`: embedded clusters in the background.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use knarr::error::Result;

/// What to do.
#[derive(Subcommand)]
pub(super) enum Action {
    /// Start a cluster in the background; returns when its node is Ready
    Start {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Stop it; its state is kept
    Stop {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Say whether it runs; exit code 3 when it does not
    Status {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Stop it and delete its state
    Delete {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Read its database from beginning to end; it may be running
    Check {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Save what is whole of a damaged database; the damaged file is kept
    Repair {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Copy its database to a new file; it may be running
    Snapshot {
        /// The new file
        file: PathBuf,
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Go back to a snapshot; what it holds now is kept beside it
    Restore {
        /// A file that `snapshot` made
        file: PathBuf,
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
    /// Print its objects as manifests that another cluster takes
    Export {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
        /// Only this namespace
        #[arg(short, long)]
        namespace: Option<String>,
    },
    /// Print the path of its kubeconfig
    Kubeconfig {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
    },
}

pub(super) fn run(action: Action) -> Result<ExitCode> {
    use knarr::cluster::background;
    let text = match action {
        Action::Start { name } => background::start(&name)?,
        Action::Stop { name } => background::stop(&name)?,
        Action::Delete { name } => background::delete(&name)?,
        Action::Kubeconfig { name } => background::kubeconfig(&name)?,
        Action::Check { name } => background::check(&name)?,
        Action::Repair { name } => background::repair(&name)?,
        Action::Snapshot { file, name } => background::snapshot(&name, &absolute(&file))?,
        Action::Restore { file, name } => background::restore(&name, &absolute(&file))?,
        Action::Export { name, namespace } => {
            super::print(&background::export(&name, namespace.as_deref())?);
            return Ok(ExitCode::SUCCESS);
        }
        Action::Status { name } => {
            let (running, text) = background::status(&name)?;
            super::print(&format!("{text}\n"));
            return Ok(if running { ExitCode::SUCCESS } else { ExitCode::from(3) });
        }
    };
    super::print(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}

/// For messages that make sense in another directory, too.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
