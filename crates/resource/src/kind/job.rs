//! Jobs: pods that run to their end.

use super::{Kind, workload};
use crate::check::label::{not_negative, validate_selector};
use crate::check::name::{label, qualified_name};
use crate::field::{Cause, Errors, Path, quote};
use crate::json::{absent, default_to, equal, existing, items, items_mut, keep, object, set, text};
use crate::printer::{Column, Columns, Row, age, age_of, human_duration, name_of};
use crate::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;

pub(crate) struct Job;

/// The labels by which the pods of a Job are known: the prefixed ones, and those of old.
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

const LARGE_COMPLETIONS: i64 = 100_000;
const LARGE_PARALLELISM: i64 = 10_000;
const LARGE_FAILED_INDEXES: i64 = 10_000;
const MOST_INDEXES: i64 = 100_000;
const MOST_RULES: usize = 20;
const MOST_PATTERNS: usize = 20;
const MOST_EXIT_CODES: usize = 255;
const LONGEST_INDEXES: usize = 64 * 1024;
const LONGEST_MANAGER: usize = 63;

impl Kind for Job {
    fn warnings(&self, job: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let problems = label(name_of(job));
        if old.is_none() && !problems.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
                problems.join(" ")
            ));
        }
        if old.is_none_or(|old| old["spec"] != job["spec"]) {
            warnings.extend(size_warning(&job["spec"], &Path::new("spec")));
        }
        warnings.extend(workload::warnings(job, old));
        warnings
    }

    fn default(&self, job: &mut Value) {
        let labels = job["spec"]["template"]["metadata"]["labels"].clone();
        if let Some(meta) = object(job, "metadata")
            && meta["labels"].as_object().is_none_or(serde_json::Map::is_empty)
            && labels.is_object()
        {
            set(meta, "labels", labels);
        }
        let Some(spec) = object(job, "spec") else { return };
        if absent(spec, "completions") && absent(spec, "parallelism") {
            set(spec, "completions", 1);
        }
        let limit = if absent(spec, "backoffLimitPerIndex") {
            6
        } else {
            i32::MAX
        };
        let replacement = if absent(spec, "podFailurePolicy") {
            "TerminatingOrFailed"
        } else {
            "Failed"
        };
        for (key, value) in [
            ("parallelism", json!(1)),
            ("backoffLimit", json!(limit)),
            ("completionMode", json!("NonIndexed")),
            ("suspend", json!(false)),
            ("podReplacementPolicy", json!(replacement)),
            ("manualSelector", json!(false)),
        ] {
            if absent(spec, key) {
                set(spec, key, value);
            }
        }
        default_spec(spec);
    }

    fn prepare_create(&self, job: &mut Value) {
        set(job, "status", json!({}));
    }

    /// The selector is the Job's own UID, unless the user takes care of it.
    fn identify(&self, job: &mut Value) {
        if job["spec"]["manualSelector"] == true {
            return;
        }
        let (name, uid) = (job["metadata"]["name"].clone(), job["metadata"]["uid"].clone());
        let Some(spec) = existing(job, "spec") else { return };
        if let Some(labels) = object(spec, "template")
            .and_then(|template| object(template, "metadata"))
            .and_then(|meta| object(meta, "labels"))
        {
            for (keys, value) in [(NAME_LABELS, name), (UID_LABELS, uid.clone())] {
                for key in keys.into_iter().filter(|key| absent(labels, key)).collect::<Vec<_>>() {
                    set(labels, key, value.clone());
                }
            }
        }
        if let Some(labels) = object(spec, "selector").and_then(|selector| object(selector, "matchLabels"))
            && absent(labels, UID_LABELS[1])
        {
            set(labels, UID_LABELS[1], uid);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn validate(&self, job: &Value, errors: &mut Errors) {
        validate_generated_selector(job, errors);
        validate_job_spec(&job["spec"], errors);
        let completions = job["spec"]["completions"].as_i64().unwrap_or(0);
        if is_indexed(&job["spec"]) && completions > 0 {
            let hostname = format!("{}-{}", name_of(job), completions - 1);
            if !label(&hostname).is_empty() {
                let detail = format!("will not able to create pod with invalid DNS label: {hostname}");
                errors.invalid(&Path::new("metadata").child("name"), name_of(job), detail);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            return validate_status(new, old, errors);
        }
        self.validate(new, errors);
        let (path, spec, before) = (Path::new("spec"), &new["spec"], &old["spec"]);
        validate_completions(spec, before, &path, errors);
        workload::validate_same(spec, before, "selector", &path, errors);
        validate_template_update(new, old, &path, errors);
        for key in [
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            workload::validate_same(spec, before, key, &path, errors);
        }
    }

    fn fields(&self, job: &Value, fields: &mut crate::resource::Fields) {
        let succeeded = job["status"]["succeeded"].as_i64().unwrap_or(0);
        fields.add("status.successful", succeeded.to_string());
    }

    fn columns(&self) -> Columns<'_> {
        const COLUMNS: &[Column<'_>] = &[
            Column::NAME,
            Column::text("Status", "Status of the job."),
            Column::text("Completions", "Number of pods that ended well, of those that should."),
            Column::text("Duration", "Time required to complete the job."),
            Column::AGE,
            workload::WIDE[0],
            workload::WIDE[1],
            workload::WIDE[2],
        ];
        COLUMNS.into()
    }

    fn row(&self, job: &Value, now: Timestamp) -> Row {
        let mut cells = vec![
            json!(name_of(job)),
            json!(state(job)),
            json!(completions(job)),
            json!(duration(&job["status"], now)),
            json!(age_of(job, now)),
        ];
        cells.extend(workload::wide_cells(job));
        Row::new(cells)
    }
}

/// The defaults that the spec of a Job has in the template of a CronJob, too.
pub(super) fn default_spec(spec: &mut Value) {
    workload::default_template(spec);
    if let Some(policy) = existing(spec, "podFailurePolicy") {
        for rule in items_mut(policy, "rules") {
            for pattern in items_mut(rule, "onPodConditions") {
                default_to(pattern, "status", "True");
            }
        }
    }
}

fn is_indexed(spec: &Value) -> bool {
    spec["completionMode"] == "Indexed"
}

/// Whether a condition of a status holds.
fn holds(job: &Value, condition: &str) -> bool {
    let mut conditions = items(&job["status"]["conditions"]).iter();
    conditions.any(|it| it["type"] == condition && it["status"] == "True")
}

fn is_finished(job: &Value) -> bool {
    holds(job, "Complete") || holds(job, "Failed")
}

fn state(job: &Value) -> &'static str {
    let leaving = !absent(&job["metadata"], "deletionTimestamp");
    [
        (holds(job, "Complete"), "Complete"),
        (holds(job, "Failed"), "Failed"),
        (leaving, "Terminating"),
        (holds(job, "Suspended"), "Suspended"),
        (holds(job, "FailureTarget"), "FailureTarget"),
        (holds(job, "SuccessCriteriaMet"), "SuccessCriteriaMet"),
    ]
    .into_iter()
    .find_map(|(is, word)| is.then_some(word))
    .unwrap_or("Running")
}

