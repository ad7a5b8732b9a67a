//! What the pods of a node ask for, against what it has.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::kind::field::{items, pairs, scalar, text, time};
use crate::kind::page::Page;
use crate::text::{age, parse_quantity};
use crate::theme::Role;

/// Amounts by resource, in thousandths, and the form the first one was written in.
#[derive(Default, Clone)]
struct Amounts(BTreeMap<String, (i128, String)>);

impl Amounts {
    fn of(list: &Value) -> Self {
        let amount = |(name, quantity): (&str, &Value)| {
            let written = scalar(quantity).into_owned();
            (name.to_owned(), (parse_quantity(&written).unwrap_or_default(), written))
        };
        Self(pairs(list).into_iter().map(amount).collect())
    }

    /// Merges each amount of another list into this one.
    fn merge(&mut self, other: &Self, merge: impl Fn(i128, i128) -> i128) {
        for (name, (amount, written)) in &other.0 {
            let known = self.0.entry(name.clone()).or_insert_with(|| (0, written.clone()));
            known.0 = merge(known.0, *amount);
        }
    }

    fn add(&mut self, other: &Self) {
        self.merge(other, i128::saturating_add);
    }

    fn get(&self, name: &str) -> i128 {
        self.0.get(name).map_or(0, |(amount, _)| *amount)
    }

    /// The amount as a quantity with the suffix family it was written in, and its share of the whole.
    fn share(&self, name: &str, whole: i128) -> String {
        let amount = self.get(name);
        let percent = if whole == 0 {
            0
        } else {
            amount.saturating_mul(100) / whole
        };
        format!("{} ({percent}%)", self.shown(name))
    }

    fn shown(&self, name: &str) -> String {
        let Some((amount, written)) = self.0.get(name) else {
            return "0".into();
        };
        if parse_quantity(written) == Some(*amount) {
            written.clone()
        } else {
            quantity(*amount, written)
        }
    }
}

/// What pods ask for of one resource of a node.
pub(in crate::kind) struct Share {
    /// `cpu`, `memory`, `pods`.
    pub(in crate::kind) resource: &'static str,
    /// What is asked for, and what can be given, as people write it.
    pub(in crate::kind) asked: String,
    pub(in crate::kind) whole: String,
    percent: usize,
}

impl Share {
    /// How much of the whole is asked for; more than 100 when it is overcommitted.
    pub(in crate::kind) fn percent(&self) -> usize {
        self.percent
    }
}

/// What pods ask for of the CPU and memory of a node, and how many there are.
pub(in crate::kind) fn shares(node: &Value, pods: &[&Value]) -> Vec<Share> {
    let whole = Amounts::of(&node["status"]["allocatable"]);
    let mut asked = Amounts::default();
    for pod in pods {
        asked.add(&of_pod(pod, "requests"));
    }
    let share = |resource, amount: i128, show: fn(i128) -> String| {
        let all = whole.get(resource);
        Share {
            resource,
            asked: show(amount),
            whole: show(all),
            percent: if all == 0 { 0 } else { usize::try_from(amount.saturating_mul(100) / all).unwrap_or(usize::MAX) },
        }
    };
    let cores = |milli: i128| match milli % 1000 {
        0 => (milli / 1000).to_string(),
        _ => format!("{milli}m"),
    };
    let memory = |milli: i128| crate::text::bytes(u64::try_from(milli / 1000).unwrap_or_default());
    vec![
        share("cpu", asked.get("cpu"), cores),
        share("memory", asked.get("memory"), memory),
        share("pods", pods.len() as i128 * 1000, |milli| (milli / 1000).to_string()),
    ]
}

/// Writes an amount in the largest unit that leaves it whole, binary or decimal like `model`.
fn quantity(amount: i128, model: &str) -> String {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if amount % 1000 != 0 {
        return format!("{amount}m");
    }
    let (step, units) = if model.ends_with('i') {
        (1024, BINARY)
    } else {
        (1000, DECIMAL)
    };
    let (mut value, mut unit) = (amount / 1000, "");
    for next in units {
        if value == 0 || value % step != 0 {
            break;
        }
        (value, unit) = (value / step, next);
    }
    format!("{value}{unit}")
}

