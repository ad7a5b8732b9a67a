//! A pod that should run: its sandbox, its volumes, and whichever containers are next.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;

use super::host_port::HostPorts;
use super::plan::{Plan, plan, restarts};
use super::state::{Ended, Role, Sandbox, Startup, State};
use super::uid;
use super::worker::{ContainerEvent, PodLifecycleEvent, Running, Work, Worker};
use crate::backoff;
use crate::container;
use crate::context::Context;
use crate::image;
use crate::object;
use crate::probe;

/// Containers that one step starts at most; a guard against a plan that never comes to an end.
const STARTS: usize = 1000;

const CRASH_LOOP: &str = "CrashLoopBackOff";
/// How often it is told that a container still waits for its restart: upstream's `syncFrequency`.
const RESYNC: Duration = Duration::from_secs(60);

impl Worker {
    /// Brings the pod forward as far as that goes without waiting.
    pub(super) async fn sync(&mut self) {
        if self.past_deadline() {
            return self.wind_up().await;
        }
        // A pod that was found with nothing left to restart needs no new sandbox to be told finished.
        if self.plan().finished {
            self.work = Work::TerminatingPod;
            return self.wind_up().await;
        }
        if !self.sandbox().await || !self.mount().await {
            if self.work == Work::TerminatingPod {
                self.wind_up().await;
            }
            return;
        }
        if self.over_size_limit().await {
            return self.wind_up().await;
        }
        if !self.plan().start.is_empty() {
            self.look_for_pull_secrets().await;
        }
        for _ in 0..STARTS {
            if self.look_for_sandbox() {
                return;
            }
            let plan = self.plan();
            if plan.finished {
                self.work = Work::TerminatingPod;
                return self.wind_up().await;
            }
            self.back_off(&plan);
            let Some(first) = plan.start.first() else {
                if let Some(at) = plan.wake {
                    self.wake_at(at);
                }
                return;
            };
            self.launch(*first).await;
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.pod, &self.declared, &self.state.containers, self.cx.clock.now())
    }

    /// `activeDeadlineSeconds` has passed, and the pod has failed.
    fn past_deadline(&mut self) -> bool {
        let deadline = self.pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
        let (Some(deadline), Some(start)) = (deadline.and_then(|s| u64::try_from(s).ok()), self.state.start_time)
        else {
            return false;
        };
        let at = backoff::add(start, Duration::from_secs(deadline));
        if self.cx.clock.now() < at {
            self.wake_at(at);
            return false;
        }
        let message = "Pod was active on the node longer than the specified deadline";
        self.cx.events.normal(self.about(), "DeadlineExceeded", message);
        self.state.failed = Some(("DeadlineExceeded".into(), message.into()));
        self.work = Work::TerminatingPod;
        true
    }

    /// Whether the sandbox has been lost with the runtime that made it.
    pub(super) fn look_for_sandbox(&mut self) -> bool {
        let present = self.runtime.borrow_and_update().epoch;
        let lost = matches!(self.state.sandbox, Sandbox::Ready { epoch } if epoch != present);
        if lost {
            self.state.sandbox = Sandbox::Lost;
            self.host_ports = HostPorts::default();
        }
        lost
    }

