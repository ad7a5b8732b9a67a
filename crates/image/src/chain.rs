//! The unpacked layers of a store, by the digests of their chains.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};

use crate::blob::{Blobs, sync_dir};
use crate::digest::{Digest, Hashing};
use crate::layer::{self, Bounds, Tree};
use crate::name;
use crate::oci::Descriptor;
use crate::{Doing, ImageError};

/// Keeps an unpacked image from being removed while somebody uses it, in whichever process.
#[derive(Clone, Debug)]
pub struct Lease(#[expect(dead_code, reason = "held for what dropping it does")] Arc<Flock<File>>);

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) blob: Descriptor,
    /// Digest of the unpacked archive.
    pub(crate) diff_id: Digest,
    /// That of this one and all below it.
    pub(crate) chain: Digest,
}

impl Layer {
    /// The layers of an image, lowest first.
    pub(crate) fn chain(blobs: Vec<Descriptor>, diff_ids: &[Digest]) -> Vec<Self> {
        let mut below: Option<Digest> = None;
        let chained = blobs.into_iter().zip(diff_ids).map(|(blob, diff_id)| {
            let chain = match &below {
                None => diff_id.clone(),
                Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            };
            below = Some(chain.clone());
            Self {
                blob,
                diff_id: diff_id.clone(),
                chain,
            }
        });
        chained.collect()
    }
}

/// The unpacked layers.
#[derive(Debug)]
pub(crate) struct Chains {
    dir: PathBuf,
}

/// What an image of no layers lies over.
const EMPTY: &str = "empty";

impl Chains {
    pub(crate) fn open(dir: &Path) -> Result<Self, ImageError> {
        let dir = dir.join("layers");
        fs::create_dir_all(dir.join(EMPTY)).doing(|| format!("cannot create {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The directory with the files of all of these layers, unpacked if need be.
    pub(crate) fn unpack(
        &self,
        blobs: &Blobs,
        layers: &[Layer],
        built_in: bool,
    ) -> Result<(PathBuf, Lease), ImageError> {
        let name = layers.last().map_or(EMPTY, |top| top.chain.hex());
        let target = self.dir.join(name);
        loop {
            if let Some(lease) = lease(&target)? {
                return Ok((target, lease));
            }
            // One at a time, in whichever process; what an earlier one left behind half done is nobody's.
            let _one = name::lock(&self.dir.join("lock"), FlockArg::LockExclusive)?;
            self.sweep();
            for count in 1..=layers.len() {
                self.make(blobs, &layers[..count], built_in)?;
            }
        }
    }

    fn make(&self, blobs: &Blobs, layers: &[Layer], built_in: bool) -> Result<(), ImageError> {
        let Some((top, below)) = layers.split_last() else {
            return Ok(());
        };
        let target = self.dir.join(top.chain.hex());
        if target.is_dir() {
            return Ok(());
        }
        let fresh = self.dir.join(format!(".new-{}", top.chain.hex()));
        let made = self.fill(&fresh, blobs, top, below);
        if let Err(error) = made {
            let _ = layer::remove_tree(&fresh);
            return Err(error);
        }
        if !built_in {
            sync_tree(&fresh)?;
        }
        fs::rename(&fresh, &target).doing(|| format!("cannot write {}", target.display()))?;
        if built_in { Ok(()) } else { sync_dir(&self.dir) }
    }

    fn fill(&self, fresh: &Path, blobs: &Blobs, top: &Layer, below: &[Layer]) -> Result<(), ImageError> {
        let mut tree = Tree::create(fresh)?;
        if let Some(below) = below.last() {
            tree.clone_of(&self.dir.join(below.chain.hex()))?;
        }
        let doing = || format!("cannot unpack {}", top.blob.digest);
        let mut archive = Hashing::new(layer::unpacked(blobs.file(&top.blob)?).doing(doing)?);
        let bounds = Bounds::of(top.blob.size);
        tree.apply(&mut archive, bounds)?;
        // Archives are padded, and the padding counts.
        let left = bounds.bytes.saturating_add(1 << 20).saturating_sub(archive.count());
        std::io::copy(&mut std::io::Read::take(&mut archive, left), &mut std::io::sink()).doing(doing)?;
        let (_, found, _) = archive.finish();
        if found != top.diff_id {
            return Err(ImageError::Invalid(format!(
                "wrong diff id calculated on extraction {found}, expected {}",
                top.diff_id
            )));
        }
        tree.finish()
    }

    /// Whether somebody holds a lease.
    pub(crate) fn in_use(&self, chain: &Digest) -> bool {
        File::open(self.dir.join(chain.hex()))
            .is_ok_and(|directory| Flock::lock(directory, FlockArg::LockExclusiveNonblock).is_err())
    }

    fn sweep(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                let _ = layer::remove_tree(&entry.path());
            }
        }
    }

    /// Removes those that are in no list and not in use. Returns the bytes that this made free.
    pub(crate) fn prune(&self, kept: &std::collections::HashSet<Digest>) -> Result<u64, ImageError> {
        let _one = name::lock(&self.dir.join("lock"), FlockArg::LockExclusive)?;
        self.sweep();
        let mut bytes = 0;
        for entry in fs::read_dir(&self.dir)
            .doing(|| format!("cannot read {}", self.dir.display()))?
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(chain) = format!("sha256:{name}").parse::<Digest>() else {
                continue;
            };
            if kept.contains(&chain) {
                continue;
            }
            let path = entry.path();
            let doing = || format!("cannot remove {}", path.display());
            let Ok(_alone) = Flock::lock(File::open(&path).doing(doing)?, FlockArg::LockExclusiveNonblock) else {
                continue;
            };
            bytes += own_bytes(&path);
            let aside = self.dir.join(format!(".gone-{name}"));
            fs::rename(&path, &aside).doing(doing)?;
            layer::remove_tree(&aside).doing(doing)?;
        }
        Ok(bytes)
    }
}

/// Takes a lock on an unpacked layer, if it is there.
fn lease(target: &Path) -> Result<Option<Lease>, ImageError> {
    let doing = || format!("cannot use {}", target.display());
    let directory = match File::open(target) {
        Ok(directory) => directory,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).doing(doing),
    };
    let lock = Flock::lock(directory, FlockArg::LockShared)
        .map_err(|(_, errno)| errno)
        .doing(doing)?;
    // It may have been removed before it was locked.
    let ours = lock.metadata().doing(doing)?.ino();
    let there = fs::metadata(target).is_ok_and(|there| there.ino() == ours);
    Ok(there.then(|| Lease(Arc::new(lock))))
}

/// Bytes of files that are nowhere else.
fn own_bytes(root: &Path) -> u64 {
    let (mut bytes, mut pending) = (0, vec![root.to_owned()]);
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => pending.push(entry.path()),
                Ok(found) if found.nlink() == 1 => bytes += found.len(),
                _ => {}
            }
        }
    }
    bytes
}

/// Waits until the disk has everything of a tree.
fn sync_tree(root: &Path) -> Result<(), ImageError> {
    let doing = || format!("cannot write {}", root.display());
    let directory = File::open(root).doing(doing)?;
    #[cfg(target_os = "linux")]
    let synced = nix::unistd::syncfs(&directory).map_err(std::io::Error::from);
    #[cfg(not(target_os = "linux"))]
    let synced = directory.sync_all();
    synced.doing(doing)
}
