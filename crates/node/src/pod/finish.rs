//! Ends: of a container, of a pod that is over, of a pod that is deleted, of one that has vanished, and of the kubelet.

use std::time::Duration;

use knarr_runtime::ExitStatus;
use tokio::time::Instant as Moment;

use super::host_port::HostPorts;
use super::state::{Ended, Instance, POST_START_ERROR, Role, Sandbox, Startup, State};
use super::worker::{Flow, Work, Worker};
use super::{key, uid};
use crate::backoff;
use crate::container;
use crate::volume;

/// What containers get when the kubelet stops, however long they may take otherwise.
const LEAVING: Duration = Duration::from_secs(5);

/// What those get at least whose turn comes when the pod's grace period is nearly over.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// After a failed hook it is first told that it failed.
const HOOK_FAILED: Duration = Duration::from_secs(1);

impl Worker {
    /// Begins to end a container, and says why.
    pub(super) fn end(&mut self, index: usize, message: String, grace: Duration) {
        let (_, spec) = self.declared[index].clone();
        let (pod, ip) = (self.api.clone().unwrap_or_else(|| self.pod.clone()), self.probe_ip());
        let about = self.about_container(&spec.name);
        let Some(running) = self
            .running
            .get_mut(&spec.name)
            .filter(|running| running.stop.is_none())
        else {
            return;
        };
        self.cx.events.normal(about, "Killing", message);
        let own = spec
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.stop_signal.clone());
        let image = &running.image.config.stop_signal;
        let signal = container::signal_number(own.as_ref().unwrap_or(image));
        let instance = running.instance.clone();
        running.stop = Some(container::stop(self.cx.clone(), pod, spec, instance, signal, grace, ip));
        if let Some(instance) = self.state.containers[index].instance_mut() {
            instance.stopping = true;
        }
    }

    /// Ends what runs: everything that is no sidecar first, then the sidecars, last started first. They share the pod's grace period; what
    /// comes late gets a little of its own.
    fn end_all(&mut self) {
        let since = *self.terminating.get_or_insert_with(Moment::now);
        let grace = match self.grace() {
            Duration::ZERO => Duration::ZERO,
            grace => grace.saturating_sub(since.elapsed()).max(LEAST_GRACE),
        };
        let running = |index: &usize| self.state.containers[*index].running();
        let indexes: Vec<usize> = (0..self.state.containers.len()).filter(running).collect();
        let sidecar = |index: &usize| self.state.containers[*index].role == Role::Sidecar;
        let mut turn: Vec<usize> = indexes.iter().copied().filter(|index| !sidecar(index)).collect();
        if turn.is_empty() {
            turn.extend(indexes.last());
        }
        for index in turn {
            let name = &self.state.containers[index].name;
            let message = format!("Stopping container {name}");
            self.end(index, message, grace);
        }
    }

    /// An instance has ended.
    pub(super) fn exited(&mut self, index: usize, exit: &ExitStatus) {
        let (_, spec) = &self.declared[index];
        let Some(running) = self.running.remove(&spec.name) else {
            return;
        };
        let last = self.state.containers[index].instance().cloned();
        let reason = match exit {
            ExitStatus { oom_killed: true, .. } => "OOMKilled",
            ExitStatus { code: 0, .. } => "Completed",
            _ => "Error",
        };
        let instance = &running.instance;
        let ended = Ended {
            id: Some(format!("{}://{}", self.cx.scheme(), instance.id)),
            exit_code: exit.code,
            reason: reason.into(),
            message: container::termination_message(&running.termination_file, spec, exit, &instance.log),
            started_at: last.as_ref().map(|instance| instance.since),
            finished_at: self.cx.clock.now_seconds(),
        };
        let id = instance.id.clone();
        self.discard(id);
        let again = self.follows(index, &ended);
        let now = self.cx.clock.now();
        let state = &mut self.state.containers[index];
        state.state = State::Ended(ended);
        if let Some(Instance {
            startup: Startup::PostStartFailed(message),
            ..
        }) = last
            && again
        {
            state.wait(POST_START_ERROR, message);
            state.retry_at = Some(backoff::add(now, HOOK_FAILED));
        }
    }

    /// The pod is over: what still runs is ended, and the sandbox goes. Logs and the object stay.
    pub(super) async fn wind_up(&mut self) {
        if self.running.is_empty() {
            self.remove_sandbox().await;
        } else {
            self.end_all();
        }
    }

    async fn remove_sandbox(&mut self) {
        if !matches!(std::mem::take(&mut self.state.sandbox), Sandbox::Ready { .. }) {
            return;
        }
        self.host_ports = HostPorts::default();
        if let Err(error) = self.cx.runtime.remove_sandbox(uid(&self.pod)).await {
            tracing::warn!(pod = %self.full_name(), %error, "sandbox not removed");
        }
    }

    /// The pod is deleted: its containers are ended, then the API server is told that it may forget the pod.
    pub(super) async fn delete(&mut self) {
        if !self.running.is_empty() {
            return self.end_all();
        }
        self.remove_sandbox().await;
        self.work = Work::TerminatedPod;
    }

    /// The object is gone: so is the pod, without delay.
    pub(super) async fn vanish(&mut self) -> Flow {
        if self.running.is_empty() {
            self.remove_sandbox().await;
            volume::remove(&self.cx, uid(&self.pod));
            let (namespace, name) = key(&self.pod);
            // Nobody can ask for them any more.
            let _ = std::fs::remove_dir_all(self.cx.log_dir(&namespace, &name, uid(&self.pod)));
            self.cx.pods.remove(&(namespace, name), uid(&self.pod));
            return Flow::Done;
        }
        for running in self.running.values() {
            if let Some(stop) = &running.stop {
                stop.hasten(Duration::ZERO);
            }
        }
        let running: Vec<usize> = (0..self.state.containers.len())
            .filter(|i| self.state.containers[*i].running())
            .collect();
        for index in running {
            let message = format!("Stopping container {}", self.state.containers[index].name);
            self.end(index, message, Duration::ZERO);
        }
        Flow::On
    }

    /// The kubelet stops: containers end, the pod stays for the next kubelet.
    pub(super) async fn leave(&mut self) -> Flow {
        if self.running.is_empty() {
            self.remove_sandbox().await;
            self.report();
            return Flow::Done;
        }
        let grace = self.grace().min(LEAVING);
        self.running
            .values()
            .filter_map(|running| running.stop.as_ref())
            .for_each(|stop| stop.hasten(grace));
        let running: Vec<usize> = (0..self.state.containers.len())
            .filter(|i| self.state.containers[*i].running())
            .collect();
        for index in running {
            let message = format!("Stopping container {}", self.state.containers[index].name);
            self.end(index, message, grace);
        }
        Flow::On
    }
}
