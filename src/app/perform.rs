//! Effects: each becomes a task on a worker, or a word to a session. Nothing here waits.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::run::App;
use crate::cluster::{self, ClusterId, Contexts, Link, Plan, Read};
use crate::error::{Error, ErrorKind, Result};
use crate::kind::why;
use crate::state::{Effect, Outcome, RequestId};

/// Largest manifest read: larger ones are no manifests.
const MAX_FILE: u64 = 32 * 1024 * 1024;

impl App {
    /// Performs effects in order.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Execute(id, plan) => self.execute(id, plan),
                Effect::Cancel(id) => {
                    if let Some(token) = self.cancels.get(&id) {
                        token.cancel();
                    }
                }
                Effect::Preview {
                    id,
                    cluster,
                    text,
                    namespace,
                } => {
                    let link = self.link(cluster);
                    self.spawn(id, async move {
                        cluster::preview(&link?, &text, &namespace)
                            .await
                            .map(Outcome::Previewed)
                    });
                }
                Effect::Count {
                    id,
                    cluster,
                    namespaces,
                } => {
                    let link = self.link(cluster);
                    self.spawn(id, async move {
                        cluster::content(&link?, &namespaces).await.map(Outcome::Counted)
                    });
                }
                Effect::Get(id, cluster, read) => {
                    let link = self.link(cluster);
                    self.spawn(id, async move { link?.read(&read).await.map(Outcome::Bytes) });
                }
                Effect::List(id, cluster, reads) => {
                    let link = self.link(cluster);
                    self.spawn(
                        id,
                        async move { cluster::list(&link?, &reads).await.map(Outcome::Lists) },
                    );
                }
                Effect::Ask(id, change) => {
                    let link = self.link(change.target.cluster);
                    self.spawn(id, async move {
                        let answer = link?.dry_run(&change).await?;
                        Ok(Outcome::Object(answer.after.unwrap_or_default()))
                    });
                }
                Effect::Fetch(id, cluster, object) => {
                    let link = self.link(cluster);
                    self.spawn(id, async move {
                        let read = Read::new(object.path(), format!("read {}", object.title()));
                        let bytes = link?.read(&read).await?;
                        serde_json::from_slice(&bytes).map(Outcome::Object).map_err(|error| {
                            Error::new(ErrorKind::Other, "the cluster's answer is not an object").because(&error)
                        })
                    });
                }
                Effect::Examine(id, object) => {
                    let (link, clock) = (self.link(object.cluster), self.desk.clock.clone());
                    self.spawn(id, async move {
                        let report = why::examine(&link?, &object, clock.now()).await?;
                        Ok(Outcome::Examined(Arc::new(report)))
                    });
                }
                Effect::Discover(id, cluster) => {
                    let (link, sender) = (self.link(cluster), self.sender.clone());
                    self.spawn(id, async move {
                        let discovery = link?.discover().await?;
                        let _ = sender.send(Event::Discovered(cluster, discovery));
                        Ok(Outcome::Bytes(bytes::Bytes::new()))
                    });
                }
                Effect::Open(id, spec) => {
                    if let Err(error) = self.desk.open(id, spec, not_connected) {
                        self.state.fail(&error);
                    }
                }
                Effect::Input(id, bytes) => self.desk.sessions.input(id, bytes),
                Effect::Resize(id, columns, rows) => self.desk.sessions.resize(id, columns, rows),
                Effect::Close(id) => self.desk.sessions.close(id),
                Effect::Copy(text) => self.copy(text),
                Effect::Read(id, path) => {
                    self.spawn(id, async move {
                        read(&path).await.map(|text| Outcome::Bytes(text.into_bytes().into()))
                    });
                }
                Effect::Write(id, path, text) => self.spawn(id, async move {
                    write_new(&path, &text)
                        .await
                        .map(|()| Outcome::Bytes(bytes::Bytes::new()))
                }),
                Effect::Edit(id, text) => {
                    let _ = self.sender.send(Event::Edit(id, text));
                }
                Effect::Browse(url) => self.browse(url),
                Effect::Connect(cluster) => {
                    let mut then = Vec::new();
                    self.go(cluster, &mut then);
                    self.perform(then);
                }
                Effect::Retry(cluster) => self.connect(cluster),
                Effect::Login(cluster) => {
                    let (source, sender) = (self.state.source(cluster).clone(), self.sender.clone());
                    tokio::spawn(async move {
                        let _ = sender.send(match cluster::plugin_of(&source).await {
                            Ok(plugin) => Event::Login(cluster, plugin),
                            Err(error) => Event::Failed(error),
                        });
                    });
                }
                Effect::Remember(name, text) => self.memory.remember(name, text),
            }
        }
    }

    /// The way to a cluster that has been reached, whatever is looked at now.
    fn link(&self, cluster: ClusterId) -> Result<Link> {
        self.desk.link(cluster).cloned().ok_or_else(not_connected)
    }

    fn execute(&mut self, id: RequestId, plan: Arc<Plan>) {
        let token = CancellationToken::new();
        self.cancels.insert(id, token.clone());
        let (link, journal, clock) = (self.link(plan.cluster), self.journal.clone(), self.desk.clock.clone());
        let sender = self.sender.clone();
        self.spawn(id, async move {
            let link = link?;
            let progress = |progress| {
                let _ = sender.send(Event::Progress(id, progress));
            };
            let report = cluster::execute(&link, &plan, &journal, &clock, progress, &token).await;
            Ok(Outcome::Executed(report))
        });
    }

    fn spawn(&self, id: RequestId, work: impl Future<Output = Result<Outcome>> + Send + 'static) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            // A panic in the work is its own failure, not the program's.
            let result = match tokio::spawn(work).await {
                Ok(result) => result,
                Err(error) => Err(Error::new(ErrorKind::Other, "a task failed inside knarr").because(&error)),
            };
            let _ = sender.send(Event::Done(id, result));
        });
    }

    pub(super) fn load_contexts(&self) {
        let (source, sender) = (self.settings.source.clone(), self.sender.clone());
        tokio::task::spawn_blocking(move || {
            if let Ok(contexts) = Contexts::load(&source) {
                let _ = sender.send(Event::Contexts(contexts));
            }
        });
    }

    /// To the desktop's clipboard where there is one; else the terminal passes it on (OSC 52), which works over SSH too.
    pub(super) fn copy(&self, text: String) {
        let sender = self.sender.clone();
        let display = ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        let remote = std::env::var_os("SSH_CONNECTION").is_some();
        if remote || !(display || cfg!(any(target_os = "macos", windows))) {
            let _ = sender.send(Event::Clipboard(text));
            return;
        }
        tokio::task::spawn_blocking(move || {
            // Kept for as long as the program runs: on X11 a text lives as long as who offers it.
            static OFFERED: Mutex<Option<arboard::Clipboard>> = Mutex::new(None);
            let mut offered = OFFERED.lock().unwrap_or_else(PoisonError::into_inner);
            if offered.is_none() {
                *offered = arboard::Clipboard::new().ok();
            }
            let done = offered
                .as_mut()
                .is_some_and(|clipboard| clipboard.set_text(text.clone()).is_ok());
            if !done {
                *offered = None;
                let _ = sender.send(Event::Clipboard(text));
            }
        });
    }

    fn browse(&self, url: String) {
        let sender = self.sender.clone();
        let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        tokio::spawn(async move {
            let mut command = tokio::process::Command::new(program);
            command.arg(&url).stdin(std::process::Stdio::null());
            command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null());
            if let Err(error) = command.status().await {
                let error = Error::new(ErrorKind::Other, format!("cannot open {url}")).because(&error);
                let _ = sender.send(Event::Failed(
                    error.hint(format!("{program} is needed to open a browser")),
                ));
            }
        });
    }
}

