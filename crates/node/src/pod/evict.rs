//! Evicting a pod that has outgrown its disk space: an `emptyDir` its `sizeLimit`, a container or all of them the limits of
//! `ephemeral-storage`.
//!
//! As kubelets without quotas do, this one measures from time to time. Volumes in memory are bounded by the kernel instead.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_apimachinery::Quantity as Amount;

use super::worker::{Work, Worker};
use crate::backoff;
use crate::volume;

/// Between two measurements: the eviction manager's interval.
const INTERVAL: Duration = Duration::from_secs(10);
/// An evicted pod's containers get no more than the least.
pub(super) const GRACE: Duration = Duration::from_secs(1);

const EVICTED: &str = "Evicted";

/// What may take no more than so many bytes of the disk, and what is said of a pod that takes more.
struct Bound {
    paths: Vec<PathBuf>,
    bytes: u64,
    message: String,
}

/// A container's limit of what it may keep on the node's disk: in its layer and its logs.
fn storage_limit(container: &Container) -> Option<&Quantity> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    limits
        .get("ephemeral-storage")
        .filter(|limit| crate::quantity::value(limit) > 0)
}

fn used(path: &Path) -> Result<u64, String> {
    match volume::usage(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0), // nothing has been written yet
        used => used.map_err(|error| error.to_string()),
    }
}

impl Worker {
    /// Looks whether the pod takes too much of the disk, when it is time. True when it has been evicted for that.
    pub(super) async fn over_size_limit(&mut self) -> bool {
        let bounds = self.bounds();
        if bounds.is_empty() {
            return false;
        }
        let now = self.cx.clock.now();
        let due = self.measure_at.get_or_insert_with(|| backoff::add(now, INTERVAL));
        if now < *due {
            let due = *due;
            self.wake_at(due);
            return false;
        }
        for Bound { paths, bytes, message } in bounds {
            // What cannot be measured is not within its limit for sure: directories nested so deep that nobody can follow, say.
            let sum = volume::blocking(move || paths.iter().map(|path| used(path)).sum::<Result<u64, String>>()).await;
            if sum.unwrap_or(u64::MAX) > bytes {
                self.evict(&message);
                return true;
            }
        }
        let next = backoff::add(self.cx.clock.now(), INTERVAL);
        self.measure_at = Some(next);
        self.wake_at(next);
        false
    }

    fn bounds(&self) -> Vec<Bound> {
        let Some(spec) = &self.pod.spec else {
            return Vec::new();
        };
        let volumes = spec.volumes.iter().flatten();
        let on_disk = volumes.filter_map(|volume| {
            let limit = volume.empty_dir.as_ref()?.size_limit.as_ref();
            let ready = self.volumes.get(&volume.name).filter(|ready| ready.tmpfs.is_none())?;
            Some((&volume.name, ready.path.clone(), limit))
        });
        let (mut bounds, mut all) = (Vec::new(), Vec::new());
        for (name, path, limit) in on_disk {
            all.push(path.clone());
            bounds.extend(
                limit
                    .filter(|limit| crate::quantity::value(limit) > 0)
                    .map(|limit| Bound {
                        paths: vec![path],
                        bytes: crate::quantity::value(limit),
                        message: format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", limit.0),
                    }),
            );
        }
        let (mut sum, mut own) = (Amount::ZERO, Vec::new());
        for container in &spec.containers {
            let paths = self.written(&container.name);
            all.extend(paths.iter().cloned());
            if let Some(limit) = storage_limit(container) {
                sum = sum.plus(Amount::parse(&limit.0).unwrap_or(Amount::ZERO));
                own.push(Bound {
                    paths,
                    bytes: crate::quantity::value(limit),
                    message: format!(
                        "Container {} exceeded its local ephemeral storage limit {:?}. ",
                        container.name, limit.0
                    ),
                });
            }
        }
        if !own.is_empty() {
            bounds.push(Bound {
                paths: all,
                bytes: crate::quantity::value(&Quantity(sum.to_string())),
                message: format!("Pod ephemeral local storage usage exceeds the total limit of containers {sum}. "),
            });
        }
        bounds.extend(own);
        bounds
    }

    /// Where what a container has written is kept, besides its volumes: its logs, and its layer while it runs.
    fn written(&self, container: &str) -> Vec<PathBuf> {
        let (namespace, name) = super::key(&self.pod);
        let logs = self
            .cx
            .log_dir(&namespace, &name, super::uid(&self.pod))
            .join(container);
        let state = self.state.containers.iter().find(|state| state.name == container);
        let instance = state.and_then(|state| state.instance());
        let layer = instance.and_then(|instance| self.cx.runtime.layer(&instance.id));
        [logs].into_iter().chain(layer).collect()
    }

    fn evict(&mut self, message: &str) {
        self.cx.events.warning(self.about(), EVICTED, message.to_owned());
        self.state.failed = Some((EVICTED.into(), message.to_owned()));
        self.work = Work::TerminatingPod;
    }

    /// Whether the pod has been evicted.
    pub(super) fn evicted(&self) -> bool {
        matches!(&self.state.failed, Some((reason, _)) if reason == EVICTED)
    }
}
