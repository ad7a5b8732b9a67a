//! The `scale` subresource: the number of replicas of a workload, seen and set without knowing the workload's kind.

use crate::field::{Errors, Path, quote};
use crate::json::{object, set};
use crate::selector::LabelSelector;
use crate::status::Status;
use serde_json::{Map, Value, json};

/// The `autoscaling/v1` Scale of a workload.
pub fn read(workload: &Value) -> Value {
    let mut meta = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = workload["metadata"].get(key) {
            meta.insert(key.to_owned(), value.clone());
        }
    }
    // A ReplicationController's selector is a bare map of labels.
    let selector = match &workload["kind"] {
        kind if kind == "ReplicationController" => json!({"matchLabels": workload["spec"]["selector"]}),
        _ => workload["spec"]["selector"].clone(),
    };
    let selector = LabelSelector::from_object(&selector)
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
pub fn write(workload: &mut Value, scale: &Value) -> Result<(), Status> {
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
        return Err(Status::invalid("autoscaling", "Scale", name, &errors.into_vec()));
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

/// Where a custom resource has its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `specReplicasPath`
    pub replicas: String,
    /// `statusReplicasPath`
    pub status: String,
    /// `labelSelectorPath`, may be empty.
    pub selector: String,
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.')
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return None;
    }
    steps(path)
        .try_fold(object, |value, step| value.get(step))
        .filter(|value| !value.is_null())
}

impl Paths {
    /// The Scale of a custom resource.
    pub fn read(&self, object: &Value) -> Result<Value, Status> {
        let Some(replicas) = at(object, &self.replicas).and_then(Value::as_i64) else {
            return Err(Status {
                code: 500,
                reason: "InternalError",
                message: format!(
                    "Internal error occurred: the spec replicas field {} does not exist",
                    quote(&self.replicas)
                ),
                details: Value::Null,
            });
        };
        let mut scale = read(object);
        scale["spec"]["replicas"] = replicas.into();
        scale["status"] = json!({"replicas": at(object, &self.status).and_then(Value::as_i64).unwrap_or(0)});
        if let Some(selector) = at(object, &self.selector).and_then(Value::as_str)
            && !selector.is_empty()
        {
            scale["status"]["selector"] = selector.into();
        }
        Ok(scale)
    }

    /// Sets the replicas of a custom resource to those of a Scale.
    pub fn write(&self, object: &mut Value, scale: &Value) -> Result<(), Status> {
        if scale["spec"]["replicas"].is_null() {
            return Err(Status::bad_request(format!(
                "the spec replicas field {} cannot be empty",
                quote(&self.replicas)
            )));
        }
        // As for a workload: the same rules for the number, and the version the wish is based on.
        let mut workload = json!({"metadata": object["metadata"], "spec": {}});
        write(&mut workload, scale)?;
        object["metadata"] = workload["metadata"].take();
        let mut place = object;
        for step in steps(&self.replicas) {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[step];
        }
        *place = workload["spec"]["replicas"].take();
        Ok(())
    }

    /// Replicas are counted from zero, whatever the schema says.
    pub(crate) fn validate(&self, object: &Value, errors: &mut Errors) {
        for path in [&self.replicas, &self.status] {
            let Some(value) = at(object, path) else { continue };
            let fits = value
                .as_i64()
                .is_some_and(|count| (0..=i64::from(i32::MAX)).contains(&count));
            if !fits {
                let place = Path::new(path.trim_start_matches('.'));
                errors.invalid(&place, value.clone(), "should be a non-negative integer");
            }
        }
    }
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
