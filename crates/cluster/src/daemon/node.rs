//! The nodes of a running cluster: `knarr cluster node list | add | remove | cut | heal`.
//!
//! All of it is done to Node objects, by way of the cluster's API server: see [`crate::node`]. Any other client can do the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config};
use serde_json::json;

use super::{PATIENCE, StartOptions, running};
use crate::error::{Doing, Error};
use crate::node::{CAPACITY, CUT, FIRST, MACHINE, PROCESSES, is_ready, names, wanted};

/// A node to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewNode {
    /// Its name.
    pub name: String,
    /// What it has instead of all that the host has: `cpu`, `memory`, `pods`, as quantities.
    pub capacity: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints, as `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
    pub taints: Vec<String>,
}

/// Runs `work` with a client of the running cluster of that name.
fn with<T>(name: &str, work: impl AsyncFnOnce(Client) -> Result<T, Error>) -> Result<T, Error> {
    let path = running(name)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing(|| "cannot start".into())?;
    runtime.block_on(async { work(client(&path).await?).await })
}

async fn client(kubeconfig: &Path) -> Result<Client, Error> {
    let context = || format!("cannot use {}", kubeconfig.display());
    let config = Kubeconfig::read_from(kubeconfig).doing(context)?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    Client::try_from(config.doing(context)?).doing(context)
}

/// Gives a running cluster the nodes that it is to have at least.
pub(super) fn ensure(name: &str, options: &StartOptions) -> Result<(), Error> {
    let further = names(options.nodes).split_off(1);
    if further.is_empty() && options.hollow == 0 {
        return Ok(());
    }
    with(name, async |client| {
        let made = crate::node::ensure(&client, &further, options.hollow).await;
        made.doing(|| format!("cannot add nodes to the cluster {name}"))
    })
}

/// The nodes of a cluster as a table.
///
/// # Errors
/// It does not run, or does not answer.
pub fn list(cluster: &str) -> Result<String, Error> {
    let nodes = with(cluster, async |client| {
        let nodes = Api::<Node>::all(client).list(&ListParams::default()).await;
        nodes.doing(|| format!("cannot list the nodes of the cluster {cluster}"))
    })?;
    Ok(table(&nodes.items))
}

/// One line per node, in columns.
fn table(nodes: &[Node]) -> String {
    let head = ["NAME", "STATUS", "KIND", "CPU", "MEMORY", "PODS", "POD CIDR"].map(str::to_owned);
    let rows = nodes.iter().map(|node| {
        let said = |name: &str| node.metadata.annotations.as_ref()?.get(name).cloned();
        let has = |name: &str| {
            let capacity = node.status.as_ref()?.allocatable.as_ref()?;
            Some(capacity.get(name)?.0.clone())
        };
        let mut status = if is_ready(node) { "Ready" } else { "NotReady" }.to_owned();
        if said(CUT).is_some() {
            status.push_str(",Cut");
        }
        let unknown = || "-".to_owned();
        [
            node.metadata.name.clone().unwrap_or_default(),
            status,
            said(MACHINE).unwrap_or_else(|| PROCESSES.into()),
            has("cpu").unwrap_or_else(unknown),
            has("memory").unwrap_or_else(unknown),
            has("pods").unwrap_or_else(unknown),
            node.spec
                .as_ref()
                .and_then(|spec| spec.pod_cidr.clone())
                .unwrap_or_else(unknown),
        ]
    });
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}   "); // writing to a string cannot fail
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `key=value:Effect`, `key:Effect`
fn taint(text: &str) -> Result<Taint, Error> {
    let wrong = || {
        Error::new(format!("{text:?} is no taint"))
            .with_hint("KEY=VALUE:EFFECT, where the effect is NoSchedule, PreferNoSchedule or NoExecute")
    };
    let (key, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (key, value) = key
        .split_once('=')
        .map_or((key, None), |(key, value)| (key, Some(value)));
    if key.is_empty() || !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(wrong());
    }
    Ok(Taint {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        effect: effect.to_owned(),
        time_added: None,
    })
}

/// Adds a node, and returns when it is ready for pods.
///
/// # Errors
/// There is a node of that name, something it should have makes no sense, or it does not become ready.
pub fn add(cluster: &str, new: &NewNode) -> Result<(), Error> {
    let taints = new
        .taints
        .iter()
        .map(|text| taint(text))
        .collect::<Result<Vec<_>, _>>()?;
    for (name, amount) in &new.capacity {
        knarr_apimachinery::Quantity::parse(amount).doing(|| format!("{amount:?} is no amount of {name}"))?;
    }
    let name = &new.name;
    let mut node = wanted(name, PROCESSES);
    node["metadata"]["labels"] = json!(new.labels);
    if !new.capacity.is_empty() {
        node["metadata"]["annotations"][CAPACITY] = json!(new.capacity).to_string().into();
    }
    if !taints.is_empty() {
        node["spec"] = json!({ "taints": taints });
    }
    with(cluster, async |client| {
        let nodes: Api<Node> = Api::all(client);
        let node = serde_json::from_value(node).doing(|| "cannot describe the node".into())?;
        let made = nodes.create(&PostParams::default(), &node).await;
        made.doing(|| format!("cannot add the node {name}"))?;
        let ready = await_condition(nodes, name, |node: Option<&Node>| node.is_some_and(is_ready));
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(ready) => ready
                .map(drop)
                .doing(|| format!("the node {name} does not become ready")),
            Err(_) => {
                Err(Error::new(format!("the node {name} does not become ready"))
                    .with_hint("the cluster's log says why"))
            }
        }
    })
}

/// Removes a node that was added, with its pods.
///
/// # Errors
/// There is none of that name, or it is the one that every cluster has.
pub fn remove(cluster: &str, name: &str) -> Result<(), Error> {
    if name == FIRST {
        return Err(
            Error::new(format!("the node {name} runs the control plane; it cannot be removed"))
                .with_hint(format!("knarr cluster delete {cluster} removes the whole cluster")),
        );
    }
    with(cluster, async |client| {
        let context = || format!("cannot remove the node {name}");
        let nodes: Api<Node> = Api::all(client);
        let node = nodes.delete(name, &DeleteParams::default()).await.doing(context)?;
        let uid = node.left().and_then(|node| node.metadata.uid).unwrap_or_default();
        let gone = await_condition(nodes, name, conditions::is_deleted(&uid)).await;
        gone.map(drop).doing(context)
    })
}

/// Cuts a node off: its pods go on, but it reaches nobody and nobody reaches it. Done already is fine.
///
/// # Errors
/// There is none of that name.
pub fn cut(cluster: &str, name: &str) -> Result<(), Error> {
    annotate(cluster, name, Some(""))
}

/// Lets a node come back that was cut off. Done already is fine.
///
/// # Errors
/// There is none of that name.
pub fn heal(cluster: &str, name: &str) -> Result<(), Error> {
    annotate(cluster, name, None)
}

fn annotate(cluster: &str, name: &str, cut: Option<&str>) -> Result<(), Error> {
    with(cluster, async |client| {
        let patch = json!({ "metadata": { "annotations": { CUT: cut } } });
        let nodes: Api<Node> = Api::all(client);
        let patched = nodes
            .patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.map(drop).doing(|| format!("cannot change the node {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_written_as_kubectl_takes_them() {
        let text = |text: &str| taint(text).map(|taint| (taint.key, taint.value, taint.effect)).ok();
        let some =
            |key: &str, value: Option<&str>, effect: &str| Some((key.into(), value.map(Into::into), effect.into()));
        assert_eq!(text("gpu=true:NoSchedule"), some("gpu", Some("true"), "NoSchedule"));
        assert_eq!(
            text("example.com/a:NoExecute"),
            some("example.com/a", None, "NoExecute")
        );
        for wrong in ["gpu", "gpu=true", ":NoSchedule", "gpu:Never"] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_table_tells_what_a_node_has_and_that_it_is_cut_off() {
        let node = serde_json::from_value(json!({
            "metadata": { "name": "worker", "annotations": { CUT: "", MACHINE: PROCESSES } },
            "spec": { "podCIDR": "10.244.1.0/24" },
            "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "20" } },
        }));
        let text = table(&[node.expect("a node")]);
        let words: Vec<&str> = text.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(
            words,
            ["worker", "NotReady,Cut", "processes", "2", "4Gi", "20", "10.244.1.0/24"]
        );
    }
}
