//! Layers on the disk.
//!
//! Each chain of layers has a directory with all its files: that of the chain below it, cloned by hard links, with one layer's archive
//! applied to it. So a file that images share is on the disk once, a container has one directory to lie over, and nobody needs to know of
//! whiteouts later. A directory gets its name when it is whole and on the disk; who uses it holds a lock on it.
//!
//! An archive is somebody else's. Nothing of it is reached through a link: each path is worked out component by component within the
//! directory, which nobody else writes to.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use tar::EntryType;

use crate::{Doing, ImageError};

/// What removes a name of the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// What removes all names of the layers below in a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Links followed before a path is given up.
const MOST_LINKS: usize = 40;

/// How much a layer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of files.
    pub(crate) bytes: u64,
    /// Files, links and directories.
    pub(crate) entries: u64,
}

impl Bounds {
    /// For an archive of `packed` bytes: what compresses better than this is made to fill disks.
    pub(crate) fn of(packed: u64) -> Self {
        const RATIO: u64 = 200;
        const ALWAYS: u64 = 256 << 20;
        Self {
            bytes: packed.saturating_mul(RATIO).max(ALWAYS),
            entries: 2_000_000,
        }
    }
}

/// Rights and time of a directory, set when all is in it.
#[derive(Clone, Copy)]
struct Final {
    mode: u32,
    modified: i64,
}

/// A directory tree in the making.
pub(crate) struct Tree {
    root: PathBuf,
    /// Directories, by path below the root.
    finals: BTreeMap<PathBuf, Final>,
    /// What the present layer has made.
    made: HashSet<PathBuf>,
    owner: bool,
}

fn refused(path: &Path, why: &str) -> ImageError {
    ImageError::Invalid(format!("{:?} in the layer {why}", path.display()))
}

impl Tree {
    /// An empty one in a directory that is not there yet.
    pub(crate) fn create(root: &Path) -> Result<Self, ImageError> {
        fs::create_dir_all(root).doing(|| format!("cannot create {}", root.display()))?;
        let mut finals = BTreeMap::new();
        let modified = 0;
        finals.insert(PathBuf::new(), Final { mode: 0o755, modified });
        Ok(Self {
            root: root.to_owned(),
            finals,
            made: HashSet::new(),
            // Others have one user only, whom everything belongs to.
            owner: nix::unistd::geteuid().is_root(),
        })
    }

    /// Takes over everything below `from`: directories anew, all else by hard links.
    pub(crate) fn clone_of(&mut self, from: &Path) -> Result<(), ImageError> {
        let top = fs::symlink_metadata(from).doing(|| format!("cannot read {}", from.display()))?;
        self.note(PathBuf::new(), &top);
        let mut pending = vec![PathBuf::new()];
        while let Some(directory) = pending.pop() {
            let source = from.join(&directory);
            let doing = || format!("cannot copy {}", source.display());
            for entry in fs::read_dir(&source).doing(doing)? {
                let entry = entry.doing(doing)?;
                let path = directory.join(entry.file_name());
                let (source, target) = (entry.path(), self.root.join(&path));
                let found = entry.metadata().doing(doing)?;
                if found.is_dir() {
                    fs::create_dir(&target).doing(doing)?;
                    self.chown(&target, found.uid().into(), found.gid().into());
                    self.note(path.clone(), &found);
                    pending.push(path);
                } else if fs::hard_link(&source, &target).is_err() {
                    // A file has so many links and no more.
                    self.copy(&source, &target, &found).doing(doing)?;
                }
            }
        }
        Ok(())
    }

    fn copy(&self, source: &Path, target: &Path, found: &fs::Metadata) -> io::Result<()> {
        if found.is_symlink() {
            symlink(fs::read_link(source)?, target)?;
        } else {
            fs::copy(source, target)?;
        }
        self.chown(target, found.uid().into(), found.gid().into());
        if found.is_file() {
            fs::set_permissions(target, found.permissions())?;
        }
        touch(target, found.mtime());
        Ok(())
    }

    fn note(&mut self, path: PathBuf, found: &fs::Metadata) {
        let (mode, modified) = (found.mode() & 0o7777, found.mtime());
        self.finals.insert(path, Final { mode, modified });
    }

