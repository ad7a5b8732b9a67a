//! The shared cache of one kind: what an informer last saw of every object.
//!
//! Clients never ask the API server "what is there?"; they read these stores, which one watch per kind keeps up to
//! date. A store has a single writer (its informer), hands out `Arc`s, and tells its handlers about every change
//! after it has taken effect, so that a handler, and the sync it queues, sees at least that change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Resource;
use tokio::sync::watch;

use crate::key::Key;

/// One change of one object. At least one side is set.
pub struct Change<K> {
    /// The object before; `None` when it has just appeared.
    pub old: Option<Arc<K>>,
    /// The object now; `None` when it has gone.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// Both sides that exist, the old one first.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(self.new.iter())
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;
/// The index terms of an object, such as `controller/UID`.
pub type Terms<K> = fn(&K) -> Vec<String>;

/// The cache of one kind.
pub struct Store<K> {
    objects: RwLock<Objects<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    terms: Terms<K>,
    synced: watch::Sender<bool>,
}

struct Objects<K> {
    by_key: BTreeMap<Key, Arc<K>>,
    by_term: HashMap<String, BTreeSet<Key>>,
}

impl<K: Resource> Store<K> {
    /// An empty store, indexed by what `terms` says of each object.
    pub fn new(terms: Terms<K>) -> Self {
        Self {
            objects: RwLock::new(Objects {
                by_key: BTreeMap::new(),
                by_term: HashMap::new(),
            }),
            handlers: Mutex::default(),
            terms,
            synced: watch::Sender::new(false),
        }
    }

    /// The object of that name, if the cache has it.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().by_key.get(key).cloned()
    }

    /// The cluster-scoped object of that name.
    pub fn named(&self, name: &str) -> Option<Arc<K>> {
        self.get(&Key::new("", name))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().by_key.len()
    }

    /// Every object, ordered by namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().by_key.values().cloned().collect()
    }

    /// The objects of one namespace, ordered by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read()
            .by_key
            .range(Key::new(namespace, "")..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects whose index terms hold `term`, ordered by namespace and name.
    pub fn with_term(&self, term: &str) -> Vec<Arc<K>> {
        let objects = self.read();
        let keys = objects.by_term.get(term);
        keys.into_iter()
            .flatten()
            .filter_map(|key| objects.by_key.get(key).cloned())
            .collect()
    }

    /// Calls `handler` on every later change. Handlers must not block: they only queue keys.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.lock_handlers().push(Box::new(handler));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves when the first complete list is in.
    pub async fn wait_synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Takes over an added or changed object.
    pub fn apply(&self, object: K) {
        let new = Arc::new(object);
        let old = self.write().put(new.clone(), self.terms);
        self.tell(&Change { old, new: Some(new) });
    }

    /// Forgets an object. `last` is its final state as the watch reported it.
    pub fn delete(&self, last: &K) {
        let old = self.write().remove(&Key::of(last), self.terms);
        if old.is_some() {
            self.tell(&Change { old, new: None });
        }
    }

    /// Takes over a complete list: what is not in it has gone unseen while the watch was down.
    pub fn replace(&self, list: Vec<K>) {
        let mut changes = Vec::with_capacity(list.len());
        {
            let mut objects = self.write();
            let kept: BTreeSet<Key> = list.iter().map(Key::of).collect();
            let gone: Vec<Key> = objects
                .by_key
                .keys()
                .filter(|key| !kept.contains(key))
                .cloned()
                .collect();
            for key in gone {
                let old = objects.remove(&key, self.terms);
                changes.push(Change { old, new: None });
            }
            for object in list {
                let new = Arc::new(object);
                let old = objects.put(new.clone(), self.terms);
                changes.push(Change { old, new: Some(new) });
            }
        }
        for change in &changes {
            self.tell(change);
        }
        self.synced.send_replace(true);
    }

    fn tell(&self, change: &Change<K>) {
        for handler in self.lock_handlers().iter() {
            handler(change);
        }
    }

    // A poisoned lock means that some handler panicked, not that the maps are torn: they are only changed by the
    // short methods below.
    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<K>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_handlers(&self) -> MutexGuard<'_, Vec<Handler<K>>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource> Objects<K> {
    fn put(&mut self, object: Arc<K>, terms: Terms<K>) -> Option<Arc<K>> {
        let key = Key::of(object.as_ref());
        let old = self.remove(&key, terms);
        for term in terms(&object) {
            self.by_term.entry(term).or_default().insert(key.clone());
        }
        self.by_key.insert(key, object);
        old
    }

    fn remove(&mut self, key: &Key, terms: Terms<K>) -> Option<Arc<K>> {
        let old = self.by_key.remove(key)?;
        for term in terms(&old) {
            if let Some(keys) = self.by_term.get_mut(&term) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_term.remove(&term);
                }
            }
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;

    use super::*;

    fn config_map(namespace: &str, name: &str, team: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.into());
        object.metadata.name = Some(name.into());
        object.labels_mut().insert("team".into(), team.into());
        object
    }

    fn names(objects: &[Arc<ConfigMap>]) -> Vec<String> {
        objects.iter().map(|o| o.name_any()).collect()
    }

    #[test]
    fn a_relist_reports_what_vanished_and_keeps_the_index_true() {
        let store = Store::<ConfigMap>::new(|c| vec![format!("team/{}", c.labels()["team"])]);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        store.on_change(move |change| {
            let mark = match (&change.old, &change.new) {
                (None, Some(_)) => '+',
                (Some(_), Some(_)) => '~',
                _ => '-',
            };
            let name = change.sides().next().map(|o| o.name_any()).unwrap_or_default();
            log.lock().unwrap().push(format!("{mark}{name}"));
        });
        store.replace(vec![config_map("a", "one", "red"), config_map("a", "two", "red")]);
        store.apply(config_map("a", "two", "blue"));
        store.apply(config_map("b", "three", "blue"));
        assert_eq!(names(&store.with_term("team/blue")), ["two", "three"]);
        store.replace(vec![config_map("a", "two", "red")]);
        assert_eq!(names(&store.with_term("team/red")), ["two"]);
        assert!(store.with_term("team/blue").is_empty());
        assert_eq!(names(&store.in_namespace("a")), ["two"]);
        store.delete(&config_map("a", "two", "red"));
        assert!(store.all().is_empty());
        let seen = seen.lock().unwrap().join(" ");
        assert_eq!(seen, "+one +two ~two +three -one -three ~two -two");
    }
}
