//! What the server costs: creates and deletions per second beside what the disk itself can do, bytes on disk, memory.
//!
//! `cargo bench -p knarr-apiserver`. Figures of one machine compare with each other only; the floor is there for that.

#![expect(clippy::disallowed_macros, reason = "a bench prints what it measured")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use futures::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use knarr_apiserver::{ApiServer, Options, UserInfo};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const OBJECTS: usize = 512;

struct Cluster {
    runtime: Runtime,
    server: ApiServer,
    client: kube::Client,
    directory: tempfile::TempDir,
}

impl Cluster {
    fn start(durable: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let options = Options {
            data: durable.then(|| directory.path().join("cluster.db")),
            ..Options::default()
        };
        let (server, client) = runtime.block_on(async {
            let server = ApiServer::start(options).await.expect("it starts");
            let client = server.client(UserInfo::authenticated("admin", &["system:masters"]));
            (server, client)
        });
        Self {
            runtime,
            server,
            client,
            directory,
        }
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("cluster.db")
    }

    async fn send(&self, method: &str, path: &str, body: String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json");
        let request = request.body(Body::from(body.into_bytes())).expect("a valid request");
        let response = self.client.send(request).await.expect("an answer");
        assert!(response.status().is_success(), "{method} {path}: {}", response.status());
        response.into_body().collect().await.expect("a whole answer");
    }

    /// Creates objects with as many clients as asked for, each one after the other.
    fn create(&self, count: usize, clients: usize, size: usize) {
        self.runtime.block_on(join_all((0..clients).map(|client| async move {
            for n in (client..count).step_by(clients) {
                self.send("POST", CONFIGMAPS, map(n, size).to_string()).await;
            }
        })));
    }

    fn delete_all(&self) {
        self.runtime.block_on(self.send("DELETE", CONFIGMAPS, String::new()));
    }

    fn stop(&self) {
        self.runtime.block_on(self.server.shutdown());
    }
}

fn map(n: usize, size: usize) -> Value {
    let line = |i: usize| {
        (
            format!("key-{i}"),
            json!(format!("value {i} of some length, and {} of its own", n * i)),
        )
    };
    let data: serde_json::Map<String, Value> = (0..size / 64).map(line).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("map-{n:06}")}, "data": data})
}

/// One write and one sync at a time, as a lone client needs at least.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn floor_write_and_sync_3_kb(bencher: Bencher<'_, '_>) {
    let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    let mut end = 0;
    bencher.counter(ItemsCount::new(OBJECTS)).bench_local(|| {
        for _ in 0..OBJECTS {
            file.write_all_at(&[7; 3072], end).expect("room");
            file.sync_data().expect("a disk");
            end += 3072;
        }
    });
}

#[divan::bench(args = [1, 16], sample_count = 5, sample_size = 1)]
fn create_3_kb_durably(bencher: Bencher<'_, '_>, clients: usize) {
    let bencher = bencher
        .counter(ItemsCount::new(OBJECTS))
        .with_inputs(|| Cluster::start(true));
    bencher.bench_local_refs(|cluster| cluster.create(OBJECTS, clients, 3072));
}

#[divan::bench(args = [1, 16], sample_count = 5, sample_size = 1)]
fn create_3_kb_in_memory(bencher: Bencher<'_, '_>, clients: usize) {
    let bencher = bencher
        .counter(ItemsCount::new(OBJECTS))
        .with_inputs(|| Cluster::start(false));
    bencher.bench_local_refs(|cluster| cluster.create(OBJECTS, clients, 3072));
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn delete_a_collection_of_6000(bencher: Bencher<'_, '_>) {
    let bencher = bencher.counter(ItemsCount::new(6000_usize)).with_inputs(|| {
        let cluster = Cluster::start(true);
        cluster.create(6000, 64, 2048);
        cluster
    });
    bencher.bench_local_refs(|cluster| cluster.delete_all());
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn start_a_new_cluster(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| Cluster::start(true));
}

/// From the request that changes an object to the event at a watch.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn create_until_a_watch_has_seen_it(bencher: Bencher<'_, '_>) {
    let bencher = bencher
        .counter(ItemsCount::new(OBJECTS))
        .with_inputs(|| Cluster::start(false));
    bencher.bench_local_refs(|cluster| {
        cluster.runtime.block_on(async {
            let path = format!("{CONFIGMAPS}?watch=true");
            let request = Request::get(path).body(Body::empty()).expect("a valid request");
            let mut events = cluster.client.send(request).await.expect("an answer").into_body();
            for n in 0..OBJECTS {
                let name = format!("map-{n:06}");
                cluster.send("POST", CONFIGMAPS, map(n, 3072).to_string()).await;
                let mut seen = Vec::new();
                while !seen.windows(name.len()).any(|window| window == name.as_bytes()) {
                    let frame = events.frame().await.expect("a watch goes on").expect("and works");
                    seen.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
            }
        });
    });
}

fn size(path: &Path) -> u64 {
    File::open(path)
        .and_then(|file| file.metadata())
        .map_or(0, |file| file.len())
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Figures that are not times.
fn report() {
    let cluster = Cluster::start(true);
    let path = cluster.database();
    let (count, empty) = (200, size(&path));
    cluster.create(count, 1, 3072);
    let full = size(&path);
    println!(
        "bytes on disk per create of 3 KB, one at a time: {}",
        (full - empty) / count as u64
    );
    for n in 0..count {
        let path = format!("{CONFIGMAPS}/map-{n:06}");
        cluster.runtime.block_on(cluster.send("DELETE", &path, String::new()));
    }
    println!(
        "bytes on disk per deletion, one at a time: {}",
        (size(&path) - full) / count as u64
    );
    cluster.stop();

    let cluster = Cluster::start(false);
    let before = resident();
    cluster.create(10_000, 64, 14 << 10);
    cluster
        .runtime
        .block_on(async { tokio::time::sleep(std::time::Duration::from_secs(2)).await });
    println!(
        "memory for 10,000 objects of 14 KB: {} MiB, of an empty server: {} MiB",
        resident() / 1024,
        before / 1024
    );
}

fn main() {
    report();
    divan::main();
}
