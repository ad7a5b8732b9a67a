//! Starting one container.

use std::time::Duration;

use knarr_runtime::RuntimeError;
use tokio::time::Instant;

use super::state::{self, Ended, Ran, Startup, State};
use super::sync::startup;
use super::worker::{ContainerEvent, Logs, PodLifecycleEvent, Running, Worker};
use super::{key, uid};
use crate::backoff;
use crate::container::{self, Instance, Prepared, Refused};
use crate::image::{self, Found, Unusable};
use crate::log::ContainerLog;

/// After a failed pull it is first told that it failed, then that it will be tried again.
const PULL_FAILED: Duration = Duration::from_secs(2);
/// When a pod whose last synchronisation has failed is looked at again, before jitter: upstream's `backOffPeriod`.
const SYNC_RETRY: Duration = Duration::from_secs(10);

impl Worker {
    /// Starts the container at `index`, or says in its state why that is not possible now.
    pub(super) async fn launch(&mut self, index: usize) {
        let (role, spec) = self.declared[index].clone();
        let reference = spec.image.clone().unwrap_or_default();
        let policy = spec.image_pull_policy.clone().unwrap_or_else(|| "IfNotPresent".into());
        let about = self.about_container(&spec.name);
        let now = self.cx.clock.now();

        if !self.pulled.contains_key(&spec.name) && self.pull_backs_off(index, &reference) {
            return;
        }
        let found = match self.image(index, &reference, &policy) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(unusable) => return self.no_image(index, unusable),
        };
        let events = self.cx.events.clone();
        events.normal(about.clone(), "Pulled", found.message);

        let container = &self.state.containers[index];
        let attempt = u32::try_from(container.restarts + i32::from(container.ran != Ran::Never)).unwrap_or(0);
        let id = container::new_id(uid(&self.pod), &spec.name, attempt);
        let target = match self.target(&spec.name) {
            Ok(target) => target,
            Err(message) => {
                let reason = "CreateContainerConfigError";
                return self.refused(index, Refused { reason, message });
            }
        };
        let prepared = container::prepare(
            &self.cx,
            &self.pod,
            &spec,
            &found.image,
            &self.volumes,
            self.probe_ip(),
            id.clone(),
            target,
        )
        .await;
        let Prepared {
            spec: runtime_spec,
            termination_file,
            lease,
        } = match prepared {
            Ok(prepared) => prepared,
            Err(refused) => return self.refused(index, refused),
        };
        let (namespace, name) = key(&self.pod);
        let dir = self.cx.log_dir(&namespace, &name, uid(&self.pod)).join(&spec.name);
        let log = match ContainerLog::create(&dir, attempt, self.cx.clock.clone()) {
            Ok(log) => log,
            Err(error) => {
                let message = format!("failed to create the container's log: {error}");
                return self.refused(
                    index,
                    Refused {
                        reason: "CreateContainerError",
                        message,
                    },
                );
            }
        };

