//! The data directory of a cluster.
//!
//! ```text
//! NAME/
//!   lock          held (flock) by the process that runs the cluster; says which
//!   running.json  where that process serves, once it does
//!   stopping      which process has been told to end
//!   kubeconfig    0600
//!   secrets.json  CA key, token and port, kept so that kubeconfigs stay valid; 0600
//!   ca.crt        certificate of the cluster's CA
//!   cluster.db    the API server's database; files beside it begin with the same name
//!   cluster.log   output of a cluster in the background
//!   manifests/    static pods
//!   node/         containers, images, volumes
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error};

/// The API server's database.
pub(crate) const DATABASE: &str = "cluster.db";
/// Names the directory that holds all clusters' directories in `clusters/`.
const VARIABLE: &str = "KNARR_DATA_DIR";
/// Longest name of a cluster: it becomes part of names of objects and files.
const LONGEST: usize = 40;

/// Begins the name of a directory that is being removed; no cluster's does.
const REMOVED: &str = ".removed-";
/// Begins the name of the directory of a cluster that is not kept.
pub(crate) const TEMPORARY: &str = "knarr-";

/// Removes what clusters left behind that could not do it themselves: the temporary directories of those that were not kept and were
/// killed, and the rests of directories whose removal was interrupted.
pub(crate) fn sweep() {
    let own = nix::unistd::geteuid().as_raw();
    let entries = |dir: PathBuf| {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let named = |path: &PathBuf, prefix: &str| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    let temporary = entries(std::env::temp_dir()).filter(|path| named(path, TEMPORARY));
    let removed = root()
        .ok()
        .into_iter()
        .flat_map(entries)
        .filter(|path| named(path, REMOVED));
    for path in temporary.chain(removed) {
        let ours = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == own);
        // A temporary one without a lock is somebody else's, or just being made.
        let locked = path.join("lock").is_file();
        if !ours || !(locked || named(&path, REMOVED)) {
            continue;
        }
        let lock = locked.then(|| Directory::at(path.clone()).try_lock());
        if matches!(lock, Some(Ok(None) | Err(_))) {
            continue;
        }
        tracing::info!(path = %path.display(), "removing what a cluster has left behind");
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove");
        }
    }
}

/// The directory of one cluster, which may not exist.
#[derive(Clone, Debug)]
pub(crate) struct Directory(PathBuf);

/// What a running cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) pid: i32,
    pub(crate) server: Option<String>,
    pub(crate) mode: String,
    pub(crate) started: String,
}

/// Proof that no other process runs this cluster.
pub(crate) struct Lock(#[expect(dead_code, reason = "held for what dropping it does")] Flock<File>);

impl Directory {
    /// The directory of the cluster of that name.
    pub(crate) fn of(name: &str) -> Result<Self, Error> {
        check(name)?;
        Ok(Self(root()?.join(name)))
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Names of the clusters that have a directory, sorted.
    pub(crate) fn names() -> Result<Vec<String>, Error> {
        let root = root()?;
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).doing(|| format!("cannot read {}", root.display())),
        };
        let names = entries.flatten().filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| check(name).is_ok());
        names.sort();
        Ok(names)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.file("cluster.log")
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Makes it, readable by its owner only.
    pub(crate) fn create(&self) -> Result<(), Error> {
        self.create_below(&self.0)
    }

    /// Makes a directory below it.
    pub(crate) fn create_sub(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.file(name);
        self.create_below(&path)?;
        Ok(path)
    }

    fn create_below(&self, path: &Path) -> Result<(), Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| {
            Error::new(format!("cannot create {}", path.display()))
                .because(error)
                .with_hint(format!("{VARIABLE} names another place for the data of clusters"))
        })
    }

    /// Takes the lock. `None` when another process has it, or has just removed the directory.
    pub(crate) fn try_lock(&self) -> Result<Option<Lock>, Error> {
        let path = self.file("lock");
        let context = || format!("cannot lock {}", path.display());
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        match Flock::lock(open.doing(context)?, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // The lock of a file that was removed meanwhile keeps nobody out.
                let ours = file.metadata().doing(context)?;
                if !fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                    return Ok(None);
                }
                file.set_len(0).doing(context)?;
                write!(file, "{}", std::process::id()).doing(context)?;
                Ok(Some(Lock(file)))
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).doing(context),
        }
    }

    /// The process that holds the lock, if one does. Needs to read the directory only.
    pub(crate) fn holder(&self) -> Result<Option<i32>, Error> {
        let path = self.file("lock");
        let context = || format!("cannot read {}", path.display());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing(context),
        };
        let mut text = String::new();
        file.read_to_string(&mut text).doing(context)?;
        // A shared lock, so that two processes that ask do not take each other for the holder.
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(None),
            Err((_, Errno::EWOULDBLOCK)) => Ok(text.trim().parse().ok()),
            Err((_, errno)) => Err(errno).doing(context),
        }
    }

    /// Notes that `pid` is told to end, so that nobody takes it for a running cluster any more.
    pub(crate) fn mark_stopping(&self, pid: i32) -> Result<(), Error> {
        self.write("stopping", pid.to_string().as_bytes()).map(drop)
    }

    /// Whether that process has been told to end.
    pub(crate) fn is_stopping(&self, pid: i32) -> bool {
        fs::read_to_string(self.file("stopping")).is_ok_and(|text| text.trim() == pid.to_string())
    }

    /// Moves it out of the way, at once and as a whole, and then removes it. The caller holds the lock.
    pub(crate) fn remove_all(&self) -> Result<(), Error> {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.0.with_file_name(format!("{REMOVED}{name}.{}", std::process::id()));
        fs::rename(&self.0, &aside).doing(|| format!("cannot remove {}", self.0.display()))?;
        fs::remove_dir_all(&aside).doing(|| format!("cannot remove {}", aside.display()))
    }

    /// What the running cluster says of itself, once it is up.
    pub(crate) fn note(&self) -> Option<Note> {
        self.read("running.json").ok().flatten()
    }

    pub(crate) fn remove(&self, name: &str) {
        let path = self.file(name);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove");
        }
    }

    /// Reads a JSON file. `None` when there is none.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.file(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).doing(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .doing(|| format!("{} is damaged", path.display()))
    }

    /// Replaces a file: readers see the old or the new content, never a part; nobody but the owner may read it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        let path = self.file(name);
        let context = || format!("cannot write {}", path.display());
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(&self.0)
            .doing(context)?;
        file.write_all(content).doing(context)?;
        file.as_file().sync_all().doing(context)?;
        file.persist(&path).doing(context)?;
        Ok(path)
    }
}

