//! A cluster's database from outside: `knarr cluster check | repair | snapshot | restore`.

use std::path::{Path, PathBuf};

use knarr_apiserver::Error as StorageError;
use knarr_apiserver::database::{self, Summary};

use crate::directory::{DATABASE, Directory, Lock};
use crate::error::Error;

/// Reads the database of a cluster from beginning to end, also while it runs. What it holds, in words.
pub fn check(name: &str) -> Result<String, Error> {
    let path = existing(name)?;
    let found = database::check(&path).map_err(|error| explain(name, error))?;
    let mut text = format!("the database of cluster {name} is whole: {}", describe(&found));
    if found.unfinished > 0 {
        text.push_str(&format!(
            "\n  at its end are {} bytes of a write that is under way, or that was cut off before it was acknowledged",
            found.unfinished
        ));
    }
    Ok(text)
}

/// Saves what is whole of a stopped cluster's database. What was done, in words.
pub fn repair(name: &str) -> Result<String, Error> {
    let directory = directory(name)?;
    let _lock = lock(name, &directory)?;
    let path = directory.file(DATABASE);
    let repaired = database::repair(&path).map_err(|error| explain(name, error))?;
    if repaired.lost.is_empty() {
        let kept = describe(&repaired.kept);
        return Ok(format!(
            "the database of cluster {name} is whole, nothing to repair: {kept}"
        ));
    }
    let mut text = format!("saved of cluster {name}: {}\nlost:", describe(&repaired.kept));
    for lost in &repaired.lost {
        text.push_str(&format!("\n  {lost}"));
    }
    if let Some(aside) = repaired.aside {
        text.push_str(&format!("\nthe damaged file is kept: {}", aside.display()));
    }
    Ok(text)
}

/// Copies the database of a cluster to a new file, also while it runs. What was done, in words.
pub fn snapshot(name: &str, to: &Path) -> Result<String, Error> {
    let path = existing(name)?;
    let copied = database::snapshot(&path, to).map_err(|error| match error {
        StorageError::Options(why) => Error::new(why).with_hint("choose another name, or remove it first"),
        other => explain(name, other),
    })?;
    Ok(format!(
        "snapshot of cluster {name} in {}: {}",
        to.display(),
        describe(&copied)
    ))
}

/// Puts a snapshot in the place of a stopped cluster's database. What was done, in words.
pub fn restore(name: &str, from: &Path) -> Result<String, Error> {
    let directory = directory(name)?;
    let _lock = lock(name, &directory)?;
    let path = directory.file(DATABASE);
    let (restored, aside) = database::restore(&path, from).map_err(|error| match error {
        StorageError::Corrupt { path, reason } if path == from => Error::new(format!(
            "{} is no snapshot that can be restored: {reason}",
            path.display()
        )),
        other => explain(name, other),
    })?;
    let mut text = format!(
        "cluster {name} restored from {}: {}",
        from.display(),
        describe(&restored)
    );
    if let Some(aside) = aside {
        text.push_str(&format!("\nwhat it held before is kept: {}", aside.display()));
    }
    Ok(text)
}

fn directory(name: &str) -> Result<Directory, Error> {
    let directory = Directory::of(name)?;
    match directory.exists() {
        true => Ok(directory),
        false => Err(Error::new(format!("there is no cluster {name}"))
            .with_hint(format!("knarr cluster start {name} makes one"))),
    }
}

fn existing(name: &str) -> Result<PathBuf, Error> {
    let path = directory(name)?.file(DATABASE);
    match path.exists() {
        true => Ok(path),
        false => Err(missing(name, &path)),
    }
}

fn lock(name: &str, directory: &Directory) -> Result<Lock, Error> {
    directory.try_lock()?.ok_or_else(|| {
        Error::new(format!("cluster {name} is running")).with_hint(format!("stop it first: knarr cluster stop {name}"))
    })
}

/// There is a cluster, but not what it stored.
pub(crate) fn missing(name: &str, path: &Path) -> Error {
    Error::new(format!("the database of cluster {name} is missing: {}", path.display())).with_hint(format!(
        "put it back, or bring back a snapshot with: knarr cluster restore FILE {name}; \
         knarr cluster repair {name} starts with an empty one"
    ))
}

/// Adds what to do about it.
pub(crate) fn explain(name: &str, error: StorageError) -> Error {
    let hint = match &error {
        StorageError::Corrupt { .. } => Some(format!(
            "knarr cluster repair {name} saves what is whole and keeps the damaged file; \
             knarr cluster restore FILE {name} goes back to a snapshot"
        )),
        StorageError::InUse { .. } => Some(format!("stop the cluster first: knarr cluster stop {name}")),
        StorageError::Disk(_) | StorageError::Options(_) => None,
    };
    let error = Error::new(error.to_string());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn describe(summary: &Summary) -> String {
    let count: usize = summary.objects.values().sum();
    let mut most: Vec<(&String, &usize)> = summary.objects.iter().collect();
    most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let most: Vec<String> = most
        .iter()
        .take(4)
        .map(|(table, count)| format!("{count} {table}"))
        .collect();
    let most = match most.is_empty() {
        true => String::new(),
        false => format!(
            " ({}{})",
            most.join(", "),
            if summary.objects.len() > 4 { ", ..." } else { "" }
        ),
    };
    format!(
        "{count} objects{most}, {} KiB, up to version {}",
        summary.bytes.div_ceil(1024),
        summary.version
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_the_commonest_kinds() {
        let mut summary = Summary::default();
        assert_eq!(describe(&summary), "0 objects, 0 KiB, up to version 0");
        for (table, count) in [
            ("pods", 3),
            ("events", 9),
            ("secrets", 1),
            ("services", 2),
            ("nodes", 1),
        ] {
            summary.objects.insert(table.into(), count);
        }
        summary.bytes = 1025;
        let text = describe(&summary);
        assert!(
            text.starts_with("16 objects (9 events, 3 pods, 2 services, 1 "),
            "{text}"
        );
        assert!(text.ends_with(", ...), 2 KiB, up to version 0"), "{text}");
    }
}
