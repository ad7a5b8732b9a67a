//! The way to one cluster. It reads freely and writes only a [`super::Change`], with a [`Permit`] that read-only mode does not give.

mod write;

pub use write::Changed;
pub(in crate::cluster) use write::parse;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::{ClusterId, Discovery, Read, plugin};
use crate::error::{Error, ErrorKind, Result};

/// How the way to the cluster is.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum LinkState {
    /// First contact is being made.
    #[default]
    Connecting,
    /// The cluster answers.
    Up,
    /// It answered before, and nothing has been heard of it since.
    Silent(Timestamp),
    /// It does not answer, since when and why; it is tried again.
    Down(Timestamp, Error),
}

/// How long a request may take before the cluster counts as not answering.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Longest answer understood that is not a list: bytes. Tests have little to send.
const LARGEST: usize = if cfg!(test) { 2 << 20 } else { 64 << 20 };
/// Longest explanation of a refusal that is read: bytes.
const LARGEST_REFUSAL: usize = 1 << 20;
/// How often a request is sent again when the server says that it is too busy for it.
const BUSY_TRIES: usize = 4;
/// Longest pause that a busy server is granted.
const BUSY_PAUSE: Duration = Duration::from_secs(10);

/// The way to one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    client: kube::Client,
    read_only: bool,
    /// Which cluster this is.
    pub cluster: ClusterId,
    /// As whom requests are sent, for the journal.
    pub user: Arc<str>,
    /// Where it leads, for messages: `https://127.0.0.1:6443`.
    pub address: Arc<str>,
    /// What the cluster serves.
    pub discovery: Arc<Discovery>,
    /// Namespace of the context.
    pub namespace: Arc<str>,
    /// Whether the server has refused to send a list as the beginning of a watch.
    pages: Arc<AtomicBool>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The right to change a cluster. There is no other way to one than [`Link::permit`], and no request that changes anything without one.
struct Permit(());

/// One request on its way.
struct Call<'a> {
    method: http::Method,
    uri: String,
    content_type: &'a str,
    accept: &'a str,
    body: Vec<u8>,
    what: &'a str,
}

impl<'a> Call<'a> {
    fn get(uri: String, accept: &'a str, what: &'a str) -> Self {
        Self {
            method: http::Method::GET,
            uri,
            content_type: "application/json",
            accept,
            body: Vec::new(),
            what,
        }
    }
}

/// What a link is opened with.
pub(super) struct Opening<'a> {
    pub(super) client: kube::Client,
    pub(super) read_only: bool,
    pub(super) cluster: ClusterId,
    pub(super) user: &'a str,
    pub(super) address: &'a str,
    pub(super) namespace: &'a str,
}

impl Link {
    /// Makes first contact: asks what the cluster serves.
    pub(super) async fn open(opening: Opening<'_>) -> Result<Self> {
        let mut link = Self {
            client: opening.client,
            read_only: opening.read_only,
            cluster: opening.cluster,
            user: opening.user.into(),
            address: opening.address.into(),
            discovery: Arc::default(),
            namespace: opening.namespace.into(),
            pages: Arc::default(),
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
            cluster: ClusterId::default(),
            user: "test".into(),
            address: "https://test".into(),
            discovery: Arc::default(),
            namespace: "default".into(),
            pages: Arc::default(),
        }
    }

    /// The same link, in read-only mode.
    #[cfg(test)]
    pub(crate) fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The client, for streams into pods, which may change what runs there: refused in read-only mode.
    pub(crate) fn stream(&self, what: &str) -> Result<kube::Client> {
        self.permit(what).map(|Permit(())| self.client.clone())
    }

    /// The right to change something.
    fn permit(&self, what: &str) -> Result<Permit> {
        if self.read_only {
            Err(
                Error::new(ErrorKind::ReadOnly, format!("read-only mode: {what} was not sent"))
                    .hint("start without --read-only to make changes"),
            )
        } else {
            Ok(Permit(()))
        }
    }

    /// Whether a list may be asked for as the beginning of a watch (`sendInitialEvents`).
    pub(crate) fn streams(&self) -> bool {
        !self.pages.load(Ordering::Relaxed)
    }

    /// The server does not send lists so: nobody needs to ask it again.
    pub(crate) fn streams_no_lists(&self) {
        self.pages.store(true, Ordering::Relaxed);
    }

    /// Sends a read; the body of the answer.
    ///
    /// # Errors
    ///
    /// What the server answered, or why it did not.
    pub async fn read(&self, read: &Read) -> Result<Bytes> {
        self.exchange(Call::get(read.uri(), "application/json", &read.what))
            .await
    }

    /// Whether the cluster answers within `patience`, whatever it answers.
    pub(crate) async fn is_alive(&self, patience: Duration) -> bool {
        let read = Read::new("/version", "ask the cluster");
        matches!(
            tokio::time::timeout(patience, self.open_read(&read, &[])).await,
            Ok(Ok(_))
        )
    }

    /// Asks what the cluster serves now.
    ///
    /// # Errors
    ///
    /// As [`Link::read`].
    pub(crate) async fn discover(&self) -> Result<Arc<Discovery>> {
        Discovery::fetch(self).await.map(Arc::new)
    }

    /// The same link, knowing what the cluster serves now.
    #[must_use]
    pub(crate) fn knowing(&self, discovery: Arc<Discovery>) -> Self {
        Self {
            discovery,
            ..self.clone()
        }
    }

