//! The store against a model: a plain map that does what the store should do, driven by the same random operations.

use std::collections::BTreeMap;
use std::time::Duration;

use knarr_resource::Fields;
use proptest::prelude::*;
use serde_json::json;

use super::sim::{Fault, Sim};
use super::*;

pub(super) fn specs() -> Vec<Spec> {
    ["pods", "events"]
        .map(|name| Spec {
            name: name.into(),
            durable: name != "events",
            versioned: false,
            index: Box::new(|value| Index {
                labels: value["metadata"]["labels"].clone(),
                ..Index::default()
            }),
        })
        .into()
}

/// One random operation. `stale` bases it on a version that is not the current one.
#[derive(Clone, Debug)]
enum Step {
    Create(Slot, u8, u8),
    Update(Slot, u8, u8, bool),
    Delete(Slot, u8, bool),
    /// A create and a deletion together, which go both or not at all.
    Both(u8, u8, u8),
    Reopen,
    /// The power goes, and comes back.
    PowerCut(u64),
    Compact,
}

fn name_range() -> std::ops::Range<u8> {
    0..12
}

fn step() -> impl Strategy<Value = Step> {
    let name = name_range();
    prop_oneof![
        4 => (0..2_usize, name.clone(), any::<u8>()).prop_map(|(slot, name, data)| Step::Create(slot, name, data)),
        4 => (0..2_usize, name.clone(), any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(slot, name, data, stale)| Step::Update(slot, name, data, stale)),
        2 => (0..2_usize, name, prop::bool::weighted(0.2)).prop_map(|(slot, name, stale)| Step::Delete(slot, name, stale)),
        2 => (name_range(), name_range(), any::<u8>()).prop_map(|(new, old, data)| Step::Both(new, old, data)),
        1 => Just(Step::Reopen),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => Just(Step::Compact),
    ]
}

fn object(name: &str, data: u8) -> Value {
    json!({"kind": "X", "apiVersion": "v1", "metadata": {"name": name, "uid": name, "labels": {"data": data.to_string()}}})
}

fn key_of(name: u8) -> String {
    key(if name.is_multiple_of(2) { "a" } else { "a-b" }, &format!("n{name}"))
}

/// Data and version of every object of both tables.
type Objects = [BTreeMap<String, (u8, u64)>; 2];

#[derive(Default)]
struct Model {
    objects: Objects,
    /// What the objects were at every version of this life of the store.
    past: BTreeMap<u64, Objects>,
    floor: u64,
}

