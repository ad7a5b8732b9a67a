//! Opening outlines: of a rollout, of what is tied to an object, of a place; and asking a service for an answer.

use crate::action::{Argument, Command, Type};
use crate::cluster::{Read, encode};
use crate::document::{Document, TextLine};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::kind::outline::Of;
use crate::kind::rollout;
use crate::state::{Cx, Effect, Errand, Review, Then};
use crate::theme::Role;
use crate::view::{OutlineView, Target};

pub(super) const ROLLOUT: Command = Command::new(
    "rollout.open",
    &[],
    "Show how the rollout of the workload goes, and its revisions",
    open_rollout,
)
.aliases(&["rollout", "history"]);
pub(super) const XRAY: Command = Command::new(
    "object.xray",
    &[],
    "Show what the object is tied to, in both directions",
    xray,
)
.aliases(&["xray", "relations"]);
pub(super) const WORKLOADS: Command = Command::new(
    "workloads.open",
    &[],
    "Show the workloads of the namespaces worked in, with their pods",
    workloads,
)
.aliases(&["workloads", "wl"]);
pub(super) const PULSE: Command = Command::new(
    "pulse.open",
    &[],
    "Show what is wrong, the nodes, and what happened lately",
    pulse,
)
.aliases(&["pulse"]);
pub(super) const CHECK: Command = Command::new(
    "service.check",
    &[],
    "Check every hop from the service's name to what answers",
    check,
)
.aliases(&["check"]);
pub(super) const ASK: Command = Command::new(
    "service.ask",
    &[Argument::optional(Type::Number), Argument::option("--path", Type::Text)],
    "Ask a port of the service or pod for an answer, through the API server",
    ask,
)
.aliases(&["ask"]);

fn open_rollout(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    if rollout::keepers(&target.resource, &target.object.value()).is_none() {
        return Err(Error::usage(format!("{} have no rollouts", target.resource.plural))
            .hint("deployments, statefulsets and daemonsets have"));
    }
    cx.push(OutlineView::new(Of::Rollout(target.resource, target.id)));
    Ok(())
}

fn xray(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    cx.push(OutlineView::new(Of::Relations(target.resource, target.id)));
    Ok(())
}

fn check(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    if &*target.resource.plural != "services" || !target.resource.group.is_empty() {
        return Err(Error::usage(format!("{} is not a service", target.id.name)).hint("`:services` lists them"));
    }
    cx.push(OutlineView::new(Of::Check(target.resource, target.id)));
    Ok(())
}

fn workloads(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let place = cx.place();
    cx.push(OutlineView::new(Of::Workloads(place)));
    Ok(())
}

fn pulse(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let place = cx.place();
    cx.push(OutlineView::new(Of::Pulse(place)));
    Ok(())
}

fn ask(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let target = cx.target()?;
    if !target.resource.has("proxy") {
        return Err(Error::usage(format!("{} answer no requests", target.resource.plural)).hint("services and pods do"));
    }
    let object = target.object.value();
    let first = object
        .pointer("/spec/ports/0/port")
        .or_else(|| object.pointer("/spec/containers/0/ports/0/containerPort"))
        .and_then(serde_json::Value::as_u64);
    let port = match (line.first(), first) {
        (Some(port), _) => port.to_owned(),
        (None, Some(port)) => port.to_string(),
        (None, None) => return Err(Error::usage(format!("{} names no port", target.id.name)).hint("`:ask 8080`")),
    };
    let path = line.value("--path").unwrap_or("/").trim_start_matches('/').to_owned();
    let name = encode(&format!("{}:{port}", target.id.name));
    let place = target.resource.path(target.id.namespace());
    let read = Read::new(
        format!("{place}/{name}/proxy/{path}"),
        format!("ask {}:{port}", target.id.name),
    );
    let cluster = target.id.cluster;
    let id = cx.wait_in(cluster, Then::GoOn(Errand::Answer, line.clone(), vec![target]));
    cx.effect(Effect::Get(id, cluster, read));
    Ok(())
}

/// What a service answered.
pub(super) fn answer(cx: &mut Cx<'_>, targets: &[Target], keys: u64, answer: &[u8]) {
    const SHOWN: usize = 64 * 1024;
    let name = targets.first().map_or("it", |target| &target.id.name).to_owned();
    let mut document = Document::new();
    let head = format!("{name} answers with {}", crate::text::count(answer.len(), "byte"));
    document.push(TextLine::new().with(Role::Good, &head));
    let text = String::from_utf8_lossy(&answer[..answer.len().min(SHOWN)]).into_owned();
    for line in text.lines() {
        document.push(TextLine::new().with(Role::Text, line).hanging(2));
    }
    let review = Review {
        title: format!("answer of {name}"),
        document,
        question: None,
    };
    cx.present(keys, head, review);
}
