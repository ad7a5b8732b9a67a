//! Whose a volume's files are: what `fsGroup` asks for.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmodat, fstatat};
use nix::unistd::{Gid, fchownat, geteuid};

/// What a group needs to use a volume: to read and write files, and to go through directories, whose files then belong to it too.
const FILE: u32 = 0o660;
const DIRECTORY: u32 = 0o2770;
/// Directories open at once, which is how deep a tree may be.
const DEEPEST: usize = 512;

/// Whether a file is to belong to somebody else. An unprivileged user has no files but its own, which are a container's whoever it runs
/// as.
pub(super) fn differs(found: &Metadata, uid: Option<u32>, gid: Option<u32>) -> bool {
    geteuid().is_root() && (uid.is_some_and(|uid| uid != found.uid()) || gid.is_some_and(|gid| gid != found.gid()))
}

/// Gives away a file that was just made.
pub(super) fn chown_new(file: &File, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    if geteuid().is_root() && (uid, gid) != (None, None) {
        return fchown(file, uid, gid);
    }
    Ok(())
}

/// Makes a volume usable for the group `gid`, following no link in it. `on_root_mismatch` leaves a volume alone whose own directory is as
/// it should be: `fsGroupChangePolicy`.
pub(super) fn set_group(volume: &Path, gid: u32, on_root_mismatch: bool) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    if on_root_mismatch {
        let found = fs::symlink_metadata(volume)?;
        if found.gid() == gid && found.permissions().mode() & DIRECTORY == DIRECTORY {
            return Ok(());
        }
    }
    walk(volume, &mut |parent, name, found| change(parent, name, found, gid))?;
    // The volume's own directory comes last: that it is right says that the rest is.
    let parent = Dir::open(
        volume,
        OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let found = nix::sys::stat::fstat(&parent)?;
    nix::unistd::fchown(&parent, None, Some(Gid::from_raw(gid)))?;
    nix::sys::stat::fchmod(&parent, Mode::from_bits_truncate(found.st_mode | DIRECTORY))?;
    Ok(())
}

fn change(parent: &Dir, name: &std::ffi::CStr, found: &FileStat, gid: u32) -> nix::Result<()> {
    let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
    fchownat(
        parent,
        name,
        None,
        Some(Gid::from_raw(gid)),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    let add = match kind {
        SFlag::S_IFDIR => DIRECTORY,
        SFlag::S_IFREG => FILE,
        // A link has no rights of its own; devices, pipes and sockets keep theirs.
        _ => return Ok(()),
    };
    let mode = Mode::from_bits_truncate((found.st_mode & 0o7777) | add);
    match fchmodat(parent, name, mode, FchmodatFlags::NoFollowSymlink) {
        // It has become a link in between.
        Err(Errno::EOPNOTSUPP | Errno::ELOOP) => Ok(()),
        other => other,
    }
}

/// Disk space that a directory's files take, in bytes. Follows no link and stays on its file system; a file with several names counts
/// once.
pub(crate) fn usage(directory: &Path) -> io::Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut bytes: u64 = 0;
    walk(directory, &mut |_, _, found| {
        if found.st_nlink < 2
            || SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
            || seen.insert((found.st_dev, found.st_ino))
        {
            let blocks = u64::try_from(found.st_blocks).unwrap_or(0);
            bytes = bytes.saturating_add(blocks.saturating_mul(512));
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Visits everything below a directory, each by its name in its open parent.
fn walk(
    directory: &Path,
    visit: &mut dyn FnMut(&Dir, &std::ffi::CStr, &FileStat) -> nix::Result<()>,
) -> io::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let root = Dir::open(directory, flags, Mode::empty())?;
    let device = nix::sys::stat::fstat(&root)?.st_dev;
    let names = |directory: &mut Dir| -> Vec<std::ffi::CString> {
        let entries = directory.iter().flatten().map(|entry| entry.file_name().to_owned());
        entries
            .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
            .collect()
    };
    let mut open = vec![root];
    let mut left = vec![names(&mut open[0])];
    while let (Some(parent), Some(name)) = (open.last(), left.last_mut().map(Vec::pop)) {
        let Some(name) = name else {
            open.pop();
            left.pop();
            continue;
        };
        let found = match fstatat(parent, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            // Gone since it was listed.
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        match visit(parent, &name, &found) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let is_dir = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        if !is_dir || found.st_dev != device {
            continue;
        }
        if open.len() >= DEEPEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "directories lie too deep in each other",
            ));
        }
        match Dir::openat(parent, name.as_c_str(), flags, Mode::empty()) {
            Ok(mut directory) => {
                left.push(names(&mut directory));
                open.push(directory);
            }
            // Gone, or something else by now.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn usage_counts_each_file_once_and_nothing_behind_links() {
        let parent = tempfile::tempdir().expect("a directory");
        let (volume, outside) = (parent.path().join("v"), parent.path().join("outside"));
        fs::create_dir_all(volume.join("a/b")).expect("made");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("big"), vec![1; 4 << 20]).expect("written");
        let empty = usage(&volume).expect("measured");
        fs::write(volume.join("a/b/file"), vec![1; 1 << 20]).expect("written");
        fs::hard_link(volume.join("a/b/file"), volume.join("again")).expect("linked");
        symlink(&outside, volume.join("a/link")).expect("linked");
        symlink(outside.join("big"), volume.join("file")).expect("linked");
        nix::unistd::mkfifo(&volume.join("pipe"), Mode::S_IRWXU).expect("a pipe");
        let used = usage(&volume).expect("measured") - empty;
        assert!((1 << 20..2 << 20).contains(&used), "{used}");
    }

    #[test]
    fn a_tree_too_deep_to_measure_is_an_error() {
        let parent = tempfile::tempdir().expect("a directory");
        let deep: std::path::PathBuf = std::iter::repeat_n("d", DEEPEST + 2).collect();
        fs::create_dir_all(parent.path().join(deep)).expect("made");
        assert!(usage(parent.path()).is_err());
    }

    #[test]
    fn a_volume_s_group_is_set_inside_it_only() {
        if !geteuid().is_root() {
            return;
        }
        let parent = tempfile::tempdir().expect("a directory");
        let (volume, outside) = (parent.path().join("v"), parent.path().join("outside"));
        fs::create_dir_all(volume.join("a")).expect("made");
        fs::write(volume.join("a/file"), "x").expect("written");
        fs::set_permissions(volume.join("a/file"), fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&outside, "x").expect("written");
        symlink(&outside, volume.join("link")).expect("linked");
        set_group(&volume, 4711, false).expect("set");
        let of = |path: &Path| {
            let found = fs::symlink_metadata(path).expect("there");
            (found.gid(), found.permissions().mode() & 0o7777)
        };
        assert_eq!(of(&volume.join("a/file")), (4711, 0o660));
        assert_eq!(of(&volume.join("a")), (4711, 0o2775));
        assert_eq!(of(&volume).0, 4711);
        assert_ne!(of(&outside).0, 4711);
        fs::write(volume.join("late"), "x").expect("written");
        std::os::unix::fs::chown(volume.join("late"), None, Some(0)).expect("changed");
        set_group(&volume, 4711, true).expect("set");
        assert_eq!(of(&volume.join("late")).0, 0, "the volume's own directory was right");
    }
}
