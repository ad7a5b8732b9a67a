//! Static pods and component pods: pods that this node has by itself, and their mirrors in the API server.
//!
//! A static pod is run from its manifest. What the API server shows is a copy that carries its status; deleting or
//! editing the copy changes nothing: it is put back. A component pod is a copy of nothing but a description of a part
//! of this process.

mod component;
mod manifest;
#[cfg_attr(not(target_os = "linux"), path = "unwatched.rs")]
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::pod::{self, Desired, HASH, Key, MIRROR, Mirror, annotation, key, uid};

pub(crate) use component::log as component_log;

/// Manifests are read again after this time.
const SCAN: Duration = Duration::from_secs(20);
/// A mirror that could not be made is tried again after this time.
const RETRY: Duration = Duration::from_secs(5);

/// A pod of this node's own.
struct Own {
    pod: Arc<Pod>,
    /// It has a worker; a component has not.
    run: bool,
    mirror: Option<Arc<Pod>>,
}

/// Keeps the mirrors, and runs the static pods.
pub(crate) struct MirrorPods {
    cx: Arc<Context>,
    own: BTreeMap<Key, Own>,
    mirrors: mpsc::UnboundedReceiver<Mirror>,
    owner: Option<OwnerReference>,
    /// When this process began to show components.
    since: Timestamp,
}

/// Keeps them until the kubelet shuts down.
pub(crate) async fn keep(cx: Arc<Context>, mirrors: mpsc::UnboundedReceiver<Mirror>) {
    let mut pods = MirrorPods {
        own: BTreeMap::new(),
        mirrors,
        owner: None,
        since: cx.clock.now_seconds(),
        cx: cx.clone(),
    };
    for description in &cx.options.components {
        let pod = Arc::new(component::pod(description, &cx.options.node_name));
        pods.own.insert(
            key(&pod),
            Own {
                pod,
                run: false,
                mirror: None,
            },
        );
    }
    let mut scans = tokio::time::interval(SCAN);
    let mut changes = cx.options.manifest_dir.as_deref().and_then(watch::Changes::of);
    let mut unsettled = !pods.settle_all().await;
    loop {
        tokio::select! {
            Some(mirror) = pods.mirrors.recv() => unsettled |= !pods.mirrored(mirror).await,
            _ = scans.tick(), if cx.options.manifest_dir.is_some() => unsettled |= !pods.scan().await,
            () = watch::changed(&mut changes) => unsettled |= !pods.scan().await,
            () = tokio::time::sleep(RETRY), if unsettled => unsettled = !pods.settle_all().await,
        }
    }
}

impl MirrorPods {
    /// A mirror appeared, changed or went. False when something could not be put right.
    async fn mirrored(&mut self, mirror: Mirror) -> bool {
        match mirror {
            Mirror::Seen(pod) => {
                let key = key(&pod);
                match self.own.get_mut(&key) {
                    Some(own) => {
                        own.mirror = Some(pod);
                        self.settle(&key).await
                    }
                    // A mirror of nothing.
                    None => self.delete(&pod).await,
                }
            }
            Mirror::Gone(key) => match self.own.get_mut(&key) {
                Some(own) => {
                    own.mirror = None;
                    self.settle(&key).await
                }
                None => true,
            },
        }
    }

    /// Reads the manifests: starts what is new, ends what is gone, replaces what has changed.
    async fn scan(&mut self) -> bool {
        let Some(dir) = &self.cx.options.manifest_dir else {
            return true;
        };
        let found: BTreeMap<Key, Arc<Pod>> = manifest::read(dir, &self.cx.options.node_name)
            .into_iter()
            .map(|pod| (key(&pod), Arc::new(pod)))
            .collect();
        let stale: Vec<Key> = self
            .own
            .iter()
            .filter(|(_, own)| own.run)
            .map(|(key, _)| key.clone())
            .collect();
        let mut settled = true;
        for key in stale {
            let same = found.get(&key).is_some_and(|pod| uid(pod) == uid(&self.own[&key].pod));
            if same {
                continue;
            }
            if let Some(own) = self.own.remove(&key) {
                if let Some(entry) = self.cx.pods.get(&key) {
                    entry.desired.send_modify(|desired| *desired = Desired::default());
                }
                if let Some(mirror) = own.mirror {
                    settled &= self.delete(&mirror).await;
                }
            }
        }
        for (key, pod) in found {
            if !self.own.contains_key(&key) && !self.cx.stopping.is_cancelled() {
                pod::spawn(&self.cx, pod.clone(), None);
                self.own.insert(
                    key.clone(),
                    Own {
                        pod,
                        run: true,
                        mirror: None,
                    },
                );
                settled &= self.settle(&key).await;
            }
        }
        settled
    }

