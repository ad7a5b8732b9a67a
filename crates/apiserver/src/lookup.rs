//! How admission looks at the rest of the cluster.

use std::sync::Arc;

use knarr_resource::admission::{Lookup, UserInfo};
use serde_json::Value;

use crate::auth::authorizer;
use crate::auth::rbac::Attributes;
use crate::server::Server;
use crate::store::{self, Object};

impl Server {
    /// A stored object, parsed once for all who look at it while it is stored.
    pub(crate) fn decoded(&self, object: &Arc<Object>) -> Arc<Value> {
        if let Some(known) = self.decoded.get(object, ()) {
            return known;
        }
        let value = Arc::new(object.value());
        self.decoded.put(object, (), value.clone());
        value
    }
}

impl Lookup for Server {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let object = self
            .store
            .get(self.built_in(group, plural)?, &store::key(namespace, name))?;
        Some(self.decoded(&object))
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
        let Some(slot) = self.built_in(group, plural) else {
            return Vec::new();
        };
        let snapshot = self.store.list(slot, (!namespace.is_empty()).then_some(namespace));
        snapshot.objects.iter().map(|object| self.decoded(object)).collect()
    }

    fn allowed(&self, user: &UserInfo, verb: &str, group: &str, plural: &str, name: &str) -> bool {
        let asked = Attributes {
            verb,
            group,
            resource: plural,
            name,
            ..Attributes::default()
        };
        authorizer::allowed(self, user, &asked)
    }
}
