//! Services and Ingresses: from the name to a container that listens.

use serde_json::{Value, json};

use super::finding::{Finding, Fix, Severity, Thing};
use super::world::Known;
use super::{Cx, GRACE, GRACE_SLOW, few, is_going, name, namespace};
use crate::kind::field::{items, pairs, present, scalar, text, time};

/// What is wrong with a Service, along the way of a connection.
pub(super) fn service(cx: Cx<'_>, service: &Value) -> Vec<Finding> {
    let spec = &service["spec"];
    let mut findings = Vec::new();
    if spec["type"] != "ExternalName" && !is_going(service) {
        let backends = if present(&spec["selector"]) {
            backends(cx, service)
        } else {
            unselective(cx, service)
        };
        findings.extend(backends);
    }
    findings.extend(balancer(cx, service));
    findings
}

fn backends(cx: Cx<'_>, service: &Value) -> Option<Finding> {
    let namespace = namespace(service);
    if !cx.world.knows("", "Pod", namespace) {
        return None;
    }
    let selector = &service["spec"]["selector"];
    let pods: Vec<&Value> = cx
        .world
        .selected(namespace, selector)
        .into_iter()
        .filter(|pod| !matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed"))
        .collect();
    let labels = terms(selector);
    if pods.is_empty() {
        return Some(unmatched(cx, service, &labels));
    }
    if let Some(finding) = ports(service, &pods) {
        return Some(finding);
    }
    let slices_known = cx.world.knows("discovery.k8s.io", "EndpointSlice", namespace);
    let ready = |pod: &&Value| super::is(pod, "Ready", "True") && !is_going(pod);
    let serving = if slices_known {
        // Not said is ready.
        cx.world
            .endpoints(service)
            .filter(|endpoint| endpoint["conditions"]["ready"] != false)
            .count()
    } else {
        pods.iter().filter(|pod| ready(pod)).count()
    };
    if serving > 0 {
        return None;
    }
    let name = name(service);
    let unlisted = pods
        .iter()
        .find(|pod| ready(pod) && cx.older(time(&super::condition(pod, "Ready")["lastTransitionTime"]), GRACE));
    if let Some(pod) = unlisted {
        let sentence = format!(
            "Pod {} is ready, but is not listed as an endpoint of Service {name}.",
            super::name(pod)
        );
        return Some(
            Finding::critical("svc.slicelag", service, sentence)
                .read("spec.selector", labels)
                .advise("look whether the controllers run", "kubectl get pods -n kube-system"),
        );
    }
    let mut causes: Vec<Finding> = pods.iter().flat_map(|pod| super::pod::pod(cx, pod)).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.weight()));
    let young = pods.iter().all(|pod| !cx.aged(pod, GRACE));
    if causes.is_empty() && young {
        return None;
    }
    causes.truncate(3);
    let pods = match pods.len() {
        1 => "its only pod is not ready".to_owned(),
        many => format!("none of its {many} pods is ready"),
    };
    Some(
        Finding::critical(
            "svc.notready",
            service,
            format!("Service {name} has no endpoint: {pods}."),
        )
        .read("spec.selector", labels)
        .because(causes),
    )
}

/// `app=web,tier=frontend`
fn terms(labels: &Value) -> String {
    let terms: Vec<_> = pairs(labels)
        .into_iter()
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    terms.join(",")
}

