//! Connections to API servers.
//!
//! Watches and followed logs are silent for long, so the network itself is asked whether the other side is still there: a connection that
//! is dead (a VPN that is down, a server that has lost its power) is found within 15 s, not when somebody wants to send something.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt as _};
use tower::{BoxError, ServiceBuilder};

/// How long a connection may be silent before the other side is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(6);
/// How often it is asked before the connection is given up, and how long each answer may take.
const PROBES: u32 = 3;
const PROBE: Duration = Duration::from_secs(3);
/// How long what was sent may go unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// A client for what a kubeconfig says. It may run a credential plugin.
pub(super) fn client(config: kube::Config) -> kube::Result<kube::Client> {
    if let Some(proxy) = &config.proxy_url {
        return Err(kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(proxy.clone()),
        });
    }
    let mut https = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector())?);
    https.set_connect_timeout(config.connect_timeout);
    https.set_write_timeout(config.write_timeout);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Client::builder(TokioExecutor::new()).build(https));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// Makes connections that notice when they are dead.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS is what is around it.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(PROBE));
    connector.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{getsockopt, sockopt};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_dead_connection_is_found_within_fifteen_seconds_while_nothing_is_sent() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", server.local_addr().expect("bound"));
        let connection = connector()
            .oneshot(address.parse().expect("a URI"))
            .await
            .expect("it listens");
        let socket = connection.inner();
        assert!(getsockopt(socket, sockopt::KeepAlive).expect("an option"));
        let silent = getsockopt(socket, sockopt::TcpKeepIdle).expect("an option");
        let probes = getsockopt(socket, sockopt::TcpKeepCount).expect("an option");
        let each = getsockopt(socket, sockopt::TcpKeepInterval).expect("an option");
        assert!(silent + probes * each <= 15, "{silent} + {probes} * {each}");
        let unacknowledged = getsockopt(socket, sockopt::TcpUserTimeout).expect("an option");
        assert!((1..=15_000).contains(&unacknowledged), "{unacknowledged}");
    }
}
