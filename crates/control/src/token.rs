//! Fills the Secrets of type `kubernetes.io/service-account-token` that people make for their service accounts, and deletes
//! them with the account, as the tokens controller of `kube-controller-manager` does.
//!
//! Only the API server can sign. The token is one of its own, bound to the Secret: it ends when the Secret does.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use serde_json::json;

use crate::caches::Caches;
use crate::controller::{Context, Controller, Watches};
use crate::key::Key;
use crate::store::Change;
use crate::write::{Failure, Plan, Write};

/// The type of such a Secret.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// The longest that can be asked for, in seconds: such tokens are meant to last.
const LIFETIME: i64 = 1 << 32;

/// The tokens controller. Keys are Secrets.
pub(crate) struct Tokens {
    pub(crate) pem: String,
}

impl Tokens {
    /// What the Secret should hold beside a token.
    fn data(&self, secret: &Secret) -> Vec<(&'static str, String)> {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        let mut data = vec![("namespace", namespace)];
        if !self.pem.is_empty() {
            data.push(("ca.crt", self.pem.clone()));
        }
        data
    }

    /// Whether the Secret has all that it needs for the account of this UID.
    fn is_complete(&self, secret: &Secret, uid: &str) -> bool {
        let data = secret.data.as_ref();
        let holds = |key: &str| data.and_then(|data| data.get(key));
        annotation(secret, UID) == Some(uid)
            && holds("token").is_some_and(|token| !token.0.is_empty())
            && self
                .data(secret)
                .iter()
                .all(|(key, value)| holds(key).is_some_and(|own| own.0 == value.as_bytes()))
    }

    /// The Secret, complete.
    fn completed(&self, secret: &Secret, uid: &str, token: String) -> Secret {
        let mut secret = secret.clone();
        let data = self.data(&secret).into_iter().chain([("token", token)]);
        let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
        secret.data.get_or_insert_default().extend(data);
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert(UID.into(), uid.into());
        secret
    }
}

fn annotation<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let annotations = secret.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

impl Controller for Tokens {
    const NAME: &'static str = "serviceaccount-token-controller";
    const ACCOUNT: Option<&'static str> = None;

    fn watches(self: &Arc<Self>, watch: &mut Watches) {
        watch
            .own::<Secret>()
            .on::<ServiceAccount>(|change: &Change<ServiceAccount>, caches| {
                let Some(account) = change.sides().last() else {
                    return Vec::new();
                };
                let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
                let secrets = caches.token_secrets.in_namespace(namespace);
                let own = secrets
                    .iter()
                    .filter(|secret| annotation(secret, NAME) == account.metadata.name.as_deref());
                own.map(|secret| Key::of(secret.as_ref())).collect()
            });
    }

    fn sync(&self, _: &Key, _: &Caches, _: Timestamp) -> Plan {
        Plan::nothing()
    }

    async fn reconcile(&self, key: &Key, cx: &Context) -> Result<Option<Duration>, Failure> {
        let Some(secret) = cx.caches.token_secrets.get(key) else {
            return Ok(None);
        };
        let Some(name) = annotation(&secret, NAME) else {
            return Ok(None);
        };
        // The caches of the two kinds run apart: before something is deleted, the truth is asked for.
        let accounts: Api<ServiceAccount> = Api::namespaced(cx.performer.client.clone(), &key.namespace);
        let cached = cx.caches.service_accounts.get(&Key::new(&key.namespace, name));
        let account = match cached {
            Some(account) => Some(account.as_ref().clone()),
            None => accounts.get_opt(name).await?,
        };
        let uid = account.and_then(|account| account.metadata.uid);
        let stale = |uid: &String| annotation(&secret, UID).is_some_and(|own| own != uid);
        let Some(uid) = uid.filter(|uid| !stale(uid)) else {
            let deletion = Plan::of(vec![Write::delete(secret.as_ref())]);
            return cx.performer.perform(key, deletion, None).await.map(|()| None);
        };
        if self.is_complete(&secret, &uid) {
            return Ok(None);
        }
        let request: TokenRequest = serde_json::from_value(json!({"spec": {
            "audiences": [],
            "expirationSeconds": LIFETIME,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": key.name, "uid": secret.metadata.uid},
        }}))
        .map_err(|error| Failure::other(error.to_string()))?;
        let issued = accounts
            .create_token_request(name, &Default::default(), &request)
            .await?;
        let token = issued.status.and_then(|status| status.token).unwrap_or_default();
        let plan = Plan::of(vec![
            Write::replace(&self.completed(&secret, &uid, token)).fine_when_gone(),
        ]);
        cx.performer.perform(key, plan, None).await.map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_complete_with_the_token_of_its_own_account() {
        let tokens = Tokens { pem: "PEM".into() };
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "t", "namespace": "shop", "uid": "s", "annotations": {NAME: "robot"}},
            "type": TYPE,
        }))
        .unwrap();
        assert!(!tokens.is_complete(&secret, "u"));
        let secret = tokens.completed(&secret, "u", "jwt".into());
        assert_eq!(
            json!(secret.data),
            json!({"namespace": "c2hvcA==", "ca.crt": "UEVN", "token": "and0"})
        );
        assert_eq!(annotation(&secret, NAME), Some("robot"));
        assert!(tokens.is_complete(&secret, "u"));
        assert!(!tokens.is_complete(&secret, "another"));
    }
}
