//! What can be done with pods.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::action::{Argument, Command, Type};
use crate::cluster::{Change, ObjectRef, Read, Write};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::session::{ExecSpec, ForwardSpec, LogSpec, PodTarget, Spec};
use crate::state::{Cx, Effect, Errand, Then};
use crate::view::overlay::{Entry, Field, Form, Picker};
use crate::view::{Logs, Target, Terminal};

pub(super) const LOGS: Command = Command::new(
    "pod.logs",
    &[
        Argument::flag("--previous"),
        Argument::option("--container", Type::Container),
        Argument::flag("--all"),
    ],
    "Follow the logs of the pod",
    logs,
)
.aliases(&["logs"]);
pub(super) const LOGS_REOPEN: Command = Command::new(
    "logs.reopen",
    &[
        Argument::flag("--previous"),
        Argument::option("--container", Type::Container),
        Argument::flag("--pick").hidden(),
    ],
    "Show the log otherwise",
    logs_reopen,
);
pub(super) const SHELL: Command = Command::new(
    "pod.shell",
    &[Argument::option("--container", Type::Container), Argument::verbatim()],
    "Open a shell in the pod",
    shell,
)
.changes()
.aliases(&["sh", "shell"]);
pub(super) const ATTACH: Command = Command::new(
    "pod.attach",
    &[Argument::option("--container", Type::Container)],
    "Attach to the pod's main process",
    attach,
)
.changes();
pub(super) const FORWARD: Command = Command::new(
    "pod.forward",
    &[
        Argument::optional(Type::Ports),
        Argument::option("--port", Type::Text).hidden(),
        Argument::option("--local", Type::Text).hidden(),
    ],
    "Forward a local port into the pod, or to a pod of the service or workload",
    forward,
)
.changes()
.aliases(&["forward"]);
pub(super) const RUN: Command = Command::new(
    "pod.run",
    &[
        Argument::optional(Type::Name),
        Argument::option("--name", Type::Name).hidden(),
        Argument::option("--image", Type::Image),
        Argument::option("--port", Type::Number),
        Argument::option("--command", Type::Text),
        Argument::option("--env", Type::Text),
    ],
    "Run an image",
    run,
)
.changes()
.aliases(&["run"]);

/// Images every embedded cluster can run offline, offered when running one.
const IMAGES: &[&str] = &["gcr.io/kuar-demo/kuard-amd64:blue", "luksa/kubia", "nginx", "busybox"];

/// The full reference of a built-in image that people call by its last word.
fn full_image(name: &str) -> &str {
    match name {
        "kuard" => IMAGES[0],
        "kubia" => IMAGES[1],
        other => other,
    }
}

/// Refuses to open a terminal where no process runs, with the reason.
fn must_run(target: &Target, container: &str) -> Result<()> {
    let object = target.object.value();
    let statuses = [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ]
    .map(|list| {
        object
            .pointer(&format!("/status/{list}"))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    });
    let status = statuses.iter().flatten().find(|status| status["name"] == container);
    let state = status.map(|status| &status["state"]);
    if state.is_some_and(|state| state["running"].is_object()) {
        return Ok(());
    }
    let reason = state
        .and_then(|state| {
            state["waiting"]["reason"]
                .as_str()
                .or(state["terminated"]["reason"].as_str())
        })
        .or(object.pointer("/status/phase").and_then(Value::as_str))
        .unwrap_or("Pending");
    let hint = if reason == "CrashLoopBackOff" {
        "L shows the log of its last run"
    } else {
        "d describes why"
    };
    Err(Error::usage(format!("container {container} is not running: {reason}")).hint(hint))
}

/// Lines read of the past of logs: more than fits no screen, less than fills a network.
const TAIL: u64 = 100_000;
/// Logs that are followed at once: each is a connection of its own.
const MOST_LOGS: usize = 50;

/// One container of a pod, in the order of start.
struct Container {
    name: String,
    note: &'static str,
}

