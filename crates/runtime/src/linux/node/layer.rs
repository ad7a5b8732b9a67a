//! The writable layer of a container: an overlay over the image's directory, or a copy of it where the kernel refuses overlays.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::sys::{Detached, NO_DEVICES};
use crate::linux::wire::{Context, Failure};

/// Largest image copied for want of overlays. Built-in images are a few kilobytes: their programs are mounts.
const LARGEST_COPY: u64 = 1 << 30;
const MOST_FILES: usize = 100_000;

/// Mounts the root at `<layer>/root` and returns that path.
pub(super) fn mount_root(layer: &Path, image: &Path, rootless: bool) -> Result<PathBuf, Failure> {
    let [upper, work, root] = ["upper", "work", "root"].map(|name| layer.join(name));
    for directory in [&upper, &work, &root] {
        fs::create_dir_all(directory).context("create the container's layer")?;
    }
    let mut options = b"lowerdir=".to_vec();
    escape(image, &mut options);
    options.extend(b",upperdir=");
    escape(&upper, &mut options);
    options.extend(b",workdir=");
    escape(&work, &mut options);
    if rootless {
        // Overlay keeps notes in extended attributes; an unprivileged user may write only those of the user class.
        options.extend(b",userxattr");
    }
    let refusal = match mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        // A device node that somebody makes is a node without a device.
        MsFlags::MS_NODEV,
        Some(options.as_slice()),
    ) {
        Ok(()) => return Ok(root),
        Err(error) => error,
    };
    copy_tree(image, &upper).map_err(|failure| match failure {
        Failure::Io { context, errno, text } => Failure::Io {
            context: format!("no overlay ({refusal}), and copying the image: {context}"),
            errno,
            text,
        },
        other => other,
    })?;
    let made = nix::fcntl::open(&upper, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).and_then(Detached::of);
    let target = nix::fcntl::open(&root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    made.and_then(|made| made.restrict(NO_DEVICES).and_then(|()| made.attach(target?)))
        .context("bind the container's root")?;
    Ok(root)
}

/// Overlay's options are split at commas and layers at colons.
fn escape(path: &Path, options: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b':' | b'\\') {
            options.push(b'\\');
        }
        options.push(*byte);
    }
}

/// Copies directories, files with their permissions, and symbolic links.
fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    let (mut bytes, mut files) = (0, 0);
    let mut pending = vec![(from.to_path_buf(), to.to_path_buf())];
    while let Some((from, to)) = pending.pop() {
        let doing = || format!("copy {}", from.display());
        for entry in fs::read_dir(&from).with_context(doing)? {
            let entry = entry.with_context(doing)?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let found = entry.metadata().with_context(doing)?;
            files += 1;
            if found.is_dir() {
                fs::create_dir_all(&target).with_context(doing)?;
                fs::set_permissions(&target, found.permissions()).with_context(doing)?;
                pending.push((source, target));
            } else if found.is_symlink() {
                let link = fs::read_link(&source).with_context(doing)?;
                symlink(link, &target).with_context(doing)?;
            } else if found.is_file() {
                bytes += found.len();
                fs::copy(&source, &target).with_context(doing)?;
            }
            if bytes > LARGEST_COPY || files > MOST_FILES {
                return Err(Failure::other(doing(), "the image is too large to copy"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped_in_overlay_options() {
        let mut options = Vec::new();
        escape(Path::new("/a,b:c\\d"), &mut options);
        assert_eq!(options, b"/a\\,b\\:c\\\\d");
    }

    #[test]
    fn a_copied_image_keeps_links_and_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::write(from.path().join("a/b/run"), "#!").unwrap();
        fs::set_permissions(from.path().join("a/b/run"), fs::Permissions::from_mode(0o751)).unwrap();
        symlink("b/run", from.path().join("a/link")).unwrap();
        copy_tree(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_link(to.path().join("a/link")).unwrap(), Path::new("b/run"));
        assert_eq!(
            fs::metadata(to.path().join("a/link")).unwrap().permissions().mode() & 0o777,
            0o751
        );
    }
}
