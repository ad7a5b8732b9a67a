//! Rollouts: a new template, an old one again, and the pace in between.

use serde_json::{Map, Value, json};

use crate::action::object::{merges, name_of, subject_of};
use crate::action::{Argument, Command, Type};
use crate::cluster::{Change, ObjectRef, Read, Write, subject};
use crate::document::TextLine;
use crate::error::{Error, Result};
use crate::keys::{self, Line};
use crate::kind;
use crate::state::{Cx, Effect, Errand, Then};
use crate::theme::Role;
use crate::view::Target;
use crate::view::overlay::{Field, Form};

pub(super) const RESTART: Command = Command::new(
    "rollout.restart",
    &[],
    "Replace the pods of the workload one after another",
    restart,
)
.changes()
.aliases(&["restart"]);
pub(super) const PAUSE: Command = Command::new("rollout.pause", &[], "Hold the rollout of the deployment", pause)
    .changes()
    .aliases(&["pause"]);
pub(super) const RESUME: Command =
    Command::new("rollout.resume", &[], "Let the rollout of the deployment go on", resume)
        .changes()
        .aliases(&["resume"]);
pub(super) const UNDO: Command = Command::new(
    "rollout.undo",
    &[Argument::option("--to-revision", Type::Number)],
    "Go back to an earlier revision of the workload",
    undo,
)
.changes()
.aliases(&["rollback"]);
pub(super) const IMAGE: Command = Command::new(
    "workload.image",
    &[
        Argument::option("--container", Type::Container),
        Argument::option("--image", Type::Image),
    ],
    "Run another image in a container of the workload",
    image,
)
.changes()
.aliases(&["image"]);
pub(super) const RESOURCES: Command = Command::new(
    "workload.resources",
    &[
        Argument::option("--container", Type::Container),
        Argument::option("--requests", Type::Text),
        Argument::option("--limits", Type::Text),
    ],
    "Change what a container of the workload asks for, and may use",
    resources,
)
.changes()
.aliases(&["resources"]);
pub(super) const ENV: Command = Command::new(
    "workload.env",
    &[
        Argument::many(Type::Label),
        Argument::option("--container", Type::Container),
        Argument::option("--set", Type::Text).hidden(),
    ],
    "Add, change or remove environment variables of the workload",
    env,
)
.changes()
.aliases(&["env"]);
pub(super) const AUTOSCALE: Command = Command::new(
    "workload.autoscale",
    &[
        Argument::option("--min", Type::Number),
        Argument::option("--max", Type::Number),
        Argument::option("--cpu-percent", Type::Number),
    ],
    "Make an autoscaler for the workload",
    autoscale,
)
.changes()
.aliases(&["autoscale"]);

/// Refuses what has no pod template that rolls out.
fn rolling(cx: &Cx<'_>, what: &str, plurals: &[&str]) -> Result<Vec<Target>> {
    let targets = cx.targets()?;
    match targets
        .iter()
        .find(|target| !plurals.contains(&&*target.resource.plural))
    {
        Some(wrong) => Err(Error::usage(format!("{} cannot be {what}", wrong.resource.plural))
            .hint(format!("{} can", plurals.join(", ")))),
        None => Ok(targets),
    }
}

const WORKLOADS: &[&str] = &["deployments", "statefulsets", "daemonsets"];

fn is_paused(target: &Target) -> bool {
    target.object.value()["spec"]["paused"] == true
}

fn restart(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = rolling(cx, "restarted", WORKLOADS)?;
    if let Some(paused) = targets.iter().find(|target| is_paused(target)) {
        return Err(
            Error::usage(format!("{} is paused: it would not restart", name_of(paused)))
                .hint("resume its rollout first"),
        );
    }
    let now = cx.data.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    let changes = merges(&targets, None, |_| patch.clone());
    let plan = cx.plan(line, format!("restart {}", subject_of(&targets)), "restarted", changes)?;
    cx.carry_out(plan, "restart", Vec::new())
}

