//! Clusters in the background: `knarr cluster start | stop | status | delete | kubeconfig | export`, and what is done to their
//! databases: `check | repair | snapshot | restore`.
//!
//! `start` runs this executable again with a hidden argument, in a session of its own, and returns when the node of
//! the new cluster is ready. The child reports through its standard output: one line of JSON, and then nothing more.
//! Whether a cluster runs is told by the lock on its directory, which the kernel releases however the process ends.
//!
//! All functions block; call them from `main` or from a thread for blocking work.

pub mod node;
#[cfg_attr(not(target_os = "linux"), path = "number.rs")]
mod process;
mod serve;
pub(crate) mod storage;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::RuntimeChoice;
use crate::directory::{self, Directory};
use crate::error::{Doing, Error};
use process::{Process, Signal};

pub(crate) use serve::reexec;
pub use storage::{check, repair, restore, snapshot};

/// The hidden argument.
const ARGUMENT: &str = "__cluster";
/// How long a cluster may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one that was asked to stop may take. Containers get five seconds.
const STOPPING: Duration = Duration::from_secs(30);
/// And one that was killed.
const DYING: Duration = Duration::from_secs(10);
/// Bytes of log after which the next start begins a new one.
const LONGEST_LOG: u64 = 10 << 20;
const TICK: Duration = Duration::from_millis(20);

/// How to start a cluster in the background.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// Where to serve; `None` means a loopback port that stays the same.
    pub listen: Option<SocketAddr>,
    /// What runs the containers.
    pub runtime: RuntimeChoice,
    /// How many nodes it is to have at least; those that were added before come back by themselves.
    pub nodes: usize,
    /// And how many whose pods are no processes.
    pub hollow: usize,
}

/// A cluster and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Where its data is.
    pub directory: PathBuf,
    /// Its kubeconfig, once it has had one.
    pub kubeconfig: Option<PathBuf>,
    /// What of it is there.
    pub state: State,
    /// Its API server answers.
    pub running: bool,
    /// All of this in words.
    pub text: String,
}

/// What of a cluster is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// Its data.
    Stopped,
    /// A process that does not serve yet.
    Starting {
        /// The process.
        pid: i32,
    },
    /// A process that was told to end.
    Stopping {
        /// The process.
        pid: i32,
    },
    /// All of it.
    Running {
        /// The process.
        pid: i32,
        /// URL of its API server; `None` when it serves its own process only.
        server: Option<String>,
        /// How its containers are isolated.
        mode: String,
        /// Since when (RFC 3339).
        started: String,
    },
}

/// What the child is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    name: String,
    listen: Option<SocketAddr>,
    runtime: String,
    nodes: usize,
    hollow: usize,
}

/// What the child reports.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Ready,
    /// Another process has the cluster.
    Beaten,
    Failed {
        message: String,
        hint: Option<String>,
    },
}

/// Where the data of all clusters is.
pub fn directory() -> Result<PathBuf, Error> {
    directory::root()
}

/// Starts a cluster in the background with the usual options.
pub fn start(name: &str) -> Result<PathBuf, Error> {
    start_with(name, &StartOptions::default())
}

/// Starts a cluster in the background and returns its kubeconfig when its node is ready. One that runs already gets the nodes that it
/// lacks, and is left as it is otherwise; one that is being stopped is waited for, and started again.
pub fn start_with(name: &str, options: &StartOptions) -> Result<PathBuf, Error> {
    let directory = Directory::of(name)?;
    let begin = Instant::now();
    loop {
        directory.create()?;
        match directory.holder()? {
            Some(pid) if directory.is_stopping(pid) => end(name, &directory, pid)?,
            Some(pid) => {
                wait_served(name, &directory, pid)?;
                node::ensure(name, options)?;
            }
            None => match launch(name, &directory, options)? {
                Launched::Ready => {}
                Launched::Beaten => std::thread::park_timeout(TICK),
            },
        }
        // What was seen may be history by now: another process may have stopped or removed it.
        match (directory.holder()?, directory.note()) {
            (Some(pid), Some(note)) if note.pid == pid && !directory.is_stopping(pid) => return kubeconfig(name),
            _ if begin.elapsed() > PATIENCE => {
                return Err(Error::new(format!(
                    "the cluster {name:?} is stopped or removed whenever it is started"
                ))
                .with_hint("another process does that; try again when it has finished"));
            }
            _ => {}
        }
    }
}

/// What came of starting a process.
enum Launched {
    Ready,
    /// Another process has, or had, the directory.
    Beaten,
}

