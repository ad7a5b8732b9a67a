//! The clusters inside this program. The only place that names the mini-cluster.

use std::path::PathBuf;
use std::sync::Arc;

use super::source::{Reached, client, kubeconfig, open};
use super::{ConnectOptions, Size, Source};
use crate::error::{Error, ErrorKind, Result};

/// The logs of an embedded cluster's control plane; their layer belongs into the program's tracing subscriber.
pub use knarr_cluster::Logs as ComponentLogs;
/// The images of an embedded cluster's node.
pub use knarr_cluster::image;

/// A running embedded cluster; it stops when the last reference goes, after [`Running::stop`] in good order.
pub struct Running {
    name: String,
    plane: tokio::sync::Mutex<Option<knarr_cluster::Cluster>>,
}

impl Running {
    /// Stops its pods and flushes its store.
    pub async fn stop(&self) {
        if let Some(plane) = self.plane.lock().await.take() {
            plane.stop().await;
        }
    }
}

/// Runs the hidden sub-programs of the mini-cluster when this process was started as one; `Some` is its exit code.
pub fn reexec() -> Option<i32> {
    knarr_cluster::reexec()
}

/// Connects to an embedded cluster: one that runs already, here or in the background, or a new one.
pub(super) async fn connect(
    name: &str,
    ephemeral: bool,
    size: Size,
    options: ConnectOptions,
    running: Option<Arc<Running>>,
) -> Result<Reached> {
    let label = Source::Embedded {
        name: name.into(),
        ephemeral,
        size,
    }
    .name();
    let same = running.filter(|running| running.name == name);
    // A cluster of that name that runs in the background is used, not fought for its data.
    if same.is_none()
        && !ephemeral
        && !options.simulate
        && let Some(path) = knarr_cluster::daemon::attach(name).map_err(|error| failed(name, &error))?
    {
        let (config, _, user) = kubeconfig(Some(&path), None, &options).await?;
        let address = config.cluster_url.to_string();
        let client = client(config, &format!("the embedded cluster {name:?} cannot be used")).await?;
        let link = open(&options, client, &user, address.trim_end_matches('/'), "default").await?;
        return Ok((link, label, None));
    }
    let running = match same {
        Some(running) => running,
        None => {
            let mut plan = if options.simulate {
                let name = name.to_owned();
                knarr_cluster::Options {
                    name,
                    ..knarr_cluster::Options::memory()
                }
            } else {
                knarr_cluster::Options::named(name).map_err(|error| failed(name, &error))?
            };
            plan.clock = options.clock.clone();
            plan.logs = options.logs.clone();
            plan.nodes = knarr_cluster::node::names(size.nodes);
            plan.hollow = size.hollow;
            if ephemeral {
                plan.storage = knarr_cluster::Storage::Memory;
            }
            let plane = knarr_cluster::Cluster::start(plan)
                .await
                .map_err(|error| failed(name, &error))?;
            Arc::new(Running {
                name: name.to_owned(),
                plane: tokio::sync::Mutex::new(Some(plane)),
            })
        }
    };
    let plane = running.plane.lock().await;
    let plane_ref = plane
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::Other, "the embedded cluster has stopped"))?;
    let client = match &options.user {
        Some(user) => {
            let groups: Vec<&str> = options.groups.iter().map(String::as_str).collect();
            plane_ref.client_as(user, &groups)
        }
        None => plane_ref.client(),
    };
    drop(plane);
    let link = open(&options, client, "", "the embedded cluster", "default").await?;
    Ok((link, label, Some(running)))
}