        events.normal(about.clone(), "Created", "Container created");
        let scheme = self.cx.scheme();
        let (tty, stdin_once) = (runtime_spec.tty, spec.stdin_once.unwrap_or(false));
        let started = self.cx.runtime.start(runtime_spec).await;
        if started.is_err() && self.look_for_sandbox() {
            return log.close(); // not the container's doing: it is started in the next sandbox
        }
        if let Err(RuntimeError::Unsupported(message)) = started {
            log.close();
            self.discard(id);
            let reason = "CreateContainerConfigError";
            return self.refused(index, Refused { reason, message });
        }
        let container = &mut self.state.containers[index];
        if let State::Ended(ended) = &container.state {
            container.last = Some(ended.clone());
        }
        if container.ran != Ran::Never {
            container.crash.retried(now);
            container.restarts = container.restarts.saturating_add(1);
        }
        (container.ran, container.again) = (Ran::Here, false);
        (container.retry_at, container.remind_at, container.pull_failed) = (None, None, None);
        container.pull = backoff::Backoff::kubelet();
        container.image = Some((found.name, found.image.repo_digest.clone()));
        container.asked_image = reference;
        let logs = self.logs.entry(spec.name.clone()).or_default();
        *logs = Logs {
            before: logs.current.take(),
            current: Some(log.clone()),
        };
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                log.close();
                let message = start_error(&error);
                events.warning(about, "Failed", format!("Error: {message}"));
                container.state = State::Ended(Ended {
                    id: Some(format!("{scheme}://{id}")),
                    exit_code: 128,
                    reason: "StartError".into(),
                    message: Some(message),
                    started_at: Some(jiff::Timestamp::UNIX_EPOCH),
                    finished_at: self.cx.clock.now_seconds(),
                });
                self.discard(id);
                return;
            }
        };
        events.normal(about, "Started", "Container started");
        let hook = spec
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.post_start.clone());
        container.state = State::Running(state::Instance {
            id: id.clone(),
            since: self.cx.clock.now_seconds(),
            startup: if hook.is_some() {
                Startup::PostStart
            } else {
                startup(role, &spec)
            },
            stopping: false,
        });

        let (tell, container_name, instance_id) = (self.tell.clone(), spec.name.clone(), id.clone());
        let ended = move |status| {
            let what = PodLifecycleEvent::ContainerDied(status);
            let _ = tell.send(ContainerEvent {
                container: container_name,
                id: instance_id,
                what,
            }); // the worker is gone: nobody cares
        };
        let instance = Instance::new((id.clone(), self.cx.clock.now()), started, tty, stdin_once, log, ended);
        if let Some(hook) = hook {
            let (cx, tell, ip, spec) = (self.cx.clone(), self.tell.clone(), self.probe_ip(), spec.clone());
            let pod = self.full_name();
            instance.accompany(async move {
                let what = PodLifecycleEvent::PostStart(container::run_hook(&cx, &id, &pod, &spec, &hook, ip).await);
                let _ = tell.send(ContainerEvent {
                    container: spec.name,
                    id,
                    what,
                }); // likewise
            });
        }
        let running = Running {
            instance,
            termination_file,
            started: Instant::now(),
            stop: None,
            image: found.image,
            _lease: lease,
        };
        self.running.insert(spec.name.clone(), running);
        if !self.state.containers[index].in_hook() {
            self.probe(index);
        }
    }

    /// The image of a container, found or pulled; `None` while a registry is asked for it.
    fn image(&mut self, index: usize, reference: &str, policy: &str) -> Result<Option<Found>, Unusable> {
        let container = &mut self.state.containers[index];
        let name = container.name.clone();
        if let Some(pulled) = self.pulled.remove(&name) {
            return pulled.map(Some);
        }
        if let Some(found) = image::find(&self.cx.images, reference, policy)? {
            return Ok(Some(found));
        }
        let message = format!("Pulling image {reference:?}");
        self.cx.events.normal(self.about_container(&name), "Pulling", message);
        if let Some(pulled) = image::pull_here(&self.cx, reference) {
            return pulled.map(Some);
        }
        self.state.containers[index].pulling = true;
        let (cx, pod, tell, reference) = (
            self.cx.clone(),
            self.pod.clone(),
            self.tell.clone(),
            reference.to_owned(),
        );
        let pull = async move {
            let what = PodLifecycleEvent::Pulled(image::pull(&cx, &pod, &reference).await);
            let (container, id) = (name, reference);
            let _ = tell.send(ContainerEvent { container, id, what }); // the worker is gone: nobody cares
        };
        tokio::spawn(self.cx.shutdown.clone().run_until_cancelled_owned(pull));
        Ok(None)
    }

    /// The ID of the container whose processes an ephemeral one is to see: `targetContainerName`.
    fn target(&self, name: &str) -> Result<Option<String>, String> {
        let ephemeral = self
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let own = ephemeral.filter(|container| container.name == name);
        let target = own
            .filter_map(|container| container.target_container_name.as_deref())
            .next();
        let Some(target) = target.filter(|target| !target.is_empty()) else {
            return Ok(None);
        };
        let running = self.running.get(target);
        let running = running.ok_or_else(|| format!("unable to find target container {target}"))?;
        Ok(Some(running.instance.id.clone()))
    }

    /// A pull has failed not long ago: says so, again with every look at it, and waits. True while that lasts.
    fn pull_backs_off(&mut self, index: usize, reference: &str) -> bool {
        let now = self.cx.clock.now();
        let container = &mut self.state.containers[index];
        let Some((failed_at, why)) = &container.pull_failed else {
            return false;
        };
        if container.pull.wait(*failed_at).is_none_or(|(_, until)| until <= now) {
            return false;
        }
        let message = format!("Back-off pulling image {reference:?}");
        let detail = format!("{message}: ErrImagePull: {why}");
        container.wait("ImagePullBackOff", detail);
        container.retry_at = Some(backoff::add(now, backoff::jitter(SYNC_RETRY)));
        let name = container.name.clone();
        let about = self.about_container(&name);
        self.cx.events.normal(about.clone(), "BackOff", message);
        self.cx.events.warning(about, "Failed", "Error: ImagePullBackOff");
        true
    }

    fn no_image(&mut self, index: usize, unusable: Unusable) {
        let now = self.cx.clock.now();
        let name = self.state.containers[index].name.clone();
        let about = self.about_container(&name);
        let events = &self.cx.events;
        let (reason, message) = unusable.event;
        events.warning(about.clone(), reason, message);
        events.warning(about, "Failed", format!("Error: {}", unusable.reason));
        let container = &mut self.state.containers[index];
        let wait = if unusable.tried {
            container.pull.retried(now);
            container.pull_failed = Some((now, unusable.message.clone()));
            PULL_FAILED
        } else {
            backoff::jitter(SYNC_RETRY)
        };
        container.wait(unusable.reason, unusable.message);
        container.retry_at = Some(backoff::add(now, wait));
    }

    /// The container cannot be created as things are.
    fn refused(&mut self, index: usize, refused: Refused) {
        let name = self.state.containers[index].name.clone();
        self.cx.events.warning(
            self.about_container(&name),
            "Failed",
            format!("Error: {}", refused.message),
        );
        let retry_at = backoff::add(self.cx.clock.now(), backoff::jitter(SYNC_RETRY));
        let container = &mut self.state.containers[index];
        container.wait(refused.reason, refused.message);
        container.retry_at = Some(retry_at);
    }

    /// Removes what the runtime keeps of an instance that has ended.
    pub(super) fn discard(&self, id: String) {
        let runtime = self.cx.runtime.clone();
        tokio::spawn(async move {
            if let Err(error) = runtime.remove(&id).await {
                tracing::debug!(container = %id, %error, "not removed");
            }
        });
    }
}

fn start_error(error: &RuntimeError) -> String {
    match error {
        RuntimeError::NoSuchProgram(text) => format!(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: \
             unable to start container process: error during container init: {text}: unknown"
        ),
        other => other.to_string(),
    }
}
