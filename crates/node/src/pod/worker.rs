//! One pod's worker: the task that makes the pod be what it should be.
//!
//! It sleeps until something happens: the object changes, a process ends, a probe or a hook has a result, a mounted
//! object changes, or a time comes that an earlier step has asked for. Then it takes one step: it works out what is to be
//! done from what it knows, does it, and reports the status if that has changed. No step waits for a container.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, PodStatus};
use knarr_image::{Image, Lease};
use knarr_runtime::{ExitStatus, RuntimeStatus};
use tokio::sync::{broadcast, mpsc, watch};

use super::evict;
use super::host_port::HostPorts;
use super::registry::{Desired, Entry, Live, Shown};
use super::state::{self, PodState, Ran, Role, Sandbox, State};
use super::{key, uid};
use crate::backoff::{self, Backoff};
use crate::container::{Instance, Stop};
use crate::context::Context;
use crate::image::{Found, Unusable};
use crate::log::ContainerLog;
use crate::object;
use crate::probe::ProbeResult;
use crate::status::{self, Reporter};
use crate::volume::Volumes;

/// What happens to a container.
#[derive(Debug)]
pub(super) enum PodLifecycleEvent {
    ContainerDied(ExitStatus),
    /// `postStart` has ended; `Err` is the message for people.
    PostStart(Result<(), String>),
    Probed(ProbeResult),
    /// Its image, whose reference stands for an instance, has come or has not.
    Pulled(Result<Found, Unusable>),
}

/// Something that happened, and to which instance of which container.
#[derive(Debug)]
pub(super) struct ContainerEvent {
    pub(super) container: String,
    pub(super) id: String,
    pub(super) what: PodLifecycleEvent,
}

/// What a worker is at, by the kubelet's names.
#[expect(clippy::enum_variant_names, reason = "the kubelet's names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Making the pod run.
    SyncPod,
    /// The pod is over: nothing is started any more, and what runs is ended.
    TerminatingPod,
    /// Nothing is left of it here, and its object may go.
    TerminatedPod,
}

/// Something that is tried again after a growing wait.
pub(super) struct Attempt {
    pub(super) done: bool,
    pub(super) backoff: Backoff,
    /// When it is due again.
    pub(super) at: Option<Timestamp>,
}

impl Attempt {
    fn new(first: Duration, longest: Duration) -> Self {
        Self {
            done: false,
            backoff: Backoff::new(first, longest),
            at: None,
        }
    }

    /// It has failed, and is due again after a wait.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.backoff.retried(now);
        self.at = self.backoff.wait(now).map(|(_, until)| until);
    }
}

/// A running container's handles.
pub(super) struct Running {
    pub(super) instance: Arc<Instance>,
    pub(super) termination_file: PathBuf,
    pub(super) started: tokio::time::Instant,
    pub(super) stop: Option<Stop>,
    /// What it was made of.
    pub(super) image: Arc<Image>,
    pub(super) _lease: Option<Lease>,
}

/// The logs that are kept of a container.
#[derive(Clone, Default)]
pub(super) struct Logs {
    pub(super) current: Option<Arc<ContainerLog>>,
    pub(super) before: Option<Arc<ContainerLog>>,
}

/// Whether the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    Done,
}

/// One pod's worker.
pub(super) struct Worker {
    pub(super) cx: Arc<Context>,
    pub(super) desired: watch::Receiver<Desired>,
    pub(super) live: Arc<Mutex<Live>>,
    pub(super) pod: Arc<Pod>,
    /// The object to report to.
    pub(super) api: Option<Arc<Pod>>,
    pub(super) declared: Vec<(Role, Container)>,
    pub(super) state: PodState,
    pub(super) running: HashMap<String, Running>,
    pub(super) logs: HashMap<String, Logs>,
    /// Images that have been pulled for containers that have not been started since.
    pub(super) pulled: HashMap<String, Result<Found, Unusable>>,
    pub(super) volumes: Volumes,
    /// Setting up the volumes.
    pub(super) mount: Attempt,
    /// Making the sandbox.
    pub(super) sandbox: Attempt,
    pub(super) host_ports: HostPorts,
    pub(super) changes: Option<broadcast::Receiver<object::Key>>,
    /// The objects that its volumes show.
    pub(super) followed: Vec<Arc<object::Follow>>,
    pub(super) runtime: watch::Receiver<RuntimeStatus>,
    /// The status computed last.
    pub(super) status: PodStatus,
    pub(super) reporter: Reporter,
    pub(super) tell: mpsc::UnboundedSender<ContainerEvent>,
    pub(super) events: mpsc::UnboundedReceiver<ContainerEvent>,
    pub(super) work: Work,
    /// Since when its containers are being ended: all of them share one grace period.
    pub(super) terminating: Option<tokio::time::Instant>,
    /// When its volumes are to be measured next.
    pub(super) measure_at: Option<Timestamp>,
    /// The next time to look by itself.
    pub(super) wake: Option<Timestamp>,
}