fn pause(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    hold(cx, line, true)
}

fn resume(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    hold(cx, line, false)
}

fn hold(cx: &mut Cx<'_>, line: &Line, paused: bool) -> Result<()> {
    let (verb, done) = if paused {
        ("pause", "paused")
    } else {
        ("resume", "resumed")
    };
    let targets = rolling(cx, done, &["deployments"])?;
    if let Some(same) = targets.iter().find(|target| is_paused(target) == paused) {
        let is = if paused { "is already paused" } else { "is not paused" };
        return Err(Error::usage(format!("{} {is}", name_of(same))));
    }
    let changes = merges(
        &targets,
        None,
        |_| json!({"spec": {"paused": if paused { json!(true) } else { Value::Null }}}),
    );
    let plan = cx.plan(line, format!("{verb} {}", subject_of(&targets)), done, changes)?;
    cx.carry_out(plan, verb, Vec::new())
}

fn undo(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = rolling(cx, "rolled back", WORKLOADS)?;
    let [target] = targets.as_slice() else {
        return Err(Error::usage("this works on one workload at a time").hint("clear the marks first"));
    };
    if is_paused(target) {
        return Err(
            Error::usage(format!("{} is paused: it cannot be rolled back", name_of(target)))
                .hint("resume its rollout first"),
        );
    }
    let object = target.object.value();
    let cluster = target.id.cluster;
    let keepers = kind::rollout::keepers(&target.resource, &object)
        .ok_or_else(|| Error::usage(format!("{} has no revisions", name_of(target))))?;
    let resource = cx.resource(keepers.plural)?;
    let read = Read::new(
        resource.path(target.id.namespace()),
        format!("list {}", resource.plural),
    )
    .param("labelSelector", keepers.labels);
    let id = cx.wait_in(cluster, Then::GoOn(Errand::Undo, line.clone(), targets));
    cx.effect(Effect::List(id, cluster, vec![read]));
    Ok(())
}

/// The revisions are known: the template of the wanted one becomes the workload's again.
pub(super) fn undo_to(cx: &mut Cx<'_>, line: &Line, targets: &[Target], kept: &[Value]) -> Result<()> {
    let target = targets
        .first()
        .ok_or_else(|| Error::usage("nothing is selected here"))?;
    let object = target.object.value();
    let revisions = kind::rollout::revisions(&object, kept);
    let wanted = match line.value("--to-revision").and_then(|number| number.parse().ok()) {
        Some(0) | None => revisions.iter().find(|revision| !revision.current),
        Some(number) => revisions.iter().find(|revision| revision.number == number),
    };
    let Some(wanted) = wanted else {
        let known: Vec<String> = revisions.iter().map(|revision| revision.number.to_string()).collect();
        return Err(Error::usage(format!("{} has no such revision", name_of(target)))
            .hint(format!("its revisions are {}", known.join(", "))));
    };
    if wanted.current {
        return Err(Error::usage(format!(
            "nothing to do: the template of {} matches revision {}",
            name_of(target),
            wanted.number
        )));
    }
    let mut edited = object.clone();
    edited["spec"]["template"] = wanted.template.clone();
    let done = format!("rolled back to revision {}", wanted.number);
    edit_all(cx, line, "roll back", &done, vec![(target.clone(), object, edited)])
}

/// Makes edits of whole objects, each the user's part of it: what others change meanwhile stays.
fn edit_all(cx: &mut Cx<'_>, line: &Line, verb: &str, done: &str, edits: Vec<(Target, Value, Value)>) -> Result<()> {
    let changes: Vec<Change> = edits
        .into_iter()
        .filter(|(_, base, edited)| base != edited)
        .map(|(target, base, edited)| Cx::change(&target, Write::Edit { base, edited }))
        .collect();
    if changes.is_empty() {
        cx.say("nothing to change: it is so already");
        return Ok(());
    }
    let refs: Vec<&ObjectRef> = changes.iter().map(|change| &change.target).collect();
    let title = format!("{verb} {}", subject(&refs));
    let plan = cx.plan(line, title, done, changes)?;
    cx.carry_out(plan, verb, Vec::new())
}

