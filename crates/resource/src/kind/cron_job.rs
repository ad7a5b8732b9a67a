//! CronJobs: Jobs at given times.

use super::{Kind, job, workload};
use crate::check::label::not_negative;
use crate::field::{Errors, Path};
use crate::json::{absent, default_to, object, set, text};
use crate::printer::{Column, Columns, Row, age, age_of, name_of};
use jiff::Timestamp;
use knarr_apimachinery::cron::{Schedule, time_zone};
use serde_json::{Value, json};

pub(crate) struct CronJob;

/// The names of its Jobs have eleven characters more.
const LONGEST_NAME: usize = 63 - 11;

impl Kind for CronJob {
    fn warnings(&self, cron: &Value, old: Option<&Value>) -> Vec<String> {
        let spec = &cron["spec"]["jobTemplate"]["spec"];
        let path = Path::new("spec").child("jobTemplate").child("spec");
        if old.is_some_and(|old| old["spec"]["jobTemplate"]["spec"] == *spec) {
            return Vec::new();
        }
        let mut warnings: Vec<String> = job::size_warning(spec, &path).into_iter().collect();
        warnings.extend(super::pod::warnings_of(&spec["template"], &path.child("template")));
        warnings
    }

    fn default(&self, cron: &mut Value) {
        let Some(spec) = object(cron, "spec") else { return };
        default_to(spec, "concurrencyPolicy", "Allow");
        for (key, value) in [
            ("suspend", json!(false)),
            ("successfulJobsHistoryLimit", json!(3)),
            ("failedJobsHistoryLimit", json!(1)),
        ] {
            if absent(spec, key) {
                set(spec, key, value);
            }
        }
        let Some(template) = object(spec, "jobTemplate") else {
            return;
        };
        if absent(template, "metadata") {
            set(template, "metadata", json!({}));
        }
        if let Some(spec) = object(template, "spec") {
            job::default_spec(spec);
        }
    }

    fn prepare_create(&self, cron: &mut Value) {
        set(cron, "status", json!({}));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, cron: &Value, errors: &mut Errors) {
        validate_spec(&cron["spec"], &Value::Null, errors);
        if name_of(cron).len() > LONGEST_NAME {
            let at = Path::new("metadata").child("name");
            errors.invalid(&at, name_of(cron), "must be no more than 52 characters");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource != Some("status") {
            validate_spec(&new["spec"], &old["spec"], errors);
        }
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Schedule", "When it runs, in Cron format."),
            Column::text("Timezone", "The time zone of the schedule."),
            Column {
                kind: "boolean",
                ..Column::text("Suspend", "Whether further runs are suspended.")
            },
            Column::integer("Active", "Number of jobs that are running."),
            Column::text("Last Schedule", "Time since a job was last scheduled."),
            Column::AGE,
            workload::WIDE[0],
            workload::WIDE[1],
            workload::WIDE[2],
        ];
        COLUMNS.into()
    }

    fn row(&self, cron: &Value, now: Timestamp) -> Row {
        let (spec, status) = (&cron["spec"], &cron["status"]);
        let suspended = if spec["suspend"] == true { "True" } else { "False" };
        let last = match absent(status, "lastScheduleTime") {
            true => "<none>".to_owned(),
            false => age(&status["lastScheduleTime"], now),
        };
        let mut cells = vec![
            json!(name_of(cron)),
            json!(text(spec, "schedule")),
            json!(spec["timeZone"].as_str().unwrap_or("<none>")),
            json!(suspended),
            json!(status["active"].as_array().map_or(0, Vec::len)),
            json!(last),
            json!(age_of(cron, now)),
        ];
        cells.extend(workload::wide_cells_of(&spec["jobTemplate"]["spec"]));
        Row::new(cells)
    }
}

