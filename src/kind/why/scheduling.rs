//! Pods without a node.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::container;
use super::finding::{Finding, Fix, Severity, Thing};
use super::pod::maker;
use super::selects::holds;
use super::world::Known;
use super::{Cx, GRACE_SCHEDULING, brief, condition, condition_path, count, few, name, namespace, node, volume};
use crate::kind::field::{by, items, pairs, scalar, text, time, yes};
use crate::text::parse_quantity;

/// The reasons of the scheduler's report, by words that all its versions have, and the rule each belongs to. Those whose remedy frees
/// the pod by itself stand before those that are told by the way.
const REASONS: &[(&str, Rule)] = &[
    ("unbound immediate persistentvolumeclaims", claims),
    ("persistentvolumeclaim", claims),
    ("find available persistent volumes", claims),
    ("persistentvolume's node affinity", volume_affinity),
    ("volume node affinity conflict", volume_affinity),
    ("available volume zone", volume_affinity),
    ("max volume count", volume_count),
    ("node affinity/selector", selector),
    ("didn't match pod's node affinity", selector),
    ("didn't match node selector", selector),
    ("requested node name", selector),
    ("insufficient ", resources),
    ("too many pods", resources),
    ("untolerated taint", taint),
    ("were unschedulable", cordoned),
    ("anti-affinity", pod_affinity),
    ("pod affinity", pod_affinity),
    ("topology spread constraints", spread),
    ("free ports", host_port),
    ("resourceclaim", device),
    ("resource claim", device),
];