/// Where the pod spec of an object stands.
fn pod_spec(target: &Target) -> Result<&'static str> {
    Ok(match &*target.resource.plural {
        "pods" => "/spec",
        "cronjobs" => "/spec/jobTemplate/spec/template/spec",
        "deployments" | "statefulsets" | "daemonsets" | "replicasets" | "replicationcontrollers" => {
            "/spec/template/spec"
        }
        plural => {
            return Err(Error::usage(format!("{plural} have no containers to change"))
                .hint("deployments, statefulsets, daemonsets and cronjobs have"));
        }
    })
}

/// The containers of a target's pod spec, in the order of start.
pub(super) fn template_containers(target: &Target) -> Vec<Value> {
    let object = target.object.value();
    let spec = pod_spec(target).ok().and_then(|path| object.pointer(path).cloned());
    let list = |key| spec.as_ref().and_then(|spec| spec[key].as_array().cloned());
    let own = list("containers").unwrap_or_default();
    own.into_iter()
        .chain(list("initContainers").unwrap_or_default())
        .collect()
}

/// The one container meant by a line: as told, or the first.
fn meant(line: &Line, target: &Target) -> Result<(Vec<String>, Value)> {
    pod_spec(target)?;
    let all = template_containers(target);
    let names: Vec<String> = all
        .iter()
        .filter_map(|container| container["name"].as_str())
        .map(str::to_owned)
        .collect();
    let found = match line.value("--container") {
        Some(name) => all.into_iter().find(|container| container["name"] == name),
        None => all.into_iter().next(),
    };
    match found {
        Some(container) => Ok((names, container)),
        None => Err(Error::usage(format!("{} has no such container", name_of(target)))
            .hint(format!("it has {}", names.join(", ")))),
    }
}

/// Changes the containers of this name in the targets' templates.
fn edit_containers(
    cx: &mut Cx<'_>,
    line: &Line,
    (verb, done): (&str, &str),
    change: impl Fn(&mut Value) -> Result<()>,
) -> Result<()> {
    let targets = cx.targets()?;
    let mut edits = Vec::new();
    for target in targets {
        let (_, container) = meant(line, &target)?;
        let path = pod_spec(&target)?;
        let base = target.object.value();
        let mut edited = base.clone();
        for list in ["containers", "initContainers"] {
            let found = edited
                .pointer_mut(&format!("{path}/{list}"))
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .filter(|known| known["name"] == container["name"]);
            for known in found {
                change(known)?;
            }
        }
        edits.push((target, base, edited));
    }
    edit_all(cx, line, verb, done, edits)
}

/// A field that chooses among the containers, when there is a choice.
fn container_field(names: &[String], container: &Value) -> Option<Field> {
    (names.len() > 1).then(|| {
        Field::new("--container", "container", "")
            .choices(names.iter().cloned())
            .with(container["name"].as_str().unwrap_or_default())
    })
}

fn image(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let Some(image) = line.value("--image").map(str::to_owned) else {
        let targets = cx.targets()?;
        let first = targets
            .first()
            .ok_or_else(|| Error::usage("nothing is selected here"))?;
        let (names, container) = meant(line, first)?;
        let now = container["image"].as_str().unwrap_or_default();
        let fields = container_field(&names, &container).into_iter();
        let fields = fields.chain([Field::new("--image", "image", "repository:tag").required().with(now)]);
        let title = format!("image of {}", subject_of(&targets));
        let note = template_containers(first).into_iter().map(|container| {
            TextLine::new()
                .with(Role::Field, container["name"].as_str().unwrap_or_default())
                .with(Role::Dim, "  ")
                .with(Role::Value, container["image"].as_str().unwrap_or_default())
        });
        let form = Form::new(&title, line.clone(), fields.collect()).with_note(note.collect());
        cx.overlay(form, targets);
        return Ok(());
    };
    let done = format!("runs {image}");
    edit_containers(cx, line, ("set the image of", &done), |container| {
        container["image"] = json!(image);
        Ok(())
    })
}

