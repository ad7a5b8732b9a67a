//! Lanes: the part of a table's history that some watches want.
//!
//! A kubelet watches the pods of its node, an informer one namespace, a volume one object. If every one of them were woken
//! by every change of the table, and looked at it, N watches would look at E events N x E times. So those that want the same
//! part share a lane, which has a signal and a history of its own; it exists as long as somebody follows it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::object::{Event, Object};
use super::table::Expired;

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// All of it.
    All,
    /// One namespace.
    Namespace(Box<str>),
    /// The pods of one node.
    Node(Box<str>),
    /// One object, by its key.
    Object(Box<str>),
}

impl Lane {
    /// Whether it is concerned when an object comes, changes or goes.
    fn has(&self, object: &Object) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => object.namespace() == &**namespace,
            Self::Node(node) => node_of(object) == Some(node),
            Self::Object(key) => object.key == *key,
        }
    }
}

fn node_of(object: &Object) -> Option<&str> {
    object.index.fields.get("spec.nodeName").filter(|node| !node.is_empty())
}

/// The lanes that an event goes to, besides that of the whole table.
fn lanes_of(event: &Event) -> impl Iterator<Item = Lane> {
    let object = &event.object;
    let node = node_of(object);
    // An object that leaves a node leaves the lane of that node, which has to be told.
    let left = event
        .previous
        .as_deref()
        .and_then(node_of)
        .filter(|left| Some(*left) != node);
    [
        Some(Lane::Namespace(object.namespace().into())),
        Some(Lane::Object(object.key.clone())),
        node.map(|node| Lane::Node(node.into())),
        left.map(|node| Lane::Node(node.into())),
    ]
    .into_iter()
    .flatten()
}

#[derive(Debug)]
struct Track {
    events: VecDeque<Arc<Event>>,
    /// Every event of the lane after this version is in `events`.
    floor: u64,
    changed: watch::Sender<u64>,
}

/// The lanes of a table that somebody follows.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<Lane, Track>);

impl Lanes {
    /// A signal that fires at every event of the lane. `history` is that of the whole table, complete from `floor` on.
    pub(super) fn follow(
        &mut self,
        lane: Lane,
        history: &VecDeque<Arc<Event>>,
        floor: u64,
        version: u64,
    ) -> watch::Receiver<u64> {
        self.0.retain(|_, track| track.changed.receiver_count() > 0);
        let track = self.0.entry(lane).or_insert_with_key(|lane| {
            let concerned = |event: &&Arc<Event>| {
                lane.has(&event.object) || event.previous.as_deref().is_some_and(|previous| lane.has(previous))
            };
            Track {
                events: history.iter().filter(concerned).cloned().collect(),
                floor,
                changed: watch::Sender::new(version),
            }
        });
        track.changed.subscribe()
    }

    /// Up to `limit` events of a lane after a version. None if nobody has followed it so far.
    pub(super) fn events(&self, lane: &Lane, version: u64, limit: usize) -> Option<Result<Vec<Arc<Event>>, Expired>> {
        let track = self.0.get(lane)?;
        if version < track.floor {
            return Some(Err(Expired { oldest: track.floor }));
        }
        let since = track.events.partition_point(|event| event.object.version <= version);
        Some(Ok(track.events.range(since..).take(limit).cloned().collect()))
    }

    /// Adds an event, and tells whom to wake for it.
    pub(super) fn publish(&mut self, event: &Arc<Event>, wake: &mut Wake) {
        if self.0.is_empty() {
            return;
        }
        for lane in lanes_of(event) {
            if let Some(track) = self.0.get_mut(&lane) {
                track.events.push_back(event.clone());
                wake.add(&track.changed);
            }
        }
    }

    /// Forgets the oldest event of the table.
    pub(super) fn forget(&mut self, event: &Arc<Event>) {
        if self.0.is_empty() {
            return;
        }
        for lane in lanes_of(event) {
            if let Some(track) = self.0.get_mut(&lane)
                && track.events.front().is_some_and(|oldest| Arc::ptr_eq(oldest, event))
            {
                track.events.pop_front();
                track.floor = event.object.version;
            }
        }
    }

    /// Forgets everything.
    pub(super) fn compact(&mut self, version: u64) {
        for track in self.0.values_mut() {
            track.events.clear();
            track.floor = version;
        }
    }
}

/// Signals to be sent once the lock on the tables is released, each once.
#[derive(Default)]
pub(super) struct Wake {
    signals: Vec<watch::Sender<u64>>,
    seen: HashSet<usize>,
}

impl Wake {
    pub(super) fn add(&mut self, signal: &watch::Sender<u64>) {
        // The address is that of the table's or the track's own sender, which stays where it is while the lock is held.
        if self.seen.insert(std::ptr::from_ref(signal) as usize) {
            self.signals.push(signal.clone());
        }
    }

    pub(super) fn send(self, version: u64) {
        for signal in self.signals {
            signal.send_replace(version);
        }
    }
}
