//! What keeps a store true.

use std::fmt::Debug;
use std::pin::pin;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::store::Store;

/// Keeps one store true: list, then watch from there, again from the start when the history is gone (410). `transform` drops
/// what nobody reads before an object is kept. Does not end.
pub async fn reflect<K>(api: Api<K>, selection: watcher::Config, transform: fn(&mut K), store: &Store<K>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = pin!(watcher::watcher(api, selection).default_backoff());
    let mut list = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => list.clear(),
            Ok(Event::InitApply(mut object)) => {
                transform(&mut object);
                list.push(object);
            }
            Ok(Event::InitDone) => store.replace(std::mem::take(&mut list)),
            Ok(Event::Apply(mut object)) => {
                transform(&mut object);
                store.apply(object);
            }
            Ok(Event::Delete(object)) => store.delete(&object),
            Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "watch failed, trying again"),
        }
    }
}
