//! Which images a store has by name: `index.json`, an OCI index.
//!
//! Several programs may work on a store at once: a running cluster, `knarr image`. Each change reads the file under a lock, and replaces
//! it; readers look whether it has been replaced.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::oci::{self, Descriptor, Manifest};
use crate::{Doing, ImageError};

/// The full name, as containerd's own exports say it.
pub(crate) const NAME: &str = "io.containerd.image.name";
/// Where an image is from, when it is not from here: `registry`, or `built-in`.
pub(crate) const ORIGIN: &str = "dev.knarr.origin";
const MOST: u64 = 64 << 20;

/// Where an image came from, which decides who is asked for a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Built, imported or tagged here: the store is its registry.
    Here,
    /// Pulled.
    Registry,
    /// One of those that come with the program.
    BuiltIn,
}

impl Origin {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Here => None,
            Self::Registry => Some("registry"),
            Self::BuiltIn => Some("built-in"),
        }
    }
}

/// A name and what it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// In full, with a tag or a digest.
    pub(crate) name: String,
    pub(crate) target: Descriptor,
    pub(crate) origin: Origin,
}

impl Named {
    fn read(mut target: Descriptor) -> Option<Self> {
        let name = target.annotations.remove(NAME)?;
        let origin = match target.annotations.get(ORIGIN).map(String::as_str) {
            Some("registry") => Origin::Registry,
            Some("built-in") => Origin::BuiltIn,
            _ => Origin::Here,
        };
        target.annotations.clear();
        Some(Self { name, target, origin })
    }

    fn written(&self) -> Descriptor {
        let mut target = self.target.clone();
        target.annotations.insert(NAME.to_owned(), self.name.clone());
        if let Some(word) = self.origin.word() {
            target.annotations.insert(ORIGIN.to_owned(), word.to_owned());
        }
        target
    }
}

/// What tells one state of a file from the next.
type Stamp = (u64, i64, i64, u64);

/// The names of a store.
#[derive(Debug)]
pub(crate) struct Names {
    path: PathBuf,
    lock: PathBuf,
    stamp: Option<Stamp>,
    all: Vec<Named>,
}

impl Names {
    pub(crate) fn open(dir: &Path) -> Result<Self, ImageError> {
        let mut names = Self {
            path: dir.join("index.json"),
            lock: dir.join("index.lock"),
            stamp: None,
            all: Vec::new(),
        };
        names.read()?;
        Ok(names)
    }

    /// All, as they are now.
    pub(crate) fn all(&mut self) -> Result<&[Named], ImageError> {
        if stamp(&self.path) != self.stamp {
            self.read()?;
        }
        Ok(&self.all)
    }

    fn read(&mut self) -> Result<(), ImageError> {
        let doing = || format!("cannot read {}", self.path.display());
        let stamp = stamp(&self.path);
        let Some(size) = stamp.map(|stamp| stamp.3) else {
            (self.stamp, self.all) = (None, Vec::new());
            return Ok(());
        };
        if size > MOST {
            return Err(ImageError::Invalid(format!("{} is too large", self.path.display())));
        }
        let index: Manifest = serde_json::from_slice(&fs::read(&self.path).doing(doing)?)
            .map_err(|error| ImageError::Invalid(format!("{} is damaged: {error}", self.path.display())))?;
        self.all = index.manifests.into_iter().filter_map(Named::read).collect();
        self.stamp = stamp;
        Ok(())
    }

    /// Changes them: nobody else does meanwhile.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut Vec<Named>) -> T) -> Result<T, ImageError> {
        let _lock = lock(&self.lock, FlockArg::LockExclusive)?;
        self.read()?;
        let result = change(&mut self.all);
        let index = Manifest {
            schema_version: 2,
            media_type: oci::INDEX.to_owned(),
            config: None,
            layers: Vec::new(),
            manifests: self.all.iter().map(Named::written).collect(),
        };
        let doing = || format!("cannot write {}", self.path.display());
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .prefix(".index-")
            .tempfile_in(dir)
            .doing(doing)?;
        file.write_all(&serde_json::to_vec(&index).unwrap_or_default())
            .doing(doing)?;
        // What is built in can be found again; nobody waits for the disk on its account.
        if self.all.iter().any(|named| named.origin != Origin::BuiltIn) {
            file.as_file().sync_all().doing(doing)?;
        }
        file.persist(&self.path).doing(doing)?;
        self.stamp = stamp(&self.path);
        Ok(result)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

/// Locks a file that is there for nothing else.
pub(crate) fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>, ImageError> {
    let doing = || format!("cannot lock {}", path.display());
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .doing(doing)?;
    Flock::lock(file, how).map_err(|(_, errno)| errno).doing(doing)
}
