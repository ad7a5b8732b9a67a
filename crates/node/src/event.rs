//! Events: what the kubelet tells people about pods and nodes.
//!
//! Best effort, and never in the way: a note is queued, and one task writes it. The same news again raises the count of the
//! event that is there, and an object that causes a storm (a probe failing every second) is muted for a while.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference, Pod};
use knarr_clock::Clock;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Notes that may wait to be written; more are dropped.
const BACKLOG: usize = 1000;
/// Events remembered for counting.
const MEMORY: usize = 4096;
/// How long one is remembered at least when memory runs short.
const RECENT: Duration = Duration::from_secs(600);
/// Events about one object in a burst, and the time that allows one more.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// Longest message that the API takes.
const LONGEST: usize = 1024;

/// One piece of news.
#[derive(Clone, Debug)]
struct Note {
    about: ObjectReference,
    warning: bool,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Where notes are left. Clones share the queue.
#[derive(Clone)]
pub(crate) struct Recorder {
    clock: Clock,
    queue: mpsc::Sender<Note>,
}

impl Recorder {
    /// A recorder, and the task that writes what it is given; it ends when all recorders are gone.
    pub(crate) fn new(client: Client, clock: Clock, node: String) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, mut notes) = mpsc::channel(BACKLOG);
        let task = async move {
            let mut writer = Writer {
                client,
                node,
                serial: 0,
                memory: Memory::default(),
            };
            while let Some(note) = notes.recv().await {
                if let Err(error) = writer.write(note).await {
                    tracing::debug!(%error, "event not recorded");
                }
            }
        };
        (Self { clock, queue }, task)
    }

    /// Good or neutral news.
    pub(crate) fn normal(&self, about: ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.record(about, false, reason, message.into());
    }

    /// Bad news.
    pub(crate) fn warning(&self, about: ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.record(about, true, reason, message.into());
    }

    fn record(&self, about: ObjectReference, warning: bool, reason: &'static str, mut message: String) {
        if message.len() > LONGEST {
            let mut end = LONGEST;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
        }
        let note = Note {
            about,
            warning,
            reason,
            message,
            at: self.clock.now(),
        };
        if self.queue.try_send(note).is_err() {
            tracing::debug!("too many events at once, one dropped");
        }
    }
}

/// A reference to a pod, or to one of its containers (`spec.containers{web}`).
pub(crate) fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

struct Writer {
    client: Client,
    node: String,
    /// Makes names differ that are made in the same nanosecond, as under a paused clock.
    serial: u64,
    memory: Memory,
}

impl Writer {
    async fn write(&mut self, note: Note) -> kube::Result<()> {
        // Events about cluster-scoped objects have to live somewhere.
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".into());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let identity = identity(&note);
        match self.memory.decide(&note, &identity) {
            Decision::Drop => return Ok(()),
            Decision::Again { name, count } => {
                let patch = json!({ "count": count, "lastTimestamp": seconds(note.at), "message": note.message });
                match events.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {} // it has expired: start anew
                    other => return other.map(drop),
                }
            }
            Decision::Create => {}
        }
        self.serial += 1;
        let base = note.about.name.as_deref().unwrap_or_default();
        let name = format!("{base}.{:x}{:04x}", note.at.as_nanosecond(), self.serial & 0xffff);
        let event = event(&note, &namespace, &name, &self.node);
        let event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
        events.create(&PostParams::default(), &event).await?;
        self.memory.events.insert(identity, (name, 1, Instant::now()));
        Ok(())
    }
}

/// What was written lately.
#[derive(Default)]
struct Memory {
    /// Name and count of the event that tells the same news, and when it was last told.
    events: HashMap<String, (String, u32, Instant)>,
    /// What each object may still cause.
    budgets: HashMap<String, (Instant, f64)>,
}

#[derive(Debug, PartialEq)]
enum Decision {
    Drop,
    Create,
    Again { name: String, count: u32 },
}

impl Memory {
    fn decide(&mut self, note: &Note, identity: &str) -> Decision {
        let now = Instant::now();
        let about = &note.about;
        let object = format!("{:?}/{:?}/{:?}", about.namespace, about.name, about.uid);
        let (since, budget) = self.budgets.entry(object).or_insert((now, BURST));
        *budget = (*budget + since.elapsed().as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *since = now;
        if *budget < 1.0 {
            return Decision::Drop;
        }
        *budget -= 1.0;
        if self.events.len() + self.budgets.len() > MEMORY {
            self.events.retain(|_, (_, _, used)| used.elapsed() < RECENT);
            self.budgets.retain(|_, (used, _)| used.elapsed() < RECENT);
        }
        let Some((name, count, used)) = self.events.get_mut(identity) else {
            return Decision::Create;
        };
        *count += 1;
        *used = now;
        Decision::Again {
            name: name.clone(),
            count: *count,
        }
    }
}

/// What makes two notes the same news.
fn identity(note: &Note) -> String {
    let about = &note.about;
    format!(
        "{:?}/{:?}/{:?}/{:?}/{}/{}/{}",
        about.kind, about.namespace, about.uid, about.field_path, note.warning, note.reason, note.message
    )
}

fn event(note: &Note, namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": name, "namespace": namespace },
        "involvedObject": note.about,
        "type": if note.warning { "Warning" } else { "Normal" },
        "reason": note.reason,
        "message": note.message,
        "source": { "component": "kubelet", "host": node },
        "reportingComponent": "kubelet",
        "reportingInstance": node,
        "firstTimestamp": seconds(note.at),
        "lastTimestamp": seconds(note.at),
        "count": 1,
    })
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(memory: &mut Memory, reason: &'static str) -> Decision {
        let note = Note {
            about: reference(&Pod::default(), None),
            warning: true,
            reason,
            message: "m".into(),
            at: Timestamp::UNIX_EPOCH,
        };
        let identity = identity(&note);
        let decision = memory.decide(&note, &identity);
        if decision == Decision::Create {
            memory.events.insert(identity, (reason.into(), 1, Instant::now()));
        }
        decision
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_news_is_counted_and_storms_are_muted() {
        let mut memory = Memory::default();
        assert_eq!(decide(&mut memory, "Unhealthy"), Decision::Create);
        for count in 2..=25 {
            let name = "Unhealthy".to_owned();
            assert_eq!(decide(&mut memory, "Unhealthy"), Decision::Again { name, count });
        }
        assert_eq!(decide(&mut memory, "Killing"), Decision::Drop);
        tokio::time::advance(REFILL).await;
        assert_eq!(decide(&mut memory, "Killing"), Decision::Create);
    }
}
