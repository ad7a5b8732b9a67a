//! Publishes the cluster's CA certificate to every namespace, so that pods can trust the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};

use crate::caches::{Caches, ROOT_CERTIFICATE};
use crate::controller::{Controller, Watches};
use crate::key::Key;
use crate::namespace;
use crate::store::Change;
use crate::write::{Plan, Write};

/// The root CA publisher. Keys are namespaces.
pub(crate) struct RootCertificates {
    pub(crate) pem: String,
}

impl Controller for RootCertificates {
    const NAME: &'static str = "root-ca-certificate-publisher-controller";
    const ACCOUNT: Option<&'static str> = Some("root-ca-cert-publisher");

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .own::<Namespace>()
            .on::<ConfigMap>(|change: &Change<ConfigMap>, _| {
                let namespace = change.sides().last().and_then(|map| map.metadata.namespace.clone());
                namespace.map(|namespace| Key::new("", namespace)).into_iter().collect()
            });
    }

    fn sync(&self, key: &Key, caches: &Caches, _: Timestamp) -> Plan {
        if !namespace::is_active(caches, &key.name) {
            return Plan::nothing();
        }
        let data = Some(BTreeMap::from([("ca.crt".to_string(), self.pem.clone())]));
        match caches.root_certificates.get(&Key::new(&key.name, ROOT_CERTIFICATE)) {
            None => {
                let mut map = ConfigMap {
                    data,
                    ..ConfigMap::default()
                };
                map.metadata.namespace = Some(key.name.clone());
                map.metadata.name = Some(ROOT_CERTIFICATE.into());
                map.metadata.annotations = Some(BTreeMap::from([(
                    "kubernetes.io/description".to_string(),
                    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                     such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                     distributions of Kubernetes clusters."
                        .to_string(),
                )]));
                Plan::of(vec![Write::create(&map).fine_when_terminating().fine_when_there()])
            }
            Some(map) if map.data != data => {
                let mut updated = map.as_ref().clone();
                updated.data = data;
                Plan::of(vec![Write::replace(&updated)])
            }
            Some(_) => Plan::nothing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount;
    use serde_json::json;

    use super::*;
    use crate::service_account::ServiceAccounts;

    fn bodies(plan: Plan) -> Vec<serde_json::Value> {
        plan.writes.into_iter().map(|write| write.body).collect()
    }

    #[test]
    fn a_namespace_is_furnished_once_repaired_when_spoilt_and_left_alone_when_it_ends() {
        let caches = Caches::new();
        let certificates = RootCertificates { pem: "PEM".into() };
        let key = Key::new("", "shop");
        let mut namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": "shop" } })).unwrap();
        caches.namespaces.apply(namespace.clone());
        let mut map = bodies(certificates.sync(&key, &caches, Timestamp::UNIX_EPOCH)).remove(0);
        assert_eq!(map["data"]["ca.crt"], "PEM");
        let account = bodies(ServiceAccounts.sync(&key, &caches, Timestamp::UNIX_EPOCH)).remove(0);
        assert_eq!(account["metadata"], json!({ "name": "default", "namespace": "shop" }));
        caches
            .service_accounts
            .apply(serde_json::from_value::<ServiceAccount>(account).unwrap());
        caches
            .root_certificates
            .apply(serde_json::from_value::<ConfigMap>(map.clone()).unwrap());
        assert!(bodies(certificates.sync(&key, &caches, Timestamp::UNIX_EPOCH)).is_empty());
        assert!(bodies(ServiceAccounts.sync(&key, &caches, Timestamp::UNIX_EPOCH)).is_empty());
        map["data"]["ca.crt"] = json!("tampered");
        caches
            .root_certificates
            .apply(serde_json::from_value::<ConfigMap>(map).unwrap());
        let repaired = bodies(certificates.sync(&key, &caches, Timestamp::UNIX_EPOCH)).remove(0);
        assert_eq!(repaired["data"]["ca.crt"], "PEM");
        namespace.status = serde_json::from_value(json!({ "phase": "Terminating" })).unwrap();
        caches.namespaces.apply(namespace);
        assert!(bodies(certificates.sync(&key, &caches, Timestamp::UNIX_EPOCH)).is_empty());
    }
}
