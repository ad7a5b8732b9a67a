//! Jobs and CronJobs: pods that end.

use super::{Cluster, kubectl};

#[test]
fn jobs_run_to_their_end_and_say_how_it_was() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("jobs", kubectl);
    cluster.ok(&["create", "job", "hello", "--image=busybox", "--", "echo", "hi"]);
    cluster.ok(&["wait", "--for=condition=complete", "job/hello", "--timeout=60s"]);
    assert_eq!(cluster.ok(&["logs", "job/hello"]), "hi\n");
    let described = cluster.ok(&["describe", "job", "hello"]);
    for words in ["Created pod: hello-", "Job completed", "1 Succeeded"] {
        assert!(described.contains(words), "{described}");
    }
    let pod = cluster.value(&["pods", "-l", "job-name=hello"], "{.items[0].metadata.finalizers}");
    assert_eq!(pod, "", "it is counted");

    let indexed = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: indexed}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: c, image: busybox, command: [sh, -c, 'echo I am $JOB_COMPLETION_INDEX on $(hostname)']}
"#;
    cluster.ok_with(&["apply", "-f", "-"], indexed.as_bytes());
    cluster.ok(&["wait", "--for=condition=complete", "job/indexed", "--timeout=90s"]);
    assert_eq!(cluster.value(&["job", "indexed"], "{.status.completedIndexes}"), "0-2");
    let label = "batch.kubernetes.io/job-completion-index=2";
    assert_eq!(cluster.ok(&["logs", "-l", label]), "I am 2 on indexed-2\n");

    let failing = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: failing}
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 2
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: c, image: busybox, command: ["false"]}
"#;
    cluster.ok_with(&["apply", "-f", "-"], failing.as_bytes());
    cluster.ok(&["wait", "--for=condition=failed", "job/failing", "--timeout=60s"]);
    cluster.ok(&["wait", "--for=delete", "job/failing", "--timeout=60s"]);
    cluster.eventually(&["get", "pods", "-l", "job-name=failing", "-o", "name"], |pods| {
        pods.trim().is_empty()
    });
    let events = cluster.ok(&["get", "events"]);
    assert!(
        events.contains("Job has reached the specified backoff limit"),
        "{events}"
    );
    // A Job takes its pods along, because kubectl asks for it.
    cluster.ok(&["delete", "job", "hello"]);
    cluster.eventually(&["get", "pods", "-l", "job-name=hello", "-o", "name"], |pods| {
        pods.trim().is_empty()
    });
}

#[test]
fn a_cron_job_runs_when_it_is_time_and_when_it_is_told() {
    let Some(kubectl) = kubectl() else { return };
    let cluster = Cluster::start("cron", kubectl);
    let tick = r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "@every 2s"
  successfulJobsHistoryLimit: 5
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers:
          - {name: c, image: busybox, command: [echo, tick]}
"#;
    cluster.ok_with(&["apply", "-f", "-"], tick.as_bytes());
    let jobs = ["get", "jobs", "-o", "jsonpath={.items[*].status.succeeded}"];
    cluster.eventually(&jobs, |done| !done.is_empty());
    let described = cluster.ok(&["describe", "cronjob", "tick"]);
    assert!(described.contains("Created job tick-"), "{described}");
    cluster.ok(&["patch", "cronjob", "tick", "-p", r#"{"spec":{"suspend":true}}"#]);
    let table = cluster.ok(&["get", "cronjob", "tick"]);
    assert!(table.contains("@every 2s"), "{table}");
    if cluster.minor() >= 21 {
        cluster.ok(&["create", "job", "now", "--from=cronjob/tick"]);
        cluster.ok(&["wait", "--for=condition=complete", "job/now", "--timeout=60s"]);
    }
    cluster.ok(&["delete", "cronjob", "tick", "--cascade=foreground", "--timeout=60s"]);
    cluster.eventually(&["get", "jobs,pods", "-o", "name"], |left| left.trim().is_empty());
}