/// The selector matches nothing: a workload at zero, or a label that differs.
fn unmatched(cx: Cx<'_>, service: &Value, labels: &str) -> Finding {
    let namespace = namespace(service);
    let name = name(service);
    let selector = &service["spec"]["selector"];
    let me = Thing::of(service);
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"] {
        let meant = cx.world.within("apps", kind, namespace).find(|workload| {
            let template = &workload["spec"]["template"]["metadata"]["labels"];
            pairs(selector).iter().all(|(key, value)| template[key] == **value)
        });
        let Some(workload) = meant else { continue };
        let sentence = format!("Service {name} has no pods: {kind} {} has none.", super::name(workload));
        if super::wanted(workload) == 0 {
            let target = Thing::of(workload);
            let command = format!("kubectl scale {} --replicas=1{}", target.argument(), target.flag());
            return Finding::note(
                "svc.noselectormatch",
                service,
                sentence.replace("has none", "is scaled to zero"),
            )
            .read("spec.selector", labels)
            .advise("scale it up", command)
            .by(Fix::Merge {
                target,
                subresource: Some("scale"),
                patch: json!({"spec": {"replicas": 1}}),
            });
        }
        return Finding::critical("svc.noselectormatch", service, sentence)
            .read("spec.selector", labels)
            .because(super::look(cx, workload));
    }
    // Nothing has all of the labels. The pod whose labels are most like them is probably meant.
    let near = cx
        .world
        .within("", "Pod", namespace)
        .map(|pod| (likeness(selector, &pod["metadata"]["labels"]), pod))
        .filter(|(likeness, _)| *likeness > 0)
        .max_by_key(|(likeness, _)| *likeness)
        .map(|(_, pod)| pod);
    let sentence = match near {
        Some(pod) => {
            let has: Vec<String> = pairs(selector)
                .into_iter()
                .filter(|(key, value)| pod["metadata"]["labels"][key] != **value)
                .map(|(key, _)| match &pod["metadata"]["labels"][key] {
                    Value::Null => format!("no label {key}"),
                    value => format!("{key}={}", scalar(value)),
                })
                .collect();
            format!(
                "No pod has the labels {labels} of Service {name}; pod {} has {}.",
                super::name(pod),
                has.join(", ")
            )
        }
        None => format!("No pod has the labels {labels} of Service {name}."),
    };
    Finding::critical("svc.noselectormatch", service, sentence)
        .read("spec.selector", labels)
        .edit(&me, "correct the selector")
}

/// How alike labels are to those asked for, in hundredths of a label; 0 where they share no key.
fn likeness(selector: &Value, labels: &Value) -> usize {
    let alike = |(key, value): &(&str, &Value)| match &labels[key] {
        Value::Null => 0,
        has if has == *value => 100,
        has => (similar::TextDiff::from_chars(&*scalar(has), &*scalar(value)).ratio() * 90.0) as usize + 1,
    };
    pairs(selector).iter().map(alike).sum()
}

/// A named target port that no pod has, or a number where the pods declare others.
fn ports(service: &Value, pods: &[&Value]) -> Option<Finding> {
    let declared = |pod: &Value| -> Vec<(String, String)> {
        super::container::all(pod)
            .flat_map(|container| items(&container.spec["ports"]))
            .map(|port| {
                (
                    text(&port["name"]).to_owned(),
                    scalar(&port["containerPort"]).into_owned(),
                )
            })
            .collect()
    };
    let all: Vec<(String, String)> = pods.iter().flat_map(|pod| declared(pod)).collect();
    for port in items(&service["spec"]["ports"]) {
        let target = match &port["targetPort"] {
            Value::Null => &port["port"],
            target => target,
        };
        let known = scalar(target);
        let path = format!("spec.ports[{}].targetPort", scalar(&port["port"]));
        if target.is_string() && !all.iter().any(|(name, _)| *name == known) {
            let names = few(all
                .iter()
                .map(|(name, _)| name.as_str())
                .filter(|name| !name.is_empty()));
            let has = if names.is_empty() {
                "their ports have no names".to_owned()
            } else {
                format!("they have {names}")
            };
            let sentence = format!("No pod of Service {} has a port named {known}; {has}.", name(service));
            return Some(
                Finding::critical("svc.namedport", service, sentence)
                    .read(path, known)
                    .edit(&Thing::of(service), "correct the target port"),
            );
        }
        if target.is_number() && !all.is_empty() && !all.iter().any(|(_, number)| *number == known) {
            let numbers = few(all.iter().map(|(_, number)| number.as_str()));
            let sentence = format!(
                "Service {} sends to port {known}, and its pods declare {numbers}: perhaps nothing listens there.",
                name(service)
            );
            return Some(
                Finding::warning("svc.targetport", service, sentence)
                    .read(path, known)
                    .edit(&Thing::of(service), "correct the target port"),
            );
        }
    }
    None
}

