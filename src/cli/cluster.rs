//! `knarr cluster`: embedded clusters in the background.

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
        Action::Status { name } => {
            let (running, text) = background::status(&name)?;
            super::print(&format!("{text}\n"));
            return Ok(if running { ExitCode::SUCCESS } else { ExitCode::from(3) });
        }
    };
    super::print(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}
