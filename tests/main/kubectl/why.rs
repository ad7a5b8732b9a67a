//! The drill book of `knarr why`: troubles made with kubectl, named with their cause, and gone after the remedy.

use std::process::Command;

use super::{Cluster, kubectl};

/// What `knarr why` says of an object: the JSON of its findings, and its exit code.
fn why(cluster: &Cluster, object: &str, namespace: &str) -> (serde_json::Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_knarr"))
        .args([
            "why",
            object,
            "-n",
            namespace,
            "-o",
            "json",
            "--kubeconfig",
            &cluster.kubeconfig(),
        ])
        .output()
        .expect("knarr runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let found = serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
    (found, output.status.code())
}

/// The cause at the root of the first finding, and its sentence.
fn root(found: &serde_json::Value) -> (String, String) {
    let mut finding = &found["findings"][0];
    while let Some(cause) = finding["because"].get(0) {
        finding = cause;
    }
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    (text("cause"), text("sentence"))
}

/// One exercise: manifests, the object asked about, the cause at the root, a word of its sentence, and the kubectl line that mends it.
struct Drill {
    title: &'static str,
    manifest: &'static str,
    object: &'static str,
    namespace: &'static str,
    cause: &'static str,
    word: &'static str,
    remedy: &'static [&'static str],
}

const DRILLS: &[Drill] = &[
    Drill {
        title: "an image that cannot be had",
        manifest: r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"shop"},"spec":{"selector":{"matchLabels":{"app":"shop"}},"template":{"metadata":{"labels":{"app":"shop"}},"spec":{"containers":[{"name":"app","image":"shop:1.9"}]}}}}"#,
        object: "deployment/shop",
        namespace: "default",
        cause: "image.network",
        word: "docker.io",
        remedy: &["set", "image", "deployment/shop", "app=nginx"],
    },
    Drill {
        title: "a ConfigMap that does not exist",
        manifest: r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"needy"},"spec":{"containers":[{"name":"app","image":"nginx","envFrom":[{"configMapRef":{"name":"settings"}}]}]}}"#,
        object: "pod/needy",
        namespace: "default",
        cause: "start.configref",
        word: "settings",
        remedy: &["create", "configmap", "settings", "--from-literal=a=b"],
    },
    Drill {
        title: "a label that no node has",
        manifest: r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"picky"},"spec":{"nodeSelector":{"disk":"ssd"},"containers":[{"name":"app","image":"nginx"}]}}"#,
        object: "pod/picky",
        namespace: "default",
        cause: "sched.selector",
        word: "disk=ssd",
        remedy: &["label", "nodes", "--all", "disk=ssd"],
    },
    Drill {
        title: "a selector that differs in one label",
        manifest: r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"containers":[{"name":"app","image":"nginx"}]}},
            {"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"selector":{"app":"wep"},"ports":[{"port":80}]}}]}"#,
        object: "service/web",
        namespace: "default",
        cause: "svc.noselectormatch",
        word: "app=web",
        remedy: &["set", "selector", "service", "web", "app=web"],
    },
    Drill {
        title: "a quota that is used up",
        manifest: r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"small"}},
            {"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"few","namespace":"small"},"spec":{"hard":{"pods":"0"}}},
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"small"},"spec":{"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"app","image":"nginx"}]}}}}]}"#,
        object: "deployment/web",
        namespace: "small",
        cause: "adm.quota",
        word: "few",
        remedy: &["-n", "small", "delete", "quota", "few"],
    },
    Drill {
        title: "a program that exits",
        manifest: r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"fails"},"spec":{"restartPolicy":"Never","containers":[{"name":"app","image":"busybox","command":["sh","-c","echo no such setting >&2; exit 3"]}]}}"#,
        object: "pod/fails",
        namespace: "default",
        cause: "crash.exit",
        word: "no such setting",
        remedy: &["delete", "pod", "fails"],
    },
    Drill {
        title: "a command that does not exist",
        manifest: r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"lost"},"spec":{"containers":[{"name":"app","image":"busybox","command":["serve"]}]}}"#,
        object: "pod/lost",
        namespace: "default",
        cause: "start.command",
        word: "serve",
        remedy: &["delete", "pod", "lost", "--now"],
    },
    Drill {
        title: "a readiness probe that fails",
        manifest: r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"sick"},"spec":{"containers":[{"name":"app","image":"nginx","readinessProbe":{"httpGet":{"path":"/nope","port":80},"periodSeconds":1,"failureThreshold":1}}]}}"#,
        object: "pod/sick",
        namespace: "default",
        cause: "probe.readiness",
        word: "404",
        remedy: &["delete", "pod", "sick", "--now"],
    },
];

#[test]
fn troubles_made_with_kubectl_are_named_with_their_cause_and_gone_after_the_remedy() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("why", kubectl);
    for (at, drill) in DRILLS.iter().enumerate() {
        let file = cluster.file(&format!("drill-{at}.json"), drill.manifest);
        cluster.ok(&["apply", "-f", &file]);
    }
    for drill in DRILLS {
        let ask = || why(&cluster, drill.object, drill.namespace);
        // What has a grace is asked again until it is over.
        cluster.until(&format!("{}: {}", drill.title, drill.cause), || {
            let (found, _) = ask();
            let (cause, sentence) = root(&found);
            let named = cause == drill.cause && sentence.contains(drill.word);
            named.then_some(()).ok_or(format!("{found:#}"))
        });
        let (_, code) = ask();
        assert_eq!(
            code,
            Some(1),
            "{}: the exit code says that something is wrong",
            drill.title
        );
        cluster.ok(drill.remedy);
    }
    for (healthy, namespace) in [
        ("deployment/shop", "default"),
        ("pod/needy", "default"),
        ("pod/picky", "default"),
        ("service/web", "default"),
        ("deployment/web", "small"),
    ] {
        cluster.until(&format!("{healthy} is healthy"), || {
            let (found, code) = why(&cluster, healthy, namespace);
            (code == Some(0)).then_some(()).ok_or(format!("{found:#}"))
        });
    }
}
