//! Whole clusters: in virtual time, over TLS, and across restarts.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "main/conformance.rs"]
mod conformance;
#[path = "main/node.rs"]
mod node;
#[path = "main/service.rs"]
mod service;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use knarr_clock::Clock;
use knarr_cluster::{Cluster, Options, Storage};
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

/// Much longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(3600);

fn simulated() -> Options {
    let mut options = Options::memory();
    options.clock = Clock::virtual_at(Timestamp::constant(1_700_000_000, 0));
    options
}

/// A cluster in a directory, served over TLS, without nodes.
fn kept(directory: &Path) -> Options {
    let mut options = Options::memory();
    options.name = "kept".into();
    options.storage = Storage::Directory(directory.to_path_buf());
    options.listen = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    options.nodes = Vec::new();
    options
}

async fn connect(cluster: &Cluster) -> Client {
    let config = Kubeconfig::read_from(cluster.kubeconfig_path().unwrap()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(FOREVER, wait).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_deployment_comes_up_is_logged_and_goes_in_virtual_time() {
    let mut options = simulated();
    options.nodes = vec!["one".into(), "two".into()];
    let cluster = within(Cluster::start(options)).await.unwrap();
    within(cluster.ready()).await.unwrap();
    let client = cluster.client();
    let deployment = json!({ "metadata": { "name": "kuard" }, "spec": {
        "replicas": 2,
        "selector": { "matchLabels": { "app": "kuard" } },
        "template": { "metadata": { "labels": { "app": "kuard" } }, "spec": { "containers": [
            { "name": "kuard", "image": "gcr.io/kuar-demo/kuard-amd64:blue", "ports": [{ "containerPort": 8080 }] }
        ]}},
    }});
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let up = await_condition(deployments.clone(), "kuard", conditions::is_deployment_completed());
    within(up).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let list = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 2);
    let mut places: Vec<_> = list
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
        .collect();
    places.sort();
    assert_eq!(places, ["one", "two"], "replicas spread over the nodes");
    for pod in list {
        let log = within(pods.logs(&pod.name_any(), &LogParams::default())).await.unwrap();
        assert!(!log.is_empty(), "a running program says something");
    }
    deployments.delete("kuard", &DeleteParams::background()).await.unwrap();
    let gone = async {
        while !pods.list(&ListParams::default()).await.unwrap().items.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    within(gone).await;
    within(cluster.stop()).await;
}

/// Refuses what anybody but `user` does to a resource.
async fn reserve(client: &Client, name: &str, rule: serde_json::Value, user: &str) {
    let policy = json!({ "metadata": { "name": name }, "spec": {
        "matchConstraints": { "resourceRules": [rule] },
        "matchConditions": [{ "name": "not-people", "expression": "request.userInfo.username != 'kubernetes-admin'" }],
        "validations": [{
            "expression": format!("request.userInfo.username.matches('^{user}$')"),
            "messageExpression": "'not for ' + request.userInfo.username",
        }, { "expression": "!('system:masters' in request.userInfo.groups)" }],
    }});
    let binding =
        json!({ "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] } });
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let (policy, binding) = (
        serde_json::from_value(policy).unwrap(),
        serde_json::from_value(binding).unwrap(),
    );
    policies.create(&PostParams::default(), &policy).await.unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_component_writes_as_itself_and_none_as_a_master() {
    let running = within(Cluster::start(simulated())).await.unwrap();
    within(running.ready()).await.unwrap();
    let client = running.client();
    let rule = |group: &str, resource: &str| {
        json!({
            "apiGroups": [group], "apiVersions": ["*"], "operations": ["*"], "resources": [resource],
        })
    };
    let account = "system:serviceaccount:kube-system";
    for (name, rule, user) in [
        ("binding", rule("", "pods/binding"), "system:kube-scheduler".to_owned()),
        (
            "pods",
            rule("", "pods"),
            format!("({account}:(replicaset-controller|generic-garbage-collector)|system:node:knarr)"),
        ),
        ("status", rule("", "pods/status"), "system:node:knarr".into()),
        (
            "sets",
            rule("apps", "replicasets"),
            format!("{account}:(deployment-controller|generic-garbage-collector)"),
        ),
        (
            "sets-status",
            rule("apps", "replicasets/status"),
            format!("{account}:replicaset-controller"),
        ),
        (
            "slices",
            rule("discovery.k8s.io", "endpointslices"),
            format!("{account}:endpointslice-controller"),
        ),
        (
            "leases",
            rule("coordination.k8s.io", "leases"),
            "system:node:knarr".into(),
        ),
        (
            "events",
            rule("", "events"),
            "system:(kube-scheduler|kube-controller-manager|node:knarr)".into(),
        ),
    ] {
        reserve(&client, name, rule, &user).await;
    }
    let deployment = json!({ "metadata": { "name": "web" }, "spec": {
        "replicas": 2,
        "selector": { "matchLabels": { "app": "web" } },
        "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [
            { "name": "c", "image": "nginx", "envFrom": [{ "configMapRef": { "name": "settings" } }] }
        ]}},
    }});
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = serde_json::from_value(json!({ "metadata": { "name": "settings" } })).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = serde_json::from_value(deployment).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    let up = await_condition(deployments.clone(), "web", conditions::is_deployment_completed());
    within(up).await.unwrap();
    let none = |deployment: Option<&Deployment>| deployment.is_none();
    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    within(await_condition(deployments, "web", none)).await.unwrap();
    within(running.stop()).await;
}

#[tokio::test]
async fn a_kubeconfig_stays_valid_over_restarts_and_so_does_the_data() {
    let temp = tempfile::tempdir().unwrap();
    let cluster = within(Cluster::start(kept(temp.path()))).await.unwrap();
    let text = std::fs::read_to_string(cluster.kubeconfig_path().unwrap()).unwrap();
    let client = connect(&cluster).await;
    let map = serde_json::from_value(json!({ "metadata": { "name": "kept" }, "data": { "a": "b" } })).unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    within(maps.create(&PostParams::default(), &map)).await.unwrap();
    within(cluster.stop()).await;

    let cluster = within(Cluster::start(kept(temp.path()))).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(cluster.kubeconfig_path().unwrap()).unwrap(),
        text
    );
    let maps: Api<ConfigMap> = Api::default_namespaced(connect(&cluster).await);
    assert_eq!(within(maps.get("kept")).await.unwrap().data, map.data);
    within(cluster.stop()).await;
}

#[tokio::test]
async fn one_directory_is_run_once_and_says_who_has_it() {
    let temp = tempfile::tempdir().unwrap();
    let cluster = within(Cluster::start(kept(temp.path()))).await.unwrap();
    let error = within(Cluster::start(kept(temp.path()))).await.err().unwrap();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!("the cluster \"kept\" is running already (process {pid})")
    );
    assert!(error.hint().is_some());
    let mut taken = kept(&temp.path().join("other"));
    taken.listen = cluster.address();
    let error = within(Cluster::start(taken)).await.err().unwrap();
    assert!(
        error.hint().unwrap().contains("another program uses this port"),
        "{error}"
    );
    within(cluster.stop()).await;
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let temp = tempfile::tempdir().unwrap();
    let cluster = within(Cluster::start(kept(temp.path()))).await.unwrap();
    let mut config = Kubeconfig::read_from(cluster.kubeconfig_path().unwrap()).unwrap();
    for user in &mut config.auth_infos {
        user.auth_info.as_mut().unwrap().token = Some("guessed".to_string().into());
    }
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(Client::try_from(config).unwrap());
    let error = within(namespaces.list(&ListParams::default())).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 401),
        "{error}"
    );
    let nobody: Api<Namespace> = Api::all(cluster.client_as("nobody", &[]));
    let error = within(nobody.list(&ListParams::default())).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 403),
        "{error}"
    );
    within(cluster.stop()).await;
}

