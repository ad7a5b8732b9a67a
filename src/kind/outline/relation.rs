//! What an object is tied to: owners, selectors, services and their endpoints, volumes and claims, configuration, accounts, nodes,
//! autoscalers, budgets, policies and roles, in both directions.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use super::sight::{Sight, controller, heading, note};
use super::{Item, Outline};
use crate::document::TextLine;
use crate::keys::Line;
use crate::kind::field::{items, pairs, text};
use crate::kind::why::{Thing, selects};
use crate::store::{Health, ObjectId};
use crate::theme::Role;

pub(super) const KINDS: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "services"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "serviceaccounts"),
    ("", "replicationcontrollers"),
    ("", "nodes"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "rolebindings"),
];

/// How deep what belongs to what belongs to the object is followed.
const DEEPEST: usize = 4;
/// Objects shown under one word; of more, only the number is told.
const MOST: usize = 60;

/// How two objects are tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tie {
    Owns,
    Routes,
    Selects,
    Endpoints,
    Scales,
    Protects,
    Restricts,
    Uses,
    RunsOn,
    BoundTo,
    Grants,
}

impl Tie {
    /// The words from the first to the second, and back.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Tie::Owns => ("owns", "owned by"),
            Tie::Routes => ("routes to", "reached through"),
            Tie::Selects => ("selects", "selected by"),
            Tie::Endpoints => ("endpoints", "endpoints of"),
            Tie::Scales => ("scales", "scaled by"),
            Tie::Protects => ("protects", "protected by"),
            Tie::Restricts => ("restricts", "restricted by"),
            Tie::Uses => ("uses", "used by"),
            Tie::RunsOn => ("runs on", "runs"),
            Tie::BoundTo => ("bound to", "bound to"),
            Tie::Grants => ("grants", "granted by"),
        }
    }

    /// Whether a tie of a pod to another object is one of its owner as well.
    fn is_of_owner(self) -> bool {
        matches!(self, Tie::Selects | Tie::Protects | Tie::Restricts)
    }
}

/// What an object names: every tie that can be read in it alone.
fn names(object: &Value) -> Vec<(Tie, Thing)> {
    let (spec, space) = (&object["spec"], text(&object["metadata"]["namespace"]));
    let thing = |group: &str, kind: &str, name: &Value| Thing::new(group, kind, space, text(name));
    let mut ties = Vec::new();
    if let Some(pod) = pod_spec(object) {
        ties.extend(uses(pod, space));
        if text(&object["kind"]) == "Pod" && !text(&pod["nodeName"]).is_empty() {
            ties.push((Tie::RunsOn, Thing::new("", "Node", "", text(&pod["nodeName"]))));
        }
    }
    match text(&object["kind"]) {
        "Ingress" => {
            let rules = items(&spec["rules"])
                .iter()
                .flat_map(|rule| items(&rule["http"]["paths"]));
            let backends = rules.map(|path| &path["backend"]).chain([&spec["defaultBackend"]]);
            ties.extend(backends.map(|backend| (Tie::Routes, thing("", "Service", &backend["service"]["name"]))));
            ties.extend(
                items(&spec["tls"])
                    .iter()
                    .map(|tls| (Tie::Uses, thing("", "Secret", &tls["secretName"]))),
            );
            let class = Thing::new("networking.k8s.io", "IngressClass", "", text(&spec["ingressClassName"]));
            ties.push((Tie::Uses, class));
        }
        "HorizontalPodAutoscaler" => {
            let scaled = &spec["scaleTargetRef"];
            let group = text(&scaled["apiVersion"])
                .rsplit_once('/')
                .map_or("", |(group, _)| group);
            ties.push((Tie::Scales, thing(group, text(&scaled["kind"]), &scaled["name"])));
        }
        "PersistentVolumeClaim" => {
            ties.push((
                Tie::BoundTo,
                Thing::new("", "PersistentVolume", "", text(&spec["volumeName"])),
            ));
            let class = Thing::new("storage.k8s.io", "StorageClass", "", text(&spec["storageClassName"]));
            ties.push((Tie::Uses, class));
        }
        "PersistentVolume" => {
            let class = Thing::new("storage.k8s.io", "StorageClass", "", text(&spec["storageClassName"]));
            ties.push((Tie::Uses, class));
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            let role = &object["roleRef"];
            let space = if role["kind"] == "ClusterRole" { "" } else { space };
            let group = "rbac.authorization.k8s.io";
            ties.push((
                Tie::Uses,
                Thing::new(group, text(&role["kind"]), space, text(&role["name"])),
            ));
            ties.extend(
                items(&object["subjects"])
                    .iter()
                    .filter(|one| one["kind"] == "ServiceAccount")
                    .map(|one| {
                        let account = Thing::new("", "ServiceAccount", text(&one["namespace"]), text(&one["name"]));
                        (Tie::Grants, account)
                    }),
            );
        }
        "EndpointSlice" => {}
        _ => {}
    }
    ties.retain(|(_, thing)| !thing.name.is_empty());
    ties.sort();
    ties.dedup();
    ties
}

