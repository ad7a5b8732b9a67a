//! The checks of the Pod Security Standards, each with the versions in which it looked as it does.
//!
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>; the words are those of the admission
//! plugin, because people search for them.

use std::collections::BTreeSet;

use super::Level;
use crate::field::quote;
use crate::json::{absent, entries, items, text};
use serde_json::Value;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The short form, by which pods of a namespace are counted.
    pub reason: &'static str,
    /// Who does what.
    pub detail: String,
}

/// The pod that is looked at: its metadata for the annotations of old, and its spec.
pub(super) struct Pod<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

type Found = Option<Violation>;

/// One check in one range of versions.
struct Check {
    id: &'static str,
    level: Level,
    /// First minor version in which it counts.
    since: u32,
    /// First minor version in which it counts no more, or in another form.
    until: u32,
    /// The check of the lower level that it stands in for.
    instead_of: &'static str,
    run: fn(&Pod<'_>) -> Found,
}

const EVER: u32 = u32::MAX;

const fn baseline(id: &'static str, since: u32, until: u32, run: fn(&Pod<'_>) -> Found) -> Check {
    Check {
        id,
        level: Level::Baseline,
        since,
        until,
        instead_of: "",
        run,
    }
}

const fn restricted(
    id: &'static str,
    since: u32,
    until: u32,
    instead_of: &'static str,
    run: fn(&Pod<'_>) -> Found,
) -> Check {
    Check {
        id,
        level: Level::Restricted,
        since,
        until,
        instead_of,
        run,
    }
}

/// In the order in which they are told: the baseline's by name, then those of the restricted level by name.
const CHECKS: &[Check] = &[
    baseline("appArmorProfile", 0, EVER, app_armor),
    baseline("capabilities_baseline", 0, EVER, default_capabilities),
    baseline("hostNamespaces", 0, EVER, host_namespaces),
    baseline("hostPathVolumes", 0, EVER, host_path),
    baseline("hostPorts", 0, EVER, host_ports),
    baseline("hostProbesAndHostLifecycle", 34, EVER, host_probes),
    baseline("privileged", 0, EVER, privileged),
    baseline("procMount", 0, 35, proc_mount),
    baseline("procMount", 35, EVER, |pod| outside_user_namespace(pod, proc_mount)),
    baseline("seLinuxOptions", 0, 31, |pod| selinux(pod, &SELINUX_TYPES[..4])),
    baseline("seLinuxOptions", 31, EVER, |pod| selinux(pod, &SELINUX_TYPES)),
    baseline("seccompProfile_baseline", 0, 19, seccomp_annotations),
    baseline("seccompProfile_baseline", 19, EVER, |pod| seccomp(pod, false)),
    baseline("sysctls", 0, 27, |pod| sysctls(pod, 5)),
    baseline("sysctls", 27, 29, |pod| sysctls(pod, 6)),
    baseline("sysctls", 29, 32, |pod| sysctls(pod, 10)),
    baseline("sysctls", 32, 37, |pod| sysctls(pod, 12)),
    baseline("sysctls", 37, EVER, |pod| sysctls(pod, 14)),
    baseline("windowsHostProcess", 0, EVER, host_process),
    restricted("allowPrivilegeEscalation", 8, 25, "", escalation),
    restricted("allowPrivilegeEscalation", 25, EVER, "", |pod| {
        on_linux(pod, escalation)
    }),
    restricted(
        "capabilities_restricted",
        22,
        25,
        "capabilities_baseline",
        few_capabilities,
    ),
    restricted("capabilities_restricted", 25, EVER, "capabilities_baseline", |pod| {
        on_linux(pod, few_capabilities)
    }),
    restricted("procMount_restricted", 35, EVER, "procMount", proc_mount),
    restricted("restrictedVolumes", 0, EVER, "hostPathVolumes", volume_types),
    restricted("runAsNonRoot", 0, 35, "", non_root),
    restricted("runAsNonRoot", 35, EVER, "", |pod| {
        outside_user_namespace(pod, non_root)
    }),
    restricted("runAsUser", 23, 35, "", root_user),
    restricted("runAsUser", 35, EVER, "", |pod| outside_user_namespace(pod, root_user)),
    restricted("seccompProfile_restricted", 19, 25, "seccompProfile_baseline", |pod| {
        seccomp(pod, true)
    }),
    restricted(
        "seccompProfile_restricted",
        25,
        EVER,
        "seccompProfile_baseline",
        |pod| on_linux(pod, |pod| seccomp(pod, true)),
    ),
];

/// What a level of the standards as of Kubernetes 1.`minor` finds in a pod.
pub(super) fn evaluate(level: Level, minor: u32, pod: &Pod<'_>) -> Vec<Violation> {
    if level == Level::Privileged {
        return Vec::new();
    }
    let counts = |check: &&Check| check.level <= level && (check.since..check.until).contains(&minor);
    let replaced: Vec<&str> = CHECKS
        .iter()
        .filter(counts)
        .map(|check| check.instead_of)
        .filter(|id| !id.is_empty())
        .collect();
    CHECKS
        .iter()
        .filter(counts)
        .filter(|check| !replaced.contains(&check.id))
        .filter_map(|check| (check.run)(pod))
        .collect()
}

/// Windows has none of what these checks ask for.
fn on_linux(pod: &Pod<'_>, check: fn(&Pod<'_>) -> Found) -> Found {
    match text(&pod.spec["os"], "name") {
        "windows" => None,
        _ => check(pod),
    }
}

