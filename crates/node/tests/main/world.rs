//! What every test starts from.

use std::fmt::Debug;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Event, Node, Pod, ServiceAccount};
use knarr_apiserver::{ApiServer, UserInfo};
use knarr_clock::Clock;
use knarr_image::ImageStore;
use knarr_node::hollow::Hollow;
use knarr_node::{Kubelet, Options};
use knarr_stream::backend::{Backend, ExecOptions, LogOptions, PodRef};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

/// Much longer, in virtual time, than anything here takes.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct World {
    pub(crate) client: Client,
    /// What the kubelet acts as.
    own: Client,
    pub(crate) clock: Clock,
    pub(crate) kubelet: Kubelet,
    pub(crate) runtime: Hollow,
    pub(crate) dir: tempfile::TempDir,
    shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let clock = Clock::virtual_at(Timestamp::constant(1_700_000_000, 0));
        let options = knarr_apiserver::Options {
            clock: clock.clone(),
            ..Default::default()
        };
        let server = ApiServer::start(options).await.unwrap();
        let client = server.client(UserInfo::authenticated("system:admin", &["system:masters"]));
        let account: ServiceAccount = object(json!({ "metadata": { "name": "default" } }));
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let root: ConfigMap =
            object(json!({ "metadata": { "name": "kube-root-ca.crt" }, "data": { "ca.crt": "PEM" } }));
        Api::namespaced(client.clone(), "default")
            .create(&PostParams::default(), &root)
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let runtime = Hollow::with_clock(clock.clone());
        let own = server.client(UserInfo::authenticated("system:node:n1", &["system:nodes"]));
        let kubelet = kubelet(&own, &runtime, &clock, dir.path(), &shutdown, change).await;
        Self {
            client,
            own,
            clock,
            kubelet,
            runtime,
            dir,
            shutdown,
        }
    }

    /// The node's process ends without a word, and another one begins.
    pub(crate) async fn lose_process(&mut self) {
        self.shutdown.cancel();
        self.begin_again().await;
    }

    pub(crate) async fn begin_again(&mut self) {
        self.shutdown = CancellationToken::new();
        self.runtime = Hollow::with_clock(self.clock.clone());
        self.kubelet = kubelet(
            &self.own,
            &self.runtime,
            &self.clock,
            self.dir.path(),
            &self.shutdown,
            |_| (),
        )
        .await;
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates a pod that is bound to the node.
    pub(crate) async fn run(&self, name: &str, mut spec: Value) -> Pod {
        spec["nodeName"] = "n1".into();
        let pod = object(json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec }));
        self.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap()
    }

    /// A pod with one container.
    pub(crate) async fn run_one(&self, name: &str, container: Value) -> Pod {
        let mut container = container;
        container["name"] = "c".into();
        self.run(name, json!({ "containers": [container] })).await
    }

    /// Waits until the pod is as it should be.
    pub(crate) async fn until(&self, name: &str, is: impl FnMut(&Pod) -> bool) -> Pod {
        self.until_one(name, is).await
    }

    /// Waits until an object of the default namespace is as it should be.
    pub(crate) async fn until_one<K>(&self, name: &str, mut is: impl FnMut(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut seen = pin!(watcher(self.api::<K>(), config));
        let mut last = None;
        let found = tokio::time::timeout(FOREVER, async {
            loop {
                let event = seen.next().await.unwrap();
                let (watcher::Event::Apply(object) | watcher::Event::InitApply(object)) = event.unwrap() else {
                    continue;
                };
                if is(&object) {
                    return object;
                }
                last = Some(object);
            }
        });
        match found.await {
            Ok(object) => object,
            Err(_) => panic!("{name} never was as it should be; it was {last:#?}"),
        }
    }

    pub(crate) async fn until_gone(&self, name: &str) {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut seen = pin!(watcher(self.api::<Pod>(), config));
        let gone = tokio::time::timeout(FOREVER, async {
            let mut listed = 0;
            loop {
                match seen.next().await.unwrap().unwrap() {
                    watcher::Event::Delete(_) => return,
                    watcher::Event::InitApply(_) => listed += 1,
                    watcher::Event::InitDone if listed == 0 => return,
                    _ => {}
                }
            }
        });
        gone.await.expect("the pod goes");
    }

    pub(crate) async fn until_running(&self, name: &str) -> Pod {
        self.until(name, ready).await
    }

    /// Waits until an event about the pod has this text in its message.
    pub(crate) async fn until_event(&self, name: &str, text: &str) -> Event {
        let config = watcher::Config::default().fields(&format!("involvedObject.name={name}"));
        let mut seen = pin!(watcher(self.api::<Event>(), config));
        let found = tokio::time::timeout(FOREVER, async {
            loop {
                if let watcher::Event::Apply(event) | watcher::Event::InitApply(event) =
                    seen.next().await.unwrap().unwrap()
                    && event.message.as_deref().unwrap_or_default().contains(text)
                {
                    return event;
                }
            }
        });
        found.await.expect("the event comes")
    }

    /// Waits until the node is as it should be.
    pub(crate) async fn until_node(&self, mut is: impl FnMut(&Node) -> bool) -> Node {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut seen = pin!(watcher(nodes, watcher::Config::default()));
        let found = tokio::time::timeout(FOREVER, async {
            loop {
                if let watcher::Event::Apply(node) | watcher::Event::InitApply(node) =
                    seen.next().await.unwrap().unwrap()
                    && is(&node)
                {
                    return node;
                }
            }
        });
        found.await.expect("the node gets there")
    }

    /// `TYPE REASON MESSAGE` of the events about a pod, in their order.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let parameters = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut events = self.api::<Event>().list(&parameters).await.unwrap().items;
        events.sort_by_key(|event| {
            event
                .metadata
                .resource_version
                .as_ref()
                .map(|version| version.parse::<u64>().unwrap())
        });
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        events
            .iter()
            .map(|event| {
                format!(
                    "{} {} {}",
                    text(&event.type_),
                    text(&event.reason),
                    text(&event.message)
                )
            })
            .collect()
    }

    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap()
    }

    /// What a container has logged.
    pub(crate) async fn logs(&self, pod: &Pod, options: LogOptions) -> Result<String, String> {
        let options = LogOptions {
            container: some_container(pod, &options.container),
            ..options
        };
        let stream = self
            .kubelet
            .logs(&reference(pod), options)
            .await
            .map_err(|error| error.to_string())?;
        let chunks: Vec<_> = stream.try_collect().await.unwrap();
        Ok(String::from_utf8(chunks.concat()).unwrap())
    }

    /// Runs a shell script in a container: what it says on either output.
    pub(crate) async fn sh(&self, pod: &Pod, script: &str) -> String {
        let options = ExecOptions {
            container: some_container(pod, ""),
            command: ["sh", "-c", script].map(str::to_owned).into(),
            stdout: true,
            stderr: true,
            ..ExecOptions::default()
        };
        let process = self.kubelet.exec(&reference(pod), options).await.unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        let (mut stdout, mut stderr) = (process.stdout.unwrap(), process.stderr.unwrap());
        let (a, b, _) = tokio::join!(
            stdout.read_to_string(&mut out),
            stderr.read_to_string(&mut err),
            process.exit
        );
        a.and(b).unwrap();
        out + &err
    }
}