fn data_of(object: &Object) -> u8 {
    object.value()["metadata"]["labels"]["data"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

async fn run(steps: Vec<Step>, mut disk: Option<Sim>) {
    let mut store = match &disk {
        Some(disk) => on(disk),
        None => Store::open(specs(), None).unwrap(),
    };
    let mut model = Model::default();
    model.past.insert(0, Default::default());
    for step in steps {
        let (slot, name, write) = match step {
            Step::Reopen | Step::PowerCut(_) => {
                let Some(place) = &mut disk else { continue };
                if let Step::PowerCut(seed) = step {
                    *place = place.after_power_cut(seed);
                } else {
                    store.close().await.unwrap();
                }
                let before = store.version();
                store = on(place);
                assert!(store.version() > before, "versions must not come back");
                if let Step::PowerCut(_) = step {
                    // Events may be lost, but not changed.
                    let events = store.list(1, None).objects;
                    let known = model.objects[1].clone();
                    model.objects[1] = events
                        .iter()
                        .map(|event| (event.key.to_string(), (data_of(event), event.version)))
                        .collect();
                    for (key, event) in &model.objects[1] {
                        let was = model.past.values().any(|past| past[1].get(key) == Some(event));
                        assert!(was || known.get(key) == Some(event), "{key} has never been like this");
                    }
                }
                model.floor = store.version();
                model.past.clear();
                model.past.insert(model.floor, model.objects.clone());
                assert_same(&store, &model);
                continue;
            }
            Step::Both(new, old, data) => {
                let (new, old) = (key_of(new), key_of(old));
                let version = model.objects[0].get(&old).map_or(1, |(_, version)| *version);
                let write = |key: &str, expect, value| Write {
                    slot: 0,
                    key: key.into(),
                    expect,
                    value,
                };
                let writes = vec![
                    write(&new, Expect::Absent, Some(object(&new, data))),
                    write(&old, Expect::Version(version), None),
                ];
                let fits = !model.objects[0].contains_key(&new) && model.objects[0].contains_key(&old);
                let outcome = store.transact(writes).await;
                assert_eq!(outcome.is_ok(), fits);
                if let Ok(written) = outcome {
                    model.objects[0].insert(new, (data, written[0].version));
                    model.objects[0].remove(&old);
                    model.past.insert(written[1].version, model.objects.clone());
                }
                assert_same(&store, &model);
                continue;
            }
            Step::Compact => {
                store.compact();
                model.floor = store.version();
                continue;
            }
            Step::Create(slot, name, data) => (slot, name, (Expect::Absent, Some(data))),
            Step::Update(slot, name, data, stale) => {
                let version = model.objects[slot]
                    .get(&key_of(name))
                    .map_or(1, |(_, version)| *version);
                (slot, name, (Expect::Version(version + u64::from(stale)), Some(data)))
            }
            Step::Delete(slot, name, stale) => {
                let version = model.objects[slot]
                    .get(&key_of(name))
                    .map_or(1, |(_, version)| *version);
                (slot, name, (Expect::Version(version + u64::from(stale)), None))
            }
        };
        let key = key_of(name);
        let (expect, data) = write;
        let current = model.objects[slot].get(&key).map(|(_, version)| *version);
        let expected = match (expect, current) {
            (Expect::Absent, None) => Ok(()),
            (Expect::Absent, Some(_)) => Err(WriteError::Exists),
            (Expect::Version(_), None) => Err(WriteError::Missing),
            (Expect::Version(wanted), Some(own)) if wanted != own => Err(WriteError::Conflict),
            (Expect::Version(_), Some(_)) => Ok(()),
        };
        let outcome = store
            .write(Write {
                slot,
                key: key.clone(),
                expect,
                value: data.map(|data| object(&key, data)),
            })
            .await;
        assert_eq!(outcome.as_ref().map(|_| ()).map_err(Clone::clone), expected);
        if let Ok(written) = outcome {
            assert_eq!(written.version, store.version());
            match data {
                Some(data) => model.objects[slot].insert(key, (data, written.version)),
                None => model.objects[slot].remove(&key),
            };
            model.past.insert(written.version, model.objects.clone());
        }
        assert_same(&store, &model);
    }
    assert_eq!(store.check().await, Vec::<String>::new());
}

fn assert_same(store: &Store, model: &Model) {
    for slot in 0..2 {
        let listed: BTreeMap<String, (u8, u64)> = store
            .list(slot, None)
            .objects
            .iter()
            .map(|object| (object.key.to_string(), (data_of(object), object.version)))
            .collect();
        assert_eq!(listed, model.objects[slot]);
        let in_a = store.list(slot, Some("a")).objects;
        assert!(in_a.iter().all(|object| object.namespace() == "a"));
        let expected = model.objects[slot].keys().filter(|key| key.starts_with("a/")).count();
        assert_eq!(in_a.len(), expected);
        // Every version since the last restart or compaction can still be listed, and every older one is refused.
        for (version, past) in &model.past {
            let listed = store.page(slot, None, (None, Some(*version)), usize::MAX, |_| true);
            if *version < model.floor {
                assert_eq!(listed.unwrap_err(), Expired { oldest: model.floor });
                continue;
            }
            let listed: Vec<_> = listed.unwrap().objects.iter().map(|object| object.version).collect();
            let expected: Vec<_> = past[slot].values().map(|(_, version)| *version).collect();
            assert_eq!(listed, expected, "at {version}");
        }
        // Replaying the history over a past state gives the present.
        if let Some((version, past)) = model.past.range(model.floor..).next() {
            let mut replayed: BTreeMap<String, u64> = past[slot]
                .iter()
                .map(|(key, (_, version))| (key.clone(), *version))
                .collect();
            for event in store.events(slot, &Lane::All, *version, usize::MAX).unwrap().0 {
                match event.change {
                    Change::Deleted => replayed.remove(&*event.object.key),
                    _ => replayed.insert(event.object.key.to_string(), event.object.version),
                };
            }
            let now: BTreeMap<String, u64> = model.objects[slot]
                .iter()
                .map(|(key, (_, version))| (key.clone(), *version))
                .collect();
            assert_eq!(replayed, now);
        }
    }
}

/// Opens the file again once the writer of the old store has let go of it.
async fn reopen(store: Store, path: &std::path::Path) -> Store {
    drop(store);
    loop {
        match Store::open(specs(), Some(path.to_owned())) {
            Err(Error::InUse { .. }) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_memory_the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        runtime().block_on(run(steps, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn on_disk_the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        runtime().block_on(run(steps, Some(Sim::default())));
    }
}

fn create(name: &str) -> Write {
    Write {
        slot: 0,
        key: key("a", name),
        expect: Expect::Absent,
        value: Some(object(name, 1)),
    }
}

fn delete(store: &Store, key: &str) -> Write {
    Write {
        slot: 0,
        key: key.into(),
        expect: Expect::Version(store.get(0, key).unwrap().version),
        value: None,
    }
}

fn names(store: &Store, slot: Slot) -> Vec<String> {
    let objects = store.list(slot, None).objects;
    objects.iter().map(|object| object.name().to_owned()).collect()
}

#[tokio::test]
async fn a_transaction_is_written_whole_or_not_at_all() {
    let store = Store::open(specs(), None).unwrap();
    store.write(create("old")).await.unwrap();
    let mut changes = store.changes(0);
    changes.mark_unchanged();
    let refused = store
        .transact(vec![create("new"), delete(&store, "a/old"), create("old")])
        .await;
    let error = WriteError::Conflict;
    assert_eq!(refused.unwrap_err(), TransactError { index: 2, error });
    let refused = store.transact(vec![create("new"), create("old")]).await;
    let error = WriteError::Exists;
    assert_eq!(refused.unwrap_err(), TransactError { index: 1, error });
    assert_eq!((names(&store, 0), store.version()), (vec!["old".to_owned()], 1));
    assert!(!changes.has_changed().unwrap());

    let written = store
        .transact(vec![create("new"), delete(&store, "a/old")])
        .await
        .unwrap();
    let written: Vec<_> = written.iter().map(|object| (object.name(), object.version)).collect();
    assert_eq!(written, [("new", 2), ("old", 3)]);
    assert_eq!(names(&store, 0), ["new"]);
    // A list from before either knows both or neither: both are published at once.
    assert_eq!(store.events(0, &Lane::All, 1, 10).unwrap().0.len(), 2);
    assert_eq!(store.check().await, Vec::<String>::new());
}

fn widgets(label: &'static str) -> Spec {
    Spec {
        name: "example.com/widgets".into(),
        durable: true,
        versioned: false,
        index: Box::new(move |value| Index {
            labels: value["metadata"][label].clone(),
            ..Index::default()
        }),
    }
}

#[tokio::test]
async fn tables_come_and_go_while_the_store_runs_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let store = Store::open(specs(), Some(path.clone())).unwrap();
    let slot = store.table(widgets("labels")).unwrap();
    let write = |slot, name| Write { slot, ..create(name) };
    store.write(write(slot, "w")).await.unwrap();
    assert_eq!(store.get(slot, "a/w").unwrap().index.labels, json!({"data": "1"}));
    // The same name is the same table; new rules hold for what is there, too.
    assert_eq!(store.table(widgets("name")).unwrap(), slot);
    assert_eq!(store.get(slot, "a/w").unwrap().index.labels, json!("w"));
    store.flush().await.unwrap();

    let store = reopen(store, &path).await;
    assert_eq!(store.check().await, Vec::<String>::new());
    store.write(create("p")).await.unwrap();
    let slot = store.table(widgets("labels")).unwrap();
    assert_eq!(names(&store, slot), ["w"]);
    let mut changes = store.changes(slot);
    store.drop_table(slot).await.unwrap();
    while changes.changed().await.is_ok() {}
    assert!(store.get(slot, "a/w").is_none());
    assert_eq!(store.write(write(slot, "late")).await.unwrap_err(), WriteError::Missing);
    assert_ne!(store.table(widgets("labels")).unwrap(), slot, "a new table, a new slot");
    store.flush().await.unwrap();

    let store = reopen(store, &path).await;
    let slot = store.table(widgets("labels")).unwrap();
    assert_eq!((names(&store, slot), names(&store, 0)), (vec![], vec!["p".to_owned()]));
}

#[tokio::test]
async fn who_follows_a_part_of_a_table_is_woken_by_that_part_only_and_misses_nothing_of_it() {
    let mut specs = specs();
    specs[0].index = Box::new(|value| Index {
        labels: value["metadata"]["labels"].clone(),
        fields: Fields::from_iter([("spec.nodeName", value["node"].as_str().unwrap_or_default())]),
    });
    let store = Store::open(specs, None).unwrap();
    let pod = |key: &str, node: &str| {
        let live = store.get(0, key);
        let mut value = object(key, 1);
        value["node"] = json!(node);
        Write {
            slot: 0,
            key: key.into(),
            expect: live.map_or(Expect::Absent, |live| Expect::Version(live.version)),
            value: Some(value),
        }
    };
    store.write(pod("a/early", "n1")).await.unwrap();
    let lanes = [
        Lane::Node("n1".into()),
        Lane::Namespace("b".into()),
        Lane::Object("b/x".into()),
    ];
    let mut signals: Vec<_> = lanes.iter().map(|lane| store.follow(0, lane)).collect();
    let mut woken = |expected: [bool; 3]| {
        for (signal, expected) in signals.iter_mut().zip(expected) {
            assert_eq!(signal.has_changed().unwrap(), expected);
            signal.mark_unchanged();
        }
    };
    store.write(pod("a/p", "n2")).await.unwrap();
    woken([false; 3]);
    store.write(pod("b/x", "n2")).await.unwrap();
    woken([false, true, true]);
    store.write(pod("b/x", "n1")).await.unwrap();
    woken([true, true, true]);
    store.write(pod("b/y", "")).await.unwrap();
    woken([false, true, false]);
    // It leaves the node, which the node has to know.
    store.write(pod("b/x", "n2")).await.unwrap();
    woken([true, true, true]);
    let versions = |lane: &Lane, after| {
        let (events, complete) = store.events(0, lane, after, 10).unwrap();
        assert_eq!(complete, 6);
        events.iter().map(|event| event.object.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(&lanes[0], 0), [1, 4, 6]);
    assert_eq!(versions(&lanes[1], 0), [3, 4, 5, 6]);
    assert_eq!(versions(&lanes[2], 3), [4, 6]);
    // Who was not concerned by what the table has forgotten has missed nothing.
    let live = store.get(0, "a/p").unwrap();
    let mut version = live.version;
    for _ in 0..3 {
        let mut write = pod("a/p", "n3");
        write.value.as_mut().unwrap()["data"] = json!("x".repeat(10 << 20));
        write.expect = Expect::Version(version);
        version = store.write(write).await.unwrap().version;
    }
    assert!(store.events(0, &Lane::All, 6, 10).is_err());
    assert!(store.events(0, &lanes[0], 6, 10).unwrap().0.is_empty());
    assert!(store.events(0, &lanes[0], 0, 10).is_err());
    store.compact();
    assert!(store.events(0, &lanes[0], 6, 10).is_err());
    assert_eq!(store.check().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_page_of_a_list_stays_what_it_was_while_objects_come_and_go() {
    let store = Store::open(specs(), None).unwrap();
    for name in ["a", "b", "c", "d"] {
        store.write(create(name)).await.unwrap();
    }
    let first = store.list(0, Some("a"));
    let gone = store.get(0, "a/c").unwrap();
    for (key, value) in [("a/c", None), ("a/d", Some(object("d", 9)))] {
        let expect = Expect::Version(store.get(0, key).unwrap().version);
        let write = Write {
            slot: 0,
            key: key.into(),
            expect,
            value,
        };
        store.write(write).await.unwrap();
    }
    store.write(create("e")).await.unwrap();
    let page = store
        .page(0, Some("a"), (Some("a/b"), Some(first.version)), 10, |_| true)
        .unwrap();
    assert_eq!(store.count_after(0, Some("a"), "a/b", first.version), 2);
    let names: Vec<_> = page
        .objects
        .iter()
        .map(|object| (object.name(), object.version))
        .collect();
    assert_eq!(names, [("c", gone.version), ("d", 4)]);
}

fn on(disk: &Sim) -> Store {
    let tuning = Tuning {
        least: 3000,
        aside: false,
        ..Tuning::default()
    };
    Store::open_on(specs(), Some(Arc::new(disk.clone())), tuning).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_writes_takes_deletions_and_loses_none_that_it_accepted() {
    let disk = Sim::default();
    let store = on(&disk);
    for n in 0..20 {
        store.write(create(&format!("old-{n}"))).await.unwrap();
    }
    let version = store.version();
    assert_eq!(store.health(), Ok(()));

    disk.set_capacity(Some(disk.used()));
    let lease = Write {
        slot: 1,
        ..create("lease")
    };
    store.write(lease).await.expect("it is not for the disk yet");
    for name in ["x", "y"] {
        let refused = store.write(create(name)).await.unwrap_err();
        assert!(
            matches!(&refused, WriteError::Disk(why) if why.contains("no space left")),
            "{refused:?}"
        );
    }
    assert!(store.health().unwrap_err().contains("no space left"));
    assert!(store.get(0, "a/x").is_none(), "a refused write must not be visible");
    assert_eq!(
        store.version(),
        version + 1,
        "a refused write must not use up a version"
    );
    assert!(store.get(0, "a/old-0").is_some(), "reads go on");
    // A deletion finds the room that was held back, also in one group with what is refused.
    let (deleted, refused) = tokio::join!(store.write(delete(&store, "a/old-0")), store.write(create("z")));
    deleted.unwrap();
    assert!(matches!(refused, Err(WriteError::Disk(_))));
    for n in 1..20 {
        store.write(delete(&store, &format!("a/old-{n}"))).await.unwrap();
    }
    assert!(
        store.health().is_err(),
        "there is room for deletions, and for nothing else"
    );

    disk.set_capacity(None);
    store.write(create("after")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(store.health(), Ok(()));
    assert_eq!(store.check().await, Vec::<String>::new());
    store.close().await.unwrap();
    let store = on(&disk);
    assert_eq!(
        (names(&store, 0), names(&store, 1)),
        (vec!["after".to_owned()], vec!["lease".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn versions_that_may_be_on_disk_are_never_given_out_again() {
    let disk = Sim::default();
    let store = on(&disk);
    store.write(create("a")).await.unwrap();
    let version = store.version();
    // The write arrives, but from the sync on nothing works.
    disk.fail_at(1, Fault::PowerCut);
    let unknown = store.write(create("b")).await.unwrap_err();
    assert!(matches!(&unknown, WriteError::Unknown(_)), "{unknown:?}");
    assert!(store.get(0, "a/b").is_none());
    let there = on(&disk.after_power_cut(1));
    assert_eq!(there.get(0, "a/b").unwrap().version, version + 1);
    disk.heal();
    let next = store.write(create("c")).await.unwrap();
    assert_eq!(next.version, version + 2);
    assert_eq!(store.check().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn events_wait_a_second_for_company_on_their_way_to_the_disk() {
    let disk = Sim::default();
    let store = Store::open_on(specs(), Some(Arc::new(disk.clone())), Tuning::default()).unwrap();
    let syncs = disk.counted().syncs;
    for name in ["e1", "e2", "e3"] {
        store
            .write(Write {
                slot: 1,
                ..create(name)
            })
            .await
            .unwrap();
    }
    assert_eq!(disk.counted().syncs, syncs);
    store.write(create("pod")).await.unwrap();
    assert_eq!(disk.counted().syncs, syncs + 1);
    assert_eq!(names(&on(&disk.after_power_cut(0)), 1), ["e1", "e2", "e3"]);
    store
        .write(Write {
            slot: 1,
            ..create("e4")
        })
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(disk.counted().syncs, syncs + 2);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(disk.counted().syncs, syncs + 2, "nothing idle costs");
    // However many there are, no more than some hundred are in the air.
    for n in 0..300 {
        store
            .write(Write {
                slot: 1,
                ..create(&format!("n{n}"))
            })
            .await
            .unwrap();
    }
    assert_eq!(disk.counted().syncs, syncs + 3);
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let garbage = b"this is no database".repeat(1000);
    std::fs::write(&path, &garbage).unwrap();
    let error = Store::open(specs(), Some(path.clone())).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(
        error.to_string().contains("cluster.db") && error.to_string().contains("damaged"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_file_in_use_is_not_opened_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let _store = Store::open(specs(), Some(path.clone())).unwrap();
    let error = Store::open(specs(), Some(path)).err().unwrap();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_database_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/cluster.db");
    let _store = Store::open(specs(), Some(path.clone())).unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn history_is_bounded_by_events_and_by_bytes() {
    let store = Store::open(specs(), None).unwrap();
    let big = "x".repeat(1 << 20);
    store.write(create("p")).await.unwrap();
    for _ in 0..40 {
        let live = store.get(0, "a/p").unwrap();
        let mut value = live.value();
        value["data"] = json!(big);
        let expect = Expect::Version(live.version);
        let write = Write {
            slot: 0,
            key: "a/p".into(),
            expect,
            value: Some(value),
        };
        store.write(write).await.unwrap();
    }
    assert!(store.events(0, &Lane::All, 0, 10).is_err());
    let (events, complete) = store.events(0, &Lane::All, store.version() - 10, 100).unwrap();
    assert_eq!((events.len(), complete), (10, store.version()));
    assert_eq!(store.check().await, Vec::<String>::new());
}
