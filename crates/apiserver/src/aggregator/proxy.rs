//! A request, handed on to the server that serves its group version, with the name of the user on it.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use knarr_stream::backend::BackendError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Remote;
use crate::auth::UserInfo;
use crate::http::text;
use crate::server::Server;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// What the name of a header cannot hold, and the sign that stands for it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Answers with what the other server answers: a watch as it comes, an upgraded connection byte by byte.
pub(crate) async fn proxy(
    server: &Server,
    remote: &Remote,
    user: &UserInfo,
    mut request: Request<Body>,
) -> Response<Body> {
    if !remote.available {
        return text(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
    }
    identify(request.headers_mut(), user);
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let connect = async { remote.connect(server).await.map_err(BackendError::Internal) };
    knarr_stream::proxy(request, connect, &path, "").await
}

/// Says on whose behalf a request is made, and nothing else about that.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let says = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-remote-") || name.starts_with("impersonate-")
    };
    let others: Vec<HeaderName> = headers.keys().filter(|name| says(name)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    let mut add = |name: HeaderName, value: &str| {
        // Names that no header can hold stay away; who they belong to is then less than they are.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        let key = utf8_percent_encode(&key.to_lowercase(), ESCAPED).to_string();
        let Ok(name) = HeaderName::try_from(format!("{EXTRA}{key}")) else {
            continue;
        };
        for value in values {
            add(name.clone(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_who_asks_and_no_client_says_so_itself() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "root"),
            ("x-remote-extra-scopes", "all"),
            ("impersonate-user", "x"),
            ("accept", "y"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut user = UserInfo::authenticated("jane", &["developers"]);
        user.extra
            .insert("example.com/Key".into(), vec!["a".into(), "b".into()]);
        identify(&mut headers, &user);
        let all = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap_or_default().to_owned())
                .collect()
        };
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-group"), ["developers", "system:authenticated"]);
        assert_eq!(all("x-remote-extra-example.com%2fkey"), ["a", "b"]);
        assert_eq!(all("accept"), ["y"]);
        assert_eq!(headers.len(), 6);
    }
}
