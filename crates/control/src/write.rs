//! Writes as data: what a sync wants done, before anybody does it.
//!
//! A controller's sync is a pure function from caches to a [`Plan`]. That makes it testable as a table and leaves
//! one place that talks to the API server: [`Performer`].

use std::time::Duration;

use futures::future::join_all;
use kube::{Client, Resource};
use serde::Serialize;
use serde_json::{Value, json};

use crate::event::{Note, Recorder};
use crate::expect::Expectations;
use crate::key::Key;

/// URL path of an object or a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    /// The collection of a kind in a namespace (empty: cluster-scoped).
    pub(crate) fn collection<K: Resource<DynamicType = ()>>(namespace: &str) -> Self {
        Self(K::url_path(&(), Some(namespace).filter(|ns| !ns.is_empty())))
    }

    /// An object by name.
    pub(crate) fn named<K: Resource<DynamicType = ()>>(key: &Key) -> Self {
        Self(format!("{}/{}", Self::collection::<K>(&key.namespace).0, key.name))
    }

    /// An object in hand.
    pub(crate) fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::named::<K>(&Key::of(object))
    }

    /// A path from discovery.
    pub(crate) fn raw(path: String) -> Self {
        Self(path)
    }

    /// A subresource of the object.
    pub(crate) fn sub(self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a write changes the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Replace,
    Merge,
    Strategic,
    Delete,
}

type Rescue = Box<dyn FnOnce(&Failure) -> Vec<Write> + Send + Sync>;

/// One request.
pub(crate) struct Write {
    pub(crate) verb: Verb,
    pub(crate) path: Path,
    pub(crate) body: Value,
    /// UID of what a counted deletion deletes.
    pub(crate) uid: Option<String>,
    pub(crate) succeeded: Vec<Note>,
    pub(crate) failed: Option<Note>,
    fine_when_gone: bool,
    fine_when_terminating: bool,
    fine_when_there: bool,
    rescue: Option<Rescue>,
}

impl Write {
    fn new(verb: Verb, path: Path, body: Value) -> Self {
        Self {
            verb,
            path,
            body,
            uid: None,
            succeeded: Vec::new(),
            failed: None,
            fine_when_gone: false,
            fine_when_terminating: false,
            fine_when_there: false,
            rescue: None,
        }
    }

    /// Creates an object in its namespace.
    pub(crate) fn create<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        Self::new(Verb::Create, Path::collection::<K>(namespace), typed(object))
    }

    /// Replaces an object; fails with a conflict when it has changed since it was cached.
    pub(crate) fn replace<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::new(Verb::Replace, Path::of(object), typed(object))
    }

    /// Replaces an object's status.
    pub(crate) fn replace_status<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::replace_sub(object, "status")
    }

    /// Replaces what a subresource shows of an object.
    pub(crate) fn replace_sub<K: Resource<DynamicType = ()> + Serialize>(object: &K, name: &str) -> Self {
        Self::new(Verb::Replace, Path::of(object).sub(name), typed(object))
    }

    /// JSON merge patch.
    pub(crate) fn merge(path: Path, patch: Value) -> Self {
        Self::new(Verb::Merge, path, patch)
    }

    /// Strategic merge patch.
    pub(crate) fn strategic(path: Path, patch: Value) -> Self {
        Self::new(Verb::Strategic, path, patch)
    }

    /// Deletes exactly this object, not a successor of the same name. Fine when it is gone already.
    pub(crate) fn delete<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        let uid = object.meta().uid.clone();
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": "Background",
            "preconditions": { "uid": uid },
        });
        let mut write = Self::new(Verb::Delete, Path::of(object), options).fine_when_gone();
        write.uid = uid;
        write
    }

    /// Deletes without waiting for a kubelet.
    pub(crate) fn at_once(mut self) -> Self {
        self.body["gracePeriodSeconds"] = json!(0);
        self
    }

    /// An event to record when the write has succeeded. `{name}` becomes the object's name.
    pub(crate) fn on_success(mut self, note: Note) -> Self {
        self.succeeded.push(note);
        self
    }

    /// An event to record when the write has failed. `{error}` becomes the reason.
    pub(crate) fn on_failure(mut self, note: Note) -> Self {
        self.failed = Some(note);
        self
    }

    /// Not found counts as success: somebody else was faster.
    pub(crate) fn fine_when_gone(mut self) -> Self {
        self.fine_when_gone = true;
        self
    }

    /// A namespace on its way out refuses every creation; there is no point in trying again.
    pub(crate) fn fine_when_terminating(mut self) -> Self {
        self.fine_when_terminating = true;
        self
    }

    /// Already there counts as success: somebody else was faster.
    pub(crate) fn fine_when_there(mut self) -> Self {
        self.fine_when_there = true;
        self
    }

    /// Whether this failure is as good as success.
    fn forgives(&self, failure: &Failure) -> bool {
        (self.fine_when_gone && failure.code == 404)
            || (self.fine_when_there && failure.reason == "AlreadyExists")
            || (self.fine_when_terminating && failure.namespace_terminating())
    }

    /// Writes to make when this one fails. The failure stands.
    pub(crate) fn rescue(mut self, rescue: impl FnOnce(&Failure) -> Vec<Write> + Send + Sync + 'static) -> Self {
        self.rescue = Some(Box::new(rescue));
        self
    }

    /// The writes that would follow a failure.
    #[cfg(test)]
    pub(crate) fn rescued(self, failure: &Failure) -> Vec<Write> {
        self.rescue.map_or_else(Vec::new, |rescue| rescue(failure))
    }
}