fn completions(job: &Value) -> String {
    let done = job["status"]["succeeded"].as_i64().unwrap_or(0);
    let parallelism = job["spec"]["parallelism"].as_i64().unwrap_or(0);
    match job["spec"]["completions"].as_i64() {
        Some(wanted) => format!("{done}/{wanted}"),
        None if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        None => format!("{done}/1"),
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let time = |key: &str| text(status, key).parse::<Timestamp>().ok();
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(_), None) => age(&status["startTime"], now),
        (Some(start), Some(end)) => human_duration(end.as_second() - start.as_second()),
    }
}

pub(super) fn size_warning(spec: &Value, path: &Path) -> Option<String> {
    let above = |key: &str, limit: i64| spec[key].as_i64().is_some_and(|n| n > limit);
    (is_indexed(spec) && above("completions", LARGE_COMPLETIONS) && above("parallelism", LARGE_PARALLELISM)).then(|| {
        format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    })
}

/// Who wrote the labels of the selector by hand, but did not say so, finds out here.
fn validate_generated_selector(job: &Value, errors: &mut Errors) {
    let spec = &job["spec"];
    if spec["manualSelector"] == true || !spec["selector"].is_object() {
        return;
    }
    let (name, uid) = (name_of(job), text(&job["metadata"], "uid"));
    let at = Path::new("spec").child("template").child("metadata").child("labels");
    let labels = &spec["template"]["metadata"]["labels"];
    let mut expected = json!({});
    // The order in which they are looked at.
    for (key, value) in [
        (UID_LABELS[0], uid),
        (NAME_LABELS[0], name),
        (UID_LABELS[1], uid),
        (NAME_LABELS[1], name),
    ] {
        expected[key] = json!(value);
        match labels[key].as_str() {
            None => errors.required(&at.key(key), format!("must be '{value}'")),
            Some(found) if found != value => errors.invalid(&at.key(key), found, format!("must be '{value}'")),
            Some(_) => {}
        }
    }
    if LabelSelector::from_object(&spec["selector"]).is_some_and(|selector| !selector.matches(&expected)) {
        let at = Path::new("spec").child("selector");
        errors.invalid(&at, spec["selector"].clone(), "`selector` not auto-generated");
    }
}