type Rule = fn(Cx<'_>, &Value, &str) -> Option<Finding>;

/// What keeps a pod from getting a node.
pub(super) fn unscheduled(cx: Cx<'_>, pod: &Value) -> Vec<Finding> {
    let placed = condition(pod, "PodScheduled");
    let since = time(&placed["lastTransitionTime"]).or_else(|| time(&pod["metadata"]["creationTimestamp"]));
    if placed["reason"] == "SchedulingGated" {
        return vec![gated(pod, since)];
    }
    if !cx.aged(pod, GRACE_SCHEDULING) {
        return Vec::new();
    }
    if placed.is_null() {
        return nobody(cx, pod).into_iter().collect();
    }
    if placed["reason"] != "Unschedulable" {
        return Vec::new();
    }
    if let Some(node) = pod["status"]["nominatedNodeName"]
        .as_str()
        .filter(|node| !node.is_empty())
    {
        let sentence = format!("Pods of lower priority leave node {node} to make room for this one.");
        return vec![
            Finding::note("sched.preempting", pod, sentence)
                .since(since)
                .read("status.nominatedNodeName", node),
        ];
    }
    let message = text(&placed["message"]);
    // What preemption could do is told after the reasons.
    let reasons = message.split(" preemption:").next().unwrap_or_default();
    let low = reasons.to_lowercase();
    let finding = if low.contains("no nodes available to schedule pods") || low.starts_with("0/0 nodes") {
        Some(Finding::critical(
            "sched.nonodes",
            pod,
            "The cluster has no nodes to run pods on.",
        ))
    } else {
        let mut rules: Vec<Rule> = Vec::new();
        for (words, rule) in REASONS {
            if low.contains(words) && !rules.iter().any(|known| std::ptr::fn_addr_eq(*known, *rule)) {
                rules.push(*rule);
            }
        }
        rules.into_iter().find_map(|rule| rule(cx, pod, reasons))
    };
    let finding = finding.unwrap_or_else(|| {
        let sentence = format!("No node takes this pod: {}", brief(reasons));
        Finding::critical("sched.other", pod, sentence)
    });
    let mut finding = finding.since(since).read(condition_path("PodScheduled"), reasons);
    if let Some(event) = cx.world.newest(pod, &["TriggeredScaleUp", "Nominated"])
        && !cx.older(event.last, 600)
    {
        finding.severity = Severity::Note;
        finding = finding.read(format!("event {}", event.reason), event.message.as_str());
        finding.sentence = format!("A node is being added for this pod. {}", finding.sentence);
    }
    vec![finding]
}

fn gated(pod: &Value, since: Option<Timestamp>) -> Finding {
    let gates = items(&pod["spec"]["schedulingGates"])
        .iter()
        .map(|gate| text(&gate["name"]));
    let gates = few(gates);
    Finding::note(
        "sched.gated",
        pod,
        format!("Scheduling is held back by the gate {gates}."),
    )
    .since(since)
    .read("spec.schedulingGates", gates)
    .advise(
        "ask the controller that set the gate; it takes it away when the pod may go on",
        "",
    )
}

fn nobody(cx: Cx<'_>, pod: &Value) -> Option<Finding> {
    if !cx.aged(pod, 2 * GRACE_SCHEDULING) {
        return None;
    }
    let scheduler = pod["spec"]["schedulerName"].as_str().unwrap_or("default-scheduler");
    let finding = if scheduler == "default-scheduler" {
        let lease = cx
            .world
            .get("coordination.k8s.io", "Lease", "kube-system", "kube-scheduler")
            .there();
        let renewed = lease.and_then(|lease| time(&lease["spec"]["renewTime"]));
        match renewed {
            Some(_) if cx.older(renewed, 60) => {
                let sentence = format!("The scheduler has given no sign of life for {}.", cx.age(renewed));
                Finding::critical("cl.scheduler", pod, sentence).read_in(
                    Thing::new("coordination.k8s.io", "Lease", "kube-system", "kube-scheduler"),
                    "spec.renewTime",
                    renewed.map(|at| at.to_string()).unwrap_or_default(),
                )
            }
            _ => Finding::critical("sched.nobody", pod, "No scheduler has looked at this pod."),
        }
    } else {
        let sentence = format!("Nobody has tried to schedule this pod: it asks for the scheduler {scheduler}.");
        Finding::critical("sched.nobody", pod, sentence)
            .read("spec.schedulerName", scheduler)
            .edit(&maker(cx, pod), "leave out spec.schedulerName, or start that scheduler")
    };
    Some(finding.since(time(&pod["metadata"]["creationTimestamp"])))
}

/// The nodes, when all of them are known.
fn nodes<'a>(cx: Cx<'a>) -> Option<&'a [Value]> {
    cx.world
        .knows("", "Node", "")
        .then(|| cx.world.all("", "Node"))
        .filter(|nodes| !nodes.is_empty())
}

/// What a pod asks for, of one resource, in thousandths.
fn request(pod: &Value, resource: &str) -> i128 {
    let of = |container: &Value| {
        let resources = &container["resources"];
        let asked = match &resources["requests"][resource] {
            Value::Null => &resources["limits"][resource],
            asked => asked,
        };
        parse_quantity(&scalar(asked)).unwrap_or_default()
    };
    let (mut running, mut largest) = (0, 0);
    for container in container::all(pod) {
        if container.is_init {
            largest = largest.max(running + of(container.spec));
        } else {
            running += of(container.spec);
        }
    }
    let overhead = parse_quantity(&scalar(&pod["spec"]["overhead"][resource])).unwrap_or_default();
    running.max(largest) + overhead
}

/// An amount of a resource as people read it.
fn amount(resource: &str, milli: i128) -> String {
    let whole = u64::try_from(milli / 1000).unwrap_or_default();
    match resource {
        "cpu" if milli % 1000 == 0 => format!("{whole} CPU"),
        "cpu" => format!("{milli}m CPU"),
        "memory" | "ephemeral-storage" => format!("{} of {resource}", crate::text::bytes(whole)),
        _ => format!("{whole} {resource}"),
    }
}

