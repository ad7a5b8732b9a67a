//! Calls to webhooks: HTTPS to a URL, or to an endpoint of a Service.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use serde_json::Value;

use crate::dial::{self, Address, Trust};
use crate::server::Server;

/// The most a webhook may answer.
const LARGEST_ANSWER: usize = 10 * 1024 * 1024;

/// Where a webhook is, from its `clientConfig`.
struct Target {
    /// What is asked for, and what messages show.
    url: String,
    address: Address,
}

impl Target {
    fn of(config: &Value, timeout: Option<Duration>) -> Result<Self, String> {
        let seconds = timeout.map(|timeout| timeout.as_secs().max(1));
        let query = seconds
            .map(|seconds| format!("?timeout={seconds}s"))
            .unwrap_or_default();
        let service = &config["service"];
        if service.is_object() {
            let address = Address::of_service(service);
            let path = service["path"].as_str().unwrap_or_default().trim_start_matches('/');
            return Ok(Self {
                url: format!("https://{}/{path}{query}", address.authority()),
                address,
            });
        }
        let url = config["url"].as_str().unwrap_or_default();
        let parsed: Uri = url
            .parse()
            .map_err(|error| format!("Unparsable webhook URL: {url}: {error}"))?;
        let slash = if parsed.path().is_empty() { "/" } else { "" };
        Ok(Self {
            url: format!("{url}{slash}{query}"),
            address: Address::Host {
                host: parsed.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
                port: parsed.port_u16().unwrap_or(443),
            },
        })
    }
}

/// [`call`] for an admission webhook.
pub(crate) async fn post(
    server: &Server,
    config: &Value,
    body: Vec<u8>,
    timeout: Option<Duration>,
) -> Result<Vec<u8>, String> {
    let answered = call(server, config, body, timeout).await;
    answered.map_err(|why| format!("failed to call webhook: {why}"))
}

/// Posts a JSON body to the webhook of a `clientConfig`, and returns its answer. Errors are in the words of Go's client,
/// which people search for.
pub(crate) async fn call(
    server: &Server,
    config: &Value,
    body: Vec<u8>,
    timeout: Option<Duration>,
) -> Result<Vec<u8>, String> {
    let target = Target::of(config, timeout)?;
    let failed = |why: String| format!("Post {:?}: {why}", target.url);
    let answer = exchange(server, config, &target, body);
    let answered = match timeout {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(answered) => answered,
            Err(_) => Err(Trouble::Wire("context deadline exceeded".into())),
        },
    };
    answered.map_err(|trouble| match trouble {
        Trouble::Wire(why) => failed(why),
        Trouble::Answer(why) => why,
    })
}

enum Trouble {
    /// There was no answer.
    Wire(String),
    /// There was, but not the one that was hoped for.
    Answer(String),
}

async fn exchange(server: &Server, config: &Value, target: &Target, body: Vec<u8>) -> Result<Vec<u8>, Trouble> {
    let (status, bytes) = send(server, config, target, body).await.map_err(Trouble::Wire)?;
    if status.is_success() {
        return Ok(bytes.to_vec());
    }
    let said = String::from_utf8_lossy(&bytes).trim().to_owned();
    Err(Trouble::Answer(match status.as_u16() {
        404 => "the server could not find the requested resource".to_owned(),
        500.. => format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        _ => "the server rejected our request for an unknown reason".to_owned(),
    }))
}

async fn send(
    server: &Server,
    config: &Value,
    target: &Target,
    body: Vec<u8>,
) -> Result<(http::StatusCode, Bytes), String> {
    let stream = target.address.connect(server).await?;
    let trust = Trust::Bundle(config["caBundle"].as_str().unwrap_or_default());
    let stream = dial::secure(stream, &target.address.host(), trust.tls(None)?).await?;
    let uri: Uri = target.url.parse().map_err(|error| format!("{error}"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, target.address.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    dial::exchange(stream, request, LARGEST_ANSWER).await
}
