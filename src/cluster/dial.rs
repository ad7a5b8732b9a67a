//! Connections to API servers.
//!
//! Watches and followed logs are silent for long, so the network itself is asked whether the other side is still there: a connection that
//! is dead (a VPN that is down, a server that has lost its power) is found within 15 s, not when somebody wants to send something.
//!
//! A proxy is the one that the kubeconfig names (`proxy-url`), else what the environment says (`HTTPS_PROXY`, `NO_PROXY`), as for
//! kubectl: HTTP, HTTPS or SOCKS5. What listens on this machine is never reached through one of the environment's.

use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt as _};
use tower::{BoxError, Service, ServiceBuilder};

/// How long a connection may be silent before the other side is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(6);
/// How often it is asked before the connection is given up, and how long each answer may take.
const PROBES: u32 = 3;
const PROBE: Duration = Duration::from_secs(3);
/// How long what was sent may go unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// A client for what a kubeconfig says; its `proxy_url` is what the kubeconfig itself names. It may run a credential plugin.
pub(super) fn client(config: kube::Config) -> kube::Result<kube::Client> {
    let Some(proxy) = proxy_to(&config, &Matcher::from_env())? else {
        return through(connector(), config);
    };
    match (proxy.uri().scheme_str(), proxy.raw_auth()) {
        (Some("http"), _) => through(tunnel(&proxy, connector()), config),
        (Some("https"), _) => {
            let tls = config.rustls_https_connector_with_connector(connector())?;
            through(tunnel(&proxy, tls), config)
        }
        // Names are looked up by the proxy, as Go's programs have it for both.
        (Some("socks5" | "socks5h"), auth) => {
            let socks = SocksV5::new(proxy.uri().clone(), connector());
            match auth {
                Some((user, password)) => through(socks.with_auth(user.to_owned(), password.to_owned()), config),
                None => through(socks, config),
            }
        }
        _ => Err(unsupported(proxy.uri())),
    }
}

/// The proxy between here and the server, if there is one.
fn proxy_to(config: &kube::Config, environment: &Matcher) -> kube::Result<Option<Intercept>> {
    if let Some(named) = &config.proxy_url {
        let only = Matcher::builder().all(named.to_string()).build();
        let proxy = only.intercept(&config.cluster_url);
        return proxy.map(Some).ok_or_else(|| unsupported(named));
    }
    let host = config.cluster_url.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    Ok(environment.intercept(&config.cluster_url).filter(|_| !is_here))
}

fn unsupported(proxy: &Uri) -> kube::Error {
    kube::Error::ProxyProtocolUnsupported {
        proxy_url: Box::new(proxy.clone()),
    }
}

