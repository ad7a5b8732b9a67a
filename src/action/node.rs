//! Nodes: whether they take pods, and how their pods leave.

use serde_json::{Value, json};

use crate::action::object::{merges, name_of, subject_of};
use crate::action::{Argument, Command, Type};
use crate::cluster::{Change, ObjectRef, Pace, Read, Write};
use crate::document::TextLine;
use crate::error::{Error, Result};
use crate::keys::{self, Line};
use crate::state::{Cx, Effect, Errand, Then};
use crate::text;
use crate::theme::Role;
use crate::view::Target;
use crate::view::overlay::{Field, Form};

pub(super) const CORDON: Command = Command::new("node.cordon", &[], "Let the node take no new pods", cordon)
    .changes()
    .aliases(&["cordon"]);
pub(super) const UNCORDON: Command = Command::new("node.uncordon", &[], "Let the node take pods again", uncordon)
    .changes()
    .aliases(&["uncordon"]);
pub(super) const DRAIN: Command = Command::new(
    "node.drain",
    &[
        Argument::flag("--ignore-daemonsets"),
        Argument::flag("--delete-emptydir-data"),
        Argument::flag("--force"),
        Argument::option("--grace-period", Type::Number),
        Argument::option("--daemonsets", Type::Choice(YES_OR_NO)).hidden(),
        Argument::option("--emptydir", Type::Choice(YES_OR_NO)).hidden(),
        Argument::option("--unmanaged", Type::Choice(YES_OR_NO)).hidden(),
    ],
    "Cordon the node, and evict its pods as disruption budgets allow",
    drain,
)
.changes()
.aliases(&["drain"]);
pub(super) const TAINT: Command = Command::new(
    "node.taint",
    &[
        Argument::many(Type::Text),
        Argument::option("--set", Type::Text).hidden(),
    ],
    "Add, change or remove taints of the node",
    taint,
)
.changes()
.aliases(&["taint"]);
pub(super) const EVICT: Command = Command::new("pod.evict", &[], "Evict the pod as disruption budgets allow", evict)
    .changes()
    .aliases(&["evict"]);

const YES_OR_NO: &[&str] = &["yes", "no"];

/// Nodes, and nothing else.
fn nodes(cx: &Cx<'_>) -> Result<Vec<Target>> {
    let targets = cx.targets()?;
    match targets.iter().find(|target| &*target.resource.plural != "nodes") {
        Some(wrong) => Err(Error::usage(format!("{} is not a node", wrong.id.name)).hint("`:nodes` lists them")),
        None => Ok(targets),
    }
}

fn cordon(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    set_schedulable(cx, line, false)
}

fn uncordon(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    set_schedulable(cx, line, true)
}

fn is_cordoned(target: &Target) -> bool {
    target.object.value()["spec"]["unschedulable"] == true
}

fn cordoning(targets: &[Target], cordoned: bool) -> Vec<Change> {
    merges(
        targets,
        None,
        |_| json!({"spec": {"unschedulable": if cordoned { json!(true) } else { Value::Null }}}),
    )
}

fn set_schedulable(cx: &mut Cx<'_>, line: &Line, schedulable: bool) -> Result<()> {
    let (verb, done) = if schedulable {
        ("uncordon", "uncordoned")
    } else {
        ("cordon", "cordoned")
    };
    let targets: Vec<Target> = nodes(cx)?
        .into_iter()
        .filter(|target| is_cordoned(target) == schedulable)
        .collect();
    if targets.is_empty() {
        cx.say(format!("already {done}"));
        return Ok(());
    }
    let changes = cordoning(&targets, !schedulable);
    let plan = cx.plan(line, format!("{verb} {}", subject_of(&targets)), done, changes)?;
    cx.carry_out(plan, verb, Vec::new())
}

/// How a node is drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    ignore_daemonsets: bool,
    delete_emptydir_data: bool,
    force: bool,
    grace: Option<u32>,
}

impl Options {
    fn of(line: &Line) -> Self {
        let yes = |flag: &str, field: &str| line.has(flag) || line.value(field) == Some("yes");
        Self {
            ignore_daemonsets: yes("--ignore-daemonsets", "--daemonsets"),
            delete_emptydir_data: yes("--delete-emptydir-data", "--emptydir"),
            force: yes("--force", "--unmanaged"),
            grace: line.value("--grace-period").and_then(|seconds| seconds.parse().ok()),
        }
    }
}

