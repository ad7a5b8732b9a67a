use super::super::tests::{Objects, attributes};
use super::*;
use serde_json::json;

/// What a level says of a pod.
fn said(level: Level, minor: Option<u32>, pod: &Value) -> String {
    details(&LevelVersion { level, minor }.evaluate(&pod["metadata"], &pod["spec"]))
}

fn container(name: &str, security: Value) -> Value {
    json!({"name": name, "securityContext": security})
}

/// A pod of two containers with this security context.
fn two(security: Value) -> Value {
    json!({"spec": {"containers": [container("a", security.clone()), container("b", security)]}})
}

#[test]
fn the_baseline_says_what_it_always_said() {
    let pod = |spec: Value| {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}]}});
        for (key, value) in spec.as_object().expect("an object") {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let one = |security: Value| json!({"spec": {"containers": [container("a", security)]}});
    for (pod, text) in [
        (pod(json!({})), ""),
        (
            pod(json!({"hostNetwork": true, "hostPID": true, "hostIPC": true})),
            "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
        ),
        (
            one(json!({"privileged": true})),
            "privileged (container \"a\" must not set securityContext.privileged=true)",
        ),
        (
            two(json!({"privileged": true})),
            "privileged (containers \"a\", \"b\" must not set securityContext.privileged=true)",
        ),
        (
            one(json!({"capabilities": {"add": ["SYS_ADMIN", "CHOWN", "NET_ADMIN"]}})),
            "non-default capabilities (container \"a\" must not include \"NET_ADMIN\", \"SYS_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "e", "emptyDir": {}}]})),
            "hostPath volumes (volume \"v\")",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "hostPath": {}}, {"name": "w", "hostPath": {}}]})),
            "hostPath volumes (volumes \"v\", \"w\")",
        ),
        (
            pod(json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 0}]}]})),
            "hostPort (container \"a\" uses hostPort 80)",
        ),
        (
            pod(json!({"containers": [
                {"name": "a", "ports": [{"hostPort": 80}]}, {"name": "b", "ports": [{"hostPort": 443}]},
            ]})),
            "hostPort (containers \"a\", \"b\" use hostPorts 443, 80)",
        ),
        (
            pod(json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "1.2.3.4"}}}]})),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"1.2.3.4\")",
        ),
        (
            pod(json!({"containers": [{"name": "a", "lifecycle": {
                "preStop": {"tcpSocket": {"host": "x"}}, "postStart": {"httpGet": {"host": "y"}},
            }}]})),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle hosts \"x\", \"y\")",
        ),
        (
            json!({
                "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}},
                "spec": {
                    "securityContext": {"appArmorProfile": {"type": "Unconfined"}},
                    "containers": [container("a", json!({"appArmorProfile": {"type": "Unconfined"}}))],
                },
            }),
            "forbidden AppArmor profiles (pod and container \"a\" and annotation must not set AppArmor profile type to \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        ),
        (
            json!({"spec": {
                "securityContext": {"seLinuxOptions": {"type": "foo"}},
                "containers": [container("a", json!({"seLinuxOptions": {"user": "u", "role": "r"}}))],
            }}),
            "seLinuxOptions (pod and container \"a\" set forbidden securityContext.seLinuxOptions: type \"foo\"; user may not be set; role may not be set)",
        ),
        (
            one(json!({"procMount": "Unmasked"})),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"spec": {
                "securityContext": {"seccompProfile": {"type": "Unconfined"}},
                "containers": [container("a", json!({"seccompProfile": {"type": "Unconfined"}}))],
            }}),
            "seccompProfile (pod and container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            pod(json!({"securityContext": {"sysctls": [{"name": "kernel.x"}, {"name": "net.ipv4.tcp_syncookies"}]}})),
            "forbidden sysctls (kernel.x)",
        ),
        (
            json!({"spec": {
                "securityContext": {"windowsOptions": {"hostProcess": true}},
                "containers": [container("a", json!({"windowsOptions": {"hostProcess": true}}))],
            }}),
            "hostProcess (pod and container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ] {
        assert_eq!(said(Level::Baseline, None, &pod), text);
        assert_eq!(said(Level::Privileged, None, &pod), "");
    }
}

/// A pod that the restricted level lets in, to be changed.
fn good() -> Value {
    json!({"spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container("a", json!({
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }))],
    }})
}

