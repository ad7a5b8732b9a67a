//! The built-in images, one file per family. Each is data; adding one is a function here and a line in [`all`].

mod kuard;
mod kubia;
mod nginx;
mod small;
mod tools;

use crate::definition::Definition;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Every built-in image.
pub(crate) fn all() -> Vec<Definition> {
    let mut all = kuard::images();
    all.extend(kubia::images());
    all.extend(nginx::images());
    all.extend(small::images());
    all
}

/// An image that is not listed, but of a family whose every release there is.
pub(crate) fn release(repository: &str, tag: &str) -> Option<Definition> {
    match repository {
        nginx::REPOSITORY => nginx::release(tag),
        small::BUSYBOX => small::busybox(tag),
        small::ALPINE => small::alpine(tag),
        _ => None,
    }
}

/// A busybox-like system: ash and the everyday tools, no bash.
fn minimal(system: &str) -> Definition {
    Definition::new("/bin/busybox", system)
        .env("PATH", PATH)
        .programs("/bin", tools::BIN)
        .programs("/usr/bin", tools::USR_BIN)
        .programs("/sbin", tools::SBIN)
}

/// A Debian-like system: bash and curl too.
fn full() -> Definition {
    Definition::new("/usr/lib/knarr/box", "Debian GNU/Linux (built into knarr)")
        .env("PATH", PATH)
        .programs("/bin", tools::BIN)
        .programs("/bin", tools::FULL)
        .programs("/usr/bin", tools::USR_BIN)
        .programs("/sbin", tools::SBIN)
}