/// `cpu=100m,memory=128Mi` as a map; a quantity of 0 removes.
fn quantities(text: &str) -> Result<Map<String, Value>> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, quantity) = pair.split_once('=').ok_or_else(|| {
                Error::usage(format!("{pair:?} is not a quantity")).hint("write cpu=100m,memory=128Mi")
            })?;
            let (name, quantity) = (name.trim(), quantity.trim());
            crate::text::parse_quantity(quantity)
                .map(|_| (name.to_owned(), json!(quantity)))
                .ok_or_else(|| Error::usage(format!("{quantity:?} is not a quantity of {name}")))
        })
        .collect()
}

fn resources(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let (requests, limits) = (line.value("--requests"), line.value("--limits"));
    if requests.is_none() && limits.is_none() {
        let targets = cx.targets()?;
        let first = targets
            .first()
            .ok_or_else(|| Error::usage("nothing is selected here"))?;
        let (names, container) = meant(line, first)?;
        let now = |list: &str| {
            let map = container["resources"][list].as_object();
            let pairs = map.into_iter().flatten();
            let pairs = pairs.map(|(name, amount)| format!("{name}={}", amount.as_str().unwrap_or_default()));
            pairs.collect::<Vec<_>>().join(",")
        };
        let hint = "cpu=100m,memory=128Mi; 0 removes";
        let fields = container_field(&names, &container).into_iter();
        let fields = fields.chain([
            Field::new("--requests", "requests", hint).with(&now("requests")),
            Field::new("--limits", "limits", hint).with(&now("limits")),
        ]);
        let title = format!("resources of {}", subject_of(&targets));
        cx.overlay(Form::new(&title, line.clone(), fields.collect()), targets);
        return Ok(());
    }
    let wanted = [("requests", requests), ("limits", limits)]
        .into_iter()
        .filter_map(|(list, text)| text.map(|text| quantities(text).map(|map| (list, map))))
        .collect::<Result<Vec<_>>>()?;
    edit_containers(
        cx,
        line,
        ("set the resources of", "given other resources"),
        |container| {
            for (list, map) in &wanted {
                for (name, amount) in map {
                    if crate::text::parse_quantity(amount.as_str().unwrap_or_default()) == Some(0) {
                        if let Some(map) = container["resources"][*list].as_object_mut() {
                            map.shift_remove(name);
                        }
                    } else {
                        container["resources"][*list][name] = amount.clone();
                    }
                }
            }
            Ok(())
        },
    )
}

fn env(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let words: Vec<String> = match line.value("--set") {
        Some(text) => keys::split(text)?,
        None => line
            .args
            .iter()
            .filter(|word| !word.starts_with("--"))
            .cloned()
            .collect(),
    };
    if words.is_empty() {
        let targets = cx.targets()?;
        let first = targets
            .first()
            .ok_or_else(|| Error::usage("nothing is selected here"))?;
        let (names, container) = meant(line, first)?;
        let known: Vec<(String, String)> = container["env"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                Some((
                    entry["name"].as_str()?.to_owned(),
                    entry["value"].as_str().unwrap_or("(from elsewhere)").to_owned(),
                ))
            })
            .collect();
        let note = known.iter().take(8).map(|(name, value)| {
            TextLine::new()
                .with(Role::Field, name)
                .with(Role::Dim, "=")
                .with(Role::Value, &crate::text::cut_end(value, 50))
        });
        let hint = "NAME=value adds or changes, NAME- removes; \"quotes\" keep blanks";
        let choices = known.iter().map(|(name, value)| format!("{name}={value}"));
        let field = Field::new("--set", "change", hint).required().choices(choices);
        let fields = container_field(&names, &container).into_iter().chain([field]).collect();
        let title = format!("environment of {}", subject_of(&targets));
        let form = Form::new(&title, Line::bare(&line.name), fields).with_note(note.collect());
        cx.overlay(form, targets);
        return Ok(());
    }
    edit_containers(
        cx,
        line,
        ("set the environment of", "given another environment"),
        |container| {
            for word in &words {
                set_variable(container, word)?;
            }
            Ok(())
        },
    )
}

