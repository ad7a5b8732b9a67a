//! One container: its program, streams, terminal, signals, file system and end.

use std::fs;

use knarr_runtime::{ExecSpec, ExitStatus, Limits, Mount, Processes, RuntimeError, SandboxSpec, Tmpfs};
use libtest_mimic::Failed;
use tokio::io::AsyncWriteExt;

use crate::Test;
use crate::stage::{Ended, Stage, bind, finish, missing_program, read_until};

/// What every mode does.
pub const TESTS: &[(&str, Test)] = &[
    ("a_program_s_output_and_exit_code_arrive", output_and_code),
    ("standard_input_reaches_the_program_and_ends", standard_input),
    ("a_container_that_handles_term_exits_as_it_likes", term),
    ("killing_reports_the_signal", killed),
    ("an_exec_has_its_own_streams_and_exit_code", exec),
    ("an_exec_on_a_terminal_has_its_size_and_follows_changes", exec_terminal),
    ("a_container_on_a_terminal_can_be_talked_to", container_terminal),
    (
        "missing_programs_are_reported_in_the_words_of_container_runtimes",
        missing,
    ),
    ("unknown_ids_are_errors_but_removing_them_is_fine", unknown),
    ("usage_counts_cpu_and_memory", usage),
];

/// What takes namespaces.
pub const ISOLATED: &[(&str, Test)] = &[
    ("the_root_is_the_image_s_with_the_usual_kernel_file_systems", root),
    ("writes_stay_in_the_container_and_a_read_only_root_takes_none", layers),
    ("files_directories_and_memory_are_mounted_in_order", mounts),
    ("containers_of_a_pod_share_memory_volumes_shm_and_host_name", sharing),
    ("programs_run_as_the_user_asked_for_with_few_rights", users),
    ("every_process_of_a_container_ends_with_the_first", tree_ends),
    ("containers_may_share_the_process_namespace", shared_processes),
    (
        "a_program_whose_interpreter_is_missing_says_so_on_its_error_stream",
        interpreter,
    ),
    ("a_large_environment_gets_through", large_environment),
    ("removal_leaves_no_mounts_and_no_files", removal),
    ("a_container_over_its_memory_limit_is_reported_as_such", memory_limit),
];

const TERM: i32 = 15;

fn output_and_code(stage: &Stage) -> Result<(), Failed> {
    let Ended { out, err, status } = stage.run(stage.script("echo out; echo err >&2; exit 7"));
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    assert_eq!(
        status,
        ExitStatus {
            code: 7,
            signal: 0,
            oom_killed: false
        }
    );
    Ok(())
}

