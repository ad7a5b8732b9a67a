//! Pulling from registries and pushing to them, by the OCI distribution protocol.

mod client;
mod config;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION, RANGE};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, StreamBody};

pub use config::{Credentials, Keyring};

use self::client::{Ask, Body, Http, Session, empty, frame, full, join, refusal, whole};
use self::config::Config;
use crate::digest::Digest;
use crate::name::Origin;
use crate::oci::{self, Descriptor};
use crate::store::manifest_for_here;
use crate::{Image, ImageError, ImageStore, Reference};

/// Layers that come at the same time.
const AT_ONCE: usize = 3;
/// How often a layer whose transfer breaks is gone on with.
const TRIES: usize = 5;

/// The registries that there are for a node, and how to get to them.
#[derive(Debug)]
pub struct Registries {
    config: Config,
    http: OnceLock<Http>,
}

impl Registries {
    /// Reads the first of these files that is there: `registries.toml`.
    pub fn load(paths: &[PathBuf]) -> Result<Self, ImageError> {
        Ok(Self {
            config: Config::load(paths)?,
            http: OnceLock::new(),
        })
    }

    fn http(&self) -> Result<&Http, ImageError> {
        if let Some(known) = self.http.get() {
            return Ok(known);
        }
        let made = client::http(self.config.authorities())?;
        Ok(self.http.get_or_init(|| made))
    }

    /// Brings an image and unpacks it. What has come of one that was interrupted is not asked for again. Errors are in containerd's words,
    /// as kubelets show them.
    pub async fn pull(
        &self,
        store: &Arc<ImageStore>,
        reference: &str,
        keyring: &Keyring,
    ) -> Result<Arc<Image>, ImageError> {
        let wanted = Reference::parse(reference)?;
        let failed = |why: String| {
            ImageError::Invalid(format!(
                "failed to pull and unpack image {:?}: {why}",
                wanted.to_string()
            ))
        };
        let http = self.http()?;
        let adding = store.adding()?;
        let mut users: Vec<Option<Credentials>> = keyring.users(&wanted).into_iter().map(Some).collect();
        users.push(None);
        let mut first = None;
        for endpoint in self.config.endpoints(wanted.registry()) {
            for user in &users {
                let session = Session {
                    http,
                    endpoint: endpoint.clone(),
                    path: wanted.path().to_owned(),
                    user: user.clone(),
                    actions: "pull",
                    authorization: Mutex::new(None),
                };
                match bring(store, &session, &wanted).await {
                    Ok(target) => {
                        let (store, name) = (store.clone(), wanted.to_string());
                        let unpacked = tokio::task::spawn_blocking(move || {
                            store.unpack(&store.check(&target)?)?;
                            store.name(&name, target, Origin::Registry)?;
                            store.get(&name)
                        });
                        let image = unpacked.await.map_err(|error| failed(error.to_string()))?;
                        drop(adding);
                        return image.map_err(|error| failed(format!("failed to extract layer: {error}")));
                    }
                    Err(why) => first.get_or_insert(why),
                };
            }
        }
        Err(failed(first.unwrap_or_default()))
    }

    /// Brings an image to its registry: what is not there yet, then the manifest.
    pub async fn push(&self, store: &ImageStore, reference: &str, keyring: &Keyring) -> Result<Digest, ImageError> {
        let wanted = Reference::parse(reference)?;
        let failed = |why: String| ImageError::Invalid(format!("failed to push image {:?}: {why}", wanted.to_string()));
        let image = store.get(reference)?;
        store.settle(&image)?;
        let target = image
            .manifest
            .clone()
            .ok_or_else(|| ImageError::NotFound(image.id.clone()))?;
        let (_, manifest) = manifest_for_here(&target, &|blob, most| store.blobs.read(blob, most))?;
        let session = Session {
            http: self.http()?,
            endpoint: self.config.itself(wanted.registry()),
            path: wanted.path().to_owned(),
            user: keyring.users(&wanted).into_iter().next(),
            actions: "pull,push",
            authorization: Mutex::new(None),
        };
        for blob in manifest.layers.iter().chain(&manifest.config) {
            send_blob(store, &session, blob).await.map_err(failed)?;
        }
        let bytes = Bytes::from(store.blobs.read(&target, oci::MOST_MANIFEST)?);
        let kind = if target.media_type.is_empty() {
            oci::MANIFEST
        } else {
            &target.media_type
        };
        let ask =
            Ask::new(Method::PUT, session.url(&format!("manifests/{}", wanted.version()))).header(CONTENT_TYPE, kind);
        let answer = session.send(&ask, &|| full(bytes.clone())).await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(failed(refusal(&ask, answer).await));
        }
        Ok(target.digest)
    }
}