#[test]
fn the_restricted_level_says_what_it_always_said() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut pod = good();
        change(&mut pod["spec"]);
        said(Level::Restricted, None, &pod)
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let table: [(Change<'_>, &str); 11] = [
        (&|_| (), ""),
        (
            &|spec| spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(null),
            "allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            &|spec| {
                spec["containers"][0]["securityContext"]["capabilities"] =
                    json!({"add": ["SYS_ADMIN", "NET_BIND_SERVICE"]})
            },
            "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"a\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            &|spec| {
                spec["volumes"] =
                    json!([{"name": "v", "hostPath": {}}, {"name": "n", "nfs": {}}, {"name": "s", "secret": {}}])
            },
            "restricted volume types (volumes \"v\", \"n\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            &|spec| spec["volumes"] = json!([{"name": "v", "hostPath": {}}]),
            "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
        ),
        (
            &|spec| spec["securityContext"]["runAsNonRoot"] = json!(null),
            "runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true)",
        ),
        (
            &|spec| {
                spec["securityContext"]["runAsNonRoot"] = json!(false);
                spec["containers"][0]["securityContext"]["runAsNonRoot"] = json!(false);
            },
            "runAsNonRoot != true (pod and container \"a\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            &|spec| {
                spec["securityContext"]["runAsUser"] = json!(0);
                spec["containers"][0]["securityContext"]["runAsUser"] = json!(0);
            },
            "runAsUser=0 (pod and container \"a\" must not set runAsUser=0)",
        ),
        (
            &|spec| spec["securityContext"]["seccompProfile"] = json!(null),
            "seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        ),
        (
            &|spec| spec["securityContext"]["seccompProfile"] = json!({"type": "Unconfined"}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            &|spec| {
                spec["hostPID"] = json!(true);
                spec["containers"][0]["securityContext"] = json!({"privileged": true});
            },
            "host namespaces (hostPID=true), privileged (container \"a\" must not set securityContext.privileged=true), \
             allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"])",
        ),
    ];
    for (change, text) in table {
        assert_eq!(with(change), text);
    }
}

#[test]
fn a_check_counts_from_its_version_on() {
    let sysctl = |name: &str| json!({"spec": {"securityContext": {"sysctls": [{"name": name}]}}});
    let security = |security: Value| json!({"spec": {"containers": [container("a", security)]}});
    let mut windows = good();
    windows["spec"]["os"] = json!({"name": "windows"});
    windows["spec"]["containers"][0]["securityContext"] = json!({});
    let mut outside = good();
    outside["spec"]["hostUsers"] = json!(false);
    outside["spec"]["securityContext"]["runAsUser"] = json!(0);
    let mut unmasked = security(json!({"procMount": "Unmasked"}));
    unmasked["spec"]["hostUsers"] = json!(false);
    let annotated = json!({
        "metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}, "spec": {},
    });
    let probe = json!({"spec": {"containers": [{"name": "a", "startupProbe": {"tcpSocket": {"host": "x"}}}]}});
    use Level::{Baseline, Restricted};
    for (level, minor, pod, found) in [
        (Baseline, 26, sysctl("net.ipv4.ip_local_reserved_ports"), true),
        (Baseline, 27, sysctl("net.ipv4.ip_local_reserved_ports"), false),
        (Baseline, 28, sysctl("net.ipv4.tcp_keepalive_time"), true),
        (Baseline, 29, sysctl("net.ipv4.tcp_keepalive_time"), false),
        (Baseline, 31, sysctl("net.ipv4.tcp_rmem"), true),
        (Baseline, 32, sysctl("net.ipv4.tcp_rmem"), false),
        (Baseline, 36, sysctl("net.ipv4.tcp_notsent_lowat"), true),
        (Baseline, 37, sysctl("net.ipv4.tcp_notsent_lowat"), false),
        (
            Baseline,
            30,
            security(json!({"seLinuxOptions": {"type": "container_engine_t"}})),
            true,
        ),
        (
            Baseline,
            31,
            security(json!({"seLinuxOptions": {"type": "container_engine_t"}})),
            false,
        ),
        (Baseline, 33, probe.clone(), false),
        (Baseline, 34, probe, true),
        (Baseline, 18, annotated.clone(), true),
        (Baseline, 19, annotated, false),
        (Baseline, 34, unmasked.clone(), true),
        (Baseline, 35, unmasked.clone(), false),
        (Restricted, 35, unmasked, true),
        (Restricted, 7, security(json!({"runAsNonRoot": true})), false),
        (Restricted, 8, security(json!({"runAsNonRoot": true})), true),
        (Restricted, 24, windows.clone(), true),
        (Restricted, 25, windows, false),
        (Restricted, 34, outside.clone(), true),
        (Restricted, 35, outside, false),
    ] {
        let text = said(level, Some(minor), &pod);
        assert_eq!(!text.is_empty(), found, "{level} v1.{minor} of {pod}: {text}");
    }
}

fn namespace(labels: Value) -> Value {
    let labels = labels.as_object().expect("an object").iter();
    let labels: serde_json::Map<_, _> = labels
        .map(|(key, value)| (format!("{LABEL}{key}"), value.clone()))
        .collect();
    json!({"metadata": {"name": "ns", "labels": labels}})
}

fn plugin(enforce: Level) -> PodSecurity {
    PodSecurity {
        enforce,
        exempt_namespaces: vec!["kube-system".into()],
    }
}

