//! Kinds that a user defines: used like any other, and kept to what their definition says.

use super::{Cluster, kubectl};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [works]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.labelSelector}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Image, type: string, jsonPath: .spec.image, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        description: CronTab runs a script at times.
        properties:
          spec:
            type: object
            required: [cronSpec]
            x-kubernetes-validations:
            - {rule: "self.minReplicas <= self.replicas", message: replicas must be at least minReplicas}
            - {rule: "self.image == oldSelf.image", message: image is immutable}
            properties:
              cronSpec: {type: string, description: When to run it., pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'}
              image: {type: string, default: tool}
              replicas: {type: integer, minimum: 0, maximum: 10, default: 1}
              minReplicas: {type: integer, default: 0}
          status:
            type: object
            properties: {replicas: {type: integer}, labelSelector: {type: string}}
"#;
const MINE: &str =
    "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: mine}\nspec: {cronSpec: '* * * * */5'}\n";

/// A cluster that has the kind, and one object of it.
fn crontabs(name: &'static str) -> Option<Cluster> {
    let cluster = Cluster::start(name, kubectl()?);
    cluster.ok_with(&["apply", "-f", "-"], DEFINITION.as_bytes());
    let definition = "crd/crontabs.stable.example.com";
    cluster.ok(&["wait", "--for=condition=Established", "--timeout=60s", definition]);
    cluster.ok_with(&["apply", "-f", "-"], MINE.as_bytes());
    Some(cluster)
}

#[test]
fn a_defined_kind_is_listed_explained_and_forgotten_like_any_other() {
    let Some(cluster) = crontabs("define") else { return };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        words(&cluster.ok(&["get", "ct"])),
        "NAME SPEC REPLICAS mine * * * * */5 1"
    );
    let wide = cluster.ok(&["get", "crontab", "-o", "wide"]);
    assert!(wide.contains("IMAGE") && wide.contains("tool"), "{wide}");
    assert!(cluster.ok(&["get", "works"]).contains("mine"));
    let resources = words(&cluster.ok(&["api-resources", "--api-group=stable.example.com"]));
    assert!(
        resources.ends_with("crontabs ct stable.example.com/v1 true CronTab"),
        "{resources}"
    );
    let explained = cluster.ok(&["explain", "ct.spec.cronSpec"]);
    assert!(
        explained.contains("<string>") && explained.contains("When to run it."),
        "{explained}"
    );
    let described = cluster.ok(&["describe", "ct", "mine"]);
    assert!(described.contains("Cron Spec:"), "{described}");
    cluster.ok(&["delete", "crd", "crontabs.stable.example.com", "--timeout=60s"]);
    let gone = cluster.fails(&["get", "crontabs.stable.example.com"], b"");
    assert!(gone.contains("the server"), "{gone}");
}

#[test]
fn a_defined_kind_is_edited_scaled_and_kept_to_its_rules() {
    let Some(cluster) = crontabs("rules") else { return };
    let patch = |patch: &str| cluster.fails(&["patch", "ct", "mine", "--type=merge", "-p", patch], b"");
    for (change, why) in [
        (
            r#"{"spec":{"replicas":11}}"#,
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        (
            r#"{"spec":{"minReplicas":5}}"#,
            "spec: Invalid value: replicas must be at least minReplicas",
        ),
        (
            r#"{"spec":{"image":"other"}}"#,
            "spec: Invalid value: image is immutable",
        ),
    ] {
        let said = patch(change);
        assert!(
            said.contains("The CronTab \"mine\" is invalid") && said.contains(why),
            "{said}"
        );
    }
    let typo = MINE.replace("spec: {", "spec: {colour: red, ").replace("mine", "other");
    let said = cluster.fails(&["apply", "-f", "-"], typo.as_bytes());
    assert!(said.contains("unknown field \"spec.colour\""), "{said}");
    let said = cluster.fails(&["apply", "-f", "-"], MINE.replace("* * * * */5", "never").as_bytes());
    assert!(said.contains("spec.cronSpec in body should match"), "{said}");

    cluster.ok(&["scale", "ct", "mine", "--replicas=3"]);
    // The status is written by itself, and takes nothing else along.
    let status = r#"{"status":{"replicas":2,"labelSelector":"app=x"},"spec":{"replicas":9}}"#;
    cluster.ok(&[
        "patch",
        "ct",
        "mine",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
    let scale = cluster.ok(&[
        "get",
        "ct",
        "mine",
        "--subresource=scale",
        "-o",
        "jsonpath={.spec.replicas} {.status.replicas} {.status.selector}",
    ]);
    assert_eq!(scale, "3 2 app=x");

    let said = cluster.edit(&["ct", "mine"], "s/replicas: 3/replicas: 4/");
    assert!(said.contains("crontab.stable.example.com/mine edited"), "{said}");
    assert_eq!(cluster.value(&["ct", "mine"], "{.spec.replicas}"), "4");
}
