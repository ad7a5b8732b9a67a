use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::table::lookup;

fn merged(group: &str, kind: &str, mut target: Value, patch: Value) -> Result<Value, PatchError> {
    strategic_merge(&lookup(group, "v1", kind).unwrap(), &mut target, &patch).map(|()| target)
}

/// A pod's spec before, a patch of the spec, the spec after.
fn spec(before: Value, patch: Value, after: Value) {
    let result =
        merged("", "Pod", json!({"spec": before}), json!({"spec": patch.clone()})).map(|pod| pod["spec"].clone());
    assert_eq!(result, Ok(after), "{patch}");
}

#[test]
fn containers_are_merged_by_name() {
    let before =
        json!({"containers": [{"name": "a", "image": "a:1", "args": ["x", "y"]}, {"name": "b", "image": "b:1"}]});
    spec(
        before.clone(),
        json!({"containers": [{"name": "a", "image": "a:2", "args": ["z"]}]}),
        json!({"containers": [{"name": "a", "image": "a:2", "args": ["z"]}, {"name": "b", "image": "b:1"}]}),
    );
    spec(
        before.clone(),
        json!({"containers": [{"name": "c", "image": "c:1"}]}),
        json!({"containers": [{"name": "a", "image": "a:1", "args": ["x", "y"]}, {"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}]}),
    );
    spec(
        before.clone(),
        json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": [{"name": "b", "image": "b:1"}]}),
    );
    spec(
        before.clone(),
        json!({"containers": [{"name": "a", "args": null}, {"name": "b", "$patch": "replace", "tty": true}]}),
        json!({"containers": [{"name": "a"}]}),
    );
    spec(
        before.clone(),
        json!({"containers": [{"name": "a", "args": null}]}),
        json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}),
    );
    spec(
        before.clone(),
        json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
        json!({"containers": [{"name": "z"}]}),
    );
    spec(
        before,
        json!({"containers": null, "nodeName": "n"}),
        json!({"nodeName": "n"}),
    );
}

#[test]
fn lists_inside_of_items_are_merged_by_their_own_keys() {
    spec(
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}], "ports": [{"containerPort": 80, "name": "web"}],
            "volumeMounts": [{"mountPath": "/a", "name": "v"}]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}, {"name": "Z", "value": "4"}], "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "volumeMounts": [{"mountPath": "/b", "name": "v"}]}]}),
        json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}, {"name": "Z", "value": "4"}],
            "ports": [{"containerPort": 80, "name": "web", "protocol": "TCP"}],
            "volumeMounts": [{"mountPath": "/a", "name": "v"}, {"mountPath": "/b", "name": "v"}]}]}),
    );
}

#[test]
fn lists_without_a_key_are_replaced_and_maps_are_merged() {
    spec(
        json!({"tolerations": [{"key": "a"}], "nodeSelector": {"a": "1", "b": "2"}}),
        json!({"tolerations": [{"key": "b"}], "nodeSelector": {"b": null, "c": "3"}}),
        json!({"tolerations": [{"key": "b"}], "nodeSelector": {"a": "1", "c": "3"}}),
    );
    spec(
        json!({"nodeSelector": {"a": "1"}}),
        json!({"nodeSelector": {"$patch": "replace", "b": "2"}}),
        json!({"nodeSelector": {"b": "2"}}),
    );
    spec(
        json!({"nodeSelector": {"a": "1"}, "nodeName": "n"}),
        json!({"nodeSelector": {"$patch": "delete"}}),
        json!({"nodeName": "n"}),
    );
    spec(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"runAsGroup": 2}}),
        json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2}}),
    );
}

#[test]
fn a_patch_of_nothing_leaves_no_directives_and_no_nulls() {
    spec(
        json!({}),
        json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "args": null, "env": [{"name": "X", "$patch": "delete"}]}], "nodeSelector": {"a": null}}),
        json!({"containers": [{"name": "a", "env": []}], "nodeSelector": {}}),
    );
}

#[test]
fn finalizers_are_a_set() {
    let result = merged(
        "",
        "Pod",
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        json!({"metadata": {"finalizers": ["d", "a"], "$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["d", "a"]}}),
    );
    assert_eq!(result, Ok(json!({"metadata": {"finalizers": ["d", "a", "c"]}})));
}

#[test]
fn the_order_of_the_client_is_kept_and_the_servers_own_items_stay_in_place() {
    let order = |names: &[&str]| json!(names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>());
    for (before, wanted, after) in [
        (vec!["a", "b", "c"], vec!["c", "a", "b"], vec!["c", "a", "b"]),
        (vec!["a", "sidecar", "b"], vec!["b", "a"], vec!["sidecar", "b", "a"]),
        (vec!["sidecar", "a"], vec!["a"], vec!["sidecar", "a"]),
        (vec!["a", "sidecar"], vec!["a"], vec!["a", "sidecar"]),
    ] {
        spec(
            json!({"containers": order(&before)}),
            json!({"$setElementOrder/containers": order(&wanted)}),
            json!({"containers": order(&after)}),
        );
    }
}

#[test]
fn a_union_keeps_only_the_retained_keys() {
    let before = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(
        merged("apps", "Deployment", before, patch),
        Ok(json!({"spec": {"strategy": {"type": "Recreate"}}}))
    );
    spec(
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    );
    let bad = merged(
        "apps",
        "Deployment",
        json!({}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
    );
    assert!(matches!(bad, Err(PatchError::BadRequest(_))));
}

#[test]
fn what_kubectl_sends_for_set_image_and_taint_and_ports_works() {
    let deployment = json!({"spec": {"template": {"spec": {"containers": [{"name": "kuard", "image": "kuard:1"}]}}}});
    let patch = json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "kuard"}], "containers": [{"image": "kuard:2", "name": "kuard"}]}}}});
    assert_eq!(
        merged("apps", "Deployment", deployment, patch),
        Ok(json!({"spec": {"template": {"spec": {"containers": [{"name": "kuard", "image": "kuard:2"}]}}}}))
    );
    let service = json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}});
    let patch = json!({"spec": {"$setElementOrder/ports": [{"port": 81}], "ports": [{"port": 81}, {"$patch": "delete", "port": 80}]}});
    assert_eq!(
        merged("", "Service", service, patch),
        Ok(json!({"spec": {"ports": [{"port": 81}]}}))
    );
}

