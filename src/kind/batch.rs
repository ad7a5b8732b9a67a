//! Jobs and CronJobs: their descriptions, with the next runs.

use jiff::Timestamp;
use serde_json::Value;

use super::field::{controller, int, items, scalar, text, time};
use super::page::Page;
use super::{Subject, describe, selector, template};
use crate::document::Document;
use crate::text::human_duration;

/// Runs told of a CronJob.
const RUNS: usize = 3;

/// `Key:  number`, or that it is not set.
fn number(page: &mut Page, key: &str, value: &Value) {
    page.field(
        0,
        key,
        if value.is_null() {
            "<unset>".into()
        } else {
            scalar(value)
        }
        .as_ref(),
    );
}

fn optional(page: &mut Page, key: &str, value: &Value) {
    page.field_if(0, key, &scalar(value));
}

pub(super) fn job(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    page.field(0, "Selector", &selector::query(&spec["selector"]));
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    page.field_if(0, "Controlled By", &controller(object));
    optional(&mut page, "Parallelism", &spec["parallelism"]);
    number(&mut page, "Completions", &spec["completions"]);
    optional(&mut page, "Completion Mode", &spec["completionMode"]);
    optional(&mut page, "Suspend", &spec["suspend"]);
    optional(&mut page, "Backoff Limit", &spec["backoffLimit"]);
    optional(
        &mut page,
        "TTL Seconds After Finished",
        &spec["ttlSecondsAfterFinished"],
    );
    let (began, ended) = (time(&status["startTime"]), time(&status["completionTime"]));
    for (key, at) in [("Start Time", began), ("Completed At", ended)] {
        if at.is_some() {
            let moment = page.moment(at);
            page.field(0, key, &moment);
        }
    }
    if let (Some(began), Some(ended)) = (began, ended) {
        page.field(0, "Duration", &human_duration(ended.duration_since(began)));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64() {
        page.field(0, "Active Deadline Seconds", &format!("{seconds}s"));
    }
    let ready = status["ready"]
        .as_i64()
        .map_or_else(String::new, |ready| format!(" ({ready} Ready)"));
    let pods = format!(
        "{} Active{ready} / {} Succeeded / {} Failed",
        int(&status["active"]),
        int(&status["succeeded"]),
        int(&status["failed"])
    );
    page.field(0, "Pods Statuses", &pods);
    if spec["completionMode"] == "Indexed" {
        let done = text(&status["completedIndexes"]);
        page.field(0, "Completed Indexes", if done.is_empty() { "<none>" } else { done });
    }
    template::describe(&mut page, &spec["template"]);
    describe::events(&mut page, subject);
    page.finish()
}

pub(super) fn cron_job(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, true);
    page.field(0, "Schedule", text(&spec["schedule"]));
    page.field(0, "Concurrency Policy", text(&spec["concurrencyPolicy"]));
    let suspended = match spec["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    page.field(0, "Suspend", suspended);
    number(
        &mut page,
        "Successful Job History Limit",
        &spec["successfulJobsHistoryLimit"],
    );
    number(&mut page, "Failed Job History Limit", &spec["failedJobsHistoryLimit"]);
    let seconds = |value: &Value| value.as_i64().map(|seconds| format!("{seconds}s"));
    let late = seconds(&spec["startingDeadlineSeconds"]);
    page.field(0, "Starting Deadline Seconds", late.as_deref().unwrap_or("<unset>"));
    let job = &spec["jobTemplate"]["spec"];
    let chosen = selector::query(&job["selector"]);
    page.field(0, "Selector", if chosen.is_empty() { "<unset>" } else { &chosen });
    number(&mut page, "Parallelism", &job["parallelism"]);
    number(&mut page, "Completions", &job["completions"]);
    if let Some(deadline) = seconds(&job["activeDeadlineSeconds"]) {
        page.field(0, "Active Deadline Seconds", &deadline);
    }
    template::describe(&mut page, &job["template"]);
    let last = time(&status["lastScheduleTime"]);
    let moment = last.map(|at| page.moment(Some(at)));
    page.field(0, "Last Schedule Time", moment.as_deref().unwrap_or("<unset>"));
    let runs: Vec<String> = next_runs(object, subject.now)
        .into_iter()
        .map(|at| page.moment(Some(at)))
        .collect();
    if !runs.is_empty() {
        page.list(0, "Next Runs", &runs);
    }
    let active: Vec<&str> = items(&status["active"]).iter().map(|job| text(&job["name"])).collect();
    page.field(
        0,
        "Active Jobs",
        if active.is_empty() {
            "<none>".to_owned()
        } else {
            active.join(", ")
        }
        .as_str(),
    );
    describe::events(&mut page, subject);
    page.finish()
}

/// When a CronJob runs next; never while it is suspended, or when its schedule or its zone is not understood.
fn next_runs(cron: &Value, now: Timestamp) -> Vec<Timestamp> {
    let spec = &cron["spec"];
    let zone = match text(&spec["timeZone"]) {
        "" => Ok(jiff::tz::TimeZone::UTC),
        name => knarr_apimachinery::cron::time_zone(name),
    };
    let schedule = knarr_apimachinery::cron::Schedule::parse(text(&spec["schedule"]));
    let (Ok(zone), Ok(schedule), false) = (zone, schedule, spec["suspend"] == true) else {
        return Vec::new();
    };
    let mut runs = Vec::new();
    let mut after = now;
    while runs.len() < RUNS
        && let Some(next) = schedule.next(after, &zone)
    {
        runs.push(next);
        after = next;
    }
    runs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_next_runs_are_in_the_zone_of_the_schedule_and_none_while_suspended() {
        let now = "2026-11-21T22:00:00Z".parse().expect("a time");
        let told = |spec: Value| {
            let runs = next_runs(&json!({"spec": spec}), now);
            runs.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            told(json!({"schedule": "0 3 * * *"})),
            ["2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z", "2026-11-24T03:00:00Z"]
        );
        assert_eq!(
            told(json!({"schedule": "0 3 * * *", "timeZone": "Asia/Seoul"}))[0],
            "2026-11-22T18:00:00Z"
        );
        assert!(told(json!({"schedule": "0 3 * * *", "suspend": true})).is_empty());
        assert!(told(json!({"schedule": "whenever"})).is_empty());
    }
}
