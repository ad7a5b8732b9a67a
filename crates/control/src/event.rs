//! Events: what the controllers tell people.
//!
//! Events are best effort. A recorder never blocks or fails a sync: it queues the note, and one task writes it. The
//! same news again raises the count of the event that is there; many similar ones about one object are combined into
//! one; and an object that causes a storm is muted for a while.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use knarr_clock::Clock;
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::key::Key;
use crate::scheduler;
use crate::write::Failure;

/// Notes that may wait; more are dropped.
const BACKLOG: usize = 1000;
/// Remembered events.
const MEMORY: usize = 4096;
/// Similar events (differing in the message only) within [`WINDOW`] after which they are combined.
const SIMILAR: u32 = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// Events per object in a burst, and the time that gives one more.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

/// One piece of news about an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) regarding: ObjectReference,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Note {
    /// Good or neutral news.
    pub(crate) fn normal<K: Resource<DynamicType = ()>>(about: &K, reason: &'static str, message: String) -> Self {
        Self {
            regarding: about.object_ref(&()),
            warning: false,
            reason,
            message,
        }
    }

    /// Bad news.
    pub(crate) fn warning<K: Resource<DynamicType = ()>>(about: &K, reason: &'static str, message: String) -> Self {
        Self {
            warning: true,
            ..Self::normal(about, reason, message)
        }
    }
}

/// Where one component leaves its notes.
#[derive(Clone)]
pub(crate) struct Recorder {
    component: &'static str,
    notes: mpsc::Sender<(&'static str, Note)>,
}

impl Recorder {
    /// A recorder, and the task that writes what it is given.
    pub(crate) fn new(client: Client, clock: Clock) -> (Self, impl Future<Output = ()> + Send) {
        let (notes, mut queue) = mpsc::channel::<(&'static str, Note)>(BACKLOG);
        let recorder = Self {
            component: "controller-manager",
            notes,
        };
        let task = async move {
            let mut memory = Memory::default();
            while let Some((component, note)) = queue.recv().await {
                let result = memory.write(&client, &clock, component, note).await;
                if let Err(error) = result {
                    tracing::debug!(%error, "event not recorded");
                }
            }
        };
        (recorder, task)
    }

    /// The same sink under another component's name.
    pub(crate) fn named(&self, component: &'static str) -> Self {
        Self {
            component,
            notes: self.notes.clone(),
        }
    }

    /// Queues a note.
    pub(crate) fn record(&self, note: Note) {
        let about = &note.regarding;
        let object = Key::new(
            about.namespace.clone().unwrap_or_default(),
            about.name.clone().unwrap_or_default(),
        );
        tracing::info!(
            object = %object,
            kind = about.kind,
            apiVersion = about.api_version,
            "type" = if note.warning { "Warning" } else { "Normal" },
            reason = note.reason,
            detail = note.message,
            "Event occurred"
        );
        if self.notes.try_send((self.component, note)).is_err() {
            tracing::debug!("too many events at once, one dropped");
        }
    }
}

/// What was recorded lately.
#[derive(Default)]
struct Memory {
    events: HashMap<String, Known>,
    similar: HashMap<String, (Instant, u32)>,
    budgets: HashMap<String, (Instant, f64)>,
    last_name: i128,
}

struct Known {
    path: String,
    count: u32,
    used: Instant,
}

/// What to do with a note.
#[derive(Debug, PartialEq)]
enum Decision {
    Drop,
    Create,
    Again { path: String, count: u32 },
}

impl Memory {
    async fn write(
        &mut self,
        client: &Client,
        clock: &Clock,
        component: &'static str,
        mut note: Note,
    ) -> Result<(), Failure> {
        let identity = self.identify(component, &mut note);
        let now = clock.now_seconds();
        match self.decide(&identity, component, &note) {
            Decision::Drop => return Ok(()),
            Decision::Again { path, count } => {
                let patch = json!({ "count": count, "lastTimestamp": now.to_string(), "message": note.message });
                let request = http::Request::patch(path)
                    .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
                    .body(patch.to_string().into_bytes());
                match send(client, request).await {
                    Err(failure) if failure.code == 404 => {} // it has expired: start anew
                    other => return other.map(drop),
                }
            }
            Decision::Create => {}
        }
        let path = self.create(client, component, &note, clock).await?;
        self.events.insert(
            identity,
            Known {
                path,
                count: 1,
                used: Instant::now(),
            },
        );
        Ok(())
    }