/// Brings everything that an image is made of, and says what its name stands for.
async fn bring(store: &Arc<ImageStore>, session: &Session<'_>, wanted: &Reference) -> Result<Descriptor, String> {
    let full_name = wanted.to_string();
    let resolving = |why: String| format!("failed to resolve reference {full_name:?}: {why}");
    let target = resolve(store, session, wanted.version(), wanted)
        .await
        .map_err(resolving)?;
    let read = |blob: &Descriptor, most| store.blobs.read(blob, most);
    let document = |blob: &Descriptor| -> Result<oci::Manifest, String> {
        let bytes = read(blob, oci::MOST_MANIFEST).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| format!("the manifest {} is damaged: {error}", blob.digest))
    };
    // An index leads to the manifest for this machine, which has to come first.
    let mut manifest = document(&target)?;
    while !manifest.manifests.is_empty() {
        let own = oci::Platform::own();
        let absent = || {
            format!(
                "no match for platform in manifest: {}/{} not found",
                own.os, own.architecture
            )
        };
        let next = crate::store::here(manifest.manifests).ok_or_else(absent)?;
        let next = resolve(store, session, next.digest.as_str(), wanted).await?;
        manifest = document(&next)?;
    }
    let blobs: Vec<Descriptor> = manifest.config.into_iter().chain(manifest.layers).collect();
    if blobs.len() > oci::MOST_LAYERS {
        return Err(format!(
            "the image has {} layers, more than {}",
            blobs.len() - 1,
            oci::MOST_LAYERS
        ));
    }
    futures::stream::iter(blobs.into_iter().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |blob| async move { fetch(store, session, &blob).await })
        .await?;
    Ok(target)
}

/// Asks what a tag or digest stands for, and brings that manifest.
async fn resolve(
    store: &ImageStore,
    session: &Session<'_>,
    version: &str,
    wanted: &Reference,
) -> Result<Descriptor, String> {
    let kinds = [
        oci::MANIFEST,
        oci::INDEX,
        oci::DOCKER_MANIFEST,
        oci::DOCKER_LIST,
        "*/*;q=0.1",
    ]
    .join(", ");
    let url = session.url(&format!("manifests/{version}"));
    let head = Ask::new(Method::HEAD, url.clone()).header(ACCEPT, kinds.clone());
    let answer = session.send(&head, &empty).await?;
    match answer.status() {
        status if status.is_success() => {}
        StatusCode::NOT_FOUND => return Err(format!("{wanted}: not found")),
        StatusCode::UNAUTHORIZED => {
            return Err(
                "pull access denied, repository does not exist or may require authorization: server message: \
                 insufficient_scope: authorization failed"
                    .to_owned(),
            );
        }
        // What it has to say comes with an answer that has a body.
        StatusCode::METHOD_NOT_ALLOWED => {}
        _ => {
            let why = refusal(&head, answer).await;
            let ask = Ask {
                method: Method::GET,
                ..head
            };
            let said = match session.send(&ask, &empty).await {
                Ok(answer) if !answer.status().is_success() => refusal(&ask, answer).await,
                _ => String::new(),
            };
            let words = said.rsplit_once(&answer_status(&why)).map_or("", |(_, words)| words);
            return Err(format!("{why}{words}"));
        }
    }
    let ask = Ask::new(Method::GET, url).header(ACCEPT, kinds);
    let answer = session.send(&ask, &empty).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Err(format!("{wanted}: not found"));
    }
    if !answer.status().is_success() {
        return Err(refusal(&ask, answer).await);
    }
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or(oci::MANIFEST).to_owned();
    let said = answer
        .headers()
        .get("docker-content-digest")
        .and_then(|digest| digest.to_str().ok())
        .map(str::to_owned);
    let most = usize::try_from(oci::MOST_MANIFEST).unwrap_or(usize::MAX);
    let bytes = whole(answer, most).await?;
    let digest = Digest::of(&bytes);
    let asked = Some(version.to_owned()).filter(|version| version.contains(':'));
    for expected in [asked, said].into_iter().flatten() {
        if digest.as_str() != expected {
            return Err(format!(
                "unexpected commit digest {digest}, expected {expected}: failed precondition"
            ));
        }
    }
    store.blobs.put(&kind, &bytes).map_err(|error| error.to_string())
}

