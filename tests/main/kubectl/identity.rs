//! Who one is: certificates that are asked for, approved, and used; policies that change what one creates.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{Cluster, kubectl};

#[test]
fn a_certificate_is_asked_for_approved_and_used() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("csr", kubectl);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "developers");
    let request = params
        .serialize_request(&key)
        .expect("a request")
        .pem()
        .expect("in PEM");
    let request = BASE64_STANDARD.encode(request);
    let manifest = |name: &str| {
        format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec:\n  request: {request}\n  signerName: kubernetes.io/kube-apiserver-client\n  expirationSeconds: 86400\n  usages: [client auth]\n"
        )
    };
    for name in ["jane", "twin"] {
        cluster.ok_with(&["apply", "-f", "-"], manifest(name).as_bytes());
    }
    let line = |cluster: &Cluster, name: &str| cluster.ok(&["get", "csr", name, "--no-headers"]);
    let pending = line(&cluster, "jane");
    for word in [
        "kubernetes.io/kube-apiserver-client",
        "kubernetes-admin",
        "24h",
        "Pending",
    ] {
        assert!(pending.contains(word), "{pending}");
    }
    cluster.ok(&["certificate", "deny", "twin"]);
    assert!(line(&cluster, "twin").contains("Denied"));
    cluster.ok(&["certificate", "approve", "jane"]);
    cluster.eventually(&["get", "csr", "jane", "--no-headers"], |said| {
        said.contains("Approved,Issued")
    });
    let certificate = cluster.value(&["csr", "jane"], "{.status.certificate}");
    let certificate = BASE64_STANDARD.decode(certificate).expect("base64");
    let certificate = cluster.file("jane.crt", &String::from_utf8_lossy(&certificate));
    let key = cluster.file("jane.key", &key.serialize_pem());
    cluster.ok(&[
        "config",
        "set-credentials",
        "jane",
        &format!("--client-certificate={certificate}"),
        &format!("--client-key={key}"),
    ]);
    let refused = cluster.fails(&["--user=jane", "get", "pods"], b"");
    assert!(
        refused.contains("User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""),
        "{refused}"
    );
    cluster.ok(&[
        "create",
        "rolebinding",
        "dev",
        "--clusterrole=view",
        "--group=developers",
    ]);
    cluster.ok(&["--user=jane", "get", "pods"]);
    assert_eq!(
        cluster.ok(&["--user=jane", "auth", "can-i", "list", "pods"]).trim(),
        "yes"
    );
}

#[test]
fn a_policy_puts_a_label_on_what_kubectl_creates() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("map", kubectl);
    let policy = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: team}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  reinvocationPolicy: Never
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: "Object{metadata: Object.metadata{labels: {'team': request.userInfo.username}}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: team}
spec: {policyName: team}
"#;
    cluster.ok_with(&["apply", "-f", "-"], policy.as_bytes());
    let listed = cluster.ok(&["get", "mutatingadmissionpolicies", "--no-headers"]);
    assert!(listed.starts_with("team ") && listed.contains("<unset>"), "{listed}");
    cluster.ok(&["create", "configmap", "a"]);
    let labels = cluster.value(&["configmap", "a"], "{.metadata.labels.team}");
    assert_eq!(labels, "kubernetes-admin");
}
