//! Containers that mean harm: one per way out that has ever been open.

use std::ffi::{CStr, CString};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use knarr_runtime::{Capabilities, ContainerSpec, Limits, Mode, Mount, Processes, RuntimeError, Seccomp, Tmpfs};
use libtest_mimic::Failed;
use nix::libc;

use crate::Test;
use crate::stage::{Stage, bind, read_until};

/// In every mode.
pub const SHARED: &[(&str, Test)] = &[("no_descriptor_of_the_starter_reaches_a_container", descriptors)];

/// What takes namespaces.
pub const TESTS: &[(&str, Test)] = &[
    ("the_host_s_devices_keep_their_owner_and_rights", devices),
    ("device_nodes_that_a_container_makes_are_without_a_device", device_nodes),
    ("working_directories_and_mount_points_stay_inside", paths),
    (
        "a_sub_path_that_changes_while_it_is_mounted_leads_nowhere_else",
        sub_path_race,
    ),
    ("sub_paths_are_made_in_volumes_and_links_out_of_them_refused", sub_paths),
    ("system_calls_that_reach_beyond_the_container_are_refused", system_calls),
    (
        "kernel_interfaces_of_the_whole_machine_are_hidden_or_read_only",
        kernel_interfaces,
    ),
    ("a_fork_bomb_is_bounded", fork_bomb),
    ("a_memory_volume_holds_no_more_than_its_size", memory_bomb),
    ("the_host_s_loopback_is_another_one", loopback),
    ("capabilities_groups_and_promises_are_as_asked_for", security),
    ("kernel_settings_are_the_pod_s_own", sysctls),
    (
        "a_debugging_container_sees_its_target_s_processes_and_no_other_s",
        target,
    ),
    ("the_node_s_processes_are_seen_by_who_asks_for_them", node_processes),
    ("privileged_containers_are_so_or_are_refused", privileged),
    ("a_container_reads_its_own_control_group", control_group),
    ("read_only_mounts_are_so_to_the_bottom", read_only_to_the_bottom),
];

/// Argument that makes this program try system calls, inside a container.
pub const CULPRIT: &str = "__culprit";

/// Opens a directory of the host so that every program started from here inherits it, as a careless shell does.
pub fn leak() {
    let directory = fs::File::open("/").expect("open /");
    nix::fcntl::fcntl(&directory, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("let it leak");
    std::mem::forget(directory);
}

/// Tries what the arguments name and prints what comes of each.
pub fn culprit() -> ExitCode {
    let mut out = std::io::stdout();
    for attempt in std::env::args().skip(2) {
        let result = match attempt.split_once('=') {
            Some(("connect", address)) => TcpStream::connect(address).map(drop).map_err(|error| error.to_string()),
            _ => try_call(&attempt),
        };
        let text = result.map_or_else(|error| error, |()| "done".to_owned());
        writeln!(out, "{attempt}: {text}").expect("print");
    }
    ExitCode::SUCCESS
}

#[allow(unsafe_code, reason = "trying what no library offers")]
fn try_call(name: &str) -> Result<(), String> {
    let text = |text: &str| CString::new(text).expect("no null");
    let (user, description) = (text("user"), text("knarr-test"));
    let nothing: *const CStr = c"";
    let nothing = nothing.cast::<libc::c_char>();
    // SAFETY: every pointer is null or valid for its call, and every call is one that does no harm should it be allowed.
    let result = unsafe {
        match name {
            "add_key" => libc::syscall(
                libc::SYS_add_key,
                user.as_ptr(),
                description.as_ptr(),
                c"x".as_ptr(),
                1,
                -3,
            ),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, -3, 0),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, std::ptr::null::<u8>(), 0),
            "perf_event_open" => libc::syscall(libc::SYS_perf_event_open, std::ptr::null::<u8>(), 0, -1, -1, 0),
            "mount" => libc::syscall(
                libc::SYS_mount,
                c"x".as_ptr(),
                c"/tmp".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                nothing,
            ),
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "clone3" => libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0),
            "setns" => libc::syscall(libc::SYS_setns, 0, 0),
            "open_by_handle_at" => libc::syscall(libc::SYS_open_by_handle_at, 0, std::ptr::null::<u8>(), 0),
            "init_module" => libc::syscall(libc::SYS_init_module, nothing, 0, nothing),
            "userfaultfd" => libc::syscall(libc::SYS_userfaultfd, 1),
            "io_uring_setup" => libc::syscall(libc::SYS_io_uring_setup, 0, std::ptr::null::<u8>()),
            "reboot" => libc::syscall(libc::SYS_reboot, 0, 0, 0, nothing),
            "vsock" => libc::syscall(libc::SYS_socket, 40, 1, 0),
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0),
            "socket" => libc::syscall(libc::SYS_socket, 2, 1, 0),
            "future" => libc::syscall(500, 0),
            other => return Err(format!("unknown attempt {other}")),
        }
    };
    nix::Error::result(result)
        .map(drop)
        .map_err(|error| format!("{error:?}"))
}

