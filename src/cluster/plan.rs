//! Whatever changes a cluster: a [`Plan`] of [`Change`]s, made by an action from what the user saw, carried out by
//! [`super::execute`], and turned round by [`Plan::inverse`].

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::cluster::{ClusterId, Report, Resource};
use crate::keys::Line;
use crate::text;

/// One object of a cluster, by name and, where it is known, by UID: a later object of the same name is another one.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectRef {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its resource.
    pub resource: Arc<Resource>,
    /// Its namespace, when it has one.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// Its UID; `None` for an object that is yet to be made.
    pub uid: Option<Arc<str>>,
}

impl ObjectRef {
    /// `pod kuard`
    pub fn title(&self) -> String {
        format!("{} {}", self.resource.singular, self.name)
    }

    /// `shop/web`; `/knarr` where there are no namespaces.
    pub fn qualified_name(&self) -> String {
        format!("{}/{}", self.namespace.as_deref().unwrap_or_default(), self.name)
    }

    /// Its path on the server.
    pub fn path(&self) -> String {
        self.resource.object_path(self.namespace.as_deref(), &self.name)
    }
}

/// How an object is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Make it.
    Create(Value),
    /// Ask for it to go, which a disruption budget may put off: it is asked again until it goes, and then until it is gone.
    Evict {
        /// Seconds its processes have to end; `None` leaves that to the pod.
        grace: Option<u32>,
    },
    /// Delete it.
    Delete {
        /// What becomes of what it owns: `Background`, `Foreground` or `Orphan`.
        propagation: &'static str,
        /// Seconds its processes have to end: 0 does not wait for them, `None` leaves it to the object.
        grace: Option<u32>,
    },
    /// Change some fields, whatever the others are now (RFC 7386).
    Merge {
        /// Of this subresource: `scale`.
        subresource: Option<&'static str>,
        /// The fields.
        patch: Value,
    },
    /// Server-side apply.
    Apply {
        /// The object as wanted.
        body: Value,
        /// Whether an earlier change of the plan makes its namespace or its kind, so that it may have to wait for them.
        awaited: bool,
    },
    /// Change what differs between two versions of it, wherever the object has got to meanwhile; where it has changed in the same
    /// places, it is a conflict.
    Edit {
        /// The object before.
        base: Value,
        /// The object after.
        edited: Value,
    },
}

/// In which order the changes of a plan are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pace {
    /// Several at a time.
    #[default]
    Together,
    /// Each waits for the one before.
    InTurn,
    /// The first alone, then all others, each of which may take long.
    AfterFirst,
}

/// One object and how it changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The object.
    pub target: ObjectRef,
    /// As it was when the user was asked; `None` when it did not exist.
    pub before: Option<Value>,
    /// What is sent.
    pub request: Write,
}

/// An operation: what the user asked for, where, and every change it makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The one cluster it changes.
    pub cluster: ClusterId,
    /// The command that asked for it.
    pub command: Line,
    /// What it does, as a heading: `delete 3 pods`.
    pub title: String,
    /// What it has done, after the object's name: `deleted`.
    pub done: String,
    /// The changes.
    pub changes: Vec<Change>,
    /// In which order they are made.
    pub pace: Pace,
}

impl Plan {
    /// `pod kuard`, `3 pods`, `4 objects`: what it is about.
    pub fn subject(&self) -> String {
        subject(&self.changes.iter().map(|change| &change.target).collect::<Vec<_>>())
    }

    /// Whether everything it does can be taken back as it was: then nothing need be asked first.
    pub fn is_undoable(&self) -> bool {
        let undoable = |change: &Change| match change.request {
            Write::Merge { .. } | Write::Edit { .. } => change.before.is_some(),
            Write::Create(_) => true,
            Write::Delete { .. } | Write::Evict { .. } | Write::Apply { .. } => false,
        };
        self.changes.iter().all(undoable)
    }

    /// The plan that takes back what was done of this one; `None` when nothing of it can be.
    pub fn inverse(&self, report: &Report) -> Option<Plan> {
        let mut changes: Vec<Change> = self
            .changes
            .iter()
            .zip(&report.results)
            .filter_map(|(change, result)| {
                let result = result.as_ref().ok()?;
                inverse(
                    change,
                    result.before.as_ref().or(change.before.as_ref()),
                    result.after.as_ref(),
                )
            })
            .collect();
        changes.reverse();
        (!changes.is_empty()).then(|| Plan {
            cluster: self.cluster,
            command: Line::bare("change.undo"),
            title: format!("undo: {}", self.title),
            done: match self.done.strip_prefix("no longer ") {
                Some(done) => done.to_owned(),
                None => format!("no longer {}", self.done),
            },
            changes,
            pace: self.pace,
        })
    }
}

/// `pod kuard`, `3 pods`, `4 objects`.
pub fn subject(targets: &[&ObjectRef]) -> String {
    match targets {
        [one] => one.title(),
        many => {
            let singular = many.first().map_or("object", |first| &*first.resource.singular);
            let same = many.iter().all(|target| *target.resource.singular == *singular);
            text::count(many.len(), if same { singular } else { "object" })
        }
    }
}

