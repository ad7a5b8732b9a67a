//! What a pod asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// What counts for a container that asks for nothing, when nodes are compared (not when they are ruled out).
const USUAL_CPU: i64 = 100;
const USUAL_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource name: CPU in thousandths of a core, all else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts(pub(crate) BTreeMap<String, i64>);

impl Amounts {
    pub(crate) fn read(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let read = |name: &String, quantity: &Quantity| match name.as_str() {
            "cpu" => quantity::millis(&quantity.0),
            _ => quantity::units(&quantity.0),
        };
        let amounts = quantities.into_iter().flatten();
        Self(
            amounts
                .filter_map(|(name, quantity)| Some((name.clone(), read(name, quantity)?)))
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_sub(*amount);
        }
    }

    fn at_least(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }
}

/// What a pod takes on a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// As asked for.
    pub(crate) exact: Amounts,
    /// With the usual amounts where nothing was asked for.
    pub(crate) usual: Amounts,
    /// (protocol, host IP, port)
    pub(crate) host_ports: Vec<(String, String, i32)>,
}

impl Demand {
    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let whole = spec.resources.as_ref();
        let total = |usual: bool| {
            let ask = |container: &Container| request(container.resources.as_ref(), usual);
            let mut sum = Amounts::default();
            spec.containers.iter().for_each(|container| sum.add(&ask(container)));
            // Init containers run one after the other, before the others; those that restart always (sidecars) keep
            // running beside what comes after them.
            let mut sidecars = Amounts::default();
            let mut peak = Amounts::default();
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
            if let Some(resources) = whole {
                // Asked for the pod as a whole: overrides the sum.
                sum.0.extend(Amounts::read(resources.requests.as_ref()).0);
            }
            sum.add(&Amounts::read(spec.overhead.as_ref()));
            sum
        };
        let host_ports = spec
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                let number = port.host_port.filter(|number| *number > 0)?;
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                let ip = port.host_ip.clone().filter(|ip| !ip.is_empty());
                Some((protocol, ip.unwrap_or_else(|| "0.0.0.0".into()), number))
            })
            .collect();
        Self {
            exact: total(false),
            usual: total(true),
            host_ports,
        }
    }
}

fn request(resources: Option<&ResourceRequirements>, usual: bool) -> Amounts {
    let mut amounts = Amounts::read(resources.and_then(|resources| resources.requests.as_ref()));
    if usual {
        amounts.0.entry("cpu".into()).or_insert(USUAL_CPU);
        amounts.0.entry("memory".into()).or_insert(USUAL_MEMORY);
    }
    amounts
}
