//! How admission looks at the rest of the cluster.

use std::sync::Arc;

use knarr_resource::ResourceInfo;
use knarr_resource::admission::Lookup;
use serde_json::Value;

use crate::server::Server;
use crate::store;

impl Lookup for Server {
    fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceInfo>> {
        self.served().registry.find(group, version, plural).cloned()
    }

    fn get(&self, resource: &ResourceInfo, namespace: &str, name: &str) -> Option<Value> {
        let object = self.store.get(self.slot_of(resource), &store::key(namespace, name))?;
        Some(object.value())
    }

    fn list(&self, resource: &ResourceInfo, namespace: &str) -> Vec<Value> {
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let snapshot = self.store.list(self.slot_of(resource), namespace);
        snapshot.objects.iter().map(|object| object.value()).collect()
    }
}
