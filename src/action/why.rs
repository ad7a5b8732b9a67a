//! Why an object does not work, and what is done about it.

use std::sync::Arc;

use crate::action::{Argument, Command, Type};
use crate::cluster::{ObjectRef, Write};
use crate::error::{Error, Result};
use crate::keys::Line;
use crate::kind::why::{Diagnosis, Fix, Thing};
use crate::state::{Cx, Effect, Review, Then, Waiting};
use crate::store::{Object, ObjectId};
use crate::view::{Target, Text, TextSource};

pub(super) const WHY: Command = Command::new(
    "object.why",
    &[],
    "Say why the object does not work, and what to do about it",
    why,
)
.aliases(&["why"]);
pub(super) const REMEDY: Command = Command::new(
    "why.remedy",
    &[Argument::required(Type::Number)],
    "Carry out a remedy by its number",
    remedy,
)
.only(&["why"]);

fn why(cx: &mut Cx<'_>, _line: &Line) -> Result<()> {
    let target = cx.target()?;
    let object = ObjectRef::from(&target);
    let id = cx.wait(Then::Explain(target));
    cx.effect(Effect::Examine(id, object));
    Ok(())
}

/// Shows what was found: where it was asked, when nothing else has been begun since.
pub(super) fn show(cx: &mut Cx<'_>, waiting: &Waiting, target: Target, diagnosis: Arc<Diagnosis>) {
    let title = format!("{} {}", target.resource.singular, target.id.name);
    if waiting.keys != cx.state.keys {
        let headline = diagnosis.headline().unwrap_or("nothing wrong was found").to_owned();
        let review = Review {
            title: format!("why {title}"),
            document: diagnosis.document(&title),
            question: None,
        };
        cx.present(waiting.keys, format!("{title}: {headline}"), review);
        return;
    }
    // Looking again replaces what was seen before.
    if cx.state.view().diagnosis().is_some() {
        let _ = cx.back();
    }
    let view = Text::new(TextSource::Why { target, diagnosis }, cx.data);
    cx.push(view);
}

fn remedy(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let number: usize = line
        .args
        .first()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    let diagnosis = cx.state.view().diagnosis();
    let diagnosis = diagnosis.ok_or_else(|| Error::usage("no remedies are shown here").hint("ask with object.why"))?;
    let remedies = diagnosis.remedies();
    let remedy = number.checked_sub(1).and_then(|at| remedies.get(at));
    let Some(&remedy) = remedy else {
        return Err(Error::usage(format!("there is no remedy {number} here")));
    };
    let (text, kubectl) = (remedy.text.clone(), remedy.kubectl.clone());
    let known = remedy.fix.clone().and_then(|fix| {
        let thing = match &fix {
            Fix::Merge { target, .. } | Fix::Delete(target) | Fix::Edit(target) => target,
        };
        let target = target(cx, diagnosis, thing)?;
        Some((fix, target))
    });
    match known {
        Some((Fix::Merge { subresource, patch, .. }, target)) => {
            let change = Cx::change(&target, Write::Merge { subresource, patch });
            let title = format!("{text}: {} {}", target.resource.singular, target.id.name);
            let plan = cx.plan(line, title, "changed", vec![change])?;
            cx.carry_out(plan, "change", Vec::new())
        }
        Some((fix, target)) => {
            let command = if matches!(fix, Fix::Delete(_)) {
                "object.delete"
            } else {
                "object.edit"
            };
            cx.pinned = vec![target];
            super::run(cx, &Line::bare(command))
        }
        None if kubectl.is_empty() => Err(Error::usage(format!("{text}: this is for you to do"))),
        None => {
            cx.effect(Effect::Copy(kubectl.clone()));
            cx.say(format!("copied: {kubectl}"));
            Ok(())
        }
    }
}

/// An object that findings speak of, as it was when it was looked at.
fn target(cx: &Cx<'_>, diagnosis: &Diagnosis, thing: &Thing) -> Option<Target> {
    let object = diagnosis.world.find(thing)?;
    let cluster = cx.state.view().targets(cx.data).first()?.id.cluster;
    let discovery = cx.data.discovery_of(cluster);
    let resource = discovery
        .resources
        .iter()
        .find(|resource| *resource.group == *thing.group && *resource.kind == *thing.kind)?;
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    let id = ObjectId {
        cluster,
        namespace: thing.namespace.as_str().into(),
        name: thing.name.as_str().into(),
        uid: text("/metadata/uid").into(),
    };
    let object = Object::new(id.clone(), text("/metadata/resourceVersion"), &object.to_string());
    Some(Target {
        resource: resource.clone(),
        id,
        object: Arc::new(object),
    })
}
