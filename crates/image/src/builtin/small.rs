//! Images that are mostly a shell and tools, and the one that only waits.

use super::{full, minimal};
use crate::definition::Definition;

pub(super) const BUSYBOX: &str = "docker.io/library/busybox";
pub(super) const ALPINE: &str = "docker.io/library/alpine";

/// Any other release of BusyBox: `1.36.0-musl`.
pub(super) fn busybox(tag: &str) -> Option<Definition> {
    is_release(tag, 1, 38).then(|| minimal("BusyBox (built into knarr)").cmd(&["sh"]).tagged(BUSYBOX, tag))
}

/// Any other release of Alpine Linux: `3.18.4`.
pub(super) fn alpine(tag: &str) -> Option<Definition> {
    is_release(tag, 3, 23).then(|| {
        minimal("Alpine Linux (built into knarr)")
            .file("/etc/alpine-release", 0o644, &format!("{tag}\n"))
            .cmd(&["/bin/sh"])
            .tagged(ALPINE, tag)
    })
}

/// `MAJOR.MINOR[.PATCH][-VARIANT]`, not newer than there are.
fn is_release(tag: &str, major: u32, newest_minor: u32) -> bool {
    let version = tag.split('-').next().unwrap_or_default();
    let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
    matches!(numbers.as_deref(), Some([first, minor] | [first, minor, 0..=20]) if *first == major && *minor <= newest_minor)
}

pub(super) fn images() -> Vec<Definition> {
    vec![
        minimal("BusyBox (built into knarr)")
            .name(
                BUSYBOX,
                &[
                    "latest", "1", "1.24", "1.26", "1.27", "1.28", "1.28.0", "1.28.3", "1.28.4", "1.29", "1.30",
                    "1.31", "1.32", "1.33", "1.34", "1.35", "1.35.0", "1.36", "1.36.1", "1.37", "1.37.0", "stable",
                    "glibc", "musl", "uclibc",
                ],
            )
            .name("registry.k8s.io/busybox", &["latest", "1.27", "1.27.2"])
            .name("k8s.gcr.io/busybox", &["latest", "1.27"])
            .name("gcr.io/google_containers/busybox", &["latest", "1.24"])
            .cmd(&["sh"]),
        minimal("Alpine Linux (built into knarr)")
            .name(
                ALPINE,
                &[
                    "latest", "3", "3.7", "3.8", "3.9", "3.10", "3.12", "3.14", "3.15", "3.16", "3.17", "3.18", "3.19",
                    "3.20", "3.21", "3.22",
                ],
            )
            .file("/etc/alpine-release", 0o644, "3.22.0\n")
            .cmd(&["/bin/sh"]),
        minimal("Alpine Linux (built into knarr)")
            .name("docker.io/curlimages/curl", &["latest", "8.5.0", "8.10.1"])
            .name("docker.io/radial/busyboxplus", &["curl"])
            .program("/usr/bin/curl")
            .file(
                "/entrypoint.sh",
                0o755,
                "#!/bin/sh\ncase ${1-} in\n'' | -* | *://*) exec curl \"$@\" ;;\n*) exec \"$@\" ;;\nesac\n",
            )
            .entrypoint(&["/entrypoint.sh"]),
        full()
            .name("docker.io/tutum/curl", &["latest"])
            .file("/etc/motd", 0o644, "curl, built into knarr\n")
            .cmd(&["/bin/bash"]),
        // The ambassador: passes plain requests on to the API server with the pod's own rights.
        full()
            .name("docker.io/luksa/kubectl-proxy", &["latest", "1.6.2"])
            .program("/usr/local/bin/kubectl-proxy")
            .file("/kubectl-proxy.sh", 0o755, "#!/bin/sh\nexec kubectl-proxy\n")
            .entrypoint(&["/bin/sh", "-c", "/kubectl-proxy.sh"]),
        full()
            .name("docker.io/tutum/dnsutils", &["latest"])
            .name("registry.k8s.io/e2e-test-images/jessie-dnsutils", &["1.3", "1.7"])
            .name("gcr.io/kubernetes-e2e-test-images/dnsutils", &["1.3"])
            .program("/usr/bin/dig")
            .program("/usr/bin/host")
            .cmd(&["/bin/bash"]),
        Definition::new("/usr/lib/knarr/box", "pause (built into knarr)")
            .env("PATH", super::PATH)
            .name(
                "registry.k8s.io/pause",
                &["latest", "3.1", "3.2", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10"],
            )
            .name("k8s.gcr.io/pause", &["latest", "3.1", "3.2", "3.5", "3.6", "3.7"])
            .name("gcr.io/google_containers/pause", &["latest", "3.0", "3.1"])
            .name("gcr.io/google-containers/pause", &["latest", "3.1", "3.2"])
            .program("/pause")
            .entrypoint(&["/pause"]),
    ]
}