    /// Makes the sandbox, if there is none. False when it must wait: for the runtime to be there, for the containers of a sandbox that was
    /// lost to be known to have ended, for the next try.
    async fn sandbox(&mut self) -> bool {
        if matches!(self.state.sandbox, Sandbox::Ready { .. }) {
            return true;
        }
        let runtime = self.runtime.borrow_and_update().clone();
        if runtime.down.is_some() || !self.running.is_empty() {
            return false;
        }
        let now = self.cx.clock.now();
        if let Some(at) = self.sandbox.at.filter(|at| *at > now) {
            self.wake_at(at);
            return false;
        }
        let spec = match container::sandbox(&self.pod, self.cx.runtime.mode()) {
            Ok(mut spec) => {
                // It is the node's network, and the node's name in it.
                if spec.host_network {
                    spec.hostname.clone_from(&self.cx.options.node_name);
                }
                spec
            }
            Err(rejected) => {
                self.cx
                    .events
                    .warning(self.about(), rejected.reason, rejected.message.clone());
                self.state.failed = Some((rejected.reason.into(), rejected.message));
                self.work = Work::TerminatingPod;
                return false;
            }
        };
        if let Err(why) = runtime_class(&self.cx, &self.pod).await {
            return self.no_sandbox(&why);
        }
        match self.cx.runtime.create_sandbox(spec).await {
            Ok(sandbox) => {
                if self.state.sandbox == Sandbox::Lost {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    self.cx.events.normal(self.about(), "SandboxChanged", message);
                    self.state.begin_anew();
                }
                self.state.sandbox = Sandbox::Ready { epoch: runtime.epoch };
                self.state.ip = Some(sandbox.ip);
                self.host_ports = HostPorts::open(&self.cx, &self.pod, self.about(), sandbox.ip).await;
                true
            }
            // It is down, which is told elsewhere and changes by itself.
            Err(_) if self.runtime.has_changed().unwrap_or(false) => false,
            Err(error) => self.no_sandbox(&error.to_string()),
        }
    }

    /// Tells why there is no sandbox, and tries again later.
    fn no_sandbox(&mut self, why: &str) -> bool {
        let message = format!("Failed to create pod sandbox: {why}");
        self.cx.events.warning(self.about(), "FailedCreatePodSandBox", message);
        self.sandbox.failed(self.cx.clock.now());
        self.sandbox.at.into_iter().for_each(|at| self.wake_at(at));
        false
    }

    /// Sets the volumes up, and renews them when it is time. False when containers must wait for them.
    async fn mount(&mut self) -> bool {
        let now = self.cx.clock.now();
        let due = self.mount.at.map_or(!self.mount.done, |at| at <= now);
        if !due {
            self.mount.at.into_iter().for_each(|at| self.wake_at(at));
            return self.mount.done;
        }
        let place = self.cx.place(self.state.ip);
        let result = self.volumes.sync(&self.cx, &self.pod, &place).await;
        self.followed = self.cx.objects.follow(self.volumes.depends());
        if !self.followed.is_empty() && self.changes.is_none() {
            self.changes = Some(self.cx.objects.changes());
        }
        match result {
            Ok(()) => {
                self.mount.done = true;
                self.mount.at = self.volumes.refresh_at();
            }
            Err(failure) => {
                self.cx.events.warning(self.about(), "FailedMount", failure.message());
                self.mount.failed(now);
            }
        }
        self.mount.at.into_iter().for_each(|at| self.wake_at(at));
        self.mount.done
    }

