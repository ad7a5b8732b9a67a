//! What the scheduler knows of pods and nodes, read once per change and not once per decision: `PodInfo` and `NodeInfo`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Namespace, Node, Pod, PodAffinityTerm, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use knarr_apimachinery::Quantity as Amount;
use kube::core::Selector;

use crate::key::Key;
use crate::owner;
use crate::store::Store;

/// What counts for a container that asks for nothing, when nodes are compared (not when they are ruled out).
const NON_ZERO_CPU: i64 = 100;
const NON_ZERO_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts of resources: CPU in thousandths of a core, all else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) milli_cpu: i64,
    pub(crate) memory: i64,
    /// All others by name: `ephemeral-storage`, `nvidia.com/gpu`, ... and on a node `pods`.
    pub(crate) others: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a list of quantities; what is not a quantity counts as nothing.
    pub(crate) fn read(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in quantities.into_iter().flatten() {
            match name.as_str() {
                "cpu" => resources.milli_cpu = Amount::milli_in(&quantity.0),
                "memory" => resources.memory = Amount::units_in(&quantity.0),
                _ => _ = resources.others.insert(name.clone(), Amount::units_in(&quantity.0)),
            }
        }
        resources
    }

    /// Each resource with its amount, CPU and memory first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        let others = self.others.iter().map(|(name, amount)| (name.as_str(), *amount));
        [("cpu", self.milli_cpu), ("memory", self.memory)]
            .into_iter()
            .chain(others)
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            _ => self.others.get(name).copied().unwrap_or(0),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
    }

    fn at_least(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    fn merge(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        for (name, amount) in &other.others {
            match self.others.get_mut(name) {
                Some(ours) => *ours = with(*ours, *amount),
                None => _ = self.others.insert(name.clone(), with(0, *amount)),
            }
        }
    }

    /// What is named in `other` counts instead of what stands here.
    fn replace(&mut self, named: &BTreeMap<String, Quantity>) {
        let other = Self::read(Some(named));
        if named.contains_key("cpu") {
            self.milli_cpu = other.milli_cpu;
        }
        if named.contains_key("memory") {
            self.memory = other.memory;
        }
        self.others.extend(other.others);
    }
}

/// A port that a pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    protocol: String,
    ip: String,
    port: i32,
}

impl HostPort {
    /// Whether both cannot be had at once: `0.0.0.0` means every address.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let wildcard = |ip: &str| ip == "0.0.0.0" || ip == "::";
        self.protocol == other.protocol
            && self.port == other.port
            && (self.ip == other.ip || wildcard(&self.ip) || wildcard(&other.ip))
    }
}

/// A term of pod affinity or anti-affinity, its selectors parsed.
#[derive(Debug)]
pub(crate) struct AffinityTerm {
    selector: Option<Selector>,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<Selector>,
    pub(crate) topology_key: String,
    /// Of a preferred term; negative for anti-affinity.
    pub(crate) weight: i64,
}

impl AffinityTerm {
    fn new(term: &PodAffinityTerm, pod: &Pod, weight: i64) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if term.namespace_selector.is_none() && namespaces.is_empty() {
            namespaces.extend(pod.metadata.namespace.clone());
        }
        let selector = term.label_selector.as_ref();
        Self {
            selector: selector.and_then(|selector| {
                narrowed(
                    selector,
                    term.match_label_keys.as_deref(),
                    term.mismatch_label_keys.as_deref(),
                    pod,
                )
            }),
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().and_then(owner::selector),
            topology_key: term.topology_key.clone(),
            weight,
        }
    }

    /// Whether the term speaks of `pod`.
    pub(crate) fn matches(&self, pod: &Pod, namespaces: &Store<Namespace>) -> bool {
        let Some(selector) = &self.selector else { return false };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let in_scope = self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| {
                namespaces
                    .named(namespace)
                    .is_some_and(|found| owner::matches(selector, &found.metadata))
            });
        in_scope && owner::matches(selector, &pod.metadata)
    }

    /// Where the term can find pods, if it names the namespaces.
    pub(crate) fn named_namespaces(&self) -> Option<&BTreeSet<String>> {
        self.namespace_selector.is_none().then_some(&self.namespaces)
    }
}

/// A selector narrowed by the pod's own values of some labels: `matchLabelKeys` and `mismatchLabelKeys`.
pub(crate) fn narrowed(
    selector: &LabelSelector,
    same: Option<&[String]>,
    different: Option<&[String]>,
    pod: &Pod,
) -> Option<Selector> {
    let mut selector = selector.clone();
    let keys = same.into_iter().flatten().map(|key| (key, "In"));
    for (key, operator) in keys.chain(different.into_iter().flatten().map(|key| (key, "NotIn"))) {
        let Some(value) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) else {
            continue;
        };
        selector
            .match_expressions
            .get_or_insert_default()
            .push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.into(),
                values: Some(vec![value.clone()]),
            });
    }
    owner::selector(&selector)
}

