//! Ingresses: hosts, paths, certificates and cookies, as somebody with curl sees them.

use super::{Cluster, kubectl};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {run: web}
  ports: [{name: http, port: 8000, targetPort: 80}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: shop
  annotations:
    nginx.ingress.kubernetes.io/affinity: cookie
    nginx.ingress.kubernetes.io/session-cookie-name: route
spec:
  rules:
  - host: shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
  - host: empty.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: nobody, port: {number: 80}}}}]}
";

#[test]
fn an_ingress_leads_to_a_service_by_host_and_path() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("ingress", kubectl);
    let classes = cluster.ok(&["get", "ingressclass"]);
    assert!(classes.contains("knarr.dev/ingress"), "{classes}");
    cluster.ok(&["run", "web", "--image=nginx"]);
    cluster.ok(&[
        "run",
        "client",
        "--image=tutum/curl",
        "--command",
        "--",
        "sleep",
        "100000",
    ]);
    cluster.ok(&["apply", "-f", &cluster.file("shop.yaml", SHOP)]);
    assert_eq!(cluster.value(&["ingress", "shop"], "{.spec.ingressClassName}"), "knarr");
    cluster.ok(&[
        "wait",
        "pod/web",
        "pod/client",
        "--for=condition=Ready",
        "--timeout=60s",
    ]);
    let row = ["get", "ingress", "shop", "--no-headers"];
    cluster.eventually(&row, |row| {
        row.contains("shop.example.com,empty.example.com") && row.contains("127.")
    });
    let ask = |host: &str, options: &str| {
        let command = format!("curl -s -i {options} -H 'Host: {host}' http://knarr-ingress.kube-system/");
        cluster.ok(&["exec", "client", "--", "sh", "-c", &command])
    };
    let ready = [
        "exec",
        "client",
        "--",
        "sh",
        "-c",
        "curl -s -i -H 'Host: shop.example.com' http://knarr-ingress.kube-system/ || true",
    ];
    cluster.eventually(&ready, |answer| answer.contains("Welcome to nginx"));
    let answer = ask("shop.example.com", "").to_lowercase();
    assert!(answer.contains("set-cookie: route="), "{answer}");
    assert!(ask("empty.example.com", "").contains("503"));
    assert!(ask("other.example.com", "").contains("default backend - 404"));

    // What changes counts at once.
    let rule = "[{\"op\":\"replace\",\"path\":\"/spec/rules/0/host\",\"value\":\"new.example.com\"}]";
    cluster.ok(&["patch", "ingress", "shop", "--type=json", "-p", rule]);
    cluster.eventually(&ready, |answer| answer.contains("404"));
    assert!(ask("new.example.com", "").contains("Welcome to nginx"));

    let policy =
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: none}\nspec: {podSelector: {}}\n";
    let told = cluster.output(&["apply", "-f", &cluster.file("policy.yaml", policy)], b"");
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("does not enforce NetworkPolicies"), "{told}");
}
