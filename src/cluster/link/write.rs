//! Writing one [`Change`]: the only requests that leave with a [`Permit`]. The dry run of one needs none: the server keeps nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Call, Link, Permit};
use crate::cluster::request::uri;
use crate::cluster::{Change, MANAGER, Read, Write, merge};
use crate::error::{Error, ErrorKind, Result};

/// Tries of what another writer, or a controller that has yet to act, may stand in the way of.
const TRIES: usize = 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// What one change did.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The object before, where it was read.
    pub before: Option<Value>,
    /// The object as the server answered it; `None` when it is gone.
    pub after: Option<Value>,
}

/// How a change is sent.
enum Mode {
    /// The server says what would happen.
    DryRun,
    /// It happens.
    ForReal(Permit),
}

impl Link {
    /// Makes a change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ReadOnly`] before anything is sent; [`ErrorKind::Conflict`] when the object is not what the user meant any more;
    /// else what the server answered, or why it did not.
    pub async fn write(&self, change: &Change) -> Result<Changed> {
        let permit = self.permit(&change.target.title())?;
        self.perform(change, &Mode::ForReal(permit)).await
    }

    /// What a change would do, as the server says.
    ///
    /// # Errors
    ///
    /// What the server would refuse.
    pub async fn dry_run(&self, change: &Change) -> Result<Changed> {
        self.perform(change, &Mode::DryRun).await
    }

    async fn perform(&self, change: &Change, mode: &Mode) -> Result<Changed> {
        let target = &change.target;
        let before = change.before.clone();
        match &change.request {
            Write::Create(body) => {
                let path = target.resource.path(target.namespace.as_deref());
                let what = format!("create {}", target.title());
                let query = [("fieldManager", MANAGER), ("fieldValidation", "Strict")];
                let answer = self
                    .put(mode, http::Method::POST, &path, &query, JSON, body, &what)
                    .await?;
                Ok(Changed {
                    before: None,
                    after: Some(answer),
                })
            }
            Write::Delete { propagation, grace } => {
                let mut body = json!({
                    "kind": "DeleteOptions",
                    "apiVersion": "v1",
                    "propagationPolicy": propagation,
                });
                // By UID: a new object of the same name is not what the user meant.
                if let Some(uid) = &target.uid {
                    body["preconditions"] = json!({"uid": &**uid});
                }
                if let Some(grace) = grace {
                    body["gracePeriodSeconds"] = json!(grace);
                }
                let what = format!("delete {}", target.title());
                self.put(mode, http::Method::DELETE, &target.path(), &[], JSON, &body, &what)
                    .await?;
                Ok(Changed { before, after: None })
            }
            Write::Evict { grace } => {
                let mut body = json!({
                    "apiVersion": "policy/v1",
                    "kind": "Eviction",
                    "metadata": {"name": &*target.name, "namespace": target.namespace.as_deref()},
                    "deleteOptions": {},
                });
                if let Some(uid) = &target.uid {
                    body["deleteOptions"]["preconditions"] = json!({"uid": &**uid});
                }
                if let Some(grace) = grace {
                    body["deleteOptions"]["gracePeriodSeconds"] = json!(grace);
                }
                let path = format!("{}/eviction", target.path());
                let what = format!("evict {}", target.title());
                self.put(mode, http::Method::POST, &path, &[], JSON, &body, &what)
                    .await?;
                Ok(Changed { before, after: None })
            }
            Write::Merge { subresource, patch } => {
                let path = match subresource {
                    Some(subresource) => format!("{}/{subresource}", target.path()),
                    None => target.path(),
                };
                let what = format!("change {}", target.title());
                let query = [("fieldManager", MANAGER)];
                let after = self
                    .put(mode, http::Method::PATCH, &path, &query, MERGE_PATCH, patch, &what)
                    .await?;
                Ok(Changed {
                    before,
                    after: Some(after),
                })
            }
            Write::Apply { body, awaited } => {
                let after = self.apply(change, body, *awaited, mode).await?;
                Ok(Changed {
                    before,
                    after: Some(after),
                })
            }
            Write::Edit { base, edited } => self.edit(change, base, edited, mode).await,
        }
    }