#[test]
fn labels_of_the_namespace_decide() {
    let bad = json!({"metadata": {"name": "x"}, "spec": {"hostPID": true, "containers": [{"name": "a"}]}});
    let told = |labels: Value, plural: &str, object: &Value| {
        let cluster = Objects(vec![("namespaces", namespace(labels))]);
        let mut notes = Notes::default();
        let request = attributes(plural, Operation::Create);
        let outcome = plugin(Level::Baseline).validate(&request, object, None, &cluster, &mut notes);
        (outcome.map_err(|failure| failure.message), notes.warnings)
    };
    let violation = "host namespaces (hostPID=true)";
    let refused = |policy: &str| {
        Err(format!(
            "pods \"x\" is forbidden: violates PodSecurity \"{policy}\": {violation}"
        ))
    };
    assert_eq!(told(json!({}), "pods", &bad), (refused("baseline:latest"), vec![]));
    assert_eq!(told(json!({"enforce": "privileged"}), "pods", &bad), (Ok(()), vec![]));
    assert_eq!(
        told(json!({"enforce": "baseline", "enforce-version": "v1.30"}), "pods", &bad),
        (refused("baseline:v1.30"), vec![])
    );
    let warned = format!("would violate PodSecurity \"baseline:v1.25\": {violation}");
    assert_eq!(
        told(
            json!({"enforce": "privileged", "warn": "baseline", "warn-version": "v1.25"}),
            "pods",
            &bad
        ),
        (Ok(()), vec![warned])
    );
    // A workload is not refused, but whoever makes it is told that its pods will be.
    let deployment = json!({"metadata": {"name": "x"}, "spec": {"template": bad}});
    let warned = format!("would violate PodSecurity \"baseline:latest\": {violation}");
    assert_eq!(
        told(json!({"enforce": "baseline"}), "deployments", &deployment),
        (Ok(()), vec![warned])
    );
}

#[test]
fn only_updates_that_change_what_runs_are_judged() {
    let bad = |image: &str| json!({"spec": {"hostPID": true, "containers": [{"name": "a", "image": image}]}});
    let cluster = Objects(vec![("namespaces", namespace(json!({})))]);
    let allowed = |new: &Value| {
        let request = attributes("pods", Operation::Update);
        let notes = &mut Notes::default();
        plugin(Level::Baseline)
            .validate(&request, new, Some(&bad("one")), &cluster, notes)
            .is_ok()
    };
    assert!(allowed(&bad("one")));
    assert!(!allowed(&bad("two")));
    let mut debugged = bad("one");
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}]);
    assert!(!allowed(&debugged));
}

#[test]
fn labels_that_mean_nothing_are_refused() {
    let told = |labels: Value, old: Option<Value>| {
        let operation = if old.is_some() {
            Operation::Update
        } else {
            Operation::Create
        };
        let old = old.map(namespace);
        let request = attributes("namespaces", operation);
        let notes = &mut Notes::default();
        plugin(Level::Baseline)
            .validate(&request, &namespace(labels), old.as_ref(), &Objects(Vec::new()), notes)
            .map_err(|failure| failure.message)
    };
    assert_eq!(
        told(json!({"enforce": "strict", "warn-version": "1.25"}), None),
        Err("Namespace \"x\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted, \
             metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.25\": must be \"latest\" or \"v1.x\"]".to_owned())
    );
    assert_eq!(
        told(json!({"enforce": "strict"}), Some(json!({"enforce": "strict"}))),
        Ok(())
    );
    assert!(told(json!({"enforce": "strict"}), Some(json!({}))).is_err());
    assert!(told(json!({"enforce": "baseline", "enforce-version": "v1.025"}), None).is_err());
}

#[test]
fn a_stricter_namespace_tells_of_the_pods_it_has() {
    let pod = |name: &str, spec: Value| {
        (
            "pods",
            json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec}),
        )
    };
    let cluster = Objects(vec![
        pod("c", json!({"hostPID": true})),
        pod("b", json!({"hostPID": true})),
        pod("a", json!({"hostPID": true})),
        pod(
            "d",
            json!({"hostNetwork": true, "volumes": [{"name": "v", "hostPath": {}}]}),
        ),
        pod("e", json!({})),
    ]);
    let told = |name: &str, labels: Value, old: Value| {
        let mut notes = Notes::default();
        let with_name = |labels| {
            let mut namespace = namespace(labels);
            namespace["metadata"]["name"] = json!(name);
            namespace
        };
        let (new, old) = (with_name(labels), with_name(old));
        let request = attributes("namespaces", Operation::Update);
        plugin(Level::Privileged)
            .validate(&request, &new, Some(&old), &cluster, &mut notes)
            .expect("admitted");
        notes.warnings
    };
    assert_eq!(
        told("ns", json!({"enforce": "baseline"}), json!({})),
        [
            "existing pods in namespace \"ns\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 2 other pods): host namespaces",
            "d: host namespaces, hostPath volumes",
        ]
    );
    assert!(told("ns", json!({"enforce": "baseline"}), json!({"enforce": "restricted"})).is_empty());
    assert_eq!(
        told("kube-system", json!({"enforce": "baseline"}), json!({})),
        [
            "namespace \"kube-system\" is exempt from Pod Security, and the policy (enforce=baseline:latest) will be ignored"
        ]
    );
}
