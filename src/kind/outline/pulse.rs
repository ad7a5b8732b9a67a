//! A place at a glance: what is wrong first, by cause and owner; nodes with what they have and what is asked of them; the healthy rest in
//! a line for each kind; what happened lately.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::sight::{Sight, controller, heading, note, role};
use super::{Item, Outline};
use crate::document::TextLine;
use crate::keys::Line;
use crate::kind::field::{int, text};
use crate::kind::node;
use crate::kind::why::{self, Finding, Severity};
use crate::store::Health;
use crate::text::{age, count};
use crate::theme::Role;

pub(super) const KINDS: &[(&str, &str)] = &[
    ("", "nodes"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("apps", "replicasets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("", "pods"),
    ("", "services"),
    ("discovery.k8s.io", "endpointslices"),
    ("", "persistentvolumeclaims"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("", "events"),
];

/// Kinds that are judged, owners before what they own.
const JUDGED: &[(&str, &str)] = &[
    ("", "Node"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("apps", "ReplicaSet"),
    ("", "PersistentVolumeClaim"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("", "Pod"),
];

/// Most objects that are asked why: of more, the others are only counted.
const MOST: usize = 200;
/// Services are all judged, because their tables do not say how they are, when there are no more than this.
const SERVICES: usize = 300;
/// Events shown.
const EVENTS: usize = 30;
/// Cells of a node's bars.
const BAR: usize = 10;

/// Something wrong, and whom it is about.
struct Trouble<'a> {
    finding: Finding,
    object: &'a Value,
}

pub(super) fn outline(sight: &Sight) -> Outline {
    let (troubles, uncounted) = troubles(sight);
    let mut lines = wrong(sight, &troubles, uncounted);
    lines.extend(nodes(sight));
    lines.extend(healthy(sight));
    lines.extend(events(sight));
    let status = match troubles.len() {
        0 => "all is well".to_owned(),
        1 => "1 needs a look".to_owned(),
        many => format!("{many} need a look"),
    };
    Outline {
        items: lines,
        status,
        about: None,
    }
}

/// Everything that does not work, an owner speaking for what it owns.
fn troubles(sight: &Sight) -> (Vec<Trouble<'_>>, usize) {
    let mut spoken_for: BTreeSet<&str> = BTreeSet::new();
    let (mut found, mut asked, mut uncounted) = (Vec::new(), 0, 0);
    for (group, kind) in JUDGED {
        for object in sight.all(group, kind) {
            let uid = text(&object["metadata"]["uid"]);
            let owner = controller(object).map(|owner| text(&owner["uid"]));
            let by_owner = owner.is_some_and(|owner| spoken_for.contains(owner));
            if by_owner {
                spoken_for.insert(uid);
                continue;
            }
            let health = sight.health(object);
            // What its table does not tell, or not yet, only the rules know.
            let untold = matches!(health, Health::None | Health::Progress);
            if !health.needs_attention() && !untold {
                continue;
            }
            asked += 1;
            if asked > MOST {
                uncounted += 1;
                continue;
            }
            let findings = why::diagnose(&sight.world, object, sight.now);
            if let Some(finding) = findings.into_iter().find(|finding| finding.severity > Severity::Note) {
                spoken_for.insert(uid);
                found.push(Trouble { finding, object });
            }
        }
    }
    let services = sight.all("", "Service");
    if services.len() <= SERVICES {
        for service in services {
            let findings = why::diagnose(&sight.world, service, sight.now);
            let worst = findings.into_iter().find(|finding| finding.severity > Severity::Note);
            // What comes from pods that are told of already needs no second line.
            let told = |finding: &Finding| {
                found
                    .iter()
                    .any(|known: &Trouble<'_>| known.finding.root().sentence == finding.root().sentence)
            };
            if let Some(finding) = worst.filter(|finding| !told(finding)) {
                found.push(Trouble {
                    finding,
                    object: service,
                });
            }
        }
    }
    (found, uncounted)
}

/// What is wrong, grouped by cause, the worst and the most frequent first.
fn wrong(sight: &Sight, troubles: &[Trouble<'_>], uncounted: usize) -> Vec<Item> {
    let mut groups: BTreeMap<&str, Vec<&Trouble<'_>>> = BTreeMap::new();
    for trouble in troubles {
        groups.entry(trouble.finding.root().cause).or_default().push(trouble);
    }
    let mut groups: Vec<(&str, Vec<&Trouble<'_>>)> = groups.into_iter().collect();
    groups.sort_by_key(|(_, all)| {
        let worst = all.iter().map(|trouble| trouble.finding.severity).max();
        std::cmp::Reverse((worst, all.len()))
    });
    let mut lines = vec![match troubles.len() {
        0 => heading("wrong", "Nothing needs a look", ""),
        many => heading(
            "wrong",
            &format!("{} to look at", count(many, "thing")),
            "w says why, and what to do",
        ),
    }];
    for (cause, all) in &groups {
        let alone = all.len() == 1;
        if !alone && let Some(first) = all.first() {
            let health = health_of(first.finding.severity);
            let line = TextLine::new()
                .with(role(health), &format!("{} ×{}  ", title(cause), all.len()))
                .with(Role::Text, &first.finding.root().sentence);
            lines.push(Item::new(format!("cause/{cause}"), 1, health, line.hanging(6)));
        }
        lines.extend(
            all.iter()
                .map(|trouble| told(sight, trouble, if alone { 1 } else { 2 }, alone)),
        );
    }
    if uncounted > 0 {
        let said = format!("{} more need attention: F in their table shows them", uncounted);
        lines.push(note("wrong/more", 1, Role::Dim, &said));
    }
    lines
}

fn told(sight: &Sight, trouble: &Trouble<'_>, depth: usize, whole: bool) -> Item {
    let mut item = sight.item(depth, "wrong", trouble.object);
    item.health = health_of(trouble.finding.severity);
    let space = text(&trouble.object["metadata"]["namespace"]);
    if !space.is_empty() {
        item.line.push(Role::Dim, &format!("  {space}"));
    }
    if whole {
        item.line
            .push(Role::Text, &format!("  {}", trouble.finding.root().sentence));
    }
    if let Some(since) = trouble.finding.since {
        item.line.push(Role::Dim, &format!("  {}", age(since, sight.now)));
    }
    item.line.hang = (depth * 2 + 4) as u16;
    item
}

fn health_of(severity: Severity) -> Health {
    match severity {
        Severity::Note => Health::None,
        Severity::Warning => Health::Warning,
        Severity::Critical => Health::Failed,
    }
}

/// `image.notfound` as a title.
fn title(cause: &str) -> String {
    cause.replace('.', " ")
}

/// Each node with what its pods ask for of what it has.
fn nodes(sight: &Sight) -> Vec<Item> {
    let nodes = sight.all("", "Node");
    if nodes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![heading("nodes", "Nodes", "what pods request of what can be given")];
    let mut on: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for pod in sight.all("", "Pod") {
        let over = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
        if !over {
            on.entry(text(&pod["spec"]["nodeName"])).or_default().push(pod);
        }
    }
    for object in nodes {
        let name = text(&object["metadata"]["name"]);
        let pods = on.get(name).map_or(&[][..], Vec::as_slice);
        let mut item = sight.item(1, "nodes", object);
        for share in node::shares(object, pods) {
            item.line.push(Role::Field, &format!("   {} ", share.resource));
            let used = share.percent().min(100) * BAR / 100;
            let role = match share.percent() {
                0..75 => Role::Good,
                75..95 => Role::Warning,
                _ => Role::Failed,
            };
            item.line.push(role, &"▰".repeat(used));
            item.line.push(Role::GaugeRest, &"▱".repeat(BAR - used));
            item.line.push(Role::Dim, &format!(" {}/{}", share.asked, share.whole));
        }
        item.enter = Some(Line::with(
            "view.open",
            [
                "pods".to_owned(),
                "--push".to_owned(),
                "-A".to_owned(),
                "--fields".to_owned(),
                format!("spec.nodeName={name}"),
                "--note".to_owned(),
                format!("on {name}"),
            ],
        ));
        lines.push(item);
    }
    lines
}

/// What happened lately, joined to its objects.
fn events(sight: &Sight) -> Vec<Item> {
    let newest = sight.happened();
    if newest.is_empty() {
        return Vec::new();
    }
    let warnings = newest.iter().filter(|event| event["type"] == "Warning").count();
    let more = match warnings {
        0 => String::new(),
        many => count(many, "warning"),
    };
    let mut lines = vec![heading("events", "Lately", &more)];
    // The same about the same object is told once, with how often it happened.
    let mut told: Vec<((&str, &str), &Value, usize)> = Vec::new();
    for event in newest {
        let key = (text(&event["involvedObject"]["uid"]), text(&event["reason"]));
        match told.iter().position(|(known, ..)| *known == key) {
            Some(at) => told[at].2 += 1,
            None if told.len() < EVENTS => told.push((key, event, 1)),
            None => {}
        }
    }
    lines.extend(told.into_iter().map(|(_, event, times)| {
        let mut item = sight.event(1, "event", event, true);
        if times > 1 {
            item.line.push(Role::Dim, &format!("  and {} like it", times - 1));
        }
        item
    }));
    lines
}

/// The rest, a line for each kind.
fn healthy(sight: &Sight) -> Vec<Item> {
    let mut lines = vec![heading("rest", "What there is", "")];
    for (group, kind) in JUDGED {
        let all = sight.all(group, kind);
        let well = all
            .iter()
            .filter(|object| !sight.health(object).needs_attention())
            .count();
        if all.is_empty() {
            continue;
        }
        let noun = kind.to_lowercase();
        let said = match well == all.len() {
            true => count(all.len(), &noun),
            false => format!("{}, {} need attention", count(all.len(), &noun), all.len() - well),
        };
        let health = if well == all.len() {
            Health::Good
        } else {
            Health::Warning
        };
        let line = TextLine::new().with(Role::Text, &said);
        let plural = count(2, &noun);
        let plural = plural.trim_start_matches("2 ").to_owned();
        let open = Line::with("view.open", [plural, "--push".to_owned()]);
        lines.push(Item::new(format!("rest/{kind}"), 1, health, line).enter(open));
    }
    let restarts: i64 = sight
        .all("", "Pod")
        .iter()
        .flat_map(|pod| crate::kind::field::items(&pod["status"]["containerStatuses"]))
        .map(|status| int(&status["restartCount"]))
        .sum();
    if restarts > 0 {
        lines.push(note(
            "rest/restarts",
            1,
            Role::Dim,
            &format!("{} of containers", count(restarts as usize, "restart")),
        ));
    }
    lines
}