async fn kubelet(
    client: &Client,
    runtime: &Hollow,
    clock: &Clock,
    dir: &Path,
    shutdown: &CancellationToken,
    change: impl FnOnce(&mut Options),
) -> Kubelet {
    // The file only has to exist: simulated containers run no program of the image's.
    let images = ImageStore::with_program(&dir.join("images"), &std::env::current_exe().unwrap()).unwrap();
    let mut options = Options::new("n1", dir.join("node"));
    options.clock = clock.clone();
    change(&mut options);
    let runtime = Arc::new(runtime.clone());
    Kubelet::start(client.clone(), runtime, Arc::new(images), options, shutdown.clone())
        .await
        .unwrap()
}

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn some_container(pod: &Pod, name: &str) -> String {
    if name.is_empty() {
        pod.spec.as_ref().unwrap().containers[0].name.clone()
    } else {
        name.to_owned()
    }
}

pub(crate) fn reference(pod: &Pod) -> PodRef {
    PodRef {
        namespace: pod.namespace().unwrap(),
        name: pod.name_any(),
        uid: pod.uid().unwrap(),
    }
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Status, reason and message of a condition.
pub(crate) fn condition(pod: &Pod, kind: &str) -> String {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let found = conditions.filter(|condition| condition.type_ == kind).map(|condition| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "{} {} {}",
            condition.status,
            text(&condition.reason),
            text(&condition.message)
        )
        .trim_end()
        .to_owned()
    });
    found.collect()
}

pub(crate) fn ready(pod: &Pod) -> bool {
    condition(pod, "Ready") == "True"
}

/// The status of a container of any kind; a default when there is none yet.
pub(crate) fn container(pod: &Pod, name: &str) -> ContainerStatus {
    let status = pod.status.clone().unwrap_or_default();
    let lists = [
        status.init_container_statuses,
        status.container_statuses,
        status.ephemeral_container_statuses,
    ];
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|status| status.name == name).unwrap_or_default()
}

/// `Running`, the reason of waiting or of the end.
pub(crate) fn state(pod: &Pod, name: &str) -> String {
    let state = container(pod, name).state.unwrap_or_default();
    let waiting = state.waiting.and_then(|waiting| waiting.reason);
    let ended = state.terminated.and_then(|ended| ended.reason);
    waiting
        .or(ended)
        .or(state.running.map(|_| "Running".into()))
        .unwrap_or_default()
}