/// Runs the example program, which is built along with the tests, as `knarr cluster` would be.
fn cluster(data: &Path, arguments: [&str; 2]) -> (bool, String) {
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("examples/cluster");
    assert!(
        program.is_file(),
        "{} is built by `cargo test -p knarr-cluster`",
        program.display()
    );
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).env("KNARR_DATA_DIR", data).output().unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap().trim().to_string(),
    )
}

#[test]
fn a_cluster_in_the_background_is_started_found_killed_and_deleted() {
    let temp = tempfile::tempdir().unwrap();
    let run = |verb: &str| cluster(temp.path(), [verb, "bg"]);
    let directory = temp.path().join("clusters/bg");
    let kubeconfig = directory.join("kubeconfig").display().to_string();
    assert_eq!(run("status"), (true, "cluster bg does not exist".into()));
    assert!(run("kubeconfig").1.contains("start it with: knarr cluster start bg"));
    assert_eq!(run("start"), (true, kubeconfig.clone()));
    let holder = std::fs::read_to_string(directory.join("lock")).unwrap();
    assert!(run("status").1.contains(&format!("(process {holder})")));
    assert_eq!(
        run("start"),
        (true, kubeconfig.clone()),
        "a running one is left as it is"
    );
    assert_eq!(std::fs::read_to_string(directory.join("lock")).unwrap(), holder);

    let pid = nix::unistd::Pid::from_raw(holder.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    while !run("status").1.contains("is stopped") {
        std::thread::yield_now(); // until the kernel has let go of its lock
    }
    assert_eq!(run("start"), (true, kubeconfig));
    assert_eq!(run("stop"), (true, "true".into()));
    assert_eq!(run("stop"), (true, "false".into()));
    assert_eq!(run("delete"), (true, "true".into()));
    assert!(!directory.exists());
    let (fine, message) = cluster(temp.path(), ["start", "No/Name"]);
    assert!(
        !fine && message.contains("hint: use up to 40 small letters"),
        "{message}"
    );
}

#[tokio::test]
async fn a_cluster_that_has_lost_or_damaged_its_database_says_so_and_does_not_start_empty() {
    let temp = tempfile::tempdir().unwrap();
    let directory = temp.path().join("kept");
    let database = directory.join("cluster.db");
    let cluster = Cluster::start(kept(&directory)).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let map = serde_json::from_value(json!({ "metadata": { "name": "mine" } })).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    cluster.stop().await;
    let whole = std::fs::read(&database).unwrap();
    let refused = async || {
        let error = Cluster::start(kept(&directory)).await.err().unwrap();
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        (format!("{error}: {cause}"), error.hint().unwrap_or_default().to_owned())
    };

    std::fs::remove_file(&database).unwrap();
    let (message, hint) = refused().await;
    assert!(message.contains("the database of cluster kept is missing"), "{message}");
    assert!(
        hint.contains("knarr cluster restore FILE kept") && hint.contains("knarr cluster repair kept"),
        "{hint}"
    );
    assert!(!database.exists(), "nothing was made in its place");

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&b""[..], &whole[..100], &flipped] {
        std::fs::write(&database, damaged).unwrap();
        let (message, hint) = refused().await;
        assert!(message.contains("cluster.db is damaged"), "{message}");
        assert!(hint.contains("knarr cluster repair kept"), "{hint}");
        assert_eq!(std::fs::read(&database).unwrap(), damaged, "it is left alone");
    }
    std::fs::write(&database, &whole).unwrap();
    let cluster = Cluster::start(kept(&directory)).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.get("mine").await.unwrap();
    cluster.stop().await;

    std::fs::rename(&database, directory.join("cluster.redb")).unwrap();
    let (message, hint) = refused().await;
    assert!(
        message.contains("whose database this one cannot read") && hint.contains("delete kept"),
        "{message} {hint}"
    );
}

