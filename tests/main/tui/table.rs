//! Tables of kinds without a file of their own: the server says what their columns are.

use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use knarr::config::ColumnChoice;

use super::object::create_pod;
use super::{Setup, Tui};

/// Makes an object of any kind, as another user would.
async fn create(client: &Client, object: Value) {
    let (api_version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    let (api_version, kind) = (api_version.expect("a version"), kind.expect("a kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let object = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("created");
}

/// The definition of widgets: `SIZE` and the wide `COLOUR` are its printer columns.
fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer"}, "colour": {"type": "string"},
                    }},
                }}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }],
        },
    })
}

fn widget(name: &str, size: u32) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, "namespace": "default"},
        "spec": {"size": size, "colour": "teal"},
    })
}

/// A cluster that serves widgets: `big` of 10, `small` of 9.
async fn with_widgets() -> Tui {
    let mut tui = Tui::start(120, 30).await;
    let client = tui.client();
    create(&client, widgets()).await;
    tui.wait(std::time::Duration::from_secs(2)).await;
    create(&client, widget("small", 9)).await;
    create(&client, widget("big", 10)).await;
    tui
}

#[tokio::test(start_paused = true)]
async fn a_custom_resource_has_the_printer_columns_of_its_definition_and_follows_its_objects() {
    let mut tui = with_widgets().await;
    tui.keys(":widgets<ret>").await.until_line(&["big", "10"]).await;
    // There is room: what is wide comes by itself.
    tui.shows(&["SIZE", "AGE", "COLOUR", "teal"]);
    tui.resize(24, 20).await.hides(&["COLOUR", "teal"]);
    create(&tui.client(), widget("medium", 5)).await;
    tui.until_line(&["medium", "5"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_column_of_the_server_sorts_and_filters_by_value() {
    let mut tui = with_widgets().await;
    tui.keys(":widgets<ret>").await.until("small").await;
    tui.keys(":sort size<ret>").await;
    assert!(tui.line(2).contains("small"), "{}", tui.screen());
    tui.keys(":sort size<ret>").await;
    assert!(tui.line(2).contains("big"), "{}", tui.screen());
    tui.keys("/size<lt>10<ret>").await.shows(&["small"]).hides(&["big"]);
}

#[tokio::test(start_paused = true)]
async fn a_built_in_kind_without_a_file_of_its_own_has_the_columns_of_kubectl() {
    let mut tui = Tui::start(120, 30).await;
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "urgent"}, "value": 1000,
    });
    create(&tui.client(), class).await;
    tui.keys(":pc<ret>")
        .await
        .until_line(&["urgent", "1000", "false"])
        .await;
    tui.shows(&["VALUE", "GLOBAL-DEFAULT"]);
}

#[tokio::test(start_paused = true)]
async fn columns_of_the_users_own_come_from_json_paths_and_sort() {
    let choices = [
        "NAME",
        "IMAGE:.spec.containers[*].image",
        "START:.status.startTime",
        "NOTHING",
    ];
    let choices = choices
        .map(|choice| ColumnChoice::parse(choice).expect("a column"))
        .to_vec();
    let mut tui = Tui::with(Setup {
        size: (120, 30),
        columns: [("pods".to_owned(), choices)].into(),
        ..Setup::default()
    })
    .await;
    create_pod(tui.client(), "chosen").await;
    tui.until_line(&["chosen", "busybox"])
        .await
        .shows(&["IMAGE", "START"])
        .hides(&["READY"]);
    tui.keys(":sort image<ret>").await.hides(&["there is no column"]);
}
