//! The way to one cluster. Every request of the application leaves here, so that read-only mode holds by construction.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::{Discovery, Request, Verb};
use crate::error::{Error, ErrorKind, Result};

/// How the way to the cluster is.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum LinkState {
    /// First contact is being made.
    #[default]
    Connecting,
    /// The cluster answers.
    Up,
    /// It does not answer, since when and why; it is tried again.
    Down(Timestamp, Error),
}

/// How long a request may take before the cluster counts as not answering.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The way to one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    client: kube::Client,
    read_only: bool,
    /// Where it leads, for messages: `https://127.0.0.1:6443`.
    pub address: Arc<str>,
    /// What the cluster serves.
    pub discovery: Arc<Discovery>,
    /// Namespace of the context.
    pub namespace: Arc<str>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Makes first contact: asks what the cluster serves.
    pub(super) async fn open(client: kube::Client, read_only: bool, address: &str, namespace: &str) -> Result<Self> {
        let mut link = Self {
            client,
            read_only,
            address: address.into(),
            discovery: Arc::default(),
            namespace: namespace.into(),
        };
        link.discovery = Arc::new(Discovery::fetch(&link).await?);
        Ok(link)
    }

    /// A link that has not made first contact.
    #[cfg(test)]
    pub(crate) fn untried(client: kube::Client) -> Self {
        Self {
            client,
            read_only: false,
            address: "https://test".into(),
            discovery: Arc::default(),
            namespace: "default".into(),
        }
    }

    /// The client, for feeds, which only read.
    pub(crate) fn reader(&self) -> kube::Client {
        self.client.clone()
    }

    /// The client, for streams into pods, which may change what runs there: refused in read-only mode.
    pub(crate) fn stream(&self, what: &str) -> Result<kube::Client> {
        if self.read_only {
            Err(refused(what))
        } else {
            Ok(self.client.clone())
        }
    }

    /// Whether requests that change something are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Sends one request; the body of the answer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ReadOnly`] before anything is sent; else what the server answered, or why it did not.
    pub async fn send(&self, request: &Request) -> Result<Bytes> {
        if self.read_only && request.mutates() {
            return Err(refused(&request.what));
        }
        let method = match request.verb {
            Verb::Get => http::Method::GET,
            Verb::Post => http::Method::POST,
            Verb::Put => http::Method::PUT,
            Verb::Patch(_) => http::Method::PATCH,
            Verb::Delete => http::Method::DELETE,
        };
        let content_type = match request.verb {
            Verb::Patch(patch) => patch.content_type(),
            _ => "application/json",
        };
        let body = request
            .body
            .as_ref()
            .map(|body| body.to_string().into_bytes())
            .unwrap_or_default();
        self.exchange(
            method,
            &request.uri(),
            content_type,
            "application/json",
            body,
            &request.what,
        )
        .await
    }

    /// Reads and parses an answer.
    pub(super) async fn get_json<T: DeserializeOwned>(&self, path: &str, accept: &str) -> Result<T> {
        let bytes = self
            .exchange(
                http::Method::GET,
                path,
                "application/json",
                accept,
                Vec::new(),
                "ask the cluster",
            )
            .await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(
                ErrorKind::Other,
                format!("{} answers {path} with no Kubernetes JSON", self.address),
            )
            .because(&error)
            .hint("check that the server in the kubeconfig is a Kubernetes API server")
        })
    }

    /// Opens a read that goes on for long, as lines arrive.
    pub(crate) async fn stream_get(&self, request: &Request) -> Result<impl futures::AsyncBufRead + Unpin + use<>> {
        let http = http::Request::builder()
            .uri(request.uri())
            .body(kube::client::Body::empty())
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot {}", request.what)).because(&error))?;
        let answer = tokio::time::timeout(TIMEOUT, self.client.send(http)).await;
        let response = answer
            .map_err(|_| self.silent())?
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.into_body();
        if !status.is_success() {
            let bytes = body
                .collect()
                .await
                .map_err(|error| self.unreachable(&error))?
                .to_bytes();
            return Err(self.status(status, &bytes, &request.what));
        }
        let stream = futures::TryStreamExt::map_err(body.into_data_stream(), std::io::Error::other);
        Ok(futures::TryStreamExt::into_async_read(Box::pin(stream)))
    }

    fn silent(&self) -> Error {
        Error::new(ErrorKind::Unreachable, format!("{} does not answer", self.address)).hint(format!(
            "no answer within {} s; it may be busy, or behind a VPN that is down",
            TIMEOUT.as_secs()
        ))
    }

    /// What an error of the client library means for the user.
    pub(crate) fn explain(&self, error: &kube::Error, what: &str) -> Error {
        match error {
            kube::Error::Api(status) => {
                let code = http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
                let body = serde_json::json!({"message": status.message, "reason": status.reason});
                self.status(code, body.to_string().as_bytes(), what)
            }
            kube::Error::UpgradeConnection(error) => {
                Error::new(ErrorKind::Other, format!("the server refuses to {what}")).because(error)
            }
            other => self.unreachable(other),
        }
    }

    async fn exchange(
        &self,
        method: http::Method,
        uri: &str,
        content_type: &str,
        accept: &str,
        body: Vec<u8>,
        what: &str,
    ) -> Result<Bytes> {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::CONTENT_TYPE, content_type)
            .header(http::header::ACCEPT, accept)
            .body(kube::client::Body::from(body))
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot {what}")).because(&error))?;
        let answer = tokio::time::timeout(TIMEOUT, async {
            let response = self
                .client
                .send(request)
                .await
                .map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = response
                .into_body()
                .collect()
                .await
                .map_err(|error| self.unreachable(&error))?;
            Ok((status, body.to_bytes()))
        });
        let (status, bytes) = answer.await.map_err(|_| self.silent())??;
        if status.is_success() {
            Ok(bytes)
        } else {
            Err(self.status(status, &bytes, what))
        }
    }

    /// Why nothing came back, with advice.
    pub(crate) fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let mut unreachable =
            Error::new(ErrorKind::Unreachable, format!("cannot reach {}", self.address)).because(error);
        // The client library's own layers say nothing to a user; what the network said does.
        let noise = |cause: &String| cause.starts_with("ServiceError") || cause.starts_with("client error");
        if !unreachable.causes.iter().all(noise) {
            unreachable.causes.retain(|cause| !noise(cause));
        }
        let said = unreachable.causes.join(" ");
        if said.contains("Connection refused") {
            unreachable.hint("nothing listens there: is the cluster running?")
        } else if said.contains("certificate") {
            unreachable.hint("the server's certificate is not the one the kubeconfig trusts")
        } else if said.contains("auth exec") || said.contains("exec plugin") {
            Error {
                kind: ErrorKind::Unauthenticated,
                ..unreachable
            }
            .hint("run the credential plugin by hand to see why")
        } else {
            unreachable
        }
    }

    /// What a `Status` answer says.
    pub(crate) fn status(&self, code: http::StatusCode, body: &[u8], what: &str) -> Error {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Status {
            message: String,
            reason: String,
        }
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let message = if status.message.is_empty() {
            format!("cannot {what}: HTTP {code}")
        } else {
            status.message
        };
        match code.as_u16() {
            401 => Error::new(
                ErrorKind::Unauthenticated,
                format!("{} does not accept the credentials", self.address),
            )
            .hint("they may have expired: log in again, or choose another context"),
            403 => Error::new(ErrorKind::Forbidden, message).hint("the current user may not do this"),
            404 => Error::new(ErrorKind::NotFound, message),
            409 if status.reason == "Conflict" => {
                Error::new(ErrorKind::Conflict, message).hint("it changed meanwhile: look again, then repeat")
            }
            409 => Error::new(ErrorKind::Conflict, message),
            400 | 422 => Error::new(ErrorKind::Invalid, message),
            _ => Error::new(ErrorKind::Other, message),
        }
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::ReadOnly, format!("read-only mode: {what} was not sent"))
        .hint("start without --read-only to make changes")
}
