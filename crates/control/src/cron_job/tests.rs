use k8s_openapi::api::batch::v1::{CronJobSpec, JobCondition, JobStatus};
use serde_json::{Value, json};

use super::*;

/// A Friday, 12:00:30.
const NOW: Timestamp = Timestamp::constant(1_704_456_030, 0);

fn at(text: &str) -> Timestamp {
    format!("2024-01-05T{text}Z").parse().unwrap()
}

fn cron(spec: Value) -> CronJob {
    let mut fields = json!({"schedule": "*/10 * * * *", "jobTemplate": {"spec": {"template": {}}}});
    for (key, value) in spec.as_object().unwrap() {
        fields[key] = value.clone();
    }
    CronJob {
        metadata: ObjectMeta {
            name: Some("tick".into()),
            namespace: Some("default".into()),
            uid: Some("cron-uid".into()),
            creation_timestamp: Some(Time(at("11:55:00"))),
            ..ObjectMeta::default()
        },
        spec: serde_json::from_value::<CronJobSpec>(fields).unwrap(),
        status: None,
    }
}

fn owned(cron: &CronJob, name: &str, end: Option<(&str, Timestamp)>) -> Job {
    Job {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some("default".into()),
            uid: Some(format!("{name}-uid")),
            owner_references: Some(vec![owner::reference(cron)]),
            ..ObjectMeta::default()
        },
        status: end.map(|(kind, at)| JobStatus {
            start_time: Some(Time(at)),
            completion_time: (kind == "Complete").then_some(Time(at)),
            conditions: Some(vec![JobCondition {
                type_: kind.into(),
                status: "True".into(),
                ..JobCondition::default()
            }]),
            ..JobStatus::default()
        }),
        ..Job::default()
    }
}

/// What a sync writes and says, in short, with the status it leaves and the seconds until it is called again.
struct Outcome {
    said: Vec<String>,
    status: Value,
    again: Option<u64>,
}

fn sync(cron: CronJob, jobs: Vec<Job>, now: Timestamp) -> Outcome {
    let caches = Caches::new();
    let clock = Clock::virtual_at(now);
    caches.cron_jobs.apply(cron);
    jobs.into_iter().for_each(|job| caches.jobs.apply(job));
    let plan = CronJobs { clock }.sync(&Key::new("default", "tick"), &caches, now);
    let mut outcome = Outcome {
        said: plan.notes.iter().map(|note| note.reason.to_owned()).collect(),
        status: Value::Null,
        again: plan.again.map(|wait| wait.as_secs()),
    };
    for write in plan.writes {
        let path = write.path.as_str().to_owned();
        outcome.said.extend(
            write
                .succeeded
                .iter()
                .map(|note| format!("{}: {}", note.reason, note.message)),
        );
        if path.ends_with("/status") {
            outcome.status = write.body["status"].clone();
        } else {
            let name = write.body["metadata"]["name"]
                .as_str()
                .unwrap_or_else(|| path.rsplit('/').next().unwrap());
            outcome.said.push(format!("{:?} {name}", write.verb));
        }
    }
    outcome
}

fn run(spec: Value, last: &str, jobs: &[(&str, Option<(&str, Timestamp)>)]) -> Outcome {
    let mut cron = cron(spec);
    let active = jobs
        .iter()
        .filter(|(_, end)| end.is_none())
        .map(|(name, _)| reference(&owned(&cron, name, None)));
    cron.status = Some(CronJobStatus {
        last_schedule_time: (!last.is_empty()).then(|| Time(at(last))),
        active: Some(active.collect()),
        ..CronJobStatus::default()
    });
    let jobs = jobs.iter().map(|(name, end)| owned(&cron, name, *end)).collect();
    sync(cron, jobs, NOW)
}

#[test]
fn a_job_is_made_when_it_is_due_and_named_after_its_minute() {
    let made = run(json!({}), "11:50:00", &[]);
    assert_eq!(
        made.said,
        ["SuccessfulCreate: Created job {name}", "Create tick-28407600"]
    );
    assert_eq!(made.status, json!({"lastScheduleTime": "2024-01-05T12:00:00Z"}));
    assert_eq!(made.again, Some(9 * 60 + 30));
    let done = run(json!({}), "12:00:00", &[]);
    assert_eq!((done.said, done.again), (vec![], Some(9 * 60 + 30)));
    assert!(run(json!({"suspend": true}), "11:50:00", &[]).said.is_empty());
}

