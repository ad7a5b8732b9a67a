//! Finding and making things in a container's tree, whatever links it holds.
//!
//! Each path is resolved once, by the kernel, with the tree's root as its root and without the links of `/proc` that lead anywhere; what
//! comes back is a descriptor, and only that is used.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Links to nowhere that are followed while directories are made.
const MOST_LINKS: usize = 16;
/// Tries while somebody renames directories in the way.
const TRIES: usize = 64;

/// A directory that paths do not lead out of.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// How paths are kept inside.
    bounds: ResolveFlag,
}

impl Tree {
    /// Paths are a container's own: its root is `/` for links as well.
    pub(crate) fn of_container(root: OwnedFd) -> Self {
        Self {
            root,
            bounds: ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        }
    }

    /// Paths are below a volume; a link out of it is an error.
    pub(super) fn of_volume(root: OwnedFd) -> Self {
        Self {
            root,
            bounds: ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        }
    }

    /// This process's root.
    pub(super) fn current() -> nix::Result<Self> {
        let root = nix::fcntl::open(
            "/",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self::of_container(root))
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(self.bounds);
        for _ in 0..TRIES {
            match openat2(&self.root, path, how) {
                // Something on the way was moved meanwhile.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// What is at `path`, to be mounted or mounted on.
    pub(super) fn find(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.resolve(path, OFlag::O_PATH)
    }

    /// Opens a regular file for reading. Nothing else is worth waiting for.
    pub(crate) fn read(&self, path: &Path) -> nix::Result<File> {
        let file = self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
        let found = nix::sys::stat::fstat(&file)?;
        if found.st_mode & nix::libc::S_IFMT != nix::libc::S_IFREG {
            return Err(Errno::EINVAL);
        }
        Ok(File::from(file))
    }

    /// The directory at `path`, made with its parents where it is missing.
    pub(super) fn directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.make(path, MOST_LINKS)
    }

    fn make(&self, path: &Path, links: usize) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        match self.resolve(path, flags) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let mut done = PathBuf::new();
        let mut parent = self.resolve(&done, flags)?;
        let mut parts = path.components();
        while let Some(part) = parts.next() {
            let before = done.clone();
            match part {
                Component::Normal(_) | Component::ParentDir => done.push(part),
                _ => continue,
            }
            let mut found = self.resolve(&done, flags);
            if let (Err(Errno::ENOENT), Component::Normal(name)) = (&found, part) {
                match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
                    Err(Errno::EEXIST) => {}
                    other => other?,
                }
                found = self.resolve(&done, flags);
                if matches!(found, Err(Errno::ENOENT)) {
                    // A link to what is not there yet: that is what is to be made.
                    let target = readlinkat(&parent, name)?;
                    let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                    return self.make(&before.join(target).join(parts.as_path()), links);
                }
            }
            parent = found?;
        }
        Ok(parent)
    }

    /// The file at `path`, made with its parents where it is missing. It takes the place of a link to nowhere, as images have for
    /// `/etc/resolv.conf`.
    pub(super) fn file(&self, path: &Path) -> nix::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EISDIR);
        };
        let parent = self.directory(parent)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let create = || openat(parent.as_fd(), name, flags, Mode::from_bits_truncate(0o644));
        match create() {
            Err(Errno::EEXIST) => {
                unlinkat(parent.as_fd(), name, UnlinkatFlags::NoRemoveDir)?;
                create()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn directories_are_made_through_links_and_never_outside() {
        let host = tempfile::tempdir().unwrap();
        let root = host.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        symlink("/made/by/link", root.join("a/link")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let tree = Tree::of_container(open(&root));
        for (asked, made) in [
            ("/x/y", "x/y"),
            ("/../../up", "up"),
            ("/a/../b/c", "b/c"),
            ("/a/link/z", "made/by/link/z"),
            ("/", ""),
        ] {
            tree.directory(Path::new(asked)).unwrap();
            assert!(root.join(made).is_dir(), "{asked}");
        }
        assert!(tree.directory(Path::new("/loop/x")).is_err());
        assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_replace_links_to_nowhere_and_outside_is_not_reached() {
        let host = tempfile::tempdir().unwrap();
        let root = host.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(host.path().join("secret"), "x").unwrap();
        symlink("../../secret", root.join("etc/up")).unwrap();
        symlink("/nowhere", root.join("etc/dangling")).unwrap();
        let tree = Tree::of_container(open(&root));
        for name in ["etc/up", "etc/dangling", "new/file"] {
            tree.file(Path::new(name)).unwrap();
            assert!(root.join(name).is_file(), "{name}");
            assert_eq!(fs::read_to_string(root.join(name)).unwrap(), "");
        }
        let magic = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&tree.root));
        assert_eq!(
            Tree::current().unwrap().directory(Path::new(&magic)).unwrap_err(),
            Errno::ELOOP
        );
    }

    #[test]
    fn a_volume_s_links_may_lead_about_in_it_but_not_out() {
        let host = tempfile::tempdir().unwrap();
        let root = host.path().join("volume");
        fs::create_dir_all(root.join("..data")).unwrap();
        fs::write(root.join("..data/key"), "x").unwrap();
        symlink("..data/key", root.join("key")).unwrap();
        symlink("/", root.join("host")).unwrap();
        symlink("..", root.join("up")).unwrap();
        let tree = Tree::of_volume(open(&root));
        assert!(tree.find(Path::new("key")).is_ok());
        assert!(tree.directory(Path::new("sub/path")).is_ok());
        for path in ["host/etc", "up/x", "host", "../x", "/etc"] {
            assert_eq!(tree.directory(Path::new(path)).unwrap_err(), Errno::EXDEV, "{path}");
        }
        assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_pipe_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&root.path().join("passwd"), Mode::S_IRWXU).unwrap();
        let tree = Tree::of_container(open(root.path()));
        assert!(tree.read(Path::new("/passwd")).is_err());
    }
}
