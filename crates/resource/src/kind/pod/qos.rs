//! Quality of service: who is evicted last when a node runs out.

use super::default::regular;
use knarr_apimachinery::Quantity;
use serde_json::Value;

const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` if every container's requests equal its limits, `BestEffort` if none asks for anything.
pub(crate) fn class(spec: &Value) -> &'static str {
    let mut asks = false;
    let mut guaranteed = true;
    for container in regular(spec) {
        for name in RESOURCES {
            let amount = |list: &str| {
                let amount = Quantity::of(&container["resources"][list][name]);
                amount.filter(|quantity| *quantity > Quantity::ZERO)
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            asks |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (asks, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_class_follows_requests_and_limits() {
        let both =
            |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        for (first, second, expected) in [
            (json!({}), json!({}), "BestEffort"),
            (both("1000m"), both("1"), "Guaranteed"),
            (both("500m"), both("1"), "Burstable"),
            (both("1"), json!({}), "Burstable"),
            (json!({"requests": {"cpu": "0"}}), json!({}), "BestEffort"),
        ] {
            let spec = json!({"containers": [{"resources": first}, {"resources": second}]});
            assert_eq!(class(&spec), expected);
        }
    }
}
