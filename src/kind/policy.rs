//! Quotas, budgets, autoscalers, roles and Ingresses: their descriptions.

use serde_json::Value;

use super::field::{int, items, or_none, pairs, present, scalar, text, time};
use super::page::Page;
use super::{Subject, describe, selector};
use crate::document::Document;
use crate::text::parse_quantity;
use crate::theme::Role;

pub(super) fn quota(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&object["metadata"]["name"]));
    page.field(0, "Namespace", text(&object["metadata"]["namespace"]));
    let scopes: Vec<&str> = items(&object["spec"]["scopes"]).iter().map(text).collect();
    page.field_if(0, "Scopes", &scopes.join(", "));
    let rows: Vec<_> = pairs(&object["status"]["hard"])
        .into_iter()
        .map(|(name, hard)| {
            let used = &object["status"]["used"][name];
            let full = parse_quantity(&scalar(used)) >= parse_quantity(&scalar(hard));
            let role = if full { Role::Warning } else { Role::Value };
            vec![
                (Role::Field, name.to_owned()),
                (role, scalar(used).into_owned()),
                (Role::Value, scalar(hard).into_owned()),
            ]
        })
        .collect();
    page.table(0, &["Resource", "Used", "Hard"], &rows);
    page.finish()
}

pub(super) fn budget(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&object["metadata"]["name"]));
    page.field(0, "Namespace", text(&object["metadata"]["namespace"]));
    page.field_if(0, "Min available", &scalar(&spec["minAvailable"]));
    page.field_if(0, "Max unavailable", &scalar(&spec["maxUnavailable"]));
    page.field(0, "Selector", &describe::selector(&spec["selector"]));
    page.head(0, "Status:");
    let allowed = int(&status["disruptionsAllowed"]);
    let role = if allowed == 0 { Role::Warning } else { Role::Value };
    page.field_as(2, "Allowed disruptions", role, &allowed.to_string());
    for (title, key) in [
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        page.field(2, title, &int(&status[key]).to_string());
    }
    describe::events(&mut page, subject);
    page.finish()
}

pub(super) fn autoscaler(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, true);
    let created = page.moment(time(&object["metadata"]["creationTimestamp"]));
    page.field(0, "CreationTimestamp", &created);
    let target = &spec["scaleTargetRef"];
    page.field(
        0,
        "Reference",
        &format!("{}/{}", text(&target["kind"]), text(&target["name"])),
    );
    page.field(0, "Metrics", "( current / target )");
    for (at, metric) in items(&spec["metrics"]).iter().enumerate() {
        let (name, value) = metric_words(metric, &status["currentMetrics"][at]);
        page.field(1, &name, &value);
    }
    let least = spec["minReplicas"].as_i64();
    page.field(
        0,
        "Min replicas",
        &least.map_or_else(|| "<unset>".to_owned(), |least| least.to_string()),
    );
    page.field(0, "Max replicas", &int(&spec["maxReplicas"]).to_string());
    page.field(
        0,
        &format!("{} pods", text(&target["kind"])),
        &format!(
            "{} current / {} desired",
            int(&status["currentReplicas"]),
            int(&status["desiredReplicas"])
        ),
    );
    if present(&status["conditions"]) {
        page.head(0, "Conditions:");
        let rows: Vec<_> = items(&status["conditions"])
            .iter()
            .map(|condition| {
                let word = |key: &str| text(&condition[key]).to_owned();
                let good = if condition["type"] == "ScalingLimited" {
                    "False"
                } else {
                    "True"
                };
                vec![
                    (Role::Field, word("type")),
                    (
                        describe::condition_role(text(&condition["status"]), good),
                        word("status"),
                    ),
                    (Role::Value, word("reason")),
                    (Role::Value, word("message")),
                ]
            })
            .collect();
        page.table(1, &["Type", "Status", "Reason", "Message"], &rows);
    }
    describe::events(&mut page, subject);
    page.finish()
}

/// A metric of an autoscaler: what it is, and `current / target`.
fn metric_words(metric: &Value, current: &Value) -> (String, String) {
    let (kind, key) = match text(&metric["type"]) {
        "Resource" => ("resource", "resource"),
        "ContainerResource" => ("resource", "containerResource"),
        "Pods" => ("pods", "pods"),
        "Object" => ("object", "object"),
        _ => ("external", "external"),
    };
    let (source, now) = (&metric[key], &current[key]["current"]);
    let target = &source["target"];
    let name = match text(&source["name"]) {
        "" => text(&source["metric"]["name"]),
        name => name,
    };
    let unknown = |value: &Value| {
        if value.is_null() {
            "<unknown>".to_owned()
        } else {
            scalar(value).into_owned()
        }
    };
    if let Some(percent) = target["averageUtilization"].as_i64() {
        let now = match now["averageUtilization"].as_i64() {
            Some(utilization) => format!("{utilization}% ({})", unknown(&now["averageValue"])),
            None => "<unknown>".to_owned(),
        };
        return (
            format!("{kind} {name} on pods  (as a percentage of request)"),
            format!("{now} / {percent}%"),
        );
    }
    let which = if target["averageValue"].is_null() {
        "value"
    } else {
        "averageValue"
    };
    (
        format!("{kind} {name} on pods"),
        format!("{} / {}", unknown(&now[which]), scalar(&target[which])),
    )
}