/// A pod, and all that scheduling reads off it.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    /// What it takes on a node.
    pub(crate) requests: Resources,
    /// The same with [`NON_ZERO_CPU`] and [`NON_ZERO_MEMORY`] for containers that ask for nothing.
    pub(crate) non_zero_cpu: i64,
    pub(crate) non_zero_memory: i64,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) required_affinity: Vec<AffinityTerm>,
    pub(crate) required_anti_affinity: Vec<AffinityTerm>,
    pub(crate) preferred_affinity: Vec<AffinityTerm>,
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let requests = requests(&pod, false);
        let non_zero = requests_non_zero(&pod);
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let required = |terms: Option<&Vec<PodAffinityTerm>>| -> Vec<AffinityTerm> {
            terms
                .into_iter()
                .flatten()
                .map(|term| AffinityTerm::new(term, &pod, 0))
                .collect()
        };
        let required_affinity =
            required(near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref()));
        let required_anti_affinity =
            required(far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref()));
        let wanted = near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref());
        let unwanted = far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref());
        let preferred_affinity = wanted
            .into_iter()
            .flatten()
            .map(|wish| (wish, 1))
            .chain(unwanted.into_iter().flatten().map(|wish| (wish, -1)))
            .map(|(wish, sign)| AffinityTerm::new(&wish.pod_affinity_term, &pod, sign * i64::from(wish.weight)))
            .collect();
        Self {
            requests,
            non_zero_cpu: non_zero.milli_cpu,
            non_zero_memory: non_zero.memory,
            host_ports: host_ports(&pod),
            required_affinity,
            required_anti_affinity,
            preferred_affinity,
            pod,
        }
    }

    pub(crate) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn key(&self) -> Key {
        Key::of(self.pod.as_ref())
    }

    pub(crate) fn priority(&self) -> i32 {
        self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
    }

    /// Whether it says anything about where other pods are.
    pub(crate) fn has_affinity(&self) -> bool {
        !(self.required_affinity.is_empty()
            && self.required_anti_affinity.is_empty()
            && self.preferred_affinity.is_empty())
    }
}

fn requests_non_zero(pod: &Pod) -> Resources {
    requests(pod, true)
}

/// The most that the pod needs at any time (KEP-753): init containers run one after the other, before the others;
/// sidecars, the init containers that restart always, keep running beside what comes after them.
fn requests(pod: &Pod, non_zero: bool) -> Resources {
    let Some(spec) = &pod.spec else {
        return Resources::default();
    };
    let ask = |container: &Container| container_requests(container.resources.as_ref(), non_zero);
    let mut sum = Resources::default();
    spec.containers.iter().for_each(|container| sum.add(&ask(container)));
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut now = ask(container);
        now.add(&sidecars);
        peak.at_least(&now);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = now;
        }
    }
    sum.add(&sidecars);
    sum.at_least(&peak);
    // Asked for the pod as a whole (KEP-2837): counts instead of the sum.
    if let Some(whole) = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref())
    {
        sum.replace(whole);
    }
    sum.add(&Resources::read(spec.overhead.as_ref()));
    sum
}

fn container_requests(resources: Option<&ResourceRequirements>, non_zero: bool) -> Resources {
    let asked = resources.and_then(|resources| resources.requests.as_ref());
    let mut read = Resources::read(asked);
    let named = |name: &str| asked.is_some_and(|asked| asked.contains_key(name));
    if non_zero && !named("cpu") {
        read.milli_cpu = NON_ZERO_CPU;
    }
    if non_zero && !named("memory") {
        read.memory = NON_ZERO_MEMORY;
    }
    read
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty());
            Some(HostPort {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                ip: ip.unwrap_or_else(|| "0.0.0.0".into()),
                port: number,
            })
        })
        .collect()
}

/// A node and its load.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    /// `None` while pods name a node that does not exist.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) allocatable: Resources,
    /// By UID.
    pub(crate) pods: HashMap<String, Arc<PodInfo>>,
    pub(crate) requested: Resources,
    pub(crate) non_zero_cpu: i64,
    pub(crate) non_zero_memory: i64,
}

impl NodeInfo {
    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(pod.uid());
        self.requested.add(&pod.requests);
        self.non_zero_cpu = self.non_zero_cpu.saturating_add(pod.non_zero_cpu);
        self.non_zero_memory = self.non_zero_memory.saturating_add(pod.non_zero_memory);
        self.pods.insert(pod.uid().to_owned(), pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(uid)?;
        self.requested.subtract(&pod.requests);
        self.non_zero_cpu = self.non_zero_cpu.saturating_sub(pod.non_zero_cpu);
        self.non_zero_memory = self.non_zero_memory.saturating_sub(pod.non_zero_memory);
        Some(pod)
    }

    /// The value of one of the node's labels.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        Some(self.node.as_ref()?.metadata.labels.as_ref()?.get(key)?.as_str())
    }
}