#[test]
fn a_malformed_strategic_patch_is_a_bad_request() {
    for (patch, message) in [
        (json!([]), "Invalid JSON document"),
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"containers": ["x"]}}),
            "expected a map with merge key name as list item",
        ),
        (
            json!({"spec": {"$patch": "explode"}}),
            "unknown patch type: explode in map: map[$patch:explode]",
        ),
        (json!({"spec": {"$retainKeys": 1}}), "$retainKeys must be a list"),
    ] {
        let result = merged("", "Pod", json!({"spec": {"containers": [{"name": "a"}]}}), patch);
        assert_eq!(result, Err(PatchError::BadRequest(message.into())));
    }
}

#[test]
fn a_merge_patch_replaces_lists_and_deletes_by_null() {
    let mut target = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
    json_merge(
        &mut target,
        &json!({"a": {"c": [3], "e": {"f": null, "g": 1}}, "d": null}),
    );
    assert_eq!(target, json!({"a": {"b": 1, "c": [3], "e": {"g": 1}}}));
}

#[test]
fn a_json_patch_does_its_operations_in_order() {
    let mut target = json!({"a": [1, 2], "b": {"c/d": 1}});
    let patch = json!([
        {"op": "test", "path": "/b/c~1d", "value": 1},
        {"op": "test", "path": "/nowhere", "value": null},
        {"op": "add", "path": "/a/1", "value": 9},
        {"op": "add", "path": "/a/-", "value": 8},
        {"op": "replace", "path": "/b/c~1d", "value": {"x": true}},
        {"op": "copy", "from": "/b", "path": "/e"},
        {"op": "move", "from": "/a", "path": "/f"},
        {"op": "remove", "path": "/b"},
    ]);
    assert_eq!(json_patch(&mut target, &patch), Ok(()));
    assert_eq!(target, json!({"e": {"c/d": {"x": true}}, "f": [1, 9, 2, 8]}));
}

#[test]
fn a_json_patch_that_does_not_fit_says_why() {
    use PatchError::{BadRequest, Invalid, TestFailed};
    for (patch, error) in [
        (
            json!({}),
            BadRequest(
                "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch".into(),
            ),
        ),
        (
            json!([{"op": "test", "path": "/a", "value": 2}]),
            TestFailed("testing value /a failed: test failed".into()),
        ),
        (
            json!([{"op": "replace", "path": "/x", "value": 2}]),
            Invalid("replace operation does not apply: doc is missing key: /x: missing value".into()),
        ),
        (
            json!([{"op": "add", "path": "/x/y", "value": 2}]),
            Invalid("add operation does not apply: doc is missing path: \"/x/y\": missing value".into()),
        ),
        (
            json!([{"op": "explode", "path": "/x"}]),
            Invalid("Unexpected kind: explode".into()),
        ),
        (
            json!([{"op": "add", "path": "x", "value": 2}]),
            Invalid("add operation does not apply: doc is missing path: \"x\": missing value".into()),
        ),
    ] {
        assert_eq!(json_patch(&mut json!({"a": 1}), &patch), Err(error));
    }
    let mut doubling = vec![json!({"op": "add", "path": "/x", "value": {"a": "0123456789"}})];
    doubling.extend((0..40).map(|i| json!({"op": "copy", "from": "/x", "path": format!("/x/c{i}")})));
    assert!(
        matches!(json_patch(&mut json!({}), &json!(doubling)), Err(Invalid(text)) if text.starts_with("Unable to complete the copy"))
    );
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "spec",
        "containers",
        "name",
        "env",
        "volumes",
        "metadata",
        "finalizers",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "ports",
        "containerPort",
        "strategy",
    ]);
    let leaf = prop::sample::select(vec![
        json!(null),
        json!(1),
        json!("a"),
        json!("delete"),
        json!("replace"),
        json!("merge"),
        json!("name"),
    ]);
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|v| Value::Object(v.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_patch_panics_and_an_empty_one_changes_nothing(target in arbitrary_json(), patch in arbitrary_json()) {
        for kind in [lookup("", "v1", "Pod").unwrap(), Schema::OBJECT] {
            let _ = strategic_merge(&kind, &mut target.clone(), &patch);
            let mut same = target.clone();
            if same.is_object() {
                prop_assert_eq!(strategic_merge(&kind, &mut same, &json!({})), Ok(()));
                prop_assert_eq!(&same, &target);
            }
        }
        let _ = json_patch(&mut target.clone(), &patch);
        json_merge(&mut target.clone(), &patch);
    }
}