pub(super) fn role(subject: &Subject<'_>) -> Document {
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, subject.object, false);
    page.head(0, "PolicyRule:");
    let list = |value: &Value| {
        let words: Vec<&str> = items(value).iter().map(text).collect();
        format!("[{}]", words.join(" "))
    };
    let mut rows = Vec::new();
    for rule in items(&subject.object["rules"]) {
        let row = |resource: String, urls: String| {
            vec![
                (Role::Strong, resource),
                (Role::Value, urls),
                (Role::Value, list(&rule["resourceNames"])),
                (Role::Value, list(&rule["verbs"])),
            ]
        };
        for resource in items(&rule["resources"]) {
            for group in items(&rule["apiGroups"]) {
                let name = match text(group) {
                    "" => text(resource).to_owned(),
                    group => format!("{}.{group}", text(resource)),
                };
                let key = format!("{}[{}][{}]", list(&rule["verbs"]), text(group), text(resource));
                rows.push((key, row(name, "[]".to_owned())));
            }
        }
        for url in items(&rule["nonResourceURLs"]) {
            let key = format!("{}[][][]{}", list(&rule["verbs"]), text(url));
            rows.push((key, row(String::new(), format!("[{}]", text(url)))));
        }
    }
    // By verbs, then groups, then resources, as kubectl sorts them.
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    page.table(1, &["Resources", "Non-Resource URLs", "Resource Names", "Verbs"], &rows);
    page.finish()
}

pub(super) fn binding(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, false);
    page.head(0, "Role:");
    page.field(1, "Kind", text(&object["roleRef"]["kind"]));
    page.field(1, "Name", text(&object["roleRef"]["name"]));
    page.head(0, "Subjects:");
    let rows: Vec<_> = items(&object["subjects"])
        .iter()
        .map(|one| {
            ["kind", "name", "namespace"]
                .iter()
                .map(|key| (Role::Value, text(&one[*key]).to_owned()))
                .collect()
        })
        .collect();
    page.table(1, &["Kind", "Name", "Namespace"], &rows);
    page.finish()
}

pub(super) fn ingress(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&metadata["name"]));
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    page.field(0, "Namespace", text(&metadata["namespace"]));
    let balancers = items(&object["status"]["loadBalancer"]["ingress"]).iter();
    let addresses: Vec<&str> = balancers
        .filter_map(|one| {
            [text(&one["ip"]), text(&one["hostname"])]
                .into_iter()
                .find(|word| !word.is_empty())
        })
        .collect();
    page.field(0, "Address", &addresses.join(","));
    page.field(0, "Ingress Class", or_none(text(&spec["ingressClassName"])));
    page.field(
        0,
        "Default backend",
        &backend(&spec["defaultBackend"]).unwrap_or_else(|| "<default>".to_owned()),
    );
    if present(&spec["tls"]) {
        page.head(0, "TLS:");
        for tls in items(&spec["tls"]) {
            let hosts: Vec<&str> = items(&tls["hosts"]).iter().map(text).collect();
            let line = match text(&tls["secretName"]) {
                "" => format!("SNI routes {}", hosts.join(",")),
                secret => format!("{secret} terminates {}", hosts.join(",")),
            };
            page.line(1, Role::Value, &line);
        }
    }
    page.head(0, "Rules:");
    let mut rows: Vec<Vec<(Role, String)>> = Vec::new();
    for rule in items(&spec["rules"]) {
        let host = if text(&rule["host"]).is_empty() {
            "*"
        } else {
            text(&rule["host"])
        };
        rows.push(vec![(Role::Strong, host.to_owned()), (Role::Value, String::new())]);
        for path in items(&rule["http"]["paths"]) {
            rows.push(vec![
                (Role::Value, String::new()),
                (Role::Value, format!("{} ", text(&path["path"]))),
                (Role::Value, with_endpoints(&path["backend"], subject.related)),
            ]);
        }
    }
    page.table(1, &["Host", "Path", "Backends"], &rows);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    describe::events(&mut page, subject);
    page.finish()
}

