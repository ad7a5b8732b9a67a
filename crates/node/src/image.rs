//! Whether a container's image is here, and how it gets here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use knarr_image::{Image, ImageError, ImageStore, Keyring};
use tokio::time::Instant;

use crate::backoff;
use crate::context::Context;
use crate::object::{Key, Kind};

/// What the kubelet says of an image that it found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) image: Arc<Image>,
    /// Its name in statuses: normalised, with the tag.
    pub(crate) name: String,
    /// The message of the `Pulled` event.
    pub(crate) message: String,
}

/// Why a container's image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    /// The container's waiting reason.
    pub(crate) reason: &'static str,
    /// The container's waiting message.
    pub(crate) message: String,
    /// The event that tells of it, before the one that says `Error: REASON`.
    pub(crate) event: (&'static str, String),
    /// A pull was tried, to be retried after a back-off.
    pub(crate) tried: bool,
}

impl Unusable {
    fn inspect(reason: &'static str, message: String) -> Self {
        Self {
            reason,
            event: ("InspectFailed", message.clone()),
            message,
            tried: false,
        }
    }

    fn pull(reference: &str, message: String) -> Self {
        Self {
            reason: "ErrImagePull",
            event: ("Failed", format!("Failed to pull image {reference:?}: {message}")),
            message,
            tried: true,
        }
    }
}

/// Looks for the image of a container; `None` when it is to be pulled.
pub(crate) fn find(images: &ImageStore, reference: &str, policy: &str) -> Result<Option<Found>, Unusable> {
    let found = images.find(reference).map_err(|error| match error {
        ImageError::InvalidName(_) => Unusable::inspect(
            "InvalidImageName",
            format!("Failed to apply default image tag {reference:?}: {error}"),
        ),
        _ => Unusable::inspect(
            "ImageInspectError",
            format!("Failed to inspect image {reference:?}: {error}"),
        ),
    })?;
    match found {
        Some(_) if policy == "Always" => Ok(None),
        Some(image) => Ok(Some(Found {
            name: display(&image, reference),
            image,
            message: format!("Container image {reference:?} already present on machine and can be accessed by the pod"),
        })),
        None if policy == "Never" => {
            let message = format!("Container image {reference:?} is not present with pull policy of Never");
            Err(Unusable {
                reason: "ErrImageNeverPull",
                event: ("ErrImageNeverPull", message.clone()),
                message,
                tried: false,
            })
        }
        None => Ok(None),
    }
}

/// Pulls an image where that takes no time. The store is the registry of what has not come from another; and a node without a way to
/// registries knows at once that it has none. `None`: a registry is to be asked.
pub(crate) fn pull_here(cx: &Context, reference: &str) -> Option<Result<Found, Unusable>> {
    let started = Instant::now();
    match cx.images.find(reference) {
        Ok(Some(image)) if !image.from_registry => Some(Ok(pulled(image, reference, started))),
        _ if cx.options.registries.is_none() => Some(Err(Unusable::pull(reference, unreachable(reference)))),
        _ => None,
    }
}

/// Pulls an image from its registry, as whom the pod's secrets say.
pub(crate) async fn pull(cx: &Context, pod: &Pod, reference: &str) -> Result<Found, Unusable> {
    let started = Instant::now();
    let Some(registries) = &cx.options.registries else {
        return Err(Unusable::pull(reference, unreachable(reference)));
    };
    let (keyring, _) = keyring(cx, pod).await;
    match registries.pull(&cx.images, reference, &keyring).await {
        Ok(image) => Ok(pulled(image, reference, started)),
        Err(error) => Err(Unusable::pull(reference, error.to_string())),
    }
}

fn pulled(image: Arc<Image>, reference: &str, started: Instant) -> Found {
    let (took, size) = (backoff::go(started.elapsed()), image.size);
    Found {
        name: display(&image, reference),
        image,
        message: format!(
            "Successfully pulled image {reference:?} in {took} ({took} including waiting). Image size: {size} bytes."
        ),
    }
}

/// What the pod's `imagePullSecrets` hold, and the names of those that are not there. What they would be good for may work without.
pub(crate) async fn keyring(cx: &Context, pod: &Pod) -> (Keyring, Vec<String>) {
    let secrets = pod
        .spec
        .iter()
        .flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    let (mut keyring, mut missing) = (Keyring::default(), Vec::new());
    for secret in secrets.filter(|secret| !secret.name.is_empty()) {
        let key = Key {
            kind: Kind::Secret,
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: secret.name.clone(),
        };
        let Ok(data) = cx.objects.read(&key).await else {
            missing.push(secret.name.clone());
            continue;
        };
        let added = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
            (Some(json), _) => keyring.add_docker_config(json),
            (None, Some(json)) => keyring.add_docker_cfg(json),
            (None, None) => Ok(()),
        };
        if let Err(error) = added {
            tracing::warn!(secret = secret.name, %error, "a pull secret cannot be used");
        }
    }
    (keyring, missing)
}

/// The name under which the image was asked for, in full; or its first name when it was asked for by ID.
fn display(image: &Image, reference: &str) -> String {
    let full = normalise(reference);
    let known = image.references.iter().find(|name| **name == full);
    known.or(image.references.first()).cloned().unwrap_or(full)
}

/// The registry's host, the repository in it and the tag or digest.
fn parts(reference: &str) -> (&str, String, String) {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name, "latest"),
    };
    let (host, repository) = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    (host, repository, digest.unwrap_or(tag).to_owned())
}

fn normalise(reference: &str) -> String {
    let (host, repository, version) = parts(reference);
    let separator = if version.contains(':') { '@' } else { ':' };
    format!("{host}/{repository}{separator}{version}")
}

/// What a container runtime says when it cannot reach the registry.
fn unreachable(reference: &str) -> String {
    let (host, repository, version) = parts(reference);
    let full = normalise(reference);
    let server = if host == "docker.io" {
        "registry-1.docker.io"
    } else {
        host
    };
    let name = server.split(':').next().unwrap_or(server);
    format!(
        "failed to pull and unpack image {full:?}: failed to resolve reference {full:?}: failed to do request: \
         Head \"https://{server}/v2/{repository}/manifests/{version}\": dial tcp: lookup {name}: no such host"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_out_of_reach_is_described_as_a_runtime_does() {
        assert_eq!(
            unreachable("nginx:9"),
            "failed to pull and unpack image \"docker.io/library/nginx:9\": failed to resolve reference \
             \"docker.io/library/nginx:9\": failed to do request: Head \
             \"https://registry-1.docker.io/v2/library/nginx/manifests/9\": dial tcp: lookup registry-1.docker.io: no such host"
        );
        for (reference, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("luksa/kubia:v1", "docker.io/luksa/kubia:v1"),
            ("gcr.io/kuar-demo/kuard-amd64:blue", "gcr.io/kuar-demo/kuard-amd64:blue"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost/a@sha256:12", "localhost/a@sha256:12"),
        ] {
            assert_eq!(normalise(reference), full);
        }
    }
}