fn inverse(change: &Change, before: Option<&Value>, after: Option<&Value>) -> Option<Change> {
    let uid = |object: Option<&Value>| Some(Arc::from(object?.pointer("/metadata/uid")?.as_str()?));
    let mut target = change.target.clone();
    let request = match (&change.request, before, after) {
        // It was made: it goes again. Only the very object that was made.
        (Write::Create(_) | Write::Apply { .. }, None, Some(_)) => {
            target.uid = Some(uid(after)?);
            Write::Delete {
                propagation: "Background",
                grace: None,
            }
        }
        // It was deleted: another one of the same content is made, unless somebody else sees to that.
        (Write::Delete { .. } | Write::Evict { .. }, Some(before), _) if !comes_back(&change.target, before) => {
            target.uid = None;
            Write::Create(restorable(before.clone()))
        }
        (
            Write::Merge {
                subresource: Some(subresource),
                patch,
            },
            Some(before),
            _,
        ) => Write::Merge {
            subresource: Some(subresource),
            patch: restoring(patch, before),
        },
        (
            Write::Merge {
                subresource: None,
                patch,
            },
            Some(before),
            Some(after),
        ) => Write::Edit {
            base: after.clone(),
            edited: merged(after.clone(), &restoring(patch, before)),
        },
        (Write::Edit { .. } | Write::Apply { .. }, Some(before), Some(after)) => Write::Edit {
            base: without_status(after.clone()),
            edited: without_status(before.clone()),
        },
        _ => return None,
    };
    Some(Change {
        target,
        before: match &request {
            Write::Create(_) => None,
            Write::Merge { .. } => before.map(|before| match &change.request {
                Write::Merge { patch, .. } => merged(before.clone(), patch),
                _ => before.clone(),
            }),
            _ => after.cloned(),
        },
        request,
    })
}

/// Whether a deleted object is made again by its owner, or was more than what is written in it.
fn comes_back(target: &ObjectRef, before: &Value) -> bool {
    let owned = before
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array)
        .is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == json!(true)));
    let mirrored = before
        .pointer("/metadata/annotations/kubernetes.io~1config.mirror")
        .is_some();
    owned || mirrored || matches!(&*target.resource.plural, "namespaces" | "nodes" | "events")
}

/// An object without what belongs to its first life only.
fn restorable(object: Value) -> Value {
    let mut object = without_status(object);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "managedFields",
            "ownerReferences",
        ] {
            metadata.shift_remove(key);
        }
    }
    // Where it ran is for the scheduler to say again.
    if object["kind"] == "Pod"
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.shift_remove("nodeName");
    }
    object
}

fn without_status(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["managedFields", "resourceVersion", "generation"] {
            metadata.shift_remove(key);
        }
    }
    object
}

/// The patch that puts back what `patch` changes.
fn restoring(patch: &Value, before: &Value) -> Value {
    match patch {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(key, _)| *key != "uid")
                .map(|(key, value)| {
                    let old = before.get(key).unwrap_or(&Value::Null);
                    let restored = if value.is_object() && old.is_object() {
                        restoring(value, old)
                    } else if value.is_object() && old.is_null() {
                        // The map was not there: its entries go one by one.
                        restoring(value, &Value::Object(Map::new()))
                    } else {
                        old.clone()
                    };
                    (key.clone(), restored)
                })
                .collect(),
        ),
        _ => before.clone(),
    }
}

/// RFC 7386: the target after the patch.
pub(super) fn merged(mut target: Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else {
        return patch.clone();
    };
    if !target.is_object() {
        target = Value::Object(Map::new());
    }
    if let Some(map) = target.as_object_mut() {
        for (key, value) in fields {
            if value.is_null() {
                map.shift_remove(key);
            } else {
                let old = map.get(key).cloned().unwrap_or(Value::Null);
                map.insert(key.clone(), merged(old, value));
            }
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Changed, Discovery};

    fn pod(uid: Option<&str>) -> ObjectRef {
        ObjectRef {
            cluster: ClusterId(1),
            resource: Discovery::built_in().find("pods").expect("known").clone(),
            namespace: Some("default".into()),
            name: "web".into(),
            uid: uid.map(Into::into),
        }
    }

    fn undo(request: Write, before: Option<Value>, after: Option<Value>) -> Option<Write> {
        let plan = Plan {
            cluster: ClusterId(1),
            command: Line::bare("x.y"),
            title: "t".into(),
            done: "done".into(),
            changes: vec![Change {
                target: pod(Some("u")),
                before: before.clone(),
                request,
            }],
            pace: Pace::Together,
        };
        let report = Report {
            results: vec![Ok(Changed { before, after })],
        };
        plan.inverse(&report).map(|mut plan| plan.changes.remove(0).request)
    }

    #[test]
    fn a_label_is_put_back_and_a_new_one_goes() {
        let before = json!({"metadata": {"uid": "u", "labels": {"a": "old"}}});
        let after = json!({"metadata": {"uid": "u", "labels": {"a": "new", "b": "1"}, "resourceVersion": "2"}});
        let patch = json!({"metadata": {"uid": "u", "labels": {"a": "new", "b": "1"}}});
        let request = Write::Merge {
            subresource: None,
            patch,
        };
        let Some(Write::Edit { base, edited }) = undo(request, Some(before), Some(after.clone())) else {
            panic!("it can be undone");
        };
        assert_eq!(base, after);
        assert_eq!(edited["metadata"]["labels"], json!({"a": "old"}));
    }

    #[test]
    fn what_was_made_is_deleted_by_its_uid_and_what_was_deleted_is_made_again() {
        let made = json!({"kind": "Pod", "metadata": {"uid": "new", "name": "web"}});
        let gone = undo(Write::Create(json!({})), None, Some(made.clone()));
        assert!(matches!(gone, Some(Write::Delete { grace: None, .. })));
        let deleted = Write::Delete {
            propagation: "Background",
            grace: None,
        };
        let Some(Write::Create(again)) = undo(deleted.clone(), Some(made), None) else {
            panic!("it can be undone");
        };
        assert_eq!(again, json!({"kind": "Pod", "metadata": {"name": "web"}}));
        let owned = json!({"metadata": {"uid": "u", "ownerReferences": [{"controller": true}]}});
        assert_eq!(undo(deleted, Some(owned), None), None, "its owner has made another one");
    }
}
