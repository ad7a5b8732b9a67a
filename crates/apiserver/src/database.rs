//! The database file of an API server that is not running, or that somebody else runs: checked, copied, repaired.
//!
//! All functions block.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::error::Error;
use crate::store::RESTART_GAP;
use crate::store::disk::{Folder, beside};
use crate::store::log;
use crate::store::replay::Content;

/// Versions skipped where some may have been lost: nobody can tell how many.
const LOST: u64 = 1_000_000;

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The last resourceVersion.
    pub version: u64,
    /// Number of objects by table, such as `apps/deployments`.
    pub objects: BTreeMap<String, usize>,
    /// Commit groups ever written.
    pub groups: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes at its end that are a write that was cut off, or that is under way.
    pub unfinished: u64,
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What the database holds now.
    pub kept: Summary,
    /// What could not be saved, in words. Empty if the database was whole.
    pub lost: Vec<String>,
    /// Where the damaged file is now.
    pub aside: Option<PathBuf>,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::Disk(format!("{}: {error}", path.display()))
}

/// Makes an empty database where there is none.
pub fn create(path: &Path) -> Result<(), Error> {
    let disk = Folder::lock(path)?;
    match path.exists() {
        true => Ok(()),
        false => log::replace(&disk, Content::default()).map_err(failed(path)),
    }
}

/// Reads a database from beginning to end, also while a server uses it. Changes nothing.
///
/// # Errors
/// [`Error::Corrupt`] if anything in it is not what was written.
pub fn check(path: &Path) -> Result<Summary, Error> {
    let (content, unfinished) = read(path)?;
    Ok(summary(path, &content, unfinished))
}

/// Copies a database, as it is on disk now, to a new file, also while a server uses it.
///
/// # Errors
/// If there is a file of that name, or the database is damaged.
pub fn snapshot(path: &Path, to: &Path) -> Result<Summary, Error> {
    if to.exists() {
        return Err(Error::Options(format!("there is a file {} already", to.display())));
    }
    let (content, _) = read(path)?;
    log::replace(&Folder::unlocked(to), content.clone()).map_err(failed(to))?;
    Ok(summary(to, &content, 0))
}

/// Puts a snapshot in the place of a database that no server uses. What was there is kept beside it; the second value says
/// where.
///
/// Versions go on after the highest that either of them knows, so that no client takes an old object for a new one.
pub fn restore(path: &Path, from: &Path) -> Result<(Summary, Option<PathBuf>), Error> {
    let (mut content, _) = read(from)?;
    let disk = Folder::lock(path)?;
    let old = match File::open(path) {
        Ok(file) => {
            let old = log::salvage(&file).map_err(failed(path))?;
            let gap = if old.lost.is_empty() { RESTART_GAP } else { LOST };
            Some(old.content.version + gap)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(path)(error)),
    };
    content.version = old.unwrap_or(content.version + LOST).max(content.version + RESTART_GAP);
    let aside = old.map(|_| put_aside(path, "replaced")).transpose()?;
    log::replace(&disk, content.clone()).map_err(failed(path))?;
    Ok((summary(path, &content, 0), aside))
}

/// Saves what is whole of a database that no server uses. A damaged file is kept under another name; without any file an
/// empty database is made. A whole one is left as it is.
pub fn repair(path: &Path) -> Result<Repaired, Error> {
    let disk = Folder::lock(path)?;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::replace(&disk, Content::default()).map_err(failed(path))?;
            let lost = vec!["everything: there was no database".to_owned()];
            return Ok(Repaired {
                lost,
                ..Repaired::default()
            });
        }
        Err(error) => return Err(failed(path)(error)),
    };
    if let Ok((content, unfinished)) = read(path) {
        let kept = summary(path, &content, unfinished);
        return Ok(Repaired {
            kept,
            ..Repaired::default()
        });
    }
    let saved = log::salvage(&file).map_err(failed(path))?;
    let (mut content, mut lost) = (saved.content, saved.lost);
    content.rows.retain(|row, json| match valid(row, json, u64::MAX) {
        Ok(version) => {
            content.version = content.version.max(version);
            true
        }
        Err(why) => {
            lost.push(why);
            false
        }
    });
    content.version += LOST;
    let aside = put_aside(path, "damaged")?;
    log::replace(&disk, content.clone()).map_err(failed(path))?;
    Ok(Repaired {
        kept: summary(path, &content, 0),
        lost,
        aside: Some(aside),
    })
}