fn validate_job_spec(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    validate_common(spec, &path, errors);
    match spec["selector"].is_object() {
        true => validate_selector(&spec["selector"], &path.child("selector"), errors),
        false => errors.required(&path.child("selector"), ""),
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if LabelSelector::from_object(&spec["selector"]).is_none_or(|selector| !selector.matches(labels)) {
        let at = path.child("template").child("metadata").child("labels");
        errors.invalid(&at, labels.clone(), "`selector` does not match template `labels`");
    }
}

/// What must hold for the spec of a Job and for the one in a CronJob.
pub(super) fn validate_common(spec: &Value, path: &Path, errors: &mut Errors) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(spec, key, path, errors);
    }
    let per_index = path.child("backoffLimitPerIndex");
    if !absent(spec, "maxFailedIndexes") && absent(spec, "backoffLimitPerIndex") {
        errors.required(&per_index, "when maxFailedIndexes is specified");
    }
    validate_manager(spec, &path.child("managedBy"), errors);
    let mode = text(spec, "completionMode");
    if !matches!(mode, "" | "NonIndexed" | "Indexed") {
        errors.not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    if is_indexed(spec) {
        validate_indexed(spec, path, errors);
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if !absent(spec, key) {
                errors.invalid(&path.child(key), spec[key].clone(), "requires indexed completion mode");
            }
        }
    }
    validate_failure_policy(spec, &path.child("podFailurePolicy"), errors);
    validate_success_policy(spec, &path.child("successPolicy"), errors);
    validate_replacement(spec, &path.child("podReplacementPolicy"), errors);
    let template = path.child("template");
    workload::validate_template(&spec["template"], &template, errors);
    let (restart, at) = (
        &spec["template"]["spec"]["restartPolicy"],
        template.child("spec").child("restartPolicy"),
    );
    match restart.as_str().unwrap_or_default() {
        "" | "Always" => errors.required(&at, r#"valid values: "OnFailure", "Never""#),
        "OnFailure" if !absent(spec, "podFailurePolicy") => {
            let detail = r#"only "Never" is supported when podFailurePolicy is specified"#;
            errors.invalid(&at, "OnFailure", detail);
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&at, other, &["OnFailure", "Never"]),
    }
}

fn validate_manager(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(manager) = spec["managedBy"].as_str() else {
        return;
    };
    let prefixed = manager
        .split_once('/')
        .filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty());
    match prefixed {
        None => errors.invalid(
            path,
            manager,
            r#"must be a domain-prefixed path (such as "acme.io/foo")"#,
        ),
        Some((domain, _)) => {
            for problem in crate::check::name::subdomain(domain) {
                errors.invalid(path, domain, problem);
            }
        }
    }
    if manager.len() > LONGEST_MANAGER {
        errors.too_long(path, LONGEST_MANAGER);
    }
}