fn resources(cx: Cx<'_>, pod: &Value, reasons: &str) -> Option<Finding> {
    let low = reasons.to_lowercase();
    if low.contains("too many pods") && !low.contains("insufficient ") {
        return Some(
            Finding::critical(
                "sched.resources",
                pod,
                "Every node already runs as many pods as it may.",
            )
            .advise("delete pods that are not needed, or add a node", "kubectl get pods -A"),
        );
    }
    let at = low.find("insufficient ")? + "insufficient ".len();
    let resource = reasons[at..]
        .split(|ch: char| ch == ',' || ch.is_whitespace())
        .next()?
        .trim_end_matches('.');
    let asked = request(pod, resource);
    let room = nodes(cx).map(|nodes| {
        let mut best = (i128::MIN, "", 0);
        let mut largest = 0;
        for node in nodes {
            let allocatable = parse_quantity(&scalar(&node["status"]["allocatable"][resource])).unwrap_or_default();
            let used: i128 = cx
                .world
                .all("", "Pod")
                .iter()
                .filter(|other| other["spec"]["nodeName"] == node["metadata"]["name"])
                .filter(|other| !matches!(text(&other["status"]["phase"]), "Succeeded" | "Failed"))
                .map(|other| request(other, resource))
                .sum();
            largest = largest.max(allocatable);
            if allocatable - used > best.0 {
                best = (allocatable - used, name(node), allocatable);
            }
        }
        (best, largest)
    });
    let maker = maker(cx, pod);
    let lower = format!("lower {}'s request", maker.argument());
    let finding = match room {
        Some((_, largest)) if asked > largest => {
            let sentence = format!(
                "The pod asks for {}, and the largest node has {}: it can never fit.",
                amount(resource, asked),
                amount(resource, largest)
            );
            Finding::critical("sched.toobig", pod, sentence).edit(&maker, lower)
        }
        Some(((free, node, allocatable), _)) if cx.world.knows("", "Pod", "") => {
            let sentence = format!(
                "No node has {} free; {node} comes nearest, with {}.",
                amount(resource, asked),
                amount(resource, free.max(0))
            );
            Finding::critical("sched.resources", pod, sentence)
                .read_in(
                    Thing::new("", "Node", "", node),
                    format!("status.allocatable[{resource}]"),
                    amount(resource, allocatable),
                )
                .edit(&maker, lower)
        }
        _ => Finding::critical(
            "sched.resources",
            pod,
            format!("No node has {} free.", amount(resource, asked)),
        )
        .edit(&maker, lower),
    };
    Some(
        finding
            .read("spec.containers[*].resources.requests", amount(resource, asked))
            .advise("see what is requested on each node", "kubectl describe nodes"),
    )
}

/// Whether a pod tolerates a taint.
pub(super) fn tolerates(pod: &Value, taint: &Value) -> bool {
    items(&pod["spec"]["tolerations"]).iter().any(|toleration| {
        let key = text(&toleration["key"]);
        let effect = text(&toleration["effect"]);
        let exists = toleration["operator"] == "Exists";
        (key.is_empty() && exists || key == text(&taint["key"]))
            && (effect.is_empty() || effect == text(&taint["effect"]))
            && (exists || text(&toleration["value"]) == text(&taint["value"]))
    })
}

/// `key=value:Effect`, as kubectl writes taints.
pub(super) fn taint_text(taint: &Value) -> String {
    let value = text(&taint["value"]);
    let equals = if value.is_empty() {
        String::new()
    } else {
        format!("={value}")
    };
    format!("{}{equals}:{}", text(&taint["key"]), text(&taint["effect"]))
}