/// Without a selector somebody has to give it addresses.
fn unselective(cx: Cx<'_>, service: &Value) -> Option<Finding> {
    let namespace = namespace(service);
    let known = cx.world.knows("discovery.k8s.io", "EndpointSlice", namespace);
    let given = cx.world.endpoints(service).next().is_some();
    // Operators and leader elections keep such Services on purpose.
    if !known || given || !cx.aged(service, GRACE) || (namespace, name(service)) == ("default", "kubernetes") {
        return None;
    }
    let sentence = "The Service has no selector, and nobody has given it addresses.";
    Some(Finding::note("svc.noslices", service, sentence).advise("give it a selector, or an EndpointSlice", ""))
}

fn balancer(cx: Cx<'_>, service: &Value) -> Option<Finding> {
    let waits = service["spec"]["type"] == "LoadBalancer"
        && !present(&service["status"]["loadBalancer"]["ingress"])
        && !present(&service["spec"]["externalIPs"]);
    if !waits {
        return None;
    }
    let failed = cx.world.newest(
        service,
        &["SyncLoadBalancerFailed", "AllocationFailed", "UnAvailableLoadBalancer"],
    );
    if let Some(event) = failed {
        return Some(
            Finding::warning(
                "svc.lbpending",
                service,
                format!("The load balancer cannot be made: {}", event.message),
            )
            .since(event.last)
            .read(format!("event {}", event.reason), event.message.as_str()),
        );
    }
    if !cx.aged(service, GRACE_SLOW) {
        return None;
    }
    let tried = cx.world.newest(service, &["EnsuringLoadBalancer"]).is_some();
    let (severity, sentence) = if tried {
        (Severity::Warning, "The load balancer is long in coming.")
    } else {
        (
            Severity::Note,
            "No load balancer is given: this cluster has no controller for them.",
        )
    };
    let forward = format!(
        "kubectl port-forward service/{} 8080:80 -n {}",
        name(service),
        namespace(service)
    );
    Some(
        Finding::new("svc.lbpending", severity, service, sentence)
            .read("status.loadBalancer", "empty")
            .advise("reach it through a port-forward, or as a NodePort", forward),
    )
}

/// What is wrong with an Ingress.
pub(super) fn ingress(cx: Cx<'_>, ingress: &Value) -> Vec<Finding> {
    let mut findings: Vec<Finding> = class(cx, ingress).into_iter().collect();
    let spec = &ingress["spec"];
    let rules = items(&spec["rules"]).iter().flat_map(|rule| {
        items(&rule["http"]["paths"]).iter().map(move |path| {
            let place = format!("{}{}", text(&rule["host"]), path["path"].as_str().unwrap_or("/"));
            (place, &path["backend"]["service"])
        })
    });
    let default = ("the default backend".to_owned(), &spec["defaultBackend"]["service"]);
    for (place, backend) in rules.chain([default]).filter(|(_, backend)| backend.is_object()) {
        findings.extend(self::backend(cx, ingress, &place, backend));
    }
    for tls in items(&spec["tls"]) {
        findings.extend(certificate(cx, ingress, tls));
    }
    if findings.is_empty() && !present(&ingress["status"]["loadBalancer"]["ingress"]) && cx.aged(ingress, GRACE_SLOW) {
        findings.push(
            Finding::note(
                "ing.noaddress",
                ingress,
                "No controller has given this Ingress an address yet.",
            )
            .read("status.loadBalancer", "empty"),
        );
    }
    findings
}