/// Makes this program a container's as `/culprit`.
fn with_culprit(mut spec: ContainerSpec) -> ContainerSpec {
    let program = std::env::current_exe().expect("a path");
    spec.mounts.push(bind(&program, "/culprit".as_ref()));
    spec
}

fn attempts(stage: &Stage, names: &[&str], change: impl FnOnce(&mut ContainerSpec)) -> String {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = with_culprit(stage.shell(&sandbox, ""));
        spec.argv = [&["/culprit", CULPRIT], names]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        change(&mut spec);
        let ended = stage.finish(&spec).await;
        stage.runtime.remove_sandbox(&sandbox.id).await.expect("removed");
        assert_eq!(ended.status.code, 0, "{ended:?}");
        ended.out
    })
}

fn descriptors(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        // By a process beside the one that is looked at, which needs a descriptor of its own to look.
        let script = "ls /proc/$$/fd";
        let spec = stage.shell(&sandbox, &format!("{script}; echo ready; exec sleep 1000"));
        let mut started = stage.start(&spec).await;
        let open = |text: &str| -> Vec<i32> { text.lines().filter_map(|line| line.parse().ok()).collect() };
        let first = open(&read_until(&mut started.stdout, "ready").await);
        let command = open(&stage.exec(&spec, script).await.out);
        for (whose, found) in [("the program's", first), ("a command's", command)] {
            // Shells keep copies of their own at 10 and up; those close on exec.
            let strange: Vec<i32> = found.into_iter().filter(|number| (3..10).contains(number)).collect();
            assert!(strange.is_empty(), "{whose}: {strange:?}");
        }
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn devices(stage: &Stage) -> Result<(), Failed> {
    let state = || {
        let of = |name: &str| {
            fs::metadata(Path::new("/dev").join(name)).map(|found| (found.uid(), found.gid(), found.mode()))
        };
        ["null", "zero", "full", "tty", "random"].map(|name| of(name).expect("a device"))
    };
    let before = state();
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let script = "chmod 600 /dev/full; chown 4711 /dev/null; chmod 600 /dev/stdin; chmod 640 /proc/self/fd/0; touch /dev/zero; \
                      echo x > /dev/null && echo x | tee /dev/null && head -c 2 /dev/zero | wc -c";
        for uid in [None, Some(4711)] {
            let mut spec = stage.shell(&sandbox, script);
            spec.uid = uid;
            let ended = stage.finish(&spec).await;
            assert!(ended.out.ends_with("x\n2\n"), "they still work: {ended:?}");
        }
        Ok::<_, Failed>(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })?;
    assert_eq!(state(), before);
    Ok(())
}

