//! Builds a container's file system, in the container's own process, before its program runs.
//!
//! The order matters. Everything that is to be mounted is made or opened as a descriptor while the host's tree is still there: the kernel
//! lets an unprivileged user mount `/proc` and `/sys` only where they are visible already. Then `pivot_root` makes the container's tree
//! `/` and the host's is let go *before* the first path of the container is looked at, so that there is nothing outside to reach; and each
//! of these paths is resolved once, by [`Tree`], to the descriptor that is then used.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mkdirat, mknodat};
use nix::unistd::{chdir, pivot_root, symlinkat};

use super::layer;
use super::sys::{Detached, NO_DEVICES, QUIET, READ_ONLY};
use super::tree::Tree;
use crate::linux::wire::{Context, Failure};
use crate::{ContainerSpec, Mount, Tmpfs};

/// Device nodes every container has: the host's, whose owner and rights cannot be changed from inside, since they are mounted read-only.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Kernel interfaces that would let a container's root reach or see the whole machine.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const FIXED: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const NONE: Option<&str> = None;

/// What a root file system is made of besides the container's specification.
pub(super) struct Parts<'a> {
    pub(super) spec: &'a ContainerSpec,
    /// Directory of the container's writable layer.
    pub(super) layer: &'a Path,
    /// The pod's `/dev/shm`.
    pub(super) shm: &'a Path,
    /// The container's own control groups: path below `/sys/fs/cgroup` and directory on the host.
    pub(super) groups: Vec<(PathBuf, PathBuf)>,
    /// Whether this runs in the user namespace of an unprivileged user.
    pub(super) rootless: bool,
}

/// A mount that is ready to be attached.
struct Ready<'a> {
    mount: &'a Mount,
    made: Detached,
    directory: bool,
}

/// The kernel's file systems and devices, ready to be attached.
struct Kernel {
    proc: Detached,
    sys: Detached,
    groups: Option<(Detached, Vec<(PathBuf, Detached)>)>,
    dev: Detached,
    pts: Detached,
    shm: Detached,
    mqueue: Option<Detached>,
    devices: Vec<(&'static str, Detached)>,
}

/// Moves this process into a new mount namespace whose root is the container's.
pub(super) fn assemble(parts: &Parts<'_>) -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    // Nothing of ours goes out. What the host mounts later may come in, where a volume asks for that.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE).context("detach from the node's mounts")?;
    let root = layer::mount_root(parts.layer, &parts.spec.root, parts.rootless)?;
    let kernel = Kernel::make(parts)?;
    let with_devices = parts.spec.security.privileged && !parts.rootless;
    let mounts = parts.spec.mounts.iter().map(|mount| prepare(mount, with_devices));
    let mounts = mounts.collect::<Result<Vec<_>, _>>()?;

    chdir(&root).context("enter the container's root")?;
    pivot_root(".", ".").context("make the container's root the root")?;
    // That leaves the host's tree stacked on top of ours, and this process in it.
    umount2(".", MntFlags::MNT_DETACH).context("let go of the host's root")?;
    chdir("/").context("go to the container's root")?;
    let tree = Tree::current().context("open the container's root")?;

    kernel.attach(&tree)?;
    let security = &parts.spec.security;
    if !security.privileged && !security.unmasked_proc {
        mask(&tree)?;
    }
    for ready in &mounts {
        attach(&tree, ready).with_context(|| format!("mount {}", ready.mount.target.display()))?;
    }
    let directory = working_dir(parts.spec);
    tree.directory(directory)
        .with_context(|| format!("create {}", directory.display()))?;
    if parts.spec.read_only_root {
        freeze_root().context("make the root read-only")?;
    }
    Ok(())
}

/// The directory a container's programs start in.
pub(super) fn working_dir(spec: &ContainerSpec) -> &Path {
    if spec.working_dir.as_os_str().is_empty() {
        Path::new("/")
    } else {
        &spec.working_dir
    }
}

fn open_path(path: &Path) -> nix::Result<OwnedFd> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

fn is_directory(what: impl AsFd) -> nix::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(what)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// Opens a mount's source and makes a mount of it, as restricted as it is to be before anybody can see it.
fn prepare(mount: &Mount, with_devices: bool) -> Result<Ready<'_>, Failure> {
    let doing = || format!("mount {}", mount.path().display());
    if let (Some(fresh), true) = (mount.tmpfs, mount.source.as_os_str().is_empty()) {
        let made = tmpfs(fresh)?;
        return Ok(Ready {
            mount,
            made,
            directory: true,
        });
    }
    let mut source = open_path(&mount.source).with_context(doing)?;
    if !mount.sub_path.as_os_str().is_empty() {
        source = below(source, &mount.sub_path)?;
    }
    let directory = is_directory(&source).with_context(doing)?;
    let made = Detached::of(&source).with_context(doing)?;
    let fixed = if mount.read_only { READ_ONLY } else { 0 };
    let devices = if with_devices { 0 } else { NO_DEVICES };
    made.restrict(devices | fixed).with_context(doing)?;
    if !mount.follows_host {
        made.make_private().with_context(doing)?;
    }
    Ok(Ready { mount, made, directory })
}