/// JSON of a typed object, with `apiVersion` and `kind`.
fn typed<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).expect("Kubernetes objects have string keys and serialise")
}

/// What a sync wants done.
#[derive(Default)]
pub(crate) struct Plan {
    /// Made one after the other; the first failure ends the plan.
    pub(crate) writes: Vec<Write>,
    /// Made together, after `writes`.
    pub(crate) batch: Vec<Write>,
    /// Computes the writes that depend on how the batch went (status). Not called when `writes` failed.
    pub(crate) then: Option<Continuation>,
    /// Events to record at once.
    pub(crate) notes: Vec<Note>,
    /// Sync again after this time, although nothing may have changed.
    pub(crate) again: Option<Duration>,
}

type Continuation = Box<dyn FnOnce(Option<&Failure>) -> Vec<Write> + Send>;

impl Plan {
    /// Nothing to do.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// Only these writes.
    pub(crate) fn of(writes: Vec<Write>) -> Self {
        Self {
            writes,
            ..Self::default()
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    /// The live object, when a creation found its name taken.
    pub(crate) existing: Option<Box<Value>>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                causes: status
                    .details
                    .iter()
                    .flat_map(|details| details.causes.iter().map(|cause| cause.reason.clone()))
                    .collect(),
                existing: None,
            },
            other => Self {
                message: other.to_string(),
                ..Self::default()
            },
        }
    }
}

impl Failure {
    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// Every creation in a namespace that is being deleted fails with this cause.
    fn namespace_terminating(&self) -> bool {
        self.causes.iter().any(|cause| cause == "NamespaceTerminating")
    }
}

/// Carries out plans.
#[derive(Clone)]
pub(crate) struct Performer {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    /// Recorded in `managedFields`.
    pub(crate) manager: &'static str,
}

