//! The files that COPY and ADD take: of the build's context, without what `.dockerignore` names, or of an image.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::digest::Hashing;
use crate::layer;
use crate::{Doing, ImageError};

/// Longest `.dockerignore` that is read.
const LONGEST: u64 = 1 << 20;

/// A tree of files to copy from.
pub(super) struct Source {
    pub(super) root: PathBuf,
    /// Patterns that take away, or with `true` give back; the last that fits counts.
    ignored: Vec<(bool, String)>,
    /// Files keep their owners: those of an image.
    owners: bool,
}

/// Something to copy and what it will be called.
pub(super) struct Item {
    pub(super) from: PathBuf,
    /// Below the image's root.
    pub(super) to: PathBuf,
    found: fs::Metadata,
}

/// Who copied files belong to, and their rights, where that is said.
#[derive(Clone, Copy, Default)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: Option<u32>,
}

impl Source {
    /// The build's own directory.
    pub(super) fn context(root: &Path) -> Result<Self, ImageError> {
        let root = root
            .canonicalize()
            .doing(|| format!("cannot read {}", root.display()))?;
        let mut text = String::new();
        if let Ok(file) = fs::File::open(root.join(".dockerignore")) {
            file.take(LONGEST)
                .read_to_string(&mut text)
                .doing(|| "cannot read .dockerignore".into())?;
        }
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ignored = lines.map(|line| {
            let (back, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern));
            (back, pattern.trim().trim_matches('/').to_owned())
        });
        Ok(Self {
            ignored: ignored.collect(),
            root,
            owners: false,
        })
    }

    /// An unpacked image.
    pub(super) fn image(root: PathBuf) -> Self {
        Self {
            root,
            ignored: Vec::new(),
            owners: true,
        }
    }

    fn is_ignored(&self, path: &Path) -> bool {
        let mut ignored = false;
        for (back, pattern) in &self.ignored {
            // What names a directory names all that is in it.
            if path
                .ancestors()
                .any(|part| !part.as_os_str().is_empty() && fits(pattern, part))
            {
                ignored = !back;
            }
        }
        ignored
    }

    /// The files that `pattern` names. Links in its directories are followed within the tree.
    pub(super) fn find(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let absent = || format!("{pattern:?} not found: not found");
        let mut clean = PathBuf::new();
        for part in Path::new(pattern).components() {
            match part {
                std::path::Component::Normal(part) => clean.push(part),
                // Nothing is above the root.
                std::path::Component::ParentDir => _ = clean.pop(),
                _ => {}
            }
        }
        if !pattern.contains(['*', '?', '[']) {
            let place = layer::find(&self.root, &clean).ok_or_else(absent)?;
            let inner = place.strip_prefix(&self.root).unwrap_or(&place).to_owned();
            return if self.is_ignored(&inner) {
                Err(absent())
            } else {
                Ok(vec![inner])
            };
        }
        let depth = clean.components().count();
        let mut found = Vec::new();
        self.walk(Path::new(""), &mut |path, _| {
            let level = path.components().count();
            if level == depth && fits(&clean.to_string_lossy(), path) {
                found.push(path.to_owned());
            }
            level < depth
        })
        .map_err(|error| error.to_string())?;
        if found.is_empty() { Err(absent()) } else { Ok(found) }
    }

    /// Visits everything below `from`, in order; `visit` says whether to go into a directory.
    fn walk(&self, from: &Path, visit: &mut dyn FnMut(&Path, &fs::Metadata) -> bool) -> io::Result<()> {
        let mut entries: Vec<_> = fs::read_dir(self.root.join(from))?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = from.join(entry.file_name());
            let found = entry.metadata()?;
            let ignored = self.is_ignored(&path);
            // A later pattern may give back what is in an ignored directory.
            let inner = if ignored {
                self.ignored.iter().any(|(back, _)| *back)
            } else {
                visit(&path, &found)
            };
            if found.is_dir() && inner {
                self.walk(&path, visit)?;
            }
        }
        Ok(())
    }

    /// What copying `path` to `to` copies: a file, or all that is in a directory.
    pub(super) fn items(&self, path: &Path, to: &Path, into: bool) -> io::Result<Vec<Item>> {
        let place = self.root.join(path);
        let found = fs::metadata(&place)?;
        if !found.is_dir() {
            let name = path.file_name().unwrap_or(OsStr::new(""));
            let to = if into { to.join(name) } else { to.to_owned() };
            return Ok(vec![Item { from: place, to, found }]);
        }
        let mut items = Vec::new();
        self.walk(path, &mut |inner, found| {
            let below = inner.strip_prefix(path).unwrap_or(inner);
            items.push(Item {
                from: self.root.join(inner),
                to: to.join(below),
                found: found.clone(),
            });
            true
        })?;
        Ok(items)
    }

    /// Writes them as a layer's archive.
    pub(super) fn pack(&self, items: &[Item], owner: Option<Owner>, out: &mut dyn Write) -> io::Result<()> {
        let mut builder = tar::Builder::new(out);
        builder.follow_symlinks(false);
        for item in items {
            let mut header = tar::Header::new_gnu();
            header.set_metadata(&item.found);
            let (user, group) = match owner {
                Some(owner) => (owner.user, owner.group),
                None if self.owners => (item.found.uid(), item.found.gid()),
                None => (0, 0),
            };
            header.set_uid(user.into());
            header.set_gid(group.into());
            let mode = owner.and_then(|owner| owner.mode);
            header.set_mode(mode.unwrap_or(item.found.mode() & 0o7777));
            if item.found.is_dir() {
                header.set_size(0);
                builder.append_data(&mut header, format!("{}/", item.to.display()), io::empty())?;
            } else if item.found.is_symlink() {
                header.set_size(0);
                builder.append_link(&mut header, &item.to, fs::read_link(&item.from)?)?;
            } else if item.found.is_file() {
                let file = fs::File::open(&item.from)?;
                builder.append_data(&mut header, &item.to, file.take(item.found.len()))?;
            }
        }
        builder.finish()
    }
}