fn validate_indexed(spec: &Value, path: &Path, errors: &mut Errors) {
    let number = |key: &str| spec[key].as_i64();
    let mut at_most = |key: &str, limit: i64, more: &str| {
        if let Some(found) = number(key).filter(|found| *found > limit) {
            errors.invalid(
                &path.child(key),
                found,
                format!("must be less than or equal to {limit}{more}"),
            );
        }
    };
    at_most("parallelism", MOST_INDEXES, " when completion mode is Indexed");
    at_most("maxFailedIndexes", MOST_INDEXES, "");
    let many = number("completions").is_some_and(|n| n > LARGE_COMPLETIONS) && !absent(spec, "backoffLimitPerIndex");
    if many {
        let more = " when completions are above 100000 and used with backoff limit per index";
        at_most("parallelism", LARGE_PARALLELISM, more);
        at_most("maxFailedIndexes", LARGE_FAILED_INDEXES, more);
    }
    if many && absent(spec, "maxFailedIndexes") {
        let detail = "must be specified when completions is above 100000";
        errors.required(&path.child("maxFailedIndexes"), detail);
    }
    match (number("completions"), number("maxFailedIndexes")) {
        (None, _) => errors.required(&path.child("completions"), "when completion mode is Indexed"),
        (Some(completions), Some(failed)) if failed > completions => {
            errors.invalid(
                &path.child("maxFailedIndexes"),
                failed,
                "must be less than or equal to completions",
            );
        }
        _ => {}
    }
}

fn validate_failure_policy(spec: &Value, path: &Path, errors: &mut Errors) {
    let (rules, path) = (items(&spec["podFailurePolicy"]["rules"]), path.child("rules"));
    if rules.len() > MOST_RULES {
        errors.too_many(&path, rules.len(), MOST_RULES);
    }
    let pod = &spec["template"]["spec"];
    let containers = items(&pod["containers"]).iter().chain(items(&pod["initContainers"]));
    let names: HashSet<&str> = containers.map(|container| text(container, "name")).collect();
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        validate_choice(
            rule,
            "action",
            &["Count", "FailIndex", "FailJob", "Ignore"],
            &path,
            errors,
        );
        if rule["action"] == "FailIndex" && absent(spec, "backoffLimitPerIndex") {
            let detail = "requires the backoffLimitPerIndex to be set";
            errors.invalid(&path.child("action"), "FailIndex", detail);
        }
        let (codes, patterns) = (&rule["onExitCodes"], items(&rule["onPodConditions"]));
        if !codes.is_null() {
            validate_exit_codes(codes, &names, &path.child("onExitCodes"), errors);
        }
        validate_patterns(patterns, &path.child("onPodConditions"), errors);
        let count = match (codes.is_null(), patterns.is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(&path, Cause::Unshown, Value::Null, count);
    }
}

/// A field that must be one of `choices`, in the words that the validation of Jobs has for it.
fn validate_choice(object: &Value, key: &str, choices: &[&str], path: &Path, errors: &mut Errors) {
    let found = text(object, key);
    if found.is_empty() {
        let list: Vec<String> = choices.iter().map(|choice| quote(choice)).collect();
        errors.required(&path.child(key), format!("valid values: [{}]", list.join(" ")));
    } else if !choices.contains(&found) {
        errors.not_supported(&path.child(key), found, choices);
    }
}

fn validate_exit_codes(codes: &Value, names: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    validate_choice(codes, "operator", &["In", "NotIn"], path, errors);
    if let Some(name) = codes["containerName"].as_str().filter(|name| !names.contains(name)) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, detail);
    }
    let (values, path) = (items(&codes["values"]), path.child("values"));
    if values.is_empty() {
        errors.invalid(&path, codes["values"].clone(), "at least one value is required");
    } else if values.len() > MOST_EXIT_CODES {
        errors.too_many(&path, values.len(), MOST_EXIT_CODES);
    }
    let mut seen = HashSet::new();
    for (i, value) in values.iter().enumerate() {
        if codes["operator"] == "In" && value.as_i64() == Some(0) {
            errors.invalid(&path.index(i), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(value.as_i64()) {
            errors.duplicate(&path.index(i), value.clone());
        }
    }
    if !values.is_sorted_by_key(Value::as_i64) {
        errors.invalid(&path, codes["values"].clone(), "must be ordered");
    }
}

fn validate_patterns(patterns: &[Value], path: &Path, errors: &mut Errors) {
    if patterns.len() > MOST_PATTERNS {
        errors.too_many(path, patterns.len(), MOST_PATTERNS);
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let path = path.index(i);
        let kind = text(pattern, "type");
        for problem in qualified_name(kind) {
            errors.invalid(&path.child("type"), kind, problem);
        }
        validate_choice(pattern, "status", &["False", "True", "Unknown"], &path, errors);
    }
}

fn validate_success_policy(spec: &Value, path: &Path, errors: &mut Errors) {
    let policy = &spec["successPolicy"];
    if policy.is_null() {
        return;
    }
    if !is_indexed(spec) {
        return errors.invalid(path, policy.clone(), "requires indexed completion mode");
    }
    let (rules, path) = (items(&policy["rules"]), path.child("rules"));
    if rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&path, detail);
    }
    if rules.len() > MOST_RULES {
        errors.too_many(&path, rules.len(), MOST_RULES);
    }
    let completions = spec["completions"].as_i64().unwrap_or(0);
    for (i, rule) in rules.iter().enumerate() {
        validate_success_rule(rule, completions, &path.index(i), errors);
    }
}

