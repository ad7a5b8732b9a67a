//! How long a cluster takes to be of use, and what an empty one costs.
//!
//! `cargo bench -p knarr-cluster`

#![expect(clippy::disallowed_macros, reason = "a bench prints what it measured")]

use divan::Bencher;
use k8s_openapi::api::core::v1::Pod;
use knarr_cluster::{Cluster, Options, RuntimeChoice, Storage};
use kube::Api;
use kube::api::PostParams;
use kube::runtime::{conditions::is_pod_running, wait::await_condition};
use serde_json::json;
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("threads can be started")
}

async fn ready(options: Options) -> Cluster {
    let cluster = Cluster::start(options).await.expect("it starts");
    cluster.ready().await.expect("its node is ready");
    cluster
}

async fn run_a_pod(cluster: &Cluster, name: &str) {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod = json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "nginx" }] } });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("created");
    await_condition(pods, name, is_pod_running()).await.expect("it runs");
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn in_memory_until_the_node_is_ready(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    bencher.bench_local(|| runtime.block_on(ready(Options::memory())));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn in_memory_until_a_pod_runs(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let cluster = runtime.block_on(ready(Options::memory()));
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        runtime.block_on(run_a_pod(&cluster, &format!("pod-{number}")));
    });
}

/// On disk and over TLS; containers stay simulated, so that no other process is measured.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn on_disk_until_the_node_is_ready(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let bencher = bencher.with_inputs(|| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory"));
    bencher.bench_local_refs(|directory| {
        let options = Options {
            storage: Storage::Directory(directory.path().join("cluster")),
            runtime: RuntimeChoice::Hollow,
            listen: Some(([127, 0, 0, 1], 0).into()),
            ..Options::memory()
        };
        runtime.block_on(async { ready(options).await.stop().await });
    });
}

/// Resident memory of this process in KiB: all of it, and what is not backed by files.
fn resident() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS:", "RssAnon:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    })
}

fn main() {
    let runtime = runtime();
    let cluster = runtime.block_on(ready(Options::memory()));
    let [all, anonymous] = resident();
    println!("memory of an empty cluster: {all} KiB, of which {anonymous} KiB are not pages of a file");
    runtime.block_on(cluster.stop());
    divan::main();
}
