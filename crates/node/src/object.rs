//! ConfigMaps and Secrets that pods refer to.
//!
//! They are read when they are needed, so a container never starts with an old one. To keep mounted ones up to
//! date, each is watched as long as a pod here mounts it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Changes that a worker may be behind by before it has to look at everything again.
const BEHIND: usize = 256;

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    /// As error messages name it in front of an object: `configmap "a" not found`.
    fn lower(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    /// As error messages name it behind a key.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// Names one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Why an object's content is not to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    /// There is no such object.
    #[error("{} {:?} not found", .0.kind.lower(), .0.name)]
    Absent(Key),
    /// The API server did not answer, or refused.
    #[error("{0}")]
    Unavailable(String),
}

/// Reads ConfigMaps and Secrets, and tells when they change.
pub(crate) struct Objects {
    client: Client,
    shutdown: CancellationToken,
    changes: broadcast::Sender<Key>,
    follows: Mutex<HashMap<Key, Weak<Follow>>>,
}

impl Objects {
    pub(crate) fn new(client: Client, shutdown: CancellationToken) -> Self {
        Self {
            client,
            shutdown,
            changes: broadcast::Sender::new(BEHIND),
            follows: Mutex::default(),
        }
    }

    /// The object's data by key.
    pub(crate) async fn read(&self, key: &Key) -> Result<BTreeMap<String, Vec<u8>>, Missing> {
        match key.kind {
            Kind::ConfigMap => {
                let object: ConfigMap = self.get(key).await?;
                let text = object.data.unwrap_or_default().into_iter();
                let binary = object.binary_data.unwrap_or_default().into_iter();
                let mut data: BTreeMap<_, _> = text.map(|(name, value)| (name, value.into_bytes())).collect();
                data.extend(binary.map(|(name, value)| (name, value.0)));
                Ok(data)
            }
            Kind::Secret => {
                let object: Secret = self.get(key).await?;
                let data = object.data.unwrap_or_default();
                Ok(data.into_iter().map(|(name, value)| (name, value.0)).collect())
            }
        }
    }

    async fn get<K>(&self, key: &Key) -> Result<K, Missing>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.get_opt(&key.name).await {
            Ok(Some(object)) => Ok(object),
            Ok(None) => Err(Missing::Absent(key.clone())),
            Err(kube::Error::Api(status)) => Err(Missing::Unavailable(status.message.clone())),
            Err(error) => Err(Missing::Unavailable(error.to_string())),
        }
    }

    /// Tells of changes of these objects, from now on and as long as what is returned is kept. After a lag any of them may have
    /// changed. What is followed already goes on being followed by the same watch.
    pub(crate) fn follow(&self, keys: &[Key]) -> Vec<Arc<Follow>> {
        let mut follows = self.follows.lock().unwrap_or_else(PoisonError::into_inner);
        let followed = keys.iter().map(|key| {
            if let Some(known) = follows.get(key).and_then(Weak::upgrade) {
                return known;
            }
            let end = self.shutdown.child_token();
            match key.kind {
                Kind::ConfigMap => self.watch::<ConfigMap>(key.clone(), end.clone()),
                Kind::Secret => self.watch::<Secret>(key.clone(), end.clone()),
            }
            let follow = Arc::new(Follow(end.drop_guard()));
            follows.insert(key.clone(), Arc::downgrade(&follow));
            follow
        });
        let followed = followed.collect();
        follows.retain(|_, follow| follow.strong_count() > 0);
        followed
    }

    /// Tells which of the objects that anybody follows have changed.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Key> {
        self.changes.subscribe()
    }

    /// Watches one object: a kubelet may read no others than those that its pods name.
    fn watch<K>(&self, key: Key, end: CancellationToken)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let one = watcher::Config::default().fields(&format!("metadata.name={}", key.name));
        let changes = self.changes.clone();
        tokio::spawn(end.run_until_cancelled_owned(async move {
            let mut stream = std::pin::pin!(watcher(api, one).default_backoff());
            loop {
                match stream.try_next().await {
                    Ok(Some(watcher::Event::Init | watcher::Event::InitDone)) => {}
                    // Nobody listening is fine.
                    Ok(Some(_)) => _ = changes.send(key.clone()),
                    Ok(None) => return,
                    Err(error) => tracing::debug!(%error, ?key, "watch interrupted"),
                }
            }
        }));
    }
}

/// Somebody wants to know of an object's changes.
#[derive(Debug)]
pub(crate) struct Follow(#[expect(dead_code, reason = "ends the watch when it is dropped")] DropGuard);
