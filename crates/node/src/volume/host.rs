//! `hostPath` volumes.

use std::fs::{self, FileType, OpenOptions};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Checks what is at `path`, or makes it, as the volume's type asks.
pub(crate) fn check(path: &str, kind: &str) -> Result<(), String> {
    let at = Path::new(path);
    if !at.is_absolute() {
        return Err(format!("hostPath {path} is not an absolute path"));
    }
    let failed = |error: std::io::Error| format!("hostPath {path}: {error}");
    match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" if !at.exists() => fs::create_dir_all(at).map_err(failed)?,
        "FileOrCreate" if !at.exists() => {
            OpenOptions::new().create(true).append(true).open(at).map_err(failed)?;
        }
        _ => {}
    }
    let is = |test: fn(&FileType) -> bool| fs::metadata(at).is_ok_and(|found| test(&found.file_type()));
    let (fits, wanted) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(FileType::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(FileType::is_file), "file"),
        "Socket" => (is(FileType::is_socket), "socket file"),
        "CharDevice" => (is(FileType::is_char_device), "character device"),
        "BlockDevice" => (is(FileType::is_block_device), "block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("hostPath type check failed: {path} is not a {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_the_creating_ones_create() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
        assert_eq!(check(&path("d/e"), "DirectoryOrCreate"), Ok(()));
        assert_eq!(check(&path("d"), "Directory"), Ok(()));
        assert_eq!(check(&path("f"), "FileOrCreate"), Ok(()));
        assert_eq!(check(&path("none"), ""), Ok(()));
        let refused = check(&path("f"), "Directory").expect_err("a file");
        assert_eq!(
            refused,
            format!("hostPath type check failed: {} is not a directory", path("f"))
        );
        assert!(check(&path("none"), "File").is_err());
        assert!(check("relative", "").is_err());
    }
}
