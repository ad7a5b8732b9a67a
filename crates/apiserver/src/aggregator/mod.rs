//! Group versions that other servers serve (`APIService` with a Service): whether they are available, what they offer, and
//! requests for them, handed on.
//!
//! Source: `k8s.io/kube-aggregator`, <https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/>.

mod availability;
mod identity;
mod proxy;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::auth::UserInfo;
use crate::dial::{self, Address, Trust};
use crate::server::Server;
use knarr_stream::backend::Duplex;

pub(crate) use availability::Controller;
pub(crate) use identity::Identity;
pub(crate) use proxy::proxy;

pub(crate) const GROUP: &str = "apiregistration.k8s.io";
pub(crate) const PLURAL: &str = "apiservices";

/// How long a server may take to say what it offers.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document that is taken from it.
const LARGEST: usize = 32 << 20;

/// A group version that another server serves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Remote {
    pub group: String,
    pub version: String,
    pub group_priority: i64,
    pub version_priority: i64,
    address: Address,
    ca_bundle: String,
    insecure: bool,
    /// Whether requests are handed on.
    pub available: bool,
    /// What it offered when it was last asked: its `APIResourceList`.
    resources: Option<Value>,
    /// Its OpenAPI v3 document, as JSON.
    pub openapi: Option<Bytes>,
}

impl Remote {
    /// What an APIService says; none if that is served here.
    fn of(service: &Value) -> Option<Self> {
        let spec = &service["spec"];
        if !spec["service"].is_object() {
            return None;
        }
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            group: text("group"),
            version: text("version"),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            address: Address::of_service(&spec["service"]),
            ca_bundle: text("caBundle"),
            insecure: spec["insecureSkipTLSVerify"] == true,
            available: false,
            resources: None,
            openapi: None,
        })
    }

    /// `/apis/GROUP/VERSION`
    fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// The name of its OpenAPI v3 document.
    pub(crate) fn document(&self) -> String {
        self.path().trim_start_matches('/').to_owned()
    }

    /// Its part of the aggregated discovery document.
    pub(crate) fn discovered(&self) -> Value {
        let Some(list) = &self.resources else {
            return json!({"version": self.version, "freshness": "Stale"});
        };
        let freshness = if self.available { "Current" } else { "Stale" };
        let all = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |resource: &Value| resource["name"].as_str().unwrap_or_default().to_owned();
        let kind = |resource: &Value| {
            let own = |key: &str, otherwise: &str| match resource[key].as_str() {
                None | Some("") => otherwise.to_owned(),
                Some(own) => own.to_owned(),
            };
            json!({
                "group": own("group", &self.group), "version": own("version", &self.version), "kind": resource["kind"],
            })
        };
        let resources = all
            .iter()
            .filter(|resource| !name(resource).contains('/'))
            .map(|resource| {
                let mut out = json!({
                    "resource": resource["name"],
                    "responseKind": kind(resource),
                    "scope": if resource["namespaced"] == true { "Namespaced" } else { "Cluster" },
                    "singularResource": resource["singularName"].as_str().unwrap_or_default(),
                    "verbs": resource["verbs"],
                });
                for key in ["shortNames", "categories"] {
                    if resource[key].is_array() {
                        out[key] = resource[key].clone();
                    }
                }
                let prefix = format!("{}/", name(resource));
                let below = all.iter().filter_map(|below| {
                    let own = name(below);
                    let subresource = own.strip_prefix(&prefix)?;
                    Some(json!({"subresource": subresource, "responseKind": kind(below), "verbs": below["verbs"]}))
                });
                let below: Vec<Value> = below.collect();
                if !below.is_empty() {
                    out["subresources"] = below.into();
                }
                out
            });
        json!({"version": self.version, "resources": resources.collect::<Vec<_>>(), "freshness": freshness})
    }

    /// A connection on which this server is known as the front proxy, to whoever the APIService trusts.
    async fn connect(&self, server: &Server) -> Result<Duplex, String> {
        let trust = match self.insecure {
            true => Trust::Anybody,
            false => Trust::Bundle(&self.ca_bundle),
        };
        let tls = trust.tls(Some(&server.front_proxy.client))?;
        let stream = self.address.connect(server).await?;
        dial::secure(stream, &self.address.host(), tls).await
    }

    /// Reads a document in the name of this server.
    async fn get(&self, server: &Server, path: &str) -> Result<Bytes, String> {
        let url = format!("https://{}{path}", self.address.authority());
        let aggregator = UserInfo {
            name: "system:kube-aggregator".into(),
            groups: vec!["system:masters".into()],
            ..UserInfo::default()
        };
        let ask = async {
            let request = Request::get(path)
                .header(header::HOST, self.address.authority())
                .header(header::ACCEPT, "application/json")
                .body(Full::default());
            let mut request = request.map_err(|error| error.to_string())?;
            proxy::identify(request.headers_mut(), &aggregator);
            let stream = self.connect(server).await?;
            dial::exchange(stream, request, LARGEST).await
        };
        let missing = |why: String| format!("failing or missing response from {url}: Get {url:?}: {why}");
        match tokio::time::timeout(PATIENCE, ask).await {
            Ok(Ok((StatusCode::OK, body))) => Ok(body),
            Ok(Ok((status, _))) => Err(format!(
                "failing or missing response from {url}: bad status from {url}: {}",
                status.as_u16()
            )),
            Ok(Err(why)) => Err(missing(why)),
            Err(_) => Err(missing("context deadline exceeded".into())),
        }
    }
}

/// What other servers serve now, without two for one group version.
pub(crate) type Remotes = Vec<Arc<Remote>>;

/// Who serves a group version, if it is another server.
pub(crate) fn find<'a>(remotes: &'a Remotes, group: &str, version: &str) -> Option<&'a Arc<Remote>> {
    remotes
        .iter()
        .find(|remote| remote.group == group && remote.version == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_resources_becomes_a_part_of_the_aggregated_document() {
        let service = json!({"spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "service": {"namespace": "n", "name": "s"},
        }});
        let mut remote = Remote::of(&service).expect("a Service");
        assert_eq!(remote.address.authority(), "s.n.svc:443");
        assert_eq!(remote.discovered(), json!({"version": "v1beta1", "freshness": "Stale"}));
        remote.available = true;
        remote.resources = Some(json!({"resources": [
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get"], "shortNames": ["pm"]},
            {"name": "pods/scale", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get"]},
        ]}));
        assert_eq!(
            remote.discovered(),
            json!({"version": "v1beta1", "freshness": "Current", "resources": [{
                "resource": "pods", "scope": "Namespaced", "singularResource": "pod", "verbs": ["get"], "shortNames": ["pm"],
                "responseKind": {"group": "metrics.k8s.io", "version": "v1beta1", "kind": "PodMetrics"},
                "subresources": [{
                    "subresource": "scale", "verbs": ["get"],
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                }],
            }]})
        );
    }
}
