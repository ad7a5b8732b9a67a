//! Objects: get, watch, apply, label, select, delete.

use super::{Cluster, kubectl};

const WEB: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels: {app: web}\nspec:\n  containers:\n  - name: web\n    image: nginx\n    ports:\n    - containerPort: 80\n";

#[test]
fn a_cluster_shows_itself_to_kubectl() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("look", kubectl);
    let nodes = cluster.ok(&["get", "nodes"]);
    assert!(nodes.contains("knarr") && nodes.contains(" Ready "), "{nodes}");
    let namespaces = cluster.ok(&["get", "ns", "-o", "name"]);
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(namespaces.contains(&format!("namespace/{name}")), "{namespaces}");
    }
    let system = cluster.ok(&["-n", "kube-system", "get", "pods"]);
    assert!(
        system.contains("kube-apiserver-knarr"),
        "the control plane is seen: {system}"
    );
    let resources = cluster.ok(&["api-resources"]);
    for (name, short) in [
        ("pods", "po"),
        ("deployments", "deploy"),
        ("services", "svc"),
        ("configmaps", "cm"),
    ] {
        let line = resources
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name}: {resources}"));
        assert!(line.contains(short), "{line}");
    }
    assert!(cluster.ok(&["version"]).contains("v1.37.0+knarr"));
    assert!(cluster.ok(&["cluster-info"]).contains("https://127.0.0.1:"));
    assert_eq!(cluster.ok(&["auth", "can-i", "delete", "pods"]).trim(), "yes");
    // Older ones ask for documents that the server does not have.
    if cluster.minor() >= 27 {
        let explained = cluster.ok(&["explain", "pod.spec.containers"]);
        assert!(explained.contains("image"), "{explained}");
    }
    // The kubeconfig is for its owner's eyes.
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(cluster.kubeconfig())
        .expect("is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let status = cluster.knarr("status");
    assert!(status.contains("look"), "{status}");
}

#[test]
fn get_watches_what_run_and_delete_do() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("watch", kubectl);
    // Its line tells that the watch is on.
    let nobody = r#"--overrides={"spec":{"schedulerName":"nobody"}}"#;
    cluster.ok(&["run", "first", "--image=busybox", nobody]);
    let mut watch = cluster.follow(&["get", "pods", "-w"]);
    watch.until(&["first", "0/1", "Pending"]);
    cluster.ok(&[
        "run",
        "kuard",
        "--image=gcr.io/kuar-demo/kuard-amd64:blue",
        "--port=8080",
    ]);
    watch.until(&["kuard", "0/1", "Pending"]);
    watch.until(&["kuard", "1/1", "Running"]);
    let wide = cluster.ok(&["get", "pod", "kuard", "-o", "wide"]);
    assert!(wide.contains("NODE") && wide.contains("knarr"), "{wide}");
    let described = cluster.ok(&["describe", "pod", "kuard"]);
    for text in [
        "Successfully assigned default/kuard to knarr",
        "Created",
        "Started",
        "Ready",
        "8080/TCP",
        "QoS Class",
    ] {
        assert!(described.contains(text), "{text}: {described}");
    }
    cluster.ok(&["delete", "pod", "kuard", "--timeout=60s"]);
    watch.until(&["kuard", "Terminating"]);
    assert!(cluster.fails(&["get", "pod", "kuard"], b"").contains("NotFound"));
}

#[test]
fn apply_creates_configures_leaves_alone_and_refuses_typos_by_name() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("apply", kubectl);
    let file = cluster.file("web.yaml", WEB);
    assert!(cluster.ok(&["apply", "-f", &file]).contains("pod/web created"));
    assert!(cluster.ok(&["apply", "-f", &file]).contains("pod/web unchanged"));
    cluster.file("web.yaml", &WEB.replace("app: web}", "app: web, tier: front}"));
    assert!(cluster.ok(&["apply", "-f", &file]).contains("pod/web configured"));
    assert_eq!(cluster.value(&["pod", "web"], "{.metadata.labels.tier}"), "front");
    // A label that is gone from the file goes from the object.
    cluster.file("web.yaml", WEB);
    cluster.ok(&["apply", "-f", &file]);
    assert_eq!(cluster.value(&["pod", "web"], "{.metadata.labels.tier}"), "");
    let typo = cluster.file(
        "typo.yaml",
        &WEB.replace("containers:", "contatiners:")
            .replace("name: web\n  labels", "name: typo\n  labels"),
    );
    let said = cluster.fails(&["apply", "-f", &typo], b"");
    assert!(said.contains("contatiners"), "{said}");
    assert!(cluster.fails(&["get", "pod", "typo"], b"").contains("NotFound"));
    let server = cluster.ok(&["apply", "--server-side", "-f", &file, "--force-conflicts"]);
    assert!(server.contains("serverside-applied"), "{server}");
    assert!(
        cluster
            .ok_with(
                &["apply", "-f", "-"],
                WEB.replace("name: web\n  labels", "name: piped\n  labels").as_bytes()
            )
            .contains("pod/piped created")
    );
}

