//! Every kind against one small cluster, and its descriptions against what `kubectl` 1.33 prints for the same objects.

use std::fmt::Write as _;

use super::*;
use crate::store::ObjectId;

/// The cluster in `tests/fixtures/kind/cluster.yaml`.
fn cluster() -> Vec<Value> {
    let text = include_str!("../../tests/fixtures/kind/cluster.yaml");
    let list: Value = serde_yaml::from_str(text).expect("the fixture is YAML");
    list["items"].as_array().expect("the fixture is a list").clone()
}

/// A moment at which things happen in the cluster.
fn now() -> Timestamp {
    "2016-03-01T08:04:00Z".parse().expect("a time")
}

fn kind_of(object: &Value) -> &'static Kind {
    let group = match field::text(&object["apiVersion"]).split_once('/') {
        Some((group, _)) => group,
        None => "",
    };
    let plural = plural_of(object);
    find(&Resource {
        group: group.into(),
        plural: plural.as_str().into(),
        ..Resource::default()
    })
}

fn plural_of(object: &Value) -> String {
    format!("{}s", field::text(&object["kind"]).to_lowercase().trim_end_matches('s'))
}

fn raw(object: &Value) -> Object {
    let word = |key: &str| field::text(&object["metadata"][key]).into();
    let id = ObjectId {
        cluster: Default::default(),
        namespace: word("namespace"),
        name: word("name"),
        uid: word("uid"),
    };
    Object::new(id, "1", &object.to_string())
}

fn object(kind: &str, name: &str) -> Value {
    let found = cluster()
        .into_iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// What the server would answer to a query for related objects.
fn answer(related: &Related) -> Vec<Value> {
    let matches = |object: &Value, terms: &str, path: &dyn Fn(&str) -> String| {
        terms.split(',').filter(|term| !term.is_empty()).all(|term| {
            let (key, value) = term.split_once('=').expect("a term");
            object.pointer(&path(key)).and_then(Value::as_str) == Some(value)
        })
    };
    cluster()
        .into_iter()
        .filter(|object| {
            plural_of(object) == related.plural
                && related
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| object["metadata"]["namespace"] == **namespace)
                && matches(object, &related.labels, &|key| {
                    format!("/metadata/labels/{}", key.replace('/', "~1"))
                })
                && matches(object, &related.fields, &|key| format!("/{}", key.replace('.', "/")))
        })
        .collect()
}

fn events_of(object: &Value) -> Vec<Value> {
    let about = |event: &Value| event["involvedObject"]["uid"] == object["metadata"]["uid"];
    cluster().into_iter().filter(about).collect()
}

