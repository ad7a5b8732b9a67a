//! Serves a directory tree over HTTP, with listings: kuard's `/fs`.

use std::path::{Component, Path, PathBuf};

use crate::net::serve::{Reply, reply};
use crate::net::url::{decode, html};

/// Largest file served: these servers hold a file in memory while they send it.
const MAX_FILE: u64 = 256 << 20;

/// A decoded request path as a path below a root. `None` when it tries to leave it.
pub(crate) fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let decoded = decode(path);
    if decoded.contains('\0') {
        return None;
    }
    let mut full = root.to_owned();
    for part in Path::new(decoded.trim_start_matches('/')).components() {
        match part {
            Component::Normal(name) => full.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(full)
}

/// A file's bytes, unless it is none or too large.
pub(crate) fn load(path: &Path) -> std::io::Result<Vec<u8>> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() && !meta.is_dir() {
        // A FIFO or a device would hang the server or never end.
        return Err(std::io::ErrorKind::PermissionDenied.into());
    }
    if meta.len() > MAX_FILE {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    // /proc says 0 for files that have content.
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Answers for `path` below `root`; `prefix` is what the browser sees before it.
pub(crate) fn answer(root: &Path, prefix: &str, path: &str) -> Reply {
    let not_found = || {
        reply(
            404,
            &[("Content-Type", "text/plain; charset=utf-8")],
            "404 page not found\n",
        )
    };
    let Some(full) = below(root, path) else {
        return not_found();
    };
    let Ok(meta) = std::fs::metadata(&full) else {
        return not_found();
    };
    if meta.is_dir() {
        if !path.ends_with('/') {
            return reply(301, &[("Location", &format!("{prefix}{path}/"))], "");
        }
        return match listing(&full) {
            Ok(page) => reply(200, &[("Content-Type", "text/html; charset=utf-8")], page),
            Err(_) => reply(
                500,
                &[("Content-Type", "text/plain; charset=utf-8")],
                "Error reading directory\n",
            ),
        };
    }
    match load(&full) {
        Ok(bytes) => {
            let kind = if std::str::from_utf8(&bytes).is_ok() {
                "text/plain; charset=utf-8"
            } else {
                "application/octet-stream"
            };
            reply(200, &[("Content-Type", kind)], bytes)
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            reply(403, &[("Content-Type", "text/plain; charset=utf-8")], "403 Forbidden\n")
        }
        Err(_) => reply(
            500,
            &[("Content-Type", "text/plain; charset=utf-8")],
            "500 Internal Server Error\n",
        ),
    }
}

fn listing(dir: &Path) -> std::io::Result<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)?
        .flatten()
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    let lines: String = names
        .iter()
        .map(|n| format!("<a href=\"{}\">{}</a>\n", link(n), html(n)))
        .collect();
    Ok(format!("<pre>\n{lines}</pre>\n"))
}

fn link(name: &str) -> String {
    name.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~/".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_root() {
        let root = Path::new("/srv");
        assert_eq!(below(root, "/a/b%20c"), Some(PathBuf::from("/srv/a/b c")));
        for path in ["/../etc/passwd", "/%2e%2e/etc", "/a/../../b", "/a%00b"] {
            assert_eq!(below(root, path), None, "{path}");
        }
    }
}
