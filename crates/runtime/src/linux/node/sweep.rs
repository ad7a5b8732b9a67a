//! Deleting a container's files, in a child of the node process: a container may have written a great many.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::poll::{PollTimeout, poll};

use super::cgroup::Group;

/// Tries for the kernel to notice that a group is empty, 10 ms apart.
const TRIES: usize = 50;

/// Deletes a tree whatever its permissions: an overlay's work directory has none, and programs make unwritable ones.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn open_up(path: &Path) -> io::Result<()> {
    let mut pending = vec![path.to_path_buf()];
    while let Some(directory) = pending.pop() {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Removes a container's control group and files; says how to exit.
pub(super) fn sweep(layer: &Path, group: Option<&Group>) -> i32 {
    for _ in 0..TRIES {
        if group.is_none_or(Group::remove) {
            break;
        }
        // A wait without a thread to block: this process has nothing else to do.
        let _ = poll(&mut [], PollTimeout::from(10_u8));
    }
    i32::from(remove_tree(layer).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_without_permissions_are_removed_and_missing_ones_reported() {
        let parent = tempfile::tempdir().unwrap();
        let tree = parent.path().join("tree");
        fs::create_dir_all(tree.join("work/work")).unwrap();
        fs::write(tree.join("work/work/file"), "x").unwrap();
        fs::set_permissions(tree.join("work/work"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(remove_tree(&tree).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