fn class(cx: Cx<'_>, ingress: &Value) -> Option<Finding> {
    if !cx.world.knows("networking.k8s.io", "IngressClass", "") {
        return None;
    }
    let classes = cx.world.all("networking.k8s.io", "IngressClass");
    let known = few(classes.iter().map(name));
    let there = if known.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there is {known}")
    };
    let me = Thing::of(ingress);
    match ingress["spec"]["ingressClassName"].as_str() {
        Some(class) if cx.world.get("networking.k8s.io", "IngressClass", "", class) == Known::Absent => Some(
            Finding::critical(
                "ing.class",
                ingress,
                format!("Nobody serves this Ingress: class {class} does not exist; {there}."),
            )
            .read("spec.ingressClassName", class)
            .edit(&me, "name a class that exists"),
        ),
        None if ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_null()
            && !classes.iter().any(|class| {
                class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"] == "true"
            }) =>
        {
            Some(
                Finding::critical(
                    "ing.class",
                    ingress,
                    format!("The Ingress names no class, and none is the default; {there}."),
                )
                .edit(&me, "name a class"),
            )
        }
        _ => None,
    }
}

fn backend(cx: Cx<'_>, ingress: &Value, place: &str, backend: &Value) -> Option<Finding> {
    let namespace = namespace(ingress);
    let name = text(&backend["name"]);
    let me = Thing::of(ingress);
    let service = match cx.world.get("", "Service", namespace, name) {
        Known::There(service) => service,
        Known::Absent => {
            let sentence = format!("{place} leads to Service {name}, which does not exist.");
            return Some(
                Finding::critical("ing.backend", ingress, sentence)
                    .read("spec.rules", format!("{place} -> {name}"))
                    .edit(&me, "name a Service that exists"),
            );
        }
        Known::Unread => return None,
    };
    let port = &backend["port"];
    let wanted = if port["name"].is_null() {
        &port["number"]
    } else {
        &port["name"]
    };
    let ports = items(&service["spec"]["ports"]);
    if !ports
        .iter()
        .any(|known| known["port"] == *wanted || known["name"] == *wanted)
    {
        let has: Vec<_> = ports.iter().map(|port| scalar(&port["port"]).into_owned()).collect();
        let sentence = format!(
            "{place} leads to port {} of Service {name}, which has {}.",
            scalar(wanted),
            few(has.iter().map(String::as_str))
        );
        return Some(
            Finding::critical("ing.backend", ingress, sentence)
                .read("spec.rules", format!("{place} -> {name}:{}", scalar(wanted)))
                .edit(&me, "correct the port"),
        );
    }
    let causes: Vec<Finding> = self::service(cx, service)
        .into_iter()
        .filter(|cause| cause.severity == Severity::Critical)
        .collect();
    if causes.is_empty() {
        return None;
    }
    let sentence = format!("Visitors of {place} get an error: Service {name} does not answer.");
    Some(
        Finding::critical("ing.noready", ingress, sentence)
            .read("spec.rules", format!("{place} -> {name}"))
            .because(causes),
    )
}

fn certificate(cx: Cx<'_>, ingress: &Value, tls: &Value) -> Option<Finding> {
    let secret = tls["secretName"].as_str()?;
    let hosts = few(items(&tls["hosts"]).iter().map(text));
    let namespace = namespace(ingress);
    let sentence = match cx.world.get("", "Secret", namespace, secret) {
        Known::Absent if cx.aged(ingress, 2 * GRACE) => {
            format!("The TLS Secret {secret} for {hosts} does not exist, so visitors see another certificate.")
        }
        Known::There(object) if text(&object["type"]) != "kubernetes.io/tls" && present(&object["type"]) => format!(
            "The Secret {secret} for {hosts} is not a certificate: its type is {}.",
            text(&object["type"])
        ),
        _ => return None,
    };
    Some(
        Finding::warning("ing.tls", ingress, sentence)
            .read("spec.tls", secret)
            .advise(
                "make it from a certificate and its key",
                format!("kubectl create secret tls {secret} -n {namespace} --cert=FILE --key=FILE"),
            ),
    )
}