/// What tells two sets of items apart: names, rights, content, but not times.
pub(super) fn fingerprint(items: &[Item]) -> io::Result<String> {
    let mut hash = Hashing::new(io::sink());
    for item in items {
        writeln!(hash, "{} {:o}", item.to.display(), item.found.permissions().mode())?;
        if item.found.is_symlink() {
            writeln!(hash, "{}", fs::read_link(&item.from)?.display())?;
        } else if item.found.is_file() {
            let mut content = Hashing::new(fs::File::open(&item.from)?);
            io::copy(&mut content, &mut io::sink())?;
            writeln!(hash, "{}", content.finish().1)?;
        }
    }
    Ok(hash.finish().1.to_string())
}

/// Whether a pattern of Go's `filepath.Match`, with `**` for any directories, is the whole path.
fn fits(pattern: &str, path: &Path) -> bool {
    let path = path.to_string_lossy();
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    parts_fit(&pattern, &path)
}

fn parts_fit(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skip| parts_fit(rest, &path[skip..])),
        (Some((part, rest)), Some((name, names))) => {
            let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
            name_fits(&part, &name) && parts_fit(rest, names)
        }
        _ => false,
    }
}

fn name_fits(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|skip| name_fits(rest, &name[skip..])),
        ['?', rest @ ..] => !name.is_empty() && name_fits(rest, &name[1..]),
        ['\\', c, rest @ ..] => name.first() == Some(c) && name_fits(rest, &name[1..]),
        ['[', rest @ ..] => {
            let Some(end) = rest.iter().position(|c| *c == ']') else {
                return false;
            };
            let (set, after) = (&rest[..end], &rest[end + 1..]);
            let (not, set) = match set {
                ['^', set @ ..] => (true, set),
                set => (false, set),
            };
            let Some(first) = name.first() else { return false };
            let range = set
                .windows(3)
                .any(|three| three[1] == '-' && (three[0]..=three[2]).contains(first));
            (set.contains(first) || range) != not && name_fits(after, &name[1..])
        }
        [c, rest @ ..] => name.first() == Some(c) && name_fits(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_go_s_do() {
        for (pattern, path, fit) in [
            ("*.rs", "main.rs", true),
            ("*.rs", "src/main.rs", false),
            ("**/*.rs", "src/deep/main.rs", true),
            ("**/*.rs", "main.rs", true),
            ("src/?.[ch]", "src/a.c", true),
            ("src/?.[^ch]", "src/a.c", false),
            ("[a-c]x", "bx", true),
            ("a", "b", false),
        ] {
            assert_eq!(fits(pattern, Path::new(path)), fit, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_ignored_is_not_there_and_nothing_is_above_the_context() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("context/logs")).unwrap();
        let root = dir.path().join("context");
        for (name, text) in [
            ("a.txt", "a"),
            ("logs/x.log", "x"),
            ("logs/keep.log", "k"),
            (".dockerignore", "logs\n!logs/keep.log\n*.tmp"),
            ("b.tmp", ""),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        let source = Source::context(&root).unwrap();
        let copied: Vec<_> = source
            .items(Path::new(""), Path::new("to"), true)
            .unwrap()
            .into_iter()
            .map(|item| item.to.display().to_string())
            .collect();
        assert_eq!(copied, ["to/.dockerignore", "to/a.txt", "to/logs/keep.log", "to/out"]);
        assert_eq!(source.find("*.t??").unwrap(), [Path::new("a.txt")]);
        for path in ["b.tmp", "../secret", "out", "missing", "*.none"] {
            assert!(source.find(path).is_err(), "{path}");
        }
    }
}
