//! The containers of a pod or of a pod template, described.

use serde_json::Value;

use super::field::{by, int, items, or_none, pairs, present, scalar, text, time, yes};
use super::page::Page;
use crate::text::parse_quantity;
use crate::theme::Role;

/// The containers of `pod` under a heading; `pod` is null for those of a template, which stand a little further in.
pub(super) fn describe(page: &mut Page, title: &str, containers: &Value, statuses: &Value, pod: &Value) {
    let (pad, name_pad) = if pod.is_null() { ("  ", " ") } else { ("", "") };
    let containers = items(containers);
    let none = if containers.is_empty() { " <none>" } else { "" };
    page.head(0, &format!("{pad}{title}:{none}"));
    for container in containers {
        let status = by(statuses, "name", text(&container["name"]));
        page.head(1, &format!("{name_pad}{}:", text(&container["name"])));
        basics(page, container, status);
        words(page, "Command", &container["command"]);
        words(page, "Args", &container["args"]);
        if let Some(status) = status {
            states(page, status);
        }
        resources(page, 2, &container["resources"]);
        for (title, probe) in [
            ("Liveness", "livenessProbe"),
            ("Readiness", "readinessProbe"),
            ("Startup", "startupProbe"),
        ] {
            if container[probe].is_object() {
                page.field(2, title, &self::probe(&container[probe]));
            }
        }
        sources(page, &container["envFrom"]);
        environment(page, container, pod);
        mounts(page, container);
    }
}

fn basics(page: &mut Page, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        page.field(2, "Container ID", text(&status["containerID"]));
    }
    page.field(2, "Image", text(&container["image"]));
    if let Some(status) = status {
        page.field(2, "Image ID", text(&status["imageID"]));
    }
    for (title, number) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let ports = ports(&container["ports"], number);
        let plural = if ports.contains(',') { "s" } else { "" };
        page.field(2, &format!("{title}{plural}"), or_none(&ports));
    }
    seccomp(page, 2, &container["securityContext"]["seccompProfile"]);
}

/// The seccomp profile of a pod or container.
pub(super) fn seccomp(page: &mut Page, level: usize, profile: &Value) {
    if profile.is_object() {
        page.field(level, "SeccompProfile", text(&profile["type"]));
        if profile["type"] == "Localhost" {
            let level = if level == 0 { 0 } else { level + 1 };
            page.field(level, "LocalhostProfile", text(&profile["localhostProfile"]));
        }
    }
}

fn ports(ports: &Value, number: &str) -> String {
    let port = |port: &Value| {
        let protocol = if present(&port["protocol"]) {
            text(&port["protocol"])
        } else {
            "TCP"
        };
        format!("{}/{protocol}", int(&port[number]))
    };
    items(ports).iter().map(port).collect::<Vec<_>>().join(", ")
}

fn words(page: &mut Page, title: &str, words: &Value) {
    if present(words) {
        page.line(2, Role::Field, &format!("{title}:"));
        for line in items(words).iter().flat_map(|word| text(word).split('\n')) {
            page.line(3, Role::Value, line);
        }
    }
}

fn states(page: &mut Page, status: &Value) {
    state(page, "State", &status["state"]);
    if status["lastState"]["terminated"].is_object() {
        state(page, "Last State", &status["lastState"]);
    }
    let ready = yes(&status["ready"]);
    let done = status["state"]["terminated"]["exitCode"] == 0;
    let role = if ready || done { Role::Value } else { Role::Warning };
    page.field_as(2, "Ready", role, if ready { "True" } else { "False" });
    let restarts = int(&status["restartCount"]);
    page.field_as(
        2,
        "Restart Count",
        if restarts > 0 { Role::Warning } else { Role::Value },
        &restarts.to_string(),
    );
}

