//! Amounts by resource name: requests, limits, quotas and capacities.

use std::collections::BTreeMap;
use std::fmt;

use knarr_apimachinery::Quantity;
use serde_json::{Map, Value};

/// `v1.ResourceList`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceList(BTreeMap<String, Quantity>);

impl ResourceList {
    /// From JSON; what is no quantity is left out.
    pub fn of(value: &Value) -> Self {
        let amounts =
            crate::json::entries(value).filter_map(|(name, value)| Some((name.clone(), Quantity::of(value)?)));
        Self(amounts.collect())
    }

    /// To JSON, in canonical form.
    pub fn to_value(&self) -> Value {
        let entries = self
            .0
            .iter()
            .map(|(name, amount)| (name.clone(), amount.to_string().into()));
        Value::Object(entries.collect::<Map<_, _>>())
    }

    /// One amount.
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    /// Sets one amount.
    pub fn insert(&mut self, name: &str, amount: Quantity) {
        self.0.insert(name.to_owned(), amount);
    }

    /// Adds to one amount.
    pub fn add(&mut self, name: &str, amount: Quantity) {
        self.0
            .entry(name.to_owned())
            .and_modify(|own| *own = own.plus(amount))
            .or_insert(amount);
    }

    /// Adds each amount of `other`.
    pub fn add_all(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            self.add(name, amount);
        }
    }

    /// What is here but not in `other`, name by name; a name that is only in `other` counts as negative.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut result = self.clone();
        for (name, amount) in other.iter() {
            result.add(name, amount.negated());
        }
        result
    }

    /// Raises each amount to that of `other`.
    pub fn raise(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            if self.get(name).is_none_or(|own| own < amount) {
                self.insert(name, amount);
            }
        }
    }

    /// Keeps the names for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, Quantity) -> bool) {
        self.0.retain(|name, amount| keep(name, *amount));
    }

    /// All amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Quantity)> for ResourceList {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl fmt::Display for ResourceList {
    /// `cpu=1,pods=2`, as messages about quotas have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, amount)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}={amount}")?;
        }
        Ok(())
    }
}

/// What the containers of a pod ask for together: `which` is `requests` or `limits`.
///
/// Init containers run one after the other before the rest, those that restart always stay, and what the pod says for
/// itself counts before what its containers say (KEP-753, KEP-2837).
pub fn of_pod(spec: &Value, which: &str) -> ResourceList {
    let own = |container: &Value| ResourceList::of(&container["resources"][which]);
    let mut sum = ResourceList::default();
    for container in crate::json::items(&spec["containers"]) {
        sum.add_all(&own(container));
    }
    let (mut sidecars, mut start) = (ResourceList::default(), ResourceList::default());
    for container in crate::json::items(&spec["initContainers"]) {
        let mut now = own(container);
        if container["restartPolicy"] == "Always" {
            sum.add_all(&now);
            sidecars.add_all(&now);
            now = sidecars.clone();
        } else {
            now.add_all(&sidecars);
        }
        start.raise(&now);
    }
    sum.raise(&start);
    for (name, amount) in ResourceList::of(&spec["resources"][which]).iter() {
        if matches!(name, "cpu" | "memory") || name.starts_with("hugepages-") {
            sum.insert(name, amount);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sums_keep_the_form_of_the_first() {
        let mut list = ResourceList::of(&json!({"memory": "512Mi", "cpu": "500m"}));
        list.add_all(&ResourceList::of(&json!({"memory": "1G", "cpu": 1, "pods": "2"})));
        assert_eq!(list.to_string(), "cpu=1500m,memory=1536870912,pods=2");
        list.add("memory", Quantity::of(&json!("536870912")).expect("a quantity"));
        let less = list.minus(&ResourceList::of(&json!({"cpu": "2", "memory": "1G"})));
        assert_eq!(less.to_value(), json!({"cpu": "-500m", "memory": "1Gi", "pods": "2"}));
    }

    #[test]
    fn init_containers_count_while_they_run() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let mut spec = json!({
            "containers": [{"resources": cpu("1")}, {"resources": cpu("500m")}],
            "initContainers": [
                {"resources": cpu("1")},
                {"resources": cpu("1"), "restartPolicy": "Always"},
                {"resources": cpu("3")},
            ],
        });
        assert_eq!(of_pod(&spec, "requests").to_string(), "cpu=4");
        spec["initContainers"][2] = json!({});
        assert_eq!(of_pod(&spec, "requests").to_string(), "cpu=2500m");
        spec["resources"] = cpu("7");
        assert_eq!(of_pod(&spec, "requests").to_string(), "cpu=7");
    }
}
