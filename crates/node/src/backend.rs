//! What the API server asks of a node for its clients: logs, commands, attachments, connections.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_runtime::{ExecSpec, RuntimeError, Started};
use knarr_stream::backend::{
    Backend, BackendError, Duplex, ExecOptions, Exit, LogOptions, LogStream, NodeAnswer, NodeUsage, PodRef, Process,
    TerminalSize,
};
use tokio::sync::mpsc;

use crate::container::{self, Instance, attach};
use crate::kubelet::Kubelet;
use crate::log::{self, Reader};
use crate::mirror;
use crate::pod::Shown;
use crate::server;

/// Terminal sizes that may wait for the terminal.
const SIZES: usize = 8;

impl Kubelet {
    /// What clients may see of a container.
    fn shown(&self, pod: &PodRef, container: &str) -> Result<Shown, BackendError> {
        let key = (pod.namespace.clone(), pod.name.clone());
        let entry = self.cx.pods.get(&key).filter(|entry| entry.is(&pod.uid));
        let entry = entry.ok_or_else(|| BackendError::NotFound(format!("pods {:?} not found", pod.name)))?;
        let shown = entry.look(|live| live.containers.get(container).cloned());
        shown.ok_or_else(|| BackendError::NotFound(format!("container {container:?} in pod {:?} not found", pod.name)))
    }

    fn instance(&self, pod: &PodRef, container: &str) -> Result<Arc<Instance>, BackendError> {
        self.no_component(pod)?;
        let shown = self.shown(pod, container)?;
        shown
            .instance
            .ok_or_else(|| BackendError::NotFound(format!("container not found ({container:?})")))
    }

    /// There is no process to be found in a component of this process.
    fn no_component(&self, pod: &PodRef) -> Result<(), BackendError> {
        match mirror::component_log(&self.cx.options, &(pod.namespace.clone(), pod.name.clone())) {
            None => Ok(()),
            Some(_) => Err(BackendError::BadRequest(format!(
                "pod {:?} is a part of the control plane's own process: it has logs, but no container to run commands in or connect to",
                pod.name
            ))),
        }
    }
}

#[async_trait]
impl Backend for Kubelet {
    async fn logs(&self, pod: &PodRef, options: LogOptions) -> Result<LogStream, BackendError> {
        let now = self.cx.clock.now();
        let key = (pod.namespace.clone(), pod.name.clone());
        let name = &options.container;
        let absent = || {
            BackendError::BadRequest(format!(
                "previous terminated container {name:?} in pod {:?} not found",
                pod.name
            ))
        };
        if let Some(component) = mirror::component_log(&self.cx.options, &key) {
            return if options.previous {
                Err(absent())
            } else {
                Ok(log::chunks(component, &options, now))
            };
        }
        let shown = self.shown(pod, name)?;
        let log = if options.previous {
            shown.previous.ok_or_else(absent)?
        } else {
            let waiting = || {
                let reason = match shown.waiting.as_deref() {
                    Some("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull") => {
                        "trying and failing to pull image"
                    }
                    Some(reason) => reason,
                    None => "ContainerCreating",
                };
                BackendError::BadRequest(format!(
                    "container {name:?} in pod {:?} is waiting to start: {reason}",
                    pod.name
                ))
            };
            shown.current.ok_or_else(waiting)?
        };
        let reader = Reader::new(log, &options, now);
        Ok(reader
            .map_err(|error| BackendError::Internal(format!("failed to read the log: {error}")))?
            .into_stream())
    }

    async fn exec(&self, pod: &PodRef, options: ExecOptions) -> Result<Process, BackendError> {
        let instance = self.instance(pod, &options.container)?;
        let spec = ExecSpec {
            argv: options.command.clone(),
            tty: options.tty,
            stdin: options.stdin,
        };
        match self.cx.runtime.exec(&instance.id, spec).await {
            Ok(started) => Ok(process(started, &options)),
            // The client has been connected by the time it is told so.
            Err(error) => Ok(failed(exec_error(&error))),
        }
    }

    async fn attach(&self, pod: &PodRef, options: ExecOptions) -> Result<Process, BackendError> {
        let instance = self.instance(pod, &options.container)?;
        // kubectl then shows the log instead.
        if instance.has_fallen_silent() {
            return Err(BackendError::Internal(format!(
                "failed to attach to container {:?}: container is in CONTAINER_EXITED state",
                options.container
            )));
        }
        Ok(attach(&instance, &options))
    }

    async fn node(&self, path: &str) -> Result<NodeAnswer, BackendError> {
        server::answer(&self.cx, path).await
    }

    async fn usage(&self) -> Result<NodeUsage, BackendError> {
        Ok(server::usage(&self.cx).await)
    }

    async fn dial(&self, pod: &PodRef, port: u16) -> Result<Duplex, BackendError> {
        self.no_component(pod)?;
        let key = (pod.namespace.clone(), pod.name.clone());
        let entry = self.cx.pods.get(&key).filter(|entry| entry.is(&pod.uid));
        let entry = entry.ok_or_else(|| BackendError::NotFound(format!("pods {:?} not found", pod.name)))?;
        let sandbox = entry.look(|live| live.sandbox.clone());
        let sandbox = sandbox.ok_or_else(|| BackendError::BadRequest(format!("pod {:?} is not running", pod.name)))?;
        match self.cx.runtime.dial(&sandbox, port).await {
            Ok(connection) => Ok(Box::new(connection)),
            Err(RuntimeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                Err(BackendError::Internal(format!(
                    "failed to connect to localhost:{port} inside namespace {:?}, IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused",
                    pod.uid
                )))
            }
            Err(error) => Err(BackendError::Internal(format!(
                "failed to connect to port {port}: {error}"
            ))),
        }
    }
}

fn exec_error(error: &RuntimeError) -> String {
    match error {
        RuntimeError::NoSuchProgram(text) => format!(
            "error executing command in container: failed to exec in container: failed to start exec {:?}: \
             OCI runtime exec failed: exec failed: unable to start container process: {text}: unknown",
            // As containerd names each command; nothing can be done with it.
            container::new_id("", "", rand::random())
        ),
        other => format!("error executing command in container: {other}"),
    }
}

/// A started command as the client sees it.
fn process(started: Started, options: &ExecOptions) -> Process {
    let resize = started.resize.map(|resize| {
        let (sender, mut sizes) = mpsc::channel::<TerminalSize>(SIZES);
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                resize(size.width, size.height);
            }
        });
        sender
    });
    let exit = started.exit;
    Process {
        stdin: started
            .stdin
            .filter(|_| options.stdin)
            .map(|writer| Box::pin(writer) as _),
        stdout: Some(Box::pin(started.stdout) as _).filter(|_| options.stdout || options.tty),
        stderr: started
            .stderr
            .filter(|_| options.stderr)
            .map(|reader| Box::pin(reader) as _),
        resize,
        exit: Box::pin(async move { Exit::Code(exit.await.code) }),
    }
}

fn failed(message: String) -> Process {
    Process {
        stdin: None,
        stdout: None,
        stderr: None,
        resize: None,
        exit: Box::pin(std::future::ready(Exit::Failed(message))),
    }
}
