//! What was acknowledged is there after a restart, and after a kill.

use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cluster, kubectl};

#[test]
fn a_restart_keeps_objects_the_port_and_the_kubeconfig() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("again", kubectl);
    cluster.ok(&["create", "configmap", "kept", "--from-literal=a=b"]);
    cluster.ok(&["create", "deployment", "web", "--image=nginx"]);
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let config = std::fs::read_to_string(cluster.kubeconfig()).expect("readable");
    // Starting what runs changes nothing.
    cluster.knarr("start");
    cluster.knarr("stop");
    assert_eq!(cluster.try_knarr("status").status.code(), Some(3));
    let said = cluster.fails(&["get", "configmap", "kept"], b"");
    assert!(said.contains("refused"), "{said}");
    cluster.knarr("start");
    assert_eq!(std::fs::read_to_string(cluster.kubeconfig()).expect("readable"), config);
    assert_eq!(cluster.value(&["configmap", "kept"], "{.data.a}"), "b");
    cluster.ok(&["rollout", "status", "deployment/web", "--timeout=80s"]);
    assert!(cluster.try_knarr("status").status.success());
}

#[test]
fn a_kill_loses_no_acknowledged_write() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("killed", kubectl.clone());
    let config = cluster.kubeconfig();
    let pid = std::fs::read_to_string(cluster.directory().join("lock")).expect("a running cluster has a lock");
    let pid = Pid::from_raw(pid.trim().parse().expect("a process ID"));
    // Writers in parallel; one of them is always in the middle of a write when the process dies.
    let start = Instant::now();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (kubectl, config, home) = (kubectl.clone(), config.clone(), cluster.directory());
            std::thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let name = format!("w{writer}-{number}");
                    let literal = format!("--from-literal=name={name}");
                    let output = Command::new(&kubectl)
                        .args(["--kubeconfig", &config, "create", "configmap", &name, &literal])
                        .env("HOME", &home)
                        .output()
                        .expect("kubectl runs");
                    if !output.status.success() {
                        return acknowledged;
                    }
                    acknowledged.push(name);
                    if writer == 0 && number == 5 {
                        kill(pid, Signal::SIGKILL).expect("it runs");
                    }
                    assert!(
                        start.elapsed().as_secs() < 120,
                        "the writes fail once the server is dead"
                    );
                }
                unreachable!("the loop ends by returning")
            })
        })
        .collect();
    let acknowledged: Vec<String> = writers
        .into_iter()
        .flat_map(|writer| writer.join().expect("a writer ends well"))
        .collect();
    assert!(acknowledged.len() >= 6, "{acknowledged:?}");
    cluster.knarr("start");
    let names = cluster.ok(&[
        "get",
        "configmaps",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.data.name} {end}",
    ]);
    for name in &acknowledged {
        assert!(
            names.contains(&format!("{name}={name} ")),
            "{name} was acknowledged and is lost: {names}"
        );
    }
}

#[test]
fn clusters_of_several_names_live_side_by_side_and_bad_names_are_refused() {
    let Some(kubectl) = kubectl() else { return };
    let (one, two) = (Cluster::start("one", kubectl.clone()), Cluster::start("two", kubectl));
    one.ok(&["create", "namespace", "only-here"]);
    assert!(two.fails(&["get", "namespace", "only-here"], b"").contains("NotFound"));
    let output = Command::new(env!("CARGO_BIN_EXE_knarr"))
        .args(["cluster", "start", "../up"])
        .output()
        .expect("runs");
    assert!(!output.status.success());
    let said = super::cluster::text(&output.stderr);
    assert!(
        said.contains("no name for a cluster") && said.contains("hint"),
        "{said}"
    );
}
