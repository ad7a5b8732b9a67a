//! Jobs and CronJobs, and pods that have finished or are taken out of service.

use serde_json::{Value, json};

use crate::action::Command;
use crate::action::object::{merges, name_of, subject_of};
use crate::cluster::{Change, ObjectRef, Read, Write};
use crate::document::TextLine;
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::state::{Cx, Effect, Errand, Then};
use crate::text;
use crate::theme::Role;
use crate::view::Target;

pub(super) const TRIGGER: Command = Command::new(
    "job.trigger",
    &[],
    "Make a Job of the CronJob now, or run the Job again",
    trigger,
)
.changes()
.aliases(&["trigger", "rerun"]);
pub(super) const SUSPEND: Command = Command::new(
    "job.suspend",
    &[],
    "Let the CronJob start no Jobs, or the Job no pods",
    suspend,
)
.changes()
.aliases(&["suspend"]);
pub(super) const UNSUSPEND: Command = Command::new("job.unsuspend", &[], "Let the CronJob or Job go on", unsuspend)
    .changes()
    .aliases(&["unsuspend"]);
pub(super) const SANITIZE: Command = Command::new(
    "pod.sanitize",
    &[],
    "Delete the pods that have finished, of the namespaces worked in",
    sanitize,
)
.changes()
.aliases(&["sanitize"]);
pub(super) const DETACH: Command = Command::new(
    "pod.detach",
    &[],
    "Take the pod's labels away, so that its controller and its services let it go",
    detach,
)
.changes()
.aliases(&["detach"]);

/// Longest name of a Job: its pods' names and labels are made from it.
const LONGEST: usize = 63;

fn job_like(cx: &Cx<'_>) -> Result<Vec<Target>> {
    let targets = cx.targets()?;
    let other = |target: &&Target| !matches!(&*target.resource.plural, "jobs" | "cronjobs");
    match targets.iter().find(other) {
        Some(wrong) => Err(Error::usage(format!(
            "{} is neither a Job nor a CronJob",
            name_of(wrong)
        ))),
        None => Ok(targets),
    }
}

/// A Job from the template of a CronJob, or from another Job.
fn job_from(target: &Target, stamp: i64) -> Value {
    let object = target.object.value();
    let is_cron = &*target.resource.plural == "cronjobs";
    let word = if is_cron { "manual" } else { "rerun" };
    let tail = format!("-{word}-{stamp}");
    let room = LONGEST - tail.len();
    let head: String = target.id.name.chars().take(room).collect();
    let name = format!("{}{tail}", head.trim_end_matches(['-', '.']));
    if is_cron {
        let template = &object["spec"]["jobTemplate"];
        let mut annotations = template["metadata"]["annotations"].clone();
        annotations["cronjob.kubernetes.io/instantiate"] = json!("manual");
        return json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "annotations": annotations,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": &*target.id.name,
                    "uid": &*target.id.uid,
                    "controller": true,
                }],
            },
            "spec": template["spec"],
        });
    }
    let mut spec = object["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        // What ties the template to the pods of the job it was.
        spec.shift_remove("selector");
        spec.shift_remove("manualSelector");
        spec.shift_remove("suspend");
    }
    let mut labels = object["metadata"]["labels"].clone();
    for labels in [Some(&mut labels), spec.pointer_mut("/template/metadata/labels")] {
        if let Some(labels) = labels.and_then(Value::as_object_mut) {
            labels.retain(|key, _| {
                let key = key.strip_prefix("batch.kubernetes.io/").unwrap_or(key);
                !matches!(key, "controller-uid" | "job-name")
            });
        }
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    })
}

fn trigger(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = job_like(cx)?;
    let jobs = cx.resource("jobs")?;
    let stamp = cx.data.now().as_second();
    let changes = targets.iter().map(|target| {
        let body = job_from(target, stamp);
        Change {
            target: ObjectRef {
                resource: jobs.clone(),
                name: body["metadata"]["name"].as_str().unwrap_or_default().into(),
                uid: None,
                ..ObjectRef::from(target)
            },
            before: None,
            request: Write::Create(body),
        }
    });
    let changes = changes.collect();
    let plan = cx.plan(line, format!("trigger {}", subject_of(&targets)), "created", changes)?;
    cx.carry_out(plan, "trigger", Vec::new())
}

fn suspend(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    set_suspended(cx, line, true)
}

fn unsuspend(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    set_suspended(cx, line, false)
}

fn set_suspended(cx: &mut Cx<'_>, line: &Line, suspended: bool) -> Result<()> {
    let (verb, done) = if suspended {
        ("suspend", "suspended")
    } else {
        ("resume", "resumed")
    };
    let targets: Vec<Target> = job_like(cx)?
        .into_iter()
        .filter(|target| (target.object.value()["spec"]["suspend"] == true) != suspended)
        .collect();
    if targets.is_empty() {
        cx.say(if suspended {
            "already suspended"
        } else {
            "not suspended"
        });
        return Ok(());
    }
    let changes = merges(&targets, None, |_| json!({"spec": {"suspend": suspended}}));
    let plan = cx.plan(line, format!("{verb} {}", subject_of(&targets)), done, changes)?;
    let running = targets.iter().any(|target| &*target.resource.plural == "jobs");
    if !suspended || !running {
        return cx.carry_out(plan, verb, Vec::new());
    }
    let impact = vec![TextLine::new().with(Role::Danger, "The pods of a Job that is suspended are deleted.")];
    let question = cx.question(plan, verb, targets, impact);
    cx.overlay(question, Vec::new());
    Ok(())
}

