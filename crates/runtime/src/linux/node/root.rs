//! Builds a container's file system, in the container's own process, before its program runs.
//!
//! The order matters. Sources of mounts are opened while the host's tree is still visible; then `pivot_root` makes the container's tree `/`,
//! so that every path used from there on, symbolic links of the image included, resolves inside the container; the host's tree is
//! let go only at the end, because the kernel lets an unprivileged user mount `/proc` and `/sys` only where they are visible already.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, fchdir, pivot_root};

use super::layer;
use crate::linux::wire::{Context, Failure};
use crate::{ContainerSpec, Mount};

/// Device nodes every container has; bound from the host, as an unprivileged user cannot make any.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Kernel interfaces that would let a container's root reach the whole machine.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const NONE: Option<&str> = None;

/// What a root file system is made of besides the container's specification.
pub(super) struct Parts<'a> {
    pub(super) spec: &'a ContainerSpec,
    /// Directory of the container's writable layer.
    pub(super) layer: &'a Path,
    /// The pod's `/dev/shm`.
    pub(super) shm: &'a Path,
    /// Whether this runs in the user namespace of an unprivileged user.
    pub(super) rootless: bool,
}

/// A mount whose source is open already.
struct Opened<'a> {
    mount: &'a Mount,
    source: Option<Source>,
}

struct Source {
    descriptor: OwnedFd,
    directory: bool,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = open_path(path).with_context(|| format!("mount {}", path.display()))?;
        let directory = file
            .metadata()
            .with_context(|| format!("mount {}", path.display()))?
            .is_dir();
        Ok(Self {
            descriptor: file.into(),
            directory,
        })
    }

    /// A name for the source that needs no view of the host's tree.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
    }
}

/// Moves this process into a new mount namespace whose root is the container's.
pub(super) fn assemble(parts: &Parts<'_>) -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make mounts private")?;
    let root = layer::mount_root(parts.layer, &parts.spec.root, parts.rootless)?;

    let mounts = parts
        .spec
        .mounts
        .iter()
        .map(open_mount)
        .collect::<Result<Vec<_>, _>>()?;
    let devices = DEVICES
        .into_iter()
        .map(|name| Ok((name, Source::open(&Path::new("/dev").join(name))?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let shm = Source::open(parts.shm)?;
    let host_sys = Source::open(Path::new("/sys"))?;
    let host = open_path(Path::new("/")).context("open the host's root")?;

    chdir(&root).context("enter the container's root")?;
    pivot_root(".", ".").context("make the container's root the root")?;

    mount_kernel(&host_sys)?;
    mount_devices(&devices, &shm, parts.rootless)?;
    mask(&devices)?;
    for opened in &mounts {
        apply(opened).map_err(|failure| match failure {
            Failure::Io { context, errno, text } => Failure::Io {
                context: format!("mount {}: {context}", opened.mount.target.display()),
                errno,
                text,
            },
            other => other,
        })?;
    }
    let directory = working_dir(parts.spec);
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    if parts.spec.read_only_root {
        read_only("/").context("make the root read-only")?;
    }

    // pivot_root(".", ".") left the host's tree stacked on top of ours.
    fchdir(&host).context("go to the host's root")?;
    umount2(".", MntFlags::MNT_DETACH).context("let go of the host's root")?;
    chdir("/").context("go to the container's root")
}

/// The directory a container's programs start in.
pub(super) fn working_dir(spec: &ContainerSpec) -> &Path {
    if spec.working_dir.as_os_str().is_empty() {
        Path::new("/")
    } else {
        &spec.working_dir
    }
}

fn open_path(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_CLOEXEC).bits())
        .open(path)
}

fn open_mount(mount: &Mount) -> Result<Opened<'_>, Failure> {
    let fresh = mount.tmpfs.is_some() && mount.source.as_os_str().is_empty();
    let source = if fresh {
        None
    } else {
        Some(Source::open(&mount.source)?)
    };
    Ok(Opened { mount, source })
}

fn mount_kernel(host_sys: &Source) -> Result<(), Failure> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fs::create_dir_all("/proc").context("create /proc")?;
    mount(Some("proc"), "/proc", Some("proc"), quiet, NONE).context("mount /proc")?;
    fs::create_dir_all("/sys").context("create /sys")?;
    // Refused where the host's /sys is partly hidden (in a container, say); then the host's own has to do.
    if mount(Some("sysfs"), "/sys", Some("sysfs"), quiet | MsFlags::MS_RDONLY, NONE).is_err() {
        bind(&host_sys.path(), "/sys").context("mount /sys")?;
        read_only("/sys").context("make /sys read-only")?;
    }
    Ok(())
}

