//! What concurrent clients saw, put together: there is one order of all writes in which everything they were told is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::cluster::{CONFIGMAPS, Cluster, JSON, configmap, options, send};

/// One request and its answer. Times are ticks of a clock that all clients share.
#[derive(Debug)]
struct Done {
    began: u64,
    ended: u64,
    name: String,
    what: What,
}

#[derive(Debug)]
enum What {
    /// The object as it became, and the version that the write was based on.
    Wrote {
        version: u64,
        n: u64,
        based_on: Option<u64>,
    },
    Deleted,
    /// The object as it was; none if it was not there.
    Read(Option<(u64, u64)>),
    /// Every object as it was, at a version.
    Listed(u64, BTreeMap<String, u64>),
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn n(object: &Value) -> u64 {
    object["data"]["n"].as_str().unwrap().parse().unwrap()
}

struct Client {
    client: kube::Client,
    clock: Arc<AtomicU64>,
    rng: SmallRng,
    done: Vec<Done>,
}

impl Client {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    async fn ask(&mut self, method: Method, path: &str, body: Value) -> (u16, Value) {
        // Clients are not all equally fast.
        for _ in 0..self.rng.random_range(0..20) {
            tokio::task::yield_now().await;
        }
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = send(&self.client, method, path, JSON, body).await;
        (answer.code, answer.json())
    }

    async fn step(&mut self) {
        let name = format!("m{}", self.rng.random_range(0..3));
        let path = format!("{CONFIGMAPS}/{name}");
        let began = self.tick();
        let what = match self.rng.random_range(0..10) {
            0..2 => {
                let (code, object) = self
                    .ask(Method::POST, CONFIGMAPS, configmap(&name, json!({"n": "0"})))
                    .await;
                match code {
                    201 => Some(What::Wrote {
                        version: version(&object),
                        n: 0,
                        based_on: None,
                    }),
                    409 => None,
                    code => panic!("{code}: {object}"),
                }
            }
            2..6 => match self.ask(Method::GET, &path, Value::Null).await {
                (200, mut object) => {
                    let based_on = version(&object);
                    object["data"]["n"] = json!((n(&object) + 1).to_string());
                    match self.ask(Method::PUT, &path, object).await {
                        (200, object) => Some(What::Wrote {
                            version: version(&object),
                            n: n(&object),
                            based_on: Some(based_on),
                        }),
                        (404 | 409, _) => None,
                        (code, object) => panic!("{code}: {object}"),
                    }
                }
                (404, _) => None,
                (code, object) => panic!("{code}: {object}"),
            },
            6 => {
                let (code, object) = self.ask(Method::DELETE, &path, Value::Null).await;
                match code {
                    200 => Some(What::Deleted),
                    404 => None,
                    code => panic!("{code}: {object}"),
                }
            }
            7..9 => match self.ask(Method::GET, &path, Value::Null).await {
                (200, object) => Some(What::Read(Some((version(&object), n(&object))))),
                (404, _) => Some(What::Read(None)),
                (code, object) => panic!("{code}: {object}"),
            },
            _ => {
                let (_, list) = self.ask(Method::GET, CONFIGMAPS, Value::Null).await;
                let items = list["items"].as_array().unwrap();
                let items = items.iter().filter(|item| item["data"]["n"].is_string());
                let items = items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), version(item)));
                Some(What::Listed(version(&list), items.collect()))
            }
        };
        let ended = self.tick();
        if let Some(what) = what {
            self.done.push(Done {
                began,
                ended,
                name,
                what,
            });
        }
    }
}

/// An event as a watch tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    version: u64,
    name: String,
    /// None for a deletion.
    n: Option<u64>,
}

fn events(text: &str) -> Vec<Event> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|event| Event {
            version: version(&event["object"]),
            name: event["object"]["metadata"]["name"].as_str().unwrap().to_owned(),
            n: (event["type"] != "DELETED").then(|| n(&event["object"])),
        })
        .collect()
}

/// What an object was at a version: its version and content.
fn state(history: &[Event], name: &str, at: u64) -> Option<(u64, u64)> {
    let last = history
        .iter()
        .rev()
        .find(|event| event.name == name && event.version <= at)?;
    Some((last.version, last.n?))
}

