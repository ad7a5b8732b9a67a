//! The journal: every change that was tried, in a file of JSON lines that only its owner may read. And what of an object may be written
//! down or shown: never the values of a Secret.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{Change, Changed, Link, Plan, Write};
use crate::error::Error;

/// A journal that has grown beyond this many bytes is put aside, and a new one begun.
const LARGEST: u64 = 32 << 20;

/// The file, shared by all operations.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// `None` keeps none (tests, or no place to write to).
    file: Option<Arc<(PathBuf, Mutex<()>)>>,
}

impl Journal {
    /// A journal in a file, made with the first entry.
    pub fn at(path: PathBuf) -> Self {
        Self {
            file: Some(Arc::new((path, Mutex::new(())))),
        }
    }

    /// Where it is.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| &*file.0)
    }

    /// Adds what became of one change. What cannot be written is logged: a full disk must not keep a user from mending the cluster.
    pub(super) async fn add(
        &self,
        at: Timestamp,
        link: &Link,
        plan: &Plan,
        change: &Change,
        result: &Result<Changed, Error>,
    ) {
        let Some(file) = self.file.clone() else { return };
        let line = entry(at, link, plan, change, result).to_string();
        let written = tokio::task::spawn_blocking(move || append(&file, &line)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot write the journal"),
            Err(error) => tracing::error!(%error, "cannot write the journal"),
        }
    }
}

fn append((path, lock): &(PathBuf, Mutex<()>), line: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let _one_at_a_time = lock.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LARGEST) {
        std::fs::rename(path, path.with_extension("old.jsonl"))?;
    }
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    // One write: entries of two programs do not mix.
    file.write_all(format!("{line}\n").as_bytes())
}

fn entry(at: Timestamp, link: &Link, plan: &Plan, change: &Change, result: &Result<Changed, Error>) -> Value {
    let (verb, request) = match &change.request {
        Write::Create(_) => ("create", Value::Null),
        Write::Delete { propagation, grace } => (
            "delete",
            json!({"propagation": propagation, "gracePeriodSeconds": grace}),
        ),
        Write::Evict { grace } => ("evict", json!({"gracePeriodSeconds": grace})),
        Write::Merge { subresource, patch } => {
            let secret = &*change.target.resource.plural == "secrets";
            let patch = if secret { Value::from("***") } else { patch.clone() };
            ("patch", json!({"subresource": subresource, "patch": patch}))
        }
        Write::Apply { .. } => ("apply", Value::Null),
        Write::Edit { .. } => ("edit", Value::Null),
    };
    let mut entry = json!({
        "time": at.to_string(),
        "user": &*link.user,
        "cluster": &*link.address,
        "command": std::iter::once(&plan.command.name).chain(&plan.command.args).map(String::as_str).collect::<Vec<_>>().join(" "),
        "operation": plan.title,
        "verb": verb,
        "apiVersion": change.target.resource.api_version(),
        "kind": &*change.target.resource.kind,
        "namespace": change.target.namespace.as_deref(),
        "name": &*change.target.name,
        "uid": change.target.uid.as_deref(),
        "request": request,
    });
    let kept = |object: &Option<Value>| object.clone().map_or(Value::Null, masked);
    match result {
        Ok(changed) => {
            entry["result"] = json!("done");
            entry["before"] = kept(&changed.before);
            entry["after"] = kept(&changed.after);
        }
        Err(error) => {
            entry["result"] = json!("failed");
            entry["error"] = json!(error.line());
            entry["before"] = kept(&change.before);
        }
    }
    entry
}

/// The object without the values of a Secret, and without what the server adds for itself.
pub fn masked(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    if object["kind"] != "Secret" {
        return object;
    }
    for key in ["data", "stringData"] {
        for (_, value) in object.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten() {
            *value = json!("***");
        }
    }
    without_last_applied(&mut object);
    object
}

fn without_last_applied(object: &mut Value) {
    if let Some(annotations) = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// The values of Secrets are not shown, only whether they change.
pub(super) fn mask_both(mut before: Option<Value>, mut after: Value) -> (Option<Value>, Value) {
    if after["kind"] != "Secret" {
        return (before, after);
    }
    for key in ["data", "stringData"] {
        let old = before.as_ref().map_or(Value::Null, |before| before[key].clone());
        let new = after[key].clone();
        let mask = |map: &mut Value, other: &Value, word: &str| {
            for (name, value) in map.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten() {
                let same = *value == other[name.as_str()] || other.is_null();
                *value = json!(if same {
                    "***".to_owned()
                } else {
                    format!("*** ({word})")
                });
            }
        };
        if let Some(before) = &mut before {
            mask(before, &new, "before");
        }
        mask(&mut after, &old, "after");
    }
    for object in before.iter_mut().chain([&mut after]) {
        without_last_applied(object);
    }
    (before, after)
}
