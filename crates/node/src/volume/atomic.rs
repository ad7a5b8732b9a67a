//! Files that change all at once.
//!
//! A program that reads two keys of a ConfigMap must never see one old and one new. So the files lie in a directory
//! named after the time of the change, `..data` is a symbolic link to it, and what programs see are links through
//! `..data`. Renaming one new link over `..data` changes them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

/// A file to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
}

/// Files by path relative to the volume.
pub(crate) type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";

/// Makes `dir` hold exactly `payload`. Does nothing when it does already; returns whether it changed something.
pub(crate) fn write(dir: &Path, payload: &Payload, now: Timestamp) -> io::Result<bool> {
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
    let old = fs::read_link(&data).ok();
    if old.is_some() && holds(&data, payload)? {
        return Ok(false);
    }
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let mut fresh = stamp.clone();
    for serial in 1.. {
        if !dir.join(&fresh).exists() {
            break;
        }
        fresh = format!("{stamp}.{serial}");
    }
    for (path, file) in payload {
        let path = dir.join(&fresh).join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.data)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    fs::create_dir_all(dir.join(&fresh))?;
    let link = dir.join("..data_tmp");
    let _ = fs::remove_file(&link); // of an attempt that was interrupted
    symlink(&fresh, &link)?;
    fs::rename(&link, &data)?;
    show(dir, payload)?;
    if let Some(old) = old {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(true)
}

/// The links that programs see: one per first part of a path.
fn show(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The files below `data` are exactly those of `payload`.
fn holds(data: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = 0;
    let mut dirs: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(data.join(&dir))? {
            let entry = entry?;
            let path = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                dirs.push(path);
                continue;
            }
            let wanted = path.to_str().and_then(|path| payload.get(path));
            let mode = entry.metadata()?.permissions().mode() & 0o7777;
            if !wanted
                .is_some_and(|file| file.mode == mode && fs::read(entry.path()).is_ok_and(|data| data == file.data))
            {
                return Ok(false);
            }
            found += 1;
        }
    }
    Ok(found == payload.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File {
            data: text.into(),
            mode: 0o640,
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
        assert!(write(&dir, &payload(&[("a", "1"), ("sub/b", "1"), ("c", "1")]), now).expect("written"));
        let first = fs::read_link(dir.join(DATA)).expect("a link");
        assert_eq!(read("sub/b").as_deref(), Some("1"));
        assert!(fs::symlink_metadata(dir.join("a")).expect("there").is_symlink());
        assert!(
            !write(&dir, &payload(&[("a", "1"), ("sub/b", "1"), ("c", "1")]), now).expect("written"),
            "unchanged"
        );
        assert!(write(&dir, &payload(&[("a", "2"), ("d", "2")]), now).expect("written"));
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
                write(dir.path(), &payload(&[(path, "x")]), Timestamp::UNIX_EPOCH).is_err(),
                "{path}"
            );
        }
    }
}