fn with_subject<T>(object: &Value, now: Timestamp, use_it: impl Fn(&Kind, &Subject<'_>) -> T) -> T {
    let kind = kind_of(object);
    let related: Vec<Value> = (kind.related)(object).iter().flat_map(answer).collect();
    let events = events_of(object);
    use_it(
        kind,
        &Subject {
            object,
            events: &events,
            now,
            zone: TimeZone::UTC,
            related: Some(&related),
        },
    )
}

fn trimmed(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn descriptions_read_as_those_of_kubectl() {
    macro_rules! golden {
        ($($kind:literal $name:literal $file:literal,)*) => {
            [$(($kind, $name, include_str!(concat!("../../tests/fixtures/kind/describe/", $file, ".txt"))),)*]
        };
    }
    // When kubectl was asked; it knows no other time than now.
    let asked = "2026-11-21T03:40:00Z".parse().expect("a time");
    for (kind, name, expected) in golden! {
        "Pod" "web-6d4c7b9f5-2xkqz" "pod_web-6d4c7b9f5-2xkqz",
        "Pod" "waiting" "pod_waiting",
        "Pod" "leaving" "pod_leaving",
        "Namespace" "shop" "ns_shop",
        "Namespace" "default" "ns_default",
        "Deployment" "web" "deploy_web",
        "ReplicaSet" "web-6d4c7b9f5" "rs_web-6d4c7b9f5",
        "Service" "web" "svc_web",
        "Service" "edge" "svc_edge",
        "ConfigMap" "settings" "cm_settings",
        "Secret" "token" "secret_token",
        "ServiceAccount" "web" "sa_web",
        "Node" "node-1" "node_node-1",
        "Widget" "left" "widget_left",
        "Lease" "node-1" "lease_node-1",
        "StatefulSet" "kubia" "statefulset_kubia",
        "DaemonSet" "agent" "daemonset_agent",
    } {
        let object = object(kind, name);
        let described = with_subject(&object, asked, |kind, subject| (kind.describe)(subject).plain());
        let diff = similar::TextDiff::from_lines(expected, &*trimmed(&described))
            .unified_diff()
            .to_string();
        assert!(diff.is_empty(), "{kind} {name}, kubectl first:\n{diff}");
    }
}

/// Objects of a cluster, and what `kubectl describe --show-events=false` 1.33 printed of them.
#[test]
fn kinds_whose_table_is_the_servers_are_described_as_by_kubectl() {
    let objects: Vec<Value> =
        serde_json::from_str(include_str!("../../tests/fixtures/kind/described.json")).expect("the fixture is JSON");
    let mut told = String::new();
    for section in include_str!("../../tests/fixtures/kind/described.txt")
        .split("=== ")
        .skip(1)
    {
        let (head, _) = section.split_once('\n').expect("a heading");
        let (kind, name) = head.split_once(' ').expect("a kind and a name");
        let object = objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .expect("an object");
        let wanted = (generic::GENERIC.related)(object);
        let is_wanted = |other: &&Value| wanted.iter().any(|related| plural_of(other) == related.plural);
        let related: Vec<Value> = objects.iter().filter(is_wanted).cloned().collect();
        let described = (generic::GENERIC.describe)(&Subject {
            object,
            events: &[],
            now: now(),
            zone: TimeZone::UTC,
            related: Some(&related),
        });
        let plain = described.plain();
        let lines = plain.lines().filter(|line| !line.starts_with("Events:"));
        told.push_str(&format!("=== {head}\n"));
        lines.for_each(|line| told.push_str(&format!("{}\n", line.trim_end())));
    }
    let expected = trimmed(include_str!("../../tests/fixtures/kind/described.txt"));
    let blank = |text: &str| {
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let diff = similar::TextDiff::from_lines(&*blank(&expected), &*blank(&told))
        .unified_diff()
        .to_string();
    assert!(diff.is_empty(), "kubectl first:\n{diff}");
}

#[test]
fn rows_say_what_kubectl_get_says() {
    let mut table = String::new();
    for object in cluster() {
        let object = raw(&object);
        let kind = kind_of(&object.value());
        let (health, cells) = (kind.row)(&object);
        assert_eq!(cells.len(), kind.columns.len(), "{}", kind.plural);
        let cells: Vec<_> = cells.iter().map(|cell| cell.show(now()).into_owned()).collect();
        let _ = writeln!(table, "{health:?}: {}", cells.join(" | "));
    }
    assert_eq!(table, include_str!("../../tests/fixtures/kind/rows.txt"));
}

#[test]
fn summaries_say_what_matters_first() {
    let mut all = String::new();
    for object in cluster() {
        let summary = with_subject(&object, now(), |kind, subject| (kind.summary)(subject).plain());
        let name = field::text(&object["metadata"]["name"]);
        let _ = write!(all, "== {} {name}\n{summary}", field::text(&object["kind"]));
    }
    assert_eq!(trimmed(&all), include_str!("../../tests/fixtures/kind/summaries.txt"));
}

/// Replaces every string by a hostile one, and every key that is the user's own.
fn poison(value: &mut Value) {
    match value {
        Value::String(text) if text.parse::<Timestamp>().is_err() => {
            text.push_str("\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{202e}")
        }
        Value::Array(items) => items.iter_mut().for_each(poison),
        Value::Object(map) => {
            for (key, value) in std::mem::take(map) {
                let mut value = value;
                poison(&mut value);
                let own = key.contains(['.', '/']) || key == "app";
                map.insert(if own { format!("{key}\u{1b}[2J") } else { key }, value);
            }
        }
        _ => {}
    }
}

#[test]
fn nothing_hostile_gets_through() {
    let hostile = |ch: char| ch.is_control() || ch == '\u{202e}';
    for object in cluster() {
        let kind = kind_of(&object);
        let related: Vec<Value> = (kind.related)(&object).iter().flat_map(answer).collect();
        let events = events_of(&object);
        let mut all = vec![object];
        all.extend(related);
        all.extend(events);
        let count = all.iter().filter(|object| object["kind"] == "Event").count();
        all.iter_mut().for_each(poison);
        let (object, others) = all.split_first().expect("an object");
        let (related, events) = others.split_at(others.len() - count.min(others.len()));
        let subject = Subject {
            object,
            events,
            now: now(),
            zone: TimeZone::UTC,
            related: Some(related),
        };
        for document in [(kind.describe)(&subject), (kind.summary)(&subject), yaml(object)] {
            for line in &document.lines {
                assert!(!line.plain().contains(hostile), "{}: {:?}", kind.plural, line.plain());
            }
        }
        for cell in (kind.row)(&raw(object)).1 {
            assert!(!cell.show(now()).contains(hostile), "{}: {cell:?}", kind.plural);
        }
    }
}

/// Every object with one value somewhere inside replaced by something of another type.
fn mangled(value: &Value, out: &mut Vec<Value>, rebuild: &dyn Fn(Value) -> Value) {
    let wrong = [
        Value::Null,
        Value::from(i64::MIN),
        Value::from("x"),
        serde_json::json!([{}, 1]),
        serde_json::json!({"x": []}),
    ];
    out.push(rebuild(wrong[out.len() % wrong.len()].clone()));
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let with = |new: Value| {
                    let mut map = map.clone();
                    map.insert(key.clone(), new);
                    rebuild(Value::Object(map))
                };
                mangled(inner, out, &with);
            }
        }
        Value::Array(items) => {
            for (at, inner) in items.iter().enumerate().take(2) {
                let with = |new: Value| {
                    let mut items = items.clone();
                    items[at] = new;
                    rebuild(Value::Array(items))
                };
                mangled(inner, out, &with);
            }
        }
        _ => {}
    }
}

