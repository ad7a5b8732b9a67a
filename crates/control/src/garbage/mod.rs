//! The garbage collector: deletes what has lost its owners.
//!
//! An object names its owners by UID in `metadata.ownerReferences`. The collector watches the metadata of every kind,
//! keeps a graph of who owns whom ([`graph`]), and
//! * deletes an object when none of its owners exists any more (*background*: the owner goes first);
//! * when an owner waits with the `foregroundDeletion` finalizer, deletes its dependents first and lets it go then;
//! * when it waits with the `orphan` finalizer, cuts the dependents loose and lets it go then.

mod graph;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::PartialObjectMeta;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::discovery::Served;
use crate::event::Note;
use crate::queue::Queue;
use crate::write::{Failure, Path, Performer, Verb};

use graph::{Graph, Object, Owner, Step};

/// Its field manager and log name.
pub(crate) const NAME: &str = "garbage-collector";
/// The service account that it acts as.
pub(crate) const ACCOUNT: &str = "generic-garbage-collector";
const WORKERS: usize = 10;

/// The collector's state.
pub(crate) struct Garbage {
    graph: Mutex<Graph>,
    /// UIDs to look at.
    queue: Queue<String>,
    served: Mutex<Vec<Served>>,
}

impl Garbage {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            graph: Mutex::default(),
            queue: Queue::new(),
            served: Mutex::default(),
        })
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, performer: Performer, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(watch::watch_everything(self.clone(), performer.client.clone()));
        let ready = self.clone();
        tasks.spawn(async move {
            let mut workers = JoinSet::new();
            for _ in 0..WORKERS {
                workers.spawn(ready.clone().work(performer.clone()));
            }
            workers.join_all().await;
        });
        // Dropping the set ends its tasks.
        shutdown.cancelled().await;
    }

    async fn work(self: Arc<Self>, performer: Performer) {
        loop {
            let uid = self.queue.next().await;
            match self.process(&uid, &performer).await {
                Ok(()) => self.queue.forget(&uid),
                Err(failure) => {
                    tracing::debug!(uid, error = %failure, "garbage collection failed, trying again");
                    self.queue.retry(uid.clone());
                }
            }
            self.queue.done(&uid);
        }
    }

    /// Takes the next step for one object.
    async fn process(&self, uid: &str, performer: &Performer) -> Result<(), Failure> {
        let mut found = HashMap::new();
        loop {
            let step = self.graph().step(uid, &found);
            if let Step::Delete(object, _) | Step::Disown(object, _) | Step::Unblock(object) = &step {
                for owner in self.graph().foreign_owners(object) {
                    performer.record(foreign(object, &owner));
                }
            }
            match step {
                Step::Nothing => return Ok(()),
                Step::LookUp(owner, namespace) => {
                    let exists = self.look_up(&owner, &namespace, performer).await?;
                    if !exists {
                        self.graph().remember_absent(&owner.uid);
                    }
                    found.insert(owner.uid, exists);
                }
                Step::Visit(dependents) => {
                    dependents.into_iter().for_each(|dependent| self.queue.add(dependent));
                    return Ok(());
                }
                Step::Delete(object, policy) => return self.delete(&object, policy, performer).await,
                Step::Unblock(object) => {
                    self.unblock(&object, performer).await?;
                    // It has changed by that.
                    let current = live(performer, &object.path).await?;
                    let version = current.and_then(|current| current.metadata.resource_version);
                    let Some(version) = version else { return Ok(()) };
                    return self
                        .delete(&Object { version, ..object }, "Foreground", performer)
                        .await;
                }
                Step::Disown(object, owners) => return self.disown(&object, &owners, performer).await,
                Step::Orphan(object, dependents) => {
                    for dependent in &dependents {
                        self.disown(dependent, std::slice::from_ref(&object.uid), performer)
                            .await?;
                    }
                    return self.remove_finalizer(&object, graph::ORPHAN, performer).await;
                }
                Step::LetGo(object) => return self.remove_finalizer(&object, graph::FOREGROUND, performer).await,
            }
        }
    }

    /// Whether an owner that the graph does not know exists. Names and kinds prove nothing, the UID does.
    async fn look_up(&self, owner: &Owner, namespace: &str, performer: &Performer) -> Result<bool, Failure> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = self
            .served()
            .iter()
            .find(|kind| kind.group == group && kind.kind == owner.kind)
            .cloned();
        let Some(kind) = kind else {
            // A kind that is not served (yet) may be served later: better to keep too much.
            return Err(Failure::other(format!(
                "no kind {} in {}",
                owner.kind, owner.api_version
            )));
        };
        let namespace = Some(namespace).filter(|_| kind.namespaced);
        if kind.namespaced && namespace == Some("") {
            return Ok(false); // a cluster-scoped object cannot have a namespaced owner
        }
        match live(performer, &format!("{}/{}", kind.path(namespace), owner.name)).await? {
            Some(object) => Ok(object.metadata.uid.as_deref() == Some(&owner.uid)),
            None => Ok(false),
        }
    }

    async fn delete(&self, object: &Object, policy: &str, performer: &Performer) -> Result<(), Failure> {
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": policy,
            "preconditions": { "uid": object.uid, "resourceVersion": object.version },
        });
        forgive(
            performer
                .send(Verb::Delete, &Path::raw(object.path.clone()), &options)
                .await,
        )
    }

    /// Removes references to owners.
    async fn disown(&self, object: &Object, owners: &[String], performer: &Performer) -> Result<(), Failure> {
        let Some(live) = live(performer, &object.path).await? else {
            return Ok(());
        };
        if live.metadata.uid.as_deref() != Some(&object.uid) {
            return Ok(());
        }
        let rest: Vec<_> = live.metadata.owner_references.into_iter().flatten().collect();
        let rest: Vec<_> = rest.into_iter().filter(|owner| !owners.contains(&owner.uid)).collect();
        let patch = json!({ "metadata": {
            "uid": object.uid,
            "resourceVersion": live.metadata.resource_version,
            "ownerReferences": if rest.is_empty() { None } else { Some(rest) },
        }});
        forgive(
            performer
                .send(Verb::Merge, &Path::raw(object.path.clone()), &patch)
                .await,
        )
    }

    /// Lets no owner wait for this object.
    async fn unblock(&self, object: &Object, performer: &Performer) -> Result<(), Failure> {
        let Some(live) = live(performer, &object.path).await? else {
            return Ok(());
        };
        let mut owners = live.metadata.owner_references.unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = owner.block_owner_deletion.map(|_| false);
        }
        let patch = json!({ "metadata": {
            "uid": object.uid,
            "resourceVersion": live.metadata.resource_version,
            "ownerReferences": owners,
        }});
        forgive(
            performer
                .send(Verb::Merge, &Path::raw(object.path.clone()), &patch)
                .await,
        )
    }

    async fn remove_finalizer(&self, object: &Object, finalizer: &str, performer: &Performer) -> Result<(), Failure> {
        let Some(live) = live(performer, &object.path).await? else {
            return Ok(());
        };
        let finalizers = live.metadata.finalizers.unwrap_or_default();
        if live.metadata.uid.as_deref() != Some(&object.uid) || !finalizers.iter().any(|known| known == finalizer) {
            return Ok(());
        }
        let rest: Vec<_> = finalizers.into_iter().filter(|known| known != finalizer).collect();
        let patch = json!({ "metadata": {
            "uid": object.uid,
            "resourceVersion": live.metadata.resource_version,
            "finalizers": if rest.is_empty() { None } else { Some(rest) },
        }});
        forgive(
            performer
                .send(Verb::Merge, &Path::raw(object.path.clone()), &patch)
                .await,
        )
    }

    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn served(&self) -> MutexGuard<'_, Vec<Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells that an owner does not count.
