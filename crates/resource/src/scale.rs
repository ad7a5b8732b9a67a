//! The `scale` subresource: the number of replicas of a workload, seen and set without knowing the workload's kind.

use crate::field::{Errors, Path};
use crate::json::{object, set};
use crate::selector::LabelSelector;
use crate::status::Failure;
use serde_json::{Map, Value, json};

/// The `autoscaling/v1` Scale of a Deployment or ReplicaSet.
pub fn read(workload: &Value) -> Value {
    let mut meta = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = workload["metadata"].get(key) {
            meta.insert(key.to_owned(), value.clone());
        }
    }
    let selector = LabelSelector::from_object(&workload["spec"]["selector"])
        .map(|s| s.to_string())
        .unwrap_or_default();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": workload["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": workload["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector},
    })
}

/// Sets the replicas of a workload to those of a Scale, and the resourceVersion the client based its wish on.
pub fn write(workload: &mut Value, scale: &Value) -> Result<(), Failure> {
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().unwrap_or(-1),
    };
    if !(0..=i64::from(i32::MAX)).contains(&replicas) {
        let mut errors = Errors::new();
        let path = Path::new("spec").child("replicas");
        errors.invalid(
            &path,
            scale["spec"]["replicas"].clone(),
            "must be greater than or equal to 0",
        );
        let name = crate::printer::name_of(workload);
        return Err(Failure::invalid("autoscaling", "Scale", name, &errors.into_vec()));
    }
    if let Some(spec) = object(workload, "spec") {
        set(spec, "replicas", replicas);
    }
    if let Some(version) = scale["metadata"]["resourceVersion"].as_str()
        && !version.is_empty()
        && let Some(meta) = object(workload, "metadata")
    {
        set(meta, "resourceVersion", version);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_shows_and_sets_replicas() {
        let mut deployment = json!({
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}},
            "status": {"replicas": 1},
        });
        let mut scale = read(&deployment);
        assert_eq!(scale["metadata"], json!({"name": "d", "namespace": "n", "uid": "u"}));
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=x"}));
        scale["spec"]["replicas"] = json!(5);
        scale["metadata"]["resourceVersion"] = json!("7");
        write(&mut deployment, &scale).expect("valid");
        assert_eq!(deployment["spec"]["replicas"], 5);
        assert_eq!(deployment["metadata"]["resourceVersion"], "7");
        scale["spec"]["replicas"] = json!(-1);
        assert_eq!(
            write(&mut deployment, &scale).expect_err("negative").message,
            r#"Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#
        );
    }
}
