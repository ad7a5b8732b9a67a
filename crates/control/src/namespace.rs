//! Namespaces on their way out: empties them, then lets them go.
//!
//! Deleting a namespace only marks it. This controller deletes everything in it, pods first, and once a look through
//! all kinds finds nothing more, it removes the `kubernetes` finalizer, which is what the API server waits for. What does
//! not go at once (pods have a grace period, anything may have finalizers) is watched until it has gone.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ApiResource, ListParams, WatchEvent, WatchParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::{Client, Resource};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::caches::Caches;
use crate::controller::{Context, Controller, Watches};
use crate::discovery::{self, Served};
use crate::key::Key;
use crate::queue::Queue;
use crate::store::Change;
use crate::write::{Failure, Path, Plan, Verb, Write};

/// Wait before looking again when something could not be asked for or watched.
const AGAIN: Duration = Duration::from_secs(1);
/// While some objects have gone and others have not, the conditions are brought up to date this often.
const REPORT: Duration = Duration::from_secs(5);

type Meta = PartialObjectMeta<DynamicObject>;

/// The key (a namespace) that a deletion in it concerns.
pub(crate) fn of_deleted<K: Resource>(change: &Change<K>) -> Vec<Key> {
    let gone = change.old.as_ref().filter(|_| change.new.is_none());
    let namespace = gone.and_then(|object| object.meta().namespace.clone());
    namespace.map(|namespace| Key::new("", namespace)).into_iter().collect()
}

/// Whether objects may be created in a namespace.
pub(crate) fn is_active(caches: &Caches, name: &str) -> bool {
    caches.namespaces.named(name).is_some_and(|namespace| {
        let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
        namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
    })
}

/// The namespace controller.
#[derive(Default)]
pub(crate) struct Namespaces {
    queue: OnceLock<Arc<Queue<Key>>>,
    /// Those who wait for the rest of a namespace to go.
    waiting: Mutex<HashMap<Key, AbortHandle>>,
}

impl Namespaces {
    /// Has the namespace looked at again when what is left of a kind in it has gone.
    fn wait(&self, key: &Key, cx: &Context, rest: Rest) {
        let Some(queue) = self.queue.get().cloned() else {
            return;
        };
        let (client, key_again) = (cx.performer.client.clone(), key.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = rest.go(client).await {
                tracing::debug!(namespace = %key_again.name, %error, "cannot watch what is left, looking again");
                tokio::time::sleep(AGAIN).await;
            }
            queue.add(key_again);
        });
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = waiting.insert(key.clone(), task.abort_handle()) {
            before.abort();
        }
    }

    fn forget(&self, key: &Key) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = waiting.remove(key) {
            task.abort();
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let waiting = self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        waiting.values().for_each(AbortHandle::abort);
    }
}

/// Objects of one kind that do not go at once.
#[derive(Clone, Debug)]
struct Rest {
    kind: Served,
    namespace: String,
    count: usize,
    /// As of which version.
    version: String,
}