impl Performer {
    /// Tells people, and the component's log.
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
        self.recorder.record(note);
    }

    /// Carries out a plan for `owner`, keeping its expectations.
    pub(crate) async fn perform(
        &self,
        owner: &Key,
        plan: Plan,
        expectations: Option<&Expectations>,
    ) -> Result<(), Failure> {
        for note in plan.notes {
            self.record(note);
        }
        self.sequence(plan.writes).await?;
        let outcome = self.batch(owner, plan.batch, expectations).await;
        if let Some(then) = plan.then {
            self.sequence(then(outcome.as_ref().err())).await?;
        }
        outcome
    }

    async fn sequence(&self, writes: Vec<Write>) -> Result<(), Failure> {
        for write in writes {
            let Err(failure) = self.attempt(&write).await else {
                continue;
            };
            if write.forgives(&failure) {
                continue;
            }
            for further in write.rescue.into_iter().flat_map(|rescue| rescue(&failure)) {
                self.write(further).await?;
            }
            return Err(failure);
        }
        Ok(())
    }

    /// Creations start slowly, one, two, four at a time, so that a thousand replicas that a quota forbids cost one
    /// refused request and not a thousand. Everything else goes out at once.
    async fn batch(&self, owner: &Key, batch: Vec<Write>, expectations: Option<&Expectations>) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        let creations = batch.iter().filter(|write| write.verb == Verb::Create).count();
        if let Some(expectations) = expectations {
            let deletions = batch.iter().filter(|write| write.verb == Verb::Delete);
            expectations.expect(owner, creations, deletions.filter_map(|write| write.uid.clone()));
        }
        let mut size = if creations > 0 { 1 } else { batch.len() };
        let mut rest = batch.into_iter();
        let mut failure = None;
        while failure.is_none() && rest.len() > 0 {
            let round = rest
                .by_ref()
                .take(size)
                .map(|write| self.counted(owner, write, expectations));
            failure = join_all(round).await.into_iter().find_map(Result::err);
            size *= 2;
        }
        // What was never tried will not be seen either.
        for _ in rest.filter(|write| write.verb == Verb::Create) {
            if let Some(expectations) = expectations {
                expectations.created(owner);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn counted(&self, owner: &Key, write: Write, expectations: Option<&Expectations>) -> Result<(), Failure> {
        let result = self.attempt(&write).await;
        let Err(failure) = result else { return Ok(()) };
        if let Some(expectations) = expectations {
            match write.verb {
                Verb::Create => expectations.created(owner),
                _ => expectations.deleted(owner, write.uid.as_deref().unwrap_or_default()),
            }
        }
        if write.forgives(&failure) { Ok(()) } else { Err(failure) }
    }

    /// Makes one write.
    pub(crate) async fn write(&self, write: Write) -> Result<(), Failure> {
        match self.attempt(&write).await {
            Err(failure) if !write.forgives(&failure) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Sends a write and records what there is to say about it.
    async fn attempt(&self, write: &Write) -> Result<(), Failure> {
        match self.send(write.verb, &write.path, &write.body).await {
            Ok(answer) => {
                for mut note in write.succeeded.iter().cloned() {
                    let name = answer["metadata"]["name"].as_str().unwrap_or_default();
                    note.message = note.message.replace("{name}", name);
                    self.record(note);
                }
                Ok(())
            }
            Err(mut failure) => {
                if let Some(mut note) = write.failed.clone().filter(|_| !write.forgives(&failure)) {
                    note.message = note.message.replace("{error}", &failure.message);
                    self.record(note);
                }
                if failure.reason == "AlreadyExists" && write.rescue.is_some() {
                    failure.existing = self.existing(&write.path, &write.body).await.map(Box::new);
                }
                Err(failure)
            }
        }
    }

    async fn existing(&self, collection: &Path, body: &Value) -> Option<Value> {
        let name = body["metadata"]["name"].as_str()?;
        let request = http::Request::get(format!("{}/{name}", collection.0))
            .body(Vec::new())
            .ok()?;
        self.client.request(request).await.ok()
    }

    /// Sends one request and returns the answer.
    pub(crate) async fn send(&self, verb: Verb, path: &Path, body: &Value) -> Result<Value, Failure> {
        let (method, content) = match verb {
            Verb::Create => (http::Method::POST, "application/json"),
            Verb::Replace => (http::Method::PUT, "application/json"),
            Verb::Merge => (http::Method::PATCH, "application/merge-patch+json"),
            Verb::Strategic => (http::Method::PATCH, "application/strategic-merge-patch+json"),
            Verb::Delete => (http::Method::DELETE, "application/json"),
        };
        let query = match verb {
            Verb::Delete => String::new(),
            _ => format!("?fieldManager={}", self.manager),
        };
        let body = serde_json::to_vec(body).map_err(|error| Failure::other(error.to_string()))?;
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{query}", path.0))
            .header(http::header::CONTENT_TYPE, content)
            .body(body)
            .map_err(|error| Failure::other(error.to_string()))?;
        Ok(self.client.request::<Value>(request).await?)
    }
}
