//! Reading what an examination needs, a bounded number of requests at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use serde_json::Value;

use super::finding::Thing;
use super::render::Diagnosis;
use super::world::{World, group_kind};
use super::{container, name, namespace};
use crate::cluster::{Link, ObjectRef, Read, Resource};
use crate::error::{Error, ErrorKind, Result};
use crate::kind::field::{int, items, text};

/// How long one of the reads may take: what is not there by then is not looked at.
const PATIENCE: Duration = Duration::from_secs(5);
/// Objects of one list: of more, only so many are looked at, and none of the kind counts as missing.
const MOST: usize = 1000;
/// Lines of a container's previous run.
const TAIL: usize = 40;
/// Objects read one by one because others name them.
const NAMED: usize = 40;

/// Kinds that all examinations of what is in a namespace need: those of the namespace.
const NAMESPACED: &[(&str, &str)] = &[
    ("", "Pod"),
    ("", "Event"),
    ("", "Service"),
    ("", "PersistentVolumeClaim"),
    ("apps", "ReplicaSet"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "Job"),
    ("discovery.k8s.io", "EndpointSlice"),
];

/// Reads an object and what tells why it does not work, and examines it.
///
/// # Errors
///
/// When the object itself cannot be read. What else cannot be read is left out and noted in the world.
pub fn examine<'a>(link: &'a Link, object: &'a ObjectRef, now: Timestamp) -> BoxFuture<'a, Result<Diagnosis>> {
    Box::pin(diagnosed(link, object, now))
}

async fn diagnosed(link: &Link, object: &ObjectRef, now: Timestamp) -> Result<Diagnosis> {
    let (world, value) = gather(link, &object.resource, object.namespace.as_deref(), &object.name).await?;
    let findings = super::diagnose(&world, &value, now);
    Ok(Diagnosis { world, findings, now })
}

async fn gather(link: &Link, resource: &Resource, namespace: Option<&str>, name: &str) -> Result<(World, Value)> {
    let path = resource.object_path(namespace, name);
    let bytes = link
        .read(&Read::new(path, format!("read {} {name}", resource.singular)))
        .await?;
    let mut object: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(ErrorKind::Other, "the cluster's answer is not an object").because(&error))?;
    if object["kind"].is_null() {
        object["kind"] = Value::from(&*resource.kind);
        object["apiVersion"] = Value::from(resource.api_version());
    }
    let mut world = World::default();
    world.object(object.clone());
    lists(link, &mut world, &wanted(&object)).await;
    let more = more(&world, &object);
    lists(link, &mut world, &more).await;
    named(link, &mut world, &object).await;
    tails(link, &mut world).await;
    Ok((world, object))
}

/// A list to read: group, kind and namespace, the latter empty for all.
type Wanted = (&'static str, &'static str, String);

/// What to read beside an object, by its kind.
fn wanted(object: &Value) -> Vec<Wanted> {
    let namespace = namespace(object).to_owned();
    let (group, kind) = group_kind(object);
    let mut lists: Vec<Wanted> = Vec::new();
    if !namespace.is_empty() {
        lists.extend(
            NAMESPACED
                .iter()
                .map(|(group, kind)| (*group, *kind, namespace.clone())),
        );
        lists.push(("", "Node", String::new()));
    }
    let cluster = |kinds: &[(&'static str, &'static str)]| -> Vec<Wanted> {
        kinds
            .iter()
            .map(|(group, kind)| (*group, *kind, String::new()))
            .collect()
    };
    lists.extend(match (group, kind) {
        ("networking.k8s.io", "Ingress") => cluster(&[("networking.k8s.io", "IngressClass")]),
        ("batch", "CronJob") => vec![("batch", "CronJob", namespace)],
        ("", "Node") => cluster(&[("", "Node"), ("", "Pod"), ("", "Event")]),
        ("", "Namespace") => cluster(&[("apiregistration.k8s.io", "APIService")]),
        ("", "PersistentVolume") => cluster(&[("", "Event")]),
        ("apiregistration.k8s.io" | "admissionregistration.k8s.io" | "apiextensions.k8s.io", _) => cluster(&[
            ("", "Service"),
            ("discovery.k8s.io", "EndpointSlice"),
            ("", "Pod"),
            ("", "Event"),
            ("", "Node"),
        ]),
        ("rbac.authorization.k8s.io", _) => cluster(&[
            ("rbac.authorization.k8s.io", "Role"),
            ("rbac.authorization.k8s.io", "ClusterRole"),
            ("", "ServiceAccount"),
        ]),
        _ => Vec::new(),
    });
    lists
}

/// What only some states of the namespace's pods and claims call for.
fn more(world: &World, object: &Value) -> Vec<Wanted> {
    let mut lists: BTreeSet<(&str, &str)> = BTreeSet::new();
    let of_interest = |pod: &&Value| {
        let (_, kind) = group_kind(object);
        kind != "Pod" || name(pod) == name(object)
    };
    let pods = world.all("", "Pod").iter().filter(of_interest);
    let unscheduled = pods
        .filter(|pod| text(&pod["spec"]["nodeName"]).is_empty() && pod["status"]["phase"] == "Pending")
        .map(|pod| text(&super::condition(pod, "PodScheduled")["message"]).to_owned())
        .collect::<Vec<_>>();
    if unscheduled
        .iter()
        .any(|message| message.contains("nsufficient") || message.contains("free ports"))
    {
        lists.insert(("", "Pod"));
    }
    if unscheduled.iter().any(String::is_empty) {
        lists.insert(("coordination.k8s.io", "Lease"));
    }
    let unbound = |claim: &Value| claim["status"]["phase"] != "Bound";
    if world.all("", "PersistentVolumeClaim").iter().any(unbound)
        || unscheduled.iter().any(|message| message.contains("olume"))
    {
        lists.insert(("storage.k8s.io", "StorageClass"));
        lists.insert(("", "PersistentVolume"));
    }
    lists
        .into_iter()
        .map(|(group, kind)| {
            let namespace = if kind == "Lease" {
                "kube-system".to_owned()
            } else {
                String::new()
            };
            (group, kind, namespace)
        })
        .collect()
}