impl Rest {
    /// Returns when the last of them has gone, or when some have and the conditions should say so.
    async fn go(mut self, client: Client) -> Result<(), kube::Error> {
        let api = api(client, &self.namespace, &self.kind);
        let mut events = pin!(api.watch_metadata(&WatchParams::default(), &self.version).await?.fuse());
        let mut report: Option<Instant> = None;
        while self.count > 0 {
            let event = match report {
                Some(at) => match tokio::time::timeout_at(at, events.try_next()).await {
                    Ok(event) => event?,
                    Err(_) => return Ok(()),
                },
                None => events.try_next().await?,
            };
            match event {
                Some(WatchEvent::Deleted(_)) => {
                    self.count -= 1;
                    report.get_or_insert_with(|| Instant::now() + REPORT);
                }
                Some(WatchEvent::Error(status)) => return Err(kube::Error::Api(status)),
                Some(_) => {}
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

fn api(client: Client, namespace: &str, kind: &Served) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: kind.group.clone(),
        version: kind.version.clone(),
        api_version: kind.api_version(),
        kind: kind.kind.clone(),
        plural: kind.plural.clone(),
    };
    Api::namespaced_with(client, namespace, &resource)
}

impl Controller for Namespaces {
    const NAME: &'static str = "namespace-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        let _ = self.queue.set(watch.queue()); // asked once
        watch.own::<Namespace>();
    }

    /// What is in a namespace is in no cache, so nothing can be planned ahead.
    fn sync(&self, _: &Key, _: &Caches, _: Timestamp) -> Plan {
        Plan::nothing()
    }

    async fn reconcile(&self, key: &Key, cx: &Context) -> Result<Option<Duration>, Failure> {
        let Some(namespace) = cx.caches.namespaces.get(key) else {
            self.forget(key);
            return Ok(None);
        };
        if namespace.metadata.deletion_timestamp.is_none() || !awaits_us(&namespace) {
            return Ok(None);
        }
        let mut found = empty(&key.name, cx).await;
        let conditions = conditions(&namespace, &found, cx.clock.now_seconds());
        let known = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
        if known != Some(&conditions) {
            let mut updated = namespace.as_ref().clone();
            let status = updated.status.get_or_insert_default();
            status.phase = Some("Terminating".into());
            status.conditions = Some(conditions);
            // A lost race is made good by the next round.
            let written = cx
                .performer
                .write(Write::replace_status(&updated).fine_when_gone())
                .await;
            if let Err(failure) = written.as_ref().map_err(|failure| failure.code) {
                tracing::debug!(namespace = %key.name, code = failure, "status not written");
            }
        }
        if let Some(rest) = found.rest.take() {
            self.wait(key, cx, rest);
        }
        if found.discovery_failed.is_some() || !found.failed.is_empty() {
            return Ok(Some(AGAIN));
        }
        if !found.remaining.is_empty() {
            return Ok(None);
        }
        self.forget(key);
        finalize(key, cx).await.map(|()| None)
    }
}

fn awaits_us(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == "kubernetes"))
}

/// Removes the finalizer from the live object: the status written before has changed its version.
async fn finalize(key: &Key, cx: &Context) -> Result<(), Failure> {
    let path = Path::named::<Namespace>(key);
    let request = http::Request::get(path.as_str()).body(Vec::new());
    let request = request.map_err(|error| Failure::other(error.to_string()))?;
    let mut live: Namespace = match cx.performer.client.request(request).await.map_err(Failure::from) {
        Ok(live) => live,
        Err(failure) if failure.code == 404 => return Ok(()),
        Err(failure) => return Err(failure),
    };
    if let Some(finalizers) = live.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != "kubernetes");
    }
    let body = serde_json::to_value(&live).map_err(|error| Failure::other(error.to_string()))?;
    match cx.performer.send(Verb::Replace, &path.sub("finalize"), &body).await {
        Err(failure) if failure.code != 404 => Err(failure),
        _ => Ok(()),
    }
}

/// What a look through the namespace found.
#[derive(Default)]
struct Found {
    discovery_failed: Option<String>,
    /// Why content could not be deleted.
    failed: Vec<String>,
    /// Objects left, by kind.
    remaining: BTreeMap<String, usize>,
    /// Objects left, by finalizer.
    finalizers: BTreeMap<String, usize>,
    /// The first kind of which something is left.
    rest: Option<Rest>,
}

async fn empty(namespace: &str, cx: &Context) -> Found {
    let mut found = Found::default();
    let served = match discovery::discover(&cx.performer.client).await {
        Ok(served) => served,
        Err(failure) => {
            found.discovery_failed = Some(failure.message);
            return found;
        }
    };
    let deletable = |kind: &&Served| kind.namespaced && kind.can("list") && kind.can("delete");
    let (first, rest): (Vec<_>, Vec<_>) = served
        .iter()
        .filter(deletable)
        .partition(|kind| kind.group.is_empty() && kind.plural == "pods");
    // Pods go before what they may depend on (their network policies, secrets, quotas).
    for kinds in [first, rest] {
        for kind in kinds {
            if let Err(failure) = empty_kind(namespace, kind, cx, &mut found).await {
                found.failed.push(failure.message);
            }
        }
        if !found.remaining.is_empty() {
            break;
        }
    }
    found
}