fn judge(history: &[Event], done: &[Done]) {
    assert!(history.is_sorted_by_key(|event| event.version));
    let mut written = 0;
    for one in done {
        match &one.what {
            What::Wrote { version, n, based_on } => {
                written += 1;
                let event = history.iter().find(|event| event.version == *version);
                let event = event.unwrap_or_else(|| panic!("no watch has seen {one:?}"));
                assert_eq!((&event.name, event.n), (&one.name, Some(*n)), "{one:?}");
                let before = state(history, &one.name, version - 1).map(|(version, _)| version);
                assert_eq!(before, *based_on, "{one:?} overwrote what it had not seen");
            }
            What::Deleted => written += 1,
            What::Read(seen) => {
                // True at some moment between request and answer.
                let (first, last) = bounds(history, done, one);
                let possible = (first..=last).any(|at| state(history, &one.name, at) == *seen);
                assert!(possible, "{one:?} is not what it was between {first} and {last}");
            }
            What::Listed(at, seen) => {
                let names = ["m0", "m1", "m2"];
                let then = names
                    .iter()
                    .filter_map(|name| Some((name.to_string(), state(history, name, *at)?.0)));
                assert_eq!(*seen, then.collect(), "{one:?}");
                let (first, last) = bounds(history, done, one);
                assert!(
                    (first..=last).contains(at),
                    "{one:?} is older than {first} or newer than {last}"
                );
            }
        }
    }
    assert_eq!(written, history.len(), "every event is a write that somebody asked for");
    // What had ended before another began comes first.
    for one in done {
        if let What::Wrote { version, .. } = one.what {
            assert!(
                bounds(history, done, one).0 < version,
                "{one:?} came before a write that had ended"
            );
        }
    }
}

/// The versions that a request may have seen: from the last write that had ended when it began, up to the last that had
/// begun when it ended. Writes of unknown version bound nothing.
fn bounds(history: &[Event], done: &[Done], one: &Done) -> (u64, u64) {
    let version = |other: &Done| match other.what {
        What::Wrote { version, .. } => Some(version),
        _ => None,
    };
    let before = done
        .iter()
        .filter(|other| other.ended < one.began)
        .filter_map(version)
        .max();
    let after = done
        .iter()
        .filter(|other| other.began > one.ended)
        .filter_map(version)
        .min();
    let last = history.last().map_or(0, |event| event.version);
    (
        before.unwrap_or(0),
        after.map_or(last, |after| after - 1).max(before.unwrap_or(0)),
    )
}

async fn walk(cluster: Cluster, seed: u64) {
    let start = version(&cluster.get(CONFIGMAPS).await.ok());
    let clock = Arc::new(AtomicU64::new(0));
    let mut watchers = JoinSet::new();
    for selector in ["", "&fieldSelector=metadata.name%3Dm1", "&labelSelector=%21absent"] {
        let client = cluster.admin.clone();
        // Virtual time stands still until all clients are done.
        let path = format!("{CONFIGMAPS}?watch=true&timeoutSeconds=60&resourceVersion={start}{selector}");
        watchers.spawn(async move { (selector, send(&client, Method::GET, &path, &[], "").await.text) });
    }
    let mut clients = JoinSet::new();
    for id in 0..6 {
        let mut client = Client {
            client: cluster.client_as(&format!("client-{id}"), &["system:masters"]),
            clock: clock.clone(),
            rng: SmallRng::seed_from_u64(seed * 100 + id),
            done: Vec::new(),
        };
        clients.spawn(async move {
            for _ in 0..60 {
                client.step().await;
            }
            client.done
        });
    }
    let done: Vec<Done> = clients.join_all().await.into_iter().flatten().collect();
    let mut seen: Vec<(&str, Vec<Event>)> = Vec::new();
    while let Some(watched) = watchers.join_next().await {
        let (selector, text) = watched.unwrap();
        seen.push((selector, events(&text)));
    }
    let whole = seen.iter().find(|(selector, _)| selector.is_empty()).unwrap().1.clone();
    assert!(whole.len() > 50, "only {} writes", whole.len());
    for (selector, events) in seen {
        let mut expected = whole.clone();
        expected.retain(|event| !selector.contains("m1") || event.name == "m1");
        assert_eq!(events, expected, "{selector}");
    }
    judge(&whole, &done);
    cluster.check().await;
}

#[tokio::test(start_paused = true)]
async fn what_concurrent_clients_see_has_one_order() {
    for seed in 0..4 {
        walk(Cluster::start().await, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_concurrent_clients_see_has_one_order_on_disk_too() {
    let directory = tempfile::tempdir().unwrap();
    walk(
        Cluster::with(options(Some(directory.path().join("cluster.db")))).await,
        9,
    )
    .await;
}