fn failed(name: &str, error: &knarr_cluster::Error) -> Error {
    let failed = Error::new(
        ErrorKind::Other,
        format!("the embedded cluster {name:?} does not start"),
    )
    .because(error);
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// Directory that holds the embedded clusters' state.
pub fn clusters_dir() -> Option<PathBuf> {
    knarr_cluster::daemon::directory().ok()
}

/// Embedded clusters that run without a terminal.
pub mod background {
    use std::path::Path;

    use super::{Error, ErrorKind, Result, Size};
    use knarr_cluster::daemon;
    pub use knarr_cluster::daemon::node::NewNode;

    fn failed(error: &knarr_cluster::Error) -> Error {
        use std::error::Error as _;
        let mut chain = Error::new(ErrorKind::Other, error.to_string());
        if let Some(source) = error.source() {
            chain = chain.because(source);
        }
        match error.hint() {
            Some(hint) => chain.hint(hint),
            None => chain,
        }
    }

    /// Starts it; what to tell the user.
    pub fn start(name: &str, size: Size) -> Result<String> {
        let options = daemon::StartOptions {
            nodes: size.nodes,
            hollow: size.hollow,
            ..daemon::StartOptions::default()
        };
        let path = daemon::start_with(name, &options).map_err(|error| failed(&error))?;
        Ok(format!(
            "cluster {name} is running
export KUBECONFIG={}",
            path.display()
        ))
    }

    /// Stops it; what to tell the user.
    pub fn stop(name: &str) -> Result<String> {
        let ran = daemon::stop(name).map_err(|error| failed(&error))?;
        Ok(if ran {
            format!("cluster {name} has stopped")
        } else {
            format!("cluster {name} was not running")
        })
    }

    /// Whether it runs, and what to tell the user.
    pub fn status(name: &str) -> Result<(bool, String)> {
        daemon::status(name)
            .map(|status| (status.running, status.text))
            .map_err(|error| failed(&error))
    }

    /// Deletes it; what to tell the user.
    pub fn delete(name: &str) -> Result<String> {
        let was = daemon::delete(name).map_err(|error| failed(&error))?;
        Ok(if was {
            format!("cluster {name} is deleted")
        } else {
            format!("there was no cluster {name}")
        })
    }

    /// Reads its database; what to tell the user.
    pub fn check(name: &str) -> Result<String> {
        daemon::check(name).map_err(|error| failed(&error))
    }

    /// Saves what is whole of its database; what to tell the user.
    pub fn repair(name: &str) -> Result<String> {
        daemon::repair(name).map_err(|error| failed(&error))
    }

    /// Copies its database to a file; what to tell the user.
    pub fn snapshot(name: &str, to: &Path) -> Result<String> {
        daemon::snapshot(name, to).map_err(|error| failed(&error))
    }

    /// Goes back to such a copy; what to tell the user.
    pub fn restore(name: &str, from: &Path) -> Result<String> {
        daemon::restore(name, from).map_err(|error| failed(&error))
    }

    /// Its objects as manifests for another cluster.
    pub fn export(name: &str, namespace: Option<&str>) -> Result<String> {
        daemon::export(name, namespace).map_err(|error| failed(&error))
    }

    /// Its nodes.
    pub mod node {
        use super::{NewNode, Result, daemon, failed};

        /// A table of them.
        pub fn list(cluster: &str) -> Result<String> {
            daemon::node::list(cluster).map_err(|error| failed(&error))
        }

        /// Adds one; what to tell the user.
        pub fn add(cluster: &str, new: &NewNode) -> Result<String> {
            daemon::node::add(cluster, new).map_err(|error| failed(&error))?;
            Ok(format!("node {} is ready\n", new.name))
        }

        /// Removes one; what to tell the user.
        pub fn remove(cluster: &str, name: &str) -> Result<String> {
            daemon::node::remove(cluster, name).map_err(|error| failed(&error))?;
            Ok(format!("node {name} is removed\n"))
        }

        /// Cuts one off; what to tell the user.
        pub fn cut(cluster: &str, name: &str) -> Result<String> {
            daemon::node::cut(cluster, name).map_err(|error| failed(&error))?;
            Ok(format!(
                "node {name} is cut off: it is NotReady in less than a minute, and its pods are evicted five minutes later\n"
            ))
        }

        /// Lets one come back; what to tell the user.
        pub fn heal(cluster: &str, name: &str) -> Result<String> {
            daemon::node::heal(cluster, name).map_err(|error| failed(&error))?;
            Ok(format!("node {name} comes back\n"))
        }
    }

    /// The path of its kubeconfig.
    pub fn kubeconfig(name: &str) -> Result<String> {
        daemon::kubeconfig(name)
            .map(|path| path.display().to_string())
            .map_err(|error| failed(&error))
    }
}
