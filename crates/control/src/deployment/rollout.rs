//! One step of a rollout.
//!
//! A [`Rollout`] is a scratch copy of a deployment and its sets. The steps change the copy; what they changed is turned
//! into writes at the end, one per object. A step that scaled something ends the sync: the next one starts when the
//! ReplicaSet controller has reported what came of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::condition::{self, PROGRESSING};
use super::scale::{self, Strategy, available, size};
use super::{after, revision, status, template};
use crate::event::Note;
use crate::owner;
use crate::write::{Failure, Write};

pub(crate) struct Rollout {
    /// As cached.
    before: Deployment,
    deployment: Deployment,
    /// Oldest first, without `new`.
    old: Vec<Scaled>,
    /// Runs the current template.
    new: Option<Scaled>,
    /// Sets that the history no longer needs.
    expired: Vec<ReplicaSet>,
    now: Timestamp,
}

/// A set, and what has become of it.
struct Scaled {
    set: ReplicaSet,
    fate: Fate,
    /// Its size before.
    was: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unchanged,
    Changed,
    Created,
}

impl Scaled {
    fn size(&self) -> i32 {
        size(&self.set)
    }
}

impl Rollout {
    pub(crate) fn new(deployment: &Deployment, mut sets: Vec<ReplicaSet>, now: Timestamp) -> Self {
        sets.sort_by_key(|set| (set.creation_timestamp(), set.name_any()));
        let current = sets.iter().position(|set| template::runs(set, deployment));
        let scaled = |set| Scaled {
            was: size(&set),
            set,
            fate: Fate::Unchanged,
        };
        let new = current.map(|index| scaled(sets.remove(index)));
        Self {
            before: deployment.clone(),
            deployment: deployment.clone(),
            old: sets.into_iter().map(scaled).collect(),
            new,
            expired: Vec::new(),
            now,
        }
    }