fn tunnel<C>(proxy: &Intercept, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

/// A client whose connections are made by `connector`.
fn through<C>(connector: C, config: kube::Config) -> kube::Result<kube::Client>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let mut https = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
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
    use std::net::SocketAddr;

    use base64::Engine as _;
    use nix::sys::socket::{getsockopt, sockopt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_dead_connection_is_found_within_fifteen_seconds_while_nothing_is_sent() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
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

    /// Serves each connection to a port of its own.
    async fn serve<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(each(stream));
            }
        });
        address
    }

    async fn head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        String::from_utf8(head).expect("text")
    }

    async fn cluster() -> SocketAddr {
        serve(|mut stream| async move {
            head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
            let _ = stream.write_all(answer).await;
        })
        .await
    }

    async fn http_proxy(told: UnboundedSender<String>) -> SocketAddr {
        serve(move |mut stream| {
            let told = told.clone();
            async move {
                let head = head(&mut stream).await;
                let to = head.split(' ').nth(1).expect("an address").to_owned();
                let _ = told.send(head.to_lowercase());
                let mut there = TcpStream::connect(to).await.expect("the cluster");
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let _ = copy_bidirectional(&mut stream, &mut there).await;
            }
        })
        .await
    }

    async fn socks_proxy(told: UnboundedSender<String>) -> SocketAddr {
        serve(move |mut stream| {
            let told = told.clone();
            async move {
                let mut offer = [0; 2];
                stream.read_exact(&mut offer).await.expect("a greeting");
                let mut methods = vec![0; usize::from(offer[1])];
                stream.read_exact(&mut methods).await.expect("methods");
                let _ = stream.write_all(&[5, 0]).await;
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.expect("a request");
                let host = match request[3] {
                    1 => std::net::Ipv4Addr::from(stream.read_u32().await.expect("an address")).to_string(),
                    _ => {
                        let mut name = vec![0; usize::from(stream.read_u8().await.expect("a length"))];
                        stream.read_exact(&mut name).await.expect("a name");
                        String::from_utf8(name).expect("text")
                    }
                };
                let to = format!("{host}:{}", stream.read_u16().await.expect("a port"));
                let mut there = TcpStream::connect(&to).await.expect("the cluster");
                let _ = told.send(to);
                let _ = stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await;
                let _ = copy_bidirectional(&mut stream, &mut there).await;
            }
        })
        .await
    }

    fn config(cluster: SocketAddr, proxy: String) -> kube::Config {
        let mut config = kube::Config::new(format!("http://{cluster}").parse().expect("a URI"));
        config.proxy_url = Some(proxy.parse().expect("a URI"));
        config
    }

    async fn get(config: kube::Config) -> String {
        let client = client(config).expect("a client");
        let request = http::Request::get("/version").body(Vec::new()).expect("a request");
        client.request_text(request).await.expect("an answer")
    }

    #[tokio::test]
    async fn a_cluster_is_reached_through_the_proxy_that_its_kubeconfig_names() {
        let cluster = cluster().await;
        let (told, mut asked) = unbounded_channel();
        let proxy = http_proxy(told.clone()).await;
        assert_eq!(
            get(config(cluster, format!("http://me:se%20cret@{proxy}"))).await,
            "hello"
        );
        let head = asked.recv().await.expect("asked");
        assert!(head.starts_with(&format!("connect {cluster} http/1.1")), "{head}");
        let secret = base64::engine::general_purpose::STANDARD
            .encode("me:se cret")
            .to_lowercase();
        assert!(head.contains(&format!("proxy-authorization: basic {secret}")), "{head}");

        let proxy = socks_proxy(told).await;
        assert_eq!(get(config(cluster, format!("socks5://{proxy}"))).await, "hello");
        assert_eq!(asked.recv().await, Some(cluster.to_string()));

        let unknown = client(config(cluster, "ftp://proxy.example".into()));
        assert!(matches!(unknown, Err(kube::Error::ProxyProtocolUnsupported { .. })));
    }

    #[test]
    fn the_proxy_of_the_environment_is_for_other_machines_and_not_for_exceptions() {
        let environment = Matcher::builder()
            .all("http://proxy:3128")
            .no("intern.example,10.0.0.0/8")
            .build();
        let is_through = |server: &str, named: Option<&str>| {
            let mut config = kube::Config::new(server.parse().expect("a URI"));
            config.proxy_url = named.map(|named| named.parse().expect("a URI"));
            let proxy = proxy_to(&config, &environment).expect("a known protocol");
            proxy.map(|proxy| proxy.uri().host().unwrap_or_default().to_owned())
        };
        assert_eq!(is_through("https://cluster.example", None).as_deref(), Some("proxy"));
        for direct in [
            "https://api.intern.example:6443",
            "https://10.1.2.3",
            "https://127.0.0.1:6443",
            "https://[::1]:6443",
            "http://localhost:8080",
        ] {
            assert_eq!(is_through(direct, None), None, "{direct}");
        }
        let named = is_through("https://127.0.0.1:6443", Some("socks5://other:1080"));
        assert_eq!(named.as_deref(), Some("other"), "what is named is used");
    }
}