/// `old` is null for a new object.
fn validate_spec(spec: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    validate_schedule(spec, old, &path.child("schedule"), errors);
    not_negative(spec, "startingDeadlineSeconds", &path, errors);
    if spec["timeZone"] != old["timeZone"] {
        validate_time_zone(spec, &path.child("timeZone"), errors);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    errors.one_of(&path.child("concurrencyPolicy"), &spec["concurrencyPolicy"], &policies);
    let (template, at) = (&spec["jobTemplate"]["spec"], path.child("jobTemplate").child("spec"));
    job::validate_common(template, &at, errors);
    if !absent(template, "selector") {
        let detail = "`selector` will be auto-generated";
        errors.invalid(&at.child("selector"), template["selector"].clone(), detail);
    }
    if template["manualSelector"] == true {
        errors.not_supported(&at.child("manualSelector"), true, &["nil", "false"]);
    }
    not_negative(spec, "successfulJobsHistoryLimit", &path, errors);
    not_negative(spec, "failedJobsHistoryLimit", &path, errors);
}

/// A zone in the schedule itself is tolerated where it was before.
fn validate_schedule(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let schedule = text(spec, "schedule");
    if schedule.is_empty() {
        return errors.required(path, "");
    }
    let (zoned, was_zoned) = (schedule.contains("TZ"), text(old, "schedule").contains("TZ"));
    if zoned && was_zoned {
        if !absent(spec, "timeZone") {
            let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            errors.invalid(path, schedule, detail);
        }
        return;
    }
    if zoned {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        return errors.invalid(path, schedule, detail);
    }
    if let Err(why) = Schedule::parse(schedule) {
        errors.invalid(path, schedule, why);
    }
}

fn validate_time_zone(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(zone) = spec["timeZone"].as_str() else { return };
    if zone.is_empty() {
        errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, zone, detail);
    } else if let Err(why) = time_zone(zone) {
        errors.invalid(path, zone, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({
            "metadata": {"name": "c", "namespace": "n"},
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "i:1"}],
            }}}}},
        })
    }

    #[test]
    fn mistakes_are_named_in_the_words_of_kubernetes() {
        let resource = find("batch", "v1", "cronjobs").expect("served");
        for (pointer, value, expected) in [
            ("/spec/suspend", json!(false), vec![]),
            ("/spec/schedule", json!(""), vec!["spec.schedule: Required value"]),
            (
                "/spec/schedule",
                json!("* * * *"),
                vec![r#"spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]"#],
            ),
            (
                "/spec/schedule",
                json!("TZ=UTC * * * * *"),
                vec![
                    r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#,
                ],
            ),
            (
                "/spec/timeZone",
                json!("Mars/Olympus"),
                vec![r#"spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus"#],
            ),
            (
                "/spec/concurrencyPolicy",
                json!("Queue"),
                vec![
                    r#"spec.concurrencyPolicy: Unsupported value: "Queue": supported values: "Allow", "Forbid", "Replace""#,
                ],
            ),
            (
                "/spec/jobTemplate/spec/template/spec/restartPolicy",
                json!("Always"),
                vec![
                    r#"spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#,
                ],
            ),
        ] {
            let mut cron = good();
            cron["spec"]["timeZone"] = Value::Null;
            resource.default(&mut cron);
            *cron.pointer_mut(pointer).expect("there") = value;
            let found: Vec<String> = resource
                .validate_create(&cron)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{pointer}");
        }
    }

    #[test]
    fn a_row_shows_when_it_runs_and_ran() {
        let mut cron = good();
        CronJob.default(&mut cron);
        cron["spec"]["timeZone"] = json!("Asia/Seoul");
        cron["status"] = json!({"lastScheduleTime": "1970-01-01T00:00:10Z", "active": [{}]});
        assert_eq!(
            CronJob.row(&cron, Timestamp::constant(20, 0)).cells[1..6],
            [
                json!("*/5 * * * *"),
                json!("Asia/Seoul"),
                json!("False"),
                json!(1),
                json!("10s")
            ]
        );
    }
}
