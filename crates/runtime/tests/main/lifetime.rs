//! Nothing outlives the process that started it; and nobody has to be root.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use knarr_runtime::{Processes, RuntimeStatus, SandboxSpec};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Test;
use crate::stage::{Stage, read_until};

pub const TESTS: &[(&str, Test)] = &[
    ("a_node_process_that_is_killed_is_replaced", |_| {
        survives("guard", "KILL")
    }),
    ("a_node_process_that_runs_out_of_memory_is_replaced", |_| {
        survives("node", "KILL")
    }),
    ("a_node_process_that_hangs_is_replaced", |_| survives("node", "STOP")),
    ("a_node_process_that_was_merely_stopped_goes_on", |_| {
        survives("node", "PAUSE")
    }),
    ("killing_the_main_process_leaves_no_process", |stage| {
        leaves_nothing(stage, Signal::SIGKILL, Whom::Main)
    }),
    ("killing_the_node_process_leaves_no_process", |stage| {
        leaves_nothing(stage, Signal::SIGKILL, Whom::Node)
    }),
    ("terminating_the_node_process_leaves_no_process", |stage| {
        leaves_nothing(stage, Signal::SIGTERM, Whom::Node)
    }),
];

/// Argument that makes this program the main process of a small cluster to be killed.
pub const VICTIM: &str = "__victim";

/// Argument that makes this program the main process of a node process to which something happens: to whom and what.
pub const SURVIVOR: &str = "__survivor";

/// This program once more, so that what happens hits nobody else.
fn survives(whom: &str, what: &str) -> Result<(), Failed> {
    let output = Command::new(std::env::current_exe()?)
        .args([SURVIVOR, whom, what])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(text.as_ref().into())
    }
}

/// Loses the node process in one way or another and goes on with the next, or with the same.
pub fn survivor() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let files = tempfile::tempdir().expect("a directory");
    // One thread: only then can time be made to pass.
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("start tokio");
    let state = files.path().join("state");
    let best = tokio
        .block_on(knarr_runtime::start_best(&state))
        .expect("start the runtime");
    let guard = children(std::process::id() as i32)[0];
    let node = children(guard)[0];
    let target = Pid::from_raw(if arguments[0] == "guard" { guard } else { node });
    tokio.block_on(async {
        let mut status = best.runtime.status();
        assert_eq!(*status.borrow_and_update(), RuntimeStatus::default());
        let spec = |id: &str| SandboxSpec {
            id: id.into(),
            hostname: "a".into(),
            ..SandboxSpec::default()
        };
        let first = best.runtime.create_sandbox(spec("first")).await.expect("a sandbox");
        match arguments[1].as_str() {
            "KILL" => kill(target, Signal::SIGKILL).expect("kill"),
            _ => {
                kill(target, Signal::SIGSTOP).expect("stop");
                tokio::time::pause();
            }
        }
        let down = status
            .wait_for(|status| status.down.is_some())
            .await
            .expect("told")
            .clone();
        if arguments[1] == "PAUSE" {
            tokio::time::resume();
            assert_eq!(
                (down.epoch, down.down.as_deref()),
                (0, Some("the node process does not respond"))
            );
            kill(target, Signal::SIGCONT).expect("go on");
            let up = status
                .wait_for(|status| status.down.is_none())
                .await
                .expect("told")
                .clone();
            assert_eq!(up.epoch, 0, "nothing was lost");
            let again = best
                .runtime
                .create_sandbox(spec("first"))
                .await
                .expect("the same sandbox");
            assert_eq!(again, first);
            return;
        }
        let lost = status.wait_for(|status| status.epoch == 1).await.expect("told").clone();
        if arguments[1] != "KILL" {
            tokio::time::resume();
        }
        let why = lost.down.expect("a reason");
        let expected = if arguments[1] == "KILL" {
            "was killed (SIGKILL)"
        } else {
            "has not responded for 16 s"
        };
        assert!(why.contains(expected), "{why}");
        status.wait_for(|status| status.down.is_none()).await.expect("told");
        for pid in [guard, node] {
            wait_for_end(pid).expect("the old one has ended");
        }
        best.runtime
            .create_sandbox(spec("second"))
            .await
            .expect("a sandbox in the next one");
    });
    ExitCode::SUCCESS
}

/// Argument that makes this program say what it finds out about the host.
pub const PROBE: &str = "__probe";

pub fn print_probe() -> ExitCode {
    let probe = knarr_runtime::probe().expect("probe");
    print(&format!("{:?}\n{}\n", probe.mode, probe.refusals.join("\n")));
    ExitCode::SUCCESS
}

fn print(text: &str) {
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).expect("print");
}

