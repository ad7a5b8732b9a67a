//! Authentication: from the headers of a request to a user.

use std::sync::Arc;

use http::{HeaderMap, header};
use knarr_resource::Status;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::authorizer::check;
use super::rbac::Attributes;
use super::token::ISSUER;
use super::x509::Shown;
use super::{ANONYMOUS, UserInfo};
use crate::refusal;
use crate::server::Server;
use crate::store;

/// The certificate that the other end of a connection has shown, if any, and who that is, if it counts.
pub(crate) type Certificate = Option<Option<Arc<Shown>>>;

/// The user of a request: from its certificate or its bearer token, or nobody in particular.
pub(crate) fn authenticate(
    server: &Server,
    certificate: &Certificate,
    headers: &HeaderMap,
) -> Result<UserInfo, Status> {
    let shown = certificate.as_ref().and_then(Option::as_ref);
    if let Some(user) = shown.and_then(|shown| shown.user(server.clock.now())) {
        return Ok(user.clone());
    }
    let Some(credentials) = headers.get(header::AUTHORIZATION) else {
        return match certificate {
            // Who says who they are is not believed to be nobody.
            Some(_) => Err(refusal::unauthorized()),
            None => Ok(UserInfo::anonymous()),
        };
    };
    let token = credentials
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match token {
        Some(token) if !token.is_empty() => verify(server, token, &[ISSUER]).ok_or_else(refusal::unauthorized),
        // Another scheme is one that this server does not know: as without credentials.
        _ => Ok(UserInfo::anonymous()),
    }
}

/// The user a token stands for, if it is meant for one of the audiences.
pub(crate) fn verify(server: &Server, token: &str, audiences: &[&str]) -> Option<UserInfo> {
    let known = server
        .options
        .tokens
        .iter()
        .find(|known| same(known.token.as_bytes(), token.as_bytes()));
    if let Some(known) = known {
        return Some(UserInfo::authenticated(&known.user, &known.groups));
    }
    let claims = server.signer.verify(token, server.clock.now().as_second())?;
    let meant = claims["aud"].as_array()?.iter().filter_map(Value::as_str);
    meant.into_iter().find(|own| audiences.contains(own))?;
    service_account(server, &claims)
}

/// Compares in a time that does not depend on where the two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// A token outlives neither its service account nor the pod it was made for.
fn service_account(server: &Server, claims: &Value) -> Option<UserInfo> {
    let bound = &claims["kubernetes.io"];
    let namespace = bound["namespace"].as_str()?;
    let lives = |plural: &str, reference: &Value| -> Option<()> {
        let key = store::key(namespace, reference["name"].as_str()?);
        let object = server.store.get(server.slot("", plural), &key)?;
        (reference["uid"] == *object.uid).then_some(())
    };
    let account = &bound["serviceaccount"];
    lives("serviceaccounts", account)?;
    for (plural, reference) in [("pods", &bound["pod"]), ("secrets", &bound["secret"])] {
        if !reference.is_null() {
            lives(plural, reference)?;
        }
    }
    let name = account["name"].as_str()?;
    let mut user = UserInfo {
        name: format!("system:serviceaccount:{namespace}:{name}"),
        uid: account["uid"].as_str().unwrap_or_default().to_owned(),
        ..UserInfo::default()
    };
    user.add_implied_groups();
    let mut extra = |key: &str, value: &Value| {
        if let Some(value) = value.as_str() {
            user.extra
                .insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    let id = claims["jti"].as_str().map(|id| Value::String(format!("JTI={id}")));
    extra("credential-id", &id.unwrap_or_default());
    extra("pod-name", &bound["pod"]["name"]);
    extra("pod-uid", &bound["pod"]["uid"]);
    extra("node-name", &bound["node"]["name"]);
    Some(user)
}

/// What is asked for beside a user, as Go prints a list of object references.
fn unowned(headers: &HeaderMap) -> Vec<String> {
    let mut wanted = Vec::new();
    let mut add = |kind: &str, name: &str, api_version: &str, field: &str| {
        wanted.push(format!("{{{kind}  {name}  {api_version}  {field}}}"));
    };
    const AUTHENTICATION: &str = "authentication.k8s.io/v1";
    for (key, value) in headers {
        let value = value.to_str().unwrap_or_default();
        match key.as_str() {
            "impersonate-group" => add("Group", value, "", ""),
            "impersonate-uid" => add("UID", value, AUTHENTICATION, ""),
            key => {
                if let Some(field) = key.strip_prefix("impersonate-extra-") {
                    add("UserExtra", value, AUTHENTICATION, field);
                }
            }
        }
    }
    wanted
}

/// Applies the `Impersonate-*` headers. Each part of the other identity needs its own permission.
pub(crate) fn impersonate(server: &Server, user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, Status> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(name) = text("impersonate-user") else {
        let wanted = unowned(headers);
        return match wanted.is_empty() {
            true => Ok(user),
            false => Err(Status::bad_request(format!(
                "requested [{}] without impersonating a user",
                wanted.join(" ")
            ))),
        };
    };
    let mut other = UserInfo {
        name: name.to_owned(),
        uid: text("impersonate-uid").unwrap_or_default().to_owned(),
        ..UserInfo::default()
    };
    for value in headers.get_all("impersonate-group") {
        other.groups.push(value.to_str().unwrap_or_default().to_owned());
    }
    for (key, value) in headers {
        if let Some(key) = key.as_str().strip_prefix("impersonate-extra-") {
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            let value = value.to_str().unwrap_or_default().to_owned();
            other.extra.entry(key).or_default().push(value);
        }
    }
    let may = |resource: &str, namespace: &str, name: &str, group: &str, subresource: &str| {
        let attributes = Attributes {
            verb: "impersonate",
            group,
            resource,
            subresource,
            namespace,
            name,
            ..Attributes::default()
        };
        check(server, &user, &attributes)
    };
    match other.service_account() {
        Some((namespace, name)) => may("serviceaccounts", namespace, name, "", "")?,
        None => may("users", "", &other.name, "", "")?,
    }
    for group in &other.groups {
        may("groups", "", group, "", "")?;
    }
    if !other.uid.is_empty() {
        may("uids", "", &other.uid, "authentication.k8s.io", "")?;
    }
    for (key, values) in &other.extra {
        for value in values {
            may("userextras", "", value, "authentication.k8s.io", key)?;
        }
    }
    if other.name != ANONYMOUS || other.groups.is_empty() {
        other.add_implied_groups();
    }
    Ok(other)
}
