//! What an acknowledgement is worth: a process that is killed while it writes has lost nothing that it acknowledged.
//!
//! The test runs itself again as a child that writes as fast as it can and prints the name of each object once its write is
//! acknowledged. The parent kills the child at a random moment, opens the file and looks for every name it was told.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::RngExt;
use serde_json::json;

use super::model_tests::specs;
use super::*;

const CHILD: &str = "KNARR_STORE_CRASH_CHILD";
const ROUNDS: usize = 8;

async fn write_until_killed(path: &Path) {
    let store = Store::open(specs(), Some(path.to_owned())).unwrap();
    let start = store.list(0, None).objects.len();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0.. {
                let name = format!("w{writer}-{start}-{n}");
                let value = json!({"metadata": {"name": name, "uid": name}, "data": "x".repeat(700)});
                let write = Write {
                    slot: 0,
                    key: key("a", &name),
                    expect: Expect::Absent,
                    value: Some(value),
                };
                store.write(write).await.unwrap();
                // The parent reads this only after the write was acknowledged; one call, so that lines stay whole.
                std::io::stdout().write_all(format!("ACK {name}\n").as_bytes()).unwrap();
                std::io::stdout().flush().unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[test]
fn every_acknowledged_write_survives_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(write_until_killed(Path::new(&path)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let mut acknowledged = BTreeSet::new();
    let mut versions = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::crash_tests::every_acknowledged_write_survives_a_kill",
                "--nocapture",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some rounds die in the first writes, others in the middle of many.
        let enough = rand::rng().random_range(1..120);
        let mut seen = 0;
        while seen < enough {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            if let Some((_, name)) = line.split_once("ACK ") {
                acknowledged.insert(name.to_owned());
                seen += 1;
            }
        }
        std::thread::park_timeout(Duration::from_micros(rand::rng().random_range(0..3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was in the pipe when the child died was acknowledged, too.
        for line in lines.map_while(Result::ok) {
            if let Some((_, name)) = line.split_once("ACK ") {
                acknowledged.insert(name.to_owned());
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = Store::open(specs(), Some(path.clone())).unwrap();
            let stored: BTreeSet<String> = store
                .list(0, None)
                .objects
                .iter()
                .map(|object| object.name().to_owned())
                .collect();
            let lost: Vec<_> = acknowledged.difference(&stored).collect();
            assert!(lost.is_empty(), "round {round} lost {lost:?}");
            assert_eq!(store.check().await, Vec::<String>::new());
            let version = store.version();
            assert!(
                version > versions,
                "versions must not come back: {version} after {versions}"
            );
            versions = version;
        });
    }
    assert!(acknowledged.len() >= ROUNDS);
}
