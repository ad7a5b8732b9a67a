//! System calls without a safe binding: mounts as descriptors, and closing what was inherited.
//!
//! A mount that is made as a descriptor and attached to one cannot end up anywhere else, whatever links and renames there are by then.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::libc;

/// Mount attributes (`MOUNT_ATTR_*`).
pub(super) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(super) const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
/// As every kernel file system and every memory one is mounted.
pub(super) const QUIET: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

const EMPTY: &CStr = c"";
const AT_EMPTY_PATH: libc::c_uint = libc::AT_EMPTY_PATH as libc::c_uint;

/// A mount that is not attached anywhere yet.
#[derive(Debug)]
pub(super) struct Detached(OwnedFd);

impl Detached {
    /// Another mount of what `source` names, with what is mounted below it. Only what is in this process's mount namespace can be mounted
    /// again.
    pub(super) fn of(source: impl AsFd) -> nix::Result<Self> {
        let flags =
            libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | libc::AT_RECURSIVE as libc::c_uint;
        // SAFETY: the path is a valid C string for the duration of the call.
        #[allow(unsafe_code, reason = "open_tree has no safe binding")]
        let result = unsafe { libc::syscall(libc::SYS_open_tree, source.as_fd().as_raw_fd(), EMPTY.as_ptr(), flags) };
        descriptor(result).map(Self)
    }

    /// A new file system. `options` without a value are flags.
    pub(super) fn new(kind: &CStr, options: &[(&str, Option<&str>)], attributes: u64) -> nix::Result<Self> {
        // SAFETY: the name is a valid C string for the duration of the call.
        #[allow(unsafe_code, reason = "fsopen has no safe binding")]
        let result = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) };
        let context = descriptor(result)?;
        // What /proc/mounts shows as the source.
        configure(&context, libc::FSCONFIG_SET_STRING, Some("source"), kind.to_str().ok())?;
        for (name, value) in options {
            let command = if value.is_some() {
                libc::FSCONFIG_SET_STRING
            } else {
                libc::FSCONFIG_SET_FLAG
            };
            configure(&context, command, Some(name), *value)?;
        }
        configure(&context, libc::FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: fsmount takes numbers and touches no memory of ours.
        #[allow(unsafe_code, reason = "fsmount has no safe binding")]
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                context.as_raw_fd(),
                libc::FSMOUNT_CLOEXEC,
                attributes as libc::c_uint,
            )
        };
        descriptor(result).map(Self)
    }

    /// Adds attributes, to the mounts below it as well.
    pub(super) fn restrict(&self, attributes: u64) -> nix::Result<()> {
        self.change(attributes, 0)
    }

    /// Cuts it off from mounts and unmounts elsewhere.
    pub(super) fn make_private(&self) -> nix::Result<()> {
        self.change(0, libc::MS_PRIVATE)
    }

    fn change(&self, attributes: u64, propagation: u64) -> nix::Result<()> {
        let change = libc::mount_attr {
            attr_set: attributes,
            attr_clr: 0,
            propagation,
            userns_fd: 0,
        };
        // SAFETY: the path and the structure are valid for the duration of the call, and the size is the structure's.
        #[allow(unsafe_code, reason = "mount_setattr has no safe binding")]
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                EMPTY.as_ptr(),
                AT_EMPTY_PATH | libc::AT_RECURSIVE as libc::c_uint,
                &raw const change,
                size_of::<libc::mount_attr>(),
            )
        };
        nix::Error::result(result).map(drop)
    }

    /// Attaches it on top of what `target` names.
    pub(super) fn attach(&self, target: impl AsFd) -> nix::Result<()> {
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
        // SAFETY: both paths are valid C strings for the duration of the call.
        #[allow(unsafe_code, reason = "move_mount has no safe binding")]
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                EMPTY.as_ptr(),
                target.as_fd().as_raw_fd(),
                EMPTY.as_ptr(),
                flags,
            )
        };
        nix::Error::result(result).map(drop)
    }

    /// Its topmost directory or file.
    pub(super) fn root(&self) -> &OwnedFd {
        &self.0
    }
}

fn configure(context: &OwnedFd, command: libc::c_uint, key: Option<&str>, value: Option<&str>) -> nix::Result<()> {
    let text = |text: Option<&str>| text.map(CString::new).transpose().map_err(|_| nix::Error::EINVAL);
    let (key, value) = (text(key)?, text(value)?);
    let pointer = |text: &Option<CString>| text.as_deref().map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are valid C strings, or null where the command takes none, for the duration of the call.
    #[allow(unsafe_code, reason = "fsconfig has no safe binding")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(&key),
            pointer(&value),
            0,
        )
    };
    nix::Error::result(result).map(drop)
}

/// Takes over a descriptor that a system call has just returned.
fn descriptor(result: libc::c_long) -> nix::Result<OwnedFd> {
    let number = nix::Error::result(result)?;
    let number = libc::c_int::try_from(number).map_err(|_| nix::Error::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us; nothing else knows its number.
    #[allow(unsafe_code, reason = "the kernel hands out raw descriptors")]
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Leaves the keyring that the session this was started from may hold keys in.
#[allow(unsafe_code, reason = "keyctl has no safe binding")]
pub(super) fn forget_keys() {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: without a name the kernel makes a new keyring and touches no memory of ours. Where keyrings are forbidden there are none.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}