/// Starts the worker of a pod and lists it. For a static pod, `api` is its mirror.
pub(crate) fn spawn(cx: &Arc<Context>, pod: Arc<Pod>, api: Option<Arc<Pod>>) {
    let (sender, desired) = watch::channel(Desired {
        pod: Some(pod.clone()),
        api: api.clone(),
    });
    let live = Arc::new(Mutex::new(Live::default()));
    let entry = Entry {
        uid: uid(&pod).to_owned(),
        desired: sender,
        live: live.clone(),
    };
    let (tell, events) = mpsc::unbounded_channel();
    // What the mirror tells is a static pod's history.
    let history = api.as_deref().unwrap_or(&pod);
    let with_status = Pod {
        status: history.status.clone(),
        ..(*pod).clone()
    };
    let state = state::first_seen(&with_status, cx.clock.now_seconds());
    let status = history.status.clone().unwrap_or_default();
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let mut worker = Worker {
        cx: cx.clone(),
        desired,
        live,
        declared: state::declared(&pod),
        pod: pod.clone(),
        api,
        state,
        running: HashMap::new(),
        logs: HashMap::new(),
        pulled: HashMap::new(),
        volumes: Volumes::default(),
        mount: Attempt::new(Duration::from_millis(500), Duration::from_secs(122)),
        sandbox: Attempt::new(Duration::from_secs(1), Duration::from_secs(60)),
        host_ports: HostPorts::default(),
        changes: None,
        followed: Vec::new(),
        runtime: cx.runtime.status(),
        reporter: cx.reporter(status.clone()),
        status,
        tell,
        events,
        work: if over { Work::TerminatingPod } else { Work::SyncPod },
        terminating: None,
        measure_at: None,
        wake: None,
    };
    worker.find_logs();
    worker.show();
    cx.pods.insert(key(&pod), entry);
    cx.workers
        .spawn(cx.shutdown.clone().run_until_cancelled_owned(worker.run()));
}

impl Worker {
    async fn run(mut self) {
        if self.state.start_time.is_none() {
            self.state.start_time = Some(self.cx.clock.now_seconds());
        }
        let stopping = self.cx.stopping.clone();
        let (mut leaving, mut forgotten) = (false, false);
        // That the node has taken the pod is news before anything is done for it.
        self.report();
        loop {
            self.wake = None;
            let flow = self.step().await;
            self.show();
            if flow == Flow::Done {
                return;
            }
            self.report();
            let wake = self.wake.map(|at| backoff::until(self.cx.clock.now(), at));
            tokio::select! {
                changed = self.desired.changed(), if !forgotten => match changed {
                    Ok(()) => self.update(),
                    // Another pod has taken the name: nothing more will be told.
                    Err(_) => forgotten = true,
                },
                Some(event) = self.events.recv() => self.happened(event),
                changed = changed(&mut self.changes) => self.object_changed(changed),
                Ok(()) = self.runtime.changed() => {}
                () = sleep(wake) => {}
                () = stopping.cancelled(), if !leaving => leaving = true,
            }
            // What has come in the meantime belongs into the same step and the same report.
            while let Ok(event) = self.events.try_recv() {
                self.happened(event);
            }
        }
    }

    /// One step. Everything it decides, it decides from the present state.
    async fn step(&mut self) -> Flow {
        self.look_for_sandbox();
        if self.desired.borrow().pod.is_none() {
            return self.vanish().await;
        }
        if self.cx.stopping.is_cancelled() {
            return self.leave().await;
        }
        if self.pod.metadata.deletion_timestamp.is_some() {
            self.delete().await;
        } else if self.work == Work::SyncPod {
            self.sync().await;
        } else {
            self.wind_up().await;
        }
        Flow::On
    }

