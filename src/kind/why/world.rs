//! The objects that rules look at, and what could not be read.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::event::Event;
use super::finding::Thing;
use crate::kind::field::{items, text};

/// API group and kind of an object.
pub(super) fn group_kind(object: &Value) -> (&str, &str) {
    let version = text(&object["apiVersion"]);
    (
        version.rsplit_once('/').map_or("", |(group, _)| group),
        text(&object["kind"]),
    )
}

/// What is known of an object that another one names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known<'a> {
    /// It is there.
    There(&'a Value),
    /// It is not.
    Absent,
    /// Its kind has not been read: nothing can be said.
    Unread,
}

impl<'a> Known<'a> {
    pub(super) fn there(self) -> Option<&'a Value> {
        match self {
            Self::There(object) => Some(object),
            Self::Absent | Self::Unread => None,
        }
    }

    pub(super) fn is_absent(self) -> bool {
        self == Self::Absent
    }
}

/// Objects of one cluster, as they were read.
#[derive(Debug, Default, PartialEq)]
pub struct World {
    /// By group and kind.
    objects: HashMap<(String, String), Vec<Value>>,
    /// The kinds of which all objects are here: of this namespace, or of the cluster where it is empty.
    extents: HashMap<(String, String), String>,
    absent: HashSet<Thing>,
    events: HashMap<String, Vec<Event>>,
    /// The last lines of the previous run of a container, by pod UID and container.
    tails: HashMap<(String, String), Vec<String>>,
    unread: BTreeMap<String, String>,
}

impl World {
    /// Every object that has been read.
    pub(in crate::kind) fn everything(&self) -> impl Iterator<Item = &Value> {
        self.objects.values().flatten()
    }

    /// Adds all objects of a kind: of `namespace`, or of the whole cluster when it is empty.
    pub fn list(&mut self, group: &str, kind: &str, namespace: &str, objects: Vec<Value>) {
        let key = (group.to_owned(), kind.to_owned());
        let typed = objects.iter().all(|object| !object["kind"].is_null());
        // A list names each object once: among no others, none need be looked for.
        if typed && kind != "Event" && !self.objects.contains_key(&key) {
            self.objects.insert(key, objects);
        } else {
            self.some(group, kind, objects);
        }
        self.extents
            .insert((group.to_owned(), kind.to_owned()), namespace.to_owned());
    }

    /// Adds some objects of a kind; there may be others.
    pub fn some(&mut self, group: &str, kind: &str, objects: Vec<Value>) {
        for mut object in objects {
            // The items of a list do not say what they are.
            if object["kind"].is_null()
                && let Some(map) = object.as_object_mut()
            {
                let version = if group.is_empty() {
                    "v1".to_owned()
                } else {
                    format!("{group}/v1")
                };
                map.insert("kind".into(), kind.into());
                map.insert("apiVersion".into(), version.into());
            }
            self.object(object);
        }
    }

    /// Notes that there is no such object.
    pub fn absent(&mut self, thing: Thing) {
        self.absent.insert(thing);
    }

    /// Adds one object, of whose kind there may be others.
    pub fn object(&mut self, object: Value) {
        if group_kind(&object) == ("", "Event") || group_kind(&object) == ("events.k8s.io", "Event") {
            self.event(&object);
            return;
        }
        let (group, kind) = group_kind(&object);
        let objects = self.objects.entry((group.to_owned(), kind.to_owned())).or_default();
        let uid = &object["metadata"]["uid"];
        match objects
            .iter_mut()
            .find(|other| other["metadata"]["uid"] == *uid && !uid.is_null())
        {
            Some(other) => *other = object,
            None => objects.push(object),
        }
    }

    /// Adds an event, of either of the two kinds.
    fn event(&mut self, event: &Value) {
        let (uid, event) = Event::read(event);
        self.events.entry(uid).or_default().push(event);
    }

    /// Adds the last lines that a container's previous run wrote.
    pub fn tail(&mut self, pod: &str, container: &str, lines: Vec<String>) {
        self.tails.insert((pod.to_owned(), container.to_owned()), lines);
    }