fn not_connected() -> Error {
    Error::new(ErrorKind::Unreachable, "there is no cluster to ask").hint("nothing was sent; connecting is retried")
}

/// A file, or the manifests of a directory joined as documents.
async fn read(path: &Path) -> Result<String> {
    let failed = |error: &std::io::Error, path: &Path| {
        Error::new(ErrorKind::Config, format!("cannot read {}", path.display())).because(error)
    };
    let mut files: Vec<PathBuf> = Vec::new();
    if path.is_dir() {
        let mut entries = tokio::fs::read_dir(path).await.map_err(|error| failed(&error, path))?;
        while let Some(entry) = entries.next_entry().await.map_err(|error| failed(&error, path))? {
            let is_manifest = entry
                .path()
                .extension()
                .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|known| ext == *known));
            if is_manifest {
                files.push(entry.path());
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(Error::usage(format!(
                "{} holds no .yaml, .yml or .json file",
                path.display()
            )));
        }
    } else {
        files.push(path.to_owned());
    }
    let mut text = String::new();
    for file in files {
        let meta = tokio::fs::metadata(&file)
            .await
            .map_err(|error| failed(&error, &file))?;
        if !meta.is_file() || meta.len() > MAX_FILE {
            return Err(Error::usage(format!(
                "{} is not a manifest: it is not a file, or larger than 32 MiB",
                file.display()
            )));
        }
        let content = tokio::fs::read_to_string(&file)
            .await
            .map_err(|error| failed(&error, &file))?;
        if !text.is_empty() {
            text.push_str("\n---\n");
        }
        text.push_str(&content);
    }
    Ok(text)
}

/// Writes a file that must not exist: nothing of the user's is overwritten.
async fn write_new(path: &Path, text: &str) -> Result<()> {
    use tokio::io::AsyncWriteExt;
    let failed = |error: &std::io::Error| {
        Error::new(ErrorKind::Other, format!("cannot write {}", path.display())).because(error)
    };
    let open = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .await;
    let mut file = open.map_err(|error| failed(&error))?;
    file.write_all(text.as_bytes()).await.map_err(|error| failed(&error))?;
    file.flush().await.map_err(|error| failed(&error))
}