/// Reads lists side by side.
async fn lists(link: &Link, world: &mut World, wanted: &[Wanted]) {
    let reads = wanted.iter().filter_map(|(group, kind, namespace)| {
        let resource = resource(link, group, kind)?;
        let path = resource.path((!namespace.is_empty()).then_some(namespace.as_str()));
        let read = Read::new(path, format!("list {}", resource.plural)).param("limit", MOST.to_string());
        Some(async move {
            let answer = tokio::time::timeout(PATIENCE, link.read(&read)).await;
            (*group, *kind, namespace.as_str(), resource.plural.clone(), answer)
        })
    });
    for (group, kind, namespace, plural, answer) in join_all(reads).await {
        let listed = match answer {
            Ok(Ok(bytes)) => serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.line()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        let mut list = match listed {
            Ok(list) => list,
            Err(why) => {
                world.skip(&plural, &why);
                continue;
            }
        };
        let cut = !text(&list["metadata"]["continue"]).is_empty();
        let objects = match list["items"].take() {
            Value::Array(objects) => objects,
            _ => Vec::new(),
        };
        if cut {
            world.skip(&plural, &format!("there are more than {MOST}"));
            world.some(group, kind, objects);
        } else {
            world.list(group, kind, namespace, objects);
        }
    }
}

fn resource<'a>(link: &'a Link, group: &str, kind: &str) -> Option<&'a Arc<Resource>> {
    link.discovery
        .resources
        .iter()
        .find(|resource| *resource.group == *group && *resource.kind == *kind)
}

/// Reads the ConfigMaps and Secrets that the pod in question, and pods in trouble, name. Of Secrets only the keys are kept.
async fn named(link: &Link, world: &mut World, subject: &Value) {
    let things: BTreeSet<Thing> = world
        .all("", "Pod")
        .iter()
        .filter(|pod| !super::is(pod, "Ready", "True") || name(pod) == name(subject))
        .flat_map(super::reference::named)
        .chain(world.all("networking.k8s.io", "Ingress").iter().flat_map(|ingress| {
            items(&ingress["spec"]["tls"])
                .iter()
                .filter_map(|tls| tls["secretName"].as_str())
                .map(|secret| Thing::new("", "Secret", namespace(ingress), secret))
        }))
        .take(NAMED)
        .collect();
    let reads = things.into_iter().filter_map(|thing| {
        let resource = resource(link, &thing.group, &thing.kind)?;
        let path = resource.object_path(Some(&thing.namespace), &thing.name);
        let read = Read::new(path, format!("read {} {}", resource.singular, thing.name));
        Some(async move { (thing, tokio::time::timeout(PATIENCE, link.read(&read)).await) })
    });
    for (thing, answer) in join_all(reads).await {
        match answer {
            Ok(Ok(bytes)) => {
                if let Ok(mut object) = serde_json::from_slice::<Value>(&bytes) {
                    forget_values(&mut object);
                    world.object(object);
                }
            }
            Ok(Err(error)) if error.kind == ErrorKind::NotFound => world.absent(thing),
            Ok(Err(error)) => world.skip(&format!("{}s", thing.kind.to_lowercase()), &error.line()),
            Err(_) => world.skip(&format!("{}s", thing.kind.to_lowercase()), "no answer in time"),
        }
    }
}

/// Keeps the keys of a Secret's or ConfigMap's data, and nothing else of them.
fn forget_values(object: &mut Value) {
    for data in ["data", "binaryData", "stringData"] {
        for (_, value) in object
            .get_mut(data)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            *value = Value::Bool(true);
        }
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
}

/// Reads the last lines of containers that ended badly.
async fn tails(link: &Link, world: &mut World) {
    let crashed: Vec<(Thing, String, String, bool)> = world
        .all("", "Pod")
        .iter()
        .flat_map(container::all)
        .filter(|container| int(&container.ending()["exitCode"]) != 0 && container.status["ready"] != true)
        .map(|container| {
            let now = container.status["state"]["terminated"].is_object();
            let uid = text(&container.pod["metadata"]["uid"]).to_owned();
            (Thing::of(container.pod), uid, container.name().to_owned(), !now)
        })
        .take(4)
        .collect();
    let Some(pods) = resource(link, "", "Pod") else { return };
    let reads = crashed.into_iter().map(|(pod, uid, container, previous)| {
        let path = format!("{}/log", pods.object_path(Some(&pod.namespace), &pod.name));
        let read = Read::new(path, format!("read the log of {}", pod.name))
            .param("container", container.clone())
            .param("tailLines", TAIL.to_string())
            .param("limitBytes", "65536")
            .param("previous", previous.to_string());
        async move { (uid, container, tokio::time::timeout(PATIENCE, link.read(&read)).await) }
    });
    for (uid, container, answer) in join_all(reads).await {
        match answer {
            Ok(Ok(bytes)) => {
                let lines = String::from_utf8_lossy(&bytes);
                let lines = lines.lines().map(str::trim_end).filter(|line| !line.is_empty());
                world.tail(&uid, &container, lines.map(str::to_owned).collect());
            }
            Ok(Err(error)) => world.skip("logs", &error.line()),
            Err(_) => world.skip("logs", "no answer in time"),
        }
    }
}
