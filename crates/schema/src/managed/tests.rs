use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::table::lookup;

const KINDS: [(&str, &str); 2] = [("apps/v1", "Deployment"), ("v1", "ConfigMap")];

/// One object and those who write to it; the clock goes on by a second with every write.
struct Scene {
    schema: Schema,
    api_version: &'static str,
    object: Option<Value>,
    second: i64,
}

impl Scene {
    fn of(kind: &str) -> Scene {
        let (api_version, kind) = KINDS.into_iter().find(|(_, k)| *k == kind).unwrap();
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Scene {
            schema: lookup(group, "v1", kind).unwrap(),
            api_version,
            object: None,
            second: 0,
        }
    }

    fn now(&mut self) -> Timestamp {
        self.second += 1;
        Timestamp::from_second(self.second).unwrap()
    }

    fn update(&mut self, manager: &str, subresource: &str, change: impl FnOnce(&mut Value)) {
        let mut new = self
            .object
            .clone()
            .unwrap_or_else(|| json!({"metadata": {"name": "x"}}));
        change(&mut new);
        let options = TrackOptions {
            manager,
            api_version: self.api_version,
            subresource,
            now: self.now(),
        };
        track(&self.schema, self.object.as_ref(), &mut new, &options);
        self.object = Some(new);
    }

    fn try_apply(&mut self, manager: &str, force: bool, mut applied: Value) -> Result<Value, ApplyError> {
        applied["apiVersion"] = self.api_version.into();
        let options = ApplyOptions {
            manager,
            force,
            api_version: self.api_version,
            subresource: "",
            now: self.now(),
        };
        let object = apply(&self.schema, self.object.as_ref(), &applied, &options)?;
        self.object = Some(object.clone());
        Ok(object)
    }

    fn apply(&mut self, manager: &str, applied: Value) -> Value {
        self.try_apply(manager, false, applied)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The fields of a manager's entry, or null.
    fn fields(&self, manager: &str, operation: &str) -> Value {
        let entries = self
            .object
            .as_ref()
            .and_then(|o| o.pointer("/metadata/managedFields"))
            .and_then(Value::as_array);
        let entry = entries
            .into_iter()
            .flatten()
            .find(|e| e["manager"] == manager && e["operation"] == operation);
        entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }

    fn without_managers(&self) -> Value {
        let mut object = self.object.clone().unwrap_or_default();
        forget(&mut object);
        object
    }
}

fn deployment(replicas: i64, containers: Value) -> Value {
    json!({
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}},
    })
}