fn pod_spec(object: &Value) -> Option<&Value> {
    let path = match text(&object["kind"]) {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    object.pointer(path).filter(|spec| spec["containers"].is_array())
}

/// What a pod takes from other objects.
fn uses(pod: &Value, space: &str) -> Vec<(Tie, Thing)> {
    let mut found: Vec<(&str, &Value)> = vec![("ServiceAccount", &pod["serviceAccountName"])];
    found.extend(
        items(&pod["imagePullSecrets"])
            .iter()
            .map(|secret| ("Secret", &secret["name"])),
    );
    for volume in items(&pod["volumes"]) {
        found.push(("PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"]));
        found.push(("ConfigMap", &volume["configMap"]["name"]));
        found.push(("Secret", &volume["secret"]["secretName"]));
        for source in items(&volume["projected"]["sources"]) {
            found.push(("ConfigMap", &source["configMap"]["name"]));
            found.push(("Secret", &source["secret"]["name"]));
        }
    }
    let containers = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|list| items(&pod[list]));
    for container in containers {
        for source in items(&container["envFrom"]) {
            found.push(("ConfigMap", &source["configMapRef"]["name"]));
            found.push(("Secret", &source["secretRef"]["name"]));
        }
        for variable in items(&container["env"]) {
            found.push(("ConfigMap", &variable["valueFrom"]["configMapKeyRef"]["name"]));
            found.push(("Secret", &variable["valueFrom"]["secretKeyRef"]["name"]));
        }
    }
    let thing = |(kind, name): (&str, &Value)| (Tie::Uses, Thing::new("", kind, space, text(name)));
    // What every pod is given says nothing of this one.
    let own = |(_, name): &(&str, &Value)| **name != "kube-root-ca.crt";
    found.into_iter().filter(own).map(thing).collect()
}

/// The selector of pods that an object has, and what it is for.
fn selector(object: &Value) -> Option<(Tie, Value)> {
    let labels = |value: &Value| {
        (value.as_object().is_some_and(|map| !map.is_empty())).then(|| serde_json::json!({"matchLabels": value}))
    };
    Some(match text(&object["kind"]) {
        "Service" => (Tie::Selects, labels(&object["spec"]["selector"])?),
        "PodDisruptionBudget" => (Tie::Protects, object["spec"]["selector"].clone()),
        "NetworkPolicy" => (Tie::Restricts, object["spec"]["podSelector"].clone()),
        _ => return None,
    })
}

/// Every tie between what is in sight.
pub(super) struct Ties {
    /// From each object to others.
    from: BTreeMap<Thing, Vec<(Tie, Thing)>>,
    /// To each object from others.
    to: BTreeMap<Thing, Vec<(Tie, Thing)>>,
}

