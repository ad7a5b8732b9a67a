//! Static pod manifests.

use std::fs;
use std::io::Read;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use sha2::{Digest, Sha256};

use crate::container::hex;
use crate::pod::{HASH, SOURCE};

/// Longest manifest, and most manifests, that are read.
const LONGEST: u64 = 1 << 20;
const MOST: usize = 256;

/// The static pods described in `dir`. What is no pod is told in the log and left out.
pub(super) fn read(dir: &Path, node: &str) -> Vec<Pod> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(dir = %dir.display(), %error, "no static pods");
            return Vec::new();
        }
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.truncate(MOST);
    let hidden = |path: &Path| {
        path.file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'))
    };
    let files = files.into_iter().filter(|path| !hidden(path) && path.is_file());
    files
        .filter_map(|path| {
            let mut text = String::new();
            let read = fs::File::open(&path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
            let pod = read.map_err(|error| error.to_string()).and_then(|_| parse(&text, node));
            pod.inspect_err(|error| tracing::warn!(file = %path.display(), %error, "not a static pod"))
                .ok()
        })
        .collect()
}

/// Makes a static pod of a manifest: named after the node, with an identity that is its content's.
fn parse(text: &str, node: &str) -> Result<Pod, String> {
    let mut pod: Pod = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let name = pod
        .metadata
        .name
        .take()
        .filter(|name| !name.is_empty())
        .ok_or("it has no name")?;
    let spec = pod
        .spec
        .as_mut()
        .filter(|spec| !spec.containers.is_empty())
        .ok_or("it has no containers")?;
    spec.node_name = Some(node.to_owned());
    // It came before the scheduler and stays whatever happens to the node.
    let tolerations = spec.tolerations.get_or_insert_default();
    tolerations.push(k8s_openapi::api::core::v1::Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Default::default()
    });
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        let image = container.image.as_deref().unwrap_or_default();
        let latest = !image.contains('@') && image.rsplit('/').next().is_none_or(|last| !last.contains(':'));
        let default = if latest || image.ends_with(":latest") {
            "Always"
        } else {
            "IfNotPresent"
        };
        container.image_pull_policy.get_or_insert_with(|| default.to_owned());
    }
    let digest = Sha256::digest(format!("{node}\n{text}"));
    let hash = hex(&digest[..16]);
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.into(), hash.clone());
    annotations.insert(SOURCE.into(), "file".into());
    pod.metadata.uid = Some(hash);
    pod.status = None;
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_become_pods_of_the_node_and_mistakes_are_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        write(
            "web.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: nginx}]}\n",
        );
        write("bad.yaml", "kind: [");
        write("nameless.yaml", "kind: Pod\nspec: {containers: [{name: c}]}");
        write(
            ".hidden.yaml",
            "kind: Pod\nmetadata: {name: hidden}\nspec: {containers: [{name: c}]}",
        );
        let pods = read(dir.path(), "n1");
        assert_eq!(pods.len(), 1);
        let pod = &pods[0];
        assert_eq!(pod.metadata.name.as_deref(), Some("web-n1"));
        assert_eq!(pod.metadata.uid.as_deref(), crate::pod::annotation(pod, HASH));
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        assert_eq!(container.image_pull_policy.as_deref(), Some("Always"));
        write(
            "web.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: a}]}\n",
        );
        assert_ne!(
            read(dir.path(), "n1")[0].metadata.uid,
            pod.metadata.uid,
            "another content is another pod"
        );
    }
}