fn foreign(object: &Object, owner: &Owner) -> Note {
    let (api_version, kind) = object.gvk.as_ref();
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let namespace = &object.namespace;
    Note {
        regarding: ObjectReference {
            api_version: some(api_version),
            kind: some(kind),
            namespace: some(namespace),
            name: object.path.rsplit('/').next().and_then(some),
            uid: some(&object.uid),
            ..ObjectReference::default()
        },
        warning: true,
        reason: "OwnerRefInvalidNamespace",
        message: format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
            owner.api_version, owner.kind, owner.name, owner.uid
        ),
        action: None,
    }
}

/// The metadata of a live object.
async fn live(performer: &Performer, path: &str) -> Result<Option<PartialObjectMeta>, Failure> {
    let request = http::Request::get(path)
        .header(
            http::header::ACCEPT,
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        )
        .body(Vec::new())
        .map_err(|error| Failure::other(error.to_string()))?;
    match performer.client.request(request).await.map_err(Failure::from) {
        Ok(object) => Ok(Some(object)),
        Err(failure) if failure.code == 404 => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Gone is as good as done. A conflict is not: the object has changed, and has to be looked at again.
fn forgive<T>(result: Result<T, Failure>) -> Result<(), Failure> {
    match result {
        Err(failure) if failure.code != 404 => Err(failure),
        _ => Ok(()),
    }
}