    /// Says which secrets for pulling images are not there. What they would be good for may work without.
    async fn look_for_pull_secrets(&self) {
        let (_, missing) = image::keyring(&self.cx, &self.pod).await;
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.cx
                .events
                .warning(self.about(), "FailedToRetrieveImagePullSecret", message);
        }
    }

    /// An object has changed, this one or any: volumes that need it are renewed. A container that could not be created for want of it is tried
    /// again in its time.
    pub(super) fn object_changed(&mut self, changed: Option<object::Key>) {
        if changed.is_none_or(|key| self.volumes.depends().contains(&key)) {
            self.mount.at = Some(self.cx.clock.now());
        }
    }

    /// Containers that have ended and wait for their restart. That they do is told at first, and again from time to time.
    fn back_off(&mut self, plan: &Plan) {
        let (now, pod) = (self.cx.clock.now(), self.full_name());
        for (index, wait, until) in &plan.back_off {
            let container = &mut self.state.containers[*index];
            let name = &container.name;
            let wait = backoff::go(*wait);
            let message = format!("back-off {wait} restarting failed container={name} pod={pod}");
            container.wait(CRASH_LOOP, message);
            container.retry_at = Some(*until);
            container.remind_at = Some(now);
        }
        for index in 0..self.state.containers.len() {
            let container = &mut self.state.containers[index];
            let waiting = matches!(&container.state, State::Waiting(Some(why)) if why.reason == CRASH_LOOP);
            let Some(at) = container.remind_at.filter(|_| waiting) else {
                continue;
            };
            if at > now {
                self.wake_at(at);
                continue;
            }
            let next = backoff::add(now, backoff::jitter(RESYNC));
            container.remind_at = Some(next);
            let name = container.name.clone();
            self.wake_at(next);
            let message = format!("Back-off restarting failed container {name} in pod {pod}");
            self.cx.events.warning(self.about_container(&name), "BackOff", message);
        }
    }

    /// `web_default(UID)`.
    pub(super) fn full_name(&self) -> String {
        let pod = self.api.as_deref().unwrap_or(&self.pod);
        let (namespace, name) = super::key(pod);
        format!("{name}_{namespace}({})", uid(pod))
    }

    /// A container whose definition has changed is started anew, whatever the restart policy.
    pub(super) fn definition_changes(&mut self) {
        let changed: Vec<usize> = (0..self.state.containers.len())
            .filter(|index| {
                let container = &self.state.containers[*index];
                let image = self.declared.get(*index).and_then(|(_, spec)| spec.image.as_deref());
                container.instance().is_some_and(|instance| !instance.stopping)
                    && image.is_some_and(|image| image != container.asked_image)
            })
            .collect();
        for index in changed {
            let name = self.state.containers[index].name.clone();
            self.state.containers[index].again = true;
            let grace = self.grace();
            self.end(
                index,
                format!("Container {name} definition changed, will be restarted"),
                grace,
            );
        }
    }

    /// Takes in what has happened to a container.
    pub(super) fn happened(&mut self, event: ContainerEvent) {
        let Some(index) = self
            .state
            .containers
            .iter()
            .position(|container| container.name == event.container)
        else {
            return;
        };
        if let PodLifecycleEvent::Pulled(pulled) = event.what {
            self.state.containers[index].pulling = false;
            // Another image may have been asked for in the meantime.
            if self.declared[index].1.image.as_deref() == Some(event.id.as_str()) {
                self.pulled.insert(event.container, pulled);
            }
            return;
        }
        let current = self
            .running
            .get(&event.container)
            .is_some_and(|running| running.instance.id == event.id);
        if !current {
            return; // an instance that is history
        }
        match event.what {
            PodLifecycleEvent::ContainerDied(status) => self.exited(index, &status),
            PodLifecycleEvent::PostStart(Ok(())) => {
                let (role, spec) = &self.declared[index];
                let startup = startup(*role, spec);
                if let Some(instance) = self.state.containers[index].instance_mut() {
                    instance.startup = startup;
                }
                self.probe(index);
            }
            PodLifecycleEvent::PostStart(Err(message)) => {
                if let Some(instance) = self.state.containers[index].instance_mut() {
                    instance.startup = Startup::PostStartFailed(message);
                }
                // What the hook has said may be secret, and events are read by many.
                let about = self.about_container(&event.container);
                self.cx
                    .events
                    .warning(about, "FailedPostStartHook", "PostStartHook failed");
                let grace = self.grace();
                self.end(index, "FailedPostStartHook".into(), grace);
            }
            PodLifecycleEvent::Probed(result) => self.probed(index, result),
            PodLifecycleEvent::Pulled(_) => {} // above
        }
    }

    fn probed(&mut self, index: usize, result: probe::ProbeResult) {
        let (_, spec) = self.declared[index].clone();
        let Some(instance) = self.state.containers[index].instance_mut() else {
            return;
        };
        match (result.kind, result.success) {
            (probe::Kind::Readiness, success) => {
                if let Startup::Started { ready } = &mut instance.startup {
                    *ready = success;
                }
            }
            (probe::Kind::Startup, true) => {
                let ready = spec.readiness_probe.is_none();
                instance.startup = Startup::Started { ready };
                self.probe(index);
            }
            (probe::Kind::Liveness, true) => {}
            (kind, false) => {
                let (word, probe) = match kind {
                    probe::Kind::Startup => ("startup", &spec.startup_probe),
                    _ => ("liveness", &spec.liveness_probe),
                };
                let own = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
                let grace = own
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map(Duration::from_secs);
                let grace = grace.unwrap_or_else(|| self.grace());
                let killed = Ended::killed(self.cx.clock.now());
                let suffix = if self.follows(index, &killed) {
                    ", will be restarted"
                } else {
                    ""
                };
                self.end(
                    index,
                    format!("Container {} failed {word} probe{suffix}", spec.name),
                    grace,
                );
            }
        }
    }

    /// Starts the probes that are due: the startup probe first, the others when it has succeeded.
    pub(super) fn probe(&mut self, index: usize) {
        let (role, spec) = self.declared[index].clone();
        let state = &self.state.containers[index];
        let Some(running) = self.running.get(&state.name) else {
            return;
        };
        if matches!(role, Role::Init | Role::Ephemeral) || state.instance().is_none_or(|instance| instance.stopping) {
            return;
        }
        let probes = if state.started() {
            vec![
                (probe::Kind::Liveness, spec.liveness_probe.clone()),
                (probe::Kind::Readiness, spec.readiness_probe.clone()),
            ]
        } else {
            vec![(probe::Kind::Startup, spec.startup_probe.clone())]
        };
        for (kind, probe) in probes {
            let Some(probe) = probe else {
                continue;
            };
            self.accompany(running, kind, probe, &spec);
        }
    }

    fn accompany(
        &self,
        running: &Running,
        kind: probe::Kind,
        probe: k8s_openapi::api::core::v1::Probe,
        spec: &k8s_openapi::api::core::v1::Container,
    ) {
        let id = running.instance.id.clone();
        let target = probe::Target {
            cx: self.cx.clone(),
            id: id.clone(),
            container: spec.clone(),
            about: self.about_container(&spec.name),
            pod_ip: self.probe_ip(),
            started: running.started,
        };
        let (tell, name) = (self.tell.clone(), spec.name.clone());
        running
            .instance
            .accompany(probe::watch(target, kind, probe, move |result| {
                let what = PodLifecycleEvent::Probed(result);
                let _ = tell.send(ContainerEvent {
                    container: name.clone(),
                    id: id.clone(),
                    what,
                }); // the worker is gone: nobody cares
            }));
    }

    /// Whether the container is started again after this end.
    pub(super) fn follows(&self, index: usize, ended: &Ended) -> bool {
        let (role, spec) = &self.declared[index];
        self.state.containers[index].again || restarts(&self.pod, spec, *role, ended)
    }

    /// Where probes find the pod.
    pub(super) fn probe_ip(&self) -> Option<std::net::IpAddr> {
        if container::on_host_network(&self.pod) {
            Some(self.cx.options.node_ip)
        } else {
            self.state.ip
        }
    }
}

/// How far an instance is when its hook, if it has one, has succeeded.
pub(super) fn startup(role: Role, spec: &Container) -> Startup {
    let probed = !matches!(role, Role::Init | Role::Ephemeral);
    if probed && spec.startup_probe.is_some() {
        return Startup::Probing;
    }
    Startup::Started {
        ready: !probed || spec.readiness_probe.is_none(),
    }
}

/// The one handler of this node's runtime.
const HANDLER: &str = "knarr";

/// Refuses a pod whose class asks for another runtime than this node has.
async fn runtime_class(cx: &Context, pod: &Pod) -> Result<(), String> {
    let name = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let class = Api::<RuntimeClass>::all(cx.client.clone()).get(name).await;
    match class {
        Ok(class) if class.handler == HANDLER => Ok(()),
        Ok(class) => Err(format!(
            "failed to get sandbox runtime: no runtime for {:?} is configured",
            class.handler
        )),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => Err(error.to_string()),
    }
}