fn validate_success_rule(rule: &Value, completions: i64, path: &Path, errors: &mut Errors) {
    if absent(rule, "succeededCount") && absent(rule, "succeededIndexes") {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(path, detail);
    }
    let mut listed = None;
    if let Some(indexes) = rule["succeededIndexes"].as_str() {
        let path = path.child("succeededIndexes");
        if indexes.len() > LONGEST_INDEXES {
            errors.too_long(&path, LONGEST_INDEXES);
        }
        match count_indexes(indexes, completions) {
            Ok(count) => listed = Some(count),
            Err(why) => errors.invalid(&path, indexes, format!("error parsing succeededIndexes: {why}")),
        }
    }
    not_negative(rule, "succeededCount", path, errors);
    let Some(count) = rule["succeededCount"].as_i64() else {
        return;
    };
    let limits = [
        (Some(completions), "the number of specified completions"),
        (listed, "the number of indexes in the specified succeededIndexes field"),
    ];
    for (limit, what) in limits {
        if let Some(limit) = limit.filter(|limit| count > *limit) {
            let detail = format!("must be less than or equal to {limit} ({what})");
            errors.invalid(&path.child("succeededCount"), count, detail);
        }
    }
}

/// How many indexes there are in a list of numbers and ranges in increasing order: `1,3-5,7`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let index = |part: &str| match part.parse::<i64>() {
        Ok(index) if index < completions => Ok(index),
        Ok(_) => Err(format!("too large index: {}", quote(part))),
        Err(_) => Err(format!("cannot convert string to integer for index: {}", quote(part))),
    };
    let decreasing = |before: i64, now: i64| format!("non-increasing order, previous: {before}, current: {now}");
    let (mut total, mut before) = (0, None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let limits: Vec<&str> = part.split('-').collect();
        let (first, last) = match limits[..] {
            [one] => (index(one)?, index(one)?),
            [first, last] => {
                let (first, last) = (index(first)?, index(last)?);
                if first >= last {
                    return Err(decreasing(first, last));
                }
                (first, last)
            }
            _ => {
                return Err(format!(
                    "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
                    quote(part)
                ));
            }
        };
        if let Some(before) = before.filter(|before| *before >= first) {
            return Err(decreasing(before, first));
        }
        total += last - first + 1;
        before = Some(last);
    }
    Ok(total)
}

fn validate_replacement(spec: &Value, path: &Path, errors: &mut Errors) {
    let policies: &[&str] = match absent(spec, "podFailurePolicy") {
        true => &["Failed", "TerminatingOrFailed"],
        false => &["Failed"],
    };
    let policy = &spec["podReplacementPolicy"];
    if let Some(policy) = policy.as_str().filter(|policy| !policies.contains(policy)) {
        errors.not_supported(path, policy, policies);
    }
}

/// The completions of an Indexed Job may change with its parallelism.
fn validate_completions(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    if !is_indexed(spec) {
        return workload::validate_same(spec, old, "completions", path, errors);
    }
    let completions = &spec["completions"];
    if !completions.is_null() && *completions != old["completions"] && *completions != spec["parallelism"] {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.invalid(&path.child("completions"), completions.clone(), detail);
    }
}