#[test]
fn a_create_owns_what_it_set_and_a_status_update_is_an_entry_of_its_own() {
    let mut scene = Scene::of("Deployment");
    scene.update("kubectl-create", "", |d| {
        *d = deployment(
            1,
            json!([{"name": "a", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}]),
        );
        d["metadata"]["uid"] = "u".into();
        d["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}});
    });
    assert_eq!(
        scene.fields("kubectl-create", "Update"),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                    "f:spec": {"f:containers": {
                        ".": {},
                        "k:{\"name\":\"a\"}": {
                            ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                            "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                        },
                    }},
                },
            },
        })
    );
    scene.update("controller", "status", |d| {
        d["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]})
    });
    assert_eq!(
        scene.fields("controller", "Update"),
        json!({"f:status": {".": {}, "f:conditions": {".": {}, "k:{\"type\":\"Available\"}": {".": {}, "f:status": {}, "f:type": {}}}, "f:replicas": {}}})
    );
    let entries = scene.object.unwrap()["metadata"]["managedFields"].clone();
    assert_eq!(entries[1]["subresource"], "status");
    assert_eq!(
        entries[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1"]
    );
    assert_eq!(
        (&entries[0]["time"], &entries[1]["time"]),
        (&json!("1970-01-01T00:00:01Z"), &json!("1970-01-01T00:00:02Z"))
    );
}

#[test]
fn who_changes_a_field_takes_it_over_and_an_update_of_nothing_leaves_no_trace() {
    let mut scene = Scene::of("ConfigMap");
    scene.update("a", "", |c| c["data"] = json!({"x": "1", "y": "1"}));
    scene.update("b", "", |c| c["data"]["x"] = "2".into());
    assert_eq!(scene.fields("a", "Update"), json!({"f:data": {".": {}, "f:y": {}}}));
    assert_eq!(scene.fields("b", "Update"), json!({"f:data": {"f:x": {}}}));
    let before = scene.object.clone();
    scene.update("c", "", |_| {});
    scene.update("b", "", |c| c["metadata"]["resourceVersion"] = "7".into());
    assert_eq!(
        scene.object.as_ref().map(|o| &o["metadata"]["managedFields"]),
        before.as_ref().map(|o| &o["metadata"]["managedFields"])
    );
    scene.update("b", "", |c| {
        c["data"].as_object_mut().unwrap().remove("y");
    });
    assert_eq!(scene.fields("a", "Update"), json!({"f:data": {}}));
    scene.update("b", "", |c| c["metadata"]["managedFields"] = json!([]));
    assert_ne!(
        scene.fields("b", "Update"),
        Value::Null,
        "an empty list is no request to forget"
    );
    scene.update("b", "", |c| c["metadata"]["managedFields"] = json!([{}]));
    scene.update("b", "", |c| c["data"]["z"] = "1".into());
    assert_eq!(scene.object.unwrap().pointer("/metadata/managedFields"), None);
}

#[test]
fn the_eleventh_updater_makes_the_oldest_two_ancient_but_appliers_stay() {
    let mut scene = Scene::of("ConfigMap");
    scene.apply("applier", json!({"metadata": {"name": "x"}, "data": {"a": "1"}}));
    for i in 0..13 {
        scene.update(&format!("m{i}"), "", |c| c["data"][format!("k{i}")] = "1".into());
    }
    let object = scene.object.clone().unwrap();
    let managers: Vec<_> = object["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["manager"].as_str().unwrap())
        .collect();
    assert_eq!(
        managers,
        [
            "applier",
            "ancient-changes",
            "m4",
            "m5",
            "m6",
            "m7",
            "m8",
            "m9",
            "m10",
            "m11",
            "m12"
        ]
    );
    assert_eq!(
        scene.fields("ancient-changes", "Update"),
        json!({"f:data": {"f:k0": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}}})
    );
}

#[test]
fn applying_twice_changes_nothing_and_what_is_no_longer_applied_goes_away() {
    let mut scene = Scene::of("Deployment");
    let two =
        json!([{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "b:1"}]);
    let first = scene.apply("kubectl", deployment(2, two.clone()));
    // The server adds its defaults; nobody owns them.
    scene.object.as_mut().unwrap()["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
    scene.object.as_mut().unwrap()["spec"]["revisionHistoryLimit"] = 10.into();
    let defaulted = scene.object.clone().unwrap();
    assert_eq!(
        scene.apply("kubectl", deployment(2, two)),
        defaulted,
        "no new timestamp either"
    );
    assert_eq!(
        first["metadata"]["managedFields"],
        defaulted["metadata"]["managedFields"]
    );

    let mut next = deployment(2, json!([{"name": "a", "image": "a:2"}]));
    next["spec"].as_object_mut().unwrap().remove("replicas");
    let object = scene.apply("kubectl", next);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "image": "a:2", "imagePullPolicy": "Always"}])
    );
    assert_eq!(
        (object["spec"].get("replicas"), &object["spec"]["revisionHistoryLimit"]),
        (None, &json!(10))
    );
    assert_eq!(
        scene.fields("kubectl", "Apply")["f:spec"]["f:template"]["f:spec"]["f:containers"],
        json!({"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}})
    );
}

#[test]
fn a_field_of_somebody_else_is_a_conflict_until_forced() {
    let mut scene = Scene::of("Deployment");
    scene.update("kubectl-client-side-apply", "", |d| {
        *d = deployment(1, json!([{"name": "a", "image": "a:1"}]))
    });
    let applied = deployment(3, json!([{"name": "a", "image": "a:1"}]));
    let Err(ApplyError::Conflicts { message, conflicts }) = scene.try_apply("kubectl", false, applied.clone()) else {
        panic!("no conflict")
    };
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    assert_eq!(
        conflicts,
        [Conflict {
            manager: "\"kubectl-client-side-apply\" using apps/v1".into(),
            field: ".spec.replicas".into()
        }]
    );
    let object = scene.try_apply("kubectl", true, applied).unwrap();
    assert_eq!(object["spec"]["replicas"], 3);
    assert_eq!(
        scene.fields("kubectl-client-side-apply", "Update")["f:spec"].get("f:replicas"),
        None
    );
    assert_eq!(
        scene.fields("kubectl-client-side-apply", "Update")["f:spec"]["f:selector"],
        json!({}),
        "what both want is owned by both"
    );

    scene.apply(
        "other",
        json!({"metadata": {"name": "web", "namespace": "default", "labels": {"tier": "1"}}}),
    );
    let more = json!({"metadata": {"name": "web", "namespace": "default", "labels": {"tier": "2", "app": "y"}},
        "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a:9", "ports": [{"containerPort": 1}]}]}}}});
    let Err(ApplyError::Conflicts { message, conflicts }) = scene.try_apply("third", false, more) else {
        panic!("no conflict")
    };
    assert_eq!(conflicts.len(), 5);
    assert_eq!(
        message,
        "Apply failed with 5 conflicts: conflicts with \"kubectl\":\n- .metadata.labels.app\n- .spec.template.spec.containers[name=\"a\"].image\n\
         conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .metadata.labels.app\n- .spec.template.spec.containers[name=\"a\"].image\n\
         conflicts with \"other\":\n- .metadata.labels.tier"
    );
}

