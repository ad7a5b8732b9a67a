//! A kubectl of years ago, as Debian still ships it: it validates by itself, from OpenAPI v2 in protobuf, and knows no WebSockets.

use super::Cluster;
use super::clients::installed;

#[test]
fn a_kubectl_of_years_ago_explains_validates_runs_and_enters_pods() {
    let Some(kubectl) = installed("kubectl-old/usr/bin/kubectl") else {
        return;
    };
    let cluster = Cluster::start("old", kubectl);
    let explained = cluster.ok(&["explain", "pods.spec.containers.ports"]);
    assert!(explained.contains("containerPort"), "{explained}");

    let typo = cluster.file(
        "typo.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: typo}\nspec:\n  contatiners: [{name: a, image: nginx}]\n",
    );
    let refused = cluster.output(&["create", "-f", &typo], b"");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("unknown field \"contatiners\""),
        "{said}"
    );

    let wait = "trap 'exit 0' TERM; echo up; sleep 100000 & wait";
    cluster.ok(&[
        "run",
        "box",
        "--image=busybox",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        wait,
    ]);
    cluster.ready("box");
    cluster.eventually(&["logs", "box"], |log| log.trim() == "up");
    assert_eq!(cluster.ok(&["exec", "box", "--", "echo", "inside"]).trim(), "inside");
    let described = cluster.ok(&["describe", "pod", "box"]);
    assert!(described.contains("Successfully assigned default/box"), "{described}");

    cluster.ok(&["create", "deployment", "web", "--image=nginx"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    cluster.ok(&["expose", "deployment", "web", "--port=80"]);
    let services = cluster.ok(&["get", "services,endpoints"]);
    assert!(
        services.contains("service/web") && services.contains("endpoints/web"),
        "{services}"
    );
    cluster.ok(&["create", "job", "once", "--image=busybox", "--", "true"]);
    cluster.ok(&["wait", "--for=condition=complete", "job/once", "--timeout=60s"]);
    cluster.ok(&["delete", "all", "--all", "--grace-period=1"]);
}