/// What is at `path` in a volume; a directory is made where there is nothing.
fn below(volume: OwnedFd, path: &Path) -> Result<OwnedFd, Failure> {
    let tree = Tree::of_volume(volume);
    let found = match tree.find(path) {
        Err(Errno::ENOENT) => tree.directory(path),
        other => other,
    };
    found.map_err(|error| {
        let why = match error {
            Errno::EXDEV => "it leads out of the volume".to_owned(),
            other => other.desc().to_lowercase(),
        };
        Failure::Unsupported(format!("failed to prepare subPath {:?}: {why}", path.display()))
    })
}

/// A memory file system that everyone may write to.
fn tmpfs(wanted: Tmpfs) -> Result<Detached, Failure> {
    let size = wanted.size.to_string();
    let group = wanted.group.map(|group| group.to_string());
    let mut options = vec![("mode", Some(if group.is_some() { "2777" } else { "777" }))];
    if wanted.size > 0 {
        options.push(("size", Some(size.as_str())));
    }
    if group.is_some() {
        options.push(("gid", group.as_deref()));
    }
    let made = Detached::new(c"tmpfs", &options, nix::libc::MOUNT_ATTR_NOSUID | NO_DEVICES);
    made.context("make a memory file system")
}

/// Mounts a memory file system over a directory of this process's mount namespace.
pub(super) fn mount_tmpfs(target: &Path, wanted: Tmpfs) -> Result<(), Failure> {
    let target = open_path(target).with_context(|| format!("open {}", target.display()))?;
    tmpfs(wanted)?.attach(target).context("mount a memory file system")
}

impl Kernel {
    fn make(parts: &Parts<'_>) -> Result<Self, Failure> {
        let privileged = parts.spec.security.privileged;
        let proc = Detached::new(c"proc", &[], QUIET).context("make /proc")?;
        let fixed = if privileged { 0 } else { READ_ONLY };
        let sys = match Detached::new(c"sysfs", &[], QUIET | fixed) {
            Ok(made) => made,
            // Refused where the host's /sys is partly hidden (in a container, say); then the host's own has to do.
            Err(_) => {
                let made = open_path(Path::new("/sys"))
                    .and_then(Detached::of)
                    .context("copy /sys")?;
                made.restrict(QUIET | READ_ONLY).context("protect /sys")?;
                made
            }
        };
        let devices = if privileged && !parts.rootless {
            Vec::new()
        } else {
            DEVICES
                .into_iter()
                .map(|name| Ok((name, device(name).with_context(|| format!("copy /dev/{name}"))?)))
                .collect::<Result<_, Failure>>()?
        };
        // A terminal belongs to group 5 (tty) where that group is mapped.
        let group = if parts.rootless { None } else { Some(("gid", Some("5"))) };
        let options: Vec<_> = [
            ("newinstance", None),
            ("ptmxmode", Some("0666")),
            ("mode", Some("0620")),
        ]
        .into_iter()
        .chain(group)
        .collect();
        let quiet = nix::libc::MOUNT_ATTR_NOSUID | nix::libc::MOUNT_ATTR_NOEXEC;
        let pts = Detached::new(c"devpts", &options, quiet).context("make /dev/pts")?;
        let shm = open_path(parts.shm).and_then(Detached::of).context("copy /dev/shm")?;
        shm.restrict(QUIET).context("protect /dev/shm")?;
        Ok(Self {
            proc,
            sys,
            groups: control_groups(parts, privileged),
            dev: dev(privileged && !parts.rootless)?,
            pts,
            shm,
            // POSIX message queues are rare enough to do without where the kernel lacks them.
            mqueue: Detached::new(c"mqueue", &[], QUIET).ok(),
            devices,
        })
    }