    /// Reads and parses an answer.
    pub(super) async fn get_json<T: DeserializeOwned>(&self, path: &str, accept: &str) -> Result<T> {
        let call = Call::get(path.to_owned(), accept, "ask the cluster");
        let bytes = self.exchange(call).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(
                ErrorKind::Other,
                format!(
                    "{} answers {path} with something other than Kubernetes JSON",
                    self.address
                ),
            )
            .because(&error)
            .hint("check that the server in the kubeconfig is a Kubernetes API server")
        })
    }

    /// Opens a read that goes on for long: whatever the answer is, its head has come. `header`s are added to the request.
    ///
    /// # Errors
    ///
    /// When no answer begins.
    pub(crate) async fn open_read(
        &self,
        read: &Read,
        headers: &[(http::HeaderName, &str)],
    ) -> Result<http::Response<kube::client::Body>> {
        let mut http = http::Request::get(read.uri());
        for (name, value) in headers {
            http = http.header(name, *value);
        }
        let http = http
            .body(kube::client::Body::empty())
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot {}", read.what)).because(&error))?;
        self.client.send(http).await.map_err(|error| self.unreachable(&error))
    }

    /// Opens a read that goes on for long, as lines arrive.
    pub(crate) async fn stream_get(&self, read: &Read) -> Result<impl futures::AsyncBufRead + Unpin + use<>> {
        let answer = tokio::time::timeout(TIMEOUT, self.open_read(read, &[])).await;
        let response = answer.map_err(|_| self.silent())??;
        let status = response.status();
        let body = response.into_body();
        if !status.is_success() {
            let bytes = tokio::time::timeout(TIMEOUT, self.collect(body, LARGEST_REFUSAL)).await;
            return Err(self.status(status, &bytes.map_err(|_| self.silent())??, &read.what));
        }
        let stream = futures::TryStreamExt::map_err(body.into_data_stream(), std::io::Error::other);
        Ok(futures::TryStreamExt::into_async_read(Box::pin(stream)))
    }

    /// A body of at most `largest` bytes.
    async fn collect(&self, body: kube::client::Body, largest: usize) -> Result<Bytes> {
        match http_body_util::Limited::new(body, largest).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Error::new(
                ErrorKind::Other,
                format!("{} answers with too much", self.address),
            )
            .hint(format!("no more than {} MiB are read at once", largest >> 20))),
            Err(error) => Err(self.unreachable(&*error)),
        }
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

    /// Sends a request and reads the answer. A server that is too busy for it (429, or 503 to a read) is asked again when it says.
    async fn exchange(&self, call: Call<'_>) -> Result<Bytes> {
        let mut tries = BUSY_TRIES;
        loop {
            tries -= 1;
            let (status, retry, bytes) = tokio::time::timeout(TIMEOUT, self.once(&call))
                .await
                .map_err(|_| self.silent())??;
            if status.is_success() {
                return Ok(bytes);
            }
            let busy = status == http::StatusCode::TOO_MANY_REQUESTS
                || status == http::StatusCode::SERVICE_UNAVAILABLE && call.method == http::Method::GET;
            match retry.filter(|_| busy && tries > 0) {
                Some(pause) => tokio::time::sleep(pause.min(BUSY_PAUSE)).await,
                None => return Err(self.status(status, &bytes, call.what)),
            }
        }
    }

    async fn once(&self, call: &Call<'_>) -> Result<(http::StatusCode, Option<Duration>, Bytes)> {
        let request = http::Request::builder()
            .method(call.method.clone())
            .uri(&call.uri)
            .header(http::header::CONTENT_TYPE, call.content_type)
            .header(http::header::ACCEPT, call.accept)
            .body(kube::client::Body::from(call.body.clone()))
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot {}", call.what)).because(&error))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| self.unreachable(&error))?;
        let (status, retry) = (response.status(), retry_after(response.headers()));
        let largest = if status.is_success() { LARGEST } else { LARGEST_REFUSAL };
        Ok((status, retry, self.collect(response.into_body(), largest).await?))
    }

    /// Why nothing came back, with advice.
    pub(crate) fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        if let Some(failed) = plugin::failed(error) {
            return failed;
        }
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
            429 => Error::new(ErrorKind::Busy, message),
            400 | 422 => Error::new(ErrorKind::Invalid, message),
            _ => Error::new(ErrorKind::Other, message),
        }
    }
}

/// How long a busy server asks to be left alone.
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn an_answer_without_end_is_refused_with_a_sentence() {
        let endless = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            let pieces = futures::stream::repeat_with(|| {
                Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b' '; 1 << 16])))
            });
            Ok::<_, std::io::Error>(http::Response::new(StreamBody::new(pieces)))
        });
        let link = Link::untried(kube::Client::new(endless, "default"));
        let error = link.read(&Read::new("/version", "ask")).await.expect_err("too much");
        assert_eq!(error.message, "https://test answers with too much");
        assert_eq!(error.hints, ["no more than 2 MiB are read at once"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_again_when_it_says_and_not_for_ever() {
        let begun = Instant::now();
        let (told, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let busy = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let _ = told.send(begun.elapsed().as_secs());
            let answer = http::Response::builder().status(429).header("retry-after", "3");
            let body = Full::new(Bytes::from_static(
                br#"{"kind":"Status","message":"too many requests"}"#,
            ));
            std::future::ready(Ok::<_, std::io::Error>(answer.body(body).expect("an answer")))
        });
        let link = Link::untried(kube::Client::new(busy, "default"));
        let error = link.read(&Read::new("/version", "ask")).await.expect_err("busy");
        assert_eq!(error.message, "too many requests");
        drop(link);
        let mut times = Vec::new();
        while let Some(at) = asked.recv().await {
            times.push(at);
        }
        assert_eq!(times, [0, 3, 6, 9]);
    }
}
