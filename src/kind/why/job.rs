//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::finding::{Finding, Fix, Severity, Thing};
use super::{Cx, RECENT, admission, brief, condition, condition_path, container, count, is_going, name};
use crate::kind::field::{int, items, text, time, yes};

/// What is wrong with a Job.
pub(super) fn job(cx: Cx<'_>, job: &Value) -> Vec<Finding> {
    if is_going(job) || condition(job, "Complete")["status"] == "True" {
        return Vec::new();
    }
    if yes(&job["spec"]["suspend"]) {
        return vec![suspended(job)];
    }
    let pods = cx.world.children(job, "", "Pod");
    let failed = condition(job, "Failed");
    if failed["status"] == "True" {
        return vec![ended(cx, job, &pods, failed)];
    }
    let active = int(&job["status"]["active"]);
    if pods.is_empty()
        && let Some(finding) = admission::cannot_create(cx, job, &pods)
    {
        return vec![finding];
    }
    let causes: Vec<Finding> = pods
        .iter()
        .filter(|pod| pod["status"]["phase"] != "Failed")
        .flat_map(|pod| super::pod::pod(cx, pod))
        .filter(|finding| finding.severity > Severity::Note)
        .take(1)
        .collect();
    if !causes.is_empty() {
        let sentence = if int(&job["status"]["ready"]) == 0 && active > 0 {
            "The job makes no progress: its pod does not run."
        } else {
            "The job makes no progress."
        };
        return vec![
            Finding::critical("job.stuck", job, sentence)
                .read("status.active", active.to_string())
                .because(causes),
        ];
    }
    let tries = int(&job["status"]["failed"]);
    if tries > 0 && active > 0 {
        let limit = job["spec"]["backoffLimit"].as_i64().unwrap_or(6);
        let sentence = format!(
            "{tries} of at most {} have failed; it is tried again.",
            count(limit as usize + 1, "try").replace("trys", "tries")
        );
        let cause = last_failure(cx, &pods);
        return vec![
            Finding::warning("job.retrying", job, sentence)
                .read("status.failed", tries.to_string())
                .because(cause),
        ];
    }
    Vec::new()
}

/// What the newest failed pod suffered from.
fn last_failure(cx: Cx<'_>, pods: &[&Value]) -> Vec<Finding> {
    pods.iter()
        .filter(|pod| pod["status"]["phase"] == "Failed")
        .max_by_key(|pod| time(&pod["metadata"]["creationTimestamp"]))
        .map(|pod| super::pod::pod(cx, pod))
        .unwrap_or_default()
}

fn ended(cx: Cx<'_>, job: &Value, pods: &[&Value], failed: &Value) -> Finding {
    let reason = text(&failed["reason"]);
    let tries = int(&job["status"]["failed"]);
    let sentence = match reason {
        "BackoffLimitExceeded" => {
            let code = pods
                .iter()
                .filter(|pod| pod["status"]["phase"] == "Failed")
                .max_by_key(|pod| time(&pod["metadata"]["creationTimestamp"]))
                .and_then(|pod| {
                    container::all(pod)
                        .map(|container| int(&container.status["state"]["terminated"]["exitCode"]))
                        .find(|code| *code != 0)
                });
            let code = code.map_or_else(String::new, |code| format!("; the last exit code was {code}"));
            format!(
                "The job was given up after {} failed{code}.",
                if tries == 1 {
                    "1 try".into()
                } else {
                    format!("{tries} tries")
                }
            )
        }
        "DeadlineExceeded" => format!(
            "The job ran longer than its {} allow.",
            count(int(&job["spec"]["activeDeadlineSeconds"]) as usize, "second")
        ),
        "PodFailurePolicy" => format!(
            "A rule of the job's pod failure policy ended it: {}",
            brief(text(&failed["message"]))
        ),
        "FailedIndexes" | "MaxFailedIndexesExceeded" => {
            format!("Indexes of the job failed: {}.", text(&job["status"]["failedIndexes"]))
        }
        _ => format!("The job failed: {}", brief(text(&failed["message"]))),
    };
    let me = Thing::of(job);
    let mut finding = Finding::critical("job.failed", job, sentence)
        .since(time(&failed["lastTransitionTime"]))
        .read(
            condition_path("Failed"),
            format!("{reason}: {}", text(&failed["message"])),
        )
        .advise(
            "read what it wrote",
            format!("kubectl logs {}{}", me.argument(), me.flag()),
        )
        .advise(
            "delete it, and run it anew when the cause is gone",
            format!("kubectl delete {}{}", me.argument(), me.flag()),
        )
        .by(Fix::Delete(me))
        .because(last_failure(cx, pods));
    // A run that has been followed by a good one is history.
    let succeeded = super::controller(job)
        .filter(|owner| owner["kind"] == "CronJob")
        .and_then(|owner| {
            cx.world
                .get("batch", "CronJob", super::namespace(job), text(&owner["name"]))
                .there()
        })
        .and_then(|cron| time(&cron["status"]["lastSuccessfulTime"]));
    if succeeded > finding.since {
        finding.severity = Severity::Note;
    }
    finding
}

