//! What a pod's security contexts ask for: honoured, or refused with the field and the reason. Nothing is left out in silence.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_runtime::{Capabilities, Limits, Mode, SandboxSpec, Seccomp, Security};

use super::etc;
use crate::quantity;

/// Most processes and threads of one pod: the kubelet's `podPidsLimit`.
const POD_PIDS: u64 = 4096;

/// Kernel settings that concern nobody but the pod, as the kubelet has them by default.
/// See <https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/>.
const SAFE_SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// A pod that cannot run on this node: its status's reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";
const APP_ARMOR: &str = "AppArmor";

/// Whether a pod that failed for this reason was turned away: it has no containers to tell of.
pub(crate) fn is_rejection(reason: &str) -> bool {
    matches!(reason, SYSCTL_FORBIDDEN | APP_ARMOR)
}

fn context(pod: &Pod) -> Option<&PodSecurityContext> {
    pod.spec.as_ref()?.security_context.as_ref()
}

/// Whether the runtime isolates containers, so that it matters what they may do.
fn isolates(mode: Mode) -> bool {
    matches!(mode, Mode::Root | Mode::UserNamespace)
}

/// The pod's sandbox.
pub(crate) fn sandbox(pod: &Pod, mode: Mode) -> Result<SandboxSpec, Rejected> {
    let (meta, spec) = (&pod.metadata, pod.spec.clone().unwrap_or_default());
    let (host_network, host_ipc) = (spec.host_network.unwrap_or(false), spec.host_ipc.unwrap_or(false));
    let mut sysctls = Vec::new();
    for sysctl in context(pod)
        .and_then(|context| context.sysctls.as_ref())
        .into_iter()
        .flatten()
    {
        // Slashes do as well as dots.
        let name = sysctl.name.replace('/', ".");
        let forbidden = |why: String| Rejected {
            reason: SYSCTL_FORBIDDEN,
            message: format!("forbidden sysctl: {:?} {why}", sysctl.name),
        };
        if !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Err(forbidden("not allowlisted".into()));
        }
        if host_network && name.starts_with("net.") {
            return Err(forbidden("not allowed with host net enabled".into()));
        }
        if host_ipc && name.starts_with("kernel.shm") {
            return Err(forbidden("not allowed with host ipc enabled".into()));
        }
        sysctls.push((name, sysctl.value.clone()));
    }
    if isolates(mode) {
        app_armor(pod, &spec)?;
    }
    Ok(SandboxSpec {
        id: meta.uid.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        hostname: etc::hostname(pod),
        host_network,
        host_ipc,
        sysctls,
        limits: pod_limits(&spec),
    })
}

/// No profiles of AppArmor are loaded here; as with any kubelet, a pod that asks for one does not run.
fn app_armor(pod: &Pod, spec: &PodSpec) -> Result<(), Rejected> {
    let of_pod = context(pod).and_then(|context| context.app_armor_profile.as_ref());
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let own = containers.filter_map(|container| container.security_context.as_ref()?.app_armor_profile.as_ref());
    let asks = of_pod
        .into_iter()
        .chain(own)
        .any(|profile| profile.type_ != "Unconfined");
    if !asks {
        return Ok(());
    }
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let why = if enabled.is_ok_and(|text| text.trim() == "Y") {
        "this node loads no AppArmor profiles"
    } else {
        "AppArmor is not enabled on the host"
    };
    Err(Rejected {
        reason: APP_ARMOR,
        message: format!("Cannot enforce AppArmor: {why}"),
    })
}