/// In a user namespace that has one user and may not make another.
pub fn locked_down() -> Result<(), Failed> {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$1\"";
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .arg(PROBE);
    let output = command.output()?;
    let (text, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if error.starts_with("unshare: unshare failed") {
        // Locked down already: every other test of this run has been told so.
        return Ok(());
    }
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Processes"), "{text}{error}");
    let refusals: Vec<&str> = lines.collect();
    assert!(
        refusals[0].starts_with("root: ") && refusals[1].starts_with("user namespace: make a user namespace: "),
        "{text}"
    );
    Ok(())
}

enum Whom {
    Main,
    Node,
}

/// Runs a few containers, prints a line with their processes, and waits for the end.
pub fn victim() -> ExitCode {
    let stage = Stage::namespaces().expect("namespaces");
    stage.run(async {
        let sandbox = stage.sandbox().await;
        let mut processes = Vec::new();
        for share in [false, true] {
            let mut spec = stage.shell(&sandbox, "(setsid sleep 6543 &); sleep 6543 & echo ready; wait");
            spec.processes = if share { Processes::Sandbox } else { Processes::Own };
            let mut started = stage.start(&spec).await;
            read_until(&mut started.stdout, "ready").await;
            processes.push(started);
        }
        let pids: Vec<String> = processes.iter().filter_map(|p| Some(p.pid?.to_string())).collect();
        print(&format!("{}\n", pids.join(" ")));
        std::future::pending::<ExitCode>().await
    })
}

fn leaves_nothing(_: &Stage, signal: Signal, whom: Whom) -> Result<(), Failed> {
    // Every process of the victim inherits this, so that it can be recognised whoever its parent is.
    let (mark, theirs) = nix::unistd::pipe()?;
    let mut main = Command::new(std::env::current_exe()?)
        .arg(VICTIM)
        .stdout(Stdio::piped())
        .stderr(Stdio::from(theirs))
        .spawn()?;
    let mut line = String::new();
    let mut stdout = BufReader::new(main.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line)?;
    let containers: Vec<i32> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    assert_eq!(containers.len(), 2, "{line:?}");
    let main_pid = i32::try_from(main.id())?;
    let tree = descendants(main_pid);
    assert!(
        tree.len() >= 7,
        "guard, node, pause, containers and what they run: {tree:?}"
    );
    assert!(
        containers.iter().all(|pid| tree.contains(pid)),
        "{containers:?} in {tree:?}"
    );
    let target = match whom {
        Whom::Main => main_pid,
        Whom::Node => children(main_pid).first().copied().expect("a node process"),
    };
    kill(Pid::from_raw(target), signal)?;
    // The end of a PID namespace is not instantaneous, but each process's end is an event: wait for them.
    for pid in tree {
        wait_for_end(pid)?;
    }
    drop(main.kill());
    main.wait()?;
    // Nobody holds the pipe of the main process any more either.
    let mut rest = String::new();
    stdout.read_to_string(&mut rest)?;
    fs::File::from(mark).read_to_string(&mut rest)?;
    Ok(())
}

/// Waits until a process of ours or not is gone, by a descriptor that becomes readable then.
fn wait_for_end(pid: i32) -> Result<(), Failed> {
    let start = std::time::Instant::now();
    // A zombie whose parent is gone is reaped by the system's first process, in its own time; it runs no more.
    while let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        if stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with(['Z', 'X']))
        {
            break;
        }
        assert!(start.elapsed().as_secs() < 10, "process {pid} lives on: {stat}");
        std::thread::yield_now();
    }
    Ok(())
}

fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|p| p.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

fn descendants(pid: i32) -> Vec<i32> {
    let own = children(pid);
    own.iter()
        .copied()
        .chain(own.iter().flat_map(|child| descendants(*child)))
        .collect()
}

/// This same program once more, as `nobody`.
pub fn run_unprivileged(variable: &str) -> Result<(), Failed> {
    let run = |program: &Path| {
        let mut command = Command::new(program);
        command
            .env(variable, "1")
            .uid(65534)
            .gid(65534)
            .current_dir("/")
            .output()
    };
    let program = std::env::current_exe()?;
    let output = match run(&program) {
        // The build directory may be out of reach for others.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let open = tempfile::tempdir()?;
            fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755))?;
            let copy = open.path().join("main");
            fs::copy(&program, &copy)?;
            run(&copy)?
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            print("skipped: the user namespace this runs in has no user 65534\n");
            return Ok(());
        }
        other => other?,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains("unprivileged::") {
        return Err(format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    for skipped in text.lines().filter(|line| line.contains("skipped")) {
        print(&format!("{skipped}\n"));
    }
    Ok(())
}