fn device_nodes(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let files = tempfile::tempdir()?;
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o777))?;
        let script = "for d in / /dev /v /dev/shm; do mknod $d/n c 1 5 && head -c 1 $d/n | wc -c; mknod $d/b b 7 0 && head -c 1 $d/b | wc -c; done";
        for add in [&[][..], &["MKNOD"]] {
            let mut spec = stage.shell(&sandbox, script);
            spec.security.capabilities = Capabilities::adjusted(add.to_vec(), []).map_err(Failed::from)?;
            spec.mounts.push(Mount {
                read_only: false,
                ..bind(files.path(), "/v".as_ref())
            });
            let ended = stage.finish(&spec).await;
            assert!(!ended.out.contains('1'), "{add:?}: {ended:?}");
            let made = ended.err.contains("Permission denied");
            assert_eq!(made, !add.is_empty() && stage.runtime.mode() == Mode::Root, "{add:?}: {ended:?}");
            for name in ["n", "b"] {
                drop(fs::remove_file(files.path().join(name)));
            }
        }
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn paths(stage: &Stage) -> Result<(), Failed> {
    let host = tempfile::tempdir()?;
    fs::set_permissions(host.path(), fs::Permissions::from_mode(0o777))?;
    let volume = host.path().join("volume");
    fs::create_dir(&volume)?;
    symlink("/../../../../../..", volume.join("up"))?;
    let up = |name: &str| PathBuf::from(format!("/..{}/{name}", host.path().display()));
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut directories = vec![
            up("work"),
            Path::new("/v/up").join(host.path().strip_prefix("/")?).join("linked"),
        ];
        directories.extend((3..40).map(|number| PathBuf::from(format!("/proc/self/fd/{number}/descriptor"))));
        for directory in directories {
            let mut spec = stage.shell(&sandbox, "pwd -P; ls /v");
            spec.mounts.push(bind(&volume, "/v".as_ref()));
            spec.working_dir = directory.clone();
            // It is made inside or it is refused.
            match stage.runtime.start(spec).await {
                Ok(started) => assert!(
                    crate::stage::finish(started).await.out.ends_with("up\n"),
                    "{directory:?}"
                ),
                Err(error) => assert!(error.to_string().contains("create /"), "{directory:?}: {error}"),
            }
        }
        let mut spec = stage.shell(&sandbox, "true");
        spec.mounts.push(bind(&volume, &up("mount")));
        spec.mounts.push(bind(&volume, "/v".as_ref()));
        let below_link = Path::new("/v/up").join(host.path().strip_prefix("/")?).join("file");
        let file = host.path().join("a-file");
        fs::write(&file, "x")?;
        spec.mounts.push(bind(&file, &below_link));
        stage.finish(&spec).await;
        Ok::<_, Failed>(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })?;
    let mut left: Vec<_> = fs::read_dir(host.path())?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["a-file", "volume"]);
    Ok(())
}

fn sub_path_race(stage: &Stage) -> Result<(), Failed> {
    let volume = tempfile::tempdir()?;
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o777))?;
    fs::create_dir(volume.path().join("x"))?;
    symlink("/", volume.path().join("y"))?;
    let (root, stop) = (fs::File::open(volume.path())?, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                nix::fcntl::renameat2(root.as_fd(), "x", root.as_fd(), "y", exchange).expect("exchanged");
            }
        });
        let seen = stage.run(async {
            let sandbox = stage.sandbox().await;
            let mut seen = Vec::new();
            for _ in 0..24 {
                let mut spec = stage.shell(&sandbox, "ls /sub");
                spec.mounts.push(Mount {
                    sub_path: "x".into(),
                    ..bind(volume.path(), "/sub".as_ref())
                });
                match stage.runtime.start(spec).await {
                    Ok(started) => seen.push(crate::stage::finish(started).await.out),
                    Err(RuntimeError::Unsupported(why)) => assert!(why.contains("subPath"), "{why}"),
                    Err(other) => panic!("{other}"),
                }
            }
            stage.runtime.remove_sandbox(&sandbox.id).await.expect("removed");
            seen
        });
        stop.store(true, Ordering::Relaxed);
        assert!(seen.iter().all(String::is_empty), "{seen:?}");
    });
    Ok(())
}