/// `403 Forbidden`, as the last words of a refusal without explanation.
fn answer_status(why: &str) -> String {
    why.rsplit_once(": ")
        .map_or(String::new(), |(_, status)| status.to_owned())
}

/// Brings a blob, and goes on with it where the transfer broke.
async fn fetch(store: &Arc<ImageStore>, session: &Session<'_>, wanted: &Descriptor) -> Result<(), String> {
    let text = |error: ImageError| error.to_string();
    if store.blobs.has(wanted) {
        return Ok(());
    }
    let (own, blob) = (store.clone(), wanted.clone());
    // Another may be at the same one, and is waited for.
    let partial = tokio::task::spawn_blocking(move || own.blobs.partial(&blob)).await;
    let Some(mut partial) = partial.map_err(|error| error.to_string())?.map_err(text)? else {
        return Ok(());
    };
    let url = session.url(&format!("blobs/{}", wanted.digest));
    let mut last = String::new();
    for _ in 0..TRIES {
        let have = partial.have();
        if have == wanted.size {
            break;
        }
        let mut ask = Ask::new(Method::GET, url.clone());
        if have > 0 {
            ask = ask.header(RANGE, format!("bytes={have}-"));
        }
        let answer = match session.send(&ask, &empty).await {
            Ok(answer) => answer,
            Err(why) => {
                last = why;
                continue;
            }
        };
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if have > 0 => {}
            status if status.is_success() => {
                if have > 0 {
                    partial.restart().map_err(text)?;
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.restart().map_err(text)?;
                continue;
            }
            StatusCode::NOT_FOUND => {
                return Err(format!(
                    "failed to copy: httpReadSeeker: failed open: content at {url} not found: not found"
                ));
            }
            _ => {
                let why = refusal(&ask, answer).await;
                return Err(format!("failed to copy: httpReadSeeker: failed open: {why}"));
            }
        }
        let mut body = answer.into_body();
        last = loop {
            match frame(&mut body).await {
                Ok(Some(piece)) => partial
                    .write(&piece)
                    .map_err(|error| format!("failed to copy: {error}"))?,
                Ok(None) => break "unexpected EOF".to_owned(),
                Err(why) => break why,
            }
        };
        if partial.have() == have {
            // It has nothing more to give.
            break;
        }
    }
    if partial.have() < wanted.size {
        return Err(format!("failed to copy: httpReadSeeker: failed open: {last}"));
    }
    let named = wanted.digest.clone();
    let finished = tokio::task::spawn_blocking(move || partial.finish()).await;
    finished
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("failed commit on ref \"layer-{named}\": {error}"))
}

async fn send_blob(store: &ImageStore, session: &Session<'_>, blob: &Descriptor) -> Result<(), String> {
    let there = Ask::new(Method::HEAD, session.url(&format!("blobs/{}", blob.digest)));
    if session.send(&there, &empty).await?.status().is_success() {
        return Ok(());
    }
    let begin = Ask::new(Method::POST, session.url("blobs/uploads/"));
    let answer = session.send(&begin, &empty).await?;
    let place = answer
        .headers()
        .get(LOCATION)
        .and_then(|place| place.to_str().ok())
        .map(str::to_owned);
    let (StatusCode::ACCEPTED, Some(place)) = (answer.status(), place) else {
        return Err(refusal(&begin, answer).await);
    };
    let place = join(&begin.url, &place)?;
    let separator = if place.contains('?') { '&' } else { '?' };
    let put = Ask::new(Method::PUT, format!("{place}{separator}digest={}", blob.digest))
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(http::header::CONTENT_LENGTH, blob.size.to_string());
    let path = store.blobs.path(&blob.digest);
    store.blobs.file(blob).map_err(|error| error.to_string())?;
    let answer = session.send(&put, &|| content(path.clone())).await?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(refusal(&put, answer).await)
    }
}

/// A file as the content of a request.
fn content(path: PathBuf) -> Body {
    let opened = async move { tokio::fs::File::open(path).await.map(tokio_util::io::ReaderStream::new) };
    let frames = futures::stream::once(opened)
        .try_flatten()
        .map_ok(hyper::body::Frame::data);
    BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(frames.boxed()))))
}

/// A stream that may be shared, since only one ever polls it.
struct SyncStream(Mutex<futures::stream::BoxStream<'static, std::io::Result<hyper::body::Frame<Bytes>>>>);

impl futures::Stream for SyncStream {
    type Item = std::io::Result<hyper::body::Frame<Bytes>>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let stream = &self.get_mut().0;
        stream
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .poll_next_unpin(cx)
    }
}

#[cfg(test)]
mod tests;