    async fn settle_all(&mut self) -> bool {
        let keys: Vec<Key> = self.own.keys().cloned().collect();
        let mut settled = true;
        for key in keys {
            settled &= self.settle(&key).await;
        }
        settled
    }

    /// Makes the mirror be what it should be, as far as one request goes: what it causes comes back as news.
    async fn settle(&mut self, key: &Key) -> bool {
        let Some(own) = self.own.get(key) else {
            return true;
        };
        let (pod, run) = (own.pod.clone(), own.run);
        let Some(mirror) = own.mirror.clone() else {
            if run {
                self.tell(key, &pod, None);
            }
            return self.create(&pod).await;
        };
        let leaving = mirror.metadata.deletion_timestamp.is_some();
        if leaving || annotation(&mirror, MIRROR) != annotation(&pod, HASH) {
            return self.delete(&mirror).await;
        }
        if run {
            self.tell(key, &pod, Some(mirror));
            return true;
        }
        self.show_component(&mirror).await
    }

    /// Tells a static pod's worker where to report.
    fn tell(&self, key: &Key, pod: &Arc<Pod>, api: Option<Arc<Pod>>) {
        if let Some(entry) = self.cx.pods.get(key).filter(|entry| entry.uid == uid(pod)) {
            let desired = Desired {
                pod: Some(pod.clone()),
                api,
            };
            entry.desired.send_modify(|known| *known = desired);
        }
    }

    async fn create(&mut self, pod: &Pod) -> bool {
        let mut mirror = pod.clone();
        mirror.metadata.uid = None;
        let hash = annotation(pod, HASH).unwrap_or_default().to_owned();
        mirror
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(MIRROR.into(), hash);
        mirror.metadata.owner_references = self.owner().await.map(|owner| vec![owner]);
        let (namespace, name) = key(pod);
        let pods: Api<Pod> = Api::namespaced(self.cx.client.clone(), &namespace);
        match pods.create(&PostParams::default(), &mirror).await {
            Ok(_) => true,
            Err(kube::Error::Api(answer)) if answer.reason == "AlreadyExists" => true,
            Err(error) => {
                tracing::debug!(%namespace, %name, %error, "mirror pod not made");
                false
            }
        }
    }

    /// The node owns its mirrors.
    async fn owner(&mut self) -> Option<OwnerReference> {
        if self.owner.is_none() {
            let nodes: Api<Node> = Api::all(self.cx.client.clone());
            let node = nodes.get(&self.cx.options.node_name).await.ok()?;
            self.owner = Some(OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: self.cx.options.node_name.clone(),
                uid: node.metadata.uid?,
                controller: Some(true),
                block_owner_deletion: None,
            });
        }
        self.owner.clone()
    }

    async fn delete(&self, mirror: &Pod) -> bool {
        let (namespace, name) = key(mirror);
        let pods: Api<Pod> = Api::namespaced(self.cx.client.clone(), &namespace);
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: mirror.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match pods.delete(&name, &parameters).await {
            Ok(_) => true,
            Err(kube::Error::Api(answer)) => answer.code == 404 || answer.code == 409,
            Err(_) => false,
        }
    }

    /// A component runs as long as this process does.
    async fn show_component(&self, mirror: &Pod) -> bool {
        let status = component::status(mirror, self.cx.options.node_ip, &self.cx.scheme(), self.since);
        let Some(status) = status else {
            return true;
        };
        let (namespace, name) = key(mirror);
        let pods: Api<Pod> = Api::namespaced(self.cx.client.clone(), &namespace);
        let body = json!({ "metadata": { "uid": mirror.metadata.uid }, "status": status });
        let sent = pods
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(body))
            .await;
        sent.is_ok()
    }
}
