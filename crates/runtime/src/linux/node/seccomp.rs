//! Which system calls a container may make: a filter in the kernel that its processes cannot take off.
//!
//! `RuntimeDefault` means to Kubernetes whatever the container runtime does by default, and all of them agree on the essence: what programs
//! ordinarily need is allowed; what changes mounts, namespaces, keys, kernel modules, time or other processes is refused unless the
//! container has been given the capability for it. See <https://kubernetes.io/docs/reference/node/seccomp/>.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::linux::wire::{Context, Failure};
use crate::{Capabilities, Seccomp, Security};

/// Flags of `clone` that make namespaces.
const NAMESPACES: u64 = 0x7E02_0000;
/// Sockets to the machine that this one is a guest of.
const AF_VSOCK: u64 = 40;
/// Calls from this number on are newer than this list: programs fall back when such a call is unknown, not when it is forbidden.
const UNKNOWN: std::ops::Range<c_long> = 470..534;
const CLONE3: c_long = 435;
/// `io_pgetevents`, the youngest call whose number differs between architectures.
const IO_PGETEVENTS: c_long = if cfg!(target_arch = "x86_64") { 333 } else { 292 };

macro_rules! calls {
    ($($name:ident)*) => { [$(libc::$name),*] };
}

const ALLOWED: &[c_long] = &calls! {
    SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_adjtime SYS_clock_getres
    SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2
    SYS_fadvise64 SYS_fallocate SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync
    SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex
    SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid
    SYS_getpid SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list SYS_getrusage
    SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch
    SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_ioctl SYS_io_destroy SYS_io_getevents SYS_ioprio_get
    SYS_ioprio_set SYS_io_setup SYS_io_submit SYS_kill SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr
    SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock
    SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend
    SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap
    SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2
    SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_vm_readv
    SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv
    SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rseq
    SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile
    SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority
    SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list SYS_setsid SYS_setsockopt
    SYS_set_tid_address SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4
    SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill
    SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime
    SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4
    SYS_waitid SYS_write SYS_writev
};

/// Since Linux 5.10 calls have one number everywhere: epoll_pwait2, landlock (3), memfd_secret, process_mrelease, futex_waitv, cachestat,
/// fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue, statmount, listmount, mseal, setxattrat, getxattrat, listxattrat,
/// removexattrat, file_getattr, file_setattr.
const NEWER: [c_long; 22] = [
    441, 444, 445, 446, 447, 448, 449, 451, 452, 453, 454, 455, 456, 457, 458, 462, 463, 464, 465, 466, 468, 469,
];

/// Older forms of the same, which later architectures never had.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &calls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait SYS_eventfd SYS_fork
    SYS_futimesat SYS_getdents SYS_getpgrp SYS_get_thread_area SYS_inotify_init SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod
    SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_set_thread_area SYS_signalfd
    SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork
};
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// What a capability allows that is refused without it. The last group's calls are new: `mount_setattr`, `open_tree_attr`.
const BY_CAPABILITY: &[(&str, &[c_long])] = &[
    (
        "SYS_ADMIN",
        &calls! {
            SYS_bpf SYS_clone SYS_clone3 SYS_fanotify_init SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_lookup_dcookie SYS_mount
            SYS_move_mount SYS_open_tree SYS_perf_event_open SYS_quotactl SYS_setdomainname SYS_sethostname SYS_setns SYS_syslog
            SYS_umount2 SYS_unshare SYS_pivot_root
        },
    ),
    ("SYS_ADMIN", &[442, 443, 467]),
    ("BPF", &calls! { SYS_bpf }),
    ("PERFMON", &calls! { SYS_perf_event_open }),
    ("DAC_READ_SEARCH", &calls! { SYS_open_by_handle_at }),
    ("SYS_BOOT", &calls! { SYS_reboot }),
    ("SYS_CHROOT", &calls! { SYS_chroot }),
    (
        "SYS_MODULE",
        &calls! { SYS_delete_module SYS_finit_module SYS_init_module },
    ),
    ("SYS_PACCT", &calls! { SYS_acct }),
    ("SYS_PTRACE", &calls! { SYS_kcmp SYS_pidfd_getfd SYS_process_madvise }),
    ("SYS_TIME", &calls! { SYS_clock_settime SYS_settimeofday }),
    ("SYS_TTY_CONFIG", &calls! { SYS_vhangup }),
    ("SYS_NICE", &calls! { SYS_get_mempolicy SYS_mbind SYS_set_mempolicy }),
    ("SYSLOG", &calls! { SYS_syslog }),
    #[cfg(target_arch = "x86_64")]
    ("SYS_RAWIO", &calls! { SYS_iopl SYS_ioperm }),
];

