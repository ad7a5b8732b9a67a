//! The disk as the log needs it: a handful of calls, so that tests can put one there that forgets, tears and fails.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The files of one database, named by what follows the path of the database: nothing for itself.
pub(crate) trait Disk: Send + Sync {
    /// Opens a file for reading and writing; `None` if there is none.
    fn open(&self, suffix: &str) -> io::Result<Option<Box<dyn DiskFile>>>;
    /// Makes an empty file, for its owner alone: it will hold every Secret of the cluster.
    fn create(&self, suffix: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Puts a file in the place of another at once.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; there need not be one.
    fn remove(&self, suffix: &str) -> io::Result<()>;
    /// Makes names durable: of new files, and of renamed and removed ones.
    fn sync_directory(&self) -> io::Result<()>;
    /// The database, for messages.
    fn path(&self) -> &Path;
}

/// An open file. After a failed call nothing is known of the bytes it concerned.
pub(crate) trait DiskFile: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from a place in the file.
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `bytes`, which may extend the file.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns when everything written, and the length, have reached the disk.
    fn sync(&self) -> io::Result<()>;
}

/// A database in the file system.
pub(crate) struct Folder {
    path: PathBuf,
    /// The lock is on a file of its own, since the database is replaced by another file from time to time.
    _lock: Option<File>,
}

impl Folder {
    /// Makes the directory if need be and locks the database until this is dropped.
    pub(crate) fn lock(path: &Path) -> Result<Self, Error> {
        let named = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| Error::Disk(format!("{path}: {error}"))
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(named(parent))?;
        }
        let lock = beside(path, ".lock");
        let file = private().truncate(false).open(&lock).map_err(named(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::InUse { path: path.into() }),
            Err(std::fs::TryLockError::Error(error)) => return Err(named(&lock)(error)),
        }
        Ok(Self {
            path: path.into(),
            _lock: Some(file),
        })
    }

    /// A copy of a database, which no server will use in this place.
    pub(crate) fn unlocked(path: &Path) -> Self {
        Self {
            path: path.into(),
            _lock: None,
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

/// `cluster.db` and `.new` make `cluster.db.new`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Disk for Folder {
    fn open(&self, suffix: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        match OpenOptions::new()
            .read(true)
            .write(true)
            .open(beside(&self.path, suffix))
        {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, suffix: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = private().truncate(true).open(beside(&self.path, suffix))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(beside(&self.path, from), beside(&self.path, to))
    }

    fn remove(&self, suffix: &str) -> io::Result<()> {
        match std::fs::remove_file(beside(&self.path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