#[test]
fn what_another_manager_owns_survives_when_one_stops_applying_it() {
    let mut scene = Scene::of("Deployment");
    scene.apply(
        "a",
        json!({"metadata": {"name": "web", "labels": {"x": "1", "y": "1"}, "finalizers": ["f/a", "f/b"]}}),
    );
    scene.apply(
        "b",
        json!({"metadata": {"name": "web", "labels": {"x": "1"}, "finalizers": ["f/b", "f/c"]}}),
    );
    let object = scene.apply("a", json!({"metadata": {"name": "web"}}));
    assert_eq!(object["metadata"]["labels"], json!({"x": "1"}));
    assert_eq!(object["metadata"]["finalizers"], json!(["f/b", "f/c"]));
    assert_eq!(scene.fields("a", "Apply"), Value::Null);
    let object = scene.apply("b", json!({"metadata": {"name": "web"}}));
    assert_eq!(
        (object["metadata"].get("labels"), object["metadata"].get("finalizers")),
        (None, None)
    );
}

#[test]
fn leaving_replicas_to_the_autoscaler_works_as_documented() {
    let mut scene = Scene::of("Deployment");
    scene.apply("kubectl", deployment(1, json!([{"name": "a", "image": "a:1"}])));
    scene.update("kube-controller-manager", "scale", |d| d["spec"]["replicas"] = 5.into());
    assert_eq!(
        scene.fields("kube-controller-manager", "Update"),
        json!({"f:spec": {"f:replicas": {}}})
    );
    let conflict = scene
        .try_apply("kubectl", false, deployment(1, json!([{"name": "a", "image": "a:1"}])))
        .unwrap_err();
    assert_eq!(
        conflict.to_string(),
        "Apply failed with 1 conflict: conflict with \"kube-controller-manager\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let mut without = deployment(1, json!([{"name": "a", "image": "a:2"}]));
    without["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(scene.apply("kubectl", without)["spec"]["replicas"], 5);
}

#[test]
fn lists_keep_the_order_that_is_applied_and_foreign_items_their_place() {
    let names = |names: &[&str]| Value::Array(names.iter().map(|name| json!({"name": name, "image": "i"})).collect());
    for (live, applied, expected) in [
        (vec!["a", "b"], vec!["b", "a"], vec!["b", "a"]),
        (vec!["x", "a", "b"], vec!["a", "c", "b"], vec!["x", "a", "c", "b"]),
        (vec!["a", "x", "b"], vec!["a", "b", "c"], vec!["a", "x", "b", "c"]),
        (vec!["a", "b", "x"], vec!["c"], vec!["a", "b", "x", "c"]),
    ] {
        let mut scene = Scene::of("Deployment");
        scene.update("u", "", |d| *d = deployment(1, names(&live)));
        let object = scene.apply("k", deployment(1, names(&applied)));
        assert_eq!(
            object["spec"]["template"]["spec"]["containers"],
            names(&expected),
            "{live:?} {applied:?}"
        );
    }
}

#[test]
fn atomic_values_are_owned_and_replaced_whole() {
    let mut scene = Scene::of("Deployment");
    let with = |args: Value, selector: Value| {
        let mut d = deployment(1, json!([{"name": "a", "args": args}]));
        d["spec"]["selector"] = selector;
        d
    };
    scene.apply(
        "k",
        with(json!(["x", "y"]), json!({"matchLabels": {"a": "1", "b": "1"}})),
    );
    let object = scene.apply("k", with(json!(["z"]), json!({"matchLabels": {"a": "1"}})));
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["z"])
    );
    assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"a": "1"}}));
    assert_eq!(scene.fields("k", "Apply")["f:spec"]["f:selector"], json!({}));
}