fn mount_devices(devices: &[(&str, Source)], shm: &Source, rootless: bool) -> Result<(), Failure> {
    fs::create_dir_all("/dev").context("create /dev")?;
    mount(
        Some("tmpfs"),
        "/dev",
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME,
        Some("mode=755,size=65536k"),
    )
    .context("mount /dev")?;
    for (name, source) in devices {
        let target = Path::new("/dev").join(name);
        File::create(&target)
            .and_then(|_| Ok(bind(&source.path(), &target)?))
            .with_context(|| format!("make /dev/{name}"))?;
    }
    for directory in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        fs::create_dir(directory).with_context(|| format!("create {directory}"))?;
    }
    // A terminal belongs to group 5 (tty) where that group is mapped.
    let options = if rootless {
        "newinstance,ptmxmode=0666,mode=0620"
    } else {
        "newinstance,ptmxmode=0666,mode=0620,gid=5"
    };
    mount(
        Some("devpts"),
        "/dev/pts",
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some(options),
    )
    .context("mount /dev/pts")?;
    bind(&shm.path(), "/dev/shm").context("mount /dev/shm")?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // POSIX message queues are rare enough to do without where the kernel lacks them.
    let _ = mount(Some("mqueue"), "/dev/mqueue", Some("mqueue"), quiet, NONE);
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
        ("core", "/proc/kcore"),
    ] {
        symlink(target, Path::new("/dev").join(link)).with_context(|| format!("make /dev/{link}"))?;
    }
    Ok(())
}

fn mask(devices: &[(&str, Source)]) -> Result<(), Failure> {
    for path in READ_ONLY.into_iter().filter(|p| Path::new(p).exists()) {
        bind(Path::new(path), path)
            .and_then(|()| read_only(path))
            .with_context(|| format!("make {path} read-only"))?;
    }
    let Some((_, null)) = devices.iter().find(|(name, _)| *name == "null") else {
        return Ok(());
    };
    for path in MASKED {
        match fs::metadata(path) {
            Err(_) => {}
            Ok(found) if found.is_dir() => {
                mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_RDONLY, NONE)
                    .with_context(|| format!("hide {path}"))?;
            }
            Ok(_) => bind(&null.path(), path).with_context(|| format!("hide {path}"))?,
        }
    }
    Ok(())
}

fn apply(opened: &Opened<'_>) -> Result<(), Failure> {
    let target = &opened.mount.target;
    make_mount_point(target, opened.source.as_ref().is_none_or(|s| s.directory))?;
    match &opened.source {
        Some(source) => bind(&source.path(), target).context("bind")?,
        None => tmpfs(target, opened.mount.tmpfs.unwrap_or(0))?,
    }
    if opened.mount.read_only {
        read_only(target).context("make read-only")?;
    }
    Ok(())
}

/// Mounts an empty memory file system that everyone may write to.
pub(super) fn tmpfs(target: &Path, size: u64) -> Result<(), Failure> {
    let options = if size == 0 {
        "mode=777".to_owned()
    } else {
        format!("mode=777,size={size}")
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options.as_str())).context("mount a tmpfs")
}

fn make_mount_point(target: &Path, directory: bool) -> Result<(), Failure> {
    if directory {
        return fs::create_dir_all(target).context("create the directory");
    }
    if fs::metadata(target).is_ok() {
        return Ok(());
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).context("create the parent directory")?;
    }
    // A link to nowhere, as images have for /etc/resolv.conf; the file takes its place.
    if fs::symlink_metadata(target).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(target).context("replace a dangling link")?;
    }
    File::create(target).map(drop).context("create the file")
}

/// Always recursive: what an unprivileged user's namespace inherited cannot be taken apart, only bound together with what is mounted below it.
fn bind(source: &Path, target: impl AsRef<Path>) -> nix::Result<()> {
    mount(
        Some(source),
        target.as_ref(),
        NONE,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        NONE,
    )
}

/// Remounts read-only. The other flags are repeated, since the kernel refuses to drop inherited ones in a user namespace.
fn read_only(target: impl AsRef<Path>) -> nix::Result<()> {
    let target = target.as_ref();
    let now = statvfs(target)?.flags();
    let keep = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let flags = keep
        .into_iter()
        .filter(|(has, _)| now.contains(*has))
        .map(|(_, flag)| flag);
    let flags = flags.fold(
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        |all, flag| all | flag,
    );
    mount(NONE, target, NONE, flags, NONE)
}
