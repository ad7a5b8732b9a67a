//! The cluster's machines: the first, and those that Node objects ask for.
//!
//! A Node with the annotation [`MACHINE`] is one that this cluster runs: it comes with the object, is what the object says (labels, taints,
//! and [`CAPACITY`] instead of what the host has), and goes with it. So what is added is kept where everything is, and whoever may write
//! Nodes may add machines: `knarr cluster node`, the workstation, or `kubectl apply`. [`CUT`] cuts a machine off for as long as it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use knarr_apimachinery::Quantity;
use knarr_apiserver::{ApiServer, UserInfo};
use knarr_image::ImageStore;
use knarr_node::fleet::{self, HollowNode, Wanted};
use knarr_node::{Capacity, Kubelet, StartError};
use knarr_runtime::{Limits, NodeSpec, Runtime, RuntimeError};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::line::Line;

/// On a Node that this cluster runs: what kind of machine it is.
pub const MACHINE: &str = "knarr.dev/machine";
/// On such a Node: what it has instead of all that the host has, as `{"cpu": "2", "memory": "4Gi", "pods": "20"}`.
pub const CAPACITY: &str = "knarr.dev/capacity";
/// On such a Node: it is cut off. Its pods go on, but nobody reaches it, and it reaches nobody.
pub const CUT: &str = "knarr.dev/cut";
/// A machine whose pods are processes.
pub(crate) const PROCESSES: &str = "processes";
/// A machine whose pods go through their states without processes.
pub(crate) const HOLLOW: &str = "hollow";
/// The label of hollow nodes, as charts for such nodes select them.
const TYPE: &str = "type";

/// The name of the node that every cluster has.
pub(crate) const FIRST: &str = "knarr";

/// The names of so many nodes: `knarr`, `knarr-2` and so on.
pub fn names(count: usize) -> Vec<String> {
    let further = (2..=count).map(|number| format!("{FIRST}-{number}"));
    std::iter::once(FIRST.to_owned()).chain(further).collect()
}

/// The names of so many hollow nodes.
fn hollow_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{HOLLOW}-{number}")).collect()
}

/// A Node that asks for a machine.
pub(crate) fn wanted(name: &str, machine: &str) -> Value {
    let mut labels = json!({});
    if machine == HOLLOW {
        labels[TYPE] = HOLLOW.into();
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": labels, "annotations": { MACHINE: machine } },
    })
}

/// Makes the Nodes of those names, and so many hollow ones, that are not there yet.
///
/// # Errors
/// One could not be made.
pub(crate) async fn ensure(client: &Client, processes: &[String], hollow: usize) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let hollow = hollow_names(hollow).into_iter().map(|name| (name, HOLLOW));
    let processes = processes.iter().map(|name| (name.clone(), PROCESSES));
    for (name, machine) in processes.chain(hollow) {
        let node = serde_json::from_value(wanted(&name, machine)).map_err(kube::Error::SerdeError)?;
        match nodes.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => {}
            made => drop(made?),
        }
    }
    Ok(())
}

/// What all machines are made with.
pub(crate) struct Machines {
    pub(crate) server: ApiServer,
    /// Of the first; the others' are beside it.
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) images: Arc<ImageStore>,
    /// What the first node's kubelet is told. The others' is the same but for what is theirs.
    pub(crate) options: knarr_node::Options,
    /// Parent of the directories of all but the first.
    pub(crate) directory: PathBuf,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: Mutex<BTreeMap<String, Machine>>,
    /// The hollow nodes, which are driven together.
    pub(crate) hollow: watch::Sender<Wanted>,
}

/// A running machine.
pub(crate) struct Machine {
    kubelet: Kubelet,
    runtime: Arc<dyn Runtime>,
    line: Line,
    /// Of all but the first.
    number: Option<u8>,
}

/// Why a machine does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Kubelet(#[from] StartError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("all of this host's pod networks are taken")]
    NoNetwork,
}

impl Machines {
    /// Starts the first machine, whose Node its kubelet makes.
    pub(crate) async fn start_first(&self) -> Result<(), Failure> {
        let machine = self.machine(self.options.clone(), self.runtime.clone(), None).await?;
        self.keep(self.options.node_name.clone(), machine);
        Ok(())
    }

    /// Runs the machines that Nodes ask for, until told to shut down.
    pub(crate) async fn follow(&self, client: Client) {
        let nodes: Api<Node> = Api::all(client);
        let config = watcher::Config::default();
        let mut news = std::pin::pin!(watcher(nodes.clone(), config).default_backoff());
        let mut known: BTreeMap<String, Node> = BTreeMap::new();
        let mut listed = BTreeMap::new();
        while let Some(event) = news.next().await {
            let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
            match event {
                Ok(watcher::Event::Init) => {
                    listed.clear();
                    continue;
                }
                Ok(watcher::Event::InitApply(node)) => {
                    listed.insert(name(&node), node);
                    continue;
                }
                Ok(watcher::Event::InitDone) => known = std::mem::take(&mut listed),
                Ok(watcher::Event::Apply(node)) => _ = known.insert(name(&node), node),
                Ok(watcher::Event::Delete(node)) => _ = known.remove(&name(&node)),
                Err(error) => {
                    tracing::debug!(%error, "watch of nodes interrupted");
                    continue;
                }
            }
            self.settle(&nodes, &known).await;
        }
    }

