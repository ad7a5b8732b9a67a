//! A pod that should run: its sandbox, its volumes, and whichever containers are next.

use std::time::Duration;

use knarr_runtime::SandboxSpec;

use super::plan::{Plan, plan, restarts};
use super::state::{Reason, Role, State};
use super::uid;
use super::worker::{Happening, Running, Signal, Worker};
use crate::backoff;
use crate::container;
use crate::object::{self, Kind};
use crate::probe;

/// Containers that one step starts at most; a guard against a plan that never comes to an end.
const STARTS: usize = 1000;

impl Worker {
    /// Brings the pod forward as far as that goes without waiting.
    pub(super) async fn sync(&mut self) {
        if self.past_deadline() {
            return self.wind_up().await;
        }
        // A pod that was found with nothing left to restart needs no new sandbox to be told finished.
        if self.plan().finished {
            self.over = true;
            return self.wind_up().await;
        }
        if !self.sandbox().await || !self.mount().await {
            return;
        }
        for _ in 0..STARTS {
            if self.look_for_sandbox() {
                return;
            }
            let plan = self.plan();
            if plan.finished {
                self.over = true;
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
        self.over = true;
        true
    }

    /// Whether the sandbox has been lost with the runtime that made it.
    pub(super) fn look_for_sandbox(&mut self) -> bool {
        let epoch = self.runtime.borrow_and_update().epoch;
        let lost = self.state.sandbox && epoch != self.epoch;
        if lost {
            (self.state.sandbox, self.state.adopted) = (false, true);
        }
        lost
    }

    /// Makes the sandbox, if there is none. False when it must wait: for the runtime to be there, for the containers of a sandbox that was
    /// lost to be known to have ended, for the next try.
    async fn sandbox(&mut self) -> bool {
        if self.state.sandbox {
            return true;
        }
        let runtime = self.runtime.borrow_and_update().clone();
        if runtime.down.is_some() || !self.running.is_empty() {
            return false;
        }
        let now = self.cx.clock.now();
        if let Some(at) = self.sandbox_at.filter(|at| *at > now) {
            self.wake_at(at);
            return false;
        }
        let meta = &self.pod.metadata;
        let spec = SandboxSpec {
            id: uid(&self.pod).to_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            hostname: container::hostname(&self.pod),
            host_network: self
                .pod
                .spec
                .as_ref()
                .and_then(|spec| spec.host_network)
                .unwrap_or(false),
        };
        match self.cx.runtime.create_sandbox(spec).await {
            Ok(sandbox) => {
                if std::mem::take(&mut self.state.adopted) {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    self.cx.events.normal(self.about(), "SandboxChanged", message);
                    self.state.begin_anew();
                }
                self.state.sandbox = true;
                self.epoch = runtime.epoch;
                self.state.ip = Some(sandbox.ip);
                true
            }
            // It is down, which is told elsewhere and changes by itself.
            Err(_) if self.runtime.has_changed().unwrap_or(false) => false,
            Err(error) => {
                self.cx.events.warning(
                    self.about(),
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {error}"),
                );
                self.sandbox_retry.retried(now);
                let until = self.sandbox_retry.wait(now).map(|(_, until)| until);
                self.sandbox_at = until;
                until.into_iter().for_each(|at| self.wake_at(at));
                false
            }
        }
    }

    /// Sets the volumes up, and renews them when it is time. False when containers must wait for them.
    async fn mount(&mut self) -> bool {
        let now = self.cx.clock.now();
        let due = self.mount_at.map_or(!self.mounted, |at| at <= now);
        if !due {
            self.mount_at.into_iter().for_each(|at| self.wake_at(at));
            return self.mounted;
        }
        let place = self.cx.place(self.state.ip);
        let result = self.volumes.sync(&self.cx, &self.pod, &place).await;
        self.follow_objects(self.volumes.depends().iter().map(|key| key.kind).collect());
        match result {
            Ok(()) => {
                self.mounted = true;
                self.mount_at = self.volumes.refresh_at();
            }
            Err(failure) => {
                self.cx.events.warning(self.about(), "FailedMount", failure.message());
                self.mount_retry.retried(now);
                self.mount_at = self.mount_retry.wait(now).map(|(_, until)| until);
            }
        }
        self.mount_at.into_iter().for_each(|at| self.wake_at(at));
        self.mounted
    }

    /// Wants to be told of changed objects of these kinds from now on.
    pub(super) fn follow_objects(&mut self, kinds: Vec<Kind>) {
        for kind in kinds {
            let receiver = self.cx.objects.changes(kind);
            self.changes.get_or_insert(receiver);
        }
    }

    /// An object has changed, this one or any: whoever needs it tries again.
    pub(super) async fn object_changed(&mut self, changed: Option<object::Key>) {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        if changed.as_ref().is_some_and(|key| key.namespace != namespace) {
            return;
        }
        let mounted = changed.is_none_or(|key| self.volumes.depends().contains(&key));
        if mounted {
            self.mount_at = Some(self.cx.clock.now());
        }
        for container in &mut self.state.containers {
            let waiting =
                matches!(&container.state, State::Waiting(Some(why)) if why.reason == "CreateContainerConfigError");
            if waiting {
                container.retry_at = None;
            }
        }
    }

    /// Containers that have ended and wait for their restart.
    fn back_off(&mut self, plan: &Plan) {
        for (index, wait, until) in &plan.back_off {
            let pod = self.full_name();
            let container = &mut self.state.containers[*index];
            let name = container.name.clone();
            if let State::Ended(ended) = &container.state {
                container.last = Some(ended.clone());
            }
            let wait = backoff::go(*wait);
            container.state = State::Waiting(Some(Reason {
                reason: "CrashLoopBackOff".into(),
                message: format!("back-off {wait} restarting failed container={name} pod={pod}"),
            }));
            container.retry_at = Some(*until);
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
                container.running() && !container.stopping && image.is_some_and(|image| image != container.asked_image)
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
    pub(super) fn happened(&mut self, signal: Signal) {
        let Some(index) = self
            .state
            .containers
            .iter()
            .position(|container| container.name == signal.container)
        else {
            return;
        };
        let current = self
            .running
            .get(&signal.container)
            .is_some_and(|running| running.instance.id == signal.id);
        if !current {
            return; // an instance that is history
        }
        match signal.what {
            Happening::Exited(status) => self.exited(index, &status),
            Happening::Hook(Ok(())) => {
                self.state.containers[index].hook_pending = false;
                self.probe(index);
            }
            Happening::Hook(Err(message)) => {
                self.cx
                    .events
                    .warning(self.about_container(&signal.container), "FailedPostStartHook", message);
                let grace = self.grace();
                self.end(index, "FailedPostStartHook".into(), grace);
            }
            Happening::Probe(verdict) => self.probed(index, verdict),
        }
    }

    fn probed(&mut self, index: usize, verdict: probe::Verdict) {
        let (_, spec) = self.declared[index].clone();
        let container = &mut self.state.containers[index];
        match (verdict.kind, verdict.well) {
            (probe::Kind::Readiness, well) => container.ready = well,
            (probe::Kind::Startup, true) => {
                container.started = true;
                container.ready = spec.readiness_probe.is_none();
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
                let follows = container_restarts(self, index);
                let suffix = if follows { ", will be restarted" } else { "" };
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
        if matches!(role, Role::Init | Role::Ephemeral) || state.stopping {
            return;
        }
        let probes = if state.started {
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
            .accompany(probe::watch(target, kind, probe, move |verdict| {
                let what = Happening::Probe(verdict);
                let _ = tell.send(Signal {
                    container: name.clone(),
                    id: id.clone(),
                    what,
                }); // the worker is gone: nobody cares
            }));
    }

    /// Where probes find the pod.
    pub(super) fn probe_ip(&self) -> Option<std::net::IpAddr> {
        let host_network = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.host_network)
            .unwrap_or(false);
        if host_network {
            Some(self.cx.options.node_ip)
        } else {
            self.state.ip
        }
    }
}

/// Whether the container is started again after a failure.
fn container_restarts(worker: &Worker, index: usize) -> bool {
    let (role, spec) = &worker.declared[index];
    let failed = super::state::Ended {
        id: None,
        exit_code: 137,
        reason: String::new(),
        message: None,
        started_at: None,
        finished_at: worker.cx.clock.now(),
    };
    restarts(&worker.pod, spec, *role, &failed)
}