fn taint(cx: Cx<'_>, pod: &Value, _: &str) -> Option<Finding> {
    let nodes = nodes(cx)?;
    let mut found: Vec<(&Value, &Value)> = Vec::new();
    for node in nodes {
        let repels = items(&node["spec"]["taints"])
            .iter()
            .find(|taint| taint["effect"] != "PreferNoSchedule" && !tolerates(pod, taint));
        found.extend(repels.map(|taint| (node, taint)));
    }
    let (host, first) = *found.first()?;
    let key = text(&first["key"]);
    if key == "node.kubernetes.io/unschedulable" && found.iter().all(|(_, taint)| text(&taint["key"]) == key) {
        return cordoned(cx, pod, "");
    }
    if key.starts_with("node.kubernetes.io/") {
        let causes = node::node(cx, host);
        let sentence = format!("{} cannot take pods now.", several(&found, nodes.len()));
        return Some(
            Finding::critical("sched.taint", pod, sentence)
                .read_in(Thing::of(host), "spec.taints", taint_text(first))
                .because(causes),
        );
    }
    let sentence = format!(
        "{} repels this pod: the taint {} is not tolerated.",
        several(&found, nodes.len()),
        taint_text(first)
    );
    let kept: Vec<&Value> = items(&host["spec"]["taints"])
        .iter()
        .filter(|taint| *taint != first)
        .collect();
    Some(
        Finding::critical("sched.taint", pod, sentence)
            .read_in(Thing::of(host), "spec.taints", taint_text(first))
            .edit(&maker(cx, pod), "add a toleration for it to the pod's template")
            .advise(
                format!("take the taint off node {}", name(host)),
                format!("kubectl taint node {} {key}:{}-", name(host), text(&first["effect"])),
            )
            .by(Fix::Merge {
                target: Thing::of(host),
                subresource: None,
                patch: json!({"spec": {"taints": kept}}),
            }),
    )
}

/// `Node a` or `Each of the 3 nodes`.
fn several(found: &[(&Value, &Value)], all: usize) -> String {
    match found {
        [(node, _)] => format!("Node {}", name(node)),
        many if many.len() == all => format!("Each of the {all} nodes"),
        many => format!("Each of {}", count(many.len(), "node")),
    }
}

fn cordoned(cx: Cx<'_>, pod: &Value, _: &str) -> Option<Finding> {
    let nodes = nodes(cx)?;
    let cordoned: Vec<&Value> = nodes
        .iter()
        .filter(|node| yes(&node["spec"]["unschedulable"]))
        .collect();
    let first = *cordoned.first()?;
    let sentence = if cordoned.len() == nodes.len() && nodes.len() > 1 {
        format!("All {} nodes are cordoned.", nodes.len())
    } else if nodes.len() == 1 {
        format!("The only node, {}, is cordoned.", name(first))
    } else {
        format!(
            "The nodes that would suit are cordoned: {}.",
            few(cordoned.iter().map(|node| name(node)))
        )
    };
    Some(
        Finding::warning("sched.cordon", pod, sentence)
            .read_in(Thing::of(first), "spec.unschedulable", "true")
            .advise(
                format!("let node {} take pods again", name(first)),
                format!("kubectl uncordon {}", name(first)),
            )
            .by(Fix::Merge {
                target: Thing::of(first),
                subresource: None,
                patch: json!({"spec": {"unschedulable": null}}),
            }),
    )
}

