//! What pods and nodes use, as metrics.k8s.io tells it (KEP-1 resource metrics): read every quarter of a minute while it is shown.

use std::collections::HashMap;

use serde::Deserialize;

use crate::text::parse_quantity;

/// The group that serves it.
pub const GROUP: &str = "metrics.k8s.io";

/// An amount of both resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

impl Amount {
    /// An amount as a map of quantities has it: requests, limits, usage, capacity.
    pub fn read(quantities: &serde_json::Value) -> Self {
        let thousandths = |name: &str| {
            let quantity = super::field::scalar(&quantities[name]);
            parse_quantity(&quantity).and_then(|value| u64::try_from(value).ok())
        };
        Self {
            cpu: thousandths("cpu").unwrap_or(0),
            memory: thousandths("memory").unwrap_or(0) / 1000,
        }
    }

    fn add(&mut self, other: Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }
}

/// What each object of a kind uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage(HashMap<(Box<str>, Box<str>), Amount>);

impl Usage {
    /// Reads a PodMetricsList or a NodeMetricsList.
    ///
    /// # Errors
    ///
    /// Bytes that are neither.
    pub fn parse(list: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            metadata: Metadata,
            #[serde(default)]
            usage: serde_json::Value,
            #[serde(default)]
            containers: Vec<Container>,
        }
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default)]
            namespace: Box<str>,
            name: Box<str>,
        }
        #[derive(Deserialize)]
        struct Container {
            usage: serde_json::Value,
        }
        let list: List = serde_json::from_slice(list)?;
        let amount = |item: &Item| {
            let mut amount = Amount::read(&item.usage);
            for container in &item.containers {
                amount.add(Amount::read(&container.usage));
            }
            amount
        };
        let items = list.items.into_iter().map(|item| {
            let amount = amount(&item);
            ((item.metadata.namespace, item.metadata.name), amount)
        });
        Ok(Self(items.collect()))
    }

    /// What one of them uses; `None` where nothing is known.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Amount> {
        self.0.get(&(namespace.into(), name.into())).copied()
    }
}

/// What a pod may use, or a node has: the limits of its containers where all have them, else what they ask for; nothing else has a share.
pub fn share(object: &serde_json::Value) -> Amount {
    if object["status"]["allocatable"].is_object() {
        return Amount::read(&object["status"]["allocatable"]);
    }
    let containers = super::field::items(&object["spec"]["containers"]);
    let sum = |list: &str| {
        let mut sum = Amount::default();
        let mut all = (true, true);
        for container in containers {
            let amount = Amount::read(&container["resources"][list]);
            all = (all.0 && amount.cpu > 0, all.1 && amount.memory > 0);
            sum.add(amount);
        }
        (sum, all)
    };
    let ((limits, (all_cpu, all_memory)), (requests, _)) = (sum("limits"), sum("requests"));
    Amount {
        cpu: if all_cpu { limits.cpu } else { requests.cpu },
        memory: if all_memory { limits.memory } else { requests.memory },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_containers_of_a_pod_are_added_up() {
        let list = json!({"kind": "PodMetricsList", "items": [{
            "metadata": {"name": "web", "namespace": "shop"},
            "containers": [
                {"name": "a", "usage": {"cpu": "1500000n", "memory": "2Mi"}},
                {"name": "b", "usage": {"cpu": "40m", "memory": "1Mi"}},
            ],
        }]});
        let usage = Usage::parse(list.to_string().as_bytes()).expect("a list");
        let expected = Amount {
            cpu: 42,
            memory: 3 * 1024 * 1024,
        };
        assert_eq!(usage.of("shop", "web"), Some(expected));
        assert_eq!(usage.of("shop", "other"), None);
        let node = json!({"items": [{"metadata": {"name": "n"}, "usage": {"cpu": "2", "memory": "1Gi"}}]});
        let usage = Usage::parse(node.to_string().as_bytes()).expect("a list");
        assert_eq!(usage.of("", "n").map(|amount| amount.cpu), Some(2000));
        assert!(Usage::parse(b"{\"kind\": \"Status\"}").is_err());
    }

    #[test]
    fn a_share_is_of_the_limits_where_all_containers_have_one() {
        let with = |limits: &serde_json::Value| {
            json!({"spec": {"containers": [
                {"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "500m"}}},
                {"resources": {"requests": {"cpu": "50m"}, "limits": limits}},
            ]}})
        };
        assert_eq!(share(&with(&json!({"cpu": "1"}))).cpu, 1500);
        assert_eq!(share(&with(&json!({}))).cpu, 150);
        assert_eq!(share(&json!({"status": {"allocatable": {"cpu": "4"}}})).cpu, 4000);
    }
}
