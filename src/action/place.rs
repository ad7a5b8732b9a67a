//! Where to work: namespaces and contexts.

use std::sync::Arc;

use crate::action::{self, Argument, Command, Type};
use crate::cluster::{Change, Namespaces, ObjectRef, Place, Write};
use crate::error::Result;
use crate::keys::Line;
use crate::state::{Cx, Effect, Level};
use crate::store::{Need, Query};
use crate::view::overlay::{Entry, Field, Form, Picker};
use crate::view::{Browser, Data};

pub(super) const NAMESPACES: Command = Command::new("namespace.pick", &[], "Choose a namespace", namespaces);
pub(super) const NAMESPACE_SET: Command = Command::new(
    "namespace.set",
    &[Argument::optional(Type::Namespace), Argument::flag("-A")],
    "Work in a namespace or in several (`a,b`), or list them",
    namespace_set,
)
.aliases(&["ns", "namespace", "namespaces"]);
pub(super) const NAMESPACE_ALL: Command = Command::new("namespace.all", &[], "Work in all namespaces", namespace_all);
pub(super) const NAMESPACE_CREATE: Command = Command::new(
    "namespace.create",
    &[
        Argument::optional(Type::Name),
        Argument::option("--name", Type::Name).hidden(),
    ],
    "Create a namespace",
    namespace_create,
)
.changes();
pub(super) const CONTEXTS: Command = Command::new("context.pick", &[], "Choose a context of the kubeconfig", contexts);
pub(super) const CONTEXT_SET: Command = Command::new(
    "context.set",
    &[Argument::optional(Type::Context)],
    "Connect to a context, or choose one",
    context_set,
)
.aliases(&["ctx", "context", "contexts"]);

/// Names of the namespaces that are known now; without the right to list them, the context's own.
pub(super) fn known_namespaces(data: &dyn Data) -> Vec<String> {
    let mut names: Vec<String> = match data.discovery().find("namespaces") {
        Some(resource) => {
            let place = Place::new(data.cluster().id, Namespaces::all());
            let need = Need::all(Query::new(resource.clone(), place));
            data.listing(&need).iter().map(|row| row.id.name.to_string()).collect()
        }
        None => Vec::new(),
    };
    let own = data.cluster().namespace.to_string();
    if !own.is_empty() && !names.contains(&own) {
        names.push(own);
    }
    names
}

fn namespaces(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let mut entries = vec![Entry {
        text: "all namespaces".into(),
        doc: String::new(),
        line: Line::bare("namespace.all"),
    }];
    entries.extend(known_namespaces(cx.data).into_iter().map(|name| Entry {
        line: Line::with("namespace.set", [&name]),
        text: name,
        doc: String::new(),
    }));
    cx.overlay(Picker::new("namespace", entries), Vec::new());
    Ok(())
}

/// Works in other namespaces from here on.
pub(super) fn set_namespaces(cx: &mut Cx<'_>, namespaces: &Namespaces) -> Result<()> {
    cx.state.namespaces.clone_from(namespaces);
    // The table on top follows; what stands below it was about another place.
    let panes = cx.state.panes();
    let pane = panes
        .focused()
        .follows
        .and_then(|leader| panes.get(leader))
        .unwrap_or(panes.focused());
    let below = pane.views.iter().rev();
    let table = below.filter(|view| view.resource().is_some_and(|resource| resource.namespaced));
    match table.map(|view| view.in_namespaces(namespaces)).next().flatten() {
        Some(view) => cx.replace_boxed(view),
        None => {
            let pods = cx.resource("pods")?;
            let place = cx.place();
            cx.replace(Browser::new(pods, place));
        }
    }
    cx.say(match namespaces.named() {
        [] => "working in all namespaces".to_owned(),
        [only] => format!("working in namespace {only}"),
        _ => format!("working in namespaces {namespaces}"),
    });
    Ok(())
}

fn namespace_set(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let name = match line.first() {
        None => return action::run(cx, &Line::with("view.open", ["namespaces"])),
        Some("all" | "-A") => return namespace_all(cx, line),
        Some(name) => name,
    };
    let known = known_namespaces(cx.data);
    let namespaces = Namespaces::parse(name);
    set_namespaces(cx, &namespaces)?;
    let unknown = |name: &&Arc<str>| !known.iter().any(|other| **other == ***name);
    if let Some(name) = namespaces.named().iter().find(unknown).filter(|_| known.len() > 1) {
        cx.state
            .say(Level::Warning, format!("there is no namespace {name} yet"));
    }
    Ok(())
}

fn namespace_all(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    set_namespaces(cx, &Namespaces::all())
}

fn namespace_create(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    match line.value("--name").or(line.first()) {
        Some(name) => {
            let resource = cx.resource("namespaces")?;
            let body = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let change = Change {
                target: ObjectRef {
                    cluster: cx.data.cluster().id,
                    resource,
                    namespace: None,
                    name: name.into(),
                    uid: None,
                },
                before: None,
                request: Write::Create(body),
            };
            let plan = cx.plan(line, format!("create namespace {name}"), "created", vec![change])?;
            cx.carry_out(plan, "create", Vec::new())?;
        }
        None => {
            let field = Field::new("--name", "name", "lower-case letters, digits and -").required();
            cx.overlay(
                Form::new("create namespace", Line::bare("namespace.create"), vec![field]),
                Vec::new(),
            );
        }
    }
    Ok(())
}

fn contexts(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let info = cx.data.cluster();
    let mut entries: Vec<Entry> = cx
        .data
        .contexts()
        .iter()
        .map(|name| Entry {
            text: name.clone(),
            doc: if *name == info.name {
                "current".into()
            } else {
                String::new()
            },
            line: Line::with("context.set", [name]),
        })
        .collect();
    entries.push(Entry {
        text: "embedded".into(),
        doc: "the cluster inside this program".into(),
        line: Line::bare("cluster.embedded"),
    });
    cx.overlay(Picker::new("context", entries), Vec::new());
    Ok(())
}

fn context_set(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let Some(name) = line.first() else {
        return contexts(cx, line);
    };
    let cluster = cx.cluster_called(name)?;
    cx.effect(Effect::Connect(cluster));
    Ok(())
}