    /// Starts the machines that are wanted, stops those that are no more, and cuts and heals.
    async fn settle(&self, nodes: &Api<Node>, known: &BTreeMap<String, Node>) {
        let further = |node: &&Node| annotation(node, MACHINE) == Some(PROCESSES);
        for name in self.names() {
            let ours = name == self.options.node_name;
            if !ours && known.get(&name).filter(further).is_none() {
                self.remove(&name).await;
            }
        }
        for (name, node) in known.iter().filter(|(_, node)| further(node)) {
            if !self.names().contains(name)
                && let Err(error) = self.add(nodes, name, node, known).await
            {
                tracing::error!(node = name, %error, "The node does not start");
            }
        }
        for (name, node) in known {
            self.connect(name, annotation(node, CUT).is_none()).await;
        }
        let hollow = known
            .iter()
            .filter(|(_, node)| annotation(node, MACHINE) == Some(HOLLOW));
        let hollow: Wanted = hollow.map(|(name, node)| (name.clone(), hollow_node(node))).collect();
        self.hollow.send_if_modified(|wanted| {
            let differs = *wanted != hollow;
            *wanted = hollow;
            differs
        });
    }

    fn names(&self) -> BTreeSet<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Machine>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, name: String, machine: Machine) {
        self.server.set_backend(&name, Arc::new(machine.kubelet.clone()));
        self.lock().insert(name, machine);
    }

    async fn add(
        &self,
        nodes: &Api<Node>,
        name: &str,
        node: &Node,
        known: &BTreeMap<String, Node>,
    ) -> Result<(), Failure> {
        let own = self.directory.join(name);
        let mut options = knarr_node::Options {
            node_name: name.to_owned(),
            manifest_dir: Some(own.join("manifests")),
            state_dir: own,
            components: Vec::new(),
            ..self.options.clone()
        };
        let (capacity, limits) = capacity(Capacity::of_host(&self.directory), annotation(node, CAPACITY));
        options.capacity = Some(capacity);
        let number = self.number(node, known).ok_or(Failure::NoNetwork)?;
        let runtime = self.runtime.add_node(NodeSpec { number, limits }).await?;
        let runtime = runtime.unwrap_or_else(|| self.runtime.clone());
        options.node_ip = runtime.node_ip();
        options.pod_cidr = runtime.pod_cidr();
        // The Node is there before its kubelet, which may not say this of itself any more.
        if let Some(cidr) = &options.pod_cidr
            && node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_ref()).is_none()
        {
            let patch = json!({ "spec": { "podCIDR": cidr, "podCIDRs": [cidr] } });
            nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        let machine = self.machine(options, runtime, Some(number)).await?;
        self.keep(name.to_owned(), machine);
        Ok(())
    }

    /// The number of a further node: what its Node says from before, else the lowest that nobody has.
    fn number(&self, node: &Node, known: &BTreeMap<String, Node>) -> Option<u8> {
        let taken: BTreeSet<u8> = known.values().filter_map(numbered).collect();
        let running: BTreeSet<u8> = self.lock().values().filter_map(|machine| machine.number).collect();
        let free = || (1..=254).find(|number| !taken.contains(number) && !running.contains(number));
        numbered(node).filter(|number| !running.contains(number)).or_else(free)
    }

    async fn machine(
        &self,
        options: knarr_node::Options,
        runtime: Arc<dyn Runtime>,
        number: Option<u8>,
    ) -> Result<Machine, Failure> {
        let line = Line::default();
        let user = format!("system:node:{}", options.node_name);
        let client = self.server.client(UserInfo::authenticated(&user, &["system:nodes"]));
        let (client, images) = (line.client(client), self.images.clone());
        let kubelet = Kubelet::start(client, runtime.clone(), images, options, self.shutdown.clone()).await?;
        Ok(Machine {
            kubelet,
            runtime,
            line,
            number,
        })
    }

    async fn remove(&self, name: &str) {
        let Some(machine) = self.lock().remove(name) else {
            return;
        };
        self.server.remove_backend(name);
        machine.kubelet.stop().await;
        if machine.number.is_some()
            && let Err(error) = machine.runtime.remove_node().await
        {
            tracing::warn!(node = name, %error, "The node's network is not removed");
        }
        let directory = self.directory.join(name);
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
        if let Ok(Err(error)) = removed {
            tracing::debug!(node = name, %error, "the node's files are not removed");
        }
    }

    /// Cuts a machine off, or lets it come back. Nothing happens to one that is as it should be, and to one that is not ours.
    async fn connect(&self, name: &str, connected: bool) {
        let found = self.lock().get(name).map(|machine| {
            let changes = machine.line.is_connected() != connected;
            (
                changes,
                machine.line.clone(),
                machine.runtime.clone(),
                machine.kubelet.clone(),
            )
        });
        let Some((true, line, runtime, kubelet)) = found else {
            return;
        };
        tracing::info!(node = name, connected, "The line to the node has changed");
        line.connect(connected);
        match connected {
            true => self.server.set_backend(name, Arc::new(kubelet)),
            false => self.server.remove_backend(name),
        }
        if let Err(error) = runtime.connect(connected).await {
            tracing::warn!(node = name, %error, "The node's network is not what it should be");
        }
    }

    /// Drives the hollow nodes, until told to shut down.
    pub(crate) async fn drive_hollow(&self, client: Client) {
        let (acting, reached) = (self.server.clone(), self.server.clone());
        let doors = fleet::Doors {
            client: Box::new(move |name| {
                let user = format!("system:node:{name}");
                acting.client(UserInfo::authenticated(&user, &["system:nodes"]))
            }),
            open: Box::new(move |name, door| match door {
                Some(door) => reached.set_backend(name, door),
                None => reached.remove_backend(name),
            }),
        };
        let (clock, wanted) = (self.options.clock.clone(), self.hollow.subscribe());
        fleet::run(client, doors, clock, wanted, self.shutdown.clone()).await;
    }

    /// Ends all machines, gracefully for a bounded time.
    pub(crate) async fn stop(&self) {
        let kubelets: Vec<Kubelet> = self.lock().values().map(|machine| machine.kubelet.clone()).collect();
        futures::future::join_all(kubelets.iter().map(Kubelet::stop)).await;
    }
}

