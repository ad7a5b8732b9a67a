//! Applying manifests: parse, resolve, try on the server, compare. What comes out is shown to the user, and is a plan.

mod fault;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::journal::mask_both;
use super::link::parse;
use super::manifest::{self, Manifest};
use crate::cluster::{Change, Link, ObjectRef, Read, Resource, Write};
use crate::error::{Error, ErrorKind, Result};

/// What the server writes itself: it says nothing about a change.
const OF_THE_SERVER: &[&str] = &[
    "managedFields",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "selfLink",
];

/// What applying does to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did not exist.
    Created,
    /// It changes.
    Configured,
    /// It is so already.
    Unchanged,
}

/// One object of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// `deployment.apps/web`.
    pub name: String,
    /// Namespace, when it has one.
    pub namespace: Option<String>,
    /// First line of its document in the text, 1-based.
    pub line: usize,
    /// What would happen, or why not.
    pub result: Result<Effect>,
    /// Line of the text the error is about, where it can be told.
    pub error_line: Option<usize>,
    /// The live object before, as YAML without server-side fields; empty when it does not exist.
    pub before: String,
    /// The object after, likewise.
    pub after: String,
    /// The change that does it; `None` when there is nothing to do, or it would be refused.
    pub change: Option<Change>,
}

/// What applying a text would do.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ApplyReport {
    /// Every object, in the text's order.
    pub objects: Vec<Applied>,
}

impl ApplyReport {
    /// The changes of a plan that applies it.
    pub fn changes(&self) -> Vec<Change> {
        self.objects.iter().filter_map(|object| object.change.clone()).collect()
    }
}

/// Asks the server what applying every document of `text` in order would change.
///
/// # Errors
///
/// When the text cannot be read. What the server refuses stands with its object in the report.
pub async fn preview(link: &Link, text: &str, namespace: &str) -> Result<ApplyReport> {
    let mut earlier = Earlier::default();
    let mut report = ApplyReport::default();
    for manifest in manifest::parse(text)? {
        let applied = Applying {
            link,
            namespace,
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
    kinds: HashMap<(String, String), Arc<Resource>>,
}

impl Earlier {
    fn remember(&mut self, object: &Value) {
        let word = |value: &Value| value.as_str().map(str::to_owned);
        match object["kind"].as_str() {
            Some("Namespace") => self.namespaces.extend(word(&object["metadata"]["name"])),
            Some("CustomResourceDefinition") => {
                for version in object["spec"]["versions"].as_array().into_iter().flatten() {
                    if let Some(resource) = defined(&object["spec"], &version["name"]) {
                        let key = (resource.api_version(), resource.kind.to_string());
                        self.kinds.insert(key, Arc::new(resource));
                    }
                }
            }
            _ => {}
        }
    }

    fn kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.kinds.get(&(api_version.to_owned(), kind.to_owned()))
    }
}

/// The resource that a CustomResourceDefinition defines in one of its versions.
fn defined(spec: &Value, version: &Value) -> Option<Resource> {
    let word = |value: &Value| value.as_str().map(Arc::from);
    let kind: Arc<str> = word(&spec["names"]["kind"])?;
    Some(Resource {
        group: word(&spec["group"])?,
        version: word(version)?,
        plural: word(&spec["names"]["plural"])?,
        singular: word(&spec["names"]["singular"]).unwrap_or_else(|| kind.to_lowercase().into()),
        kind,
        namespaced: spec["scope"] == "Namespaced",
        ..Resource::default()
    })
}

/// What applies to every object of a text.
struct Applying<'a> {
    link: &'a Link,
    namespace: &'a str,
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
            result: Ok(Effect::Unchanged),
            error_line: None,
            before: String::new(),
            after: String::new(),
            change: None,
        };
        if let Err(error) = self.fill(object, &mut applied).await {
            applied.error_line = fault::line(manifest, &error.message);
            applied.result = Err(error);
            applied.change = None;
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
        let (resource, unmade_kind) = match resolve::resource(self.link, api_version, kind).await {
            Err(error) if error.kind == ErrorKind::NotFound => match self.earlier.kind(api_version, kind) {
                Some(resource) => (resource.clone(), true),
                None => return Err(error),
            },
            resource => (resource?, false),
        };
        applied.name = title(&resource, name);
        let namespace = field("/metadata/namespace").unwrap_or(self.namespace);
        let namespace = Some(namespace).filter(|_| resource.namespaced);
        applied.namespace = namespace.map(str::to_owned);
        let body = body(object, namespace);
        let awaited = namespace.filter(|namespace| self.earlier.namespaces.contains(*namespace));
        let mut change = Change {
            target: ObjectRef {
                cluster: self.link.cluster,
                resource,
                namespace: namespace.map(Into::into),
                name: name.into(),
                uid: None,
            },
            before: None,
            request: Write::Apply {
                body: body.clone(),
                awaited: unmade_kind || awaited.is_some(),
            },
        };
        if unmade_kind {
            applied.change = Some(change);
            return unmade(applied, object, &format!("the kind {kind}"));
        }
        let read = Read::new(change.target.path(), format!("read {}", applied.name));
        change.before = match self.link.read(&read).await {
            Ok(answer) => Some(parse(&answer)?),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let after = match self.link.dry_run(&change).await {
            Err(error) if error.kind == ErrorKind::NotFound && awaited.is_some() => {
                let namespace = awaited.unwrap_or_default();
                applied.change = Some(change);
                return unmade(applied, &body, &format!("the namespace {namespace}"));
            }
            changed => changed?.after.unwrap_or_default(),
        };
        let (before, after) = (change.before.clone().map(shown), shown(after));
        applied.result = Ok(match &before {
            None => Effect::Created,
            Some(before) if *before == after => Effect::Unchanged,
            Some(_) => Effect::Configured,
        });
        if applied.result != Ok(Effect::Unchanged) {
            applied.change = Some(change);
        }
        let (before, after) = mask_both(before, after);
        applied.before = before.as_ref().map(yaml).transpose()?.unwrap_or_default();
        applied.after = yaml(&after)?;
        Ok(())
    }
}

/// An object that cannot be tried, because what it needs is made by an earlier document when the text is applied.
fn unmade(applied: &mut Applied, object: &Value, what: &str) -> Result<()> {
    applied.result = Ok(Effect::Created);
    let (_, object) = mask_both(None, shown(object.clone()));
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

fn yaml(object: &Value) -> Result<String> {
    serde_yaml::to_string(object)
        .map_err(|error| Error::new(ErrorKind::Other, "the object cannot be written as YAML").because(&error))
}