/// While a Job is suspended and nothing of it runs, its pods may be directed elsewhere and given other resources.
fn validate_template_update(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (template, mut before) = (&new["spec"]["template"], old["spec"]["template"].clone());
    let status = &old["status"];
    let idle = (absent(status, "startTime") || holds(old, "Suspended")) && status["active"].as_i64().unwrap_or(0) == 0;
    let open = old["spec"]["suspend"] == true && idle;
    if open {
        if let Some(meta) = object(&mut before, "metadata") {
            keep(meta, &template["metadata"], "labels");
            keep(meta, &template["metadata"], "annotations");
        }
        if let Some(pod) = existing(&mut before, "spec") {
            let wanted = &template["spec"];
            for key in ["nodeSelector", "tolerations", "schedulingGates"] {
                keep(pod, wanted, key);
            }
            if let Some(affinity) = object(pod, "affinity") {
                keep(affinity, &wanted["affinity"], "nodeAffinity");
            }
            for list in ["containers", "initContainers"] {
                for (container, wanted) in items_mut(pod, list).zip(items(&wanted[list])) {
                    if container["name"] == wanted["name"] {
                        keep(container, wanted, "resources");
                    }
                }
            }
        }
    }
    if !equal(template, &before) {
        errors.invalid(&path.child("template"), template.clone(), "field is immutable");
    }
}

fn validate_status(job: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    let (status, before) = (&job["status"], &old["status"]);
    workload::validate_counts(job, &["active", "succeeded", "failed", "ready", "terminating"], errors);
    validate_uncounted(
        &status["uncountedTerminatedPods"],
        &path.child("uncountedTerminatedPods"),
        errors,
    );
    let (complete, failed) = (holds(job, "Complete"), holds(job, "Failed"));
    let (target, criteria) = (holds(job, "FailureTarget"), holds(job, "SuccessCriteriaMet"));
    let changed = |key: &str| !equal(&status[key], &before[key]);
    let finished = complete || failed;
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    let ended = finished && !is_finished(old);
    for (wrong, why) in [
        (
            complete && failed,
            "cannot set Complete=True and Failed=true conditions",
        ),
        (
            complete && target,
            "cannot set Complete=True and FailureTarget=true conditions",
        ),
        (
            failed && !target && ended,
            "cannot set Failed=True condition without the FailureTarget=true condition",
        ),
        (
            complete && !criteria && ended,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        ),
        (
            criteria && failed,
            "cannot set SuccessCriteriaMet=True and Failed=true conditions",
        ),
        (
            criteria && target,
            "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
        ),
    ] {
        if wrong {
            errors.push(&path.child("conditions"), Cause::Unshown, Value::Null, why);
        }
    }
    if complete && absent(status, "completionTime") {
        let detail = "completionTime is required for Complete jobs";
        errors.required(&path.child("completionTime"), detail);
    }
    let zero = job["spec"]["suspend"] == true && job["spec"]["completions"] == 0;
    if ended && absent(status, "startTime") && !zero {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
    let value = |key: &str| (path.child(key), status[key].clone());
    for (wrong, (at, value), why) in [
        (
            !complete && !absent(status, "completionTime"),
            value("completionTime"),
            "cannot set completionTime when there is no Complete=True condition",
        ),
        (
            text(status, "completionTime") < text(status, "startTime") && complete,
            value("completionTime"),
            "must be equal to or after `startTime`",
        ),
        (
            !absent(before, "completionTime") && !absent(status, "completionTime") && changed("completionTime"),
            value("completionTime"),
            "field is immutable",
        ),
        (
            finished && count(&status["active"]) > 0 && (ended || changed("active")),
            value("active"),
            "active>0 is invalid for finished job",
        ),
        (
            finished && count(&status["terminating"]) > 0 && (ended || changed("terminating")),
            value("terminating"),
            "terminating>0 is invalid for finished job",
        ),
        (
            count(&status["ready"]) > count(&status["active"]) && changed("ready"),
            value("ready"),
            "cannot set more ready pods than active",
        ),
        (
            count(&status["failed"]) < count(&before["failed"]),
            value("failed"),
            "cannot decrease the failed counter",
        ),
        (
            count(&status["succeeded"]) < count(&before["succeeded"])
                && !(is_indexed(&job["spec"]) && job["spec"]["completions"] == job["spec"]["parallelism"]),
            value("succeeded"),
            "cannot decrease the succeeded counter",
        ),
    ] {
        if wrong {
            errors.invalid(&at, value, why);
        }
    }
    for condition in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if holds(old, condition) && !holds(job, condition) {
            let why = match condition {
                "SuccessCriteriaMet" => "cannot disable the SuccessCriteriaMet=True condition".to_owned(),
                _ => format!("cannot disable the terminal {condition}=True condition"),
            };
            errors.push(&path.child("conditions"), Cause::Unshown, Value::Null, why);
        }
    }
}

