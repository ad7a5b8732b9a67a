//! Evicting a pod whose `emptyDir` volumes have outgrown their `sizeLimit`.
//!
//! As kubelets without quotas do, this one measures from time to time. Volumes in memory are bounded by the kernel instead.

use std::path::PathBuf;
use std::time::Duration;

use super::worker::{Work, Worker};
use crate::backoff;
use crate::volume;

/// Between two measurements: the eviction manager's interval.
const INTERVAL: Duration = Duration::from_secs(10);
/// An evicted pod's containers get no more than the least.
pub(super) const GRACE: Duration = Duration::from_secs(1);

const EVICTED: &str = "Evicted";

impl Worker {
    /// Looks whether a volume is too large, when it is time. True when the pod has been evicted for that.
    pub(super) async fn over_size_limit(&mut self) -> bool {
        let limited = self.limited();
        if limited.is_empty() {
            return false;
        }
        let now = self.cx.clock.now();
        let due = self.measure_at.get_or_insert_with(|| backoff::add(now, INTERVAL));
        if now < *due {
            let due = *due;
            self.wake_at(due);
            return false;
        }
        for (name, path, limit, text) in limited {
            // What cannot be measured is not within its limit for sure: directories nested so deep that nobody can follow, say.
            let used = volume::blocking(move || volume::usage(&path).map_err(|error| error.to_string())).await;
            if used.unwrap_or(u64::MAX) > limit {
                self.evict(&format!(
                    "Usage of EmptyDir volume {name:?} exceeds the limit {text:?}. "
                ));
                return true;
            }
        }
        let next = backoff::add(self.cx.clock.now(), INTERVAL);
        self.measure_at = Some(next);
        self.wake_at(next);
        false
    }

    /// Name, directory, limit in bytes and as written, of each volume on disk that has a limit.
    fn limited(&self) -> Vec<(String, PathBuf, u64, String)> {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let limited = volumes.filter_map(|volume| {
            let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
            let ready = self.volumes.get(&volume.name).filter(|ready| ready.tmpfs.is_none())?;
            let bytes = crate::quantity::value(limit);
            (bytes > 0).then(|| (volume.name.clone(), ready.path.clone(), bytes, limit.0.clone()))
        });
        limited.collect()
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