    fn attach(&self, tree: &Tree) -> Result<(), Failure> {
        let put = |made: &Detached, path: &str| {
            let target = tree.directory(Path::new(path));
            target
                .and_then(|target| made.attach(target))
                .with_context(|| format!("mount {path}"))
        };
        put(&self.proc, "/proc")?;
        put(&self.sys, "/sys")?;
        if let Some((top, groups)) = &self.groups
            && let Ok(target) = tree.find(Path::new("/sys/fs/cgroup"))
        {
            top.attach(target).context("mount /sys/fs/cgroup")?;
            for (path, made) in groups {
                put(made, &Path::new("/sys/fs/cgroup").join(path).to_string_lossy())?;
            }
            if !groups.is_empty() {
                top.restrict(READ_ONLY).context("protect /sys/fs/cgroup")?;
            }
        }
        put(&self.dev, "/dev")?;
        for (name, made) in &self.devices {
            let target = tree.file(&Path::new("/dev").join(name));
            target
                .and_then(|target| made.attach(target))
                .with_context(|| format!("make /dev/{name}"))?;
        }
        put(&self.pts, "/dev/pts")?;
        put(&self.shm, "/dev/shm")?;
        self.mqueue.as_ref().map_or(Ok(()), |made| put(made, "/dev/mqueue"))
    }
}

/// A container's `/dev`, with links and directories and yet without devices, but for a privileged one.
fn dev(privileged: bool) -> Result<Detached, Failure> {
    let attributes = nix::libc::MOUNT_ATTR_NOSUID | if privileged { 0 } else { NO_DEVICES };
    let options = [("mode", Some("755")), ("size", Some("65536k"))];
    let dev = Detached::new(c"tmpfs", &options, attributes).context("make /dev")?;
    let root = dev.root();
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(root, name, Mode::from_bits_truncate(0o755)).with_context(|| format!("create /dev/{name}"))?;
    }
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
        ("core", "/proc/kcore"),
    ] {
        symlinkat(target, root, link).with_context(|| format!("make /dev/{link}"))?;
    }
    if privileged {
        copy_devices(Path::new("/dev"), root, 0).context("make the node's devices")?;
    }
    Ok(dev)
}

fn device(name: &str) -> nix::Result<Detached> {
    let made = Detached::of(open_path(&Path::new("/dev").join(name))?)?;
    made.restrict(READ_ONLY | nix::libc::MOUNT_ATTR_NOSUID | nix::libc::MOUNT_ATTR_NOEXEC)?;
    Ok(made)
}