fn selector(cx: Cx<'_>, pod: &Value, _: &str) -> Option<Finding> {
    let maker = maker(cx, pod);
    let spec = &pod["spec"];
    let nodes = nodes(cx);
    for (key, value) in pairs(&spec["nodeSelector"]) {
        let wanted = scalar(value);
        let has = |node: &&Value| node["metadata"]["labels"][key] == *value;
        let Some(nodes) = nodes.filter(|nodes| !nodes.iter().any(|node| has(&node))) else {
            continue;
        };
        let others = few(nodes.iter().filter_map(|node| node["metadata"]["labels"][key].as_str()));
        let near = if others.is_empty() {
            String::new()
        } else {
            format!("; there {key} is {others}")
        };
        let node = name(&nodes[0]);
        let sentence = format!("No node has the label {key}={wanted} that this pod asks for{near}.");
        return Some(
            Finding::critical("sched.selector", pod, sentence)
                .read("spec.nodeSelector", format!("{key}={wanted}"))
                .advise(
                    format!("label node {node} so"),
                    format!("kubectl label node {node} {key}={wanted}"),
                )
                .by(Fix::Merge {
                    target: Thing::new("", "Node", "", node),
                    subresource: None,
                    patch: json!({"metadata": {"labels": {key: wanted}}}),
                })
                .edit(&maker, "change the node selector"),
        );
    }
    let terms =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let unmet = nodes.and_then(|nodes| {
        items(terms)
            .iter()
            .flat_map(|term| items(&term["matchExpressions"]))
            .find(|requirement| !nodes.iter().any(|node| holds(requirement, &node["metadata"]["labels"])))
    });
    let sentence = match unmet {
        Some(requirement) => format!(
            "No node meets the required node affinity: {} {} {}.",
            text(&requirement["key"]),
            text(&requirement["operator"]),
            few(items(&requirement["values"]).iter().map(text))
        ),
        None => "No node has all the labels that the pod's node selector and affinity ask for.".into(),
    };
    Some(
        Finding::critical("sched.selector", pod, sentence.replace(" .", "."))
            .read(
                "spec.affinity.nodeAffinity",
                if terms.is_null() {
                    String::new()
                } else {
                    terms.to_string()
                },
            )
            .edit(&maker, "change the node selector or affinity"),
    )
}

fn pod_affinity(cx: Cx<'_>, pod: &Value, reasons: &str) -> Option<Finding> {
    let anti = reasons.to_lowercase().contains("anti-affinity");
    let rule = if anti { "podAntiAffinity" } else { "podAffinity" };
    let nodes = nodes(cx).map(<[Value]>::len).unwrap_or_default();
    let sentence = if anti && nodes > 0 {
        format!(
            "The pod must not share a node with its like, and each of the {} it could use has one.",
            count(nodes, "node")
        )
    } else if anti {
        "The pod must not share a node with its like, and every node has one.".to_owned()
    } else {
        "The pod must run beside another one, which runs nowhere.".to_owned()
    };
    Some(
        Finding::critical("sched.podaffinity", pod, sentence)
            .read(
                format!("spec.affinity.{rule}"),
                pod["spec"]["affinity"][rule].to_string(),
            )
            .edit(
                &maker(cx, pod),
                "make the rule preferred instead of required, or ask for fewer replicas",
            ),
    )
}

fn spread(cx: Cx<'_>, pod: &Value, reasons: &str) -> Option<Finding> {
    let strict = items(&pod["spec"]["topologySpreadConstraints"])
        .iter()
        .find(|constraint| constraint["whenUnsatisfiable"] != "ScheduleAnyway")?;
    let key = text(&strict["topologyKey"]);
    let sentence = if reasons.contains("missing required label") {
        format!("Pods are to be spread over {key}, a label that nodes lack.")
    } else {
        format!("Spreading over {key} is strict, and there is no room where the next pod would have to go.")
    };
    Some(
        Finding::critical("sched.spread", pod, sentence)
            .read(
                "spec.topologySpreadConstraints",
                format!("{key}, maxSkew {}", strict["maxSkew"]),
            )
            .edit(&maker(cx, pod), "set whenUnsatisfiable to ScheduleAnyway"),
    )
}

fn host_port(cx: Cx<'_>, pod: &Value, _: &str) -> Option<Finding> {
    let ports = |pod: &Value| -> Vec<i64> {
        container::all(pod)
            .flat_map(|container| items(&container.spec["ports"]))
            .filter_map(|port| port["hostPort"].as_i64().filter(|port| *port > 0))
            .collect()
    };
    let mine = ports(pod);
    let holder = cx.world.all("", "Pod").iter().find(|other| {
        !text(&other["spec"]["nodeName"]).is_empty() && ports(other).iter().any(|port| mine.contains(port))
    });
    let port = mine.first().map_or_else(String::new, i64::to_string);
    let sentence = match holder {
        Some(holder) => format!("Port {port} of the nodes is taken, by pod {}.", name(holder)),
        None => format!("Port {port} of the nodes is taken."),
    };
    Some(
        Finding::critical("sched.hostport", pod, sentence)
            .read("spec.containers[*].ports[*].hostPort", port)
            .edit(
                &maker(cx, pod),
                "leave out hostPort and use a Service, or ask for no more replicas than nodes",
            ),
    )
}