    /// Takes the next step. `has_live_pods` tells whether pods of a set still run.
    pub(crate) fn run(&mut self, has_live_pods: impl Fn(&ReplicaSet) -> bool) {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            return self.report(false);
        }
        self.note_pause();
        self.number_new();
        if self.deployment.spec.paused == Some(true) || self.is_rescaled() {
            self.rescale();
            if self.deployment.spec.paused == Some(true) {
                self.expire();
            }
            return self.report(false);
        }
        match Strategy::of(&self.deployment) {
            Strategy::Recreate => self.recreate(has_live_pods),
            Strategy::Rolling { unavailable, .. } => self.roll(unavailable),
        }
        self.report(true);
    }

    fn wanted(&self) -> i32 {
        scale::replicas(&self.deployment)
    }

    fn sets(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new).map(|scaled| &scaled.set)
    }

    fn total(&self) -> i32 {
        self.sets().map(size).sum()
    }

    /// Keeps the time of a pause from counting against the progress deadline.
    fn note_pause(&mut self) {
        let status = self.deployment.status.get_or_insert_default();
        let reason = condition::progress_reason(status);
        if self.deployment.spec.progress_deadline_seconds.is_none() || reason == Some("ProgressDeadlineExceeded") {
            return;
        }
        let (paused, noted) = (
            self.deployment.spec.paused == Some(true),
            reason == Some("DeploymentPaused"),
        );
        let (reason, message) = match (paused, noted) {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return,
        };
        condition::set(
            status,
            condition::new(PROGRESSING, "Unknown", reason, message.into(), self.now),
        );
    }

    /// Keeps the numbers of the set that runs the current template up to date.
    fn number_new(&mut self) {
        let revision = self.next_revision();
        let Some(new) = &mut self.new else { return };
        let annotated = revision::annotate(&mut new.set, &self.deployment, revision);
        let least = self.deployment.spec.min_ready_seconds.filter(|seconds| *seconds != 0);
        if annotated || new.set.spec.min_ready_seconds.filter(|seconds| *seconds != 0) != least {
            new.set.spec.min_ready_seconds = least;
            new.fate = Fate::Changed;
        }
        let number = revision::of(&new.set).to_string();
        let found = format!("Found new replica set {:?}", new.set.name_any());
        self.deployment
            .annotations_mut()
            .insert(revision::REVISION.into(), number);
        let status = self.deployment.status.get_or_insert_default();
        if self.deployment.spec.progress_deadline_seconds.is_some() && condition::get(status, PROGRESSING).is_none() {
            condition::set(
                status,
                condition::new(PROGRESSING, "True", "FoundNewReplicaSet", found, self.now),
            );
        }
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(|old| revision::of(&old.set)).max().unwrap_or(0) + 1
    }

    /// Makes the set for the current template, if there is none.
    fn ensure_new(&mut self) {
        if self.new.is_some() {
            return;
        }
        let deployment = &self.deployment;
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = template::hash(&deployment.spec.template, collisions);
        let hashed = |labels: Option<BTreeMap<String, String>>| {
            let mut labels = labels.unwrap_or_default();
            labels.insert(template::HASH_LABEL.into(), hash.clone());
            Some(labels)
        };
        let mut pods = deployment.spec.template.clone();
        let meta = pods.metadata.get_or_insert_default();
        meta.labels = hashed(meta.labels.take());
        let labels = meta.labels.clone();
        let mut selector = deployment.spec.selector.clone();
        selector.match_labels = hashed(selector.match_labels.take());
        let name = format!("{}-{hash}", deployment.name_any());
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                namespace: deployment.namespace(),
                name: Some(name.clone()),
                labels,
                owner_references: Some(vec![owner::reference(deployment)]),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(scale::new_size(deployment, 0, self.total())),
                min_ready_seconds: deployment.spec.min_ready_seconds.filter(|seconds| *seconds != 0),
                selector,
                template: Some(pods),
            },
            status: None,
        };
        let revision = self.next_revision();
        revision::annotate(&mut set, deployment, revision);
        annotate_bounds(&mut set, deployment);
        self.new = Some(Scaled {
            set,
            fate: Fate::Created,
            was: 0,
        });
        self.deployment
            .annotations_mut()
            .insert(revision::REVISION.into(), revision.to_string());
        if self.deployment.spec.progress_deadline_seconds.is_some() {
            let message = format!("Created new replica set {name:?}");
            let created = condition::new(PROGRESSING, "True", "NewReplicaSetCreated", message, self.now);
            condition::set(self.deployment.status.get_or_insert_default(), created);
        }
    }

    /// Whether the deployment's size was changed since the sets were last scaled: each active one carries the size it
    /// was scaled for.
    fn is_rescaled(&self) -> bool {
        let wanted = i64::from(self.wanted());
        self.sets()
            .filter(|set| size(set) > 0)
            .any(|set| revision::number(set.annotations(), revision::DESIRED).is_some_and(|desired| desired != wanted))
    }

    /// Follows a change of size without moving the rollout.
    fn rescale(&mut self) {
        let wanted = self.wanted();
        let active = self
            .old
            .iter()
            .chain(&self.new)
            .filter(|scaled| scaled.size() > 0)
            .count();
        if active <= 1 {
            // One set is all there is: the active one, else the new one, else the youngest.
            let running = self.old.iter_mut().rposition(|scaled| scaled.size() > 0);
            let target = match (running, self.new.is_some()) {
                (Some(index), _) => self.old.get_mut(index),
                (None, true) => self.new.as_mut(),
                (None, false) => self.old.last_mut(),
            };
            if let Some(target) = target {
                resize(target, wanted, &self.deployment);
            }
            return;
        }
        if self.is_saturated() {
            for old in self.old.iter_mut().filter(|old| old.size() > 0) {
                resize(old, 0, &self.deployment);
            }
            return;
        }
        if let Strategy::Rolling { surge, .. } = Strategy::of(&self.deployment) {
            let allowed = if wanted > 0 { wanted.saturating_add(surge) } else { 0 };
            self.rescale_in_proportion(allowed - self.total());
        }
    }

    fn is_saturated(&self) -> bool {
        let wanted = self.wanted();
        self.new.as_ref().is_some_and(|new| {
            let desired = revision::number(new.set.annotations(), revision::DESIRED);
            new.size() == wanted && desired == Some(wanted.into()) && available(&new.set) == wanted
        })
    }

    fn rescale_in_proportion(&mut self, to_add: i32) {
        let mut active: Vec<&mut Scaled> = self
            .old
            .iter_mut()
            .chain(&mut self.new)
            .filter(|s| s.size() > 0)
            .collect();
        // The largest first. Of equal ones the newer grows first, and the older shrinks first.
        if to_add > 0 {
            active.sort_by_key(|scaled| (Reverse(scaled.size()), Reverse(scaled.set.creation_timestamp())));
        } else {
            active.sort_by_key(|scaled| (Reverse(scaled.size()), scaled.set.creation_timestamp()));
        }
        let mut added = 0;
        let mut sizes = Vec::with_capacity(active.len());
        for scaled in &active {
            let share = scale::share(&scaled.set, &self.deployment, to_add, added);
            added += share;
            sizes.push(scaled.size() + share);
        }
        // What rounding left over goes to the largest.
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (scaled, size) in active.into_iter().zip(sizes) {
            resize(scaled, size, &self.deployment);
        }
    }

    fn recreate(&mut self, has_live_pods: impl Fn(&ReplicaSet) -> bool) {
        let mut scaled = false;
        for old in self.old.iter_mut().filter(|old| old.size() > 0) {
            scaled |= resize(old, 0, &self.deployment);
        }
        if scaled || self.old.iter().any(|old| has_live_pods(&old.set)) {
            return;
        }
        self.ensure_new();
        let wanted = self.wanted();
        if let Some(new) = &mut self.new {
            resize(new, wanted, &self.deployment);
        }
        self.expire_when_complete();
    }

    fn roll(&mut self, unavailable: i32) {
        self.ensure_new();
        if !self.grow_new() && !self.shrink_old(unavailable) {
            self.expire_when_complete();
        }
    }

    /// Scales the new set up as far as the surge allows, or down to the wanted size.
    fn grow_new(&mut self) -> bool {
        let (wanted, total) = (self.wanted(), self.total());
        let Some(new) = &mut self.new else { return false };
        let current = new.size();
        let size = match current.cmp(&wanted) {
            std::cmp::Ordering::Less => scale::new_size(&self.deployment, current, total),
            _ => wanted,
        };
        resize(new, size, &self.deployment)
    }

    /// Scales old sets down as far as availability allows: pods that do not serve first, then the oldest sets.
    fn shrink_old(&mut self, unavailable: i32) -> bool {
        let wanted = self.wanted();
        let least = wanted - unavailable.min(wanted);
        let missing = self.new.as_ref().map_or(0, |new| new.size() - available(&new.set));
        let mut spare = self.total() - least - missing;
        if spare <= 0 {
            return false;
        }
        let mut scaled = false;
        for old in &mut self.old {
            let unhealthy = old.size() - available(&old.set);
            let count = unhealthy.min(spare);
            if count > 0 {
                let size = old.size() - count;
                scaled |= resize(old, size, &self.deployment);
                spare -= count;
            }
        }
        let serving: i32 = self.sets().map(available).sum();
        let mut spare = serving - least;
        for old in &mut self.old {
            let count = old.size().min(spare);
            if count > 0 {
                let size = old.size() - count;
                scaled |= resize(old, size, &self.deployment);
                spare -= count;
            }
        }
        scaled
    }

    fn expire_when_complete(&mut self) {
        let status = self.deployment.status.clone().unwrap_or_default();
        if status::is_complete(&self.deployment, &status) {
            self.expire();
        }
    }

    /// Picks the old sets that exceed the history limit, lowest revision first.
    fn expire(&mut self) {
        let Some(limit) = self
            .deployment
            .spec
            .revision_history_limit
            .filter(|limit| *limit != i32::MAX)
        else {
            return;
        };
        let living = self
            .old
            .iter()
            .map(|old| &old.set)
            .filter(|set| set.metadata.deletion_timestamp.is_none());
        let mut sets: Vec<&ReplicaSet> = living.collect();
        sets.sort_by_key(|set| revision::of(set));
        let surplus = sets.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let idle = |set: &&ReplicaSet| {
            let status = set.status.as_ref();
            let seen = status.and_then(|status| status.observed_generation);
            size(set) == 0 && status.map_or(0, |s| s.replicas) == 0 && seen >= set.metadata.generation
        };
        self.expired = sets.into_iter().take(surplus).filter(idle).cloned().collect();
    }

    /// Writes the status. Progress is only judged while the rollout moves, not while it is paused or rescaled.
    fn report(&mut self, moving: bool) {
        let mut reported = {
            let sets: Vec<&ReplicaSet> = self.sets().collect();
            let new = self.new.as_ref().map(|new| &new.set);
            let mut reported = status::sum_up(&self.deployment, &sets, new, self.now);
            if moving {
                status::judge(&self.deployment, &mut reported, &sets, new, self.now);
            }
            reported
        };
        reported.conditions = reported.conditions.take().filter(|conditions| !conditions.is_empty());
        self.deployment.status = Some(reported);
    }

    /// When to look again for a missed deadline.
    pub(crate) fn next_check(&self) -> Option<Duration> {
        let status = self.deployment.status.as_ref()?;
        let condition = condition::get(status, PROGRESSING)?;
        let deadline = status::deadline(&self.deployment)?;
        if status::is_complete(&self.deployment, status)
            || matches!(
                condition.reason.as_deref(),
                Some("ProgressDeadlineExceeded" | "NewReplicaSetAvailable")
            )
        {
            return None;
        }
        let limit = condition.last_update_time.as_ref()?.0.saturating_add(deadline).ok()?;
        Some(after(limit.duration_since(self.now).as_secs()))
    }

    /// The writes that make the world like the scratch copy.
    pub(crate) fn into_writes(self) -> Vec<Write> {
        let mut writes = Vec::new();
        for scaled in self.new.into_iter().chain(self.old) {
            let mut write = match scaled.fate {
                Fate::Unchanged => continue,
                Fate::Changed => Write::replace(&scaled.set),
                Fate::Created => create(&scaled.set, &self.before, self.now),
            };
            let (from, to) = (scaled.was, size(&scaled.set));
            if from != to {
                let direction = if from < to { "up" } else { "down" };
                let name = scaled.set.name_any();
                let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
                write = write.on_success(Note::normal(&self.before, "ScalingReplicaSet", message));
            }
            writes.push(write);
        }
        writes.extend(self.expired.iter().map(Write::delete));
        let annotations = self.before.annotations() != self.deployment.annotations();
        if annotations || self.before.status != self.deployment.status {
            writes.push(Write::replace_status(&self.deployment).fine_when_gone());
        }
        writes
    }
}