fn sub_paths(stage: &Stage) -> Result<(), Failed> {
    let volume = tempfile::tempdir()?;
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o777))?;
    fs::create_dir(volume.path().join("..data"))?;
    fs::write(volume.path().join("..data/key"), "value\n")?;
    symlink("..data/key", volume.path().join("key"))?;
    symlink("/etc", volume.path().join("out"))?;
    symlink("../..", volume.path().join("up"))?;
    let mounted = |path: &'static str| Mount {
        sub_path: path.into(),
        read_only: false,
        ..bind(volume.path(), "/sub".as_ref())
    };
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(&sandbox, "cat /sub");
        spec.mounts.push(mounted("key"));
        assert_eq!(
            stage.finish(&spec).await.out,
            "value\n",
            "links in the volume are followed"
        );
        let mut spec = stage.shell(&sandbox, "echo x > /sub/made");
        spec.mounts.push(mounted("a/b"));
        stage.finish(&spec).await;
        assert_eq!(fs::read_to_string(volume.path().join("a/b/made"))?, "x\n");
        for path in ["out", "up", "out/passwd", "up/x", "../x"] {
            let mut spec = stage.shell(&sandbox, "ls /sub");
            spec.mounts.push(mounted(path));
            let error = stage.runtime.start(spec).await.map(drop).unwrap_err();
            assert!(
                matches!(&error, RuntimeError::Unsupported(why) if why.contains("leads out")),
                "{path}: {error}"
            );
        }
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

const REACHING: [&str; 15] = [
    "add_key",
    "keyctl",
    "bpf",
    "perf_event_open",
    "mount",
    "unshare",
    "setns",
    "open_by_handle_at",
    "init_module",
    "userfaultfd",
    "io_uring_setup",
    "reboot",
    "vsock",
    "clone3",
    "future",
];

fn system_calls(stage: &Stage) -> Result<(), Failed> {
    for (no_new_privileges, uid) in [(false, None), (true, None), (false, Some(1000)), (true, Some(1000))] {
        let out = attempts(stage, &REACHING, |spec| {
            spec.uid = uid;
            spec.security.no_new_privileges = no_new_privileges;
        });
        for line in out.lines() {
            let expected = if line.starts_with("clone3") || line.starts_with("future") {
                "ENOSYS"
            } else {
                "EPERM"
            };
            assert!(line.ends_with(expected), "{out}");
        }
        assert_eq!(out.lines().count(), REACHING.len());
    }
    let out = attempts(stage, &["socket", "ptrace"], |_| {});
    assert_eq!(out, "socket: done\nptrace: done\n");
    let out = attempts(stage, &["keyctl", "clone3", "unshare"], |spec| {
        spec.security.seccomp = Seccomp::Unconfined;
    });
    assert!(out.contains("clone3: EINVAL"), "nothing is filtered: {out}");
    // A capability brings its calls along.
    let out = attempts(stage, &["mount", "keyctl"], |spec| {
        spec.security.capabilities = Capabilities::adjusted(["SYS_ADMIN"], []).expect("known");
        spec.mounts.push(Mount {
            target: "/tmp".into(),
            tmpfs: Some(Tmpfs::default()),
            ..Mount::default()
        });
    });
    assert_eq!(out, "mount: done\nkeyctl: EPERM\n");
    Ok(())
}

fn kernel_interfaces(stage: &Stage) -> Result<(), Failed> {
    let script = "for f in sysrq-trigger sys/kernel/core_pattern sys/kernel/modprobe sys/vm/panic_on_oom irq/default_smp_affinity; do \
                  (echo x > /proc/$f) 2>/dev/null && echo wrote $f; done; \
                  for f in kcore keys timer_list interrupts latency_stats; do test -e /proc/$f && cat /proc/$f; done; \
                  ls /sys/firmware /sys/devices/virtual/powercap 2>/dev/null | grep -v :; \
                  (echo 1 > /sys/kernel/profiling) 2>/dev/null && echo wrote profiling; ls /proc | grep -c '^[0-9]'";
    let ended = stage.run(stage.script(script));
    let seen: Vec<&str> = ended.out.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(seen.len(), 1, "{ended:?}");
    assert!(
        seen[0].parse::<u32>().is_ok_and(|count| count <= 4),
        "other processes: {ended:?}"
    );
    Ok(())
}

