//! Events: what components tell people about objects.
//!
//! Events are best effort. A recorder never blocks or fails what it tells about: it queues the note, and one task writes it.
//! The same news again raises the count of the event that is there; many similar ones about one object are combined into
//! one; and an object that causes a storm (a probe that fails every second) is muted for a while. The figures are those of
//! client-go's `EventCorrelator`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use knarr_clock::Clock;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Notes that may wait; more are dropped.
const BACKLOG: usize = 1000;
/// Remembered events.
const MEMORY: usize = 4096;
/// So many similar events (differing in the message only), none later than [`WINDOW`] after the one before, are combined.
const SIMILAR: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// Events per object in a burst, and the time that gives one more.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// Longest message that the API takes, in bytes.
const LONGEST: usize = 1024;

/// One piece of news about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The object.
    pub regarding: ObjectReference,
    /// Whether it is bad news.
    pub warning: bool,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people; the API takes its first 1,024 bytes.
    pub message: String,
    /// What the component was doing. Only those that speak the newer API of events say so.
    pub action: Option<&'static str>,
}

impl Note {
    /// Good or neutral news.
    pub fn normal<K: Resource<DynamicType = ()>>(about: &K, reason: &'static str, message: String) -> Self {
        Self {
            regarding: about.object_ref(&()),
            warning: false,
            reason,
            message,
            action: None,
        }
    }

    /// Bad news.
    pub fn warning<K: Resource<DynamicType = ()>>(about: &K, reason: &'static str, message: String) -> Self {
        Self {
            warning: true,
            ..Self::normal(about, reason, message)
        }
    }

    /// The same news, with what the component was doing.
    #[must_use]
    pub fn doing(self, action: &'static str) -> Self {
        Self {
            action: Some(action),
            ..self
        }
    }
}

/// Who tells: `core/v1` `EventSource`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    component: &'static str,
    /// The node of a kubelet, else empty.
    host: String,
}

/// A note that waits to be written.
struct Told {
    source: Source,
    note: Note,
    at: Timestamp,
}

/// Where one component leaves its notes. Clones share the queue.
#[derive(Clone)]
pub struct Recorder {
    source: Source,
    clock: Clock,
    queue: mpsc::Sender<Told>,
}

impl Recorder {
    /// A recorder, and the task that writes what it is given; it ends when all recorders are gone. `host` is the node that the
    /// component speaks for, or empty.
    pub fn new(
        client: Client,
        clock: Clock,
        component: &'static str,
        host: impl Into<String>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, mut told) = mpsc::channel(BACKLOG);
        let host = host.into();
        let task = async move {
            let mut memory = Memory::default();
            while let Some(told) = told.recv().await {
                if let Err(error) = memory.write(&client, told).await {
                    tracing::debug!(%error, "event not recorded");
                }
            }
        };
        let source = Source { component, host };
        (Self { source, clock, queue }, task)
    }

    /// The same queue under another component's name.
    #[must_use]
    pub fn named(&self, component: &'static str) -> Self {
        let host = self.source.host.clone();
        Self {
            source: Source { component, host },
            ..self.clone()
        }
    }

    /// Queues a note.
    pub fn record(&self, note: Note) {
        let told = Told {
            source: self.source.clone(),
            note,
            at: self.clock.now(),
        };
        if self.queue.try_send(told).is_err() {
            tracing::debug!("too many events at once, one dropped");
        }
    }

    /// Queues good or neutral news.
    pub fn normal(&self, regarding: ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.record(Note {
            regarding,
            warning: false,
            reason,
            message: message.into(),
            action: None,
        });
    }

    /// Queues bad news.
    pub fn warning(&self, regarding: ObjectReference, reason: &'static str, message: impl Into<String>) {
        self.record(Note {
            regarding,
            warning: true,
            reason,
            message: message.into(),
            action: None,
        });
    }
}

/// What was recorded lately.
#[derive(Default)]
struct Memory {
    events: HashMap<String, Known>,
    similar: HashMap<String, Similar>,
    budgets: HashMap<String, (Instant, f64)>,
    last_name: i128,
}

/// An event that has been written.
struct Known {
    name: String,
    count: u32,
    used: Instant,
}

/// Messages of events that differ in nothing else.
struct Similar {
    messages: HashSet<String>,
    used: Instant,
}

/// What to do with a note.
#[derive(Debug, PartialEq)]
enum Decision {
    Drop,
    Create,
    Again { name: String, count: u32 },
}