impl Ties {
    pub(super) fn of(sight: &Sight) -> Self {
        let mut ties = Self {
            from: BTreeMap::new(),
            to: BTreeMap::new(),
        };
        let objects: Vec<&Value> = sight.world.everything().collect();
        let by_uid: BTreeMap<&str, Thing> = objects
            .iter()
            .map(|object| (text(&object["metadata"]["uid"]), Thing::of(object)))
            .collect();
        for object in &objects {
            let me = Thing::of(object);
            for (tie, other) in names(object) {
                ties.add(&me, tie, other);
            }
            for owner in items(&object["metadata"]["ownerReferences"]) {
                let known = by_uid.get(text(&owner["uid"])).cloned();
                let owner = known.unwrap_or_else(|| {
                    let group = text(&owner["apiVersion"])
                        .rsplit_once('/')
                        .map_or("", |(group, _)| group);
                    let space = if owner["kind"] == "Node" { "" } else { &me.namespace };
                    Thing::new(group, text(&owner["kind"]), space, text(&owner["name"]))
                });
                let tie = if me.kind == "EndpointSlice" {
                    Tie::Endpoints
                } else {
                    Tie::Owns
                };
                ties.add(&owner, tie, me.clone());
            }
            if let Some((tie, selector)) = selector(object) {
                let pods = sight.within("", "Pod", &me.namespace);
                let chosen: Vec<Thing> = pods
                    .filter(|pod| selects(&selector, &pod["metadata"]["labels"]))
                    .map(Thing::of)
                    .collect();
                for pod in chosen {
                    ties.add(&me, tie, pod);
                }
            }
        }
        ties
    }

    fn add(&mut self, from: &Thing, tie: Tie, to: Thing) {
        self.to.entry(to.clone()).or_default().push((tie, from.clone()));
        self.from.entry(from.clone()).or_default().push((tie, to));
    }

    fn down(&self, thing: &Thing) -> &[(Tie, Thing)] {
        self.from.get(thing).map_or(&[], Vec::as_slice)
    }

    /// Everything that an object owns, and what that owns.
    fn owned<'a>(&'a self, thing: &'a Thing) -> BTreeSet<&'a Thing> {
        let mut found = BTreeSet::new();
        let mut next = vec![thing];
        while let Some(thing) = next.pop() {
            let owned = self.down(thing).iter().filter(|(tie, _)| *tie == Tie::Owns);
            next.extend(owned.map(|(_, thing)| thing).filter(|thing| found.insert(*thing)));
        }
        found
    }

