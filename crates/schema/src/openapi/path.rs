//! The paths: which verb of which resource is where, and what it takes and gives.
//!
//! kubectl reads from them whether a resource can be patched strategically, and whether the server validates fields.

use serde_json::{Map, Value, json};

use super::component::{META, REF};
use super::{Served, ServedSubresource};

/// Adds the paths of a resource and its subresources. `schema` names the resource's own schema.
pub(super) fn add(served: &Served, schema: &str, paths: &mut Map<String, Value>) {
    let root = if served.group.is_empty() {
        format!("/api/{}", served.version)
    } else {
        format!("/apis/{}/{}", served.group, served.version)
    };
    let base = if served.namespaced {
        format!("{root}/namespaces/{{namespace}}")
    } else {
        root.clone()
    };
    let has = |verb: &str| served.verbs.iter().any(|v| v == verb);
    let one = Target {
        served,
        schema,
        gvk: gvk(&served.group, &served.version, &served.kind),
        suffix: String::new(),
    };
    let list = Target {
        schema: &format!("{schema}List"),
        ..one.clone()
    };

    let mut collection = Map::new();
    if has("list") {
        collection.insert("get".into(), list.operation("list", LIST, None));
    }
    if has("create") {
        collection.insert("post".into(), one.operation("post", WRITE, Some(&[ANY])));
    }
    if has("deletecollection") {
        collection.insert(
            "delete".into(),
            Target {
                schema: STATUS,
                ..one.clone()
            }
            .delete("deletecollection", LIST),
        );
    }
    put(
        paths,
        &format!("{base}/{}", served.plural),
        collection,
        served.namespaced,
        false,
    );
    if served.namespaced && has("list") {
        let all = Target {
            suffix: "ForAllNamespaces".into(),
            ..list
        };
        let get = Map::from_iter([("get".to_owned(), all.operation("list", LIST, None))]);
        put(paths, &format!("{root}/{}", served.plural), get, false, false);
    }

    let mut item = Map::new();
    if has("get") {
        item.insert("get".into(), one.operation("get", &[], None));
    }
    if has("update") {
        item.insert("put".into(), one.operation("put", WRITE, Some(&[ANY])));
    }
    if has("patch") {
        item.insert("patch".into(), one.patch());
    }
    if has("delete") {
        item.insert(
            "delete".into(),
            Target {
                schema: STATUS,
                ..one.clone()
            }
            .delete("delete", &[]),
        );
    }
    put(
        paths,
        &format!("{base}/{}/{{name}}", served.plural),
        item,
        served.namespaced,
        true,
    );

    for sub in &served.subresources {
        let path = format!("{base}/{}/{{name}}/{}", served.plural, sub.name);
        put(paths, &path, subresource(&one, sub), served.namespaced, true);
    }
}

fn subresource(parent: &Target<'_>, sub: &ServedSubresource) -> Map<String, Value> {
    let name = match crate::lookup(&sub.group, &sub.version, &sub.kind) {
        Some(id) => id.openapi_name(),
        None => parent.schema.to_owned(),
    };
    let speaks = !sub.kind.is_empty();
    let target = Target {
        schema: if speaks { &name } else { "" },
        gvk: if speaks {
            gvk(&sub.group, &sub.version, &sub.kind)
        } else {
            parent.gvk.clone()
        },
        suffix: title(&sub.name),
        ..parent.clone()
    };
    let mut operations = Map::new();
    for verb in &sub.verbs {
        match verb.as_str() {
            "get" => operations.insert(
                "get".into(),
                target.operation(if speaks { "get" } else { "connect" }, &[], None),
            ),
            "create" if speaks => operations.insert("post".into(), target.operation("post", WRITE, Some(&[ANY]))),
            "create" => operations.insert("post".into(), target.operation("connect", &[], None)),
            "update" => operations.insert("put".into(), target.operation("put", WRITE, Some(&[ANY]))),
            "patch" => operations.insert("patch".into(), target.patch()),
            _ => None,
        };
    }
    operations
}

fn put(paths: &mut Map<String, Value>, path: &str, mut operations: Map<String, Value>, namespaced: bool, named: bool) {
    if operations.is_empty() {
        return;
    }
    let mut parameters = Vec::new();
    if named {
        parameters.push(json!({"name": "name", "in": "path", "description": "name of the object", "required": true, "schema": {"type": "string", "uniqueItems": true}}));
    }
    if namespaced {
        parameters.push(json!({"name": "namespace", "in": "path", "description": "object name and auth scope, such as for teams and projects", "required": true, "schema": {"type": "string", "uniqueItems": true}}));
    }
    parameters.push(query(
        "pretty",
        "string",
        "If 'true', the answer is printed for people.",
    ));
    operations.insert("parameters".into(), parameters.into());
    paths.insert(path.to_owned(), operations.into());
}

const ANY: &str = "*/*";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