fn launch(name: &str, directory: &Directory, options: &StartOptions) -> Result<Launched, Error> {
    let order = Order {
        name: name.to_string(),
        listen: options.listen,
        runtime: match options.runtime {
            RuntimeChoice::Auto => "auto",
            RuntimeChoice::Processes => "processes",
            RuntimeChoice::Hollow => "hollow",
        }
        .into(),
        nodes: options.nodes,
        hollow: options.hollow,
    };
    let order = serde_json::to_string(&order).doing(|| "cannot start the cluster".into())?;
    let path = directory.log();
    shorten(&path);
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let log = match log {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Launched::Beaten),
        log => log.doing(|| format!("cannot write {}", path.display()))?,
    };
    let program = std::env::current_exe().doing(|| "cannot find the running executable".into())?;
    let mut child = Command::new(program)
        .args([ARGUMENT, &order])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .doing(|| "cannot start a process for the cluster".into())?;
    let Some(output) = child.stdout.take() else {
        return Err(Error::new("the cluster's process has no output"));
    };
    let (sender, report) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(output).read_line(&mut line); // an unreadable line is as good as none
        let _ = sender.send(line);
    });
    match report
        .recv_timeout(PATIENCE)
        .ok()
        .and_then(|line| serde_json::from_str(&line).ok())
    {
        Some(Report::Ready) => Ok(Launched::Ready),
        Some(Report::Beaten) => {
            let _ = child.wait();
            Ok(Launched::Beaten)
        }
        Some(Report::Failed { message, hint }) => {
            let _ = child.wait();
            let error = Error::new(message);
            Err(match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            })
        }
        None => {
            let _ = child.kill();
            let _ = child.wait();
            let end = last_line(&path).map(|line| format!(": {line}")).unwrap_or_default();
            Err(Error::new(format!("the cluster {name:?} did not become ready{end}"))
                .with_hint(format!("its log is {}", path.display())))
        }
    }
}

/// A log that has grown long is put aside; the one put aside before is lost.
fn shorten(path: &Path) {
    if fs::metadata(path).is_ok_and(|log| log.len() > LONGEST_LOG)
        && let Err(error) = fs::rename(path, path.with_extension("log.old"))
    {
        tracing::warn!(path = %path.display(), %error, "cannot put the log aside");
    }
}

/// Stops a cluster, wherever it runs: its containers end gracefully, its data stays. Returns whether it ran.
pub fn stop(name: &str) -> Result<bool, Error> {
    let directory = Directory::of(name)?;
    match directory.holder()? {
        Some(pid) if pid == std::process::id() as i32 => {
            Err(Error::new(format!("the cluster {name:?} runs in this very process")))
        }
        Some(pid) => end(name, &directory, pid).map(|()| true),
        None => Ok(false),
    }
}

/// Ends the process that holds the lock, and returns when it has ended; not when another one has begun.
fn end(name: &str, directory: &Directory, pid: i32) -> Result<(), Error> {
    let context = || format!("cannot end the process {pid} of the cluster {name:?}");
    let Some(process) = Process::open(pid).doing(context)? else {
        return Ok(());
    };
    // It held the lock before and does now: the handle is to this process, whoever gets its number later.
    if directory.holder()? != Some(pid) {
        return Ok(());
    }
    // A directory that cannot be written to is no reason not to stop.
    if let Err(error) = directory.mark_stopping(pid) {
        tracing::warn!(%error, "cannot note that the cluster stops");
    }
    process.signal(Signal::Terminate).doing(context)?;
    if !process.ended(STOPPING).doing(context)? {
        tracing::warn!(pid, "the cluster does not stop; killing its process");
        process.signal(Signal::Kill).doing(context)?;
        if !process.ended(DYING).doing(context)? {
            return Err(
                Error::new(format!("the process {pid} of the cluster {name:?} does not end"))
                    .with_hint("it is held up in the kernel, as by a disk or network mount that does not answer"),
            );
        }
    }
    // One that was killed could not; and one that has begun since has its own.
    if directory.note().is_some_and(|note| note.pid == pid) {
        directory.remove("running.json");
    }
    if directory.is_stopping(pid) {
        directory.remove("stopping");
    }
    Ok(())
}

/// How a cluster is.
pub fn status(name: &str) -> Result<Status, Error> {
    let directory = Directory::of(name)?;
    let state = match (directory.holder()?, directory.note()) {
        (Some(pid), _) if directory.is_stopping(pid) => State::Stopping { pid },
        (Some(pid), Some(note)) if note.pid == pid => State::Running {
            pid,
            server: note.server,
            mode: note.mode,
            started: note.started,
        },
        (Some(pid), _) => State::Starting { pid },
        (None, _) if directory.exists() => State::Stopped,
        (None, _) => State::Absent,
    };
    let kubeconfig = Some(directory.kubeconfig()).filter(|path| path.is_file());
    Ok(Status {
        name: name.to_string(),
        text: describe(name, &directory, &state),
        running: matches!(state, State::Running { .. }),
        kubeconfig,
        directory: directory.path().to_path_buf(),
        state,
    })
}