/// Where the clusters' directories are.
pub(crate) fn root() -> Result<PathBuf, Error> {
    let base = match std::env::var_os(VARIABLE) {
        Some(base) if !base.is_empty() => PathBuf::from(base),
        _ => {
            let found = directories::ProjectDirs::from("", "", "knarr").map(|dirs| dirs.data_dir().to_path_buf());
            found.ok_or_else(|| {
                Error::new("there is no home directory to keep clusters in")
                    .with_hint(format!("name a place with the variable {VARIABLE}"))
            })?
        }
    };
    Ok(base.join("clusters"))
}

/// Names become parts of paths and of object names.
fn check(name: &str) -> Result<(), Error> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = |c: Option<char>| c.is_some_and(|c| c != '-');
    if name.len() <= LONGEST && name.chars().all(fine) && ends(name.chars().next()) && ends(name.chars().last()) {
        return Ok(());
    }
    Err(
        Error::new(format!("{name:?} is no name for a cluster")).with_hint(format!(
            "use up to {LONGEST} small letters, digits and dashes, such as \"shop-2\""
        )),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_are_refused_with_a_hint() {
        for good in ["default", "a", "shop-2"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "Shop", "-a", "a-", "a b", &"x".repeat(41)] {
            assert!(check(bad).unwrap_err().hint().is_some(), "{bad}");
        }
    }

    #[test]
    fn files_are_private_and_replaced_whole() {
        let temp = tempfile::tempdir().unwrap();
        let directory = Directory::at(temp.path().join("deep/cluster"));
        directory.create().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(directory.path()), 0o700);
        directory.write("kubeconfig", b"first").unwrap();
        let path = directory.write("kubeconfig", b"second").unwrap();
        assert_eq!(
            (mode(&path), fs::read(&path).unwrap().as_slice()),
            (0o600, b"second".as_slice())
        );
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing temporary is left"
        );
    }

    #[test]
    fn only_one_holds_the_lock_and_everybody_can_see_who() {
        let temp = tempfile::tempdir().unwrap();
        let directory = Directory::at(temp.path().to_path_buf());
        assert_eq!(directory.holder().unwrap(), None);
        let lock = directory.try_lock().unwrap();
        assert!(lock.is_some());
        assert!(directory.try_lock().unwrap().is_none());
        assert_eq!(directory.holder().unwrap(), i32::try_from(std::process::id()).ok());
        drop(lock);
        assert_eq!(directory.holder().unwrap(), None);
        assert!(directory.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_directory_that_is_removed_takes_its_lock_along() {
        let temp = tempfile::tempdir().unwrap();
        let directory = Directory::at(temp.path().join("shop"));
        directory.create().unwrap();
        let lock = directory.try_lock().unwrap().unwrap();
        directory.remove_all().unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        directory.create().unwrap();
        assert!(directory.try_lock().unwrap().is_some(), "the next cluster of that name");
        drop(lock);
    }

    #[test]
    fn what_a_killed_cluster_left_behind_is_swept_and_what_lives_is_not() {
        let make = || tempfile::Builder::new().prefix(TEMPORARY).tempdir().unwrap().keep();
        let (left, alive, other) = (make(), make(), make());
        drop(Directory::at(left.clone()).try_lock().unwrap().unwrap());
        let lock = Directory::at(alive.clone()).try_lock().unwrap().unwrap();
        sweep();
        assert_eq!((left.exists(), alive.exists(), other.exists()), (false, true, true));
        drop(lock);
        sweep();
        assert!(!alive.exists());
        fs::remove_dir(other).unwrap();
    }

    #[test]
    fn the_holder_can_be_seen_where_nothing_can_be_written() {
        let temp = tempfile::tempdir().unwrap();
        let directory = Directory::at(temp.path().to_path_buf());
        let _lock = directory.try_lock().unwrap().unwrap();
        fs::set_permissions(directory.file("lock"), fs::Permissions::from_mode(0o400)).unwrap();
        assert!(directory.holder().unwrap().is_some());
    }
}