/// Makes nodes for all devices below a directory of the node's `/dev`.
fn copy_devices(from: &Path, to: &OwnedFd, depth: usize) -> nix::Result<()> {
    const DEEPEST: usize = 4;
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Ok(found) = nix::sys::stat::lstat(&path) else {
            continue;
        };
        let mode = Mode::from_bits_truncate(found.st_mode & 0o7777);
        match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            kind @ (SFlag::S_IFCHR | SFlag::S_IFBLK) => {
                // The container has consoles and terminals of its own.
                if matches!(name.as_bytes(), b"console" | b"ptmx") {
                    continue;
                }
                let device = makedev(
                    nix::sys::stat::major(found.st_rdev),
                    nix::sys::stat::minor(found.st_rdev),
                );
                match mknodat(to, name.as_os_str(), kind, mode, device) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error),
                }
            }
            SFlag::S_IFDIR
                if depth < DEEPEST && !(depth == 0 && matches!(name.as_bytes(), b"pts" | b"shm" | b"mqueue")) =>
            {
                match mkdirat(to, name.as_os_str(), mode) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(error) => return Err(error),
                }
                let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                copy_devices(&path, &openat(to, name.as_os_str(), flags, Mode::empty())?, depth + 1)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a container sees of its own control groups. None where there are none; best effort, since nothing depends on it.
fn control_groups(parts: &Parts<'_>, privileged: bool) -> Option<(Detached, Vec<(PathBuf, Detached)>)> {
    let fixed = if privileged { 0 } else { READ_ONLY };
    let open = |directory: &Path| -> Option<Detached> {
        let made = open_path(directory).and_then(Detached::of).ok()?;
        made.restrict(QUIET | fixed).ok()?;
        Some(made)
    };
    let mut groups = Vec::new();
    for (path, directory) in &parts.groups {
        let made = open(directory)?;
        // Version 2 has one tree.
        if path.as_os_str().is_empty() {
            return Some((made, Vec::new()));
        }
        groups.push((path.clone(), made));
    }
    if groups.is_empty() {
        return None;
    }
    let top = Detached::new(c"tmpfs", &[("mode", Some("755")), ("size", Some("64k"))], QUIET).ok()?;
    Some((top, groups))
}

fn mask(tree: &Tree) -> Result<(), Failure> {
    let null = tree.find(Path::new("/dev/null")).context("find /dev/null")?;
    for path in FIXED {
        let Ok(found) = tree.find(Path::new(path)) else {
            continue;
        };
        let again = Detached::of(&found).and_then(|made| made.restrict(READ_ONLY).map(|()| made));
        again
            .and_then(|made| made.attach(&found))
            .with_context(|| format!("make {path} read-only"))?;
    }
    for path in MASKED {
        let Ok(found) = tree.find(Path::new(path)) else {
            continue;
        };
        let cover = match is_directory(&found) {
            Ok(true) => Detached::new(c"tmpfs", &[("size", Some("4k"))], QUIET | READ_ONLY),
            Ok(false) => Detached::of(&null),
            Err(error) => Err(error),
        };
        cover
            .and_then(|cover| cover.attach(&found))
            .with_context(|| format!("hide {path}"))?;
    }
    Ok(())
}

fn attach(tree: &Tree, ready: &Ready<'_>) -> nix::Result<()> {
    let target = if ready.directory {
        tree.directory(&ready.mount.target)?
    } else {
        tree.file(&ready.mount.target)?
    };
    ready.made.attach(target)
}

/// Makes the topmost mount, and not what is mounted below it, read-only. The other flags are repeated, since the kernel refuses to drop
/// inherited ones in a user namespace.
fn freeze_root() -> nix::Result<()> {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let now = statvfs("/")?.flags();
    let keep = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let flags = keep.into_iter().filter(|(has, _)| now.contains(*has)).fold(
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        |all, (_, flag)| all | flag,
    );
    mount(NONE, "/", NONE, flags, NONE)
}

/// Goes to a directory of the container this process is in.
pub(super) fn enter(directory: &Path) -> nix::Result<()> {
    nix::unistd::fchdir(Tree::current()?.directory(directory)?)
}

/// A file of the container this process is in, for reading; only a regular one.
pub(super) fn read(path: &str) -> nix::Result<File> {
    Tree::current()?.read(Path::new(path))
}