impl Memory {
    async fn write(&mut self, client: &Client, mut told: Told) -> kube::Result<()> {
        let identity = self.identify(&mut told);
        let events: Api<Event> = Api::namespaced(client.clone(), namespace(&told.note));
        match self.decide(&identity, &told) {
            Decision::Drop => return Ok(()),
            Decision::Again { name, count } => {
                let message = truncate(&told.note.message);
                let patch = json!({ "count": count, "lastTimestamp": seconds(told.at), "message": message });
                match events.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => {} // it has expired: start anew
                    other => return other.map(drop),
                }
            }
            Decision::Create => {}
        }
        let name = self.create(&events, &told).await?;
        let used = Instant::now();
        self.events.insert(identity, Known { name, count: 1, used });
        Ok(())
    }

    /// Events are named by the nanosecond. Where time stands still, or somebody else was there first, by the next one.
    async fn create(&mut self, events: &Api<Event>, told: &Told) -> kube::Result<String> {
        loop {
            self.last_name = told.at.as_nanosecond().max(self.last_name + 1);
            let event = event(told, self.last_name);
            let event: Event = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
            match events.create(&PostParams::default(), &event).await {
                Ok(created) => return Ok(created.metadata.name.unwrap_or_default()),
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What makes two notes the same news. Combines similar ones by changing the message.
    fn identify(&mut self, told: &mut Told) -> String {
        let note = &told.note;
        let path = &note.regarding.field_path;
        let key = format!("{}/{}/{}", subject(told), note.warning, note.reason);
        let now = Instant::now();
        let similar = self.similar.entry(key.clone()).or_insert_with(|| Similar {
            messages: HashSet::new(),
            used: now,
        });
        if similar.used.elapsed() > WINDOW {
            similar.messages.clear();
        }
        similar.used = now;
        if similar.messages.len() == SIMILAR - 1 && !similar.messages.contains(&note.message) {
            told.note.message = format!("(combined from similar events): {}", note.message);
            return key;
        }
        similar.messages.insert(note.message.clone());
        format!("{key}/{path:?}/{}", note.message)
    }

    fn decide(&mut self, identity: &str, told: &Told) -> Decision {
        let now = Instant::now();
        let (since, budget) = self.budgets.entry(subject(told)).or_insert((now, BURST));
        *budget = (*budget + since.elapsed().as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *since = now;
        if *budget < 1.0 {
            return Decision::Drop;
        }
        *budget -= 1.0;
        self.shrink();
        let Some(known) = self.events.get_mut(identity) else {
            return Decision::Create;
        };
        known.count += 1;
        known.used = now;
        Decision::Again {
            name: known.name.clone(),
            count: known.count,
        }
    }

    /// Bounds the memory by forgetting what was not used lately.
    fn shrink(&mut self) {
        if self.events.len() + self.similar.len() + self.budgets.len() > MEMORY {
            self.events.retain(|_, known| known.used.elapsed() < WINDOW);
            self.similar.retain(|_, similar| similar.used.elapsed() < WINDOW);
            self.budgets.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
    }
}

/// Who tells about what.
fn subject(told: &Told) -> String {
    let about = &told.note.regarding;
    let Source { component, host } = &told.source;
    format!(
        "{component}/{host}/{:?}/{:?}/{:?}/{:?}",
        about.kind, about.namespace, about.name, about.uid
    )
}

/// Events about cluster-scoped objects have to live somewhere.
fn namespace(note: &Note) -> &str {
    note.regarding.namespace.as_deref().unwrap_or("default")
}

fn event(told: &Told, nanosecond: i128) -> Value {
    let Told { source, note, at } = told;
    let name = note.regarding.name.as_deref().unwrap_or_default();
    let mut event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{name}.{nanosecond:x}"), "namespace": namespace(note) },
        "involvedObject": note.regarding,
        "type": if note.warning { "Warning" } else { "Normal" },
        "reason": note.reason,
        "message": truncate(&note.message),
        "source": { "component": source.component },
        "reportingComponent": source.component,
        "reportingInstance": source.host,
        "firstTimestamp": seconds(*at),
        "lastTimestamp": seconds(*at),
        "count": 1,
    });
    if !source.host.is_empty() {
        event["source"]["host"] = json!(source.host);
    }
    // Who says what it was doing says nothing under the old names.
    if let Some(action) = note.action {
        event["action"] = json!(action);
        event["source"] = json!({});
    }
    event
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn truncate(message: &str) -> &str {
    let end = (0..=message.len().min(LONGEST))
        .rev()
        .find(|at| message.is_char_boundary(*at));
    &message[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn decide(memory: &mut Memory, message: &str) -> Decision {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        let mut told = Told {
            source: Source {
                component: "test",
                host: String::new(),
            },
            note: Note::warning(&pod, "Failed", message.into()),
            at: Timestamp::UNIX_EPOCH,
        };
        let identity = memory.identify(&mut told);
        let decision = memory.decide(&identity, &told);
        if decision == Decision::Create {
            let known = Known {
                name: told.note.message.clone(),
                count: 1,
                used: Instant::now(),
            };
            memory.events.insert(identity, known);
        }
        decision
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_news_is_counted_similar_news_combined_and_storms_muted() {
        let mut memory = Memory::default();
        assert_eq!(decide(&mut memory, "0"), Decision::Create);
        let again = Decision::Again {
            name: "0".into(),
            count: 2,
        };
        assert_eq!(decide(&mut memory, "0"), again);
        for i in 1..9 {
            assert_eq!(decide(&mut memory, &i.to_string()), Decision::Create);
        }
        assert_eq!(decide(&mut memory, "a"), Decision::Create, "starts the combined event");
        let combined = Decision::Again {
            name: "(combined from similar events): a".into(),
            count: 2,
        };
        assert_eq!(decide(&mut memory, "b"), combined);
        for _ in 0..13 {
            assert_ne!(decide(&mut memory, "c"), Decision::Drop);
        }
        assert_eq!(decide(&mut memory, "c"), Decision::Drop);
        tokio::time::advance(REFILL).await;
        assert_ne!(decide(&mut memory, "c"), Decision::Drop);
    }
}