/// A key, and a request for a certificate of these names, in PEM.
fn ask(user: &str, group: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, user);
    params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    (key.serialize_pem(), request)
}

#[tokio::test]
async fn a_certificate_that_was_asked_for_and_approved_tells_who_its_holder_is() {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::authentication::v1::SelfSubjectReview;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
    let temp = tempfile::tempdir().unwrap();
    let running = within(Cluster::start(kept(temp.path()))).await.unwrap();
    let requests: Api<CertificateSigningRequest> = Api::all(running.client());
    let submit = async |name: &str, user: &str, group: &str, signer: &str| {
        let (key, request) = ask(user, group);
        let csr: CertificateSigningRequest = serde_json::from_value(json!({ "metadata": { "name": name }, "spec": {
            "request": ByteString(request.into_bytes()), "signerName": signer, "expirationSeconds": 3600,
            "usages": ["client auth"], "username": "somebody else",
        }}))
        .unwrap();
        requests
            .create(&PostParams::default(), &csr)
            .await
            .map(|csr| (key, csr))
    };
    let client = "kubernetes.io/kube-apiserver-client";
    let refused = submit("root", "root", "system:masters", client)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"),
        "{refused}"
    );
    let (key, csr) = submit("jane", "jane", "developers", client).await.unwrap();
    assert_eq!(
        csr.spec.username.as_deref(),
        Some("kubernetes-admin"),
        "who asks is not theirs to say"
    );

    let approve = json!({ "status": { "conditions": [{
        "type": "Approved", "status": "True", "reason": "KubectlApprove", "message": "fine",
    }]}});
    let patch = kube::api::Patch::Merge(approve);
    requests
        .patch_subresource("approval", "jane", &Default::default(), &patch)
        .await
        .unwrap();
    let issued = |csr: Option<&CertificateSigningRequest>| {
        let status = csr.and_then(|csr| csr.status.as_ref());
        status.is_some_and(|status| status.certificate.is_some())
    };
    let csr = within(await_condition(requests.clone(), "jane", issued))
        .await
        .unwrap()
        .unwrap();
    let certificate = csr.status.unwrap().certificate.unwrap().0;

    let shows = async |certificate: &[u8], key: &str| {
        let mut config = Kubeconfig::read_from(running.kubeconfig_path().unwrap()).unwrap();
        let info = config.auth_infos[0].auth_info.as_mut().unwrap();
        *info = kube::config::AuthInfo {
            client_certificate_data: Some(base64(certificate)),
            client_key_data: Some(base64(key.as_bytes()).into()),
            ..Default::default()
        };
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    };
    let jane = shows(&certificate, &key).await;
    let reviews: Api<SelfSubjectReview> = Api::all(jane.clone());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let user = review.status.unwrap().user_info.unwrap();
    assert_eq!(user.username.as_deref(), Some("jane"));
    assert_eq!(user.groups.unwrap(), ["developers", "system:authenticated"]);
    let maps: Api<ConfigMap> = Api::default_namespaced(jane);
    let refused = maps.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(
        refused.contains("User \"jane\" cannot list resource \"configmaps\""),
        "{refused}"
    );

    // One that another authority has signed is nobody's.
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let stranger = shows(own.pem().as_bytes(), &key.serialize_pem()).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(stranger);
    let refused = maps.list(&ListParams::default()).await.unwrap_err().to_string();
    assert!(refused.contains("Unauthorized"), "{refused}");
    within(running.stop()).await;
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
