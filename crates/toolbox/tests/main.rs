//! Runs the programs as processes, the way containers do: links to one executable, found by their names.

mod archive;
mod network;
mod server;
mod shell;
mod terminal;
mod text;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A directory of links to the toolbox, one per program.
fn programs() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let exe = Path::new(env!("CARGO_BIN_EXE_knarr-toolbox"));
        let profile = exe.parent().and_then(Path::file_name).expect("a directory");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("toolbox").join(profile);
        std::fs::create_dir_all(&dir).expect("a directory");
        for name in knarr_toolbox::names() {
            match std::os::unix::fs::symlink(exe, dir.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{name}: {error}"),
                _ => {}
            }
        }
        dir
    })
}

/// A program of the toolbox, with nothing but the toolbox in its `PATH`.
fn program(name: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(programs().join(name));
    command
        .arg0(name)
        .env_clear()
        .env("PATH", programs())
        .env("HOME", "/")
        .stdin(Stdio::null());
    command
}

/// What a program did: (status, standard output, standard error).
fn outcome(output: Output) -> (i32, String, String) {
    use std::os::unix::process::ExitStatusExt;
    let status = output
        .status
        .code()
        .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    (
        status,
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Runs a script with `sh -c`.
fn sh(script: &str) -> (i32, String, String) {
    outcome(program("sh").args(["-c", script]).output().expect("sh runs"))
}

/// Runs a program with input.
fn feed(command: &mut Command, input: &[u8]) -> (i32, String, String) {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    outcome(output)
}

#[test]
fn the_executable_runs_programs_by_name_and_lists_them() {
    let exe = env!("CARGO_BIN_EXE_knarr-toolbox");
    let (status, out, _) = outcome(
        Command::new(exe)
            .args(["__box", "echo", "a", "b"])
            .output()
            .expect("it runs"),
    );
    assert_eq!((status, out.as_str()), (0, "a b\n"));
    let (_, out, _) = outcome(Command::new(exe).arg("__box").output().expect("it runs"));
    for name in ["sh", "ls", "kuard", "nginx", "vi"] {
        assert!(out.split_whitespace().any(|w| w == name), "{name} in {out}");
    }
    let (status, _, err) = outcome(Command::new(exe).args(["__box", "nothing"]).output().expect("it runs"));
    assert_eq!(
        (status, err.as_str()),
        (127, "knarr-toolbox: nothing: applet not found\n")
    );
}
