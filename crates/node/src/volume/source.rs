//! The files of `configMap`, `secret`, `downwardAPI` and `projected` volumes.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection,
};
use kube::Api;
use kube::api::PostParams;

use super::atomic::{File, Payload};
use crate::context::Context;
use crate::env::{self, Place};
use crate::object::{Key, Missing};

/// Modes are 0644 unless said otherwise.
const MODE: i32 = 0o644;

/// A token that was asked for, and when to ask for the next.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    text: String,
    pub(crate) refresh_at: Timestamp,
}

/// Gathers the files of one volume.
pub(crate) struct Gather<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) pod: &'a Pod,
    pub(crate) place: &'a Place<'a>,
    /// Tokens by volume and path.
    pub(crate) tokens: &'a mut BTreeMap<String, Token>,
    /// Objects that the files come from.
    pub(crate) depends: &'a mut Vec<Key>,
    pub(crate) files: Payload,
}

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(MODE)).unwrap_or(MODE as u32) & 0o777
}

/// The one user that all containers of a pod run as; `None` where that is not said or not the same.
fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let shared = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut users = containers.map(|container| {
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        own.or(shared).and_then(|user| u32::try_from(user).ok())
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

impl Gather<'_> {
    fn add(&mut self, path: &str, data: Vec<u8>, mode: u32) {
        self.files.insert(path.to_owned(), File { data, mode, uid: None });
    }

    /// The keys of a ConfigMap or a Secret: all, or those named.
    pub(crate) async fn object(
        &mut self,
        key: Key,
        items: Option<&[KeyToPath]>,
        optional: bool,
        default: Option<i32>,
    ) -> Result<(), String> {
        self.depends.push(key.clone());
        let data = match self.cx.objects.read(&key).await {
            Ok(data) => data,
            Err(Missing::Absent(_)) if optional => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        match items {
            None | Some([]) => {
                for (name, value) in data {
                    self.add(&name, value, mode(None, default));
                }
            }
            Some(items) => {
                for item in items {
                    match data.get(&item.key) {
                        Some(value) => self.add(&item.path, value.clone(), mode(item.mode, default)),
                        None if optional => {}
                        None => return Err(format!("references non-existent {} key: {}", short(&key), item.key)),
                    }
                }
            }
        }
        Ok(())
    }

    /// The files of a downward API volume.
    pub(crate) fn downward(&mut self, items: &[DownwardAPIVolumeFile], default: Option<i32>) -> Result<(), String> {
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(selector), _) => env::field(self.pod, selector, self.place)?,
                (_, Some(selector)) => env::resource(self.pod, None, selector, self.place.allocatable)?,
                _ => continue,
            };
            self.add(&item.path, value.into_bytes(), mode(item.mode, default));
        }
        Ok(())
    }

    /// The files of a projected volume.
    pub(crate) async fn projected(&mut self, volume: &str, source: &ProjectedVolumeSource) -> Result<(), String> {
        let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
        let default = source.default_mode;
        for source in source.sources.iter().flatten() {
            let object = |kind, name: &str| Key {
                kind,
                namespace: namespace.clone(),
                name: name.to_owned(),
            };
            if let Some(from) = &source.config_map {
                let key = object(crate::object::Kind::ConfigMap, &from.name);
                self.object(key, from.items.as_deref(), from.optional.unwrap_or(false), default)
                    .await?;
            } else if let Some(from) = &source.secret {
                let key = object(crate::object::Kind::Secret, &from.name);
                self.object(key, from.items.as_deref(), from.optional.unwrap_or(false), default)
                    .await?;
            } else if let Some(from) = &source.downward_api {
                self.downward(from.items.as_deref().unwrap_or_default(), default)?;
            } else if let Some(from) = &source.service_account_token {
                let data = self.token(volume, &namespace, from).await?.into_bytes();
                // Nobody but the pod's own user or group may read it, where they are known.
                let uid = only_user(self.pod);
                let mode = if uid.is_some() || super::fs_group(self.pod).is_some() {
                    0o600
                } else {
                    mode(None, default)
                };
                self.files.insert(from.path.clone(), File { data, mode, uid });
            } else {
                return Err("this node cannot project certificates or trust bundles".into());
            }
        }
        Ok(())
    }

    /// A token for the pod's service account, bound to the pod; a new one when 80 % of the old one's life has passed.
    async fn token(
        &mut self,
        volume: &str,
        namespace: &str,
        from: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let now = self.cx.clock.now();
        let id = format!("{volume}/{}", from.path);
        if let Some(token) = self.tokens.get(&id).filter(|token| now < token.refresh_at) {
            return Ok(token.text.clone());
        }
        let spec = self.pod.spec.as_ref();
        let account = spec
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: from
                    .audience
                    .clone()
                    .filter(|text| !text.is_empty())
                    .map(|audience| vec![audience]),
                expiration_seconds: Some(from.expiration_seconds.unwrap_or(3600)),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: self.pod.metadata.name.clone(),
                    uid: self.pod.metadata.uid.clone(),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.cx.client.clone(), namespace);
        let answer = accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        let status = match answer {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(error) => {
                let reason = match error {
                    kube::Error::Api(status) => status.message.clone(),
                    other => other.to_string(),
                };
                // An old token is better than none.
                if let Some(token) = self.tokens.get_mut(&id) {
                    token.refresh_at = crate::backoff::add(now, std::time::Duration::from_secs(30));
                    return Ok(token.text.clone());
                }
                return Err(format!("failed to fetch token: {reason}"));
            }
        };
        let hour = SignedDuration::from_hours(1);
        let life = status
            .expiration_timestamp
            .map_or(hour, |expires| expires.0.duration_since(now));
        let token = Token {
            text: status.token.unwrap_or_default(),
            refresh_at: now
                .checked_add(SignedDuration::from_secs(life.as_secs() * 4 / 5))
                .unwrap_or(Timestamp::MAX),
        };
        self.tokens.insert(id, token.clone());
        Ok(token.text)
    }
}

fn short(key: &Key) -> &'static str {
    match key.kind {
        crate::object::Kind::ConfigMap => "config",
        crate::object::Kind::Secret => "secret",
    }
}