fn describe(name: &str, directory: &Directory, state: &State) -> String {
    let data = directory.path().display();
    match state {
        State::Absent => format!("cluster {name} does not exist"),
        State::Stopped => format!("cluster {name} is stopped\n  data        {data}"),
        State::Starting { pid } => format!("cluster {name} is starting (process {pid})"),
        State::Stopping { pid } => format!("cluster {name} is stopping (process {pid})"),
        State::Running {
            pid,
            server,
            mode,
            started,
        } => {
            let server = server.as_deref().unwrap_or("none: it serves its own process only");
            format!(
                "cluster {name} is running since {started} (process {pid})\n  server      {server}\n  \
                 kubeconfig  {}\n  containers  {mode}\n  data        {data}",
                directory.kubeconfig().display(),
            )
        }
    }
}

/// Every cluster that has data, by name.
pub fn list() -> Result<Vec<Status>, Error> {
    Directory::names()?.iter().map(|name| status(name)).collect()
}

/// Stops a cluster and removes all its data. Returns whether there was any.
pub fn delete(name: &str) -> Result<bool, Error> {
    let directory = Directory::of(name)?;
    if !directory.exists() {
        return Ok(false);
    }
    stop(name)?;
    // Holding the lock keeps a new one from starting in the middle.
    let Some(_lock) = directory.try_lock()? else {
        if !directory.exists() {
            return Ok(true); // somebody else has removed it
        }
        return Err(
            Error::new(format!("the cluster {name:?} has been started again")).with_hint(format!(
                "its data is as it was; remove it with: knarr cluster delete {name}"
            )),
        );
    };
    directory.remove_all()?;
    Ok(true)
}

/// Path of a cluster's kubeconfig.
pub fn kubeconfig(name: &str) -> Result<PathBuf, Error> {
    let status = status(name)?;
    status.kubeconfig.ok_or_else(|| {
        Error::new(format!("the cluster {name:?} has no kubeconfig yet"))
            .with_hint(format!("start it with: knarr cluster start {name}"))
    })
}

/// The objects of a running cluster, or of one of its namespaces, as manifests for another one: YAML.
pub fn export(name: &str, namespace: Option<&str>) -> Result<String, Error> {
    let kubeconfig = running(name)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing(|| "cannot start".into())?;
    runtime.block_on(crate::export::export(&kubeconfig, namespace))
}

/// The kubeconfig of a cluster that serves.
fn running(name: &str) -> Result<PathBuf, Error> {
    let directory = Directory::of(name)?;
    if directory.note().is_none_or(|note| note.server.is_none()) || directory.holder()?.is_none() {
        return Err(Error::new(format!("cluster {name} is not running"))
            .with_hint(format!("start it first: knarr cluster start {name}")));
    }
    Ok(directory.kubeconfig())
}

/// The kubeconfig of a cluster of that name that runs in another process. `None` when none does, or when it serves only
/// its own process.
pub fn attach(name: &str) -> Result<Option<PathBuf>, Error> {
    let directory = Directory::of(name)?;
    match directory.holder()? {
        Some(pid) if pid != std::process::id() as i32 => {
            wait_served(name, &directory, pid)?;
            let served = directory.note().is_some_and(|note| note.server.is_some());
            Ok(served.then(|| directory.kubeconfig()))
        }
        _ => Ok(None),
    }
}

/// A cluster that is just being started serves soon, or ends.
fn wait_served(name: &str, directory: &Directory, pid: i32) -> Result<(), Error> {
    let up = || {
        let other = directory.holder()? != Some(pid) || directory.is_stopping(pid);
        Ok(other || directory.note().is_some_and(|note| note.pid == pid))
    };
    if wait_until(PATIENCE, up)? {
        return Ok(());
    }
    Err(
        Error::new(format!("the cluster {name:?} has been starting for too long")).with_hint(format!(
            "its log is {}; knarr cluster stop {name} ends it",
            directory.log().display()
        )),
    )
}

/// Whether it came true in time. Locks and files of other processes cannot be waited for, only looked at.
fn wait_until(patience: Duration, mut is: impl FnMut() -> Result<bool, Error>) -> Result<bool, Error> {
    let start = Instant::now();
    while !is()? {
        if start.elapsed() > patience {
            return Ok(false);
        }
        std::thread::park_timeout(TICK);
    }
    Ok(true)
}

fn last_line(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    text.lines()
        .rev()
        // A panic ends in advice on how to get more of it, which says nothing.
        .find(|line| !line.trim().is_empty() && !line.starts_with("note: "))
        .map(str::to_string)
}