/// What the scheduler counts for a pod: all containers and sidecars together, or the largest moment of initialisation if that is
/// more, and the overhead of its runtime.
fn of_pod(pod: &Value, list: &str) -> Amounts {
    let spec = &pod["spec"];
    let mut sum = Amounts::default();
    for container in items(&spec["containers"]) {
        sum.add(&Amounts::of(&container["resources"][list]));
    }
    let (mut sidecars, mut peak) = (Amounts::default(), Amounts::default());
    for container in items(&spec["initContainers"]) {
        let own = Amounts::of(&container["resources"][list]);
        if container["restartPolicy"] == "Always" {
            sidecars.add(&own);
            peak.merge(&sidecars, i128::max);
        } else {
            let mut moment = sidecars.clone();
            moment.add(&own);
            peak.merge(&moment, i128::max);
        }
    }
    sum.add(&sidecars);
    sum.merge(&peak, i128::max);
    // A pod's own resources replace the sum of its containers'.
    for (name, amount) in Amounts::of(&spec["resources"][list]).0 {
        sum.0.insert(name, amount);
    }
    let overhead = Amounts::of(&spec["overhead"]);
    if list == "requests" {
        sum.add(&overhead);
    } else {
        for (name, (amount, _)) in &overhead.0 {
            if let Some(limit) = sum.0.get_mut(name) {
                limit.0 = limit.0.saturating_add(*amount);
            }
        }
    }
    sum
}

/// The pods of the node that are not over, and what they ask for together.
pub(super) fn describe(page: &mut Page, node: &Value, related: &[Value], now: Timestamp) {
    let over = |pod: &Value| matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
    let pods: Vec<&Value> = related
        .iter()
        .filter(|object| object["kind"] == "Pod" && !over(object))
        .collect();
    let status = &node["status"];
    let list = if status["allocatable"].is_object() {
        "allocatable"
    } else {
        "capacity"
    };
    let whole = Amounts::of(&status[list]);
    let (cpu, memory) = (whole.get("cpu"), whole.get("memory"));
    page.field(0, "Non-terminated Pods", &format!("({} in total)", pods.len()));
    let (mut requests, mut limits) = (Amounts::default(), Amounts::default());
    let mut rows = Vec::new();
    for pod in pods {
        let (request, limit) = (of_pod(pod, "requests"), of_pod(pod, "limits"));
        let created = time(&pod["metadata"]["creationTimestamp"]);
        rows.push(vec![
            (Role::Dim, text(&pod["metadata"]["namespace"]).to_owned()),
            (Role::Value, text(&pod["metadata"]["name"]).to_owned()),
            (Role::Value, String::new()),
            (Role::Value, request.share("cpu", cpu)),
            (Role::Value, limit.share("cpu", cpu)),
            (Role::Value, request.share("memory", memory)),
            (Role::Value, limit.share("memory", memory)),
            (Role::Dim, created.map_or_else(|| "<unknown>".into(), |at| age(at, now))),
        ]);
        requests.add(&request);
        limits.add(&limit);
    }
    page.table(
        1,
        &[
            "Namespace",
            "Name",
            "",
            "CPU Requests",
            "CPU Limits",
            "Memory Requests",
            "Memory Limits",
            "Age",
        ],
        &rows,
    );
    page.head(0, "Allocated resources:");
    page.line(
        1,
        Role::Dim,
        "(Total limits may be over 100 percent, i.e., overcommitted.)",
    );
    let mut names = vec!["cpu", "memory", "ephemeral-storage"];
    names.extend(
        whole
            .0
            .keys()
            .map(String::as_str)
            .filter(|name| name.starts_with("hugepages-")),
    );
    let shares = names.into_iter().map(|name| {
        let whole = whole.get(name);
        vec![
            (Role::Field, name.to_owned()),
            (Role::Value, requests.share(name, whole)),
            (Role::Value, limits.share(name, whole)),
        ]
    });
    let extended = whole.0.keys().filter(|name| name.contains('/')).map(|name| {
        vec![
            (Role::Field, name.clone()),
            (Role::Value, requests.shown(name)),
            (Role::Value, limits.shown(name)),
        ]
    });
    let rows: Vec<_> = shares.chain(extended).collect();
    page.table(1, &["Resource", "Requests", "Limits"], &rows);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_its_largest_moment() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let pod = json!({"spec": {
            "initContainers": [
                {"resources": asks("100m"), "restartPolicy": "Always"},
                {"resources": asks("2")},
            ],
            "containers": [{"resources": asks("250m")}, {"resources": asks("250m")}],
            "overhead": {"cpu": "10m", "memory": "1Mi"},
        }});
        assert_eq!(of_pod(&pod, "requests").shown("cpu"), "2110m");
        assert_eq!(of_pod(&pod, "limits").shown("memory"), "0");
        assert_eq!(of_pod(&json!({}), "limits").shown("cpu"), "0");
    }

    #[test]
    fn amounts_keep_their_family_of_units() {
        for (amount, model, expected) in [
            (1_500, "1", "1500m"),
            (2_000, "500m", "2"),
            (128 * 1024 * 1024 * 1000, "64Mi", "128Mi"),
            (1024 * 1024 * 1000 * 1024, "64Mi", "1Gi"),
            (2_000_000, "1k", "2k"),
            (0, "1Mi", "0"),
        ] {
            assert_eq!(quantity(amount, model), expected);
        }
    }
}