    fn up(&self, thing: &Thing) -> &[(Tie, Thing)] {
        self.to.get(thing).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn outline(sight: &Sight, id: &ObjectId) -> Outline {
    let Some(object) = sight.object(&id.uid) else {
        return Outline::default();
    };
    let ties = Ties::of(sight);
    let me = Thing::of(&object);
    let mut lines = vec![sight.item(0, "", &object)];
    let mut seen = HashSet::from([me.clone()]);
    // What it comes from and what uses it, nearest first; of owned pods the owner speaks.
    let mut up: BTreeMap<&'static str, Vec<&Thing>> = BTreeMap::new();
    for (tie, from) in ties.up(&me) {
        let spoken_for = *tie == Tie::Uses && sight.world.find(from).and_then(controller).is_some();
        if !spoken_for {
            up.entry(tie.words().1).or_default().push(from);
        }
    }
    // What selects its pods selects it, as people see it.
    for (tie, from) in ties.owned(&me).into_iter().flat_map(|thing| ties.up(thing)) {
        if tie.is_of_owner() {
            let known = up.entry(tie.words().1).or_default();
            if !known.contains(&from) {
                known.push(from);
            }
        }
    }
    for (word, things) in up {
        lines.push(heading(&format!("up/{word}"), word, ""));
        for thing in things.iter().take(MOST) {
            lines.push(item(sight, 1, &format!("up/{word}"), thing, ""));
            lines.extend(match word {
                "owned by" => above(sight, &ties, thing, Tie::Owns, 2),
                "selected by" => above(sight, &ties, thing, Tie::Routes, 2),
                _ => Vec::new(),
            });
        }
        lines.extend(cut(&format!("up/{word}"), 1, things.len()));
    }
    let mut words: Vec<Tie> = ties.down(&me).iter().map(|(tie, _)| *tie).collect();
    words.sort_unstable();
    words.dedup();
    for tie in words {
        let word = tie.words().0;
        lines.push(heading(&format!("down/{word}"), word, ""));
        let things: Vec<&Thing> = ties
            .down(&me)
            .iter()
            .filter(|(known, _)| *known == tie)
            .map(|(_, to)| to)
            .collect();
        for thing in things.iter().take(MOST) {
            branch(
                sight,
                &ties,
                thing,
                "",
                (1, &format!("down/{word}")),
                &mut seen,
                &mut lines,
            );
        }
        lines.extend(cut(&format!("down/{word}"), 1, things.len()));
    }
    if lines.len() == 1 {
        lines.push(note(
            "none",
            1,
            Role::Dim,
            "nothing is tied to it, as far as can be seen here",
        ));
    }
    let count = lines.iter().filter(|item| item.depth > 0).count();
    Outline {
        items: lines,
        status: format!("{count} tied"),
        about: sight.about(&object),
    }
}

/// What stands above an object by one kind of tie: the owners of an owner, the Ingresses that lead to a Service.
fn above(sight: &Sight, ties: &Ties, thing: &Thing, tie: Tie, depth: usize) -> Vec<Item> {
    if depth > DEEPEST {
        return Vec::new();
    }
    let above = ties.up(thing).iter().filter(|(known, _)| *known == tie);
    above
        .flat_map(|(_, next)| {
            let this = item(sight, depth, &format!("up/{}", thing.name), next, tie.words().1);
            std::iter::once(this).chain(self::above(sight, ties, next, tie, depth + 1))
        })
        .collect()
}

/// An object and what belongs to it.
fn branch(
    sight: &Sight,
    ties: &Ties,
    thing: &Thing,
    word: &str,
    (depth, path): (usize, &str),
    seen: &mut HashSet<Thing>,
    lines: &mut Vec<Item>,
) {
    let path = format!("{path}/{}/{}", thing.kind, thing.name);
    lines.push(item(sight, depth, &path, thing, word));
    if depth >= DEEPEST || !seen.insert(thing.clone()) {
        return;
    }
    let below = ties.down(thing);
    for (tie, next) in below.iter().take(MOST) {
        branch(sight, ties, next, tie.words().0, (depth + 1, &path), seen, lines);
    }
    lines.extend(cut(&path, depth + 1, below.len()));
}

fn cut(path: &str, depth: usize, all: usize) -> Option<Item> {
    (all > MOST).then(|| {
        note(
            format!("{path}/more"),
            depth,
            Role::Dim,
            &format!("and {} more", all - MOST),
        )
    })
}

/// A tied object as a line: as it is seen, or by its name alone.
fn item(sight: &Sight, depth: usize, path: &str, thing: &Thing, word: &str) -> Item {
    let mut found = match sight.world.find(thing) {
        Some(object) => sight.item(depth, path, object),
        None => {
            let line = TextLine::new()
                .with(Role::Dim, &format!("{} ", thing.kind.to_lowercase()))
                .with(Role::Strong, &thing.name);
            let plural = crate::text::count(2, &thing.kind.to_lowercase());
            let plural = plural.trim_start_matches("2 ");
            let group = if thing.group.is_empty() {
                plural.to_owned()
            } else {
                format!("{plural}.{}", thing.group)
            };
            let fields = format!("metadata.name={}", thing.name);
            let mut open = vec![
                group,
                "--push".to_owned(),
                "--fields".to_owned(),
                fields,
                "--note".to_owned(),
                thing.name.clone(),
            ];
            if !thing.namespace.is_empty() {
                open.extend(["-n".to_owned(), thing.namespace.clone()]);
            }
            let key = format!("{path}/{}/{}", thing.kind, thing.name);
            Item::new(key, depth, Health::None, line).enter(Line::with("view.open", open))
        }
    };
    if !word.is_empty() {
        let text = TextLine::new().with(Role::Comment, &format!("{word} "));
        found.line.spans.splice(0..0, text.spans);
    }
    found
}

/// The labels of a selector in words.
pub(super) fn terms(labels: &Value) -> String {
    let terms: Vec<String> = pairs(labels)
        .into_iter()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    terms.join(",")
}
