//! Passes requests on to another server.

use std::time::{Duration, Instant};

use super::answer::{Draft, context};
use super::site::{Location, Match};
use super::variable::variables;
use crate::net::client;
use crate::net::serve::Call;
use crate::net::url::Url;

/// Passes a request on and its answer back.
pub(super) fn proxy(call: &Call, location: &Location, target: &str, path: &str) -> Draft {
    let Ok(mut url) = Url::parse(&variables(target, call)) else {
        return Draft::error(500);
    };
    let has_path = target.trim_start_matches("http://").contains('/');
    let query = call.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    url.path = match (&location.matches, has_path) {
        (Match::Prefix(prefix, _), true) => format!(
            "{}{}{query}",
            url.path,
            path.strip_prefix(prefix.as_str()).unwrap_or("")
        ),
        _ => call.target(),
    };
    let hop = [
        "connection",
        "host",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
        "te",
        "content-length",
    ];
    let set: Vec<(String, String)> = location
        .proxy_headers
        .iter()
        .map(|(n, v)| (n.clone(), variables(v, call)))
        .collect();
    let mut headers: Vec<(String, String)> = call
        .headers
        .iter()
        .filter(|(n, _)| !hop.contains(&n.as_str()) && !set.iter().any(|(s, _)| s.eq_ignore_ascii_case(n.as_str())))
        .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    headers.extend(
        set.into_iter()
            .filter(|(n, _)| !n.eq_ignore_ascii_case("connection") && !n.eq_ignore_ascii_case("upgrade")),
    );
    let request = client::Request {
        method: call.method.to_string(),
        headers,
        body: (!call.body.is_empty()).then(|| call.body.to_vec()),
        connect_timeout: Some(Duration::from_secs(60)),
        deadline: Some(Instant::now() + Duration::from_secs(60)),
        ..client::Request::default()
    };
    let failed = |error: client::ClientError| {
        super::log(
            "error",
            &format!(
                "*1 {error} while connecting to upstream, {}, upstream: \"{target}\"",
                context(call)
            ),
        );
        Draft::error(if matches!(error, client::ClientError::Timeout) {
            504
        } else {
            502
        })
    };
    let mut response = match client::send(&url, &request) {
        Ok(response) => response,
        Err(error) => return failed(error),
    };
    let headers = response
        .headers
        .iter()
        .filter(|(n, _)| {
            !hop.iter().any(|h| n.eq_ignore_ascii_case(h))
                && !n.eq_ignore_ascii_case("server")
                && !n.eq_ignore_ascii_case("date")
        })
        .cloned()
        .collect();
    let status = response.status;
    let mut body = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match response.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) if body.len() + n <= 64 << 20 => body.extend_from_slice(&buffer[..n]),
            Ok(_) => return Draft::error(502),
            Err(error) => return failed(error),
        }
    }
    Draft {
        status,
        headers,
        body,
        bare: false,
    }
}