/// `NAME=value` sets, `NAME-` removes.
fn set_variable(container: &mut Value, word: &str) -> Result<()> {
    let mut list = container["env"].as_array().cloned().unwrap_or_default();
    match (word.split_once('='), word.strip_suffix('-')) {
        (Some((name, value)), _) if !name.is_empty() => {
            let entry = json!({"name": name, "value": value});
            match list.iter_mut().find(|known| known["name"] == name) {
                Some(known) => *known = entry,
                None => list.push(entry),
            }
        }
        (None, Some(name)) if !name.is_empty() => list.retain(|known| known["name"] != name),
        _ => {
            return Err(Error::usage(format!("{word:?} is not a change"))
                .hint("write NAME=value to add or change, NAME- to remove"));
        }
    }
    container["env"] = Value::Array(list);
    Ok(())
}

fn autoscale(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let target = cx.target()?;
    if !target.resource.has("scale") {
        return Err(Error::usage(format!("{} cannot be scaled", target.resource.plural)));
    }
    let Some(most) = line.value("--max") else {
        let object = target.object.value();
        let now = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        let fields = vec![
            Field::new("--min", "at least", "pods; empty: 1").with(&now.max(1).to_string()),
            Field::new("--max", "at most", "pods")
                .required()
                .with(&(now.max(1) * 3).to_string()),
            Field::new("--cpu-percent", "CPU", "percent of what pods request; empty: 80"),
        ];
        let title = format!("autoscale {}", name_of(&target));
        cx.overlay(Form::new(&title, line.clone(), fields), vec![target]);
        return Ok(());
    };
    let number = |text: &str| {
        text.parse::<u32>()
            .map_err(|_| Error::usage(format!("{text:?} is not a number")))
    };
    let (least, most) = (number(line.value("--min").unwrap_or("1"))?, number(most)?);
    if most < least.max(1) {
        return Err(Error::usage("--max must be larger or equal to --min, and at least 1"));
    }
    let percent = number(line.value("--cpu-percent").unwrap_or("80"))?;
    let name = &*target.id.name;
    let body = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": target.resource.api_version(),
                "kind": &*target.resource.kind,
                "name": name,
            },
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
            }],
        },
    });
    let change = Change {
        target: ObjectRef {
            resource: cx.resource("horizontalpodautoscalers")?,
            uid: None,
            ..ObjectRef::from(&target)
        },
        before: None,
        request: Write::Create(body),
    };
    let title = format!("autoscale {}", name_of(&target));
    let plan = cx.plan(line, title, "created", vec![change])?;
    cx.carry_out(plan, "autoscale", Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubectl_writes_them() {
        let map = quantities("cpu=100m, memory=1Gi").expect("quantities");
        assert_eq!(Value::Object(map), json!({"cpu": "100m", "memory": "1Gi"}));
        assert!(quantities("cpu").is_err());
        assert!(quantities("cpu=many").is_err());
    }

    #[test]
    fn a_variable_is_added_changed_in_its_place_and_removed() {
        let mut container =
            json!({"name": "main", "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}]});
        for word in ["A=x y", "C=3", "B-"] {
            set_variable(&mut container, word).expect(word);
        }
        assert_eq!(
            container["env"],
            json!([{"name": "A", "value": "x y"}, {"name": "C", "value": "3"}])
        );
        assert!(set_variable(&mut container, "nonsense").is_err());
    }
}
