//! What is remembered between runs: small files in the state directory, readable by their owner alone.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest file that is read back: what is larger is not ours.
const LARGEST: u64 = 1 << 20;

/// The files, and what is still to be written to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    dir: Option<PathBuf>,
    waiting: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// Held while a file is written: the newest text is what stays.
    turn: Arc<Mutex<()>>,
}

impl Memory {
    /// In this directory; without one nothing is remembered.
    pub(super) fn at(dir: Option<PathBuf>) -> Self {
        Self { dir, ..Self::default() }
    }

    /// What was remembered under a name; nothing when there is no such file, or not one of ours.
    pub(super) fn recall(&self, name: &str) -> String {
        let Some(path) = self.dir.as_ref().map(|dir| dir.join(name)) else {
            return String::new();
        };
        let is_ours = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST);
        is_ours
            .then(|| std::fs::read_to_string(&path).ok())
            .flatten()
            .unwrap_or_default()
    }

    /// Replaces what is remembered under a name. Must be called inside a tokio runtime; returns at once.
    pub(super) fn remember(&self, name: &'static str, text: String) {
        let Some(dir) = self.dir.clone() else { return };
        lock(&self.waiting).insert(name, text);
        let memory = self.clone();
        tokio::task::spawn_blocking(move || {
            let _turn = lock(&memory.turn);
            let Some(text) = lock(&memory.waiting).remove(name) else {
                return;
            };
            if let Err(error) = replace(&dir, name, &text) {
                tracing::warn!(%error, name, "cannot remember");
            }
        });
    }
}

impl Memory {
    /// Replaces what is remembered under a name before it returns: at the end of the program.
    pub(super) fn keep(&self, name: &str, text: &str) {
        let Some(dir) = &self.dir else { return };
        let _turn = lock(&self.turn);
        if let Err(error) = replace(dir, name, text) {
            tracing::warn!(%error, name, "cannot remember");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a file anew, so that whoever reads it sees the old or the new one.
fn replace(dir: &Path, name: &str, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(dir.join(name))?;
    Ok(())
}