/// Gives a set another size. Returns whether that changed it.
fn resize(scaled: &mut Scaled, to: i32, deployment: &Deployment) -> bool {
    let from = scaled.size();
    let annotated = annotate_bounds(&mut scaled.set, deployment);
    if from == to && !annotated {
        return false;
    }
    if scaled.fate == Fate::Unchanged {
        scaled.fate = Fate::Changed;
    }
    if from == to {
        return false;
    }
    scaled.set.spec.replicas = Some(to);
    true
}

/// Records the sizes that a set was scaled for.
fn annotate_bounds(set: &mut ReplicaSet, deployment: &Deployment) -> bool {
    let wanted = scale::replicas(deployment);
    let maximum = wanted.saturating_add(Strategy::of(deployment).surge());
    let before = set.annotations().clone();
    let annotations = set.annotations_mut();
    annotations.insert(revision::DESIRED.into(), wanted.to_string());
    annotations.insert(revision::MAXIMUM.into(), maximum.to_string());
    *set.annotations() != before
}

/// Creates a set, prepared for its name being taken: by itself, which the cache does not show yet, or by a different
/// template with the same hash, in which case the next try uses another salt.
fn create(set: &ReplicaSet, deployment: &Deployment, now: Timestamp) -> Write {
    let (name, uid) = (set.name_any(), deployment.uid());
    let failed = format!("Failed to create new replica set {name:?}: {{error}}");
    let note = Note::warning(deployment, "ReplicaSetCreateError", failed);
    let mut deployment = deployment.clone();
    let rescue = move |failure: &Failure| {
        let existing = failure
            .existing
            .as_deref()
            .cloned()
            .map(serde_json::from_value::<ReplicaSet>);
        if let Some(Ok(existing)) = existing {
            let ours = existing.metadata.owner_references.as_ref().is_some_and(|owners| {
                owners
                    .iter()
                    .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
            });
            if ours && template::runs(&existing, &deployment) {
                return Vec::new();
            }
            let status = deployment.status.get_or_insert_default();
            *status.collision_count.get_or_insert(0) += 1;
        } else {
            let message = format!("Failed to create new replica set {name:?}: {}", failure.message);
            let failed = condition::new(PROGRESSING, "False", "ReplicaSetCreateError", message, now);
            condition::set(deployment.status.get_or_insert_default(), failed);
        }
        vec![Write::replace_status(&deployment).fine_when_gone()]
    };
    Write::create(set).on_failure(note).rescue(rescue)
}