fn standard_input(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(&sandbox, "cat; echo end");
        spec.stdin = true;
        let mut started = stage.start(&spec).await;
        let mut stdin = started.stdin.take().expect("standard input");
        stdin.write_all(b"hello\n").await?;
        stdin.shutdown().await?;
        drop(stdin);
        assert_eq!(finish(started).await.out, "hello\nend\n");
        // Not asked for: at its end from the start.
        assert_eq!(stage.finish(&stage.shell(&sandbox, "cat; echo end")).await.out, "end\n");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn term(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let spec = stage.shell(
            &sandbox,
            "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done",
        );
        let mut started = stage.start(&spec).await;
        read_until(&mut started.stdout, "ready").await;
        stage.runtime.signal(&spec.id, TERM).await?;
        let ended = finish(started).await;
        assert_eq!((ended.out.as_str(), ended.status.code), ("bye\n", 3));
        // A signal to what has ended is no error.
        stage.runtime.signal(&spec.id, TERM).await?;
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn killed(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let spec = stage.shell(&sandbox, "echo ready; exec sleep 1000");
        let mut started = stage.start(&spec).await;
        assert!(
            started
                .pid
                .is_some_and(|pid| fs::metadata(format!("/proc/{pid}")).is_ok()),
            "{:?}",
            started.pid
        );
        read_until(&mut started.stdout, "ready").await;
        stage.runtime.signal(&spec.id, 9).await?;
        assert_eq!(
            started.exit.await,
            ExitStatus {
                code: 137,
                signal: 9,
                oom_killed: false
            }
        );
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn exec(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(&sandbox, "echo ready; exec sleep 1000");
        spec.env = vec![("GREETING".into(), "hi".into())];
        spec.working_dir = "/srv/app".into();
        let mut started = stage.start(&spec).await;
        read_until(&mut started.stdout, "ready").await;
        let ended = stage.exec(&spec, "echo $GREETING; pwd; echo err >&2; exit 4").await;
        let (greeting, directory) = ended.out.split_once('\n').expect("two lines");
        assert_eq!((greeting, ended.err.as_str(), ended.status.code), ("hi", "err\n", 4));
        assert!(directory.trim().ends_with("/srv/app"), "{directory}");
        let spec_in = ExecSpec {
            argv: vec!["cat".into()],
            stdin: true,
            ..ExecSpec::default()
        };
        let mut cat = stage.runtime.exec(&spec.id, spec_in).await?;
        let mut stdin = cat.stdin.take().expect("standard input");
        let sent = "x".repeat(300_000);
        let (_, ended) = tokio::join!(
            async move {
                stdin.write_all(sent.as_bytes()).await.expect("write");
                stdin.shutdown().await.expect("end");
            },
            finish(cat)
        );
        assert_eq!(ended.out.len(), 300_000);
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn exec_terminal(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let spec = stage.shell(&sandbox, "echo ready; exec sleep 1000");
        let mut started = stage.start(&spec).await;
        read_until(&mut started.stdout, "ready").await;
        let script = "tty; echo term=$TERM; read a; stty size; trap 'stty size; exit 5' WINCH; echo waiting; while :; do sleep 0.05; done";
        let argv = ["sh", "-c", script].map(str::to_owned).into();
        let mut shell = stage.runtime.exec(&spec.id, ExecSpec { argv, tty: true, stdin: true }).await?;
        let resize = shell.resize.take().expect("a terminal");
        assert!(shell.stderr.is_none());
        let seen = read_until(&mut shell.stdout, "term=xterm").await;
        assert!(seen.contains("/dev/pts/"), "{seen}");
        if stage.has_namespaces() {
            assert!(seen.contains("/dev/pts/0"), "a terminal of its own: {seen}");
        }
        resize(123, 40);
        shell.stdin.as_mut().expect("input").write_all(b"go\n").await?;
        // The trap is set when this is out.
        let seen = read_until(&mut shell.stdout, "waiting").await;
        assert!(seen.contains("40 123"), "{seen}");
        resize(90, 33);
        let ended = finish(shell).await;
        assert!(ended.out.contains("33 90"), "{}", ended.out);
        assert_eq!(ended.status.code, 5);
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn container_terminal(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(&sandbox, "read name; echo \"hello $name\"; test -t 1 && exit 6");
        (spec.tty, spec.stdin) = (true, true);
        let mut started = stage.start(&spec).await;
        started.stdin.as_mut().expect("input").write_all(b"knarr\n").await?;
        let ended = finish(started).await;
        assert!(ended.out.contains("hello knarr\r\n"), "{:?}", ended.out);
        assert_eq!(ended.status.code, 6);
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn missing(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let expected = [
            (
                "no-such-shell",
                r#"exec: "no-such-shell": executable file not found in $PATH"#,
            ),
            ("/x/y", r#"exec: "/x/y": stat /x/y: no such file or directory"#),
            ("/etc/passwd", r#"exec: "/etc/passwd": permission denied"#),
        ];
        let running = stage.shell(&sandbox, "exec sleep 1000");
        let _started = stage.start(&running).await;
        for (program, message) in expected {
            let mut spec = stage.shell(&sandbox, "");
            spec.argv = vec![program.into()];
            assert_eq!(missing_program(stage.runtime.start(spec.clone()).await), message);
            // It may be tried again under the same ID once removed.
            stage.runtime.remove(&spec.id).await?;
            assert_eq!(missing_program(stage.runtime.start(spec).await), message);
            let exec = ExecSpec {
                argv: vec![program.into()],
                ..ExecSpec::default()
            };
            assert_eq!(missing_program(stage.runtime.exec(&running.id, exec).await), message);
        }
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn unknown(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let not_found = |error: RuntimeError| assert!(matches!(error, RuntimeError::NotFound(_)), "{error}");
        not_found(stage.runtime.signal("nobody", TERM).await.unwrap_err());
        not_found(stage.runtime.usage("nobody").await.unwrap_err());
        not_found(
            stage
                .runtime
                .exec("nobody", ExecSpec::default())
                .await
                .map(drop)
                .unwrap_err(),
        );
        not_found(stage.runtime.dial("nobody", 80).await.map(drop).unwrap_err());
        let sandbox = stage.sandbox().await;
        let mut orphan = stage.shell(&sandbox, "");
        orphan.sandbox = "nobody".into();
        not_found(stage.runtime.start(orphan).await.map(drop).unwrap_err());
        let mut escaping = stage.shell(&sandbox, "");
        escaping.id = "../escape".into();
        assert!(stage.runtime.start(escaping).await.is_err());
        let ended = stage.shell(&sandbox, "");
        stage.finish(&ended).await;
        not_found(
            stage
                .runtime
                .exec(&ended.id, ExecSpec::default())
                .await
                .map(drop)
                .unwrap_err(),
        );
        stage.runtime.remove("nobody").await?;
        stage.runtime.remove_sandbox("nobody").await?;
        stage.runtime.remove_sandbox(&sandbox.id).await?;
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn usage(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(
            &sandbox,
            "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo ready; read never",
        );
        // So that it is not caught between two programs.
        spec.stdin = true;
        let mut started = stage.start(&spec).await;
        read_until(&mut started.stdout, "ready").await;
        let usage = stage.runtime.usage(&spec.id).await?;
        assert!(usage.cpu_nanos > 10_000_000, "{usage:?}");
        assert!((10_000..1 << 30).contains(&usage.memory_bytes), "{usage:?}");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn root(stage: &Stage) -> Result<(), Failed> {
    let script = "hostname; echo pid=$$; ls /dev; cat /proc/1/comm; ls -d /sys/kernel; test -e /state && echo leak; \
                  echo x > /dev/null && head -c 3 /dev/zero | wc -c; echo $HOSTNAME $HOME $PATH; grep -c . /proc/mounts; \
                  echo 1 > /proc/sys/vm/drop_caches || echo denied; df /dev/shm | tail -1";
    let Ended { out, err, .. } = stage.run(stage.script(script));
    for expected in [
        "pod-a\npid=1\n",
        "urandom",
        "pts",
        "sh\n/sys/kernel\n3\npod-a /root /usr/local/sbin:",
        "denied",
        "/dev/shm",
    ] {
        assert!(out.contains(expected), "{expected:?} is missing in {out}\n{err}");
    }
    assert!(!out.contains("leak"));
    Ok(())
}

fn layers(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let script = "echo mine > /etc/passwd && mkdir /new && echo x > /new/file && cat /etc/passwd";
        assert_eq!(stage.finish(&stage.shell(&sandbox, script)).await.out, "mine\n");
        let fresh = stage
            .finish(&stage.shell(&sandbox, "head -c 4 /etc/passwd; ls -d /new"))
            .await;
        assert_eq!((fresh.out.as_str(), fresh.status.code == 0), ("root", false));
        let mut frozen = stage.shell(&sandbox, "touch /file 2>&1; echo x > /dev/shm/x && cat /dev/shm/x; pwd");
        frozen.read_only_root = true;
        frozen.working_dir = "/made/for/it".into();
        let frozen = stage.finish(&frozen).await;
        assert!(
            frozen.out.contains("Read-only file system") && frozen.out.ends_with("x\n/made/for/it\n"),
            "{frozen:?}"
        );
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn mounts(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let files = tempfile::tempdir()?;
        let (volume, hosts) = (files.path().join("volume"), files.path().join("hosts"));
        fs::create_dir(&volume)?;
        fs::write(volume.join("key"), "value\n")?;
        fs::write(&hosts, "10.0.0.1 name\n")?;
        let sandbox = stage.sandbox().await;
        let script = "cat /etc/hosts /data/key /data/deep/hosts; echo new > /data/new; echo no > /fixed/no; \
                      echo tmp > /cache/x && cat /cache/x; df -k /cache | tail -1";
        let mut spec = stage.shell(&sandbox, script);
        spec.mounts.extend([
            bind(&hosts, "/etc/hosts".as_ref()),
            Mount {
                read_only: false,
                ..bind(&volume, "/data".as_ref())
            },
            bind(&hosts, "/data/deep/hosts".as_ref()),
            bind(&volume, "/fixed".as_ref()),
            Mount {
                target: "/cache".into(),
                tmpfs: Some(Tmpfs {
                    size: 1 << 20,
                    group: None,
                }),
                ..Mount::default()
            },
        ]);
        let ended = stage.finish(&spec).await;
        let lines = "10.0.0.1 name\nvalue\n10.0.0.1 name\ntmp\n";
        assert!(
            ended.out.starts_with(lines) && ended.out.contains(" 1024 "),
            "{ended:?}"
        );
        assert!(ended.err.contains("Read-only file system"), "{ended:?}");
        assert_eq!(fs::read_to_string(volume.join("new"))?, "new\n");
        let mut broken = stage.shell(&sandbox, "");
        broken.mounts.push(bind("/no/such/source".as_ref(), "/x".as_ref()));
        let error = stage.runtime.start(broken).await.map(drop).unwrap_err().to_string();
        assert!(
            error.contains("/no/such/source") && error.contains("No such file"),
            "{error}"
        );
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn sharing(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let files = tempfile::tempdir()?;
        let memory = Mount {
            source: files.path().join("memory"),
            target: "/mem".into(),
            tmpfs: Some(Tmpfs::default()),
            ..Mount::default()
        };
        let sandbox = stage
            .sandbox_with(|spec: &mut SandboxSpec| spec.hostname = "shared-name".into())
            .await;
        let mut writer = stage.shell(&sandbox, "echo volume > /mem/x; echo shm > /dev/shm/x");
        writer.mounts.push(memory.clone());
        stage.finish(&writer).await;
        let mut reader = stage.shell(&sandbox, "cat /mem/x /dev/shm/x; hostname");
        reader.mounts.push(memory.clone());
        assert_eq!(stage.finish(&reader).await.out, "volume\nshm\nshared-name\n");
        assert_eq!(fs::read_dir(&memory.source)?.count(), 0, "memory only");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn users(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let script = "id -u; id -g; echo $HOME; grep -E 'CapEff|NoNewPrivs' /proc/self/status | tr -d '\\t'; echo x > /dev/stdout; exec sleep 1000";
        for (uid, expected) in [(Some(1000), "1000\n1001\n/srv\nCapEff:0000000000000000\nNoNewPrivs:0\nx\n"), (None, "0\n0\n/root\nCapEff:00000000a00425fb\nNoNewPrivs:0\nx\n")] {
            let mut spec = stage.shell(&sandbox, script);
            spec.uid = uid;
            let mut started = stage.start(&spec).await;
            assert_eq!(read_until(&mut started.stdout, "x\n").await, expected);
            let inside = stage.exec(&spec, &script.replace("; exec sleep 1000", "")).await;
            assert_eq!(inside.out, expected, "{}", inside.err);
        }
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn tree_ends(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let spec = stage.shell(
            &sandbox,
            "(setsid sleep 4321 &) ; sleep 4321 & echo ready; read never; wait",
        );
        let mut spec = spec;
        spec.stdin = true;
        let mut started = stage.start(&spec).await;
        read_until(&mut started.stdout, "ready").await;
        let exec = ExecSpec {
            argv: vec!["sleep".into(), "4321".into()],
            ..ExecSpec::default()
        };
        let command = stage.runtime.exec(&spec.id, exec).await?;
        stage.runtime.signal(&spec.id, 9).await?;
        assert_eq!(started.exit.await.signal, 9);
        assert_eq!(command.exit.await.signal, 9);
        // Nobody holds the other end of the output any more.
        read_to_end(&mut started.stdout).await;
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

async fn read_to_end(reader: &mut (impl tokio::io::AsyncRead + Unpin)) {
    crate::stage::text(reader).await;
}

fn shared_processes(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut first = stage.shell(&sandbox, "sleep 5432 & echo ready; wait");
        first.processes = Processes::Sandbox;
        let mut started = stage.start(&first).await;
        read_until(&mut started.stdout, "ready").await;
        let mut second = stage.shell(&sandbox, "test $$ != 1 && cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
        second.processes = Processes::Sandbox;
        let seen = stage.finish(&second).await.out;
        assert!(seen.contains("sleep 5432"), "{seen}");
        stage.runtime.remove(&first.id).await?;
        // The background process went too, or this would never end.
        read_to_end(&mut started.stdout).await;
        // Likewise what a container leaves behind that ends by itself, at once.
        let mut leaver = stage.shell(&sandbox, "sleep 5432 &");
        leaver.processes = Processes::Sandbox;
        assert_eq!(stage.finish(&leaver).await.status.code, 0);
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn interpreter(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(&sandbox, "");
        spec.argv = vec!["/broken.sh".into()];
        let ended = stage.finish(&spec).await;
        assert_eq!(
            (ended.err.as_str(), ended.status.code),
            ("exec /broken.sh: no such file or directory\n", 255)
        );
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn large_environment(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut spec = stage.shell(&sandbox, "env | wc -c");
        spec.env = (0..10).map(|i| (format!("BIG{i}"), "x".repeat(100_000))).collect();
        let count: usize = stage.finish(&spec).await.out.trim().parse()?;
        assert!(count > 1_000_000, "{count}");
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}

fn removal(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        // Files nobody may touch, and a program that would go on for ever.
        let spec = stage.shell(
            &sandbox,
            "mkdir -p /a/b && touch /a/b/c && chmod 0 /a/b /a; echo ready; exec sleep 1000",
        );
        let mut started = stage.start(&spec).await;
        read_until(&mut started.stdout, "ready").await;
        let here = |id: &str| {
            ["containers", "sandboxes", "trash"]
                .iter()
                .any(|kind| stage.state_dir.join(kind).join(id).exists())
        };
        assert!(here(&spec.id) && here(&sandbox.id));
        stage.runtime.remove(&spec.id).await?;
        assert!(!here(&spec.id));
        assert_eq!(started.exit.await.signal, 9);
        stage.runtime.remove_sandbox(&sandbox.id).await?;
        assert!(!here(&sandbox.id));
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        assert!(!mounts.contains(&stage.state_dir.display().to_string()), "{mounts}");
        Ok(())
    })
}

fn memory_limit(stage: &Stage) -> Result<(), Failed> {
    stage.run(async {
        let sandbox = stage.sandbox().await;
        // Grows without end; where the host lets us limit nothing, the shell's own limit ends it.
        let script = "echo ready; read go; ulimit -v 400000; a=xxxxxxxxxxxxxxxx; while :; do a=$a$a; done";
        let mut spec = stage.shell(&sandbox, script);
        spec.stdin = true;
        spec.limits = Limits {
            memory_bytes: Some(32 << 20),
            cpu_millis: Some(1000),
            ..Limits::default()
        };
        let mut started = stage.start(&spec).await;
        read_until(&mut started.stdout, "ready").await;
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", started.pid.expect("a process")))?;
        let limited = groups.contains(&spec.id);
        started.stdin.as_mut().expect("input").write_all(b"go\n").await?;
        let ended = finish(started).await;
        assert_eq!(ended.status.oom_killed, limited, "{ended:?}");
        assert_ne!(ended.status.code, 0);
        if limited {
            assert_eq!((ended.status.code, ended.status.signal), (137, 9));
        }
        Ok(stage.runtime.remove_sandbox(&sandbox.id).await?)
    })
}
