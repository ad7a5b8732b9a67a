//! Variables in a configuration's texts.

use crate::net::serve::Call;
use crate::net::url::decode;

/// Replaces the variables that configurations use most.
pub(super) fn variables(text: &str, call: &Call) -> String {
    if !text.contains('$') {
        return text.to_owned();
    }
    let host = call.header("host").unwrap_or("").to_owned();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
        _ => host.clone(),
    };
    let query = call.uri.query().unwrap_or("").to_owned();
    let peer = call.peer.ip().to_canonical().to_string();
    let forwarded = match call.header("x-forwarded-for") {
        Some(list) => format!("{list}, {peer}"),
        None => peer.clone(),
    };
    let mut out = text.to_owned();
    for (variable, value) in [
        ("request_uri", call.target()),
        ("http_host", host),
        ("host", name.clone()),
        ("hostname", crate::host::name()),
        ("server_name", name),
        ("server_addr", call.local.ip().to_canonical().to_string()),
        ("server_port", call.local.port().to_string()),
        ("scheme", scheme(call).to_owned()),
        ("args", query.clone()),
        ("query_string", query.clone()),
        (
            "is_args",
            if query.is_empty() {
                String::new()
            } else {
                "?".to_owned()
            },
        ),
        ("remote_addr", peer),
        ("remote_port", call.peer.port().to_string()),
        ("proxy_add_x_forwarded_for", forwarded),
        ("request_method", call.method.to_string()),
        ("http_user_agent", call.header("user-agent").unwrap_or("").to_owned()),
        ("uri", decode(call.path())),
    ] {
        out = out.replace(&format!("${{{variable}}}"), &value);
        // `$uri` stays for try_files, which may look at another path by now.
        if variable != "uri" {
            out = replace_name(&out, variable, &value);
        }
    }
    out
}

/// Replaces `$name` where the name ends there: `$host` is not the beginning of `$hostname`.
fn replace_name(text: &str, name: &str, value: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let needle = format!("${name}");
    while let Some(at) = rest.find(&needle) {
        let after = &rest[at + needle.len()..];
        out.push_str(&rest[..at]);
        if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            out.push_str(&needle);
        } else {
            out.push_str(value);
        }
        rest = after;
    }
    out + rest
}

pub(super) fn absolute(call: &Call, target: &str) -> String {
    let target = replace_name(target, "uri", &decode(call.path()));
    if target.starts_with('/') {
        format!(
            "{}://{}{target}",
            scheme(call),
            call.header("host").unwrap_or("localhost")
        )
    } else {
        target
    }
}

fn scheme(call: &Call) -> &'static str {
    if call.tls { "https" } else { "http" }
}
