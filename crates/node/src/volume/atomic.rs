//! Files that change all at once.
//!
//! A program that reads two keys of a ConfigMap must never see one old and one new. So the files lie in a directory
//! named after the time of the change, `..data` is a symbolic link to it, and what programs see are links through
//! `..data`. Renaming one new link over `..data` changes them all.
//!
//! Containers mount these volumes read-only. Should one get to write to its volume all the same, nothing here follows a link out of it or
//! waits for what it finds: everything is taken for what it is, and what does not belong is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::OFlag;

/// A file to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    /// Its user, where that is not to be the kubelet's.
    pub(crate) uid: Option<u32>,
}

/// Files by path relative to the volume.
pub(crate) type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";
const DATA_TMP: &str = "..data_tmp";
/// What `fsGroup` adds to the rights on a file of a volume that is mounted read-only.
const GROUP_READS: u32 = 0o440;

/// Makes `dir` hold exactly `payload`, readable by the group `fs_group`. Does nothing when it does already; returns whether it changed
/// something.
pub(crate) fn write(dir: &Path, payload: &Payload, fs_group: Option<u32>, now: Timestamp) -> io::Result<bool> {
    for path in payload.keys() {
        let plain = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !plain || path.starts_with("..") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("invalid path: {path}"),
            ));
        }
    }
    fs::create_dir_all(dir)?;
    let data = dir.join(DATA);
    let old = current(dir);
    if let Some(old) = &old
        && holds(&dir.join(old), payload, fs_group).unwrap_or(false)
    {
        // Links that programs see may have been damaged all the same.
        show(dir, payload)?;
        return Ok(false);
    }
    let fresh = fresh(dir, now)?;
    let root = dir.join(&fresh);
    own(&root, fs_group)?;
    for (path, file) in payload {
        if let Some(parent) = Path::new(path).parent() {
            let mut directory = root.clone();
            for part in parent {
                directory.push(part);
                match make_dir(&directory) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => own(&directory, fs_group)?,
                }
            }
        }
        create(&root.join(path), file, fs_group)?;
    }
    remove(&dir.join(DATA_TMP))?; // of an attempt that was interrupted
    symlink(&fresh, dir.join(DATA_TMP))?;
    // A rename does not replace a directory.
    if fs::symlink_metadata(&data).is_ok_and(|found| found.is_dir()) {
        remove(&data)?;
    }
    fs::rename(dir.join(DATA_TMP), &data)?;
    show(dir, payload)?;
    sweep(dir, &fresh)?;
    Ok(true)
}

/// The name of the directory with the present files. `None` for anything but what [`write()`] leaves: a link to a directory beside it.
fn current(dir: &Path) -> Option<PathBuf> {
    let link = fs::read_link(dir.join(DATA)).ok()?;
    let plain = is_stamp(link.as_os_str()) && link.components().count() == 1;
    let is_dir = fs::symlink_metadata(dir.join(&link)).is_ok_and(|found| found.is_dir());
    (plain && is_dir).then_some(link)
}

/// Names of directories with files: `..2026_11_21_...`.
fn is_stamp(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix(".."))
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()) && !rest.contains('/'))
}

/// Makes the directory for new files; nothing was there before.
fn fresh(dir: &Path, now: Timestamp) -> io::Result<String> {
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    for serial in 0..1000 {
        let name = if serial == 0 {
            stamp.clone()
        } else {
            format!("{stamp}.{serial}")
        };
        match make_dir(&dir.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(name),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("no name left for {stamp}"),
    ))
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)
}

/// Gives a directory that was just made to the group whose containers read it.
fn own(directory: &Path, fs_group: Option<u32>) -> io::Result<()> {
    match fs_group {
        Some(_) => super::ownership::chown_new(&open(directory, OFlag::O_DIRECTORY)?, None, fs_group),
        None => Ok(()),
    }
}

fn create(path: &Path, file: &File, fs_group: Option<u32>) -> io::Result<()> {
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    made.write_all(&file.data)?;
    super::ownership::chown_new(&made, file.uid, fs_group)?;
    // Last, since a change of owner takes rights away; and whatever the umask is.
    made.set_permissions(fs::Permissions::from_mode(mode(file, fs_group)))
}

