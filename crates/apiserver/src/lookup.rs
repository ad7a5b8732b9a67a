//! How admission looks at the rest of the cluster.

use knarr_resource::admission::Lookup;
use serde_json::Value;

use crate::server::Server;
use crate::store;

impl Lookup for Server {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let object = self
            .store
            .get(self.built_in(group, plural)?, &store::key(namespace, name))?;
        Some(object.value())
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Value> {
        let Some(slot) = self.built_in(group, plural) else {
            return Vec::new();
        };
        let snapshot = self.store.list(slot, (!namespace.is_empty()).then_some(namespace));
        snapshot.objects.iter().map(|object| object.value()).collect()
    }
}