    fn chown(&self, path: &Path, user: u64, group: u64) {
        let ids = u32::try_from(user).ok().zip(u32::try_from(group).ok());
        if let (true, Some((user, group))) = (self.owner, ids) {
            // Root of a user namespace cannot give files to users that are not in it.
            let _ = lchown(path, Some(user), Some(group));
        }
    }

    /// Applies a layer's archive.
    pub(crate) fn apply(&mut self, archive: impl Read, bounds: Bounds) -> Result<(), ImageError> {
        self.made.clear();
        let damaged = |error: io::Error| ImageError::Invalid(format!("the layer is damaged: {error}"));
        let mut archive = tar::Archive::new(archive);
        let (mut bytes, mut entries) = (0_u64, 0_u64);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            if entry.header().entry_type().is_pax_global_extensions() {
                continue;
            }
            let name = PathBuf::from(OsString::from_vec(entry.path_bytes().into_owned()));
            bytes = bytes.saturating_add(entry.size());
            entries += 1;
            if bytes > bounds.bytes || entries > bounds.entries {
                return Err(refused(&name, "makes it larger than a layer may be"));
            }
            self.entry(&mut entry, &name)?;
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, name: &Path) -> Result<(), ImageError> {
        let path = inner(name).ok_or_else(|| refused(name, "leads out of it"))?;
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode().unwrap_or(0o755) & 0o7777);
        let modified = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        let (user, group) = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
        let Some(file_name) = path.file_name() else {
            if kind.is_dir() {
                let root = self.root.clone();
                self.chown(&root, user, group);
                self.finals.insert(PathBuf::new(), Final { mode, modified });
            }
            return Ok(());
        };
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        if file_name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(&parent, file_name, name);
        }
        let path = parent.join(file_name);
        let target = self.root.join(&path);
        let doing = || format!("cannot write {}", target.display());
        let there = fs::symlink_metadata(&target).ok();
        let stays = kind.is_dir() && there.as_ref().is_some_and(fs::Metadata::is_dir);
        if kind.is_hard_link() {
            let to = entry.link_name_bytes().unwrap_or_default().into_owned();
            return self.link(&path, Path::new(OsStr::from_bytes(&to)));
        }
        if is_device(kind) {
            // A container's /dev is the node's doing.
            return match path.starts_with("dev") {
                true => Ok(()),
                false => Err(refused(name, "is a device")),
            };
        }
        if let (Some(there), false) = (there, stays) {
            self.remove(&path, &there)?;
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut options = OpenOptions::new();
                let flags = nix::libc::O_NOFOLLOW;
                options.write(true).create_new(true).mode(0o600).custom_flags(flags);
                let mut file = options.open(&target).doing(doing)?;
                let (size, sparse) = (entry.size(), kind == EntryType::GNUSparse);
                if io::copy(entry, &mut file).doing(doing)? != size && !sparse {
                    return Err(refused(name, "ends early"));
                }
                self.chown(&target, user, group);
                file.set_permissions(Permissions::from_mode(mode)).doing(doing)?;
                touch(&target, modified);
            }
            EntryType::Directory => {
                if !stays {
                    fs::create_dir(&target).doing(doing)?;
                }
                self.chown(&target, user, group);
                self.finals.insert(path.clone(), Final { mode, modified });
            }
            EntryType::Symlink => {
                let to = entry.link_name_bytes().unwrap_or_default().into_owned();
                symlink(OsStr::from_bytes(&to), &target).doing(doing)?;
                self.chown(&target, user, group);
                touch(&target, modified);
            }
            EntryType::Fifo => {
                nix::unistd::mkfifo(&target, Mode::from_bits_truncate(mode))
                    .map_err(io::Error::from)
                    .doing(doing)?;
                self.chown(&target, user, group);
            }
            _ => return Err(refused(name, "is of a type that has no place in one")),
        }
        self.made.insert(path);
        Ok(())
    }

    /// A second name of a file that is in the tree already.
    fn link(&mut self, path: &Path, to: &Path) -> Result<(), ImageError> {
        let absent = || refused(path, "is a link to what is not in it");
        // Docker writes them from the root.
        let to = to.strip_prefix("/").unwrap_or(to);
        let to = inner(to).ok_or_else(|| refused(path, "is a link that leads out of it"))?;
        let file_name = to.file_name().ok_or_else(absent)?;
        let to = self.directory(to.parent().unwrap_or(Path::new("")))?.join(file_name);
        if to == path {
            return Ok(());
        }
        let found = fs::symlink_metadata(self.root.join(&to)).map_err(|_| absent())?;
        if found.is_dir() {
            return Err(refused(path, "is a second name of a directory"));
        }
        if let Ok(there) = fs::symlink_metadata(self.root.join(path)) {
            self.remove(path, &there)?;
        }
        fs::hard_link(self.root.join(to), self.root.join(path)).doing(|| format!("cannot link {}", path.display()))?;
        self.made.insert(path.to_owned());
        Ok(())
    }

    /// Removes what layers below have there.
    fn whiteout(&mut self, parent: &Path, marker: &OsStr, name: &Path) -> Result<(), ImageError> {
        if marker.as_bytes() == OPAQUE {
            return self.clear(parent);
        }
        let hidden = OsStr::from_bytes(&marker.as_bytes()[WHITEOUT.len()..]);
        match hidden.as_bytes() {
            b"" | b"." | b".." => return Err(refused(name, "removes no name")),
            // Notes of a file system of long ago.
            other if other.starts_with(WHITEOUT) => return Ok(()),
            _ => {}
        }
        let path = parent.join(hidden);
        match fs::symlink_metadata(self.root.join(&path)) {
            Ok(there) if !self.made.contains(&path) => self.remove(&path, &there),
            _ => Ok(()),
        }
    }

    /// Empties a directory of what this layer has not put there.
    fn clear(&mut self, directory: &Path) -> Result<(), ImageError> {
        let place = self.root.join(directory);
        let entries = fs::read_dir(&place).doing(|| format!("cannot read {}", place.display()))?;
        for entry in entries.flatten() {
            let path = directory.join(entry.file_name());
            let found = entry.metadata().doing(|| format!("cannot read {}", path.display()))?;
            if !self.made.contains(&path) {
                self.remove(&path, &found)?;
            } else if found.is_dir() {
                self.clear(&path)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path, there: &fs::Metadata) -> Result<(), ImageError> {
        let target = self.root.join(path);
        let doing = || format!("cannot remove {}", target.display());
        if !there.is_dir() {
            return fs::remove_file(&target).doing(doing);
        }
        let below: Vec<PathBuf> = self
            .finals
            .range(path.to_owned()..)
            .map(|(known, _)| known.clone())
            .take_while(|known| known.starts_with(path))
            .collect();
        for known in below {
            self.finals.remove(&known);
        }
        fs::remove_dir_all(&target).doing(doing)
    }

    /// The directory, free of links, that a path without `..` leads to; made where it is missing.
    fn directory(&mut self, path: &Path) -> Result<PathBuf, ImageError> {
        let mut done = PathBuf::new();
        let mut left = parts(path);
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            let place = self.root.join(&next);
            let doing = || format!("cannot create {}", place.display());
            match fs::symlink_metadata(&place) {
                Ok(found) if found.is_dir() => done = next,
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(refused(path, "leads nowhere: it has too many links"));
                    }
                    let link = fs::read_link(&place).doing(doing)?;
                    if link.is_absolute() {
                        done = PathBuf::new();
                    }
                    left.extend(parts(&link));
                }
                Ok(_) => return Err(refused(path, "leads through what is no directory")),
                Err(_) => {
                    fs::create_dir(&place).doing(doing)?;
                    let (mode, modified) = (0o755, 0);
                    self.finals.insert(next.clone(), Final { mode, modified });
                    self.made.insert(next.clone());
                    done = next;
                }
            }
        }
        Ok(done)
    }

    /// Gives the directories their rights and times, inner ones first: one without the right to write could not be filled.
    pub(crate) fn finish(self) -> Result<(), ImageError> {
        for (path, last) in self.finals.iter().rev() {
            let target = self.root.join(path);
            fs::set_permissions(&target, Permissions::from_mode(last.mode))
                .doing(|| format!("cannot write {}", target.display()))?;
            touch(&target, last.modified);
        }
        Ok(())
    }
}

