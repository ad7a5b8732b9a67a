//! What a set reports: how many pods there are, and of which template.

use k8s_openapi::api::apps::v1::StatefulSetStatus;

use super::Run;
use crate::history::hash_of;
use crate::pod;

impl Run<'_> {
    pub(super) fn status(&self) -> StatefulSetStatus {
        let old = self.set.status.clone().unwrap_or_default();
        let running =
            |pod: &&std::sync::Arc<k8s_openapi::api::core::v1::Pod>| pod::phase(pod) == "Running" && pod::is_ready(pod);
        let of = |name: &str| {
            let pods = self
                .pods
                .values()
                .filter(|pod| pod.metadata.deletion_timestamp.is_none());
            pods.filter(|pod| hash_of(pod) == Some(name)).count() as i32
        };
        let some = |count: i32| Some(count).filter(|count| *count != 0);
        let ready = self.pods.values().filter(running).count() as i32;
        let available = self.pods.values().filter(|pod| self.is_available(pod)).count() as i32;
        let mut status = StatefulSetStatus {
            replicas: self.pods.len() as i32,
            ready_replicas: some(ready),
            available_replicas: some(available),
            current_replicas: some(of(&self.current.name)),
            updated_replicas: some(of(&self.update.name)),
            current_revision: Some(self.current.name.clone()),
            update_revision: Some(self.update.name.clone()),
            observed_generation: self.set.metadata.generation,
            collision_count: Some(old.collision_count.unwrap_or(0)),
            conditions: old.conditions,
        };
        let rolls = self
            .set
            .spec
            .update_strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref())
            != Some("OnDelete");
        let updated = status.updated_replicas.unwrap_or(0);
        if rolls && updated == self.replicas() && status.replicas == updated && ready == updated {
            status.current_revision = status.update_revision.clone();
            status.current_replicas = status.updated_replicas;
        }
        status
    }
}
