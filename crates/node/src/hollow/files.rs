//! What simulated programs see of files: the container's mounts, which are real, and a few of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use knarr_runtime::Mount;

/// Most bytes that are read of a real file.
const LONGEST: u64 = 1 << 20;

/// The files of one container.
#[derive(Debug, Default)]
pub(super) struct Files {
    mounts: Vec<Mount>,
    own: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl Files {
    pub(super) fn new(mounts: Vec<Mount>) -> Self {
        // As a runtime does with a `subPath` where there is nothing yet.
        for mount in mounts.iter().filter(|mount| !mount.sub_path.as_os_str().is_empty()) {
            if !mount.path().exists() {
                drop(std::fs::create_dir_all(mount.path()));
            }
        }
        Self {
            mounts,
            own: Mutex::default(),
        }
    }

    /// Where a path is on the host, if it is below a mount. The last of several mounts counts.
    fn real(&self, path: &Path) -> Option<(PathBuf, bool)> {
        let mount = self.mounts.iter().rev().find(|mount| path.starts_with(&mount.target))?;
        let rest = path.strip_prefix(&mount.target).ok()?;
        let real = if rest.as_os_str().is_empty() {
            mount.path()
        } else {
            mount.path().join(rest)
        };
        Some((real, mount.read_only))
    }

    pub(super) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        if let Some((real, _)) = self.real(path) {
            use std::io::Read;
            let mut text = Vec::new();
            std::fs::File::open(real)
                .ok()?
                .take(LONGEST)
                .read_to_end(&mut text)
                .ok()?;
            return Some(text);
        }
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned()
    }

    /// Writes, or appends; the message of a refusal.
    pub(super) fn write(&self, path: &Path, text: &[u8], append: bool) -> Result<(), &'static str> {
        if let Some((real, read_only)) = self.real(path) {
            use std::io::Write;
            if read_only {
                return Err("Read-only file system");
            }
            let file = std::fs::OpenOptions::new()
                .create(true)
                .write(true)
                .append(append)
                .truncate(!append)
                .open(real);
            return file
                .and_then(|mut file| file.write_all(text))
                .map_err(|_| "No such file or directory");
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let file = own.entry(path.to_owned()).or_default();
        if !append {
            file.clear();
        }
        file.extend_from_slice(text);
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> bool {
        match self.real(path) {
            Some((real, read_only)) => !read_only && std::fs::remove_file(real).is_ok(),
            None => self
                .own
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(path)
                .is_some(),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        let below = |own: &PathBuf| own.starts_with(path);
        self.real(path).is_some_and(|(real, _)| real.exists())
            || self
                .own
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .keys()
                .any(below)
    }

    /// Names in a directory.
    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        if let Some((real, _)) = self.real(dir) {
            let entries = std::fs::read_dir(real).into_iter().flatten().flatten();
            names.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        }
        let child = |path: &Path| {
            let rest = path.strip_prefix(dir).ok()?;
            Some(rest.components().next()?.as_os_str().to_string_lossy().into_owned())
        };
        names.extend(self.mounts.iter().filter_map(|mount| child(&mount.target)));
        names.extend(
            self.own
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .keys()
                .filter_map(|path| child(path)),
        );
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names.dedup();
        names
    }
}
