//! ConfigMaps and Secrets that pods refer to.
//!
//! They are read when they are needed, so a container never starts with an old one. To keep mounted ones up to
//! date, one watch per kind starts with the first pod that mounts one and tells the workers which object has changed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Once;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

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
    config_maps: Once,
    secrets: Once,
}

impl Objects {
    pub(crate) fn new(client: Client, shutdown: CancellationToken) -> Self {
        Self {
            client,
            shutdown,
            changes: broadcast::Sender::new(BEHIND),
            config_maps: Once::new(),
            secrets: Once::new(),
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

    /// Tells of changes of objects of this kind from now on. After a lag anything may have changed.
    pub(crate) fn changes(&self, kind: Kind) -> broadcast::Receiver<Key> {
        match kind {
            Kind::ConfigMap => self.config_maps.call_once(|| self.watch::<ConfigMap>(kind)),
            Kind::Secret => self.secrets.call_once(|| self.watch::<Secret>(kind)),
        }
        self.changes.subscribe()
    }

    fn watch<K>(&self, kind: Kind)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let stream = watcher(Api::<K>::all(self.client.clone()), watcher::Config::default());
        let (changes, shutdown) = (self.changes.clone(), self.shutdown.clone());
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            let mut stream = std::pin::pin!(stream.default_backoff());
            loop {
                let object = match stream.try_next().await {
                    Ok(Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) => object,
                    Ok(Some(watcher::Event::Delete(object))) => object,
                    Ok(Some(_)) => continue,
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(%error, ?kind, "watch interrupted");
                        continue;
                    }
                };
                let meta = object.meta();
                // Nobody listening is fine.
                let _ = changes.send(Key {
                    kind,
                    namespace: meta.namespace.clone().unwrap_or_default(),
                    name: meta.name.clone().unwrap_or_default(),
                });
            }
        }));
    }
}
