//! Gives every namespace its `default` ServiceAccount, which pods run as when they name no other.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};

use crate::caches::Caches;
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::namespace;
use crate::write::{Plan, Write};

/// The service account controller. Keys are namespaces.
pub(crate) struct ServiceAccounts;

impl Controller for ServiceAccounts {
    const NAME: &'static str = "serviceaccount-controller";
    const ACCOUNT: Option<&'static str> = Some("service-account-controller");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .own::<Namespace>()
            .on::<ServiceAccount>(|change, _| namespace::of_deleted(change));
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        let wanted = Key::new(&key.name, "default");
        if !namespace::is_active(caches, &key.name) || caches.service_accounts.get(&wanted).is_some() {
            return Plan::nothing();
        }
        let mut account = ServiceAccount::default();
        account.metadata.namespace = Some(wanted.namespace);
        account.metadata.name = Some(wanted.name);
        Plan::of(vec![Write::create(&account).fine_when_terminating().fine_when_there()])
    }
}
