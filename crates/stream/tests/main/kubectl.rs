//! Real kubectls: the one on PATH, or all that the variable `KUBECTL` lists, separated by colons.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::node::{no_such_program, pattern, tcp_server};
use crate::server::Server;

/// The kubectls to try; none if there are none, which is said.
fn kubectls() -> Vec<PathBuf> {
    let found: Vec<PathBuf> = match std::env::var_os("KUBECTL") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut candidates = std::env::split_paths(&path).map(|directory| directory.join("kubectl"));
            candidates.find(|candidate| candidate.is_file()).into_iter().collect()
        }
    };
    if found.is_empty() {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"skipped: there is no kubectl on PATH\n");
    }
    found
}

/// One kubectl and the server it talks to.
struct Kubectl {
    program: PathBuf,
    home: TempDir,
}

impl Kubectl {
    fn new(program: PathBuf, server: &Server) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = serde_json::json!({
            "kind": "Config", "apiVersion": "v1", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server.url()}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        std::fs::write(home.path().join("config"), config.to_string()).unwrap();
        Self { program, home }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--kubeconfig")
            .arg(self.home.path().join("config"))
            .args(arguments);
        command
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().await.unwrap()
    }

    async fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = async {
            // A command that ends early does not read it all.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        tokio::join!(feed, child.wait_with_output()).1.unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn exec_carries_streams_and_exit_codes() {
    let server = Server::start().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(program, &server);
        let name = kubectl.program.display();
        let output = kubectl
            .run(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3"])
            .await;
        assert_eq!(output.status.code(), Some(3), "{name}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "out\n", "{name}");
        assert_eq!(
            text(&output.stderr),
            "err\ncommand terminated with exit code 3\n",
            "{name}"
        );

        let input = pattern(20_000_000, 5);
        let output = kubectl
            .run_with_input(&["exec", "-i", "web", "--", "cat"], &input)
            .await;
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert!(output.stdout == input, "{name}: got {} bytes", output.stdout.len());

        // The rest of the input has nowhere to go, and that is nobody's fault.
        let output = kubectl
            .run_with_input(&["exec", "-i", "web", "--", "head", "-c", "5"], &input)
            .await;
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert_eq!(output.stdout, input[..5], "{name}");

        let output = kubectl.run(&["exec", "web", "--", "bash-is-not-here"]).await;
        assert_eq!(output.status.code(), Some(1), "{name}");
        let expected = format!(
            "error: Internal error occurred: {}\n",
            no_such_program("bash-is-not-here")
        );
        assert_eq!(text(&output.stderr), expected, "{name}");

        let output = kubectl.run_with_input(&["attach", "-i", "web"], b"hello\n").await;
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "attached\nhello\n", "{name}");
    }
}

#[tokio::test]
async fn a_terminal_has_the_size_of_the_local_one_and_ends_with_the_exit_code() {
    let server = Server::start().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(program, &server);
        let name = kubectl.program.display();
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let resize = |ws_col, ws_row| {
            tcsetwinsize(
                &terminal,
                Winsize {
                    ws_col,
                    ws_row,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                },
            )
            .unwrap();
        };
        let side = || std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut command = kubectl.command(&["exec", "-it", "web", "--", "sh"]);
        command.stdin(side()).stdout(side()).stderr(side());
        resize(100, 30);
        let mut child = command.spawn().unwrap();
        drop(command);

        let terminal_file = || tokio::fs::File::from_std(terminal.try_clone().unwrap().into());
        let (mut keyboard, mut screen) = (terminal_file(), BufReader::new(terminal_file()));
        let mut line = String::new();
        while !line.contains("100x30") {
            line.clear();
            assert!(screen.read_line(&mut line).await.unwrap() > 0, "{name} ended");
        }
        resize(80, 24);
        let pid = Pid::from_raw(child.id().unwrap() as i32).unwrap();
        kill_process(pid, Signal::WINCH).unwrap();
        line.clear();
        screen.read_line(&mut line).await.unwrap();
        assert_eq!(line, "80x24\r\n", "{name}");
        keyboard.write_all(b"exit 7\n").await.unwrap();
        keyboard.flush().await.unwrap();
        line.clear();
        screen.read_line(&mut line).await.unwrap();
        assert_eq!(line, "you said exit 7\r\n", "{name}");
        assert_eq!(child.wait().await.unwrap().code(), Some(7), "{name}");
    }
}

#[tokio::test]
async fn copies_arrive_whole_in_both_directions() {
    let server = Server::start().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(program, &server);
        let name = kubectl.program.display();
        let at = |file: &str| kubectl.home.path().join(file);
        std::fs::write(at("local"), pattern(5_000_000, 6)).unwrap();
        std::fs::create_dir(at("pod")).unwrap();
        let remote = format!("web:{}", at("pod/remote").display());
        for (from, to) in [("local", remote.as_str()), (remote.as_str(), "back")] {
            let output = kubectl.run(&["cp", from, to]).await;
            assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        }
        let same = |file: &Path| std::fs::read(file).unwrap() == pattern(5_000_000, 6);
        assert!(same(&at("pod/remote")) && same(&at("back")), "{name}");
    }
}

/// Starts `kubectl port-forward` and returns the local port.
async fn forward(kubectl: &Kubectl, port: u16) -> (Child, u16) {
    let mut child = kubectl
        .command(&["port-forward", "pod/web", &format!(":{port}")])
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut said).await.unwrap();
    let local = said
        .strip_prefix("Forwarding from 127.0.0.1:")
        .and_then(|rest| rest.split_once(" -> "));
    let local = local
        .unwrap_or_else(|| panic!("{}: {said}", kubectl.program.display()))
        .0
        .parse()
        .unwrap();
    // It says more with each connection, and must not find the pipe closed.
    tokio::spawn(async move { lines.read_to_string(&mut said).await });
    (child, local)
}

async fn ask(port: u16, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(question).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn port_forward_carries_many_connections() {
    let server = Server::start().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(program, &server);
        let name = kubectl.program.display();
        let port = tcp_server(|asked| pattern(20_000_000, asked[0].into())).await;
        let (_running, local) = forward(&kubectl, port).await;
        let (a, b, c) = tokio::join!(ask(local, b"1"), ask(local, b"2"), ask(local, b"3"));
        for (answer, seed) in [(a, b'1'), (b, b'2'), (c, b'3')] {
            assert!(
                answer == pattern(20_000_000, seed.into()),
                "{name}: got {} bytes",
                answer.len()
            );
        }

        let port = tcp_server(|asked| asked).await;
        let (_running, local) = forward(&kubectl, port).await;
        for round in 0..100 {
            let question = pattern(100 + round as usize, round);
            assert_eq!(ask(local, &question).await, question, "{name}: connection {round}");
        }
    }
}