/// Deletes the objects of one kind and counts those that do not go at once.
async fn empty_kind(namespace: &str, kind: &Served, cx: &Context, found: &mut Found) -> Result<(), Failure> {
    let (objects, _) = list(namespace, kind, cx).await?;
    if objects.is_empty() {
        return Ok(());
    }
    let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" });
    let all = kind.path(Some(namespace));
    if objects
        .iter()
        .all(|object| object.metadata.deletion_timestamp.is_some())
    {
        // asked for before
    } else if kind.can("deletecollection") {
        cx.performer.send(Verb::Delete, &Path::raw(all), &options).await?;
    } else {
        for object in &objects {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            let path = Path::raw(format!("{all}/{name}"));
            match cx.performer.send(Verb::Delete, &path, &options).await {
                Err(failure) if failure.code != 404 => return Err(failure),
                _ => {}
            }
        }
    }
    let (left, version) = list(namespace, kind, cx).await?;
    if left.is_empty() {
        return Ok(());
    }
    found.remaining.insert(kind.name(), left.len());
    found.rest.get_or_insert(Rest {
        kind: kind.clone(),
        namespace: namespace.to_owned(),
        count: left.len(),
        version,
    });
    for finalizer in left.into_iter().flat_map(|object| object.metadata.finalizers).flatten() {
        *found.finalizers.entry(finalizer).or_default() += 1;
    }
    Ok(())
}

/// The objects of a kind, and the version of the list.
async fn list(namespace: &str, kind: &Served, cx: &Context) -> Result<(Vec<Meta>, String), Failure> {
    let api = api(cx.performer.client.clone(), namespace, kind);
    let list = api.list_metadata(&ListParams::default()).await?;
    Ok((list.items, list.metadata.resource_version.unwrap_or_default()))
}

/// The five conditions that tell how far the deletion has come.
fn conditions(namespace: &Namespace, found: &Found, now: Timestamp) -> Vec<NamespaceCondition> {
    let counted = |counts: &BTreeMap<String, usize>, verb: &str| {
        let counted = counts
            .iter()
            .map(|(name, count)| format!("{name} {verb} {count} resource instances"));
        counted.collect::<Vec<_>>().join(", ")
    };
    let discovery = found
        .discovery_failed
        .clone()
        .map(|message| ("DiscoveryFailed", message));
    let content = (!found.failed.is_empty()).then(|| {
        let (count, failures) = (found.failed.len(), found.failed.join(", "));
        (
            "ContentDeletionFailed",
            format!("Failed to delete all resource types, {count} remaining: {failures}"),
        )
    });
    let remaining = (!found.remaining.is_empty()).then(|| {
        (
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", counted(&found.remaining, "has")),
        )
    });
    let finalizers = (!found.finalizers.is_empty()).then(|| {
        let counted = counted(&found.finalizers, "in");
        (
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {counted}"),
        )
    });
    let good = "All content successfully deleted, may be waiting on finalization";
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            discovery,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        ("NamespaceDeletionContentFailure", content, ("ContentDeleted", good)),
        (
            "NamespaceContentRemaining",
            remaining,
            ("ContentRemoved", "All content successfully removed"),
        ),
        (
            "NamespaceFinalizersRemaining",
            finalizers,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
    .into_iter()
    .map(|(kind, trouble, (good_reason, good_message))| {
        let status = if trouble.is_some() { "True" } else { "False" };
        let (reason, message) = trouble.unwrap_or_else(|| (good_reason, good_message.to_string()));
        let known = namespace
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let known = known
            .into_iter()
            .find(|known| known.type_ == kind && known.status == status);
        NamespaceCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: known
                .and_then(|known| known.last_transition_time.clone())
                .or(Some(Time(now))),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_holds_a_namespace_up_and_keep_their_times() {
        let early = Timestamp::from_second(1000).unwrap();
        let mut found = Found::default();
        found.remaining.insert("pods".into(), 2);
        found.finalizers.insert("example.com/hold".into(), 2);
        let mut namespace = Namespace::default();
        let first = conditions(&namespace, &found, early);
        let remaining = &first[3];
        assert_eq!(
            (remaining.status.as_str(), remaining.reason.as_deref()),
            ("True", Some("SomeResourcesRemain"))
        );
        let message = "Some resources are remaining: pods has 2 resource instances";
        assert_eq!(remaining.message.as_deref(), Some(message));
        let message =
            "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances";
        assert_eq!(first[4].message.as_deref(), Some(message));
        namespace.status.get_or_insert_default().conditions = Some(first);
        let later = conditions(&namespace, &Found::default(), Timestamp::from_second(2000).unwrap());
        assert_eq!(later[3].reason.as_deref(), Some("ContentRemoved"));
        assert_eq!(
            later[3].last_transition_time.as_ref().map(|time| time.0.as_second()),
            Some(2000)
        );
        assert_eq!(later[0].last_transition_time.as_ref().map(|time| time.0), Some(early));
    }
}
