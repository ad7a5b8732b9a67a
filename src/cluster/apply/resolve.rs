//! Which resource an object of a manifest is.

use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{Link, Read, Resource};
use crate::error::{Error, ErrorKind, Result};

/// The resource of a kind: from discovery, or asked for, because discovery knows each resource in its preferred version only, and
/// not what was installed since.
///
/// # Errors
///
/// Says in which version the cluster does serve the kind, if it does.
pub(super) async fn resource(link: &Link, api_version: &str, kind: &str) -> Result<Arc<Resource>> {
    if let Some(known) = link.discovery.by_kind(api_version, kind) {
        return Ok(known.clone());
    }
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let path = api_version
        .split('/')
        .map(crate::cluster::encode)
        .collect::<Vec<_>>()
        .join("/");
    let read = Read::new(format!("{root}/{path}"), format!("ask for {api_version}"));
    match link.read(&read).await {
        Ok(answer) => {
            let list: Value = serde_json::from_slice(&answer).unwrap_or_default();
            served(api_version, kind, &list).ok_or_else(|| unknown(link, api_version, kind))
        }
        Err(error) if error.kind == ErrorKind::NotFound => Err(unknown(link, api_version, kind)),
        Err(error) => Err(error),
    }
}

fn served(api_version: &str, kind: &str, list: &Value) -> Option<Arc<Resource>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let word = |value: &Value| Arc::from(value.as_str().unwrap_or_default());
    let found = list["resources"].as_array()?.iter().find(|entry| {
        entry["kind"] == kind
            && entry["name"]
                .as_str()
                .is_some_and(|name| !name.is_empty() && !name.contains('/'))
    })?;
    Some(Arc::new(Resource {
        group: group.into(),
        version: version.into(),
        plural: word(&found["name"]),
        singular: word(&found["singularName"]),
        kind: kind.into(),
        namespaced: found["namespaced"] == true,
        ..Resource::default()
    }))
}

fn unknown(link: &Link, api_version: &str, kind: &str) -> Error {
    let error = Error::new(
        ErrorKind::NotFound,
        format!("no matches for kind \"{kind}\" in version \"{api_version}\""),
    );
    let same = |wanted: &dyn Fn(&str) -> bool| {
        let found: Vec<_> = link
            .discovery
            .resources
            .iter()
            .filter(|resource| wanted(&resource.kind))
            .collect();
        found
            .iter()
            .map(|resource| format!("{} {}", resource.api_version(), resource.kind))
            .collect::<Vec<_>>()
    };
    let exact = same(&|known| known == kind);
    let alike = same(&|known| known.eq_ignore_ascii_case(kind));
    match (exact.as_slice(), alike.as_slice()) {
        ([first, ..], _) => error.hint(format!(
            "this cluster serves it as apiVersion: {}",
            first.replace(' ', ", kind: ")
        )),
        ([], [first, ..]) => error.hint(format!("did you mean apiVersion: {}?", first.replace(' ', ", kind: "))),
        _ => error
            .hint("the cluster does not serve it: install its CustomResourceDefinition first, or check the spelling"),
    }
}
