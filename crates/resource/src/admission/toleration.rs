//! DefaultTolerationSeconds: a pod stays for five minutes on a node that went away.

use crate::json::{items, object, set, text};
use serde_json::{Value, json};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) fn mutate(pod: &mut Value) {
    let Some(spec) = object(pod, "spec") else { return };
    let mut tolerations: Vec<Value> = items(&spec["tolerations"]).to_vec();
    let evicts = |t: &Value| matches!(text(t, "effect"), "" | "NoExecute");
    let missing: Vec<&str> = TAINTS
        .into_iter()
        .filter(|taint| {
            let about = |t: &Value| text(t, "key") == *taint || text(t, "key").is_empty();
            !tolerations.iter().any(|t| about(t) && evicts(t))
        })
        .collect();
    if missing.is_empty() {
        return;
    }
    tolerations.extend(
        missing.into_iter().map(
            |taint| json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}),
        ),
    );
    set(spec, "tolerations", tolerations);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_tolerate_a_lost_node_for_a_while_unless_they_say_otherwise() {
        for (tolerations, expected) in [
            (json!([]), vec![TAINTS[0], TAINTS[1]]),
            (
                json!([{"key": TAINTS[0], "operator": "Exists"}]),
                vec![TAINTS[0], TAINTS[1]],
            ),
            (
                json!([{"key": TAINTS[0], "operator": "Exists", "effect": "NoSchedule"}]),
                vec![TAINTS[0], TAINTS[0], TAINTS[1]],
            ),
            (json!([{"operator": "Exists"}]), vec![""]),
        ] {
            let mut pod = json!({"spec": {"tolerations": tolerations}});
            mutate(&mut pod);
            let once = pod.clone();
            mutate(&mut pod);
            assert_eq!(pod, once);
            let keys: Vec<&str> = items(&pod["spec"]["tolerations"])
                .iter()
                .map(|t| text(t, "key"))
                .collect();
            assert_eq!(keys, expected);
        }
    }
}
