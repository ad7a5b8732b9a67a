//! Where an image's programs are on the host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::{ContainerSpec, RuntimeError, program};

/// Most links followed before a path is given up as a loop.
const MOST_LINKS: usize = 16;

/// `path` of a container, below `root`, without a way out of it.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    let mut result = root.to_path_buf();
    let mut depth = 0;
    for part in path.components() {
        match part {
            Component::Normal(name) => {
                result.push(name);
                depth += 1;
            }
            Component::ParentDir if depth > 0 => {
                result.pop();
                depth -= 1;
            }
            _ => {}
        }
    }
    result
}

/// What a container would see, worked out without a mount namespace.
pub(super) struct View {
    image: PathBuf,
    /// Target, free of symbolic links, and source of each mount, in order.
    mounts: Vec<(PathBuf, PathBuf)>,
}

impl View {
    pub(super) fn of(spec: &ContainerSpec) -> Self {
        let mut view = Self {
            image: spec.root.clone(),
            mounts: Vec::new(),
        };
        for mount in spec.mounts.iter().filter(|m| !m.source.as_os_str().is_empty()) {
            if let Some(target) = view.resolve(&mount.target) {
                view.mounts.push((target, mount.path()));
            }
        }
        view
    }

    /// The host's path of a container's path that is free of symbolic links. The latest mount hides what lies below it.
    fn host(&self, path: &Path) -> PathBuf {
        let inside = |(target, source): &(PathBuf, PathBuf)| {
            let rest = path.strip_prefix(target).ok()?;
            // Joining nothing would add a slash, and a file with one is not found.
            Some(if rest.as_os_str().is_empty() {
                source.clone()
            } else {
                source.join(rest)
            })
        };
        let mounted = self.mounts.iter().rev().find_map(inside);
        mounted.unwrap_or_else(|| below(&self.image, path))
    }

    /// Follows the symbolic links of a container's path inside the container. `None` for a loop.
    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        let mut links = 0;
        let mut done = PathBuf::from("/");
        let mut left: Vec<OsString> = parts(path);
        while let Some(part) = left.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let next = done.join(part);
            match fs::read_link(self.host(&next)) {
                Ok(link) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if link.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    left.extend(parts(&link));
                }
                Err(_) => done = next,
            }
        }
        Some(done)
    }

    /// Where a file of the container is on the host.
    fn find(&self, path: &Path) -> Option<PathBuf> {
        Some(self.host(&self.resolve(path)?)).filter(|host| host.exists())
    }

    /// The programs on the image's search path by name, each with its path on the host; and the directories of it that are
    /// mounted whole, which may be searched as they are.
    pub(super) fn programs(&self, search: &str) -> (BTreeMap<String, PathBuf>, Vec<PathBuf>) {
        let (mut programs, mut directories) = (BTreeMap::new(), Vec::new());
        for directory in search.split(':').map(Path::new).filter(|d| d.is_absolute()) {
            let Some(resolved) = self.resolve(directory) else {
                continue;
            };
            let host = self.host(&resolved);
            let bound = self
                .mounts
                .iter()
                .filter(|(target, _)| target.parent() == Some(&resolved));
            let mut names: Vec<OsString> = bound
                .filter_map(|(target, _)| Some(target.file_name()?.into()))
                .collect();
            if host.starts_with(&self.image) {
                names.extend(
                    fs::read_dir(&host)
                        .into_iter()
                        .flatten()
                        .flatten()
                        .map(|entry| entry.file_name()),
                );
            } else if host.is_dir() && !directories.contains(&host) {
                directories.push(host);
            }
            for name in names {
                if let (Some(name), Some(host)) = (name.to_str(), self.find(&resolved.join(&name))) {
                    programs.entry(name.to_owned()).or_insert(host);
                }
            }
        }
        (programs, directories)
    }

    /// Finds the program to run: a name on the host's `search` path, anything else in the container.
    pub(super) fn program(&self, argv: &[String], search: &str, working_dir: &Path) -> Result<PathBuf, RuntimeError> {
        let by_path = argv.first().is_some_and(|name| name.contains('/'));
        let host = |path: &Path| {
            if by_path {
                self.find(path)
            } else {
                Some(path.to_path_buf())
            }
        };
        let found = program::find(argv, search, &Path::new("/").join(working_dir), |path| {
            let found = fs::metadata(host(path).ok_or(nix::Error::ENOENT)?)?;
            Ok((found.is_dir(), found.permissions().mode() & 0o111 != 0))
        });
        let path = found.map_err(RuntimeError::NoSuchProgram)?;
        host(&path).ok_or_else(|| RuntimeError::NoSuchProgram(format!("{} is gone", path.display())))
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Mount;

    #[test]
    fn programs_are_found_through_links_and_mounts_and_never_outside_the_image() {
        let (image, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let busybox = host.path().join("many-names");
        fs::write(&busybox, "").unwrap();
        fs::create_dir_all(image.path().join("usr/bin")).unwrap();
        symlink("usr/bin", image.path().join("bin")).unwrap();
        symlink("/bin/busybox", image.path().join("usr/bin/sh")).unwrap();
        symlink("loop", image.path().join("usr/bin/loop")).unwrap();
        symlink("/etc/passwd", image.path().join("usr/bin/escape")).unwrap();
        let mount = |source: &Path, target: &str| Mount {
            source: source.into(),
            target: target.into(),
            read_only: true,
            ..Mount::default()
        };
        let spec = ContainerSpec {
            root: image.path().into(),
            mounts: vec![mount(&busybox, "/bin/busybox"), mount(host.path(), "/opt/tools")],
            ..ContainerSpec::default()
        };
        let view = View::of(&spec);
        let (names, whole) = view.programs("/usr/bin:/bin:/opt/tools");
        assert_eq!(names.get("sh"), Some(&busybox));
        assert_eq!(names.get("busybox"), Some(&busybox));
        assert!(!names.contains_key("loop"));
        assert_eq!(whole, [host.path()]);
        assert_eq!(view.find(Path::new("/../../etc/passwd")), None);
        assert_eq!(view.find(Path::new("/usr/bin/escape")), None);
        let program = |name: &str| view.program(&[name.to_owned()], "/nowhere", Path::new("/usr"));
        assert_eq!(
            program("/bin/sh").unwrap_err().to_string(),
            r#"exec: "/bin/sh": permission denied"#
        );
        assert_eq!(
            program("bin/sh").unwrap_err().to_string(),
            r#"exec: "bin/sh": permission denied"#
        );
        fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(program("/bin/sh").unwrap(), busybox);
        assert_eq!(below(Path::new("/r"), Path::new("../../a/../b")), Path::new("/r/b"));
    }
}