/// Root in a user namespace of the pod's own is nobody outside of it.
fn outside_user_namespace(pod: &Pod<'_>, check: fn(&Pod<'_>) -> Found) -> Found {
    match pod.spec["hostUsers"] == false {
        true => None,
        false => check(pod),
    }
}

fn found(reason: &'static str, detail: String) -> Found {
    Some(Violation { reason, detail })
}

fn containers<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    let spec = pod.spec;
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |list| items(&spec[list]))
}

/// Names of the containers of which `bad` holds.
fn names(pod: &Pod<'_>, mut bad: impl FnMut(&Value) -> bool) -> Vec<String> {
    containers(pod)
        .filter(|container| bad(container))
        .map(|container| text(container, "name").to_owned())
        .collect()
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`.
fn quoted<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}

/// `container "a"` or `containers "a", "b"`.
fn who(containers: &[String]) -> String {
    let word = plural("container", "containers", containers.len());
    format!("{word} {}", quoted(containers))
}

/// `pod and container "a"`, as far as they are to blame; `None` if nobody is.
fn setters(pod: bool, containers: &[String]) -> Option<String> {
    let mut parts = Vec::new();
    if pod {
        parts.push("pod".to_owned());
    }
    if !containers.is_empty() {
        parts.push(who(containers));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn security(owner: &Value) -> &Value {
    &owner["securityContext"]
}

fn app_armor(pod: &Pod<'_>) -> Found {
    let mut values = BTreeSet::new();
    let mut bad = |owner: &Value| {
        let profile = &security(owner)["appArmorProfile"];
        let kind = text(profile, "type");
        let bad = !profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind.to_owned());
        }
        bad
    };
    let whole = bad(pod.spec);
    let mut who: Vec<String> = setters(whole, &names(pod, bad)).into_iter().collect();
    let mut annotations: Vec<String> = entries(&pod.metadata["annotations"])
        .filter(|(key, _)| key.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
        .filter(|(_, value)| !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/"))
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    annotations.sort();
    let mut values: Vec<String> = values.into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.append(&mut annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    let (who, values) = (who.join(" and "), quoted(&values));
    found(reason, format!("{who} must not set AppArmor profile type to {values}"))
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add other capabilities than `allowed`, and which.
fn added(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let mut capabilities = BTreeSet::new();
    let bad = names(pod, |container| {
        let mut bad = false;
        for capability in items(&security(container)["capabilities"]["add"]) {
            let capability = capability.as_str().unwrap_or_default();
            if !allowed.contains(&capability) {
                capabilities.insert(capability.to_owned());
                bad = true;
            }
        }
        bad
    });
    let (who, what) = (who(&bad), quoted(&capabilities));
    (!bad.is_empty()).then(|| format!("{who} must not include {what} in securityContext.capabilities.add"))
}

fn default_capabilities(pod: &Pod<'_>) -> Found {
    found("non-default capabilities", added(pod, &DEFAULT_CAPABILITIES)?)
}

fn few_capabilities(pod: &Pod<'_>) -> Found {
    let keeping = names(pod, |container| {
        !items(&security(container)["capabilities"]["drop"])
            .iter()
            .any(|capability| capability == "ALL")
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = who(&keeping);
        details.push(format!(r#"{who} must set securityContext.capabilities.drop=["ALL"]"#));
    }
    details.extend(added(pod, &["NET_BIND_SERVICE"]));
    if details.is_empty() {
        return None;
    }
    found("unrestricted capabilities", details.join("; "))
}

fn host_namespaces(pod: &Pod<'_>) -> Found {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|key| pod.spec[*key] == true)
        .map(|key| format!("{key}=true"))
        .collect();
    if shared.is_empty() {
        return None;
    }
    found("host namespaces", shared.join(", "))
}

fn host_path(pod: &Pod<'_>) -> Found {
    let volumes: Vec<String> = items(&pod.spec["volumes"])
        .iter()
        .filter(|volume| !absent(volume, "hostPath"))
        .map(|volume| text(volume, "name").to_owned())
        .collect();
    if volumes.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", volumes.len());
    found("hostPath volumes", format!("{word} {}", quoted(&volumes)))
}

fn host_ports(pod: &Pod<'_>) -> Found {
    let mut ports = BTreeSet::new();
    let bad = names(pod, |container| {
        let own = items(&container["ports"])
            .iter()
            .filter_map(|port| port["hostPort"].as_i64())
            .filter(|port| *port != 0);
        let before = ports.len();
        let own: Vec<String> = own.map(|port| port.to_string()).collect();
        ports.extend(own.iter().cloned());
        !own.is_empty() || ports.len() > before
    });
    if bad.is_empty() {
        return None;
    }
    let uses = plural("uses", "use", bad.len());
    let word = plural("hostPort", "hostPorts", ports.len());
    let ports: Vec<String> = ports.into_iter().collect();
    found("hostPort", format!("{} {uses} {word} {}", who(&bad), ports.join(", ")))
}

/// A probe of another host than the pod makes the kubelet knock on doors for a stranger.
fn host_probes(pod: &Pod<'_>) -> Found {
    let mut hosts = BTreeSet::new();
    let mut bad = BTreeSet::new();
    for container in containers(pod) {
        let lifecycle = &container["lifecycle"];
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        for (handler, way) in handlers.into_iter().flat_map(|h| [(h, "httpGet"), (h, "tcpSocket")]) {
            let host = text(&handler[way], "host");
            if !host.is_empty() {
                hosts.insert(host.to_owned());
                bad.insert(text(container, "name").to_owned());
            }
        }
    }
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<String> = bad.into_iter().collect();
    let uses = plural("uses", "use", bad.len());
    let word = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    found(
        "probe or lifecycle host",
        format!("{} {uses} {word} {}", who(&bad), quoted(&hosts)),
    )
}

fn privileged(pod: &Pod<'_>) -> Found {
    let bad = names(pod, |container| security(container)["privileged"] == true);
    let who = setters(false, &bad)?;
    found(
        "privileged",
        format!("{who} must not set securityContext.privileged=true"),
    )
}

fn proc_mount(pod: &Pod<'_>) -> Found {
    let mut kinds = BTreeSet::new();
    let bad = names(pod, |container| {
        let kind = security(container)["procMount"].as_str().unwrap_or("Default");
        let bad = kind != "Default";
        if bad {
            kinds.insert(kind.to_owned());
        }
        bad
    });
    let (who, kinds) = (setters(false, &bad)?, quoted(&kinds));
    found(
        "procMount",
        format!("{who} must not set securityContext.procMount to {kinds}"),
    )
}

/// The last came with 1.31.
const SELINUX_TYPES: [&str; 5] = [
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

fn selinux(pod: &Pod<'_>, allowed: &[&str]) -> Found {
    let mut types = BTreeSet::new();
    let (mut user, mut role) = (false, false);
    let mut bad = |owner: &Value| {
        let options = &security(owner)["seLinuxOptions"];
        let kind = text(options, "type");
        let mut bad = false;
        if !allowed.contains(&kind) {
            types.insert(kind.to_owned());
            bad = true;
        }
        for (key, seen) in [("user", &mut user), ("role", &mut role)] {
            if !text(options, key).is_empty() {
                *seen = true;
                bad = true;
            }
        }
        bad
    };
    let whole = bad(pod.spec);
    let who = setters(whole, &names(pod, bad))?;
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    let what = what.join("; ");
    found(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {what}"),
    )
}

/// Before 1.19 seccomp profiles were annotations.
fn seccomp_annotations(pod: &Pod<'_>) -> Found {
    let allowed =
        |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let mut keys = vec!["seccomp.security.alpha.kubernetes.io/pod".to_owned()];
    keys.extend(containers(pod).map(|container| {
        format!(
            "container.seccomp.security.alpha.kubernetes.io/{}",
            text(container, "name")
        )
    }));
    let forbidden: BTreeSet<String> = keys
        .iter()
        .filter_map(|key| Some((key, pod.metadata["annotations"][key].as_str()?)))
        .filter(|(_, value)| !allowed(value))
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    if forbidden.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", forbidden.len());
    let forbidden: Vec<String> = forbidden.into_iter().collect();
    found("seccompProfile", format!("forbidden {word} {}", forbidden.join(", ")))
}

/// `required`: somebody has to choose a profile.
fn seccomp(pod: &Pod<'_>, required: bool) -> Found {
    let mut values = BTreeSet::new();
    let mut bad = |owner: &Value| {
        let profile = &security(owner)["seccompProfile"];
        let kind = text(profile, "type");
        let bad = !profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost");
        if bad {
            values.insert(kind.to_owned());
        }
        bad
    };
    let whole = bad(pod.spec);
    if let Some(who) = setters(whole, &names(pod, bad)) {
        let values = quoted(&values);
        let detail = format!("{who} must not set securityContext.seccompProfile.type to {values}");
        return found("seccompProfile", detail);
    }
    if !required || !security(pod.spec)["seccompProfile"].is_null() {
        return None;
    }
    let without = names(pod, |container| security(container)["seccompProfile"].is_null());
    let who = setters(false, &without)?;
    found(
        "seccompProfile",
        format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""),
    )
}

/// In the order in which they became safe: 5 always were, then 1 with 1.27, 4 with 1.29, 2 with 1.32, 2 with 1.37.
const SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_notsent_lowat",
];

fn sysctls(pod: &Pod<'_>, allowed: usize) -> Found {
    let forbidden: Vec<&str> = items(&security(pod.spec)["sysctls"])
        .iter()
        .map(|sysctl| text(sysctl, "name"))
        .filter(|name| !SYSCTLS[..allowed].contains(name))
        .collect();
    if forbidden.is_empty() {
        return None;
    }
    found("forbidden sysctls", forbidden.join(", "))
}

fn host_process(pod: &Pod<'_>) -> Found {
    let bad = |owner: &Value| security(owner)["windowsOptions"]["hostProcess"] == true;
    let who = setters(bad(pod.spec), &names(pod, bad))?;
    found(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}

fn escalation(pod: &Pod<'_>) -> Found {
    let bad = names(pod, |container| {
        security(container)["allowPrivilegeEscalation"] != false
    });
    let who = setters(false, &bad)?;
    found(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn volume_types(pod: &Pod<'_>) -> Found {
    let mut types = BTreeSet::new();
    let mut bad = Vec::new();
    for volume in items(&pod.spec["volumes"]) {
        if VOLUMES.iter().any(|kind| !absent(volume, kind)) {
            continue;
        }
        bad.push(text(volume, "name").to_owned());
        let kind = entries(volume).find(|(key, value)| *key != "name" && !value.is_null());
        types.insert(kind.map_or_else(|| "unknown".to_owned(), |(key, _)| key.clone()));
    }
    if bad.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", bad.len());
    let uses = plural("uses", "use", bad.len());
    let kinds = plural("restricted volume type", "restricted volume types", types.len());
    found(
        "restricted volume types",
        format!("{word} {} {uses} {kinds} {}", quoted(&bad), quoted(&types)),
    )
}

fn non_root(pod: &Pod<'_>) -> Found {
    let said = |owner: &Value| security(owner)["runAsNonRoot"].as_bool();
    let explicit = names(pod, |container| said(container) == Some(false));
    if let Some(who) = setters(said(pod.spec) == Some(false), &explicit) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return found("runAsNonRoot != true", detail);
    }
    if said(pod.spec) == Some(true) {
        return None;
    }
    let who = setters(false, &names(pod, |container| said(container).is_none()))?;
    found(
        "runAsNonRoot != true",
        format!("pod or {who} must set securityContext.runAsNonRoot=true"),
    )
}

fn root_user(pod: &Pod<'_>) -> Found {
    let root = |owner: &Value| security(owner)["runAsUser"] == 0;
    let who = setters(root(pod.spec), &names(pod, root))?;
    found("runAsUser=0", format!("{who} must not set runAsUser=0"))
}
