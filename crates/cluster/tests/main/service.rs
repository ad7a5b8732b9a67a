//! Services and names, as pods and the host see them, with real containers.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{AttachParams, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{cluster, within};

/// What a command in a pod says, errors included.
async fn shell(pods: &Api<Pod>, command: &str) -> String {
    let attach = AttachParams::default().stderr(true);
    let command = ["sh", "-c", &format!("{command} 2>&1")];
    let mut process = pods.exec("client", command, &attach).await.unwrap();
    let mut text = String::new();
    let mut stdout = process.stdout().unwrap();
    stdout.read_to_string(&mut text).await.unwrap();
    text
}

/// Repeats a command until it says the wanted: the network follows the API, it does not wait for it.
async fn until(pods: &Api<Pod>, command: &str, wanted: impl Fn(&str) -> bool) -> String {
    let wait = async {
        loop {
            let text = shell(pods, command).await;
            if wanted(&text) {
                return text;
            }
        }
    };
    within(wait).await
}

async fn create(client: &Client) -> Service {
    let container =
        json!({ "name": "kubia", "image": "luksa/kubia", "ports": [{ "name": "http", "containerPort": 8080 }] });
    let deployment = json!({ "metadata": { "name": "kubia" }, "spec": {
        "replicas": 2,
        "selector": { "matchLabels": { "app": "kubia" } },
        "template": { "metadata": { "labels": { "app": "kubia" } }, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [container],
        } },
    } });
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = json!({ "metadata": { "name": "client" }, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{ "name": "client", "image": "busybox", "command": ["sleep", "100000"] }],
    } });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
        .await
        .unwrap();
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let service = |name: &str, more: Value| {
        let mut spec = json!({ "selector": { "app": "kubia" }, "ports": [{ "port": 80, "targetPort": "http" }] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap()
    };
    let headless = service("peers", json!({ "clusterIP": "None" }));
    services.create(&PostParams::default(), &headless).await.unwrap();
    let service = service("kubia", json!({ "type": "NodePort" }));
    let service = services.create(&PostParams::default(), &service).await.unwrap();
    let up = await_condition(deployments, "kubia", conditions::is_deployment_completed());
    within(up).await.unwrap();
    within(await_condition(pods, "client", conditions::is_pod_running()))
        .await
        .unwrap();
    service
}

async fn connect(kubeconfig: &Path) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_spread_names_resolve_and_what_is_gone_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let run = |verb: &str| cluster(temp.path(), [verb, "net"]);
    let (started, kubeconfig) = run("start");
    assert!(started, "{kubeconfig}");
    let note = std::fs::read(temp.path().join("clusters/net/running.json")).unwrap();
    let note: Value = serde_json::from_slice(&note).unwrap();
    if !matches!(note["mode"].as_str(), Some("root" | "userns")) {
        assert!(run("stop").0);
        return; // this host does not let pods have networks
    }
    let client = connect(Path::new(&kubeconfig)).await;
    let service = create(&client).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());

    let get = "wget -qO- http://kubia";
    let first = until(&pods, get, |text| text.starts_with("You've hit")).await;
    let second = shell(&pods, get).await;
    assert!(second.starts_with("You've hit") && second != first, "{first}{second}");

    let selected = pods.list(&ListParams::default().labels("app=kubia")).await.unwrap();
    let ips: BTreeSet<String> = selected.into_iter().filter_map(|pod| pod.status?.pod_ip).collect();
    let known = until(&pods, "nslookup peers.default.svc.cluster.local", |text| {
        ips.iter().all(|ip| text.contains(ip.as_str()))
    });
    assert!(known.await.contains("10.96.0.10"), "asks the cluster's DNS");
    let unknown = shell(&pods, "nslookup nobody.default.svc.cluster.local").await;
    assert!(unknown.contains("NXDOMAIN"), "{unknown}");

    let port = service.spec.unwrap().ports.unwrap()[0].node_port.unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap()))
        .await
        .unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("You've hit"), "{answer}");

    let deployments: Api<Deployment> = Api::default_namespaced(client);
    deployments.delete("kubia", &DeleteParams::background()).await.unwrap();
    until(&pods, get, |text| text.contains("refused")).await;
    until(&pods, "nslookup peers.default.svc.cluster.local", |text| {
        text.contains("NXDOMAIN")
    })
    .await;
    assert!(run("stop").0);
}