    /// Makes the user's changes on the object as it is now, again when somebody else was faster: a busy object cannot win for ever,
    /// because what it keeps changing (its status, most often) is not what the user changes.
    async fn edit(&self, change: &Change, base: &Value, edited: &Value, mode: &Mode) -> Result<Changed> {
        let target = &change.target;
        let path = target.path();
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let answer = self
                .read(&Read::new(&*path, format!("read {}", target.title())))
                .await?;
            let now = parse(&answer)?;
            if let Some(uid) = &target.uid
                && now.pointer("/metadata/uid").and_then(Value::as_str) != Some(uid)
            {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{} was deleted and made anew meanwhile", target.title()),
                )
                .hint("this is another object of the same name: look at it first"));
            }
            let wanted = merge::three_way(base, edited, &now).map_err(|clashes| {
                let places: Vec<String> = clashes.iter().map(ToString::to_string).collect();
                Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{} has changed meanwhile where you change it: {}",
                        target.title(),
                        places.join("; ")
                    ),
                )
                .hint("look at what it is now, and decide again")
            })?;
            let mut patch = merge::patch(&now, &wanted);
            if patch.as_object().is_some_and(serde_json::Map::is_empty) {
                return Ok(Changed {
                    before: Some(now.clone()),
                    after: Some(now),
                });
            }
            // Only over the version it was made for.
            patch["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"].clone();
            let what = format!("edit {}", target.title());
            let query = [("fieldManager", MANAGER), ("fieldValidation", "Strict")];
            let sent = self.put(mode, http::Method::PATCH, &path, &query, MERGE_PATCH, &patch, &what);
            match sent.await {
                Ok(after) => {
                    return Ok(Changed {
                        before: Some(now),
                        after: Some(after),
                    });
                }
                Err(error) if tries > 0 && is_race(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Applies on the server. Fields that `kubectl` wrote are taken over, as they would be by `kubectl apply`; those that others
    /// manage, an autoscaler say, are not.
    async fn apply(&self, change: &Change, body: &Value, awaited: bool, mode: &Mode) -> Result<Value> {
        let mut body = body.clone();
        // Only over the object that was compared with, if there was one.
        if let Some(uid) = change
            .before
            .as_ref()
            .and_then(|before| before.pointer("/metadata/uid"))
        {
            body["metadata"]["uid"] = uid.clone();
        }
        let what = format!("apply {}", change.target.title());
        let waits = awaited && matches!(mode, Mode::ForReal(_));
        let mut force = "false";
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let query = [
                ("fieldManager", MANAGER),
                ("fieldValidation", "Strict"),
                ("force", force),
            ];
            let path = change.target.path();
            let sent = self.put(mode, http::Method::PATCH, &path, &query, APPLY_PATCH, &body, &what);
            let error = match sent.await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let owners = owners(&error);
            if error.kind == ErrorKind::Conflict && !owners.is_empty() {
                if force == "true" || !owners.iter().all(|owner| yields(owner)) {
                    return Err(conflict(error, &owners));
                }
                force = "true";
            } else if tries > 0 && (is_race(&error) || waits && is_early(&error)) {
                tokio::time::sleep(PAUSE).await;
            } else {
                return Err(error);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one HTTP request")]
    async fn put(
        &self,
        mode: &Mode,
        method: http::Method,
        path: &str,
        query: &[(&str, &str)],
        content_type: &str,
        body: &Value,
        what: &str,
    ) -> Result<Value> {
        let mut query: Vec<(String, String)> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match mode {
            Mode::DryRun => query.push(("dryRun".into(), "All".into())),
            Mode::ForReal(Permit(())) => {}
        }
        let call = Call {
            method,
            uri: uri(path, &query),
            content_type,
            accept: JSON,
            body: body.to_string().into_bytes(),
            what,
        };
        parse(&self.exchange(call).await?)
    }
}

/// The object in an answer.
pub(in crate::cluster) fn parse(answer: &[u8]) -> Result<Value> {
    serde_json::from_slice(answer)
        .map_err(|error| Error::new(ErrorKind::Other, "the cluster's answer is not an object").because(&error))
}

/// The managers an apply conflict names: `conflict with "kubectl-edit" using v1: .data.a`.
fn owners(error: &Error) -> Vec<String> {
    if error.kind != ErrorKind::Conflict {
        return Vec::new();
    }
    let mut owners = Vec::new();
    for part in error.message.split(" with \"").skip(1) {
        let owner = part.split('"').next().unwrap_or_default().to_owned();
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    owners
}

/// Whether a manager's fields are taken over: those written by hand, with `kubectl` or with this program, and those of objects
/// whose writers the server has not kept.
fn yields(manager: &str) -> bool {
    matches!(manager, "kubectl" | "before-first-apply" | MANAGER)
        || manager.starts_with("kubectl-")
        || manager.starts_with("knarr-")
}

fn conflict(error: Error, owners: &[String]) -> Error {
    let others: Vec<_> = owners
        .iter()
        .filter(|owner| !yields(owner))
        .map(|owner| format!("{owner:?}"))
        .collect();
    let hint = format!(
        "{} sets these fields: leave them out of the manifest, or change them there",
        others.join(" and ")
    );
    Error {
        hints: Vec::new(),
        ..error
    }
    .hint(hint)
}

/// Another writer came in between.
fn is_race(error: &Error) -> bool {
    error.kind == ErrorKind::Conflict && error.message.contains("object has been modified")
}

/// What an earlier change makes is not there yet: a new namespace has its service account only after a moment, and a new kind is
/// served only after a moment.
fn is_early(error: &Error) -> bool {
    error.kind == ErrorKind::NotFound
        || error.kind == ErrorKind::Forbidden
            && error.message.contains("serviceaccount")
            && error.message.contains("not found")
}
