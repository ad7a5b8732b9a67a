//! Reading: one object, and lists, whole or in pages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use knarr_resource::{Cause, Errors, Path, Status};
use serde_json::{Value, json};

use super::selection::Selection;
use super::{ListOptions, Request, codec};
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

/// Objects as the version of the request shows them.
#[derive(Debug)]
pub(crate) struct List {
    pub version: u64,
    pub objects: Vec<Arc<Object>>,
    /// `metadata.continue`, if there is more.
    pub next: Option<String>,
    /// `metadata.remainingItemCount`, if somebody has counted.
    pub remaining: Option<usize>,
}

/// One object, as new as `version` if one is given.
pub(crate) async fn get(server: &Server, request: &Request, version: Option<u64>) -> Result<Arc<Object>, Status> {
    let object = server.store.get(server.slot_of(&request.resource), &request.key());
    let object = object.ok_or_else(|| request.not_found())?;
    if let Some(version) = version {
        reached(server, version)?;
    }
    codec::show_one(server, &request.resource, object).await
}

/// What the options select.
pub(crate) async fn list(server: &Server, request: &Request, options: &ListOptions) -> Result<List, Status> {
    let selection = Selection::of(request, options)?;
    // What any version will do for comes whole, as from the watch cache of Kubernetes.
    let whole = options.resource_version == Some(0) && options.next.is_none();
    let limit = options
        .limit
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0 && !whole)
        .unwrap_or(usize::MAX);
    let mut from = start(server, request, options, &selection)?;
    let mut objects = Vec::new();
    loop {
        let page = from.page(server, request, &selection, limit - objects.len())?;
        let last = page.objects.last().map(|last| last.key.to_string());
        let version = page.version;
        let shown = codec::show(server, &request.resource, page.objects).await?;
        objects.extend(shown.into_iter().filter(|object| selection.matches(object)));
        let Some(last) = last.filter(|_| page.more) else {
            return Ok(List {
                version,
                objects,
                next: None,
                remaining: None,
            });
        };
        if objects.len() < limit {
            // Some of them were not selected after all.
            from = From::Page(Next {
                version: Some(version),
                after: last,
            });
            continue;
        }
        // With a selector nobody has counted the rest, and Kubernetes does not pretend to know.
        let slot = server.slot_of(&request.resource);
        let count = || server.store.count_after(slot, request.scope(), &last, version);
        return Ok(List {
            remaining: selection.everything().then(count),
            next: Some(token(Some(version), &last)),
            version,
            objects,
        });
    }
}

/// Where a list begins.
enum From {
    Now,
    Version(u64),
    Name(String),
    Page(Next),
}

fn start(server: &Server, request: &Request, options: &ListOptions, selection: &Selection) -> Result<From, Status> {
    let version = options.resource_version;
    let wanted = version_match(options)?;
    if let Some(token) = &options.next {
        if version.is_some_and(|version| version > 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return Ok(From::Page(parse(token)?));
    }
    if let Some(version) = version {
        reached(server, version)?;
        // A page without a match is exact, by a rule that is older than the parameter.
        let legacy = wanted == Match::Any && version > 0 && options.limit.is_some_and(|limit| limit > 0);
        if wanted == Match::Exact || legacy {
            return Ok(From::Version(version));
        }
    }
    // A list of one, as `kubectl wait` and informers for a single object ask for: no need to look at the others.
    let namespace = match request.resource.namespaced {
        true => request.scope(),
        false => Some(""),
    };
    Ok(match (selection.name(), namespace) {
        (Some(name), Some(namespace)) => From::Name(store::key(namespace, name)),
        _ => From::Now,
    })
}

impl From {
    fn page(&self, server: &Server, request: &Request, selection: &Selection, limit: usize) -> Result<Page, Status> {
        let slot = server.slot_of(&request.resource);
        let read = |after: Option<&str>, version| {
            let wanted = |object: &Object| selection.may_match(object);
            server
                .store
                .page(slot, request.scope(), (after, version), limit, wanted)
        };
        match self {
            // An error only if more has changed while the list was read than the history holds.
            Self::Now => read(None, None).map_err(|expired| refusal::expired(expired.oldest, &expired)),
            Self::Version(version) => {
                read(None, Some(*version)).map_err(|expired| refusal::expired(*version, &expired))
            }
            Self::Page(next) => read(Some(&next.after), next.version)
                .map_err(|_| refusal::expired_continue(Some(&token(None, &next.after)))),
            Self::Name(key) => {
                let version = server.store.version();
                let object = server.store.get(slot, key);
                Ok(Page {
                    version: object.as_ref().map_or(version, |object| object.version.max(version)),
                    objects: object
                        .into_iter()
                        .filter(|object| selection.may_match(object))
                        .collect(),
                    more: false,
                })
            }
        }
    }
}

fn version_match(options: &ListOptions) -> Result<Match, Status> {
    let path = Path::new("resourceVersionMatch");
    let mut errors = Errors::new();
    let mut forbid = |path: &Path, why: &str| errors.push(path, Cause::Forbidden, Value::Null, why);
    let (text, version) = (options.resource_version_match.as_deref(), options.resource_version);
    if text.is_some() {
        if version.is_none() {
            forbid(
                &path,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            );
        }
        if options.next.is_some() {
            forbid(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        if (text, version) == (Some("Exact"), Some(0)) {
            forbid(
                &path,
                r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#,
            );
        }
    }
    if options.send_initial_events.is_some() {
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
    match errors.into_vec() {
        errors if errors.is_empty() => Ok(wanted),
        errors => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)),
    }
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