    /// Events are named by the nanosecond. Where time stands still, or somebody else was there first, by the next one.
    async fn create(
        &mut self,
        client: &Client,
        component: &str,
        note: &Note,
        clock: &Clock,
    ) -> Result<String, Failure> {
        loop {
            self.last_name = clock.now().as_nanosecond().max(self.last_name + 1);
            let event = event(component, note, clock.now_seconds(), self.last_name);
            let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
            let collection = format!("/api/v1/namespaces/{namespace}/events");
            let request = http::Request::post(&collection)
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(event.to_string().into_bytes());
            match send(client, request).await {
                Ok(_) => {
                    let name = event["metadata"]["name"].as_str().unwrap_or_default();
                    return Ok(format!("{collection}/{name}"));
                }
                Err(failure) if failure.reason == "AlreadyExists" => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    /// What makes two notes the same news. Combines similar ones by changing the message.
    fn identify(&mut self, component: &str, note: &mut Note) -> String {
        let similar = format!("{}/{}/{}", subject(component, note), note.warning, note.reason);
        let (since, count) = self.similar.entry(similar.clone()).or_insert((Instant::now(), 0));
        if since.elapsed() > WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        let exact = format!("{similar}/{}", note.message);
        if !self.events.contains_key(&exact) {
            *count += 1;
        }
        if *count > SIMILAR {
            note.message = format!("(combined from similar events): {}", note.message);
            return similar;
        }
        exact
    }

    fn decide(&mut self, identity: &str, component: &str, note: &Note) -> Decision {
        let now = Instant::now();
        let (since, budget) = self.budgets.entry(subject(component, note)).or_insert((now, BURST));
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
            path: known.path.clone(),
            count: known.count,
        }
    }

    /// Bounds the memory by forgetting what was not used lately.
    fn shrink(&mut self) {
        if self.events.len() + self.similar.len() + self.budgets.len() > MEMORY {
            self.events.retain(|_, known| known.used.elapsed() < WINDOW);
            self.similar.retain(|_, (since, _)| since.elapsed() < WINDOW);
            self.budgets.retain(|_, (since, _)| since.elapsed() < WINDOW);
        }
    }
}

fn subject(component: &str, note: &Note) -> String {
    let about = &note.regarding;
    format!(
        "{component}/{:?}/{:?}/{:?}/{:?}",
        about.kind, about.namespace, about.name, about.uid
    )
}

fn event(component: &str, note: &Note, now: Timestamp, nanosecond: i128) -> Value {
    // Events about cluster-scoped objects have to live somewhere.
    let namespace = note.regarding.namespace.as_deref().unwrap_or("default");
    let name = note.regarding.name.as_deref().unwrap_or_default();
    // The scheduler speaks the newer API of events: it says what it was doing, and nothing under the old names.
    let action = match (component, note.reason) {
        (scheduler::NAME, "Scheduled") => Some("Binding"),
        (scheduler::NAME, "Preempted") => Some("Preempting"),
        (scheduler::NAME, _) => Some("Scheduling"),
        _ => None,
    };
    let mut event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{name}.{nanosecond:x}"), "namespace": namespace },
        "involvedObject": note.regarding,
        "type": if note.warning { "Warning" } else { "Normal" },
        "reason": note.reason,
        "message": truncate(&note.message),
        "source": { "component": component },
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": now.to_string(),
        "lastTimestamp": now.to_string(),
        "count": 1,
    });
    if let Some(action) = action {
        event["action"] = json!(action);
        event["source"] = json!({});
    }
    event
}

/// Events hold at most 1,024 bytes of message.
fn truncate(message: &str) -> &str {
    let mut end = message.len().min(1024);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

async fn send(client: &Client, request: http::Result<http::Request<Vec<u8>>>) -> Result<Value, Failure> {
    let request = request.map_err(|error| Failure::other(error.to_string()))?;
    Ok(client.request::<Value>(request).await?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn decide(memory: &mut Memory, message: &str) -> Decision {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        let mut note = Note::warning(&pod, "Failed", message.into());
        let identity = memory.identify("test", &mut note);
        let decision = memory.decide(&identity, "test", &note);
        if decision == Decision::Create {
            let known = Known {
                path: note.message.clone(),
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
            path: "0".into(),
            count: 2,
        };
        assert_eq!(decide(&mut memory, "0"), again);
        for i in 1..10 {
            assert_eq!(decide(&mut memory, &i.to_string()), Decision::Create);
        }
        assert_eq!(decide(&mut memory, "a"), Decision::Create, "starts the combined event");
        let combined = Decision::Again {
            path: "(combined from similar events): a".into(),
            count: 2,
        };
        assert_eq!(decide(&mut memory, "b"), combined);
        for _ in 0..12 {
            assert_ne!(decide(&mut memory, "c"), Decision::Drop);
        }
        assert_eq!(decide(&mut memory, "c"), Decision::Drop);
        tokio::time::advance(REFILL).await;
        assert_ne!(decide(&mut memory, "c"), Decision::Drop);
    }
}
