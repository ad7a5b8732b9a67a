//! Applying manifests: parse, resolve, dry-run, diff, server-side apply.

mod fault;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::manifest::{self, Manifest};
use crate::cluster::{Link, Patch, Request, Resource, Verb};
use crate::error::{Error, ErrorKind, Result};

/// Who changes objects, as their managed fields remember it.
const MANAGER: &str = "knarr";

/// What the server writes itself: it says nothing about a change.
const OF_THE_SERVER: &[&str] = &[
    "managedFields",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "selfLink",
];

/// Tries of what another writer, or a controller that has yet to act, may stand in the way of.
const TRIES: usize = 20;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// What applying does to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It did not exist.
    Created,
    /// It changes.
    Configured,
    /// It is so already.
    Unchanged,
}

/// One object of an applied text.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// `deployment.apps/web`.
    pub name: String,
    /// Namespace, when it has one.
    pub namespace: Option<String>,
    /// First line of its document in the text, 1-based.
    pub line: usize,
    /// What happened, or why not.
    pub result: Result<Change>,
    /// Line of the text the error is about, where it can be told.
    pub error_line: Option<usize>,
    /// The live object before, as YAML without server-side fields; empty when it did not exist.
    pub before: String,
    /// The object after, likewise.
    pub after: String,
}

/// What applying a text does.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ApplyReport {
    /// Every object, in the text's order.
    pub objects: Vec<Applied>,
    /// Whether nothing was changed yet.
    pub dry_run: bool,
}

/// Applies every document of `text` in order; with `dry_run`, asks the server what that would change.
///
/// # Errors
///
/// When the text cannot be read, nothing of it is applied. What the server refuses stands with its object in the report.
pub async fn apply(link: &Link, text: &str, namespace: &str, dry_run: bool) -> Result<ApplyReport> {
    let mut earlier = Earlier::default();
    let mut report = ApplyReport {
        objects: Vec::new(),
        dry_run,
    };
    for manifest in manifest::parse(text)? {
        let applied = Applying {
            link,
            namespace,
            dry_run,
            earlier: &earlier,
        }
        .object(&manifest)
        .await;
        if applied.result.is_ok() {
            earlier.remember(&manifest.object);
        }
        report.objects.push(applied);
    }
    Ok(report)
}

/// What earlier documents of the text make, which a dry run leaves unmade.
#[derive(Default)]
struct Earlier {
    namespaces: HashSet<String>,
    kinds: HashSet<String>,
}

impl Earlier {
    fn remember(&mut self, object: &Value) {
        let word = |value: &Value| value.as_str().map(str::to_owned);
        match object["kind"].as_str() {
            Some("Namespace") => self.namespaces.extend(word(&object["metadata"]["name"])),
            Some("CustomResourceDefinition") => self.kinds.extend(word(&object["spec"]["names"]["kind"])),
            _ => {}
        }
    }
}

/// What applies to every object of a text.
struct Applying<'a> {
    link: &'a Link,
    namespace: &'a str,
    dry_run: bool,
    earlier: &'a Earlier,
}

