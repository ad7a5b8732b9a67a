//! The store's invariants, spelled out. Tests call this after everything they do.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use tokio::sync::oneshot;

use super::object::Change;
use super::writer::{Op, row};
use super::{Served, Spec, Store, Table};

impl Store {
    /// Everything that is wrong with the store, in words; empty if all is well.
    pub(crate) async fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        // Disk first: the writer answers between two batches, and what it has committed it has published.
        let (reply, answer) = oneshot::channel();
        let content = match self.ops.send(Op::Content(reply)).await {
            Ok(()) => answer.await.unwrap_or(Ok(None)),
            Err(_) => Ok(None),
        };
        let state = self.inner.read();
        for served in state.tables.iter().flatten() {
            check_table(&served.spec, &served.table, state.version, &mut wrong);
        }
        match content {
            Err(error) => wrong.push(error.to_string()),
            Ok(None) => {}
            Ok(Some(content)) => {
                let mut on_disk: BTreeMap<&str, &[u8]> =
                    content.rows.iter().map(|(key, bytes)| (&**key, &bytes[..])).collect();
                for (name, parked) in &state.parked {
                    for (key, _) in parked {
                        on_disk.remove(format!("{name}\0{key}").as_str());
                    }
                }
                for Served { spec, table, .. } in state.tables.iter().flatten() {
                    for object in table
                        .range(None, None)
                        .filter(|object| object.version <= content.version)
                    {
                        let row = row(spec, &object.key);
                        if on_disk.remove(row.as_str()) != Some(&object.json()[..]) {
                            wrong.push(format!("{row:?} differs between memory and disk"));
                        }
                    }
                }
                if state.version == content.version && !on_disk.is_empty() {
                    wrong.push(format!("only on disk: {:?}", on_disk.keys().collect::<Vec<_>>()));
                }
            }
        }
        wrong
    }
}

fn check_table(spec: &Spec, table: &Table, version: u64, wrong: &mut Vec<String>) {
    let mut versions = HashSet::new();
    for object in table.range(None, None) {
        let name = format!("{} {}", spec.name, object.key);
        let Ok(value) = serde_json::from_slice::<Value>(&object.json()) else {
            wrong.push(format!("{name} is not JSON"));
            continue;
        };
        if value["metadata"]["resourceVersion"] != object.version.to_string().as_str() {
            wrong.push(format!(
                "{name} says another version than its index, {}",
                object.version
            ));
        }
        if object.version > version || !versions.insert(object.version) {
            wrong.push(format!(
                "{name} has version {}, the store is at {version}",
                object.version
            ));
        }
        if (spec.index)(&value) != object.index {
            wrong.push(format!("{name} has a stale index"));
        }
        if value.get("kind").is_some() || (!spec.versioned && value.get("apiVersion").is_some()) {
            wrong.push(format!("{name} carries its type"));
        }
    }
    let mut last = table.floor();
    let mut latest = BTreeMap::new();
    for event in table.history() {
        if event.object.version <= last || event.object.version > version {
            wrong.push(format!(
                "{}: history jumps from {last} to {}",
                spec.name, event.object.version
            ));
        }
        last = event.object.version;
        if (event.change == Change::Added) != event.previous.is_none() {
            wrong.push(format!(
                "{}: an event at {last} does not fit what was before",
                spec.name
            ));
        }
        latest.insert(&event.object.key, event);
    }
    for (key, event) in latest {
        let live = table.get(key).map(|object| object.version);
        let expected = (event.change != Change::Deleted).then_some(event.object.version);
        if live != expected {
            wrong.push(format!(
                "{} {key}: history ends at {expected:?}, live is {live:?}",
                spec.name
            ));
        }
    }
}
