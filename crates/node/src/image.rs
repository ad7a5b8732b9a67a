//! Whether a container's image is here, in the words of a node that has no way to a registry.

use std::sync::Arc;

use knarr_image::{Image, ImageError, ImageStore};
use tokio::time::Instant;

use crate::backoff;

/// What the kubelet says of an image that it found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) image: Arc<Image>,
    /// Its name in statuses: normalised, with the tag.
    pub(crate) name: String,
    /// It was "pulled", rather than already there.
    pub(crate) pulled: bool,
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
    /// A pull was tried: announced by a `Pulling` event and to be retried after a back-off.
    pub(crate) tried: bool,
}

/// Looks for the image of a container. With the policy `Always`, an image that is in the store counts as pulled: the store is
/// this node's registry.
pub(crate) fn find(images: &ImageStore, reference: &str, policy: &str) -> Result<Found, Unusable> {
    let started = Instant::now();
    let image = match images.find(reference) {
        Ok(image) => image,
        Err(error @ ImageError::InvalidName(_)) => {
            let message = format!("Failed to apply default image tag {reference:?}: {error}");
            return Err(Unusable {
                reason: "InvalidImageName",
                event: ("InspectFailed", message.clone()),
                message,
                tried: false,
            });
        }
        Err(error) => {
            let message = format!("Failed to inspect image {reference:?}: {error}");
            return Err(Unusable {
                reason: "ImageInspectError",
                event: ("InspectFailed", message.clone()),
                message,
                tried: false,
            });
        }
    };
    let pulled = policy == "Always";
    match image {
        Some(image) => {
            let message = if pulled {
                let took = backoff::go(started.elapsed());
                let size = image.size;
                format!(
                    "Successfully pulled image {reference:?} in {took} ({took} including waiting). Image size: {size} bytes."
                )
            } else {
                format!("Container image {reference:?} already present on machine and can be accessed by the pod")
            };
            Ok(Found {
                name: display(&image, reference),
                image,
                pulled,
                message,
            })
        }
        None if policy == "Never" => {
            let message = format!("Container image {reference:?} is not present with pull policy of Never");
            Err(Unusable {
                reason: "ErrImageNeverPull",
                event: ("ErrImageNeverPull", message.clone()),
                message,
                tried: false,
            })
        }
        None => {
            let message = unreachable(reference);
            Err(Unusable {
                reason: "ErrImagePull",
                event: ("Failed", format!("Failed to pull image {reference:?}: {message}")),
                message,
                tried: true,
            })
        }
    }
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
