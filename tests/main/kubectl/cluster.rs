//! [`Cluster`]: one in the background, and a kubectl for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than anything takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The kubectl to test with; `None` where there is none, which is said.
pub(crate) fn kubectl() -> Option<PathBuf> {
    let found = match std::env::var_os("KUBECTL") {
        Some(path) => Some(PathBuf::from(path)),
        None => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .map(|directory| directory.join("kubectl"))
                .find(|path| path.is_file())
        }
    };
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI needs a kubectl: put one on PATH, or name it in KUBECTL"
        );
        let _ = std::io::stderr().write_all(b"skipped: there is no kubectl on PATH\n");
    }
    found
}

/// A cluster in the background with a data directory of its own. Dropping it stops and deletes it.
pub(crate) struct Cluster {
    data: TempDir,
    name: &'static str,
    kubectl: PathBuf,
}

impl Cluster {
    /// Starts one; its node is ready.
    pub(crate) fn start(name: &'static str, kubectl: PathBuf) -> Self {
        let cluster = Self {
            data: tempfile::tempdir().expect("a directory"),
            name,
            kubectl,
        };
        let said = cluster.knarr("start");
        assert!(said.contains("KUBECONFIG="), "it says how to use it: {said}");
        cluster
    }

    /// `knarr cluster VERB NAME`; what it prints.
    pub(crate) fn knarr(&self, verb: &str) -> String {
        let output = self.try_knarr(verb);
        assert!(
            output.status.success(),
            "knarr cluster {verb}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The same, which may fail.
    pub(crate) fn try_knarr(&self, verb: &str) -> Output {
        self.run_knarr(&[verb, self.name])
    }

    /// `knarr cluster node ARGUMENTS`, which must succeed; what it prints.
    pub(crate) fn node(&self, arguments: &[&str]) -> String {
        let output = self.run_knarr(&[&["node", "--cluster", self.name], arguments].concat());
        let said = text(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {said}{}", text(&output.stderr));
        said
    }

    fn run_knarr(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_knarr"))
            .arg("cluster")
            .args(arguments)
            .env("KNARR_DATA_DIR", self.data.path())
            .stdin(Stdio::null())
            .output()
            .expect("knarr runs")
    }

    /// Path of its kubeconfig.
    pub(crate) fn kubeconfig(&self) -> String {
        self.knarr("kubeconfig").trim().to_owned()
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> PathBuf {
        self.data.path().join("clusters").join(self.name)
    }

    /// A file for kubectl; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.data.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        // Its caches belong to this test; a dispatching kubectl must not ask elsewhere.
        command
            .env("HOME", self.data.path())
            .env_remove("KUBECONFIG")
            .current_dir(self.data.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs kubectl with an input.
    pub(crate) fn output(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_owned();
        // A command that ends early does not read it all.
        let feed = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("kubectl ends");
        let _ = feed.join().expect("the feeding thread ends well");
        output
    }

    /// Runs kubectl, which must succeed; what it prints.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, b"")
    }

    /// The same with an input.
    pub(crate) fn ok_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.output(arguments, input);
        let said = text(&output.stdout);
        assert!(
            output.status.success(),
            "kubectl {}:\n{said}{}",
            arguments.join(" "),
            text(&output.stderr)
        );
        said
    }

    /// Runs kubectl, which must fail; what it complains.
    pub(crate) fn fails(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.output(arguments, input);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(
            !output.status.success(),
            "kubectl {} succeeds:\n{said}",
            arguments.join(" ")
        );
        said
    }

    /// `kubectl edit` by somebody whose editor is `script`, a line of `sed`; what it prints.
    pub(crate) fn edit(&self, object: &[&str], script: &str) -> String {
        let editor = format!("sed -i '{script}'");
        let mut command = self.command(&[&["edit"], object].concat());
        let output = command.env("KUBE_EDITOR", editor).output().expect("kubectl runs");
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    }

    /// One value of an object, by JSON path.
    pub(crate) fn value(&self, object: &[&str], path: &str) -> String {
        let path = format!("jsonpath={path}");
        self.ok(&[&["get", "-o", &path], object].concat())
    }

    /// Runs kubectl again and again until it prints what is wanted: for what it cannot watch.
    pub(crate) fn eventually(&self, arguments: &[&str], wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.ok(arguments);
            if wanted(&said) {
                return;
            }
            assert!(Instant::now() < deadline, "kubectl {}: {said}", arguments.join(" "));
        }
    }

    /// Asks again until it is so; says what was told last when it never is.
    pub(crate) fn until(&self, what: &str, is_so: impl Fn() -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(told) = is_so() {
            assert!(Instant::now() < deadline, "{what}: {told}");
        }
    }

    /// The minor version of this kubectl.
    pub(crate) fn minor(&self) -> u32 {
        let version = self.ok(&["version", "--client", "-o", "json"]);
        let version: serde_json::Value = serde_json::from_str(&version).expect("kubectl says its version");
        let minor = version["clientVersion"]["minor"].as_str().expect("a minor version");
        minor.trim_end_matches('+').parse().expect("a number")
    }

    /// Waits with `kubectl wait` until a pod is ready.
    pub(crate) fn ready(&self, pod: &str) {
        self.ok(&["wait", "--for=condition=Ready", "--timeout=60s", "pod", pod]);
    }

    /// Starts a kubectl that goes on, and reads its lines.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Follow {
        let mut child = self.command(arguments).spawn().expect("kubectl runs");
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("piped")),
            Box::new(child.stderr.take().expect("piped")),
        ];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    let Ok(line) = line else { return };
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Follow {
            child,
            lines,
            seen: Vec::new(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let output = self.try_knarr("delete");
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory().join("cluster.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            let _ = std::io::stderr().write_all(format!("the cluster's log:\n{}\n", tail.join("\n")).as_bytes());
        } else {
            assert!(
                output.status.success(),
                "knarr cluster delete: {}",
                text(&output.stderr)
            );
        }
    }
}

/// A kubectl that goes on. Dropping it ends it.
pub(crate) struct Follow {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Follow {
    /// Waits for a line that has all of `words`.
    pub(crate) fn until(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if words.iter().all(|word| line.contains(word)) => {
                    self.seen.push(line.clone());
                    return line;
                }
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line has {words:?}; it printed\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Waits until it ends by itself; every line it printed, and whether it succeeded.
    pub(crate) fn end(mut self) -> (Vec<String>, bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end; it printed\n{}", self.seen.join("\n")),
            }
        }
        let status = self.child.wait().expect("it ends");
        (std::mem::take(&mut self.seen), status.success())
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