fn drain(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = nodes(cx)?;
    if line.args.is_empty() {
        let choice = |flag, label, hint, known| {
            Field::new(flag, label, hint)
                .choices(YES_OR_NO.iter().copied())
                .with(known)
        };
        let fields = vec![
            choice(
                "--daemonsets",
                "ignore DaemonSets",
                "their pods stay, and the drain goes on",
                "yes",
            ),
            choice(
                "--emptydir",
                "lose emptyDir data",
                "evict pods that keep data in an emptyDir",
                "no",
            ),
            choice(
                "--unmanaged",
                "lose bare pods",
                "evict pods that nothing makes again",
                "no",
            ),
            Field::new("--grace-period", "grace", "seconds; empty: as each pod says"),
        ];
        let title = format!("drain {}", subject_of(&targets));
        cx.overlay(Form::new(&title, line.clone(), fields), targets);
        return Ok(());
    }
    let cluster = targets.first().map_or(cx.data.cluster().id, |target| target.id.cluster);
    let pods = cx.resource("pods")?;
    let reads = targets.iter().map(|target| {
        let read = Read::new(pods.path(None), format!("list the pods on {}", target.id.name));
        read.param("fieldSelector", format!("spec.nodeName={}", target.id.name))
    });
    let reads = reads.collect();
    let id = cx.wait_in(cluster, Then::GoOn(Errand::Drain, line.clone(), targets));
    cx.effect(Effect::List(id, cluster, reads));
    Ok(())
}

/// What a drain does with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Evict,
    /// It stays, and that is as it should be.
    Stays(&'static str),
    /// It must be said what becomes of it.
    Blocks(&'static str),
}

/// What `kubectl drain` would do with a pod.
fn verdict(pod: &Value, options: Options) -> Verdict {
    if pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string() {
        return Verdict::Stays("static pods of the node");
    }
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let controller = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    if controller.is_some_and(|owner| owner["kind"] == "DaemonSet") {
        return match options.ignore_daemonsets {
            true => Verdict::Stays("pods of DaemonSets"),
            false => Verdict::Blocks("pods of DaemonSets (ignore DaemonSets)"),
        };
    }
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return Verdict::Evict;
    }
    if controller.is_none() && !options.force {
        return Verdict::Blocks("pods that nothing makes again (lose bare pods)");
    }
    let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    if volumes.any(|volume| volume["emptyDir"].is_object()) && !options.delete_emptydir_data {
        return Verdict::Blocks("pods with local storage (lose emptyDir data)");
    }
    Verdict::Evict
}

fn pod_ref(target: &Target, resource: &std::sync::Arc<crate::cluster::Resource>, pod: &Value) -> ObjectRef {
    let word = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
    ObjectRef {
        cluster: target.id.cluster,
        resource: resource.clone(),
        namespace: Some(word("/metadata/namespace").into()),
        name: word("/metadata/name").into(),
        uid: Some(word("/metadata/uid").into()),
    }
}

