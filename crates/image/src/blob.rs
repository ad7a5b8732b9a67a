//! Content by digest, in files: `blobs/sha256/HEX`, as in an OCI layout.
//!
//! A blob has its name only when all of it is on the disk and its digest is right. Until then it is in `ingest/`, under a lock, so that of
//! two that bring the same one waits for the other, and what was interrupted goes on where it stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::digest::{Digest, Hashing};
use crate::oci::Descriptor;
use crate::{Doing, ImageError};

/// The blobs of a store.
#[derive(Debug)]
pub(crate) struct Blobs {
    blobs: PathBuf,
    ingest: PathBuf,
}

/// A blob on its way into the store.
pub(crate) struct Partial {
    file: Hashing<File>,
    _lock: Flock<File>,
    path: PathBuf,
    target: PathBuf,
    wanted: Descriptor,
}

impl Blobs {
    pub(crate) fn open(dir: &Path) -> Result<Self, ImageError> {
        let (blobs, ingest) = (dir.join("blobs/sha256"), dir.join("ingest"));
        for dir in [&blobs, &ingest] {
            fs::create_dir_all(dir).doing(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(Self { blobs, ingest })
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Whether it is there, whole.
    pub(crate) fn has(&self, wanted: &Descriptor) -> bool {
        fs::metadata(self.path(&wanted.digest)).is_ok_and(|found| found.is_file() && found.len() == wanted.size)
    }

    pub(crate) fn file(&self, wanted: &Descriptor) -> Result<File, ImageError> {
        let path = self.path(&wanted.digest);
        let file = File::open(&path).doing(|| format!("cannot open {}", path.display()))?;
        let size = file
            .metadata()
            .doing(|| format!("cannot look at {}", path.display()))?
            .len();
        if size != wanted.size {
            return Err(ImageError::Invalid(format!(
                "{} has {size} bytes in the store, not {}",
                wanted.digest, wanted.size
            )));
        }
        Ok(file)
    }

    /// Reads a document whose digest is verified.
    pub(crate) fn read(&self, wanted: &Descriptor, most: u64) -> Result<Vec<u8>, ImageError> {
        self.read_digest(&wanted.digest, most)
    }

    /// As [`Self::read`], where nobody has said the size.
    pub(crate) fn read_digest(&self, digest: &Digest, most: u64) -> Result<Vec<u8>, ImageError> {
        let path = self.path(digest);
        let doing = || format!("cannot read {}", path.display());
        let mut bytes = Vec::new();
        let file = File::open(&path).doing(doing)?;
        file.take(most + 1).read_to_end(&mut bytes).doing(doing)?;
        if bytes.len() as u64 > most {
            return Err(ImageError::Invalid(format!("{digest} is larger than {most} bytes")));
        }
        if Digest::of(&bytes) != *digest {
            return Err(ImageError::Invalid(format!("{digest} is damaged in the store")));
        }
        Ok(bytes)
    }

    /// Adds what can be made again at any time: it is not waited for the disk.
    pub(crate) fn put_again(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
        // After a power cut it may have its name and not its content.
        match self.read_digest(digest, bytes.len() as u64) {
            Ok(_) => Ok(()),
            Err(_) => self.write(digest, bytes, false),
        }
    }

    /// Adds a document.
    pub(crate) fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, ImageError> {
        let wanted = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
        if self.read(&wanted, wanted.size).is_err() {
            self.write(&wanted.digest, bytes, true)?;
        }
        Ok(wanted)
    }

    fn write(&self, digest: &Digest, bytes: &[u8], durable: bool) -> Result<(), ImageError> {
        let path = self.path(digest);
        let doing = || format!("cannot write {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(&self.ingest).doing(doing)?;
        file.write_all(bytes).doing(doing)?;
        if durable {
            file.as_file().sync_all().doing(doing)?;
        }
        file.persist(&path).doing(doing)?;
        if durable { sync_dir(&self.blobs) } else { Ok(()) }
    }

    /// Adds what `reader` gives, which must be what `wanted` says, to the byte.
    pub(crate) fn ingest(&self, mut reader: impl Read, wanted: &Descriptor) -> Result<(), ImageError> {
        let Some(mut partial) = self.partial(wanted)? else {
            return Ok(());
        };
        partial.restart()?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = reader
                .read(&mut buffer)
                .doing(|| format!("cannot read {}", wanted.digest))?;
            if length == 0 {
                return partial.finish();
            }
            partial.write(&buffer[..length])?;
        }
    }

    /// Adds a blob whose digest and size are known only when it is written.
    pub(crate) fn create(
        &self,
        media_type: &str,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Descriptor, ImageError> {
        let doing = || "cannot write a layer".to_owned();
        let file = tempfile::NamedTempFile::new_in(&self.ingest).doing(doing)?;
        let mut writer = Hashing::new(std::io::BufWriter::new(file));
        write(&mut writer).doing(doing)?;
        writer.flush().doing(doing)?;
        let (buffered, digest, size) = writer.finish();
        let file = buffered
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .doing(doing)?;
        file.as_file().sync_all().doing(doing)?;
        file.persist(self.path(&digest)).doing(doing)?;
        sync_dir(&self.blobs)?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Begins with a blob or goes on with it. Waits for another who is at it; `None` when it is there.
    pub(crate) fn partial(&self, wanted: &Descriptor) -> Result<Option<Partial>, ImageError> {
        let path = self.ingest.join(wanted.digest.hex());
        let doing = || format!("cannot write {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let (file, lock) = loop {
            let file = options.open(&path).doing(doing)?;
            // A lock belongs to the open file, which clones share.
            let lock = Flock::lock(file.try_clone().doing(doing)?, FlockArg::LockExclusive);
            let lock = lock.map_err(|(_, errno)| errno).doing(doing)?;
            // Who had the lock before may have finished it, or thrown it away.
            let ours = file.metadata().doing(doing)?.ino();
            if fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                break (file, lock);
            }
            if self.has(wanted) {
                return Ok(None);
            }
        };
        if self.has(wanted) {
            return fs::remove_file(&path).doing(doing).map(|()| None);
        }
        let size = file.metadata().doing(doing)?.len();
        let mut partial = Partial {
            file: Hashing::new(file),
            _lock: lock,
            path: path.clone(),
            target: self.path(&wanted.digest),
            wanted: wanted.clone(),
        };
        if size > wanted.size {
            partial.restart()?;
        }
        let mut buffer = vec![0; 1 << 16];
        while partial.file.read(&mut buffer).doing(doing)? > 0 {}
        Ok(Some(partial))
    }

    /// Every digest that has a blob.
    pub(crate) fn all(&self) -> Result<Vec<(Digest, u64)>, ImageError> {
        let entries = fs::read_dir(&self.blobs).doing(|| format!("cannot read {}", self.blobs.display()))?;
        let blob = |entry: fs::DirEntry| {
            let digest = format!("sha256:{}", entry.file_name().to_string_lossy()).parse().ok()?;
            Some((digest, entry.metadata().ok()?.len()))
        };
        Ok(entries.flatten().filter_map(blob).collect())
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), ImageError> {
        let path = self.path(digest);
        fs::remove_file(&path).doing(|| format!("cannot remove {}", path.display()))
    }

    /// Forgets what was begun and never finished. Nobody must be at it.
    pub(crate) fn forget_partial(&self) -> u64 {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.ingest).into_iter().flatten().flatten() {
            let size = entry.metadata().map_or(0, |found| found.len());
            if fs::remove_file(entry.path()).is_ok() {
                bytes += size;
            }
        }
        bytes
    }

    /// Where temporary files go, so that they are on the store's disk.
    pub(crate) fn scratch(&self) -> &Path {
        &self.ingest
    }
}

impl Partial {
    /// How many bytes there are already.
    pub(crate) fn have(&self) -> u64 {
        self.file.count()
    }

    /// Throws away what there is.
    pub(crate) fn restart(&mut self) -> Result<(), ImageError> {
        let doing = || format!("cannot write {}", self.path.display());
        let file = self.file.get_mut();
        file.set_len(0).doing(doing)?;
        file.seek(SeekFrom::Start(0)).doing(doing)?;
        self.file = Hashing::new(file.try_clone().doing(doing)?);
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        if self.have() + bytes.len() as u64 > self.wanted.size {
            let wanted = self.wanted.clone();
            self.restart()?;
            return Err(ImageError::Invalid(format!(
                "{} is longer than the {} bytes it is said to have",
                wanted.digest, wanted.size
            )));
        }
        let path = &self.path;
        self.file
            .write_all(bytes)
            .doing(|| format!("cannot write {}", path.display()))
    }

    /// Gives it its name, once it is safe on the disk and what it is said to be.
    pub(crate) fn finish(self) -> Result<(), ImageError> {
        let Self {
            file,
            path,
            target,
            wanted,
            _lock,
        } = self;
        let (file, digest, size) = file.finish();
        if (&digest, size) != (&wanted.digest, wanted.size) {
            if digest != wanted.digest && size == wanted.size {
                // It cannot be mended by going on.
                let _ = fs::remove_file(&path);
                return Err(ImageError::Invalid(format!(
                    "unexpected commit digest {digest}, expected {}: failed precondition",
                    wanted.digest
                )));
            }
            return Err(ImageError::Invalid(format!(
                "{} has ended after {size} of {} bytes: unexpected EOF",
                wanted.digest, wanted.size
            )));
        }
        file.sync_all().doing(|| format!("cannot write {}", path.display()))?;
        fs::rename(&path, &target).doing(|| format!("cannot write {}", target.display()))?;
        target.parent().map_or(Ok(()), sync_dir)
    }
}

/// Makes a renamed file's name last.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), ImageError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.doing(|| format!("cannot write {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(bytes: &[u8]) -> Descriptor {
        Descriptor::new("", Digest::of(bytes), bytes.len() as u64)
    }

    #[test]
    fn what_is_not_what_it_is_said_to_be_gets_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let truth = wanted(b"content");
        for (lie, bytes) in [
            (truth.clone(), &b"contenT"[..]),
            (truth.clone(), b"content and more"),
            (truth.clone(), b"cont"),
            (
                Descriptor {
                    size: 3,
                    ..truth.clone()
                },
                b"content",
            ),
        ] {
            assert!(blobs.ingest(bytes, &lie).is_err(), "{lie:?}");
            assert!(!blobs.path(&truth.digest).exists());
        }
        blobs.ingest(&b"content"[..], &truth).unwrap();
        assert_eq!(blobs.read(&truth, 100).unwrap(), b"content");
        fs::write(blobs.path(&truth.digest), "damaged").unwrap();
        assert!(blobs.read(&truth, 100).is_err());
    }

    #[test]
    fn an_interrupted_blob_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let truth = wanted(b"one two three");
        let mut first = blobs.partial(&truth).unwrap().unwrap();
        first.write(b"one ").unwrap();
        assert!(first.finish().is_err());
        let mut second = blobs.partial(&truth).unwrap().unwrap();
        assert_eq!(second.have(), 4);
        second.write(b"two three").unwrap();
        second.finish().unwrap();
        assert_eq!(blobs.read(&truth, 100).unwrap(), b"one two three");
        assert_eq!(fs::read_dir(blobs.scratch()).unwrap().count(), 0);
    }
}