/// What one container may do. Errors are for its `CreateContainerConfigError`.
pub(crate) fn security(pod: &Pod, container: &Container, mode: Mode) -> Result<Security, String> {
    let shared = context(pod);
    let own = container.security_context.as_ref();
    let privileged = own.and_then(|context| context.privileged).unwrap_or(false);
    if isolates(mode) {
        refuse(pod, container, mode)?;
    }
    let add_drop = own.and_then(|context| context.capabilities.as_ref());
    let names = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let (add, drop) = (
        names(add_drop.and_then(|names| names.add.as_ref())),
        names(add_drop.and_then(|names| names.drop.as_ref())),
    );
    let capabilities = Capabilities::adjusted(add.iter().map(String::as_str), drop.iter().map(String::as_str))
        .map_err(|error| format!("securityContext.capabilities: {error}"))?;
    let profile = own
        .and_then(|context| context.seccomp_profile.as_ref())
        .or(shared.and_then(|context| context.seccomp_profile.as_ref()));
    let groups = shared.and_then(|context| context.supplemental_groups.clone());
    let fs_group = shared.and_then(|context| context.fs_group);
    let groups = groups.into_iter().flatten().chain(fs_group);
    let policy = shared.and_then(|context| context.supplemental_groups_policy.as_deref());
    Ok(Security {
        capabilities,
        no_new_privileges: own.and_then(|context| context.allow_privilege_escalation) == Some(false),
        seccomp: match profile.map(|profile| profile.type_.as_str()) {
            Some("Unconfined") => Seccomp::Unconfined,
            // A kubelet with `seccompDefault`: who says nothing gets the runtime's profile.
            _ => Seccomp::RuntimeDefault,
        },
        privileged,
        unmasked_proc: own.and_then(|context| context.proc_mount.as_deref()) == Some("Unmasked"),
        groups: groups.filter_map(|group| u32::try_from(group).ok()).collect(),
        groups_of_image: policy != Some("Strict"),
    })
}

/// What this node cannot do for a container.
fn refuse(pod: &Pod, container: &Container, mode: Mode) -> Result<(), String> {
    let shared = context(pod);
    let own = container.security_context.as_ref();
    let userns = mode == Mode::UserNamespace;
    let user_namespace = "this node runs in the user namespace of an unprivileged user";
    let refused = |field: &str, why: &str| Err(format!("securityContext.{field}: {why}"));
    if own.is_some_and(|context| context.se_linux_options.is_some())
        || shared.is_some_and(|context| context.se_linux_options.is_some())
    {
        return refused("seLinuxOptions", "SELinux is not enabled on this node");
    }
    if own.is_some_and(|context| context.windows_options.is_some())
        || shared.is_some_and(|context| context.windows_options.is_some())
    {
        return refused("windowsOptions", "this node runs Linux");
    }
    let profile = own
        .and_then(|context| context.seccomp_profile.as_ref())
        .or(shared.and_then(|context| context.seccomp_profile.as_ref()));
    if profile.is_some_and(|profile| profile.type_ == "Localhost") {
        let why = "this node has no profiles of its own (Localhost); use RuntimeDefault or Unconfined";
        return refused("seccompProfile", why);
    }
    if profile.is_some_and(|profile| profile.type_ == "RuntimeDefault")
        && !cfg!(any(
            target_arch = "x86_64",
            target_arch = "aarch64",
            target_arch = "riscv64"
        ))
    {
        return refused(
            "seccompProfile",
            "this node's architecture has no RuntimeDefault profile",
        );
    }
    if userns && own.is_some_and(|context| context.privileged == Some(true)) {
        let why = format!("{user_namespace}, who has no such rights to give");
        return refused("privileged", &why);
    }
    if !userns
        && own.is_some_and(|context| {
            context.proc_mount.as_deref() == Some("Unmasked") && context.privileged != Some(true)
        })
    {
        return refused(
            "procMount",
            "Unmasked takes a pod in a user namespace, which this node does not make",
        );
    }
    if !userns && pod.spec.as_ref().and_then(|spec| spec.host_users) == Some(false) {
        return Err("hostUsers: this node does not make user namespaces for pods".to_owned());
    }
    let groups = shared.and_then(|context| context.supplemental_groups.as_ref());
    if userns && groups.is_some_and(|groups| !groups.is_empty()) {
        let why = format!("{user_namespace}, who has one group");
        return refused("supplementalGroups", &why);
    }
    Ok(())
}

