//! Where an image's programs are on the host.

use std::collections::BTreeMap;
use std::fs;
use std::io;
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

/// The host's path of a container's absolute path: through the mounts and the image's own symbolic links.
fn translate(path: &Path, spec: &ContainerSpec) -> Option<PathBuf> {
    let mut path = below(Path::new("/"), path);
    for _ in 0..MOST_LINKS {
        let mounted = spec.mounts.iter().filter(|m| !m.source.as_os_str().is_empty());
        let mounted = mounted
            .filter_map(|m| Some((m, path.strip_prefix(&m.target).ok()?)))
            .max_by_key(|(m, _)| m.target.as_os_str().len());
        if let Some((mount, rest)) = mounted {
            return Some(if rest.as_os_str().is_empty() {
                mount.source.clone()
            } else {
                mount.source.join(rest)
            });
        }
        let host = below(&spec.root, &path);
        let Ok(link) = fs::read_link(&host) else {
            return host.exists().then_some(host);
        };
        path = below(Path::new("/"), &path.parent().unwrap_or(Path::new("/")).join(link));
    }
    None
}

/// Every program on the image's search path by name, with its path on the host.
pub(super) fn programs(spec: &ContainerSpec) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for directory in program::search_path(&spec.env).split(':').map(Path::new) {
        let inside = translate(directory, spec).and_then(|host| fs::read_dir(host).ok());
        let inside = inside.into_iter().flatten().flatten().map(|entry| entry.file_name());
        let bound = spec
            .mounts
            .iter()
            .filter(|m| m.target.parent() == Some(directory))
            .filter_map(|m| m.target.file_name());
        for name in inside.chain(bound.map(Into::into)) {
            if let (Some(name), Some(host)) = (name.to_str(), translate(&directory.join(&name), spec)) {
                found.entry(name.to_owned()).or_insert(host);
            }
        }
    }
    found
}

/// Finds the program to run: by name in `bin`, by path in the image.
pub(super) fn find(argv: &[String], spec: &ContainerSpec, bin: &Path) -> Result<PathBuf, RuntimeError> {
    let missing = || io::Error::from(nix::Error::ENOENT);
    let host = |path: &Path| {
        if path.starts_with(bin) {
            Some(path.to_path_buf())
        } else {
            translate(path, spec)
        }
    };
    let found = program::find(argv, &bin.display().to_string(), &spec.working_dir, |path| {
        let found = fs::metadata(host(path).ok_or_else(missing)?)?;
        Ok((found.is_dir(), found.permissions().mode() & 0o111 != 0))
    });
    let path = found.map_err(RuntimeError::NoSuchProgram)?;
    // A program of many names looks at the one it is called by, so the link is better than what it leads to.
    let by_name = path
        .file_name()
        .map(|name| bin.join(name))
        .filter(|link| fs::canonicalize(link).ok() == host(&path).and_then(|p| fs::canonicalize(p).ok()));
    by_name
        .or_else(|| host(&path))
        .ok_or_else(|| RuntimeError::NoSuchProgram(format!("{} is gone", path.display())))
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
        let mount = Mount {
            source: busybox.clone(),
            target: "/bin/busybox".into(),
            read_only: true,
            tmpfs: None,
        };
        let spec = ContainerSpec {
            root: image.path().into(),
            mounts: vec![mount],
            ..ContainerSpec::default()
        };
        let names = programs(&spec);
        assert_eq!(names.get("sh"), Some(&busybox));
        assert_eq!(names.get("busybox"), Some(&busybox));
        assert!(!names.contains_key("loop"));
        assert_eq!(translate(Path::new("/../../etc/passwd"), &spec), None);
        assert_eq!(below(Path::new("/r"), Path::new("../../a/../b")), Path::new("/r/b"));
    }
}