#[test]
fn the_time_a_job_was_due_is_told_in_the_zone_of_the_schedule() {
    let cron = cron(json!({"schedule": "0 21 * * *", "timeZone": "Asia/Seoul"}));
    let caches = Caches::new();
    caches.cron_jobs.apply(cron);
    let clock = Clock::virtual_at(NOW);
    let plan = CronJobs { clock }.sync(&Key::new("default", "tick"), &caches, NOW);
    assert_eq!(
        plan.writes[0].body["metadata"]["annotations"],
        json!({SCHEDULED_AT: "2024-01-05T21:00:00+09:00"})
    );
}

#[test]
fn concurrency_is_allowed_forbidden_or_ended() {
    let running = [("tick-28407590", None)];
    let with = |policy: &str| run(json!({"concurrencyPolicy": policy}), "11:50:00", &running).said;
    assert_eq!(with("Allow").len(), 2);
    assert_eq!(with("Forbid"), ["JobAlreadyActive"]);
    assert_eq!(
        with("Replace"),
        [
            "SuccessfulDelete: Deleted job tick-28407590",
            "Delete tick-28407590",
            "SuccessfulCreate: Created job {name}",
            "Create tick-28407600"
        ]
    );
}

#[test]
fn what_was_missed_is_made_up_for_once_unless_it_is_too_late() {
    let every_minute = |deadline: Value| {
        let spec = json!({"schedule": "* * * * *", "startingDeadlineSeconds": deadline});
        run(spec, "08:00:00", &[]).said
    };
    let create = ["SuccessfulCreate: Created job {name}", "Create tick-28407600"];
    assert_eq!(every_minute(json!(60)), create);
    assert_eq!(
        every_minute(Value::Null),
        [&["TooManyMissedTimes"][..], &create].concat()
    );
    // Between two runs, with a deadline shorter than that: nothing is due.
    assert!(
        run(json!({"startingDeadlineSeconds": 10}), "11:50:00", &[])
            .said
            .is_empty()
    );
}

#[test]
fn the_status_follows_the_jobs() {
    let seen = run(
        json!({}),
        "12:00:00",
        &[
            ("tick-28407600", None),
            ("tick-28407590", Some(("Complete", at("11:51:00")))),
            ("tick-28407580", Some(("Failed", at("11:40:00")))),
        ],
    );
    assert_eq!(seen.status["active"][0]["name"], "tick-28407600");
    assert_eq!(seen.status["lastSuccessfulTime"], "2024-01-05T11:51:00Z");

    let mut forgetful = cron(json!({}));
    forgetful.status = Some(CronJobStatus {
        last_schedule_time: Some(Time(at("12:00:00"))),
        active: Some(vec![
            reference(&owned(&forgetful, "gone", None)),
            reference(&owned(&forgetful, "tick-28407590", None)),
        ]),
        ..CronJobStatus::default()
    });
    let jobs = vec![
        owned(&forgetful, "tick-28407590", Some(("Failed", at("11:59:00")))),
        owned(&forgetful, "tick-28407600", None),
        owned(&forgetful, "by-hand", None),
    ];
    let seen = sync(forgetful, jobs, NOW);
    assert_eq!(
        seen.said,
        [
            "UnexpectedJob",
            "SawCompletedJob: Saw completed job: tick-28407590, condition: Failed",
            "MissingJob: Active job went missing: gone"
        ]
    );
    let active: Vec<&Value> = seen.status["active"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["name"])
        .collect();
    assert_eq!(active, ["tick-28407600"]);
}

#[test]
fn only_the_youngest_ended_jobs_are_kept() {
    let ended = |name: &'static str, kind: &'static str, time: &str| (name, Some((kind, at(time))));
    let jobs = [
        ended("a", "Complete", "11:10:00"),
        ended("b", "Complete", "11:20:00"),
        ended("c", "Failed", "11:30:00"),
        ended("d", "Failed", "11:40:00"),
    ];
    let limits = json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0});
    let said = run(limits, "12:00:00", &jobs).said;
    let deleted: Vec<_> = said.iter().filter(|line| line.starts_with("Delete ")).collect();
    assert_eq!(deleted, ["Delete a", "Delete c", "Delete d"]);
}

#[test]
fn a_year_of_a_schedule_misses_nothing_and_repeats_nothing() {
    let (mut cron, mut now) = (
        cron(json!({"schedule": "30 2 * * 1-5", "timeZone": "Europe/Berlin"})),
        NOW,
    );
    let mut made = 0;
    while now < "2025-01-05T00:00:00Z".parse().unwrap() {
        let outcome = sync(cron.clone(), vec![], now);
        made += outcome.said.iter().filter(|line| line.starts_with("Create")).count();
        if !outcome.status.is_null() {
            cron.status = Some(serde_json::from_value(outcome.status).unwrap());
        }
        now += Duration::from_secs(outcome.again.unwrap()) + PADDING;
    }
    assert_eq!(
        made, 260,
        "every weekday but the one on which the clock leaps over 02:30 is none: it is a Sunday"
    );
}