/// Whether the node takes pods.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut tainted = tainted.filter(|taint| taint.key == "node.kubernetes.io/not-ready");
    ready.any(|condition| condition.status == "True") && tainted.next().is_none()
}

fn annotation<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn hollow_node(node: &Node) -> HollowNode {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    HollowNode {
        capacity: capacity(fleet::CAPACITY, annotation(node, CAPACITY)).0,
        annotations: node.metadata.annotations.clone().unwrap_or_default(),
        cut: annotation(node, CUT).is_some(),
        given_up: ready.any(|condition| condition.status == "Unknown"),
    }
}

/// The number that a Node's pod addresses tell.
fn numbered(node: &Node) -> Option<u8> {
    let cidr = node.spec.as_ref()?.pod_cidr.as_deref()?;
    let number = cidr.strip_prefix("10.244.")?.strip_suffix(".0/24")?.parse().ok()?;
    (number > 0).then_some(number)
}

/// What a machine has, and what its pods are held to: what is said, else what it has by itself.
fn capacity(own: Capacity, said: Option<&str>) -> (Capacity, Limits) {
    let said: BTreeMap<String, String> = said
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let amount = |name: &str| Quantity::parse(said.get(name)?).ok();
    let whole = |name: &str| u64::try_from(amount(name)?.units()).ok();
    let cpu_millis = amount("cpu").and_then(|cpu| u64::try_from(cpu.milli()).ok());
    let memory_bytes = whole("memory");
    let capacity = Capacity {
        cpu_millis: cpu_millis.unwrap_or(own.cpu_millis),
        memory_bytes: memory_bytes.unwrap_or(own.memory_bytes),
        storage_bytes: whole("ephemeral-storage").unwrap_or(own.storage_bytes),
        pods: whole("pods")
            .and_then(|pods| u32::try_from(pods).ok())
            .unwrap_or(own.pods),
    };
    let limits = Limits {
        cpu_millis,
        memory_bytes,
        ..Limits::default()
    };
    (capacity, limits)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_machine_has_what_is_said_and_for_the_rest_what_the_host_has() {
        let host = Capacity::of_host(Path::new("/"));
        let (found, limits) = capacity(host, Some(r#"{"cpu": "1500m", "memory": "2Gi", "pods": "7"}"#));
        let expected = Capacity {
            cpu_millis: 1500,
            memory_bytes: 2 << 30,
            pods: 7,
            ..host
        };
        assert_eq!(found, expected);
        assert_eq!((limits.cpu_millis, limits.memory_bytes), (Some(1500), Some(2 << 30)));
        for nonsense in [None, Some("no JSON"), Some(r#"{"cpu": "lots"}"#)] {
            assert_eq!(capacity(host, nonsense).0.cpu_millis, host.cpu_millis);
        }
    }

    #[test]
    fn a_node_s_number_is_told_by_its_pod_addresses() {
        let node = |cidr: &str| -> Node {
            serde_json::from_value(json!({ "metadata": {}, "spec": { "podCIDR": cidr } })).unwrap()
        };
        for (cidr, number) in [
            ("10.244.7.0/24", Some(7)),
            ("10.244.0.0/24", None),
            ("10.1.2.0/24", None),
            ("10.244.300.0/24", None),
        ] {
            assert_eq!(numbered(&node(cidr)), number, "{cidr}");
        }
    }
}
