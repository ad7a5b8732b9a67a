//! Images: built, taken in, run, and those that cannot be had.

use std::path::Path;
use std::process::{Command, Output};

use super::cluster::text;
use super::{Cluster, kubectl};

impl Cluster {
    fn image(&self, arguments: &[&str]) -> Output {
        let directory = self.directory();
        let mut command = Command::new(env!("CARGO_BIN_EXE_knarr"));
        command
            .args(["image", "--cluster"])
            .args(directory.file_name())
            .args(arguments);
        command
            .env("KNARR_DATA_DIR", data(&directory))
            .env("HOME", data(&directory));
        command.output().expect("knarr runs")
    }

    fn image_ok(&self, arguments: &[&str]) -> String {
        let output = self.image(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

/// Where the test's files are, above the cluster's own directory.
fn data(directory: &Path) -> &Path {
    directory.ancestors().nth(2).expect("a directory")
}

#[test]
fn an_image_is_built_run_exported_and_taken_in_again() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("build", kubectl);
    let context = data(&cluster.directory()).join("context");
    std::fs::create_dir_all(&context).expect("created");
    let dockerfile = "FROM busybox\nARG WHO=nobody\nRUN echo made for $WHO > /made && rm /etc/hostname\nCOPY greet.sh /bin/greet\n\
                      USER 7:8\nENTRYPOINT [\"sh\", \"/bin/greet\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).expect("written");
    std::fs::write(context.join("greet.sh"), "cat /made; id -u; echo $1\n").expect("written");
    let place = context.display().to_string();
    let first = cluster.image_ok(&["build", "-t", "greet:1", "--build-arg", "WHO=you", &place]);
    let again = cluster.image_ok(&["build", "-t", "greet:1", "--build-arg", "WHO=you", &place]);
    assert_eq!(first, again, "from the cache");
    cluster.ok(&["run", "greet", "--image=greet:1", "--restart=Never", "--", "hello"]);
    cluster.ok(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/greet",
        "--timeout=60s",
    ]);
    assert_eq!(cluster.ok(&["logs", "greet"]), "made for you\n7\nhello\n");

    let archive = cluster.file("greet.tar", "");
    cluster.image_ok(&["export", "greet:1", "-o", &archive]);
    cluster.image_ok(&["remove", "greet:1"]);
    assert!(!cluster.image_ok(&["list"]).contains("greet"));
    cluster.image_ok(&["import", &archive, "again:2"]);
    let image = "{.status.containerStatuses[0].imageID}";
    cluster.ok(&["run", "again", "--image=again:2", "--restart=Never"]);
    cluster.ok(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/again",
        "--timeout=60s",
    ]);
    let id = cluster.ok(&["get", "pod", "again", "-o", &format!("jsonpath={image}")]);
    assert!(id.starts_with("docker.io/library/again@sha256:"), "{id}");
    assert!(cluster.image_ok(&["inspect", "again:2"]).contains(first.trim()));
}

#[test]
fn an_image_that_cannot_be_had_is_told_of_and_waited_for() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("absent", kubectl);
    // Nobody listens there.
    cluster.ok(&["run", "absent", "--image=127.0.0.1:1/team/app:3"]);
    let mut events = cluster.follow(&["get", "events", "-w", "-o", "custom-columns=R:.reason,M:.message"]);
    let refused = "dial tcp 127.0.0.1:1: connect: connection refused";
    events.until(&["Failed", "Failed to pull image \"127.0.0.1:1/team/app:3\"", refused]);
    events.until(&["BackOff", "Back-off pulling image \"127.0.0.1:1/team/app:3\""]);
    cluster.ok(&["run", "never", "--image=nothing:1", "--image-pull-policy=Never"]);
    events.until(&["ErrImageNeverPull", "is not present with pull policy of Never"]);
}