#[test]
fn the_first_apply_to_an_untracked_object_leaves_it_to_those_before() {
    let mut scene = Scene::of("ConfigMap");
    scene.object = Some(json!({"metadata": {"name": "x"}, "data": {"a": "1", "b": "1"}}));
    let error = scene
        .try_apply("k", false, json!({"metadata": {"name": "x"}, "data": {"a": "2"}}))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
    scene
        .try_apply("k", true, json!({"metadata": {"name": "x"}, "data": {"a": "2"}}))
        .unwrap();
    assert_eq!(scene.without_managers()["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(
        scene.fields("before-first-apply", "Update"),
        json!({"f:data": {".": {}, "f:b": {}}})
    );
}

#[test]
fn an_apply_that_cannot_be_understood_is_refused() {
    let mut scene = Scene::of("Deployment");
    let duplicate = deployment(1, json!([{"name": "a"}, {"name": "a"}]));
    assert_eq!(
        scene.try_apply("k", false, duplicate).unwrap_err().to_string(),
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    let error = scene
        .try_apply("k", false, deployment(1, json!([{"image": "a"}])))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with(".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"), "{error}");
    let error = scene
        .try_apply("k", false, json!({"metadata": {"managedFields": [{"manager": "x"}]}}))
        .unwrap_err();
    assert_eq!(error.to_string(), "metadata.managedFields must be nil");
    let options = ApplyOptions {
        manager: "k",
        force: false,
        api_version: "v1",
        subresource: "",
        now: Timestamp::UNIX_EPOCH,
    };
    let error = apply(&scene.schema, None, &json!({"apiVersion": "v2"}), &options)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1"
    );
}

#[test]
fn status_is_not_applied_through_the_object_and_null_takes_a_field_away() {
    let mut scene = Scene::of("Deployment");
    let mut d = deployment(
        1,
        json!([{"name": "a", "image": "i", "resources": {"limits": {"cpu": 0.5}}}]),
    );
    d["status"] = json!({"replicas": 9});
    let object = scene.apply("k", d);
    assert_eq!(object.get("status"), None);
    assert_eq!(scene.fields("k", "Apply").get("f:status"), None);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"],
        "500m"
    );
    let mut d = deployment(1, json!([{"name": "a", "image": "i"}]));
    d["spec"]["replicas"] = Value::Null;
    assert_eq!(scene.apply("k", d)["spec"].get("replicas"), None);
}