fn containers(target: &Target) -> Vec<Container> {
    let object = target.object.value();
    let mut found = Vec::new();
    for (list, note) in [
        ("containers", ""),
        ("initContainers", "init"),
        ("ephemeralContainers", "ephemeral"),
    ] {
        for container in object
            .pointer(&format!("/spec/{list}"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let note = if note == "init" && container["restartPolicy"] == "Always" {
                "sidecar"
            } else {
                note
            };
            found.push(Container {
                name: container["name"].as_str().unwrap_or_default().to_owned(),
                note,
            });
        }
    }
    found
}

/// The names of a pod's containers, in the order of start; none of anything else.
pub(super) fn container_names(target: &Target) -> Vec<String> {
    match &*target.resource.plural {
        "pods" => containers(target).into_iter().map(|container| container.name).collect(),
        _ => Vec::new(),
    }
}

fn at(target: &Target, container: Option<&str>) -> PodTarget {
    PodTarget {
        cluster: target.id.cluster,
        namespace: target.id.namespace.clone(),
        pod: target.id.name.clone(),
        container: container.map(Arc::from),
    }
}

/// The container of a pod that the cursor is on, where its containers are shown.
fn under_cursor(cx: &Cx<'_>, target: &Target) -> Option<String> {
    let view = cx.state.view();
    let here = view.targets(cx.data).iter().any(|shown| shown.id == target.id);
    view.container().filter(|_| here).map(str::to_owned)
}

/// The container an action is for: as told, the one under the cursor, the only one, or `None` after asking with a picker that runs the line again.
fn container(cx: &mut Cx<'_>, line: &Line, target: &Target) -> Result<Option<String>> {
    let all = containers(target);
    if let Some(name) = line.value("--container") {
        if !all.iter().any(|container| container.name == name) {
            return Err(Error::usage(format!(
                "pod {} has no container {name:?}",
                target.id.name
            )));
        }
        return Ok(Some(name.to_owned()));
    }
    if let Some(name) = under_cursor(cx, target) {
        return Ok(Some(name));
    }
    let mut running = all.iter().filter(|container| container.note != "init");
    match (running.next(), running.next()) {
        (Some(only), None) => return Ok(Some(only.name.clone())),
        (None, _) => return Err(Error::usage(format!("pod {} has no containers", target.id.name))),
        _ => {}
    }
    let entries = all
        .into_iter()
        .map(|container| {
            let mut again = line.clone();
            again.args.insert(0, format!("--container={}", container.name));
            Entry {
                text: container.name,
                doc: container.note.to_owned(),
                line: again,
            }
        })
        .collect();
    cx.overlay(
        Picker::new(&format!("container of {}", target.id.name), entries),
        vec![target.clone()],
    );
    Ok(None)
}

fn logs(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = cx.targets()?;
    let mut sources = Vec::new();
    if let [target] = targets.as_slice()
        && !line.has("--all")
        && &*target.resource.plural == "pods"
    {
        let Some(name) = container(cx, line, target)? else {
            return Ok(());
        };
        sources.push(at(target, Some(&name)));
    } else {
        for target in targets.iter().filter(|target| &*target.resource.plural == "pods") {
            sources.extend(
                containers(target)
                    .iter()
                    .map(|container| at(target, Some(&container.name))),
            );
        }
    }
    if sources.is_empty() {
        return Err(Error::usage("logs come from pods").hint("open its pods with Enter"));
    }
    if sources.len() > MOST_LOGS {
        let many = format!(
            "these are {} containers: {MOST_LOGS} logs are followed at once",
            sources.len()
        );
        return Err(Error::usage(many).hint("mark fewer pods, or name a container with --container"));
    }
    let spec = LogSpec {
        previous: line.has("--previous"),
        follow: !line.has("--previous"),
        tail: Some(TAIL / sources.len() as u64),
        sources,
    };
    let id = cx.state.fresh_session();
    cx.effect(Effect::Open(id, Spec::Logs(spec.clone())));
    cx.push(Logs::new(id, spec, targets));
    Ok(())
}

/// The log view steps aside for another log of the same pods: those it shows, wherever the cursor of the table below it is.
fn logs_reopen(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let targets = cx.targets()?;
    if line.has("--pick") {
        let [target] = targets.as_slice() else {
            return Err(Error::usage("this log has the containers of several pods"));
        };
        let all = containers(target);
        if all.len() < 2 {
            return Err(Error::usage(format!("pod {} has one container only", target.id.name)));
        }
        let entries = all
            .into_iter()
            .map(|container| Entry {
                doc: container.note.to_owned(),
                line: Line::with("logs.reopen", [format!("--container={}", container.name)]),
                text: container.name,
            })
            .collect();
        let title = format!("container of {}", target.id.name);
        cx.overlay(Picker::new(&title, entries), targets);
        return Ok(());
    }
    cx.back()?;
    cx.pinned = targets;
    let again = Line {
        name: "pod.logs".into(),
        args: line.args.clone(),
    };
    logs(cx, &again)
}

fn terminal(cx: &mut Cx<'_>, target: &Target, container: &str, commands: Vec<Vec<String>>, word: &str) {
    let id = cx.state.fresh_session();
    // What the container was made with is what one can attach to.
    let object = target.object.value();
    let all = ["containers", "initContainers", "ephemeralContainers"];
    let lists = all
        .iter()
        .filter_map(|list| object.pointer(&format!("/spec/{list}"))?.as_array());
    let own = lists.flatten().find(|known| known["name"] == container);
    let found = |flag: &str| own.is_some_and(|own| own[flag] == json!(true));
    if commands.is_empty() && !found("stdin") {
        cx.say(format!(
            "container {container} does not read its standard input: keys go nowhere"
        ));
    }
    let spec = ExecSpec {
        target: at(target, Some(container)),
        commands,
        size: (80, 24),
        tty: found("tty"),
        stdin: found("stdin"),
    };
    cx.effect(Effect::Open(id, Spec::Exec(spec)));
    cx.open_tab(Terminal::new(id, format!("{word}:{}", target.id.name)));
}

fn shell(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let target = cx.pod()?;
    let Some(name) = container(cx, line, &target)? else {
        return Ok(());
    };
    must_run(&target, &name)?;
    let command: Vec<String> = line
        .args
        .iter()
        .skip_while(|arg| *arg != "--")
        .skip(1)
        .cloned()
        .collect();
    let commands = if command.is_empty() {
        ["bash", "ash", "sh"]
            .iter()
            .map(|shell| vec![(*shell).to_owned()])
            .collect()
    } else {
        vec![command]
    };
    terminal(cx, &target, &name, commands, "sh");
    Ok(())
}

fn attach(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let target = cx.pod()?;
    let Some(name) = container(cx, line, &target)? else {
        return Ok(());
    };
    must_run(&target, &name)?;
    terminal(cx, &target, &name, Vec::new(), "attach");
    Ok(())
}

/// The ports that an object names, by which a forward may be asked for: of a pod, those of one container when that is meant.
fn ports(target: &Target, container: Option<&str>) -> Vec<String> {
    let object = target.object.value();
    if &*target.resource.plural == "services" {
        let ports = object["spec"]["ports"].as_array().into_iter().flatten();
        return ports
            .filter_map(|port| Some(port["port"].as_u64()?.to_string()))
            .collect();
    }
    let containers = match &*target.resource.plural {
        "pods" => object["spec"]["containers"].as_array(),
        _ => object
            .pointer("/spec/template/spec/containers")
            .and_then(Value::as_array),
    };
    let ports = containers
        .into_iter()
        .flatten()
        .filter(|known| container.is_none_or(|name| known["name"] == name))
        .flat_map(|known| known["ports"].as_array());
    ports
        .flatten()
        .filter_map(|port| Some(port["containerPort"].as_u64()?.to_string()))
        .collect()
}

/// Local port and port, as a line says them; `None` when it does not.
fn wanted_ports(line: &Line) -> Option<(String, String)> {
    match (line.value("--port"), line.first()) {
        (Some(port), _) => Some((line.value("--local").unwrap_or(port).to_owned(), port.to_owned())),
        (None, Some(pair)) => Some(match pair.split_once(':') {
            Some((local, port)) => (local.to_owned(), port.to_owned()),
            None => (pair.to_owned(), pair.to_owned()),
        }),
        (None, None) => None,
    }
}

fn port_number(text: &str, least: u16) -> Result<u16> {
    text.parse::<u16>()
        .ok()
        .filter(|port| *port >= least)
        .ok_or_else(|| Error::usage(format!("{text:?} is not a port number")))
}

fn forward(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let target = cx.target()?;
    let is_pod = &*target.resource.plural == "pods";
    let selector = crate::kind::pod_selector(&target.object.value());
    if !is_pod && selector.is_empty() {
        return Err(Error::usage(format!("{} has no pods to forward to", target.id.name))
            .hint("pods, services and workloads that choose pods have"));
    }
    let Some((local, port)) = wanted_ports(line) else {
        let meant = under_cursor(cx, &target);
        let known = ports(&target, meant.as_deref());
        let first = known.first().cloned().unwrap_or_default();
        let port_field = Field::new("--port", "port", "1-65535")
            .required()
            .choices(known)
            .with(&first);
        let local = Field::new("--local", "local port", "empty: the same number; 0: any free one");
        let title = format!("forward to {}", target.id.name);
        cx.overlay(
            Form::new(&title, Line::bare("pod.forward"), vec![port_field, local]),
            vec![target],
        );
        return Ok(());
    };
    let (local, port) = (port_number(&local, 0)?, port_number(&port, 1)?);
    if is_pod {
        open_forward(cx, &target, at(&target, None), (local, port), "");
        return Ok(());
    }
    let cluster = target.id.cluster;
    let pods = cx.resource("pods")?;
    let read = Read::new(
        pods.path(target.id.namespace()),
        format!("list the pods of {}", target.id.name),
    )
    .param("labelSelector", selector);
    let id = cx.wait_in(cluster, Then::GoOn(Errand::Forward, line.clone(), vec![target]));
    cx.effect(Effect::List(id, cluster, vec![read]));
    Ok(())
}

fn open_forward(cx: &mut Cx<'_>, of: &Target, target: PodTarget, (local, port): (u16, u16), selector: &str) {
    let id = cx.state.fresh_session();
    let to = match selector {
        "" => of.id.name.to_string(),
        _ => format!("{} (pod {})", of.id.name, target.pod),
    };
    let spec = ForwardSpec {
        target,
        port,
        local,
        selector: selector.into(),
    };
    cx.effect(Effect::Open(id, Spec::Forward(spec)));
    cx.say(format!("forwarding to {to}:{port}; `:forwards` lists them"));
}

/// The pods behind a service or a workload are known: one that is ready takes the connections, for as long as it serves.
pub(super) fn forward_to(cx: &mut Cx<'_>, line: &Line, targets: &[Target], pods: &[Value]) -> Result<()> {
    let target = targets
        .first()
        .ok_or_else(|| Error::usage("nothing is selected here"))?;
    let object = target.object.value();
    let is_ready = |pod: &&Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        pod["metadata"]["deletionTimestamp"].is_null()
            && conditions
                .into_iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let pod = pods.iter().find(is_ready).ok_or_else(|| {
        Error::usage(format!("none of {} pods of {} is ready", pods.len(), target.id.name)).hint("w says why")
    })?;
    let (local, port) = wanted_ports(line).ok_or_else(|| Error::usage("forward to which port?"))?;
    let (mut local, port) = (port_number(&local, 0)?, port_number(&port, 1)?);
    let inner = match &*target.resource.plural {
        "services" => pod_port(&object, pod, port)?,
        _ => port,
    };
    // What is asked for is the service's number; the low ones need more rights than users have.
    if local == port && local < 1024 && inner >= 1024 {
        local = inner;
    }
    let place = PodTarget {
        pod: pod["metadata"]["name"].as_str().unwrap_or_default().into(),
        ..at(target, None)
    };
    let selector = crate::kind::pod_selector(&object);
    open_forward(cx, target, place, (local, inner), &selector);
    Ok(())
}

/// The port of a pod that a port of a Service leads to, by number or by name.
fn pod_port(service: &Value, pod: &Value, port: u16) -> Result<u16> {
    let all = service["spec"]["ports"].as_array();
    let found = all.into_iter().flatten().find(|known| known["port"] == port);
    let found = found.ok_or_else(|| {
        let name = service["metadata"]["name"].as_str().unwrap_or_default();
        Error::usage(format!("service {name} has no port {port}"))
    })?;
    let number = match &found["targetPort"] {
        Value::Null => Some(u64::from(port)),
        Value::String(name) => {
            let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            let ports = containers.flat_map(|container| container["ports"].as_array()).flatten();
            let named = ports.into_iter().find(|known| known["name"] == **name);
            named.and_then(|known| known["containerPort"].as_u64())
        }
        number => number.as_u64(),
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| {
        let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
        Error::usage(format!("pod {pod} has no port {}", found["targetPort"])).hint("`:check` looks at every hop")
    })
}

fn run(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let name = line.value("--name").or(line.first());
    let (Some(name), Some(image)) = (name, line.value("--image")) else {
        let title = format!("run an image in namespace {}", cx.namespace());
        let fields = vec![
            Field::new("--name", "name", "lower-case letters, digits and -")
                .required()
                .with(name.unwrap_or_default()),
            Field::new("--image", "image", "for example nginx")
                .required()
                .choices(IMAGES.iter().copied()),
            Field::new("--port", "port", "port the container listens on"),
            Field::new("--command", "command", "instead of the image's own"),
            Field::new("--env", "environment", "KEY=value,KEY=value"),
        ];
        cx.overlay(Form::new(&title, Line::bare("pod.run"), fields), Vec::new());
        return Ok(());
    };
    let image = if cx.data.cluster().embedded {
        full_image(image)
    } else {
        image
    };
    let mut container = json!({"name": name, "image": image});
    if let Some(port) = line.value("--port") {
        let port: u16 = port
            .parse()
            .map_err(|_| Error::usage(format!("{port:?} is not a port number")))?;
        container["ports"] = json!([{"containerPort": port}]);
    }
    if let Some(command) = line.value("--command") {
        let words = Line::parse(command)?;
        let mut argv = vec![words.name];
        argv.extend(words.args);
        container["command"] = json!(argv);
    }
    if let Some(env) = line.value("--env") {
        let pairs: Option<Vec<Value>> = env
            .split(',')
            .map(|pair| {
                pair.trim()
                    .split_once('=')
                    .map(|(key, value)| json!({"name": key, "value": value}))
            })
            .collect();
        container["env"] = json!(pairs.ok_or_else(|| {
            Error::usage(format!("{env:?} is not an environment")).hint("write KEY=value,KEY=value")
        })?);
    }
    let namespace = cx.namespace();
    let resource = cx.resource("pods")?;
    let body = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"run": name}},
        "spec": {"containers": [container]},
    });
    let change = Change {
        target: ObjectRef {
            cluster: cx.data.cluster().id,
            resource,
            namespace: Some(namespace),
            name: name.into(),
            uid: None,
        },
        before: None,
        request: Write::Create(body),
    };
    let plan = cx.plan(line, format!("run {name}"), "created", vec![change])?;
    cx.carry_out(plan, "run", Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_a_service_leads_to_one_of_the_pod_by_number_or_by_name() {
        let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [
            {"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 9000}, {"port": 82}, {"port": 83, "targetPort": "gone"},
        ]}});
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"ports": [{"name": "http", "containerPort": 8080}]},
        ]}});
        for (port, expected) in [
            (80, Some(8080)),
            (81, Some(9000)),
            (82, Some(82)),
            (83, None),
            (84, None),
        ] {
            assert_eq!(pod_port(&service, &pod, port).ok(), expected, "{port}");
        }
    }
}