fn state(page: &mut Page, title: &str, state: &Value) {
    let (running, ended) = (&state["running"], &state["terminated"]);
    if running.is_object() {
        page.field_as(2, title, Role::Good, "Running");
        let started = page.moment(time(&running["startedAt"]));
        page.field(3, "Started", &started);
    } else if ended.is_object() && !state["waiting"].is_object() {
        let exit = int(&ended["exitCode"]);
        let role = if exit == 0 { Role::Done } else { Role::Failed };
        page.field_as(2, title, role, "Terminated");
        if present(&ended["reason"]) {
            page.field_as(3, "Reason", role, text(&ended["reason"]));
        }
        page.field_if(3, "Message", text(&ended["message"]));
        page.field_as(
            3,
            "Exit Code",
            if exit == 0 { Role::Value } else { Role::Failed },
            &exit.to_string(),
        );
        if int(&ended["signal"]) > 0 {
            page.field(3, "Signal", &int(&ended["signal"]).to_string());
        }
        for (title, key) in [("Started", "startedAt"), ("Finished", "finishedAt")] {
            let moment = page.moment(time(&ended[key]));
            page.field(3, title, &moment);
        }
    } else {
        let reason = text(&state["waiting"]["reason"]);
        let role = if matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            Role::Progress
        } else {
            Role::Failed
        };
        page.field_as(2, title, role, "Waiting");
        if !reason.is_empty() {
            page.field_as(3, "Reason", role, reason);
        }
    }
}

/// Limits and requests.
pub(super) fn resources(page: &mut Page, level: usize, resources: &Value) {
    for (title, key) in [("Limits:", "limits"), ("Requests:", "requests")] {
        if present(&resources[key]) {
            page.line(level, Role::Field, title);
            for (name, quantity) in pairs(&resources[key]) {
                page.field(level + 1, name, &scalar(quantity));
            }
        }
    }
}

/// `http-get http://:8080/healthy delay=5s timeout=1s period=10s #success=1 #failure=3`
fn probe(probe: &Value) -> String {
    let what = if probe["exec"].is_object() {
        let command: Vec<_> = items(&probe["exec"]["command"]).iter().map(text).collect();
        format!("exec [{}]", command.join(" "))
    } else if probe["httpGet"].is_object() {
        let get = &probe["httpGet"];
        let scheme = text(&get["scheme"]).to_lowercase();
        let scheme = if scheme.is_empty() { "http" } else { &scheme };
        let path = text(&get["path"]);
        let slash = if path.is_empty() || path.starts_with('/') {
            ""
        } else {
            "/"
        };
        format!(
            "http-get {scheme}://{}:{}{slash}{path}",
            host(text(&get["host"])),
            scalar(&get["port"])
        )
    } else if probe["tcpSocket"].is_object() {
        let socket = &probe["tcpSocket"];
        format!("tcp-socket {}:{}", text(&socket["host"]), scalar(&socket["port"]))
    } else if probe["grpc"].is_object() {
        format!(
            "grpc <pod>:{} {}",
            int(&probe["grpc"]["port"]),
            text(&probe["grpc"]["service"])
        )
    } else {
        "unknown".into()
    };
    format!(
        "{what} delay={}s timeout={}s period={}s #success={} #failure={}",
        int(&probe["initialDelaySeconds"]),
        int(&probe["timeoutSeconds"]),
        int(&probe["periodSeconds"]),
        int(&probe["successThreshold"]),
        int(&probe["failureThreshold"]),
    )
}

/// An IPv6 address in a URL stands in brackets.
fn host(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn sources(page: &mut Page, sources: &Value) {
    if !present(sources) {
        return;
    }
    page.line(2, Role::Field, "Environment Variables from:");
    for source in items(sources) {
        let (kind, reference) = if source["configMapRef"].is_object() {
            ("ConfigMap", &source["configMapRef"])
        } else {
            ("Secret", &source["secretRef"])
        };
        let prefix = text(&source["prefix"]);
        let kind = if prefix.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind} with prefix '{prefix}'")
        };
        let optional = format!("Optional: {}", yes(&reference["optional"]));
        page.cells(
            3,
            &[
                (Role::Value, text(&reference["name"])),
                (Role::Value, &kind),
                (Role::Dim, &optional),
            ],
        );
    }
}

