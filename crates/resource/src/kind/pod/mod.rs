//! Pods.

mod affinity;
mod bind;
mod container;
mod default;
mod print;
mod probe;
mod qos;
mod security;
mod spec;
pub(crate) mod toleration;
mod update;
mod volume;
mod warnings;

use super::Kind;
use crate::field::{Errors, Path};
use crate::json::{items, keep, object, remove, set, text};
use crate::printer::{Columns, Row};
use crate::resource::Fields;
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use affinity::validate_node_selector;
pub use bind::bind;
pub(crate) use container::validate_amount;
pub(crate) use default::{pod_spec as default_spec, same_account};
pub(crate) use qos::class as quality_of_service;
pub(crate) use spec::{Place, validate as validate_spec};
pub(crate) use warnings::of_pod as warnings_of;

pub(crate) struct Pod;

impl Kind for Pod {
    fn warnings(&self, pod: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings_of(pod, &Path::default())
    }

    fn default(&self, pod: &mut Value) {
        default::pod(pod);
    }

    fn prepare_create(&self, pod: &mut Value) {
        let class = qos::class(&pod["spec"]);
        let mut status = json!({"phase": "Pending", "qosClass": class});
        if !items(&pod["spec"]["schedulingGates"]).is_empty() {
            let message = "Scheduling is blocked due to non-empty scheduling gates";
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": message,
                "lastProbeTime": null,
                "lastTransitionTime": pod["metadata"]["creationTimestamp"],
            }]);
        }
        set(pod, "status", status);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        let only = match subresource {
            Some("ephemeralcontainers") => "ephemeralContainers",
            Some("resize") => return update::resize(new, old),
            // Ephemeral containers are added by their subresource alone.
            None => {
                if let Some(spec) = object(new, "spec") {
                    keep(spec, &old["spec"], "ephemeralContainers");
                }
                return;
            }
            _ => return,
        };
        let part = new["spec"].get(only).cloned();
        *new = Value::Object(
            old.as_object()
                .cloned()
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| match key.as_str() {
                    "metadata" => (key, new["metadata"].clone()),
                    _ => (key, value),
                })
                .collect(),
        );
        let Some(spec) = object(new, "spec") else { return };
        match part {
            Some(part) => set(spec, only, part),
            None => remove(spec, only),
        }
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        if let Some(meta) = object(new, "metadata") {
            keep(meta, &old["metadata"], "ownerReferences");
        }
        // The class was decided when the pod was made.
        if let Some(status) = object(new, "status") {
            keep(status, &old["status"], "qosClass");
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, pod: &Value, errors: &mut Errors) {
        spec::validate(&pod["spec"], &Path::new("spec"), Place::Pod, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        update::validate(new, old, subresource, errors);
    }

    fn fields(&self, pod: &Value, fields: &mut Fields) {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        for (label, key) in [
            ("spec.nodeName", "nodeName"),
            ("spec.restartPolicy", "restartPolicy"),
            ("spec.schedulerName", "schedulerName"),
            ("spec.serviceAccountName", "serviceAccountName"),
        ] {
            fields.add(label, text(spec, key));
        }
        fields.add("spec.hostNetwork", (spec["hostNetwork"] == true).to_string());
        fields.add("status.phase", text(status, "phase"));
        let ip = match text(status, "podIP") {
            "" => text(&status["podIPs"][0], "ip"),
            ip => ip,
        };
        fields.add("status.podIP", ip);
        fields.add("status.nominatedNodeName", text(status, "nominatedNodeName"));
    }

    fn columns(&self) -> Columns<'_> {
        print::COLUMNS.into()
    }

    fn row(&self, pod: &Value, now: Timestamp) -> Row {
        print::row(pod, now)
    }

    /// A pod on a node goes when its kubelet has stopped it. One that never got a node, or is done, goes at once.
    fn grace_period(&self, pod: &Value, requested: Option<i64>) -> Option<i64> {
        let wanted = requested.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64());
        let phase = text(&pod["status"], "phase");
        if text(&pod["spec"], "nodeName").is_empty() || phase == "Failed" || phase == "Succeeded" {
            return Some(0);
        }
        Some(match wanted.unwrap_or(0) {
            seconds if seconds < 0 => 1,
            seconds => seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    #[test]
    fn a_new_pod_is_pending_and_has_a_class() {
        let mut pod = json!({"metadata": {}, "spec": {"containers": []}, "status": {"phase": "Running"}});
        Pod.prepare_create(&mut pod);
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
        pod["spec"]["schedulingGates"] = json!([{"name": "g"}]);
        Pod.prepare_create(&mut pod);
        assert_eq!(pod["status"]["conditions"][0]["reason"], "SchedulingGated");
    }

    #[test]
    fn each_subresource_changes_only_its_part() {
        let pods = find("", "v1", "pods").expect("served");
        let old = json!({
            "metadata": {"name": "p", "uid": "u", "generation": 1},
            "spec": {"nodeName": "n", "ephemeralContainers": [{"name": "a"}], "containers": [{"name": "c", "image": "1"}]},
            "status": {"phase": "Running", "qosClass": "BestEffort"},
        });
        let wish = json!({
            "metadata": {"name": "p", "labels": {"l": "1"}, "generation": 9},
            "spec": {"nodeName": "x", "ephemeralContainers": [{"name": "b"}], "containers": [{"name": "c", "image": "2"}]},
            "status": {"phase": "Failed", "qosClass": "Guaranteed"},
        });
        let update = |subresource| {
            let mut new = wish.clone();
            pods.prepare_update(&mut new, &old, subresource);
            new
        };
        let whole = update(None);
        assert_eq!(whole["status"], old["status"]);
        assert_eq!(whole["spec"]["ephemeralContainers"], old["spec"]["ephemeralContainers"]);
        assert_eq!(
            whole["metadata"],
            json!({"name": "p", "labels": {"l": "1"}, "generation": 2, "uid": "u"})
        );
        let status = update(Some("status"));
        assert_eq!(status["spec"], old["spec"]);
        assert_eq!(status["status"], json!({"phase": "Failed", "qosClass": "BestEffort"}));
        assert_eq!(status["metadata"]["generation"], 1);
        let debug = update(Some("ephemeralcontainers"));
        assert_eq!(debug["spec"]["nodeName"], "n");
        assert_eq!(debug["spec"]["ephemeralContainers"], json!([{"name": "b"}]));
        assert_eq!(debug["status"], old["status"]);
    }

    #[test]
    fn only_a_pod_on_a_node_takes_time_to_stop() {
        let pod = |node: &str, phase: &str| json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}});
        for (pod, requested, expected) in [
            (pod("n", "Running"), None, 30),
            (pod("n", "Running"), Some(5), 5),
            (pod("n", "Running"), Some(0), 0),
            (pod("n", "Running"), Some(-1), 1),
            (pod("", "Pending"), None, 0),
            (pod("n", "Succeeded"), Some(30), 0),
        ] {
            assert_eq!(Pod.grace_period(&pod, requested), Some(expected));
        }
    }
}