#[test]
fn a_custom_resource_is_owned_key_by_key_without_a_schema() {
    let options = |manager| ApplyOptions {
        manager,
        force: false,
        api_version: "e.com/v1",
        subresource: "",
        now: Timestamp::UNIX_EPOCH,
    };
    let object =
        |spec: Value| json!({"apiVersion": "e.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec});
    let first = apply(
        &Schema::OBJECT,
        None,
        &object(json!({"a": {"b": 1}, "list": [1, 2]})),
        &options("k"),
    )
    .unwrap();
    let second = apply(
        &Schema::OBJECT,
        Some(&first),
        &object(json!({"a": {"c": 1}})),
        &options("other"),
    )
    .unwrap();
    let third = apply(
        &Schema::OBJECT,
        Some(&second),
        &object(json!({"list": [3]})),
        &options("k"),
    )
    .unwrap();
    assert_eq!(third["spec"], json!({"a": {"c": 1}, "list": [3]}));
}

#[test]
fn the_managers_name_is_the_first_part_of_the_user_agent() {
    assert_eq!(default_manager("kubectl/v1.33.0 (linux/amd64)"), "kubectl");
    assert_eq!(default_manager(""), "unknown");
}

fn arbitrary_deployment() -> impl Strategy<Value = Value> {
    let container = (
        prop::sample::select(vec!["a", "b", "c"]),
        prop::option::of(0..3),
        prop::option::of(0..3),
    )
        .prop_map(|(name, image, port)| {
            let mut container = json!({"name": name});
            if let Some(image) = image {
                container["image"] = format!("i:{image}").into();
            }
            if let Some(port) = port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            container
        });
    let labels = prop::collection::btree_map("[ab]", "[01]", 0..2);
    (prop::option::of(0..3i64), prop::collection::vec(container, 0..3), labels).prop_map(|(replicas, mut containers, labels)| {
        containers.sort_by_key(|c| c["name"].as_str().map(str::to_owned));
        containers.dedup_by_key(|c| c["name"].as_str().map(str::to_owned));
        let mut object = json!({"kind": "Deployment", "metadata": {"name": "x", "labels": labels}, "spec": {"template": {"spec": {"containers": containers}}}});
        if let Some(replicas) = replicas {
            object["spec"]["replicas"] = replicas.into();
        }
        object
    })
}

proptest! {
    #[test]
    fn a_forced_apply_always_gets_what_it_wants_and_is_idempotent(steps in prop::collection::vec((0..3usize, any::<bool>(), arbitrary_deployment()), 1..6)) {
        let mut scene = Scene::of("Deployment");
        for (who, applies, object) in steps {
            let manager = ["a", "b", "c"][who];
            if applies {
                let once = scene.try_apply(manager, true, object.clone()).unwrap();
                let again = scene.try_apply(manager, false, object.clone()).unwrap();
                prop_assert_eq!(&once, &again);
                let wanted = walk::compare(scene.schema.get(), &scene.without_managers(), &object);
                prop_assert!(wanted.modified.is_empty(), "{:?}", wanted);
                prop_assert!(wanted.added.is_empty() || object["spec"]["template"]["spec"]["containers"] == json!([]) || object["metadata"]["labels"] == json!({}), "{:?}", wanted);
            } else {
                scene.update(manager, "", |o| *o = object);
            }
            let object = scene.object.clone().unwrap();
            let round: Vec<Entry> = entry::read(&object);
            for entry in &round {
                prop_assert_eq!(&Set::from_json(&entry.fields.to_json()), &entry.fields);
            }
        }
    }

    #[test]
    fn no_list_of_managers_makes_it_panic(text in "[a-z.:{}\"\\[\\],]{0,40}", edge in "[fkvi]?:?[\"{}a-z\\[\\]]{0,8}") {
        let mut scene = Scene::of("ConfigMap");
        let weird = json!([{"manager": text, "operation": "Update", "fieldsV1": {edge.clone(): {edge.clone(): {".": {}}}, "f:data": {edge.clone(): {}, text.clone(): 1}}}, 1, {"operation": "Apply", "fieldsV1": null}]);
        scene.object = Some(json!({"metadata": {"name": "x", "managedFields": weird}, "data": {"a": "1"}}));
        let _ = scene.try_apply("k", false, json!({"data": {"a": "2", "b": text}}));
        scene.update("u", "", |c| c["data"] = json!([1]));
    }
}

#[test]
fn everything_that_does_not_fit_an_applied_object_is_told_by_its_path() {
    let pod = lookup("", "v1", "Pod").unwrap();
    let of = |spec: Value| type_errors(&pod, &json!({"apiVersion": "v1", "kind": "Pod", "spec": spec}));
    assert_eq!(of(json!({"containers": [{"name": "a", "image": "x"}]})), None);
    assert_eq!(
        of(json!({"contatiners": []})).unwrap(),
        ".spec.contatiners: field not declared in schema"
    );
    let container = json!({
        "name": "a", "image": true, "port": [], "ports": [{"contatinerPort": 80}],
        "env": [{"name": "A", "value": 1}], "args": "x", "securityContext": [], "tty": "yes",
        "livenessProbe": {"periodSeconds": "1"}, "command": [1],
    });
    assert_eq!(
        of(json!({"containers": [container]})).unwrap(),
        r#"errors:
  .spec.containers[name="a"].image: expected string, got &value.valueUnstructured{Value:true}
  .spec.containers[name="a"].port: field not declared in schema
  .spec.containers[name="a"].ports: element 0: associative list with keys has an element that omits key field "containerPort" (and doesn't have default value)
  .spec.containers[name="a"].env[name="A"].value: expected string, got &value.valueUnstructured{Value:1}
  .spec.containers[name="a"].args: expected list, got &{x}
  .spec.containers[name="a"].securityContext: expected map, got &{[]}
  .spec.containers[name="a"].tty: expected boolean, got &value.valueUnstructured{Value:"yes"}
  .spec.containers[name="a"].livenessProbe.periodSeconds: expected numeric (int or float), got string
  .spec.containers[name="a"].command[0]: expected string, got &value.valueUnstructured{Value:1}"#
    );
    // What has no type of its own in a schema is read all the same.
    let quantity = of(json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": "much"}}}]})).unwrap();
    assert!(quantity.starts_with("quantities must match"), "{quantity}");
}