fn mode(file: &File, fs_group: Option<u32>) -> u32 {
    file.mode | fs_group.map_or(0, |_| GROUP_READS)
}

/// Opens what is at `path` itself, without waiting for a writer.
fn open(path: &Path, flags: OFlag) -> io::Result<fs::File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | flags).bits())
        .open(path)
}

/// Removes whatever is at `path`, and only that.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The links that programs see: one per first part of a path.
fn show(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            continue;
        }
        remove(&link)?;
        symlink(target, &link)?;
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the directories of earlier files.
fn sweep(dir: &Path, keep: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if is_stamp(&entry.file_name()) && entry.file_name() != keep {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The files below `root` are exactly those of `payload`.
fn holds(root: &Path, payload: &Payload, fs_group: Option<u32>) -> io::Result<bool> {
    let mut found = 0;
    let mut dirs: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            let Some(text) = path.to_str() else {
                return Ok(false);
            };
            if entry.file_type()?.is_dir() {
                // Only those that lead to a file of the payload.
                if !payload.keys().any(|wanted| Path::new(wanted).starts_with(&path)) {
                    return Ok(false);
                }
                dirs.push(path);
                continue;
            }
            match payload.get(text) {
                Some(wanted) if same(&entry.path(), wanted, fs_group)? => found += 1,
                _ => return Ok(false),
            }
        }
    }
    Ok(found == payload.len())
}