    /// Notes that something could not be read, and why: findings that need it are not made.
    pub fn skip(&mut self, what: &str, why: &str) {
        self.unread.insert(what.to_owned(), why.to_owned());
    }

    /// An object that findings speak of, as it was read.
    pub fn find(&self, thing: &Thing) -> Option<&Value> {
        self.get(&thing.group, &thing.kind, &thing.namespace, &thing.name)
            .there()
    }

    /// What could not be read, and why.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &str)> {
        self.unread.iter().map(|(what, why)| (what.as_str(), why.as_str()))
    }

    /// Every object of a kind that has been read.
    pub(in crate::kind) fn all<'a>(&'a self, group: &str, kind: &str) -> &'a [Value] {
        self.objects
            .get(&(group.to_owned(), kind.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    /// Every object of a kind in a namespace.
    pub(in crate::kind) fn within<'a>(
        &'a self,
        group: &str,
        kind: &str,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Value> {
        self.all(group, kind)
            .iter()
            .filter(move |object| super::namespace(object) == namespace)
    }

    /// Whether all objects of a kind in `namespace` (empty: in the cluster) have been read.
    pub(super) fn knows(&self, group: &str, kind: &str, namespace: &str) -> bool {
        self.extents
            .get(&(group.to_owned(), kind.to_owned()))
            .is_some_and(|read| read.is_empty() || !namespace.is_empty() && read == namespace)
    }

    /// The object of this name.
    pub(super) fn get<'a>(&'a self, group: &str, kind: &str, namespace: &str, name: &str) -> Known<'a> {
        let found = self
            .all(group, kind)
            .iter()
            .find(|object| super::name(object) == name && super::namespace(object) == namespace);
        match found {
            Some(object) => Known::There(object),
            None if self.knows(group, kind, namespace)
                || self.absent.contains(&Thing::new(group, kind, namespace, name)) =>
            {
                Known::Absent
            }
            None => Known::Unread,
        }
    }

    /// The objects of a kind that this one controls.
    pub(in crate::kind) fn children<'a>(&'a self, owner: &'a Value, group: &str, kind: &str) -> Vec<&'a Value> {
        let uid = &owner["metadata"]["uid"];
        self.all(group, kind)
            .iter()
            .filter(|object| super::controller(object).is_some_and(|reference| reference["uid"] == *uid))
            .collect()
    }

    /// The events about an object, oldest first.
    pub(super) fn events(&self, object: &Value) -> &[Event] {
        self.events
            .get(text(&object["metadata"]["uid"]))
            .map_or(&[], Vec::as_slice)
    }

    /// The newest event about an object with one of these reasons.
    pub(super) fn newest(&self, object: &Value, reasons: &[&str]) -> Option<&Event> {
        self.events(object)
            .iter()
            .filter(|event| reasons.contains(&event.reason.as_str()))
            .max_by_key(|event| event.last)
    }

    /// The last lines of a container's previous run.
    pub(super) fn last_lines(&self, pod: &Value, container: &str) -> &[String] {
        let key = (text(&pod["metadata"]["uid"]).to_owned(), container.to_owned());
        self.tails.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The pods a map of labels selects in a namespace. An empty map selects none.
    pub(super) fn selected<'a>(&'a self, namespace: &'a str, labels: &'a Value) -> Vec<&'a Value> {
        let Some(map) = labels.as_object().filter(|map| !map.is_empty()) else {
            return Vec::new();
        };
        self.within("", "Pod", namespace)
            .filter(|pod| map.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value))
            .collect()
    }

    /// The addresses behind a Service: of all its EndpointSlices.
    pub(in crate::kind) fn endpoints<'a>(&'a self, service: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.within("discovery.k8s.io", "EndpointSlice", super::namespace(service))
            .filter(move |slice| {
                slice["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
            })
            .flat_map(|slice| items(&slice["endpoints"]))
    }
}