fn suspended(object: &Value) -> Finding {
    let me = Thing::of(object);
    let command = format!(
        "kubectl patch {}{} -p '{{\"spec\":{{\"suspend\":false}}}}'",
        me.argument(),
        me.flag()
    );
    Finding::note("job.suspended", object, "It is suspended.")
        .read("spec.suspend", "true")
        .advise("let it go on", command)
        .by(Fix::Merge {
            target: me,
            subresource: None,
            patch: json!({"spec": {"suspend": false}}),
        })
}

/// What is wrong with a CronJob.
pub(super) fn cron_job(cx: Cx<'_>, cron: &Value) -> Vec<Finding> {
    if is_going(cron) {
        return Vec::new();
    }
    if yes(&cron["spec"]["suspend"]) {
        return vec![suspended(cron)];
    }
    let me = Thing::of(cron);
    let schedule = text(&cron["spec"]["schedule"]);
    if let Some(event) = cx
        .world
        .newest(cron, &["UnparseableSchedule", "InvalidSchedule", "UnknownTimeZone"])
    {
        let sentence = match event.reason.as_str() {
            "UnknownTimeZone" => format!("The time zone {} is not known.", text(&cron["spec"]["timeZone"])),
            _ => format!("The schedule {schedule:?} cannot be read."),
        };
        return vec![
            Finding::critical("cj.schedule", cron, sentence)
                .since(event.last)
                .read(format!("event {}", event.reason), event.message.as_str())
                .read("spec.schedule", schedule)
                .edit(&me, "correct the schedule"),
        ];
    }
    let recent = |reasons: &[&str]| {
        cx.world
            .newest(cron, reasons)
            .filter(|event| !cx.older(event.last, 24 * RECENT))
    };
    let run = format!(
        "kubectl create job --from=cronjob/{} {}-now{}",
        me.name,
        me.name,
        me.flag()
    );
    if let Some(event) = recent(&["MissSchedule", "TooManyMissedTimes"]) {
        return vec![
            Finding::warning("cj.missed", cron, "A run was missed.")
                .since(event.last)
                .read(format!("event {}", event.reason), event.message.as_str())
                .read(
                    "spec.startingDeadlineSeconds",
                    cron["spec"]["startingDeadlineSeconds"]
                        .as_i64()
                        .map(|s| s.to_string())
                        .unwrap_or_default(),
                )
                .advise("run it now", run),
        ];
    }
    if let Some(event) = recent(&["JobAlreadyActive"])
        && !items(&cron["status"]["active"]).is_empty()
    {
        let active = text(&cron["status"]["active"][0]["name"]);
        let job = cx.world.get("batch", "Job", super::namespace(cron), active).there();
        let since = job.and_then(|job| time(&job["status"]["startTime"]));
        let causes = job.map(|active| self::job(cx, active)).unwrap_or_default();
        let sentence = format!(
            "Runs are left out, because the job {active} from {} ago has not ended.",
            cx.age(since)
        );
        return vec![
            Finding::warning("cj.forbid", cron, sentence)
                .since(since)
                .read("event JobAlreadyActive", event.message.as_str())
                .read("spec.concurrencyPolicy", "Forbid")
                .because(causes),
        ];
    }
    last_failed(cx, cron).into_iter().collect()
}

fn last_failed(cx: Cx<'_>, cron: &Value) -> Option<Finding> {
    let mut jobs = cx.world.children(cron, "batch", "Job");
    jobs.sort_by_key(|job| std::cmp::Reverse(time(&job["status"]["startTime"])));
    let ended = |job: &&Value| {
        ["Failed", "Complete"]
            .iter()
            .any(|kind| condition(job, kind)["status"] == "True")
    };
    let failed = |job: &&&Value| condition(job, "Failed")["status"] == "True";
    let finished: Vec<&Value> = jobs.into_iter().filter(ended).collect();
    let count = finished.iter().take_while(failed).count();
    let newest = finished.first().filter(|_| count > 0)?;
    let sentence = match count {
        1 => format!("The last run, {}, failed.", name(newest)),
        many => format!("The last {many} runs failed."),
    };
    Some(
        Finding::warning("cj.lastfailed", cron, sentence)
            .read("status.lastSuccessfulTime", text(&cron["status"]["lastSuccessfulTime"]))
            .because(job(cx, newest)),
    )
}