/// Whether this architecture has filters.
pub(super) fn available() -> bool {
    TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// Puts the calling process under the container's filter, and all it will start.
pub(super) fn install(security: &Security, capabilities: Capabilities) -> Result<(), Failure> {
    if security.privileged || security.seccomp == Seccomp::Unconfined || !available() {
        return Ok(());
    }
    for program in programs(capabilities)? {
        apply(&program).context("restrict system calls")?;
    }
    Ok(())
}

/// The filters, in the order in which to install them. Where several refuse, the error of the last one installed counts.
fn programs(capabilities: Capabilities) -> Result<Vec<BpfProgram>, Failure> {
    let wrong = |error: seccompiler::BackendError| Failure::other("restrict system calls", error.to_string());
    let when = |argument, operator, value| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
        Ok(vec![SeccompRule::new(vec![condition])?])
    };
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    rules.insert(
        libc::SYS_clone,
        when(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0).map_err(wrong)?,
    );
    rules.insert(libc::SYS_socket, when(0, SeccompCmpOp::Ne, AF_VSOCK).map_err(wrong)?);
    // The ordinary execution domain, with and without fixed addresses; asking for the present one.
    let mut personalities = Vec::new();
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        personalities.extend(when(0, SeccompCmpOp::Eq, value).map_err(wrong)?);
    }
    rules.insert(libc::SYS_personality, personalities);
    let given = BY_CAPABILITY.iter().filter(|(name, _)| capabilities.has(name));
    let calls = [ALLOWED, OLDER, &NEWER, &[IO_PGETEVENTS]]
        .into_iter()
        .chain(given.map(|(_, calls)| *calls));
    rules.extend(calls.flatten().map(|call| (*call, Vec::new())));
    let mut unknown: BTreeMap<c_long, Vec<SeccompRule>> = UNKNOWN.map(|call| (call, Vec::new())).collect();
    if !rules.contains_key(&CLONE3) {
        // Its flags lie in memory, where a filter cannot look; programs that miss it use the older call.
        unknown.insert(CLONE3, Vec::new());
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(wrong)?;
    let refuse = |error: i32| SeccompAction::Errno(error.unsigned_abs());
    let filters = [
        (rules, refuse(libc::EPERM), SeccompAction::Allow),
        (unknown, SeccompAction::Allow, refuse(libc::ENOSYS)),
    ];
    let compile = |(rules, otherwise, matching)| {
        SeccompFilter::new(rules, otherwise, matching, architecture).and_then(BpfProgram::try_from)
    };
    filters
        .into_iter()
        .map(compile)
        .collect::<Result<_, _>>()
        .map_err(wrong)
}

#[allow(
    unsafe_code,
    reason = "the filter's crate promises to gain no rights, which not every container has"
)]
fn apply(program: &BpfProgram) -> nix::Result<()> {
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| nix::Error::EINVAL)?;
    let filter = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel copies the program during the call and writes nothing; both structures have the kernel's layout.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    nix::Error::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_and_grow_with_capabilities() {
        let plain = programs(Capabilities::default()).unwrap();
        let all = programs(Capabilities::ALL).unwrap();
        assert_eq!((plain.len(), all.len()), (2, 2));
        assert!(all[0].len() > plain[0].len());
        assert!(plain[0].len() < 4096, "the kernel takes no more: {}", plain[0].len());
    }
}