impl Applying<'_> {
    async fn object(&self, manifest: &Manifest) -> Applied {
        let object = &manifest.object;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (word(&object["kind"]), word(&object["metadata"]["name"]));
        let mut applied = Applied {
            name: format!("{}/{name}", kind.to_lowercase()),
            namespace: None,
            line: usize::try_from(manifest.place.line).unwrap_or(usize::MAX),
            result: Ok(Change::Unchanged),
            error_line: None,
            before: String::new(),
            after: String::new(),
        };
        if let Err(error) = self.fill(object, &mut applied).await {
            applied.error_line = fault::line(manifest, &error.message);
            applied.result = Err(error);
        }
        applied
    }

    async fn fill(&self, object: &Value, applied: &mut Applied) -> Result<()> {
        let field = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .filter(|word| !word.is_empty())
        };
        let missing = |what: &str| Error::new(ErrorKind::Invalid, format!("the object has no {what}"));
        let api_version = field("/apiVersion").ok_or_else(|| missing("apiVersion"))?;
        let kind = field("/kind").ok_or_else(|| missing("kind"))?;
        let Some(name) = field("/metadata/name") else {
            let generated = field("/metadata/generateName").is_some();
            let hint = if generated {
                "a generated name is new each time, so there is nothing to apply to"
            } else {
                "name it"
            };
            return Err(missing("metadata.name").hint(hint));
        };
        let resource = match self.resource(api_version, kind).await {
            Err(error) if self.dry_run && error.kind == ErrorKind::NotFound && self.earlier.kinds.contains(kind) => {
                return unmade(applied, object, &format!("the kind {kind}"));
            }
            resource => resource?,
        };
        applied.name = title(&resource, name);
        let namespace = field("/metadata/namespace").unwrap_or(self.namespace);
        let namespace = Some(namespace).filter(|_| resource.namespaced);
        applied.namespace = namespace.map(str::to_owned);
        let body = body(object, namespace);
        let path = resource.object_path(namespace, name);
        let before = match self
            .link
            .send(&Request::new(Verb::Get, &*path, format!("read {}", applied.name)))
            .await
        {
            Ok(answer) => Some(object_of(&answer)?),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let awaited = namespace.filter(|namespace| self.earlier.namespaces.contains(*namespace));
        let after = match self.patch(&path, &body, &applied.name, awaited).await {
            Err(error) if self.dry_run && error.kind == ErrorKind::NotFound && awaited.is_some() => {
                let namespace = awaited.unwrap_or_default();
                return unmade(applied, &body, &format!("the namespace {namespace}"));
            }
            after => after?,
        };
        let (before, after) = (before.map(shown), shown(after));
        applied.result = Ok(match &before {
            None => Change::Created,
            Some(before) if *before == after => Change::Unchanged,
            Some(_) => Change::Configured,
        });
        let (before, after) = masked(before, after);
        applied.before = before.as_ref().map(yaml).transpose()?.unwrap_or_default();
        applied.after = yaml(&after)?;
        Ok(())
    }

    /// Waits for a kind that an earlier document defines: the server takes a moment to serve it.
    async fn resource(&self, api_version: &str, kind: &str) -> Result<std::sync::Arc<Resource>> {
        let mut tries = if self.dry_run || !self.earlier.kinds.contains(kind) {
            1
        } else {
            TRIES
        };
        loop {
            tries -= 1;
            match resolve::resource(self.link, api_version, kind).await {
                Err(error) if error.kind == ErrorKind::NotFound && tries > 0 => tokio::time::sleep(PAUSE).await,
                resource => return resource,
            }
        }
    }

    /// Applies on the server. Fields that `kubectl` wrote are taken over, as they would be by `kubectl apply`; those that others
    /// manage, an autoscaler say, are not.
    async fn patch(&self, path: &str, body: &Value, name: &str, awaited: Option<&str>) -> Result<Value> {
        let mut force = false;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let mut request = Request::new(Verb::Patch(Patch::Apply), path, format!("apply {name}"))
                .param("fieldManager", MANAGER)
                .param("fieldValidation", "Strict")
                .param("force", if force { "true" } else { "false" })
                .json(body.clone());
            if self.dry_run {
                request = request.param("dryRun", "All");
            }
            let error = match self.link.send(&request).await {
                Ok(answer) => return object_of(&answer),
                Err(error) => error,
            };
            let owners = owners(&error);
            if error.kind == ErrorKind::Conflict && !owners.is_empty() {
                if force || !owners.iter().all(|owner| yields(owner)) {
                    return Err(conflict(error, &owners));
                }
                force = true;
            } else if tries > 0 && (is_race(&error) || (awaited.is_some() && !self.dry_run && is_early(&error))) {
                tokio::time::sleep(PAUSE).await;
            } else {
                return Err(error);
            }
        }
    }
}

/// An object that cannot be tried, because what it needs is made by an earlier document when the text is applied.
fn unmade(applied: &mut Applied, object: &Value, what: &str) -> Result<()> {
    applied.result = Ok(Change::Created);
    let (_, object) = masked(None, shown(object.clone()));
    applied.after = format!(
        "# not tried: {what} is made by an earlier document of the same text\n{}",
        yaml(&object)?
    );
    Ok(())
}

/// `deployment.apps/web`
fn title(resource: &Resource, name: &str) -> String {
    let kind = resource.kind.to_lowercase();
    if resource.group.is_empty() {
        format!("{kind}/{name}")
    } else {
        format!("{kind}.{}/{name}", resource.group)
    }
}

/// The object as it is sent: in its namespace, and without what only the server says of it, which an exported object still has.
fn body(object: &Value, namespace: Option<&str>) -> Value {
    let mut body = object.clone();
    if let Some(metadata) = body["metadata"].as_object_mut() {
        for key in OF_THE_SERVER {
            metadata.shift_remove(*key);
        }
        match namespace {
            Some(namespace) => metadata.insert("namespace".into(), json!(namespace)),
            None => metadata.shift_remove("namespace"),
        };
    }
    body
}

fn object_of(answer: &[u8]) -> Result<Value> {
    serde_json::from_slice(answer)
        .map_err(|error| Error::new(ErrorKind::Other, "the cluster answers with no object").because(&error))
}

/// The object without what the server writes.
fn shown(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for key in OF_THE_SERVER {
            metadata.shift_remove(*key);
        }
    }
    object
}

/// The values of Secrets are not shown, only whether they change.
fn masked(mut before: Option<Value>, mut after: Value) -> (Option<Value>, Value) {
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
        if let Some(annotations) = object
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    (before, after)
}

fn yaml(object: &Value) -> Result<String> {
    serde_yaml::to_string(object)
        .map_err(|error| Error::new(ErrorKind::Other, "the object cannot be written as YAML").because(&error))
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

/// A new namespace has its service account only after a moment.
fn is_early(error: &Error) -> bool {
    error.kind == ErrorKind::Forbidden
        && error.message.contains("serviceaccount")
        && error.message.contains("not found")
}
