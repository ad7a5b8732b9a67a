//! The pods of this node, for the dispatcher that feeds their workers and for clients that want their logs and processes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use super::{Key, uid};
use crate::container::Instance;
use crate::log::ContainerLog;

/// What a worker is told: the pod to run, and the object to report to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Desired {
    /// Nothing when the pod is to be no more, at once.
    pub(crate) pod: Option<Arc<Pod>>,
    /// The same object; or a static pod's mirror, if there is one now.
    pub(crate) api: Option<Arc<Pod>>,
}

/// What clients may see of a container.
#[derive(Clone, Default)]
pub(crate) struct Shown {
    pub(crate) instance: Option<Arc<Instance>>,
    /// Why it waits, if it does.
    pub(crate) waiting: Option<String>,
    /// The instance that runs or ran last.
    pub(crate) current: Option<Arc<ContainerLog>>,
    /// The one that `lastState` tells of.
    pub(crate) previous: Option<Arc<ContainerLog>>,
}

/// What clients may see of a pod.
#[derive(Default)]
pub(crate) struct Live {
    /// ID of the sandbox, while there is one.
    pub(crate) sandbox: Option<String>,
    pub(crate) containers: HashMap<String, Shown>,
}

/// One pod.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The UID that the worker goes by.
    pub(crate) uid: String,
    pub(crate) desired: watch::Sender<Desired>,
    pub(crate) live: Arc<Mutex<Live>>,
}

impl Entry {
    /// Runs `f` on what is shown.
    pub(crate) fn look<T>(&self, f: impl FnOnce(&Live) -> T) -> T {
        f(&self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is it the pod that clients call by this UID?
    pub(crate) fn is(&self, uid_asked: &str) -> bool {
        let desired = self.desired.borrow();
        let api = desired.api.as_deref().map(uid);
        uid_asked.is_empty() || self.uid == uid_asked || api == Some(uid_asked)
    }
}

/// The pods of this node by name.
#[derive(Default)]
pub(crate) struct Registry {
    pods: Mutex<HashMap<Key, Entry>>,
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        self.lock().get(key).cloned()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().values().cloned().collect()
    }

    /// A pod of the same name that was there before is told that it is to be no more.
    pub(crate) fn insert(&self, key: Key, entry: Entry) {
        if let Some(old) = self.lock().insert(key, entry) {
            old.desired.send_modify(|desired| *desired = Desired::default());
        }
    }

    /// Forgets the pod unless another one has taken its name.
    pub(crate) fn remove(&self, key: &Key, uid: &str) {
        let mut pods = self.lock();
        if pods.get(key).is_some_and(|entry| entry.uid == uid) {
            pods.remove(key);
        }
    }
}
