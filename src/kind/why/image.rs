//! Images that cannot be had.

use serde_json::Value;

use super::container::{Container, all};
use super::finding::Finding;
use super::pod::{has_template, maker};
use super::world::Known;
use super::{Cx, GRACE_SLOW, brief, few, namespace};
use crate::kind::field::{items, text};

/// What a registry's answer means, by its words: the most specific first.
const ANSWERS: &[(&str, &[&str])] = &[
    ("image.disk", &["no space left on device"]),
    ("image.arch", &["no match for platform", "no matching manifest for"]),
    ("image.ratelimit", &["toomanyrequests", "429", "pull rate limit"]),
    (
        "image.auth",
        &[
            "unauthorized",
            "authentication required",
            "401",
            "403 forbidden",
            "pull access denied",
            "no basic auth credentials",
            "insufficient_scope",
            "denied:",
        ],
    ),
    (
        "image.network",
        &[
            "dial tcp",
            "i/o timeout",
            "no such host",
            "connection refused",
            "x509:",
            "server gave http response to https client",
            "proxyconnect",
            "context deadline exceeded",
            "registryunavailable",
        ],
    ),
    (
        "image.notfound",
        &[
            "not found",
            "manifest unknown",
            "name_unknown",
            "not known",
            "does not exist",
        ],
    ),
];

/// Why a container's image is not there.
pub(super) fn unpulled(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let pod = container.pod;
    let (reason, message) = container.waiting();
    let image = text(&container.spec["image"]);
    let node = text(&pod["spec"]["nodeName"]);
    let change = |finding: Finding| set_image(cx, container, finding);
    match reason {
        "InvalidImageName" => {
            let sentence = format!("{image:?} is not a valid image name.");
            Some(change(
                Finding::critical("image.name", pod, sentence).read(container.spec_path("image"), image),
            ))
        }
        "ErrImageNeverPull" => {
            let sentence =
                format!("Image {image} is not on node {node}, and the pull policy Never forbids getting it.");
            Some(
                Finding::critical("image.never", pod, sentence)
                    .read(container.spec_path("imagePullPolicy"), "Never")
                    .edit(&maker(cx, pod), "set imagePullPolicy to IfNotPresent"),
            )
        }
        "SignatureValidationFailed" => Some(
            Finding::critical(
                "image.sign",
                pod,
                format!("The signature of image {image} was refused."),
            )
            .read(container.path("state.waiting.message"), message),
        ),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => Some(refused(cx, container)),
        "ContainerCreating" | "PodInitializing" => slow(cx, container),
        _ => None,
    }
}

/// The registry's answer in the container's state, or in an event where the state only says that there is a pause.
fn answer<'a>(cx: Cx<'a>, container: Container<'a>) -> (&'a str, &'a str) {
    let (reason, message) = container.waiting();
    if reason != "ImagePullBackOff" || message.contains("rror") {
        return ("", message);
    }
    let told = cx
        .world
        .events(container.pod)
        .iter()
        .filter(|event| event.reason == "Failed" && event.concerns(container.name()))
        .filter(|event| event.message.starts_with("Failed to pull image"))
        .max_by_key(|event| event.last);
    told.map_or(("", message), |event| ("event Failed", event.message.as_str()))
}

