//! Reading a file of somebody else's tree.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens the regular file at `path` of the tree whose root is `root`, for reading. Links lead about in the tree and never out of it, and
/// nothing that reading would have to wait for is opened.
#[cfg(target_os = "linux")]
pub fn open_in_root(root: &Path, path: &Path) -> io::Result<File> {
    let root = File::open(root)?;
    Ok(crate::linux::Tree::of_container(root.into()).read(path)?)
}

/// The same without the kernel's help: links are not followed at all.
#[cfg(not(target_os = "linux"))]
pub fn open_in_root(root: &Path, path: &Path) -> io::Result<File> {
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::Mode;

    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut found: std::os::fd::OwnedFd = File::open(root)?.into();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => found = openat(&found, name, flags, Mode::empty())?,
            std::path::Component::ParentDir => return Err(io::ErrorKind::InvalidInput.into()),
            _ => {}
        }
    }
    let file = File::from(found);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::ErrorKind::InvalidInput.into())
}