fn same(path: &Path, wanted: &File, fs_group: Option<u32>) -> io::Result<bool> {
    let file = open(path, OFlag::empty())?;
    let found = file.metadata()?;
    let fits = found.is_file()
        && found.len() == wanted.data.len() as u64
        && found.permissions().mode() & 0o7777 == mode(wanted, fs_group)
        && !super::ownership::differs(&found, wanted.uid, fs_group);
    if !fits {
        return Ok(false);
    }
    let mut data = Vec::new();
    file.take(found.len() + 1).read_to_end(&mut data)?;
    Ok(data == wanted.data)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File {
            data: text.into(),
            mode: 0o640,
            uid: None,
        };
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), file(text)))
            .collect()
    }

    #[test]
    fn a_change_swaps_all_files_by_one_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("volume");
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        let read = |path: &str| fs::read_to_string(dir.join(path)).ok();
        assert!(write(&dir, &payload(&[("a", "1"), ("sub/b", "1"), ("c", "1")]), None, now).expect("written"));
        let first = fs::read_link(dir.join(DATA)).expect("a link");
        assert_eq!(read("sub/b").as_deref(), Some("1"));
        assert!(fs::symlink_metadata(dir.join("a")).expect("there").is_symlink());
        assert!(
            !write(&dir, &payload(&[("a", "1"), ("sub/b", "1"), ("c", "1")]), None, now).expect("written"),
            "unchanged"
        );
        assert!(write(&dir, &payload(&[("a", "2"), ("d", "2")]), None, now).expect("written"));
        assert_ne!(fs::read_link(dir.join(DATA)).expect("a link"), first);
        assert_eq!(
            [read("a"), read("c"), read("d")],
            [Some("2".into()), None, Some("2".into())]
        );
        assert!(fs::symlink_metadata(dir.join("c")).is_err(), "the stale link is gone");
        assert!(!dir.join(first).exists(), "the old files are gone");
        let mode = fs::metadata(dir.join("a")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn paths_out_of_the_volume_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        for path in ["../x", "/etc/x", "a/../../x", "..data/x", ""] {
            assert!(
                write(dir.path(), &payload(&[(path, "x")]), None, Timestamp::UNIX_EPOCH).is_err(),
                "{path}"
            );
        }
    }

    /// What a container that can write to its volume may make of it.
    fn hostile(prepare: impl Fn(&Path, &Path)) {
        let parent = tempfile::tempdir().expect("a directory");
        let (dir, outside) = (parent.path().join("volume"), parent.path().join("outside"));
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("a"), "precious").expect("written");
        let now = Timestamp::from_second(1_700_000_000).expect("in range");
        write(&dir, &payload(&[("a", "1")]), None, now).expect("written");
        prepare(&dir, &outside);
        write(&dir, &payload(&[("a", "2")]), None, now).expect("written");
        assert_eq!(fs::read_to_string(outside.join("a")).expect("there"), "precious");
        assert_eq!(
            fs::read_dir(&outside).expect("there").count(),
            1,
            "nothing is added either"
        );
        assert_eq!(fs::read_to_string(dir.join("a")).expect("there"), "2");
        let link = fs::read_link(dir.join(DATA)).expect("a link");
        assert_eq!(link.components().count(), 1, "{}", link.display());
        assert!(
            !write(&dir, &payload(&[("a", "2")]), None, now).expect("written"),
            "settled"
        );
    }

    fn replace_data(dir: &Path, target: &Path) {
        fs::remove_file(dir.join(DATA)).expect("removed");
        symlink(target, dir.join(DATA)).expect("linked");
    }

    #[test]
    fn a_data_link_to_elsewhere_deletes_nothing_there() {
        hostile(replace_data);
        hostile(|dir, _| replace_data(dir, Path::new("../outside")));
        hostile(|dir, _| replace_data(dir, Path::new("..")));
        hostile(|dir, outside| {
            // A name as the writer makes them, which leads on.
            symlink(outside, dir.join("..2000_01_01")).expect("linked");
            replace_data(dir, Path::new("..2000_01_01"));
        });
    }

    #[test]
    fn files_and_links_in_the_way_are_replaced_and_not_followed() {
        hostile(|dir, outside| {
            remove(&dir.join("a")).expect("removed");
            symlink(outside.join("a"), dir.join("a")).expect("linked");
            symlink(outside, dir.join("foreign")).expect("linked");
        });
        hostile(|dir, outside| {
            fs::create_dir(dir.join(DATA_TMP)).expect("made");
            fs::create_dir(dir.join("tree")).expect("made");
            symlink(outside, dir.join("tree/link")).expect("linked");
            remove(&dir.join(DATA)).expect("removed");
            fs::create_dir(dir.join(DATA)).expect("made");
        });
        hostile(|dir, outside| {
            // Where the next files are to lie.
            for serial in 0..3 {
                let name = format!(
                    "..2023_11_14_22_13_20.000000000{}",
                    [String::new(), ".1".into(), ".2".into()][serial]
                );
                if !dir.join(&name).exists() {
                    symlink(outside, dir.join(&name)).expect("linked");
                }
            }
        });
    }

    #[test]
    fn a_pipe_in_the_volume_stops_nobody() {
        hostile(|dir, _| {
            let current = dir.join(fs::read_link(dir.join(DATA)).expect("a link"));
            fs::remove_file(current.join("a")).expect("removed");
            nix::unistd::mkfifo(&current.join("a"), nix::sys::stat::Mode::from_bits_truncate(0o640)).expect("a pipe");
        });
        hostile(|dir, _| {
            fs::create_dir(dir.join("e")).expect("made");
            nix::unistd::mkfifo(&dir.join("e/a"), nix::sys::stat::Mode::from_bits_truncate(0o640)).expect("a pipe");
            replace_data(dir, Path::new("e"));
        });
    }

    #[test]
    fn the_group_of_the_pod_may_read_what_its_owner_may() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("volume");
        let group = nix::unistd::getegid().as_raw();
        let mut files = payload(&[("sub/a", "1")]);
        files.get_mut("sub/a").expect("there").mode = 0o400;
        assert!(write(&dir, &files, Some(group), Timestamp::UNIX_EPOCH).expect("written"));
        assert!(
            !write(&dir, &files, Some(group), Timestamp::UNIX_EPOCH).expect("written"),
            "unchanged"
        );
        let found = fs::metadata(dir.join("sub/a")).expect("there");
        assert_eq!((found.permissions().mode() & 0o7777, found.gid()), (0o440, group));
    }
}
