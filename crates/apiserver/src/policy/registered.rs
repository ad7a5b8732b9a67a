//! What users have registered, parsed and compiled once per version of an object, not once per request.

use std::sync::{Arc, Mutex, PoisonError};

use knarr_resource::expressions::Expressions;
use serde_json::Value;

use crate::server::Server;
use crate::store::Slot;
use crate::webhook::Webhook;

/// One object, as requests need it.
pub(crate) struct Entry<T> {
    pub name: String,
    version: u64,
    pub value: T,
}

/// The objects of one resource, in the order of their names.
pub(crate) type Entries<T> = Arc<[Arc<Entry<T>>]>;

/// A policy of either sort.
pub(crate) struct Policy {
    pub spec: Value,
    pub expressions: Expressions,
}

/// The entries of a table as of a version of it.
struct Cache<T>(Mutex<(u64, Entries<T>)>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::new((0, Arc::default())))
    }
}

impl<T> Cache<T> {
    fn entries(&self, server: &Server, slot: Slot, make: impl Fn(&str, Value) -> T) -> Entries<T> {
        let version = server.store.table_version(slot);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 == version {
            return known.1.clone();
        }
        let objects = server.store.list(slot, None).objects;
        let entries = objects.iter().map(|object| {
            let same = |entry: &&Arc<Entry<T>>| entry.name == object.name() && entry.version == object.version;
            known.1.iter().find(same).cloned().unwrap_or_else(|| {
                Arc::new(Entry {
                    name: object.name().to_owned(),
                    version: object.version,
                    value: make(object.name(), object.value()),
                })
            })
        });
        let entries: Entries<T> = entries.collect();
        *known = (version, entries.clone());
        entries
    }
}

/// All that is registered.
#[derive(Default)]
pub(crate) struct Registered {
    webhooks: [Cache<Vec<Webhook>>; 2],
    policies: [Cache<Policy>; 2],
    bindings: [Cache<Value>; 2],
}

pub(super) const GROUP: &str = "admissionregistration.k8s.io";

impl Registered {
    /// The webhooks by their configurations.
    pub(crate) fn webhooks(&self, server: &Server, mutating: bool) -> Entries<Vec<Webhook>> {
        let plural = match mutating {
            true => "mutatingwebhookconfigurations",
            false => "validatingwebhookconfigurations",
        };
        let make = |name: &str, value: Value| Webhook::all(name, value, mutating);
        self.webhooks[usize::from(mutating)].entries(server, server.slot(GROUP, plural), make)
    }

    pub(super) fn policies(&self, server: &Server, mutating: bool) -> Entries<Policy> {
        let plural = match mutating {
            true => "mutatingadmissionpolicies",
            false => "validatingadmissionpolicies",
        };
        let make = |_: &str, mut value: Value| {
            let spec = value["spec"].take();
            Policy {
                expressions: Expressions::of_policy(&spec),
                spec,
            }
        };
        self.policies[usize::from(mutating)].entries(server, server.slot(GROUP, plural), make)
    }

    /// The `spec` of each binding.
    pub(super) fn bindings(&self, server: &Server, mutating: bool) -> Entries<Value> {
        let plural = match mutating {
            true => "mutatingadmissionpolicybindings",
            false => "validatingadmissionpolicybindings",
        };
        let make = |_: &str, mut value: Value| value["spec"].take();
        self.bindings[usize::from(mutating)].entries(server, server.slot(GROUP, plural), make)
    }
}