/// A backend with the addresses behind it: `web:80 (10.0.0.4:8080,10.0.0.5:8080)`.
fn with_endpoints(backend: &Value, slices: Option<&[Value]>) -> String {
    /// Addresses told; of more, only how many.
    const MOST: usize = 3;
    let name = self::backend(backend).unwrap_or_default();
    let Some(slices) = slices.filter(|_| backend["service"].is_object()) else {
        return name;
    };
    let service = &backend["service"];
    let own = slices
        .iter()
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service["name"]);
    let mut all: Vec<String> = Vec::new();
    for slice in own {
        let ports = items(&slice["ports"]);
        let named = ports
            .iter()
            .find(|port| port["name"] == service["port"]["name"] && !port["name"].is_null());
        let Some(port) = named.or_else(|| ports.first()) else {
            continue;
        };
        let ready = items(&slice["endpoints"])
            .iter()
            .filter(|endpoint| endpoint["conditions"]["ready"] != false);
        all.extend(ready.map(|endpoint| format!("{}:{}", text(&endpoint["addresses"][0]), int(&port["port"]))));
    }
    all.sort_unstable();
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    let more = if more > 0 {
        format!(" + {more} more...")
    } else {
        String::new()
    };
    format!("{name} ({}{more})", all.join(","))
}

/// `web:80`, or the object a path leads to.
fn backend(backend: &Value) -> Option<String> {
    let service = &backend["service"];
    if service.is_object() {
        let port = match &service["port"]["number"] {
            Value::Null => scalar(&service["port"]["name"]),
            number => scalar(number),
        };
        return Some(format!("{}:{port}", text(&service["name"])));
    }
    let resource = &backend["resource"];
    resource
        .is_object()
        .then(|| format!("{} {}", text(&resource["kind"]), text(&resource["name"])))
}

pub(super) fn network_policy(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let spec = &object["spec"];
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&object["metadata"]["name"]));
    page.field(0, "Namespace", text(&object["metadata"]["namespace"]));
    let created = time(&object["metadata"]["creationTimestamp"]);
    let created = created.map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M:%S %z UTC").to_string());
    page.field(0, "Created on", &created);
    describe::labels(&mut page, 0, "Labels", &object["metadata"]["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &object["metadata"]["annotations"]);
    page.head(0, "Spec:");
    let chosen = selector::query(&spec["podSelector"]);
    let everything = "<none> (Allowing the specific traffic to all pods in this namespace)";
    page.line(
        1,
        Role::Value,
        &format!(
            "PodSelector:     {}",
            if chosen.is_empty() { everything } else { &chosen }
        ),
    );
    let kinds: Vec<&str> = items(&spec["policyTypes"]).iter().map(text).collect();
    for (kind, list, peers, direction) in [("Ingress", "ingress", "from", "From"), ("Egress", "egress", "to", "To")] {
        if !kinds.contains(&kind) {
            page.line(1, Role::Value, &format!("Not affecting {} traffic", list));
            continue;
        }
        page.line(1, Role::Value, &format!("Allowing {list} traffic:"));
        let rules = items(&spec[list]);
        if rules.is_empty() {
            let side = if kind == "Ingress" { "ingress" } else { "egress" };
            page.line(
                2,
                Role::Warning,
                &format!("<none> (Selected pods are isolated for {side} connectivity)"),
            );
        }
        for (at, rule) in rules.iter().enumerate() {
            if at > 0 {
                page.line(2, Role::Dim, "----------");
            }
            if items(&rule["ports"]).is_empty() {
                page.line(2, Role::Value, "To Port: <any> (traffic allowed to all ports)");
            }
            for port in items(&rule["ports"]) {
                let protocol = if text(&port["protocol"]).is_empty() {
                    "TCP"
                } else {
                    text(&port["protocol"])
                };
                page.line(
                    2,
                    Role::Value,
                    &format!("To Port: {}/{protocol}", scalar(&port["port"])),
                );
            }
            if items(&rule[peers]).is_empty() {
                page.line(
                    2,
                    Role::Value,
                    &format!(
                        "{direction}: <any> (traffic not restricted by {})",
                        if kind == "Ingress" { "source" } else { "destination" }
                    ),
                );
            }
            for peer in items(&rule[peers]) {
                page.line(2, Role::Value, &format!("{direction}:"));
                for (title, key) in [
                    ("NamespaceSelector", "namespaceSelector"),
                    ("PodSelector", "podSelector"),
                ] {
                    if peer[key].is_object() {
                        page.line(3, Role::Value, &format!("{title}: {}", describe::selector(&peer[key])));
                    }
                }
                if peer["ipBlock"].is_object() {
                    page.head(3, "IPBlock:");
                    page.line(4, Role::Value, &format!("CIDR: {}", text(&peer["ipBlock"]["cidr"])));
                    let except: Vec<&str> = items(&peer["ipBlock"]["except"]).iter().map(text).collect();
                    page.line(4, Role::Value, &format!("Except: {}", except.join(", ")));
                }
            }
        }
    }
    page.line(1, Role::Value, &format!("Policy Types: {}", kinds.join(", ")));
    page.finish()
}
