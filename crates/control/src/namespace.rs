//! Namespaces on their way out: empties them, then lets them go.
//!
//! Deleting a namespace only marks it. This controller deletes everything in it, pods first, and once a look through
//! all kinds finds nothing more, it removes the `kubernetes` finalizer, which is what the API server waits for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::core::PartialObjectMeta;
use kube::core::params::ListParams;
use serde_json::{Value, json};

use crate::caches::Caches;
use crate::controller::{Context, Controller, Watches};
use crate::discovery::{self, Served};
use crate::key::Key;
use crate::store::Change;
use crate::write::{Failure, Path, Plan, Verb, Write};

/// Wait before looking again whether what is being deleted has gone.
const AGAIN: Duration = Duration::from_secs(1);

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
pub(crate) struct Namespaces;

impl Controller for Namespaces {
    const NAME: &'static str = "namespace-controller";

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch.own::<Namespace>();
    }

    /// What is in a namespace is in no cache, so nothing can be planned ahead.
    fn sync(&self, _: &Key, _: &Caches, _: Timestamp) -> Plan {
        Plan::nothing()
    }

    async fn reconcile(&self, key: &Key, cx: &Context) -> Result<Option<Duration>, Failure> {
        let Some(namespace) = cx.caches.namespaces.get(key) else {
            return Ok(None);
        };
        if namespace.metadata.deletion_timestamp.is_none() || !awaits_us(&namespace) {
            return Ok(None);
        }
        let found = empty(&key.name, cx).await;
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
        if !found.is_nothing() {
            return Ok(Some(AGAIN));
        }
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
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.discovery_failed.is_none() && self.failed.is_empty() && self.remaining.is_empty()
    }
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
    let objects = list(namespace, kind, cx).await?;
    if objects.is_empty() {
        return Ok(());
    }
    let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" });
    for object in &objects {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let path = Path::raw(format!("{}/{name}", kind.path(Some(namespace))));
        if object.metadata.deletion_timestamp.is_some() {
            continue; // asked for before
        }
        match cx.performer.send(Verb::Delete, &path, &options).await {
            Err(failure) if failure.code != 404 => return Err(failure),
            _ => {}
        }
    }
    for object in list(namespace, kind, cx).await? {
        *found.remaining.entry(kind.name()).or_default() += 1;
        for finalizer in object.metadata.finalizers.into_iter().flatten() {
            *found.finalizers.entry(finalizer).or_default() += 1;
        }
    }
    Ok(())
}

async fn list(namespace: &str, kind: &Served, cx: &Context) -> Result<Vec<PartialObjectMeta>, Failure> {
    let request = kube::core::Request::new(kind.path(Some(namespace)));
    let request = request
        .list_metadata(&ListParams::default())
        .map_err(|e| Failure::other(e.to_string()))?;
    let list: Value = cx.performer.client.request(request).await?;
    let items = list.get("items").cloned().unwrap_or_default();
    serde_json::from_value(items).map_err(|error| Failure::other(error.to_string()))
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