fn environment(page: &mut Page, container: &Value, pod: &Value) {
    let variables = &container["env"];
    if !present(variables) {
        page.field_as(2, "Environment", Role::Dim, "<none>");
        return;
    }
    page.line(2, Role::Field, "Environment:");
    for variable in items(variables) {
        let name = text(&variable["name"]);
        let from = &variable["valueFrom"];
        if !from.is_object() {
            page.field(3, name, text(&variable["value"]));
        } else if from["fieldRef"].is_object() {
            let path = text(&from["fieldRef"]["fieldPath"]);
            let version = if present(&from["fieldRef"]["apiVersion"]) {
                text(&from["fieldRef"]["apiVersion"])
            } else {
                "v1"
            };
            page.field(3, name, &format!("{} ({version}:{path})", of_pod(pod, path)));
        } else if from["resourceFieldRef"].is_object() {
            let reference = &from["resourceFieldRef"];
            let resource = text(&reference["resource"]);
            page.field(3, name, &format!("{} ({resource})", of_container(container, reference)));
        } else {
            let (key, of) = if from["secretKeyRef"].is_object() {
                ("secretKeyRef", "in secret")
            } else {
                ("configMapKeyRef", "of config map")
            };
            let reference = &from[key];
            let set = format!(
                "<set to the key '{}' {of} '{}'>",
                text(&reference["key"]),
                text(&reference["name"])
            );
            let optional = format!("Optional: {}", yes(&reference["optional"]));
            page.cells(
                3,
                &[
                    (Role::Field, &format!("{name}:")),
                    (Role::Value, &set),
                    (Role::Dim, &optional),
                ],
            );
        }
    }
}

/// The fields of a pod that `kubectl` tells: those that are known before it runs and are no maps.
fn of_pod<'a>(pod: &'a Value, path: &str) -> &'a str {
    match path {
        "metadata.name" => text(&pod["metadata"]["name"]),
        "metadata.namespace" => text(&pod["metadata"]["namespace"]),
        _ => "",
    }
}

/// A limit or request in units of the divisor, rounded up.
fn of_container(container: &Value, reference: &Value) -> String {
    let resource = text(&reference["resource"]);
    let Some((list, name)) = resource.split_once('.') else {
        return String::new();
    };
    let amount = |value: &Value| parse_quantity(&scalar(value)).unwrap_or_default();
    let divisor = match amount(&reference["divisor"]) {
        0 => 1000,
        divisor => divisor,
    };
    let amount = amount(&container["resources"][list][name]);
    match (amount + divisor - 1).div_euclid(divisor) {
        0 if matches!(resource, "limits.cpu" | "limits.memory") => "node allocatable".into(),
        value => value.to_string(),
    }
}

fn mounts(page: &mut Page, container: &Value) {
    let mut mounts: Vec<&Value> = items(&container["volumeMounts"]).iter().collect();
    if mounts.is_empty() {
        page.field_as(2, "Mounts", Role::Dim, "<none>");
    } else {
        page.line(2, Role::Field, "Mounts:");
    }
    mounts.sort_by_key(|mount| text(&mount["mountPath"]));
    for mount in mounts {
        let mut flags = if yes(&mount["readOnly"]) { "ro" } else { "rw" }.to_owned();
        if present(&mount["subPath"]) {
            flags.push_str(&format!(",path={:?}", text(&mount["subPath"])));
        }
        page.line(
            3,
            Role::Value,
            &format!("{} from {} ({flags})", text(&mount["mountPath"]), text(&mount["name"])),
        );
    }
    if present(&container["volumeDevices"]) {
        page.line(2, Role::Field, "Devices:");
        for device in items(&container["volumeDevices"]) {
            page.line(
                3,
                Role::Value,
                &format!("{} from {}", text(&device["devicePath"]), text(&device["name"])),
            );
        }
    }
}
