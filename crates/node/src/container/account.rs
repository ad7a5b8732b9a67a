//! Which user a container runs as.

use std::io::Read;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

/// Most of an account file that is read.
const LONGEST: u64 = 1 << 20;

/// User and group, when they are not root's.
pub(crate) type Identity = (Option<u32>, Option<u32>);

/// From `securityContext` of the container, else of the pod, else from the image's `USER`.
///
/// Errors are for the `CreateContainerConfigError` of the container's status.
pub(crate) fn identity(pod: &Pod, container: &Container, image_user: &str, root: &Path) -> Result<Identity, String> {
    let own = container.security_context.as_ref();
    let shared = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let id = |own: Option<i64>, shared: Option<i64>| own.or(shared).and_then(|id| u32::try_from(id).ok());
    let user = id(
        own.and_then(|context| context.run_as_user),
        shared.and_then(|context| context.run_as_user),
    );
    let group = id(
        own.and_then(|context| context.run_as_group),
        shared.and_then(|context| context.run_as_group),
    );
    let non_root = own.and_then(|context| context.run_as_non_root);
    let non_root = non_root
        .or(shared.and_then(|context| context.run_as_non_root))
        .unwrap_or(false);
    let (image_uid, image_gid) = if user.is_none() {
        lookup(image_user, root)?
    } else {
        (None, None)
    };
    let described = || {
        let pod = format!(
            "{}_{}({})",
            pod.metadata.name.as_deref().unwrap_or_default(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.uid.as_deref().unwrap_or_default()
        );
        format!("(pod: {pod:?}, container: {})", container.name)
    };
    let uid = user.or(image_uid);
    if non_root && uid.unwrap_or(0) == 0 {
        return Err(match user {
            Some(_) => format!("container's runAsUser breaks non-root policy {}", described()),
            None => format!("container has runAsNonRoot and image will run as root {}", described()),
        });
    }
    Ok((uid.filter(|uid| *uid != 0), group.or(image_gid).filter(|gid| *gid != 0)))
}

/// `USER` of an image: `user`, `uid`, `user:group` or `uid:gid`; names are looked up in the image. Errors are sentences.
pub fn lookup(user: &str, root: &Path) -> Result<Identity, String> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    if user.is_empty() {
        return Ok((None, None));
    }
    let unknown = |kind: &str, name: &str| format!("unable to find {kind} {name}: no matching entries in the image");
    let (uid, primary) = match user.parse() {
        Ok(uid) => (uid, None),
        Err(_) => {
            let entry = entry(root, "etc/passwd", user);
            let ids = entry.and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok())));
            ids.ok_or_else(|| unknown("user", user))?
        }
    };
    let gid = match group {
        None => primary,
        Some(group) => match group.parse() {
            Ok(gid) => Some(gid),
            Err(_) => {
                let entry = entry(root, "etc/group", group);
                let gid = entry.and_then(|fields| fields.get(2)?.parse().ok());
                Some(gid.ok_or_else(|| unknown("group", group))?)
            }
        },
    };
    Ok((Some(uid), gid))
}

/// The fields of the line that begins with `name:`. Links are the image's own: they lead nowhere but into it.
fn entry(root: &Path, file: &str, name: &str) -> Option<Vec<String>> {
    let mut text = Vec::new();
    let file = knarr_runtime::open_in_root(root, Path::new(file)).ok()?;
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.split(':'));
    let found = lines.find(|fields| fields.clone().next() == Some(name))?;
    Some(found.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_decides_then_the_pod_then_the_image() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("etc")).expect("made");
        std::fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:\nnode:x:1000:1001::/:\n").expect("written");
        let identity = |pod: serde_json::Value, container: serde_json::Value, user: &str| {
            let spec = json!({ "containers": [], "securityContext": pod });
            let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).expect("a pod");
            let container = serde_json::from_value(json!({ "name": "c", "securityContext": container }));
            super::identity(&pod, &container.expect("a container"), user, root.path())
        };
        assert_eq!(identity(json!({}), json!({}), ""), Ok((None, None)));
        assert_eq!(identity(json!({}), json!({}), "node"), Ok((Some(1000), Some(1001))));
        assert_eq!(identity(json!({}), json!({}), "7:8"), Ok((Some(7), Some(8))));
        assert_eq!(
            identity(json!({ "runAsUser": 5 }), json!({}), "node"),
            Ok((Some(5), None))
        );
        assert_eq!(
            identity(
                json!({ "runAsUser": 5 }),
                json!({ "runAsUser": 6, "runAsGroup": 2 }),
                ""
            ),
            Ok((Some(6), Some(2)))
        );
        assert!(identity(json!({}), json!({}), "nobody").is_err());
        let refused = identity(json!({ "runAsNonRoot": true }), json!({}), "root").expect_err("root");
        assert!(
            refused.starts_with("container has runAsNonRoot and image will run as root"),
            "{refused}"
        );
    }

    #[test]
    fn an_image_s_accounts_are_not_the_host_s_whatever_it_links_to() {
        let (root, host) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        std::fs::create_dir(root.path().join("etc")).expect("made");
        std::fs::write(host.path().join("passwd"), "spy:x:7:7::/:\n").expect("written");
        std::os::unix::fs::symlink(host.path().join("passwd"), root.path().join("etc/passwd")).expect("linked");
        assert!(lookup("spy", root.path()).is_err());
        std::fs::remove_file(root.path().join("etc/passwd")).expect("removed");
        nix::unistd::mkfifo(&root.path().join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert!(lookup("spy", root.path()).is_err(), "and nobody waits for a writer");
    }
}