/// What one container may use.
pub(crate) fn limits(container: &Container) -> Limits {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    Limits {
        memory_bytes: amount(limits, "memory", quantity::value),
        cpu_millis: amount(limits, "cpu", quantity::milli_value),
        cpu_request_millis: Some(
            amount(requests, "cpu", quantity::milli_value)
                .or(amount(limits, "cpu", quantity::milli_value))
                .unwrap_or(0),
        ),
        processes: None,
    }
}

type Amounts = Option<BTreeMap<String, Quantity>>;

fn amount(map: Option<&BTreeMap<String, Quantity>>, name: &str, read: fn(&Quantity) -> u64) -> Option<u64> {
    map.and_then(|map| map.get(name)).map(read).filter(|amount| *amount > 0)
}

/// What all containers of a pod may use together: what the pod says, else the sum of what its containers do, if all of them say.
fn pod_limits(spec: &PodSpec) -> Limits {
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let init = || spec.init_containers.iter().flatten();
    let own: Amounts = spec.resources.as_ref().and_then(|resources| resources.limits.clone());
    let together = |of: fn(&Limits) -> Option<u64>| -> Option<u64> {
        let amount = |container: &Container| of(&limits(container));
        let lasting = spec.containers.iter().chain(init().filter(sidecar));
        let sum: u64 = lasting.map(amount).sum::<Option<u64>>()?;
        let passing = init().filter(|container| !sidecar(container)).map(amount);
        let most = passing.collect::<Option<Vec<u64>>>()?.into_iter().max().unwrap_or(0);
        // Those before it that stay run beside an init container too.
        let beside: u64 = init().filter(sidecar).map(amount).sum::<Option<u64>>()?;
        Some(sum.max(most + beside)).filter(|amount| *amount > 0)
    };
    Limits {
        memory_bytes: amount(own.as_ref(), "memory", quantity::value)
            .or_else(|| together(|limits| limits.memory_bytes)),
        cpu_millis: amount(own.as_ref(), "cpu", quantity::milli_value).or_else(|| together(|limits| limits.cpu_millis)),
        cpu_request_millis: Some(together(|limits| limits.cpu_request_millis).unwrap_or(0)),
        processes: Some(POD_PIDS),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let mut spec = spec;
        if spec["containers"].is_null() {
            spec["containers"] = json!([{ "name": "c" }]);
        }
        serde_json::from_value(json!({ "metadata": { "name": "p", "uid": "u" }, "spec": spec })).expect("a pod")
    }

    fn secure(of_pod: Value, of_container: Value, mode: Mode) -> Result<Security, String> {
        let pod =
            pod(json!({ "securityContext": of_pod, "containers": [{ "name": "c", "securityContext": of_container }] }));
        let container = pod.spec.as_ref().expect("a spec").containers[0].clone();
        security(&pod, &container, mode)
    }

    #[test]
    fn what_the_contexts_ask_for_is_what_the_runtime_is_told() {
        let asked = secure(
            json!({ "fsGroup": 2000, "supplementalGroups": [3000], "supplementalGroupsPolicy": "Strict",
                "seccompProfile": { "type": "Unconfined" } }),
            json!({ "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] }, "allowPrivilegeEscalation": false }),
            Mode::Root,
        )
        .expect("possible");
        assert_eq!(asked.groups, [3000, 2000]);
        assert!(asked.no_new_privileges && !asked.groups_of_image && !asked.privileged);
        assert!(asked.capabilities.has("NET_ADMIN") && !asked.capabilities.has("CHOWN"));
        assert_eq!(asked.seccomp, Seccomp::Unconfined);
        let plain = secure(json!({}), json!({}), Mode::Root).expect("possible");
        assert_eq!(
            (plain.seccomp, plain.no_new_privileges, plain.groups_of_image),
            (Seccomp::RuntimeDefault, false, true)
        );
        // The container's own profile counts.
        let own = json!({ "seccompProfile": { "type": "RuntimeDefault" } });
        let both = secure(json!({ "seccompProfile": { "type": "Unconfined" } }), own, Mode::Root).expect("possible");
        assert_eq!(both.seccomp, Seccomp::RuntimeDefault);
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_field_and_reason() {
        for (of_pod, of_container, mode, field) in [
            (
                json!({}),
                json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": "a.json" } }),
                Mode::Root,
                "seccompProfile",
            ),
            (
                json!({ "seLinuxOptions": { "level": "s0" } }),
                json!({}),
                Mode::Root,
                "seLinuxOptions",
            ),
            (
                json!({}),
                json!({ "windowsOptions": { "hostProcess": false } }),
                Mode::Root,
                "windowsOptions",
            ),
            (json!({}), json!({ "procMount": "Unmasked" }), Mode::Root, "procMount"),
            (
                json!({}),
                json!({ "privileged": true }),
                Mode::UserNamespace,
                "privileged",
            ),
            (
                json!({ "supplementalGroups": [1] }),
                json!({}),
                Mode::UserNamespace,
                "supplementalGroups",
            ),
            (
                json!({}),
                json!({ "capabilities": { "add": ["FLY"] } }),
                Mode::Root,
                "capabilities",
            ),
        ] {
            let refused = secure(of_pod, of_container, mode).expect_err(field);
            assert!(refused.starts_with(&format!("securityContext.{field}: ")), "{refused}");
        }
        assert!(
            secure(json!({}), json!({ "privileged": true }), Mode::Root)
                .expect("possible")
                .privileged
        );
        assert!(
            secure(json!({}), json!({ "procMount": "Unmasked" }), Mode::UserNamespace)
                .expect("possible")
                .unmasked_proc
        );
    }

    #[test]
    fn sysctls_of_the_pod_s_own_namespaces_are_set_and_others_forbidden() {
        let sandbox = |name: &str, more: Value| {
            let mut spec = json!({ "securityContext": { "sysctls": [{ "name": name, "value": "1" }] } });
            spec.as_object_mut()
                .expect("a map")
                .extend(more.as_object().expect("a map").clone());
            sandbox(&pod(spec), Mode::Root)
        };
        let set = sandbox("net/ipv4/tcp_syncookies", json!({})).expect("safe");
        assert_eq!(set.sysctls, [("net.ipv4.tcp_syncookies".to_owned(), "1".to_owned())]);
        let refused = sandbox("kernel.msgmax", json!({})).expect_err("unsafe");
        assert_eq!(
            (refused.reason, refused.message.as_str()),
            ("SysctlForbidden", "forbidden sysctl: \"kernel.msgmax\" not allowlisted")
        );
        assert!(sandbox("net.ipv4.tcp_syncookies", json!({ "hostNetwork": true })).is_err());
        assert!(sandbox("kernel.shm_rmid_forced", json!({ "hostIPC": true })).is_err());
    }

    #[test]
    fn profiles_of_app_armor_are_not_enforced_and_said_so() {
        let of_pod = |kind: &str| pod(json!({ "securityContext": { "appArmorProfile": { "type": kind } } }));
        assert!(sandbox(&of_pod("Unconfined"), Mode::Root).is_ok());
        let refused = sandbox(&of_pod("RuntimeDefault"), Mode::Root).expect_err("no profiles");
        assert!(
            refused.reason == "AppArmor" && refused.message.starts_with("Cannot enforce AppArmor: "),
            "{refused:?}"
        );
    }

    #[test]
    fn a_pod_is_limited_to_what_its_containers_are_if_all_of_them_are() {
        let limited = |memory: &str| json!({ "name": "c", "resources": { "limits": { "memory": memory } } });
        let of = |spec: Value| pod_limits(pod(spec).spec.as_ref().expect("a spec")).memory_bytes;
        assert_eq!(
            of(json!({ "containers": [limited("1Mi"), limited("2Mi")] })),
            Some(3 << 20)
        );
        assert_eq!(of(json!({ "containers": [limited("1Mi"), { "name": "d" }] })), None);
        assert_eq!(
            of(json!({ "containers": [limited("1Mi")], "initContainers": [limited("8Mi")] })),
            Some(8 << 20)
        );
        let own = json!({ "containers": [{ "name": "c" }], "resources": { "limits": { "memory": "5Mi" } } });
        assert_eq!(of(own), Some(5 << 20));
    }
}