fn validate_uncounted(uncounted: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for list in ["succeeded", "failed"] {
        for (i, uid) in items(&uncounted[list]).iter().enumerate() {
            let (uid, at) = (uid.as_str().unwrap_or_default(), path.child(list).index(i));
            if uid.is_empty() {
                errors.invalid(&at, uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&at, uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::tests::find;

    fn good() -> Value {
        json!({
            "metadata": {"name": "j", "namespace": "n"},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}],
            }}},
        })
    }

    /// What is stored for an object that differs from a good one by `change`, and the mistakes in it.
    fn create(change: impl Fn(&mut Value)) -> (Value, Vec<String>) {
        let resource = find("batch", "v1", "jobs").expect("served");
        let mut job = good();
        change(&mut job);
        resource.default(&mut job);
        resource.prepare_create(&mut job, "n");
        resource.identify(&mut job, Timestamp::UNIX_EPOCH);
        let mistakes = resource.validate_create(&job);
        (job, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_job_selects_its_pods_by_its_own_uid() {
        let (job, mistakes) = create(|_| ());
        assert_eq!(mistakes, Vec::<String>::new());
        let uid = &job["metadata"]["uid"];
        assert_eq!(
            job["spec"]["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
        );
        assert_eq!(
            job["spec"]["template"]["metadata"]["labels"],
            json!({"job-name": "j", "batch.kubernetes.io/job-name": "j", "controller-uid": uid, "batch.kubernetes.io/controller-uid": uid})
        );
        let own = |job: &mut Value| {
            job["spec"]["selector"] = json!({"matchLabels": {"app": "x"}});
            job["spec"]["template"]["metadata"] = json!({"labels": {"app": "x"}});
        };
        let (job, mistakes) = create(own);
        let shown = json!({"matchLabels": {"app": "x", "batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}});
        assert_eq!(
            mistakes,
            [format!(
                "spec.selector: Invalid value: {shown}: `selector` not auto-generated"
            )]
        );
        let manual = |job: &mut Value| {
            own(job);
            job["spec"]["manualSelector"] = json!(true);
        };
        assert_eq!(create(manual).1, Vec::<String>::new());
    }

    #[test]
    fn defaults_depend_on_what_is_given() {
        let spec = |change: fn(&mut Value)| create(change).0["spec"].clone();
        let plain = spec(|_| ());
        assert_eq!(
            (&plain["completions"], &plain["parallelism"], &plain["backoffLimit"]),
            (&json!(1), &json!(1), &json!(6))
        );
        assert_eq!(plain["podReplacementPolicy"], "TerminatingOrFailed");
        let queue = spec(|job| job["spec"]["parallelism"] = json!(3));
        assert_eq!(queue["completions"], Value::Null);
        let per_index = spec(|job| job["spec"]["backoffLimitPerIndex"] = json!(1));
        assert_eq!(per_index["backoffLimit"], i32::MAX);
        let policy = spec(|job| {
            job["spec"]["podFailurePolicy"] =
                json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]});
        });
        assert_eq!(policy["podReplacementPolicy"], "Failed");
        assert_eq!(
            policy["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"],
            "True"
        );
    }

    #[test]
    fn mistakes_are_named_in_the_words_of_kubernetes() {
        let rule = |rule: Value| json!({"podFailurePolicy": {"rules": [rule]}});
        for (spec, expected) in [
            (
                json!({"completions": -1}),
                &["spec.completions: Invalid value: -1: must be greater than or equal to 0"][..],
            ),
            (
                json!({"completionMode": "Indexed", "completions": null, "parallelism": 1}),
                &["spec.completions: Required value: when completion mode is Indexed"],
            ),
            (
                json!({"backoffLimitPerIndex": 1}),
                &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0,2-1"}]}}),
                &[
                    r#"spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0,2-1": error parsing succeededIndexes: non-increasing order, previous: 2, current: 1"#,
                ],
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}]}}),
                &[
                    "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
                ],
            ),
            (
                rule(json!({"action": "FailJob"})),
                &[
                    "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                ],
            ),
            (
                rule(
                    json!({"action": "FailIndex", "onExitCodes": {"operator": "In", "containerName": "x", "values": [2, 0, 2]}}),
                ),
                &[
                    r#"spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
                    r#"spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template"#,
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 2",
                    "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0,2]: must be ordered",
                ],
            ),
            (
                json!({"podReplacementPolicy": "Always"}),
                &[
                    r#"spec.podReplacementPolicy: Unsupported value: "Always": supported values: "Failed", "TerminatingOrFailed""#,
                ],
            ),
        ] {
            let change = |job: &mut Value| {
                for (key, value) in spec.as_object().expect("an object") {
                    job["spec"][key] = value.clone();
                }
            };
            assert_eq!(create(change).1, expected);
        }
        let restarts = create(|job| job["spec"]["template"]["spec"]["restartPolicy"] = json!("Always")).1;
        assert_eq!(
            restarts,
            [r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]
        );
    }

    #[test]
    fn only_a_suspended_job_that_does_not_run_can_be_directed_elsewhere() {
        let resource = find("batch", "v1", "jobs").expect("served");
        let (old, _) = create(|job| job["spec"]["suspend"] = json!(true));
        let mistakes = |old: &Value, change: fn(&mut Value)| {
            let mut new = old.clone();
            change(&mut new);
            resource.validate_update(&new, old, None).len()
        };
        let direct = |job: &mut Value| job["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
        let image = |job: &mut Value| job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("j");
        assert_eq!((mistakes(&old, direct), mistakes(&old, image)), (0, 1));
        let mut running = old.clone();
        running["status"] = json!({"startTime": "2024-01-01T00:00:00Z", "active": 1});
        assert_eq!(mistakes(&running, direct), 1);
        assert_eq!(mistakes(&running, |job| job["spec"]["completions"] = json!(2)), 1);
        assert_eq!(mistakes(&running, |job| job["spec"]["parallelism"] = json!(2)), 0);
    }

    #[test]
    fn a_finished_job_stays_finished() {
        let resource = find("batch", "v1", "jobs").expect("served");
        let (mut old, _) = create(|_| ());
        let condition = |kind: &str| json!({"type": kind, "status": "True"});
        let status = |conditions: Value| json!({"startTime": "2024-01-01T00:00:00Z", "conditions": conditions, "completionTime": "2024-01-01T00:00:05Z"});
        let mistakes = |old: &Value, status: Value| -> Vec<String> {
            let mut new = old.clone();
            new["status"] = status;
            let found = resource.validate_update(&new, old, Some("status"));
            found.iter().map(ToString::to_string).collect()
        };
        let done = status(json!([condition("SuccessCriteriaMet"), condition("Complete")]));
        assert_eq!(mistakes(&old, done.clone()), Vec::<String>::new());
        assert_eq!(
            mistakes(&old, status(json!([condition("Complete")]))),
            [
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
            ]
        );
        old["status"] = done;
        assert_eq!(
            mistakes(
                &old,
                json!({"startTime": "2024-01-01T00:00:00Z", "conditions": [condition("SuccessCriteriaMet")]})
            ),
            ["status.conditions: Invalid value: cannot disable the terminal Complete=True condition"]
        );
    }

    #[test]
    fn a_row_shows_progress_and_duration() {
        let row = |change: fn(&mut Value)| {
            let (mut job, _) = create(change);
            job["status"]["startTime"] = json!("1970-01-01T00:00:00Z");
            Job.row(&job, Timestamp::constant(65, 0)).cells
        };
        assert_eq!(row(|_| ())[1..4], [json!("Running"), json!("0/1"), json!("65s")]);
        assert_eq!(row(|job| job["spec"]["parallelism"] = json!(2))[2], "0/1 of 2");
        let (mut done, _) = create(|_| ());
        done["status"] = json!({
            "succeeded": 1, "startTime": "1970-01-01T00:00:00Z", "completionTime": "1970-01-01T00:00:07Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        });
        let cells = Job.row(&done, Timestamp::constant(65, 0)).cells;
        assert_eq!(cells[1..4], [json!("Complete"), json!("1/1"), json!("7s")]);
    }
}