/// The pods are known: what goes, what stays, and what must be decided first.
pub(super) fn drain_of(cx: &mut Cx<'_>, line: &Line, targets: &[Target], pods: &[Vec<Value>]) -> Result<()> {
    let options = Options::of(line);
    let resource = cx.resource("pods")?;
    let first = targets
        .first()
        .ok_or_else(|| Error::usage("nothing is selected here"))?;
    let mut groups: std::collections::BTreeMap<(bool, &'static str), Vec<String>> = Default::default();
    let mut evictions = Vec::new();
    for pod in pods.iter().flatten() {
        let target = pod_ref(first, &resource, pod);
        let name = target.qualified_name();
        match verdict(pod, options) {
            Verdict::Evict => evictions.push(Change {
                target,
                before: Some(pod.clone()),
                request: Write::Evict { grace: options.grace },
            }),
            Verdict::Stays(why) => groups.entry((false, why)).or_default().push(name),
            Verdict::Blocks(why) => groups.entry((true, why)).or_default().push(name),
        }
    }
    let named = |names: &[String]| text::cut_end(&names.join(", "), 200).into_owned();
    let blocks: Vec<_> = groups.iter().filter(|((blocks, _), _)| *blocks).collect();
    if !blocks.is_empty() {
        let error = Error::usage(format!(
            "{} cannot be drained so: nothing was changed",
            subject_of(targets)
        ));
        return Err(blocks.into_iter().fold(error, |error, ((_, why), names)| {
            error.hint(format!("{why}: {}", named(names)))
        }));
    }
    let mut impact = vec![TextLine::new().with(
        Role::Strong,
        &match evictions.len() {
            0 => "No pod has to go.".to_owned(),
            many => format!(
                "{} evicted; disruption budgets are waited for.",
                text::count(many, "pod")
            ),
        },
    )];
    let names: Vec<String> = evictions.iter().map(|change| change.target.qualified_name()).collect();
    if !names.is_empty() {
        impact.push(TextLine::new().with(Role::Text, &named(&names)));
    }
    impact.extend(
        groups
            .iter()
            .map(|((_, why), names)| TextLine::new().with(Role::Dim, &format!("{why} stay: {}", named(names)))),
    );
    let title = format!("drain {}", subject_of(targets));
    // A node takes no new pods before the first has left it.
    let cordons = cordoning(targets, true);
    let alone = cordons.len() == 1;
    let mut plan = cx.plan(line, title, "drained", cordons.into_iter().chain(evictions).collect())?;
    plan.pace = if alone { Pace::AfterFirst } else { Pace::InTurn };
    let question = cx.question(plan, "drain", Vec::new(), impact);
    cx.overlay(question, Vec::new());
    Ok(())
}

fn evict(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = cx.targets()?;
    if let Some(wrong) = targets.iter().find(|target| &*target.resource.plural != "pods") {
        return Err(Error::usage(format!("{} is not a pod", name_of(wrong))));
    }
    let changes = targets
        .iter()
        .map(|target| Cx::change(target, Write::Evict { grace: None }))
        .collect();
    let plan = cx.plan(line, format!("evict {}", subject_of(&targets)), "evicted", changes)?;
    let budget = "A disruption budget may hold it: then it is asked again until it goes. C-c stops.";
    let impact = vec![TextLine::new().with(Role::Text, budget)];
    let question = cx.question(plan, "evict", targets, impact);
    cx.overlay(question, Vec::new());
    Ok(())
}

/// `key=value:Effect`, `key:Effect`; with `-` at its end it removes, and then the effect may be left out.
fn tainted(taints: &mut Vec<Value>, word: &str) -> Result<()> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let wrong = || {
        Error::usage(format!("{word:?} is not a taint"))
            .hint("write key=value:NoSchedule (or PreferNoSchedule, NoExecute), and key:NoSchedule- or key- to remove")
    };
    if let Some(word) = word.strip_suffix('-') {
        let (key, effect) = word
            .split_once(':')
            .map_or((word, None), |(key, effect)| (key, Some(effect)));
        let key = key.split('=').next().unwrap_or_default();
        let before = taints.len();
        taints.retain(|taint| taint["key"] != key || effect.is_some_and(|effect| taint["effect"] != effect));
        if before == taints.len() {
            return Err(Error::usage(format!("taint {word:?} not found")));
        }
        return Ok(());
    }
    let (pair, effect) = word.rsplit_once(':').ok_or_else(wrong)?;
    if !EFFECTS.contains(&effect) {
        return Err(wrong());
    }
    let (key, value) = pair
        .split_once('=')
        .map_or((pair, None), |(key, value)| (key, Some(value)));
    if key.is_empty() {
        return Err(wrong());
    }
    let mut taint = json!({"key": key, "effect": effect});
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        taint["value"] = json!(value);
    }
    match taints
        .iter_mut()
        .find(|known| known["key"] == key && known["effect"] == effect)
    {
        Some(known) => *known = taint,
        None => taints.push(taint),
    }
    Ok(())
}

