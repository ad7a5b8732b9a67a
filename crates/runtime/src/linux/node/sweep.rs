//! Removing containers. Their files are deleted by a child of the node process: a container may have written a great many.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::poll::{PollTimeout, poll};

use super::cgroup::Groups;
use super::child;
use super::container::{end, kill_all};
use super::service::{Node, Outcome};
use super::state::{Process, Role, Stage};
use crate::linux::wire::{self, Context, Failure};

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
pub(super) fn sweep(layer: &Path, group: Option<&Groups>) -> i32 {
    for _ in 0..TRIES {
        if group.is_none_or(Groups::remove) {
            break;
        }
        // A wait without a thread to block: this process has nothing else to do.
        let _ = poll(&mut [], PollTimeout::from(10_u8));
    }
    i32::from(remove_tree(layer).is_err())
}

impl Node {
    pub(super) fn remove(&mut self, call: u64, id: &str) -> Result<Outcome, Failure> {
        if self.containers.contains_key(id) {
            self.doom(id, Some(call));
            return Ok(Outcome::Later);
        }
        // Going already, as one whose start failed is by itself: gone only when its sweeper says so.
        if let Some(calls) = self.sweeper(id) {
            calls.push(call);
            return Ok(Outcome::Later);
        }
        Ok(Outcome::DONE)
    }

    /// The calls waiting for the sweeper at work on a container.
    pub(super) fn sweeper(&mut self, id: &str) -> Option<&mut Vec<u64>> {
        self.processes.values_mut().find_map(|process| match &mut process.role {
            Role::Sweeper { container, calls, .. } if container == id => Some(calls),
            _ => None,
        })
    }

    /// Ends a container and removes it when that has happened.
    pub(super) fn doom(&mut self, id: &str, call: Option<u64>) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        container.doomed = true;
        container.removers.extend(call);
        match &container.stage {
            Stage::Starting(first) => end(*first),
            Stage::Running(first, members) => {
                end(*first);
                if let (true, Some(members)) = (container.shares_processes(), members) {
                    kill_all(members);
                }
            }
            Stage::Ended => self.sweep(id),
        }
    }

    /// Removes an ended container's files, out of the way at once and for good by a child.
    pub(super) fn sweep(&mut self, id: &str) {
        let Some(container) = self.containers.remove(id) else {
            return;
        };
        let trash = self.directory("trash", id).unwrap_or_else(|_| container.layer.clone());
        let layer = if fs::rename(&container.layer, &trash).is_ok() {
            trash
        } else {
            container.layer
        };
        let sandbox = container.spec.sandbox.clone();
        let group = container.group;
        let sweeper = wire::pair()
            .context("make a report socket")
            .and_then(|(_, theirs)| child::fork(theirs, |_| std::process::exit(sweep(&layer, group.as_ref()))));
        match sweeper {
            Ok(pid) => {
                let role = Role::Sweeper {
                    container: id.to_owned(),
                    sandbox,
                    calls: container.removers,
                };
                self.processes.insert(pid, Process { role, pending: None });
            }
            Err(failure) => {
                for call in container.removers {
                    self.answer(call, Err(failure.clone()), &[]);
                }
                self.finish_sandbox(&sandbox);
            }
        }
    }
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