fn refused(cx: Cx<'_>, container: Container<'_>) -> Finding {
    let pod = container.pod;
    let image = text(&container.spec["image"]);
    let (path, message) = answer(cx, container);
    let path = if path.is_empty() {
        container.path("state.waiting.message")
    } else {
        path.to_owned()
    };
    let low = message.to_lowercase();
    let cause = ANSWERS
        .iter()
        .find(|(_, words)| words.iter().any(|word| low.contains(word)))
        .map_or("image.pull", |(cause, _)| *cause);
    let node = text(&pod["spec"]["nodeName"]);
    let host = registry(image);
    let finding = match cause {
        "image.notfound" => {
            let near = near(cx, pod, image);
            let sentence = match &near {
                Some(tag) => format!("Image {image} does not exist; other pods run {tag}."),
                None => format!("Image {image} does not exist in its registry."),
            };
            set_image(cx, container, Finding::critical(cause, pod, sentence))
        }
        "image.auth" => {
            let missing = missing_secrets(cx, pod);
            let sentence = if missing.is_empty() {
                format!("{host} does not give image {image}: it is missing, or private and the credentials do not do.")
            } else {
                format!("{host} does not give image {image}, and the pull secret {missing} does not exist.")
            };
            let namespace = namespace(pod);
            set_image(
                cx,
                container,
                Finding::critical(cause, pod, sentence)
                    .read("spec.imagePullSecrets", secrets(pod))
                    .advise(
                        "make a pull secret and name it in imagePullSecrets",
                        format!("kubectl create secret docker-registry NAME -n {namespace} --docker-server={host} --docker-username=USER --docker-password=PASSWORD"),
                    ),
            )
        }
        "image.network" => {
            let sentence = format!("Node {node} cannot reach the registry {host}.");
            Finding::critical(cause, pod, sentence).advise(
                "check the node's DNS, its way to the registry and the registry's certificate",
                "",
            )
        }
        "image.ratelimit" => {
            let sentence = format!("{host} limits how often images are pulled; it is tried again by itself.");
            Finding::warning(cause, pod, sentence).advise("pull with credentials, or through a mirror", "")
        }
        "image.arch" => {
            let architecture = cx
                .world
                .get("", "Node", "", node)
                .there()
                .map_or("the node's architecture", |node| {
                    text(&node["status"]["nodeInfo"]["architecture"])
                });
            let sentence = format!("Image {image} has no build for {architecture}.");
            set_image(cx, container, Finding::critical(cause, pod, sentence))
        }
        "image.disk" => Finding::critical(
            cause,
            pod,
            format!("Node {node} has no room on its disk for image {image}."),
        ),
        _ => {
            let sentence = format!("Image {image} cannot be pulled.");
            set_image(cx, container, Finding::critical("image.pull", pod, sentence))
        }
    };
    finding
        .since(crate::kind::field::time(&pod["status"]["startTime"]))
        .read(path, brief(message))
}

fn slow(cx: Cx<'_>, container: Container<'_>) -> Option<Finding> {
    let pod = container.pod;
    let mine = |reasons: &[&str]| {
        cx.world
            .events(pod)
            .iter()
            .filter(|event| reasons.contains(&event.reason.as_str()) && event.concerns(container.name()))
            .filter_map(|event| event.last)
            .max()
    };
    let began = mine(&["Pulling"])?;
    if mine(&["Pulled", "Failed"]).is_some_and(|ended| ended >= began) || !cx.older(Some(began), GRACE_SLOW) {
        return None;
    }
    let image = text(&container.spec["image"]);
    let sentence = format!("Image {image} has been on its way for {}.", cx.age(Some(began)));
    Some(
        Finding::note("image.slow", pod, sentence)
            .since(Some(began))
            .read("event Pulling", image)
            .advise("wait: a large image takes its time at first", ""),
    )
}

/// Offers to change the image where it is said.
fn set_image(cx: Cx<'_>, container: Container<'_>, finding: Finding) -> Finding {
    let maker = maker(cx, container.pod);
    let command = format!(
        "kubectl set image {} {}=IMAGE:TAG{}",
        maker.argument(),
        container.name(),
        maker.flag()
    );
    let finding = finding.advise("name an image that exists", command);
    let finding = match finding.remedies.last() {
        Some(_) => finding.by(super::Fix::Edit(maker.clone())),
        None => finding,
    };
    if has_template(&maker) && maker.kind == "Deployment" {
        let undo = format!("kubectl rollout undo {}{}", maker.argument(), maker.flag());
        finding.advise("go back to the revision before", undo)
    } else {
        finding
    }
}

/// The host of an image's registry.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// An image without its tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

/// Another tag of the same image that a pod runs.
fn near(cx: Cx<'_>, pod: &Value, image: &str) -> Option<String> {
    cx.world
        .within("", "Pod", namespace(pod))
        .flat_map(all)
        .filter(|other| other.status["state"]["running"].is_object())
        .map(|other| text(&other.spec["image"]))
        .find(|other| *other != image && repository(other) == repository(image))
        .map(str::to_owned)
}

fn secrets(pod: &Value) -> String {
    let names = few(items(&pod["spec"]["imagePullSecrets"])
        .iter()
        .map(|secret| text(&secret["name"])));
    if names.is_empty() { "none".into() } else { names }
}

/// The pull secrets that a pod names and that surely do not exist.
fn missing_secrets(cx: Cx<'_>, pod: &Value) -> String {
    few(items(&pod["spec"]["imagePullSecrets"])
        .iter()
        .map(|secret| text(&secret["name"]))
        .filter(|name| cx.world.get("", "Secret", namespace(pod), name) == Known::Absent))
}