fn taint(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = nodes(cx)?;
    let words = match line.value("--set") {
        Some(text) => keys::split(text)?,
        None => line.args.clone(),
    };
    let taints_of = |object: &Value| object["spec"]["taints"].as_array().cloned().unwrap_or_default();
    if words.is_empty() {
        let word = |taint: &Value| {
            let text = |key: &str| taint[key].as_str().unwrap_or_default().to_owned();
            let value = Some(text("value")).filter(|value| !value.is_empty());
            format!(
                "{}{}:{}",
                text("key"),
                value.map_or_else(String::new, |value| format!("={value}")),
                text("effect")
            )
        };
        let known: std::collections::BTreeSet<String> = targets
            .iter()
            .flat_map(|target| taints_of(&target.object.value()))
            .map(|taint| word(&taint))
            .collect();
        let note = known
            .iter()
            .map(|taint| TextLine::new().with(Role::Value, taint))
            .collect();
        let hint = "key=value:NoSchedule adds or changes, key:NoSchedule- or key- removes";
        let field = Field::new("--set", "change", hint)
            .required()
            .choices(known.iter().map(|taint| format!("{taint}-")));
        let title = format!("taint {}", subject_of(&targets));
        cx.overlay(Form::new(&title, line.clone(), vec![field]).with_note(note), targets);
        return Ok(());
    }
    let mut changes = Vec::new();
    for target in &targets {
        let base = target.object.value();
        let mut taints = taints_of(&base);
        for word in &words {
            tainted(&mut taints, word)?;
        }
        let mut edited = base.clone();
        edited["spec"]["taints"] = Value::Array(taints);
        changes.push(Cx::change(target, Write::Edit { base, edited }));
    }
    let plan = cx.plan(line, format!("taint {}", subject_of(&targets)), "tainted", changes)?;
    let drives_out = words.iter().any(|word| word.ends_with(":NoExecute"));
    if !drives_out {
        return cx.carry_out(plan, "taint", Vec::new());
    }
    let impact = vec![TextLine::new().with(Role::Danger, "Pods that do not tolerate NoExecute are evicted at once.")];
    let question = cx.question(plan, "taint", targets, impact);
    cx.overlay(question, Vec::new());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_judges_pods_as_kubectl_does() {
        let pod = |extra: Value| {
            let mut pod = json!({"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Running"}});
            for (key, value) in extra.as_object().expect("a map") {
                pod[key] = value.clone();
            }
            pod
        };
        let owned = |kind: &str| json!({"ownerReferences": [{"controller": true, "kind": kind}]});
        let none = Options::default();
        let all = Options {
            ignore_daemonsets: true,
            delete_emptydir_data: true,
            force: true,
            grace: None,
        };
        let scratch = json!({"volumes": [{"name": "s", "emptyDir": {}}]});
        let mirror = json!({"annotations": {"kubernetes.io/config.mirror": "x"}});
        let cases = [
            (json!({"metadata": owned("ReplicaSet")}), "evict", "evict"),
            (json!({"metadata": owned("DaemonSet")}), "blocks", "stays"),
            (json!({"metadata": mirror}), "stays", "stays"),
            (json!({}), "blocks", "evict"),
            (json!({"status": {"phase": "Succeeded"}}), "evict", "evict"),
            (
                json!({"metadata": owned("ReplicaSet"), "spec": scratch}),
                "blocks",
                "evict",
            ),
        ];
        for (extra, plain, with_all) in cases {
            for (options, expected) in [(none, plain), (all, with_all)] {
                let told = match verdict(&pod(extra.clone()), options) {
                    Verdict::Evict => "evict",
                    Verdict::Stays(_) => "stays",
                    Verdict::Blocks(_) => "blocks",
                };
                assert_eq!(told, expected, "{extra}");
            }
        }
    }

    #[test]
    fn taints_are_written_as_kubectl_writes_them() {
        let mut taints = vec![json!({"key": "gpu", "value": "yes", "effect": "NoSchedule"})];
        tainted(&mut taints, "gpu=no:NoSchedule").expect("changed");
        tainted(&mut taints, "gpu:NoExecute").expect("added");
        assert_eq!(
            taints,
            [
                json!({"key": "gpu", "value": "no", "effect": "NoSchedule"}),
                json!({"key": "gpu", "effect": "NoExecute"}),
            ]
        );
        tainted(&mut taints, "gpu:NoExecute-").expect("removed");
        assert_eq!(taints.len(), 1);
        tainted(&mut taints, "gpu-").expect("removed");
        assert!(taints.is_empty());
        for wrong in ["gpu", "gpu=yes", "gpu:Sometimes", ":NoSchedule", "gone-"] {
            assert!(tainted(&mut taints, wrong).is_err(), "{wrong}");
        }
    }
}
