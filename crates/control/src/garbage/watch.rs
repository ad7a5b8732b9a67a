//! Feeds the graph from a metadata watch per served kind.

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::ApiResource;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::Garbage;
use super::graph::{Object, Owner};
use crate::discovery::{self, Served};

/// Definitions come in bursts; look once they have settled.
const SETTLE: Duration = Duration::from_millis(500);
/// Next try when discovery has failed.
const RETRY: Duration = Duration::from_secs(2);

type Meta = PartialObjectMeta<DynamicObject>;

/// Watches every kind that can be listed, watched and deleted. Kinds come and go with the definitions of custom ones.
pub(crate) async fn watch_everything(garbage: Arc<Garbage>, client: Client) {
    let mut tasks = JoinSet::new();
    let mut running: BTreeMap<Served, AbortHandle> = BTreeMap::new();
    let (changed, mut changes) = mpsc::channel::<()>(1);
    loop {
        match discovery::discover(&client).await {
            Ok(served) => {
                let wanted: Vec<Served> = served.iter().filter(|kind| is_watched(kind)).cloned().collect();
                garbage.served().clone_from(&served);
                running.retain(|kind, task| {
                    let keep = wanted.contains(kind);
                    if !keep {
                        task.abort();
                    }
                    keep
                });
                for kind in wanted {
                    let (garbage, client, changed) = (garbage.clone(), client.clone(), changed.clone());
                    running
                        .entry(kind.clone())
                        .or_insert_with(|| tasks.spawn(follow(garbage, client, kind, changed)));
                }
                if changes.recv().await.is_none() {
                    return; // cannot be: this function holds a sender
                }
                tokio::time::sleep(SETTLE).await;
                let _ = changes.try_recv();
            }
            Err(failure) => {
                tracing::debug!(error = %failure, "discovery failed, trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn is_watched(kind: &Served) -> bool {
    kind.plural != "events" && ["list", "watch", "delete"].iter().all(|verb| kind.can(verb))
}

async fn follow(garbage: Arc<Garbage>, client: Client, kind: Served, changed: mpsc::Sender<()>) {
    let resource = ApiResource {
        group: kind.group.clone(),
        version: kind.version.clone(),
        api_version: kind.api_version(),
        kind: kind.kind.clone(),
        plural: kind.plural.clone(),
    };
    let defines_kinds = matches!(kind.plural.as_str(), "customresourcedefinitions" | "apiservices");
    let api: Api<Meta> = Api::all_with(client, &resource);
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    let mut listed: HashSet<String> = HashSet::new();
    let (mut known, mut settled) = (HashSet::new(), false);
    let gvk = Arc::new((kind.api_version(), kind.kind.clone()));
    while let Some(event) = events.next().await {
        let look = match event {
            Ok(Event::Init) => {
                listed.clear();
                Vec::new()
            }
            Ok(Event::InitApply(object)) => {
                listed.extend(object.uid());
                garbage.graph().put(read(&kind, &gvk, object))
            }
            Ok(Event::InitDone) => {
                let gone: Vec<String> = known.difference(&listed).cloned().collect();
                known.clone_from(&listed);
                settled = true;
                let mut graph = garbage.graph();
                gone.iter().flat_map(|uid| graph.remove(uid)).collect()
            }
            Ok(Event::Apply(object)) => {
                known.extend(object.uid());
                garbage.graph().put(read(&kind, &gvk, object))
            }
            Ok(Event::Delete(object)) => {
                let uid = object.uid().unwrap_or_default();
                known.remove(&uid);
                garbage.graph().remove(&uid)
            }
            Err(error) => {
                tracing::debug!(kind = %kind.name(), %error, "watch failed, trying again");
                continue;
            }
        };
        if defines_kinds && settled {
            let _ = changed.try_send(()); // full: a look is due anyway
        }
        look.into_iter().for_each(|uid| garbage.queue.add(uid));
    }
}

fn read(kind: &Served, gvk: &Arc<(String, String)>, object: Meta) -> Object {
    let meta = object.metadata;
    let owners = meta.owner_references.into_iter().flatten();
    let namespace = meta.namespace.unwrap_or_default();
    let collection = kind.path(Some(namespace.as_str()).filter(|namespace| !namespace.is_empty()));
    Object {
        uid: meta.uid.unwrap_or_default(),
        gvk: gvk.clone(),
        path: format!("{collection}/{}", meta.name.unwrap_or_default()),
        namespace,
        version: meta.resource_version.unwrap_or_default(),
        owners: owners
            .map(|owner| Owner {
                uid: owner.uid,
                api_version: owner.api_version,
                kind: owner.kind,
                name: owner.name,
                blocking: owner.block_owner_deletion == Some(true),
            })
            .collect(),
        finalizers: meta.finalizers.unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
    }
}
