//! One attempt of one probe.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knarr_runtime::{Connection, Runtime, RuntimeError};

use super::{Outcome, grpc, http};
use crate::command;
use crate::context::Context;

/// Makes one attempt, within the probe's timeout.
pub(super) async fn attempt(
    cx: &Context,
    id: &str,
    container: &Container,
    probe: &Probe,
    pod_ip: Option<IpAddr>,
) -> Outcome {
    let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1));
    if let Some(exec) = &probe.exec {
        let argv = exec.command.as_deref().unwrap_or_default();
        return match tokio::time::timeout(timeout, command::run(cx.runtime.as_ref(), id, argv)).await {
            Ok(Ok((exit, output))) if exit.code == 0 => Outcome::Success(output),
            Ok(Ok((_, output))) => Outcome::Failure(output),
            Ok(Err(RuntimeError::NoSuchProgram(text))) => Outcome::Unknown(format!(
                "OCI runtime exec failed: exec failed: unable to start container process: {text}"
            )),
            Ok(Err(error)) => Outcome::Unknown(error.to_string()),
            Err(_) => Outcome::Failure(format!(
                "command timed out: {:?} timed out after {}",
                argv.join(" "),
                crate::backoff::go(timeout)
            )),
        };
    }
    if let Some(action) = &probe.http_get {
        return match target(container, action, pod_ip) {
            Ok(target) => http::get(cx.runtime.as_ref(), &target, timeout).await,
            Err(why) => Outcome::Unknown(why),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.as_deref().filter(|host| !host.is_empty());
        let address = port(container, &action.port).and_then(|port| Ok(SocketAddr::new(address(host, pod_ip)?, port)));
        return match address {
            Ok(address) => match tokio::time::timeout(timeout, connect(cx.runtime.as_ref(), address)).await {
                Ok(Ok(_)) => Outcome::Success(String::new()),
                Ok(Err(why)) => Outcome::Failure(why),
                Err(_) => Outcome::Failure(format!("dial tcp {address}: i/o timeout")),
            },
            Err(why) => Outcome::Unknown(why),
        };
    }
    if let Some(action) = &probe.grpc {
        let port = u16::try_from(action.port).map_err(|_| format!("invalid port number: {}", action.port));
        let address = port.and_then(|port| Ok(SocketAddr::new(address(None, pod_ip)?, port)));
        let service = action.service.as_deref().unwrap_or_default();
        return match address {
            Ok(address) => grpc::check(cx.runtime.as_ref(), address, service, timeout).await,
            Err(why) => Outcome::Unknown(why),
        };
    }
    Outcome::Unknown("missing probe handler".into())
}

/// One HTTP GET for a lifecycle hook.
pub(crate) async fn http_get(
    cx: &Context,
    container: &Container,
    action: &HTTPGetAction,
    pod_ip: Option<IpAddr>,
) -> Outcome {
    /// Hooks have no timeout of their own.
    const PATIENCE: Duration = Duration::from_secs(3600);
    match target(container, action, pod_ip) {
        Ok(target) => http::get(cx.runtime.as_ref(), &target, PATIENCE).await,
        Err(why) => Outcome::Unknown(why),
    }
}

fn target(container: &Container, action: &HTTPGetAction, pod_ip: Option<IpAddr>) -> Result<http::Target, String> {
    let host = action.host.as_deref().filter(|host| !host.is_empty());
    let headers = action.http_headers.iter().flatten();
    let path = action.path.as_deref().unwrap_or("/");
    Ok(http::Target {
        https: action
            .scheme
            .as_deref()
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        address: SocketAddr::new(address(host, pod_ip)?, port(container, &action.port)?),
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        },
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

fn address(host: Option<&str>, pod_ip: Option<IpAddr>) -> Result<IpAddr, String> {
    match host {
        Some("localhost") => Ok(IpAddr::from([127, 0, 0, 1])),
        Some(host) => host
            .parse()
            .map_err(|_| format!("dial tcp: lookup {host}: no such host")),
        None => pod_ip.ok_or_else(|| "the pod has no IP address".into()),
    }
}

/// A port by number or by the name that the container gives it.
fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    let number = number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0);
    number.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("strconv.Atoi: parsing {name:?}: invalid syntax"),
    })
}

/// Connects, and words a refusal as people know it.
pub(super) async fn connect(runtime: &dyn Runtime, address: SocketAddr) -> Result<Box<dyn Connection>, String> {
    runtime.dial_node(address).await.map_err(|error| match error {
        RuntimeError::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
            std::io::ErrorKind::TimedOut => format!("dial tcp {address}: i/o timeout"),
            std::io::ErrorKind::HostUnreachable => format!("dial tcp {address}: connect: no route to host"),
            _ => format!("dial tcp {address}: connect: {source}"),
        },
        other => format!("dial tcp {address}: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_found_by_name_and_paths_get_their_slash() {
        let container: Container =
            serde_json::from_value(json!({ "name": "c", "ports": [{ "name": "http", "containerPort": 8080 }] }))
                .expect("a container");
        let action: HTTPGetAction =
            serde_json::from_value(json!({ "path": "healthy", "port": "http" })).expect("an action");
        let target = target(&container, &action, Some(IpAddr::from([10, 244, 0, 5]))).expect("a target");
        assert_eq!(
            (target.address.to_string().as_str(), target.path.as_str()),
            ("10.244.0.5:8080", "/healthy")
        );
        let missing = port(&container, &IntOrString::String("grpc".into()));
        assert_eq!(missing, Err("strconv.Atoi: parsing \"grpc\": invalid syntax".into()));
        assert!(port(&container, &IntOrString::Int(70_000)).is_err());
    }
}
