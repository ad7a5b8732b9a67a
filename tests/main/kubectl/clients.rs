//! The official Python, JavaScript and Go clients walk over a cluster: `tests/clients/`.
//!
//! They are looked for where `.ci/run` installs them, `target/clients`. Without them the tests say so and pass.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Cluster, kubectl};

/// A path below the checkout; `None` where nothing is there, which is said.
pub(super) fn installed(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients").join(what);
    if !path.exists() {
        let said = format!("skipped: there is no {}, which .ci/run installs\n", path.display());
        let _ = std::io::stderr().write_all(said.as_bytes());
        return None;
    }
    Some(path)
}

/// A script of `tests/clients`.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a client on a cluster; it must end well and have said that the namespace is gone, its last step.
fn walk(cluster: &Cluster, mut program: Command) {
    let output = program
        .arg(cluster.kubeconfig())
        .stdin(Stdio::null())
        .output()
        .expect("the client runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("ok the namespace goes"), "{said}{failed}");
}

#[test]
fn the_python_client_walks_over_a_cluster() {
    let (Some(kubectl), Some(python)) = (kubectl(), installed("python/bin/python")) else {
        return;
    };
    let cluster = Cluster::start("python", kubectl);
    let mut program = Command::new(python);
    program.arg(script("walk.py"));
    walk(&cluster, program);
}

#[test]
fn the_javascript_client_walks_over_a_cluster() {
    let (Some(kubectl), Some(modules)) = (kubectl(), installed("javascript/node_modules")) else {
        return;
    };
    let cluster = Cluster::start("javascript", kubectl);
    let mut node = Command::new("node");
    node.arg(script("walk.mjs"))
        .current_dir(modules.parent().expect("it has a directory"));
    walk(&cluster, node);
}

#[test]
fn the_go_client_walks_over_a_cluster_in_json_and_in_protobuf() {
    let (Some(kubectl), Some(program)) = (kubectl(), installed("go-walk")) else {
        return;
    };
    let cluster = Cluster::start("go", kubectl);
    walk(&cluster, Command::new(program));
}