fn fork_bomb(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage
            .sandbox_with(|spec| {
                spec.limits = Limits {
                    processes: Some(40),
                    ..Limits::default()
                };
            })
            .await;
        let weak = stage.runtime.weaknesses().join(" ");
        if weak.contains("pids") {
            // Nobody counts per pod; the node's user namespace has a limit for all.
            let limits = stage
                .finish(&stage.shell(&sandbox, "grep processes /proc/self/limits"))
                .await
                .out;
            let most: u64 = limits.split_whitespace().nth(2).ok_or("a limit")?.parse()?;
            assert!((64..=8192).contains(&most), "{limits}");
            return Ok(stage.runtime.remove_sandbox(&sandbox.id).await?);
        }
        let script = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo all";
        // Two containers of the pod share the limit.
        let held = stage.shell(&sandbox, "sleep 1000 & sleep 1000 & echo ready; wait");
        let mut started = stage.start(&held).await;
        read_until(&mut started.stdout, "ready").await;
        let ended = stage.finish(&stage.shell(&sandbox, script)).await;
        assert!(
            !ended.out.contains("all") && ended.err.to_lowercase().contains("fork"),
            "{ended:?}"
        );
        // The other pods go on.
        assert_eq!(stage.script("sleep 0 & wait; echo fine").await.out, "fine\n");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn memory_bomb(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let files = tempfile::tempdir()?;
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(
            &sandbox,
            "head -c 8M /dev/zero > /mem/x; stat -c %a /mem; wc -c < /mem/x",
        );
        spec.mounts.push(Mount {
            source: files.path().join("memory"),
            target: "/mem".into(),
            tmpfs: Some(Tmpfs {
                size: 1 << 20,
                group: None,
            }),
            ..Mount::default()
        });
        let ended = stage.finish(&spec).await;
        assert_eq!(ended.out, format!("777\n{}\n", 1 << 20), "{ended:?}");
        assert!(ended.err.contains("No space left"), "{ended:?}");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn loopback(stage: &Stage) -> Result<(), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let names = [
        format!("connect={address}"),
        format!("connect=10.244.0.1:{}", address.port()),
    ];
    let out = attempts(stage, &[&names[0], &names[1]], |_| {});
    assert!(!out.contains("done"), "{out}");
    TcpStream::connect(address)?;
    Ok(())
}

fn security(stage: &Stage) -> Result<(), Failed> {
    let root = stage.runtime.mode() == Mode::Root;
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let script = "grep -E 'CapBnd|NoNewPrivs|^Seccomp:' /proc/self/status | tr -d '\\t'; id -G";
        let mut spec = stage.shell(&sandbox, &format!("{script}; echo ready; exec sleep 1000"));
        spec.uid = Some(1000);
        spec.security.capabilities = Capabilities::adjusted(["NET_ADMIN"], ["ALL"]).map_err(Failed::from)?;
        spec.security.no_new_privileges = true;
        if root {
            spec.security.groups = vec![2000, 3000];
        }
        let groups = if root { "1001 2000 3000" } else { "1001" };
        let expected = format!("CapBnd:0000000000001000\nNoNewPrivs:1\nSeccomp:2\n{groups}");
        let mut started = stage.start(&spec).await;
        let seen = read_until(&mut started.stdout, "ready").await;
        assert!(seen.starts_with(&expected), "{seen}");
        // A command beside it has no more.
        let command = stage.exec(&spec, script).await;
        assert!(command.out.starts_with(&expected), "{command:?}");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn sysctls(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage
            .sandbox_with(|spec| {
                spec.sysctls = [("net.ipv4.tcp_fin_timeout", "17"), ("kernel.shm_rmid_forced", "1")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into();
            })
            .await;
        let script = "cat /proc/sys/net/ipv4/tcp_fin_timeout /proc/sys/kernel/shm_rmid_forced";
        let ended = stage.finish(&stage.shell(&sandbox, script)).await;
        assert_eq!(ended.out, "17\n1\n", "{ended:?}");
        assert_eq!(stage.script(script).await.out, "60\n0\n", "no other pod's");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

const PROCESSES: &str = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";

fn target(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let (app, other) = (
            stage.shell(&sandbox, "echo ready; exec sleep 7651"),
            stage.shell(&sandbox, "echo ready; exec sleep 7652"),
        );
        let (mut first, mut second) = (stage.start(&app).await, stage.start(&other).await);
        read_until(&mut first.stdout, "ready").await;
        read_until(&mut second.stdout, "ready").await;
        let mut debugger = stage.shell(&sandbox, &format!("{PROCESSES}; kill -9 1; kill -15 1; echo tried"));
        debugger.processes = Processes::Container(app.id.clone());
        let seen = stage.finish(&debugger).await;
        assert!(
            seen.out.contains("sleep 7651") && !seen.out.contains("7652"),
            "{seen:?}"
        );
        debugger.id = stage.id();
        debugger.processes = Processes::Container("nobody".into());
        assert!(stage.runtime.start(debugger).await.is_err());
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn node_processes(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let (sandbox, elsewhere) = (stage.sandbox().await, stage.sandbox().await);
        let app = stage.shell(&elsewhere, "echo ready; exec sleep 7653");
        let mut started = stage.start(&app).await;
        read_until(&mut started.stdout, "ready").await;
        // The node's first process holds the host's tree: its root is not for containers, and it cannot be killed.
        let script = format!(
            "{PROCESSES}; for way in root cwd; do ls /proc/1/$way/; done; cat /proc/1/environ; kill -9 1; echo tried"
        );
        let mut spec = stage.shell(&sandbox, &script);
        spec.processes = Processes::Node;
        let seen = stage.finish(&spec).await;
        assert!(
            seen.out.contains("sleep 7653") && seen.out.ends_with(" tried\n"),
            "{seen:?}"
        );
        assert_eq!(seen.err.matches("Permission denied").count(), 3, "{seen:?}");
        stage.runtime.remove_sandbox(&elsewhere.id).await?;
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn privileged(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let script = "mkdir /x && mount -t tmpfs none /x && echo mounted; test -w /proc/sys/kernel/core_pattern && echo open; \
                      grep ^Seccomp: /proc/self/status | tr -d '\\t'; ls /dev | grep -c .; test -c /dev/full && head -c 1 /dev/zero | wc -c";
        let mut spec = stage.shell(&sandbox, script);
        spec.security.privileged = true;
        match stage.runtime.start(spec).await {
            Ok(started) => {
                assert_eq!(stage.runtime.mode(), Mode::Root);
                let ended = crate::stage::finish(started).await;
                assert!(ended.out.starts_with("mounted\nopen\nSeccomp:0\n") && ended.out.ends_with("\n1\n"), "{ended:?}");
            }
            Err(RuntimeError::Unsupported(why)) => {
                assert_eq!(stage.runtime.mode(), Mode::UserNamespace);
                assert!(why.starts_with("securityContext.privileged: "), "{why}");
            }
            Err(other) => panic!("{other}"),
        }
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn control_group(stage: &Stage) -> Result<(), Failed> {
    if stage
        .runtime
        .weaknesses()
        .iter()
        .any(|weakness| weakness.contains("memory"))
    {
        return Ok(());
    }
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let script = "cd /sys/fs/cgroup; f=memory.max; test -e $f || f=memory/memory.limit_in_bytes; cat $f; \
                      (echo 1 > $f) 2>&1; sed 's/.*://' /proc/self/cgroup | sort -u | grep -c knarr-";
        let mut spec = stage.shell(&sandbox, script);
        spec.limits.memory_bytes = Some(64 << 20);
        let ended = stage.finish(&spec).await;
        let lines: Vec<&str> = ended.out.lines().collect();
        assert_eq!(lines[0], (64_u64 << 20).to_string(), "{ended:?}");
        assert!(
            lines[1].contains("Read-only file system") && lines[2] == "0",
            "{ended:?}"
        );
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn read_only_to_the_bottom(stage: &Stage) -> Result<(), Failed> {
    // /sys and /proc hold mounts on every host.
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(&sandbox, "(echo x > /host/dev/shm/knarr-test) 2>&1; grep ' /host' /proc/self/mounts | cut -d' ' -f4 | grep -cv '^ro,'");
        spec.mounts.push(bind("/".as_ref(), "/host".as_ref()));
        let ended = stage.finish(&spec).await;
        assert!(ended.out.contains("Read-only file system") && ended.out.ends_with("\n0\n"), "{ended:?}");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}