fn sanitize(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let pods = cx.resource("pods")?;
    let cluster = cx.data.cluster().id;
    let named = cx.state.namespaces.named();
    let spaces: Vec<Option<&str>> = match named.is_empty() {
        true => vec![None],
        false => named.iter().map(|name| Some(&**name)).collect(),
    };
    let reads = spaces.iter().flat_map(|space| {
        ["Succeeded", "Failed"].map(|phase| {
            Read::new(pods.path(*space), "list finished pods").param("fieldSelector", format!("status.phase={phase}"))
        })
    });
    let reads = reads.collect();
    let id = cx.wait_in(cluster, Then::GoOn(Errand::Sanitize, line.clone(), Vec::new()));
    cx.effect(Effect::List(id, cluster, reads));
    Ok(())
}

/// The finished pods are known: they are named, and deleted after asking.
pub(super) fn sanitize_all(cx: &mut Cx<'_>, line: &Line, pods: &[Vec<Value>]) -> Result<()> {
    let resource = cx.resource("pods")?;
    let cluster = cx.data.cluster().id;
    let word = |pod: &Value, path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let changes: Vec<Change> = pods
        .iter()
        .flatten()
        .map(|pod| Change {
            target: ObjectRef {
                cluster,
                resource: resource.clone(),
                namespace: Some(word(pod, "/metadata/namespace").into()),
                name: word(pod, "/metadata/name").into(),
                uid: Some(word(pod, "/metadata/uid").into()),
            },
            before: Some(pod.clone()),
            request: Write::Delete {
                propagation: "Background",
                grace: None,
            },
        })
        .collect();
    if changes.is_empty() {
        cx.say("no pod has finished here");
        return Ok(());
    }
    let names: Vec<String> = changes.iter().map(|change| change.target.qualified_name()).collect();
    let failed = pods
        .iter()
        .flatten()
        .filter(|pod| pod["status"]["phase"] == "Failed")
        .count();
    let mut impact = vec![TextLine::new().with(Role::Strong, &text::cut_end(&names.join(", "), 300))];
    if failed > 0 {
        let said = format!("{} failed: their logs go with them.", text::count(failed, "pod"));
        impact.push(TextLine::new().with(Role::Warning, &said));
    }
    let title = format!("delete {}", text::count(changes.len(), "finished pod"));
    let plan = cx.plan(line, title, "deleted", changes)?;
    let question = cx.question(plan, "delete", Vec::new(), impact);
    cx.overlay(question, Vec::new());
    Ok(())
}

fn detach(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let target = cx.pod()?;
    let object = target.object.value();
    let owners = object["metadata"]["ownerReferences"].as_array();
    let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    let Some(owner) = owner else {
        return Err(Error::usage(format!(
            "{} has no controller to be taken from",
            name_of(&target)
        )));
    };
    let labels = object["metadata"]["labels"].as_object();
    let gone: serde_json::Map<String, Value> = labels
        .into_iter()
        .flatten()
        .map(|(key, _)| (key.clone(), Value::Null))
        .collect();
    let word = |key: &str| owner[key].as_str().unwrap_or_default().to_owned();
    let done = format!(
        "taken out of {} {}, which makes another one",
        word("kind"),
        word("name")
    );
    let changes = merges(
        std::slice::from_ref(&target),
        None,
        |_| json!({"metadata": {"labels": gone}}),
    );
    let plan = cx.plan(line, format!("detach {}", name_of(&target)), done, changes)?;
    cx.carry_out(plan, "detach", Vec::new())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::{ClusterId, Discovery, Resource};
    use crate::store::{Object, ObjectId};

    fn target(plural: &str, object: &Value) -> Target {
        let id = ObjectId {
            cluster: ClusterId(1),
            namespace: "shop".into(),
            name: object["metadata"]["name"].as_str().expect("a name").into(),
            uid: "u".into(),
        };
        let pods = Discovery::built_in().find("pods").expect("known").clone();
        Target {
            resource: Arc::new(Resource {
                plural: plural.into(),
                ..Resource::clone(&pods)
            }),
            object: Arc::new(Object::new(id.clone(), "1", &object.to_string())),
            id,
        }
    }

    #[test]
    fn a_job_made_of_a_cronjob_belongs_to_it_and_says_that_a_hand_made_it() {
        let cron = json!({
            "metadata": {"name": "a".repeat(60)},
            "spec": {"jobTemplate": {"metadata": {"labels": {"app": "x"}}, "spec": {"backoffLimit": 2}}},
        });
        let job = job_from(&target("cronjobs", &cron), 1_800_000_000);
        let name = job["metadata"]["name"].as_str().expect("a name");
        assert!(name.len() <= LONGEST && name.ends_with("-manual-1800000000"), "{name}");
        assert_eq!(
            job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"],
            "manual"
        );
        assert_eq!(job["metadata"]["ownerReferences"][0]["controller"], true);
        assert_eq!(job["metadata"]["labels"]["app"], "x");
        assert_eq!(job["spec"]["backoffLimit"], 2);
    }

    #[test]
    fn a_job_that_runs_again_chooses_its_own_pods() {
        let old = json!({
            "metadata": {"name": "once", "labels": {"batch.kubernetes.io/job-name": "once", "app": "x"}},
            "spec": {
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": {"controller-uid": "u", "job-name": "once", "app": "x"}}},
            },
        });
        let job = job_from(&target("jobs", &old), 7);
        assert_eq!(job["metadata"]["name"], "once-rerun-7");
        assert_eq!(job["metadata"]["labels"], json!({"app": "x"}));
        assert_eq!(job["spec"]["template"]["metadata"]["labels"], json!({"app": "x"}));
        assert!(job["spec"]["selector"].is_null());
    }
}