/// What a path leads to in a tree whose root is `/` to its links; `None` where there is nothing.
pub(crate) fn find(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut done = PathBuf::new();
    let mut left = parts(path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == ".." {
            done.pop();
            continue;
        }
        let next = done.join(&part);
        let found = fs::symlink_metadata(root.join(&next)).ok()?;
        if !found.is_symlink() {
            done = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        let link = fs::read_link(root.join(&next)).ok()?;
        if link.is_absolute() {
            done = PathBuf::new();
        }
        left.extend(parts(&link));
    }
    Some(root.join(done))
}

fn is_device(kind: EntryType) -> bool {
    kind.is_character_special() || kind.is_block_special()
}

/// A path of an archive, relative and without `.`; `None` for one that leads out.
pub(crate) fn inner(name: &Path) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// The names in a path, last first, as a stack is filled.
fn parts(path: &Path) -> Vec<OsString> {
    let named = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(named).collect()
}

/// Times are for people; one that cannot be set is no reason to fail.
fn touch(path: &Path, modified: i64) {
    let time = TimeSpec::new(modified, 0);
    let _ = utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink);
}

/// Removes a tree in which there may be directories that their owner may not write to.
pub(crate) fn remove_tree(root: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        other => return other,
    }
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        fs::set_permissions(&directory, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(root)
}