#[test]
fn labels_are_set_guarded_removed_and_selected_by() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("label", kubectl);
    for (name, labels) in [("a", "app=web,tier=front"), ("b", "app=web,tier=back"), ("c", "app=db")] {
        cluster.ok(&[
            "run",
            name,
            "--image=busybox",
            "-l",
            labels,
            "--command",
            "--",
            "sleep",
            "1000",
        ]);
    }
    let select = |selector: &str| {
        let names = cluster.ok(&["get", "pods", "-o", "name", "-l", selector]);
        names
            .split_whitespace()
            .map(|name| name.trim_start_matches("pod/").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(select("app=web"), "a b");
    assert_eq!(select("app=web,tier!=back"), "a");
    assert_eq!(select("tier in (front,back)"), "a b");
    assert_eq!(select("!tier"), "c");
    assert_eq!(select("app notin (web)"), "c");
    cluster.ok(&["label", "pod", "a", "colour=blue"]);
    let said = cluster.fails(&["label", "pod", "a", "colour=red"], b"");
    assert!(
        said.contains("already has a value (blue)") && said.contains("--overwrite"),
        "{said}"
    );
    cluster.ok(&["label", "pod", "a", "colour=red", "--overwrite"]);
    assert_eq!(select("colour=red"), "a");
    cluster.ok(&["label", "pod", "a", "colour-"]);
    assert_eq!(select("colour"), "");
    let columns = cluster.ok(&["get", "pods", "-L", "app", "--show-labels"]);
    assert!(columns.contains("APP") && columns.contains("tier=front"), "{columns}");
    cluster.ok(&["annotate", "pod", "a", "note=hello there"]);
    assert_eq!(
        cluster.value(&["pod", "a"], "{.metadata.annotations.note}"),
        "hello there"
    );
    cluster.ok(&["delete", "pods", "-l", "app=web", "--grace-period=0", "--force"]);
    assert_eq!(cluster.ok(&["get", "pods", "-o", "name"]).trim(), "pod/c");
    assert!(
        cluster
            .ok(&["get", "pods", "--field-selector", "metadata.name=c", "-o", "name"])
            .contains("pod/c")
    );
}

#[test]
fn a_namespace_is_made_used_and_deleted_with_what_is_in_it() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("space", kubectl);
    cluster.ok(&["create", "namespace", "shop"]);
    cluster.ok(&[
        "-n",
        "shop",
        "create",
        "configmap",
        "settings",
        "--from-literal=colour=blue",
    ]);
    cluster.ok(&[
        "-n",
        "shop",
        "create",
        "secret",
        "generic",
        "key",
        "--from-literal=password=hunter2",
    ]);
    cluster.ok(&["-n", "shop", "run", "web", "--image=nginx"]);
    cluster.ok(&[
        "-n",
        "shop",
        "wait",
        "--for=condition=Ready",
        "--timeout=60s",
        "pod/web",
    ]);
    assert_eq!(
        cluster.value(&["-n", "shop", "configmap", "settings"], "{.data.colour}"),
        "blue"
    );
    assert!(cluster.ok(&["get", "pods", "-A"]).contains("shop"));
    assert!(
        cluster
            .fails(&["-n", "nowhere", "run", "web", "--image=nginx"], b"")
            .contains("namespaces \"nowhere\" not found")
    );
    cluster.ok(&["delete", "namespace", "shop", "--timeout=80s"]);
    assert!(cluster.fails(&["get", "namespace", "shop"], b"").contains("NotFound"));
    assert!(!cluster.ok(&["get", "configmaps", "-A"]).contains("settings"));
}
