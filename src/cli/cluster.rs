//! `knarr cluster`: embedded clusters in the background.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use knarr::cluster::Size;
use knarr::error::Result;

/// What to do.
#[derive(Subcommand)]
pub(super) enum Action {
    /// Start a cluster in the background; returns when its node is Ready
    Start {
        /// Which of several
        #[arg(default_value = "default")]
        name: String,
        /// Nodes it has at least; those that were added before come back by themselves
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=255))]
        nodes: u16,
        /// Nodes it has besides, whose pods go through their states without processes
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        hollow: u16,
    },
    /// List its nodes, add and remove some, cut one off and bring it back
    Node {
        #[command(subcommand)]
        action: NodeAction,
        /// Which of several clusters
        #[arg(long, value_name = "NAME", default_value = "default", global = true)]
        cluster: String,
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

/// What to do with a node.
#[derive(Subcommand)]
pub(super) enum NodeAction {
    /// List them
    List,
    /// Add one; it stays until it is removed
    Add {
        /// Its name
        name: String,
        /// Processors it has, such as 2 or 500m, instead of all of this machine's
        #[arg(long, value_name = "AMOUNT")]
        cpu: Option<String>,
        /// Memory it has, such as 2Gi, instead of all of this machine's
        #[arg(long, value_name = "AMOUNT")]
        memory: Option<String>,
        /// Most pods it takes
        #[arg(long, value_name = "NUMBER")]
        pods: Option<String>,
        /// A label; may be given several times
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// A taint; may be given several times
        #[arg(long = "taint", value_name = "KEY=VALUE:EFFECT")]
        taints: Vec<String>,
    },
    /// Remove one that was added, and its pods
    Remove {
        /// Its name
        name: String,
    },
    /// Cut one off: its pods go on, but nobody reaches it
    Cut {
        /// Its name
        name: String,
    },
    /// Let one come back that was cut off
    Heal {
        /// Its name
        name: String,
    },
}

fn label(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn node(cluster: &str, action: NodeAction) -> Result<String> {
    use knarr::cluster::background::{NewNode, node};
    match action {
        NodeAction::List => node::list(cluster),
        NodeAction::Add {
            name,
            cpu,
            memory,
            pods,
            labels,
            taints,
        } => {
            let capacity = [("cpu", cpu), ("memory", memory), ("pods", pods)];
            let capacity = capacity
                .into_iter()
                .filter_map(|(resource, amount)| Some((resource.to_owned(), amount?)));
            let new = NewNode {
                name,
                capacity: capacity.collect(),
                labels: labels.into_iter().collect(),
                taints,
            };
            node::add(cluster, &new)
        }
        NodeAction::Remove { name } => node::remove(cluster, &name),
        NodeAction::Cut { name } => node::cut(cluster, &name),
        NodeAction::Heal { name } => node::heal(cluster, &name),
    }
}

pub(super) fn run(action: Action) -> Result<ExitCode> {
    use knarr::cluster::background;
    let text = match action {
        Action::Start { name, nodes, hollow } => {
            let size = Size {
                nodes: nodes.into(),
                hollow: hollow.into(),
            };
            background::start(&name, size)?
        }
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
        Action::Node { action, cluster } => {
            super::print(&node(&cluster, action)?);
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
