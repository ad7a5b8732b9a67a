//! What a field means, from the schema that the cluster publishes.

use crate::action::{Argument, Command, Type};
use crate::cluster::Read;
use crate::document::Document;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::Line;
use crate::kind::explain;
use crate::state::{Cx, Effect, Errand, Review, Then};

pub(super) const EXPLAIN: Command = Command::new(
    "field.explain",
    &[Argument::optional(Type::Text)],
    "Explain a field, as pod.spec.containers, or the one on top of a YAML text",
    open,
)
.aliases(&["explain"]);

/// `deployment.spec.strategy`, or what the view is about.
fn open(cx: &mut Cx<'_>, line: &Line) -> Result<()> {
    let view = cx.state.view();
    let path = match line.first() {
        Some(path) => path.to_owned(),
        None => {
            let target = cx.target()?;
            let field = view.field().map_or_else(String::new, |field| format!(".{field}"));
            format!("{}{field}", target.resource.singular)
        }
    };
    let (kind, _) = path.split_once('.').unwrap_or((&path, ""));
    let resource = match (cx.target(), line.first()) {
        (Ok(target), None) => target.resource,
        _ => cx.resource(kind)?,
    };
    let cluster = cx.data.cluster().id;
    let read = Read::new(
        explain::path(&resource.group, &resource.version),
        format!("read the schema of {}", resource.api_version()),
    );
    let line = Line::with("field.explain", [resource.full_name(), path]);
    let id = cx.wait_in(cluster, Then::GoOn(Errand::Explain, line, Vec::new()));
    cx.effect(Effect::Get(id, cluster, read));
    Ok(())
}

/// The schema is there.
pub(super) fn explained(cx: &mut Cx<'_>, keys: u64, line: &Line, schema: &[u8]) -> Result<()> {
    let openapi: serde_json::Value = serde_json::from_slice(schema)
        .map_err(|error| Error::new(ErrorKind::Other, "the cluster's schema is not JSON").because(&error))?;
    let [name, path] = line.args.as_slice() else {
        return Err(Error::usage("explain which field?"));
    };
    let resource = cx.resource(name)?;
    let fields: Vec<&str> = path.split('.').skip(1).filter(|field| !field.is_empty()).collect();
    let document: Option<Document> =
        explain::explain(&openapi, &resource.kind, &resource.version, &resource.group, &fields);
    let document = document.ok_or_else(|| {
        Error::usage(format!("{} has no field {:?}", resource.kind, fields.join(".")))
            .hint(format!("`:explain {}` lists its fields", resource.singular))
    })?;
    let title = format!("explain {path}");
    let review = Review {
        title: title.clone(),
        document,
        question: None,
    };
    cx.present(keys, title, review);
    Ok(())
}