    /// Takes over what the object says now.
    fn update(&mut self) {
        let desired = self.desired.borrow_and_update().clone();
        let Some(pod) = desired.pod else {
            return;
        };
        let mirror_replaced = self.api.as_deref().map(uid) != desired.api.as_deref().map(uid);
        if mirror_replaced {
            let status = desired.api.as_ref().and_then(|api| api.status.clone());
            self.status = status.unwrap_or_default();
            self.reporter = self.cx.reporter(self.status.clone());
        }
        self.api = desired.api;
        if self.pod.metadata.labels != pod.metadata.labels || self.pod.metadata.annotations != pod.metadata.annotations
        {
            self.mount.at = Some(self.cx.clock.now());
        }
        let old_grace = self.pod.metadata.deletion_grace_period_seconds;
        self.pod = pod;
        self.declared = state::declared(&self.pod);
        for (role, container) in &self.declared {
            if !self.state.containers.iter().any(|known| known.name == container.name) {
                self.state
                    .containers
                    .push(state::ContainerState::new(&container.name, *role));
            }
        }
        self.definition_changes();
        if old_grace.is_some() && old_grace != self.pod.metadata.deletion_grace_period_seconds {
            let grace = self.grace();
            self.running
                .values()
                .filter_map(|running| running.stop.as_ref())
                .for_each(|stop| stop.hasten(grace));
        }
    }

    /// Has the status reported, if it has changed.
    pub(super) fn report(&mut self) {
        let Some(api) = self.api.clone() else {
            return;
        };
        let node = status::Node {
            host_ip: self.cx.options.node_ip,
            scheme: self.cx.scheme(),
        };
        let previous = status::previous(&self.status, &api);
        let now = self.cx.clock.now_seconds();
        // A static pod is told of by its mirror.
        let pod = if Arc::ptr_eq(&api, &self.pod) {
            api.clone()
        } else {
            Arc::new(Pod {
                metadata: api.metadata.clone(),
                ..(*self.pod).clone()
            })
        };
        let status = status::compute(&pod, &self.declared, &self.state, &previous, &node, now);
        let finished = self.work == Work::TerminatedPod;
        if status != self.status || finished {
            self.status = status.clone();
            self.reporter.set(api, status, finished);
        }
    }

    /// Makes logs and processes visible to clients.
    pub(super) fn show(&self) {
        let containers = self.state.containers.iter().map(|container| {
            let logs = self.logs.get(&container.name).cloned().unwrap_or_default();
            let waiting = match &container.state {
                State::Waiting(reason) => Some(
                    reason
                        .as_ref()
                        .map_or("ContainerCreating", |why| &why.reason)
                        .to_owned(),
                ),
                _ => None,
            };
            // An instance that has ended and is to be followed by another is what `lastState` tells of.
            let followed = matches!(container.state, State::Waiting(_)) && container.last.is_some();
            let shown = Shown {
                instance: self
                    .running
                    .get(&container.name)
                    .map(|running| running.instance.clone()),
                waiting,
                previous: if followed { logs.current.clone() } else { logs.before },
                current: logs.current,
            };
            (container.name.clone(), shown)
        });
        let fresh = Live {
            sandbox: matches!(self.state.sandbox, Sandbox::Ready { .. }).then(|| uid(&self.pod).to_owned()),
            containers: containers.collect(),
        };
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// The logs of instances from before this process.
    fn find_logs(&mut self) {
        let (namespace, name) = key(&self.pod);
        let dir = self.cx.log_dir(&namespace, &name, uid(&self.pod));
        for container in self
            .state
            .containers
            .iter()
            .filter(|container| container.ran != Ran::Never)
        {
            let open = |attempt: i32| {
                let attempt = u32::try_from(attempt).ok()?;
                ContainerLog::open(&dir.join(&container.name), attempt, self.cx.clock.clone())
            };
            let logs = Logs {
                current: open(container.restarts),
                before: open(container.restarts - 1),
            };
            self.logs.insert(container.name.clone(), logs);
        }
    }

    /// Asks for another step at this time at the latest.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// A reference to the pod as people know it.
    pub(super) fn about(&self) -> ObjectReference {
        super::reference(self.api.as_deref().unwrap_or(&self.pod), None)
    }

    /// A reference to one of its containers.
    pub(super) fn about_container(&self, name: &str) -> ObjectReference {
        let role = self
            .state
            .containers
            .iter()
            .find(|container| container.name == name)
            .map(|container| container.role);
        let list = match role {
            Some(Role::Init | Role::Sidecar) => "initContainers",
            Some(Role::Ephemeral) => "ephemeralContainers",
            _ => "containers",
        };
        let path = format!("spec.{list}{{{name}}}");
        super::reference(self.api.as_deref().unwrap_or(&self.pod), Some(path))
    }

    /// How long containers may take to end.
    pub(super) fn grace(&self) -> Duration {
        if self.evicted() {
            return evict::GRACE;
        }
        let spec = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = self.pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

/// The object that changed; `None` when it may be any.
async fn changed(changes: &mut Option<broadcast::Receiver<object::Key>>) -> Option<object::Key> {
    match changes {
        Some(receiver) => match receiver.recv().await {
            Ok(key) => Some(key),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