/// Renames a database to a name that is not taken.
fn put_aside(path: &Path, what: &str) -> Result<PathBuf, Error> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let name = (now..)
        .map(|stamp| beside(path, &format!(".{what}-{stamp}")))
        .find(|name| !name.exists())
        .unwrap_or_else(|| beside(path, what));
    // Linked, not renamed: with a power cut now, the database is still there.
    std::fs::hard_link(path, &name)
        .or_else(|_| std::fs::copy(path, &name).map(drop))
        .map_err(failed(&name))?;
    Ok(name)
}

fn read(path: &Path) -> Result<(Content, u64), Error> {
    let corrupt = |reason: String| Error::Corrupt {
        path: path.into(),
        reason,
    };
    let file = File::open(path).map_err(failed(path))?;
    let (content, unfinished) = log::read(&file).map_err(corrupt)?;
    for (row, json) in &content.rows {
        valid(row, json, content.version).map_err(corrupt)?;
    }
    Ok((content, unfinished))
}

/// The version of an object as it lies on disk, or why it is none.
fn valid(row: &str, json: &[u8], latest: u64) -> Result<u64, String> {
    let (table, key) = row
        .split_once('\0')
        .ok_or_else(|| format!("the key {row:?} names no table"))?;
    let value: Value = serde_json::from_slice(json).map_err(|error| format!("{table} {key} is not JSON: {error}"))?;
    value["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|version| version.parse().ok())
        .filter(|version| *version <= latest)
        .ok_or_else(|| format!("{table} {key} has no valid resourceVersion"))
}

fn summary(path: &Path, content: &Content, unfinished: u64) -> Summary {
    let mut objects = BTreeMap::new();
    for row in content.rows.keys() {
        let table = row.split('\0').next().unwrap_or_default();
        *objects.entry(table.to_owned()).or_default() += 1;
    }
    Summary {
        version: content.version,
        objects,
        groups: content.group,
        bytes: std::fs::metadata(path).map_or(0, |file| file.len()),
        unfinished,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn content(version: u64, names: &[&str]) -> Content {
        let row = |name: &&str| {
            let json = format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}"#);
            (format!("configmaps\0default/{name}").into(), Bytes::from(json))
        };
        Content {
            version,
            group: 0,
            rows: names.iter().map(row).collect(),
        }
    }

    fn make(path: &Path, content: Content) {
        log::replace(&Folder::unlocked(path), content).unwrap();
    }

    #[test]
    fn a_snapshot_is_restored_and_what_it_replaces_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("cluster.db"), directory.path().join("copy"));
        make(&path, content(7, &["a", "b"]));
        // As a running server would hold it.
        let lock = Folder::lock(&path).unwrap();
        assert_eq!(snapshot(&path, &copy).unwrap().objects["configmaps"], 2);
        assert!(snapshot(&path, &copy).unwrap_err().to_string().contains("already"));
        assert!(matches!(restore(&path, &copy), Err(Error::InUse { .. })));
        drop(lock);
        make(&path, content(9, &["c"]));
        let (restored, aside) = restore(&path, &copy).unwrap();
        assert_eq!((restored.objects["configmaps"], restored.version), (2, 9 + RESTART_GAP));
        assert_eq!(check(&path).unwrap(), restored);
        assert_eq!(check(&aside.unwrap()).unwrap().version, 9);
    }

    #[test]
    fn a_repair_keeps_the_damaged_file_and_what_is_whole_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.db");
        make(&path, content(7, &["a", "b"]));
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(repair(&path).unwrap().lost, Vec::<String>::new());
        assert_eq!(std::fs::read(&path).unwrap(), whole, "nothing to repair");

        let mut damaged = whole.clone();
        damaged[20] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        assert!(matches!(check(&path), Err(Error::Corrupt { .. })));
        let repaired = repair(&path).unwrap();
        assert_eq!((repaired.lost.len(), repaired.kept.objects["configmaps"]), (1, 2));
        assert_eq!(check(&path).unwrap(), repaired.kept);
        assert_eq!(std::fs::read(repaired.aside.unwrap()).unwrap(), damaged);

        std::fs::write(&path, b"").unwrap();
        assert_eq!(repair(&path).unwrap().kept.objects.len(), 0);
        std::fs::remove_file(&path).unwrap();
        assert!(repair(&path).unwrap().lost[0].contains("no database"));
        assert_eq!(check(&path).unwrap().version, 0);
    }

    #[test]
    fn an_object_that_is_none_is_found_and_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.db");
        let mut bad = content(7, &["a"]);
        bad.rows
            .insert("configmaps\0default/b".into(), Bytes::from_static(b"{\"metadata\""));
        make(&path, bad);
        let error = check(&path).unwrap_err().to_string();
        assert!(error.contains("configmaps default/b is not JSON"), "{error}");
        let repaired = repair(&path).unwrap();
        assert_eq!((repaired.lost.len(), repaired.kept.objects["configmaps"]), (1, 1));
    }
}