#[test]
fn nothing_panics_whatever_a_field_holds() {
    for object in cluster()
        .into_iter()
        .filter(|object| object["metadata"]["name"] != "web-6d4c7b9f5")
    {
        let kind = kind_of(&object);
        let mut all = Vec::new();
        mangled(&object, &mut all, &|value| value);
        for wrong in all {
            let related = [wrong.clone()];
            let subject = Subject {
                object: &wrong,
                events: &related,
                now: now(),
                zone: TimeZone::UTC,
                related: Some(&related),
            };
            let mut masked = wrong.clone();
            mask_secret(&mut masked);
            (kind.related)(&wrong);
            (kind.describe)(&subject);
            (kind.summary)(&subject);
            assert_eq!((kind.row)(&raw(&wrong)).1.len(), kind.columns.len());
        }
    }
}

#[test]
fn the_rest_of_a_row_stands_when_a_part_of_its_object_is_odd() {
    for (status, spec) in [
        (r#""ok""#, r#"{"nodeName":"a"}"#),
        (r#"{"containerStatuses":{"a":1}}"#, r#"{"nodeName":"a"}"#),
        (r#"{"phase":"Running"}"#, "7"),
    ] {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"odd","creationTimestamp":"2016-03-01T08:00:00Z"}},"spec":{spec},"status":{status}}}"#
        );
        let object: Value = serde_json::from_str(&json).expect("JSON");
        let cells = (kind_of(&object).row)(&raw(&object)).1;
        let shown: Vec<String> = cells.iter().map(|cell| cell.show(now()).into_owned()).collect();
        assert_eq!((&*shown[0], &*shown[4]), ("odd", "4m"), "{shown:?}");
        let stands = if spec == "7" { ("Running", 2) } else { ("a", 6) };
        assert_eq!(shown[stands.1], stands.0, "{shown:?}");
    }
}

#[test]
fn secrets_are_masked_wherever_they_stand() {
    let applied = r#"{"apiVersion":"v1","data":{"password":"aHVudGVyMg=="},"stringData":{"pin":"1234"}}"#;
    let mut secret = serde_json::json!({
        "metadata": {"annotations": {describe::LAST_APPLIED: applied}},
        "data": {"password": "aHVudGVyMg==", "one": "YQ==", "none": ""},
    });
    mask_secret(&mut secret);
    assert_eq!(
        secret["data"],
        serde_json::json!({"password": "*** (7 bytes)", "one": "*** (1 byte)", "none": "*** (0 bytes)"})
    );
    let text = yaml(&secret).plain();
    assert!(!text.contains("aHVudGVyMg") && !text.contains("1234"), "{text}");

    let mut odd = serde_json::json!({"metadata": {"annotations": {describe::LAST_APPLIED: "data: aHVudGVyMg=="}}});
    mask_secret(&mut odd);
    assert!(!odd.to_string().contains("aHVudGVyMg"), "{odd}");
}

#[test]
fn managed_fields_are_not_shown() {
    let object = serde_json::json!({"metadata": {"name": "a", "managedFields": [{"manager": "x"}], "uid": "u"}});
    assert_eq!(yaml(&object).plain(), "metadata:\n  name: a\n  uid: u\n");
}

#[test]
fn tables_are_well_made() {
    for kind in KINDS.iter().copied().chain([&generic::GENERIC]) {
        assert!(
            kind.columns.iter().any(|column| column.rank == 0 && !column.wide),
            "{}",
            kind.plural
        );
        for column in kind.columns {
            assert_eq!(column.title, column.title.to_uppercase());
            assert!(usize::from(column.min) >= 4, "{}", column.title);
        }
        assert!(kind.sort.is_none_or(|(column, _)| column < kind.columns.len()));
    }
}
