//! kuard, the demonstration server of *Kubernetes: Up and Running*.
//!
//! Like the original it runs as nobody, so that its shell prompts with `~ $` and files it writes are not root's.

use super::minimal;
use crate::definition::Definition;

pub(super) fn images() -> Vec<Definition> {
    [
        ("blue", &["blue", "latest"][..]),
        ("green", &["green"][..]),
        ("purple", &["purple"][..]),
        ("1", &["1"][..]),
        ("2", &["2"][..]),
        ("3", &["3"][..]),
    ]
    .into_iter()
    .map(|(flavor, tags)| {
        minimal("Alpine Linux (built into knarr)")
            .name("gcr.io/kuar-demo/kuard-amd64", tags)
            .name("gcr.io/kuar-demo/kuard-arm64", tags)
            .program("/kuard")
            .file("/etc/kuard-version", 0o644, &format!("v0.10.0-{flavor}\n"))
            .user("nobody:nobody")
            .cmd(&["/kuard"])
            .port("8080/tcp")
    })
    .collect()
}
