//! `pods/proxy`, `services/proxy`: HTTP through the API server to what listens in a pod.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use knarr_resource::Status;
use knarr_stream::backend::{Backend, BackendError, Duplex, PodRef};
use serde_json::Value;
use tokio::net::TcpStream;

use super::node;
use crate::dial;
use crate::http::request_info::RequestInfo;
use crate::object::name_of;
use crate::refusal;
use crate::server::Server;

/// Where a proxied request goes.
enum Target {
    Pod {
        backend: Arc<dyn Backend>,
        pod: PodRef,
        /// Only to say what could not be reached.
        ip: String,
        port: u16,
    },
    /// An endpoint that is no pod.
    Address(SocketAddr),
}

pub(crate) async fn answer(server: &Server, call: RequestInfo, body: Body) -> Result<Response<Body>, Status> {
    let prefix = {
        let path = call.parts.uri.path();
        let rest = call.rest.as_deref().unwrap_or_default();
        path.strip_suffix(rest).unwrap_or(path).to_owned()
    };
    let target = match call.resource.plural.as_str() {
        "pods" => pod(server, &call)?,
        "services" => service(server, &call)?,
        _ => return node_page(server, &call).await,
    };
    let Some(rest) = call.rest.as_deref() else {
        if matches!(call.parts.method, Method::GET | Method::HEAD) {
            return Ok(redirect(&prefix, call.parts.uri.query()));
        }
        return forward(call, body, target, "/", &prefix).await;
    };
    let rest = rest.to_owned();
    forward(call, body, target, &rest, &prefix).await
}

/// What a node tells of itself. `NAME` and `NAME:PORT` are the same here: its server has no socket.
async fn node_page(server: &Server, call: &RequestInfo) -> Result<Response<Body>, Status> {
    let (name, _) = split(&call.name)?;
    let Some(backend) = server.backend(name) else {
        let message = format!("error dialing backend: node {name:?} cannot be reached");
        return Err(refusal::internal(message));
    };
    let plain = |status: StatusCode, text: String| (status, "text/plain; charset=utf-8", text.into());
    let path = call.rest.as_deref().unwrap_or("/");
    let (status, kind, body): (_, _, bytes::Bytes) = if matches!(call.parts.method, Method::GET | Method::HEAD) {
        match backend.node(path).await {
            Ok(answer) => (StatusCode::OK, answer.content_type, answer.body),
            Err(BackendError::NotFound(text)) => plain(StatusCode::NOT_FOUND, text),
            Err(BackendError::BadRequest(text)) => plain(StatusCode::BAD_REQUEST, text),
            Err(BackendError::Internal(text)) => plain(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    } else {
        plain(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed".into())
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Relative links of the proxied page work only below a path that ends with a slash.
fn redirect(prefix: &str, query: Option<&str>) -> Response<Body> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{prefix}/{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

async fn forward(
    call: RequestInfo,
    body: Body,
    target: Target,
    path: &str,
    prefix: &str,
) -> Result<Response<Body>, Status> {
    let path_and_query = match call.parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let connect = async move {
        match target {
            Target::Pod { backend, pod, ip, port } => match backend.dial(&pod, port).await {
                // A node dials from inside the pod and says so. Whoever asks for a page knows the pod by its address.
                Err(BackendError::Internal(text)) => {
                    let local = format!("127.0.0.1:{port}: ");
                    let why = text
                        .split_once(&local)
                        .map(|(_, why)| format!("dial tcp {ip}:{port}: {why}"));
                    Err(BackendError::Internal(why.unwrap_or(text)))
                }
                other => other,
            },
            Target::Address(address) => match TcpStream::connect(address).await {
                Ok(stream) => Ok(Box::new(stream) as Duplex),
                Err(error) => Err(BackendError::Internal(format!("dial tcp {address}: {error}"))),
            },
        }
    };
    let request = Request::from_parts(call.parts, body);
    Ok(knarr_stream::proxy(request, connect, &path_and_query, prefix).await)
}

/// `name`, `name:port` or `scheme:name:port`, as name and port.
fn split(name: &str) -> Result<(&str, &str), Status> {
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        [name] => Ok((name, "")),
        [name, port] => Ok((name, port)),
        ["" | "http", name, port] => Ok((name, port)),
        ["https", ..] => Err(Status::bad_request("https targets are not supported by this proxy")),
        _ => Err(Status::bad_request(format!("invalid proxy target {name:?}"))),
    }
}

fn pod(server: &Server, call: &RequestInfo) -> Result<Target, Status> {
    let (name, port) = split(&call.name)?;
    let pod = server
        .find("", "pods", &call.namespace, name)
        .ok_or_else(|| Status::not_found(&call.resource, name))?;
    let port = match port {
        // The first port the pod declares.
        "" => pod["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|container| container["ports"].as_array().into_iter().flatten())
            .find_map(|port| port["containerPort"].as_u64())
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(80),
        port => number(port)?,
    };
    to_pod(server, &pod, port)
}

fn to_pod(server: &Server, pod: &Value, port: u16) -> Result<Target, Status> {
    Ok(Target::Pod {
        backend: node::backend(server, pod)?,
        pod: node::pod_ref(pod),
        ip: pod["status"]["podIP"].as_str().unwrap_or_default().to_owned(),
        port,
    })
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| Status::bad_request(format!("invalid port {port:?}")))
}

/// A ready endpoint of a Service.
fn service(server: &Server, call: &RequestInfo) -> Result<Target, Status> {
    let (name, asked) = split(&call.name)?;
    let service = server
        .find("", "services", &call.namespace, name)
        .ok_or_else(|| Status::not_found(&call.resource, name))?;
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let port = match asked {
        "" => match ports.as_slice() {
            [only] => only,
            _ => ports
                .iter()
                .find(|port| port["name"] == "http")
                .ok_or_else(|| refusal::unavailable(format!("service {name:?} has several ports, name one of them")))?,
        },
        asked => ports
            .iter()
            .find(|port| port["name"] == asked || port["port"].as_u64().is_some_and(|own| own.to_string() == asked))
            .ok_or_else(|| refusal::unavailable(format!("no service port {asked:?} found for service {name:?}")))?,
    };
    let endpoint = dial::endpoint(server, &call.namespace, name, port["name"].as_str().unwrap_or_default());
    let (address, port) =
        endpoint.ok_or_else(|| refusal::unavailable(format!("no endpoints available for service {name:?}")))?;
    target(server, call, &address, port)
}

fn target(server: &Server, call: &RequestInfo, address: &Value, port: u16) -> Result<Target, Status> {
    let reference = &address["targetRef"];
    if reference["kind"] == "Pod" {
        let name = reference["name"].as_str().unwrap_or_default();
        let pod = server.find("", "pods", &call.namespace, name);
        if let Some(pod) = pod.filter(|pod| name_of(pod) == name) {
            return to_pod(server, &pod, port);
        }
    }
    // Written by somebody's hand; what the host has for itself is not to be had through it.
    let ip = address["ip"].as_str().and_then(|ip| ip.parse().ok());
    match ip {
        Some(ip) if dial::is_elsewhere(ip) => Ok(Target::Address(SocketAddr::new(ip, port))),
        _ => Err(Status::bad_request("address not allowed")),
    }
}