/// Unpacks what is packed, whatever it claims to be.
pub(crate) fn unpacked<'a>(packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::new();
    let mut file = io::BufReader::with_capacity(1 << 16, packed);
    Read::by_ref(&mut file).take(4).read_to_end(&mut start)?;
    let whole = io::Cursor::new(start.clone()).chain(file);
    Ok(match start.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(
            ruzstd::decoding::StreamingDecoder::new(whole).map_err(|error| io::Error::other(error.to_string()))?,
        ),
        _ => Box::new(whole),
    })
}

/// Writes a layer's archive of what a container has changed: the upper directory of an overlay, in which a device 0/0 is a whiteout.
/// What is in `left_out`, or is a kernel's file system, was put there to be mounted on.
pub(crate) fn pack_changes(upper: &Path, left_out: &[PathBuf], out: &mut dyn Write) -> io::Result<()> {
    let mut builder = tar::Builder::new(out);
    builder.mode(tar::HeaderMode::Complete);
    builder.follow_symlinks(false);
    let mut names: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let mut entries: Vec<_> = fs::read_dir(upper.join(&directory))?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut inner = Vec::new();
        for entry in entries {
            let (path, source) = (directory.join(entry.file_name()), entry.path());
            if ["dev", "proc", "sys"].iter().any(|name| path == Path::new(name)) || left_out.contains(&path) {
                continue;
            }
            let found = entry.metadata()?;
            let kind = nix::sys::stat::SFlag::from_bits_truncate(found.mode()) & nix::sys::stat::SFlag::S_IFMT;
            let mut header = tar::Header::new_gnu();
            header.set_metadata(&found);
            if found.is_dir() {
                builder.append_data(&mut header, format!("{}/", path.display()), io::empty())?;
                if is_opaque(&source) {
                    let mut marker = tar::Header::new_gnu();
                    marker.set_mode(0o600);
                    marker.set_size(0);
                    builder.append_data(&mut marker, path.join(OsStr::from_bytes(OPAQUE)), io::empty())?;
                }
                inner.push(path);
            } else if kind == nix::sys::stat::SFlag::S_IFCHR && found.rdev() == 0 {
                let mut marker = tar::Header::new_gnu();
                marker.set_mode(0o600);
                marker.set_size(0);
                let mut name = OsString::from(".wh.");
                name.push(entry.file_name());
                builder.append_data(&mut marker, directory.join(name), io::empty())?;
            } else if found.is_symlink() {
                header.set_size(0);
                builder.append_link(&mut header, &path, fs::read_link(&source)?)?;
            } else if found.is_file() {
                let first = names.entry((found.dev(), found.ino()));
                if let (true, std::collections::btree_map::Entry::Occupied(first)) = (found.nlink() > 1, &first) {
                    header.set_entry_type(EntryType::Link);
                    header.set_size(0);
                    builder.append_link(&mut header, &path, first.get())?;
                    continue;
                }
                first.or_insert_with(|| path.clone());
                builder.append_data(&mut header, &path, File::open(&source)?)?;
            }
            // Sockets and pipes are of the processes that made them.
        }
        pending.extend(inner.into_iter().rev());
    }
    builder.finish()
}

/// Whether an overlay's directory hides all that lies below it.
fn is_opaque(directory: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| xattr::get(directory, name).is_ok_and(|value| value.as_deref() == Some(b"y")))
}

#[cfg(test)]
mod tests;