const LIST: &[(&str, &str, &str)] = &[
    (
        "allowWatchBookmarks",
        "boolean",
        "Asks for events of type BOOKMARK in a watch.",
    ),
    ("continue", "string", "Continues a list where the last answer ended."),
    ("fieldSelector", "string", "Restricts the objects by their fields."),
    ("labelSelector", "string", "Restricts the objects by their labels."),
    (
        "limit",
        "integer",
        "The most objects to answer with; metadata.continue tells where to go on.",
    ),
    (
        "resourceVersion",
        "string",
        "The version that the answer must be at least as new as, or that a watch begins after.",
    ),
    (
        "resourceVersionMatch",
        "string",
        "How resourceVersion applies to a list: Exact or NotOlderThan.",
    ),
    (
        "sendInitialEvents",
        "boolean",
        "Begins a watch with the objects there are, and a bookmark.",
    ),
    ("timeoutSeconds", "integer", "Ends the request after this time."),
    ("watch", "boolean", "Watches for changes instead of listing."),
];

const WRITE: &[(&str, &str, &str)] = &[
    ("dryRun", "string", "All: everything happens but nothing is stored."),
    ("fieldManager", "string", "Who is making the change."),
    (
        "fieldValidation",
        "string",
        "What unknown and duplicate fields lead to: Ignore, Warn or Strict.",
    ),
];

const DELETE: &[(&str, &str, &str)] = &[
    ("dryRun", "string", "All: everything happens but nothing is stored."),
    (
        "gracePeriodSeconds",
        "integer",
        "The seconds before the object is deleted; zero means at once.",
    ),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "What becomes of the dependents: Orphan, Background or Foreground.",
    ),
];

/// What an operation is about.
#[derive(Clone)]
struct Target<'a> {
    served: &'a Served,
    /// The answer's schema; empty for plain text.
    schema: &'a str,
    gvk: Value,
    /// For operationId: the subresource.
    suffix: String,
}

impl Target<'_> {
    fn operation(&self, action: &str, queries: &[(&str, &str, &str)], body: Option<&[&str]>) -> Value {
        let served = self.served;
        let group = if served.group.is_empty() {
            "core"
        } else {
            served.group.split('.').next().unwrap_or_default()
        };
        let verb = match action {
            "get" => "read",
            "post" => "create",
            "put" => "replace",
            other => other,
        };
        let scope = if served.namespaced && self.suffix != "ForAllNamespaces" {
            "Namespaced"
        } else {
            ""
        };
        let mut operation = json!({
            "tags": [format!("{group}_{}", served.version)],
            "description": format!("{verb} {} of kind {}", if action == "list" { "objects" } else { "an object" }, served.kind),
            "operationId": format!("{verb}{}{}{scope}{}{}", title(group), title(&served.version), served.kind, self.suffix),
            "parameters": queries.iter().map(|(name, kind, text)| query(name, kind, text)).collect::<Vec<_>>(),
            "responses": {"200": {"description": "OK", "content": self.content()}, "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.gvk,
        });
        if action == "post" {
            operation["responses"]["201"] = json!({"description": "Created", "content": self.content()});
        }
        if let Some(types) = body {
            operation["requestBody"] = request(types, self.schema);
        }
        operation
    }

    fn patch(&self) -> Value {
        let mut queries = WRITE.to_vec();
        queries.push(("force", "boolean", "Lets an apply take fields from other managers."));
        let mut operation = self.operation("patch", &queries, None);
        let mut types = vec![
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
        ];
        // A custom resource has no merge keys, and no strategic merge patch.
        if self.served.schema.is_none() {
            types.push("application/strategic-merge-patch+json");
        }
        operation["requestBody"] = request(&types, &format!("{META}.Patch"));
        operation
    }

    fn delete(&self, action: &str, queries: &[(&str, &str, &str)]) -> Value {
        let queries: Vec<_> = queries.iter().chain(DELETE).copied().collect();
        let mut operation = self.operation(action, &queries, None);
        operation["requestBody"] = request(&[ANY], &format!("{META}.DeleteOptions"));
        operation["requestBody"]["required"] = false.into();
        if action == "delete" {
            operation["responses"]["202"] = json!({"description": "Accepted", "content": self.content()});
        }
        operation
    }

    fn content(&self) -> Value {
        if self.schema.is_empty() {
            return json!({"text/plain": {"schema": {"type": "string"}}, "*/*": {"schema": {"type": "string"}}});
        }
        json!({"application/json": {"schema": {"$ref": format!("{REF}{}", self.schema)}}})
    }
}

fn request(types: &[&str], schema: &str) -> Value {
    let content = types.iter().map(|kind| {
        let schema = json!({"schema": {"$ref": format!("{REF}{schema}")}});
        ((*kind).to_owned(), schema)
    });
    json!({"required": true, "content": Map::from_iter(content)})
}

fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

/// `apps` is `Apps`.
fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}
