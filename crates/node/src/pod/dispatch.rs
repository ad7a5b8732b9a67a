//! From the watch on this node's pods to their workers.

use std::collections::HashSet;
use std::sync::Arc;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::mpsc;

use super::{Desired, Key, MIRROR, key, spawn, uid};
use crate::context::Context;

/// Told to whoever keeps mirror pods: it appeared or changed, or it is gone.
#[derive(Clone, Debug)]
pub(crate) enum Mirror {
    Seen(Arc<Pod>),
    Gone(Key),
}

/// Feeds the workers.
pub(crate) struct Dispatcher {
    pub(crate) cx: Arc<Context>,
    /// Mirror pods are not run; `MirrorPods` decides about them.
    pub(crate) mirrors: mpsc::UnboundedSender<Mirror>,
}

/// Watches the pods bound to this node until the kubelet shuts down.
pub(crate) async fn dispatch(mut dispatcher: Dispatcher) {
    let cx = dispatcher.cx.clone();
    let selector = format!("spec.nodeName={}", cx.options.node_name);
    let stream = watcher(
        Api::<Pod>::all(cx.client.clone()),
        watcher::Config::default().fields(&selector),
    );
    let mut stream = std::pin::pin!(stream.default_backoff());
    // Names seen in the present listing.
    let mut listed: HashSet<Key> = HashSet::new();
    loop {
        match stream.try_next().await {
            Ok(Some(watcher::Event::Init)) => listed.clear(),
            Ok(Some(watcher::Event::InitApply(pod))) => {
                listed.insert(key(&pod));
                dispatcher.seen(pod);
            }
            Ok(Some(watcher::Event::InitDone)) => {
                for key in cx.pods.keys().into_iter().filter(|key| !listed.contains(key)) {
                    dispatcher.gone(&key, None);
                }
            }
            Ok(Some(watcher::Event::Apply(pod))) => dispatcher.seen(pod),
            Ok(Some(watcher::Event::Delete(pod))) => dispatcher.gone(&key(&pod), Some(uid(&pod))),
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "watch of pods interrupted"),
        }
    }
}

impl Dispatcher {
    fn seen(&mut self, pod: Pod) {
        let pod = Arc::new(pod);
        if super::annotation(&pod, MIRROR).is_some() {
            let _ = self.mirrors.send(Mirror::Seen(pod)); // `MirrorPods` ends with the kubelet
            return;
        }
        match self.cx.pods.get(&key(&pod)) {
            Some(entry) if entry.uid == uid(&pod) => {
                entry.desired.send_modify(|desired| {
                    // A worker that was told to end does not come back to life.
                    if desired.pod.is_some() {
                        *desired = Desired {
                            pod: Some(pod.clone()),
                            api: Some(pod),
                        };
                    }
                });
            }
            _ if self.cx.stopping.is_cancelled() => {}
            _ => spawn(&self.cx, pod.clone(), Some(pod)),
        }
    }

    /// The object is gone; with a UID, the one that had it.
    fn gone(&mut self, key: &Key, uid_gone: Option<&str>) {
        let Some(entry) = self.cx.pods.get(key) else {
            let _ = self.mirrors.send(Mirror::Gone(key.clone())); // likewise
            return;
        };
        // The UID of a static pod's worker is never that of an object.
        let own = entry
            .desired
            .borrow()
            .api
            .as_deref()
            .is_some_and(|api| uid(api) == entry.uid);
        if !own {
            let _ = self.mirrors.send(Mirror::Gone(key.clone())); // likewise
        } else if uid_gone.is_none_or(|gone| gone == entry.uid) {
            entry.desired.send_modify(|desired| *desired = Desired::default());
        }
    }
}