fn claims(cx: Cx<'_>, pod: &Value, reasons: &str) -> Option<Finding> {
    for claim in volume::claims_of(pod) {
        match cx.world.get("", "PersistentVolumeClaim", namespace(pod), &claim) {
            Known::Absent => {
                let sentence = format!("The pod needs the claim {claim}, which does not exist.");
                return Some(
                    Finding::critical("sched.volume", pod, sentence)
                        .read("spec.volumes", claim.clone())
                        .advise(
                            "make the claim, or name one that exists",
                            format!("kubectl get pvc -n {}", namespace(pod)),
                        ),
                );
            }
            Known::There(object) if object["status"]["phase"] != "Bound" => {
                let causes = volume::claim_in_use(cx, object);
                let sentence = format!("The pod waits for the claim {claim}, which is not bound.");
                return Some(
                    Finding::critical("sched.volume", pod, sentence)
                        .read_in(Thing::of(object), "status.phase", text(&object["status"]["phase"]))
                        .because(causes),
                );
            }
            _ => {}
        }
    }
    let low = reasons.to_lowercase();
    low.contains("readwriteoncepod").then(|| {
        Finding::critical(
            "sched.volume",
            pod,
            "Its claim may be used by one pod only (ReadWriteOncePod), and another has it.",
        )
    })
}

fn volume_affinity(cx: Cx<'_>, pod: &Value, _: &str) -> Option<Finding> {
    let bound = volume::claims_of(pod).into_iter().find_map(|claim| {
        let claim = cx
            .world
            .get("", "PersistentVolumeClaim", namespace(pod), &claim)
            .there()?;
        let volume = text(&claim["spec"]["volumeName"]);
        cx.world.get("", "PersistentVolume", "", volume).there()
    });
    let host = bound.and_then(|volume| {
        let term = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"];
        let host = by(term, "key", "kubernetes.io/hostname")?;
        host["values"][0].as_str()
    });
    let sentence = match (bound, host) {
        (Some(volume), Some(host)) if cx.world.get("", "Node", "", host).is_absent() => format!(
            "Its volume {} lies on node {host}, which does not exist any more.",
            name(volume)
        ),
        (Some(volume), Some(host)) => {
            format!(
                "Its volume {} can be used on node {host} only, which does not take the pod.",
                name(volume)
            )
        }
        _ => "Its volume can be used on some nodes only, and none of them takes the pod.".to_owned(),
    };
    let finding = Finding::critical("sched.volume", pod, sentence);
    Some(match bound {
        Some(volume) => finding.read_in(
            Thing::of(volume),
            "spec.nodeAffinity",
            volume["spec"]["nodeAffinity"].to_string(),
        ),
        None => finding,
    })
}

fn volume_count(_: Cx<'_>, pod: &Value, _: &str) -> Option<Finding> {
    Some(Finding::critical(
        "sched.volume",
        pod,
        "The nodes that would suit already have as many volumes as they can.",
    ))
}

fn device(_: Cx<'_>, pod: &Value, reasons: &str) -> Option<Finding> {
    let sentence = format!("A device that the pod claims cannot be had: {}", brief(reasons));
    Some(
        Finding::critical("sched.claims", pod, sentence)
            .read("spec.resourceClaims", pod["spec"]["resourceClaims"].to_string())
            .advise(
                "see the claims and what the nodes offer",
                "kubectl get resourceclaims,resourceslices",
            ),
    )
}
