//! Lists, whole or in pages.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use knarr_resource::{Cause, Errors, Path, Status};
use serde_json::{Value, json};

use super::select::Selection;
use crate::http::options;
use crate::http::render::{self, Writer};
use crate::http::request_info::RequestInfo;
use crate::refusal;
use crate::server::Server;
use crate::store::{self, Object, Page};

/// How exactly a version is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Any,
    NotOlderThan,
    Exact,
}

/// Where the next page starts.
struct Next {
    /// None: as of now, whatever changed since the first page.
    version: Option<u64>,
    after: String,
}

pub(crate) fn answer(server: &Server, call: &RequestInfo) -> Result<Response<Body>, Status> {
    let form = call.form()?;
    let selection = Selection::of(call)?;
    let limit = call.query.number::<i64>("limit")?.unwrap_or(0);
    // What any version will do for comes whole, as from the watch cache of Kubernetes.
    let whole = call.query.get("resourceVersion") == Some("0") && call.query.get("continue").is_none();
    let limit = usize::try_from(limit)
        .ok()
        .filter(|limit| *limit > 0 && !whole)
        .unwrap_or(usize::MAX);
    let page = page(server, call, &selection, limit)?;
    let mut meta = json!({"resourceVersion": page.version.to_string()});
    if let (true, Some(last)) = (page.more, page.objects.last()) {
        meta["continue"] = Value::String(token(Some(page.version), &last.key));
        // With a selector nobody has counted the rest, and Kubernetes does not pretend to know.
        if selection.everything() {
            let slot = server.slot_of(&call.resource);
            let rest = server.store.count_after(slot, call.scope(), &last.key, page.version);
            meta["remainingItemCount"] = json!(rest);
        }
    }
    let writer = Writer::new(call, form.shape)?;
    render::finish(form.encoding, StatusCode::OK, writer.list(server, &page.objects, &meta))
}

/// The objects that the request selects, up to its limit.
fn page(server: &Server, call: &RequestInfo, selection: &Selection, limit: usize) -> Result<Page, Status> {
    let slot = server.slot_of(&call.resource);
    let from = |after: Option<&str>, version| {
        let wanted = |object: &Object| selection.matches(object);
        server.store.page(slot, call.scope(), (after, version), limit, wanted)
    };
    let version = call.query.number::<u64>("resourceVersion")?;
    let wanted = version_match(call, version)?;
    if let Some(token) = call.query.get("continue") {
        if version.is_some_and(|version| version != 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let next = parse(token)?;
        let listed = from(Some(&next.after), next.version);
        return listed.map_err(|_| refusal::expired_continue(Some(&self::token(None, &next.after))));
    }
    if let Some(version) = version {
        reached(server, version)?;
        // A page without a match is exact, by a rule that is older than the parameter.
        let legacy =
            wanted == Match::Any && version > 0 && call.query.number::<i64>("limit")?.is_some_and(|limit| limit > 0);
        if wanted == Match::Exact || legacy {
            return from(None, Some(version)).map_err(|expired| refusal::expired(version, &expired));
        }
    }
    if let (Some(name), Some(namespace)) = (
        selection.name(),
        match call.resource.namespaced {
            true => call.scope(),
            false => Some(""),
        },
    ) {
        // A list of one, as `kubectl wait` and informers for a single object ask for: no need to look at the others.
        let version = server.store.version();
        let object = server.store.get(slot, &store::key(namespace, name));
        return Ok(Page {
            version: object.as_ref().map_or(version, |object| object.version.max(version)),
            objects: object.into_iter().filter(|object| selection.matches(object)).collect(),
            more: false,
        });
    }
    // An error only if more has changed while the list was read than the history holds.
    from(None, None).map_err(|expired| refusal::expired(expired.oldest, &expired))
}

fn version_match(call: &RequestInfo, version: Option<u64>) -> Result<Match, Status> {
    let path = Path::new("resourceVersionMatch");
    let mut errors = Errors::new();
    let mut forbid = |path: &Path, why: &str| errors.push(path, Cause::Forbidden, Value::Null, why);
    let text = call.query.get("resourceVersionMatch");
    if text.is_some() {
        if version.is_none() {
            forbid(
                &path,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if call.query.get("continue").is_some() {
            forbid(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        if (text, version) == (Some("Exact"), Some(0)) {
            forbid(
                &path,
                r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#,
            );
        }
    }
    if call.query.all("sendInitialEvents").next().is_some() {
        forbid(
            &Path::new("sendInitialEvents"),
            "sendInitialEvents is forbidden for list",
        );
    }
    let wanted = match text {
        None => Match::Any,
        Some("NotOlderThan") => Match::NotOlderThan,
        Some("Exact") => Match::Exact,
        Some(other) => {
            let detail = r#"supported values: "Exact", "NotOlderThan", """#;
            errors.push(&path, Cause::NotSupported, other, detail);
            Match::Any
        }
    };
    options::refuse("ListOptions", errors)?;
    Ok(wanted)
}

/// Refuses a version that this server has not given out yet.
pub(crate) fn reached(server: &Server, version: u64) -> Result<(), Status> {
    let current = server.store.version();
    if version > current {
        return Err(refusal::too_new(version, current));
    }
    Ok(())
}

fn token(version: Option<u64>, after: &str) -> String {
    let version = version.map_or(json!(-1), Value::from);
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "start": after}).to_string())
}

fn parse(token: &str) -> Result<Next, Status> {
    let invalid = || Status::bad_request("continue key is not valid: incorrect encoding or version");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    if value["v"] != "meta.k8s.io/v1" {
        return Err(invalid());
    }
    let version = match value["rv"].as_i64() {
        Some(-1) => None,
        Some(version) => Some(u64::try_from(version).map_err(|_| invalid())?),
        None => return Err(invalid()),
    };
    let after = value["start"]
        .as_str()
        .filter(|start| start.contains('/'))
        .ok_or_else(invalid)?;
    Ok(Next {
        version,
        after: after.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_comes_back_as_it_was() {
        let page = parse(&token(Some(7), "default/a")).unwrap();
        assert_eq!((page.version, page.after.as_str()), (Some(7), "default/a"));
        assert_eq!(parse(&token(None, "/n")).unwrap().version, None);
        for bad in [
            "",
            "x",
            "e30",
            &URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":-2,"start":"a/b"}"#),
        ] {
            assert_eq!(parse(bad).err().map(|failure| failure.code), Some(400), "{bad}");
        }
    }
}
