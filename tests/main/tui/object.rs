//! Objects that tests make past the application, as another user would.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

/// The pods of the default namespace.
pub(crate) fn pods(client: Client) -> Api<Pod> {
    Api::namespaced(client, "default")
}

/// A pod of one busybox, in the default namespace.
pub(crate) async fn create_pod(client: Client, name: &str) -> Pod {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "made-by-a-test"}},
        "spec": {"containers": [{"name": "main", "image": "busybox", "command": ["sleep", "100000"]}]},
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods(client)
        .create(&PostParams::default(), &pod)
        .await
        .expect("created")
}

/// Deletes a pod at once.
pub(crate) async fn kill_pod(client: Client, name: &str) {
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    pods(client).delete(name, &now).await.expect("deleted");
}

/// The config maps of the default namespace.
pub(crate) fn maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

/// A config map in the default namespace.
pub(crate) async fn create_map(client: Client, name: &str) -> ConfigMap {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": name}});
    let map = serde_json::from_value(map).expect("a config map");
    maps(client)
        .create(&PostParams::default(), &map)
        .await
        .expect("created")
}

/// Deletes a config map.
pub(crate) async fn delete_map(client: Client, name: &str) {
    maps(client)
        .delete(name, &DeleteParams::default())
        .await
        .expect("deleted");
}
