//! Port forwarding: connections to a pod's ports, any number of them on one connection of the client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::future::join_all;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::backend::{Backend, PodRef};
use crate::handshake::{self, Wire};
use crate::mux::{self, Incoming, Outgoing, Stopped};
use crate::spdy::{self, Session, Stream};
use crate::status::Failure;
use crate::websocket::{self, Codec, Tunnel};

const SPDY: &[&str] = &["portforward.k8s.io"];

/// SPDY's bytes in WebSocket messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Version 5 is left out: the clients that offer it everywhere do not expect its additions here.
const WEBSOCKET: &[&str] = &[
    TUNNEL,
    "portforward.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
];

/// How long the client may take to open the second stream of a pair.
const STREAM_CREATION: Duration = Duration::from_secs(30);

/// Two channels per port, numbered by one byte, 255 excluded.
const MAX_PORTS: usize = 127;

/// Serves `pods/portforward`.
///
/// Over SPDY the client opens a pair of streams, data and error, for each connection, and names the port in their headers.
/// Over WebSocket channels it names the ports in the request's `ports` parameters, and each is connected to once.
pub async fn port_forward(req: Request, backend: Arc<dyn Backend>, pod: PodRef) -> Response {
    serve(req, backend, pod).unwrap_or_else(Failure::into_response)
}

fn serve(mut req: Request, backend: Arc<dyn Backend>, pod: PodRef) -> Result<Response, Failure> {
    let handshake = handshake::negotiate(req.version(), req.headers(), SPDY, WEBSOCKET)?;
    let (wire, protocol) = (handshake.wire, handshake.protocol);
    let channels = wire == Wire::WebSocket && protocol != TUNNEL;
    let ports = if channels {
        ports(req.uri().query().unwrap_or_default())?
    } else {
        Vec::new()
    };
    let target = Target { backend, pod };
    let upgrade = hyper::upgrade::on(&mut req);
    tokio::spawn(async move {
        let io = match upgrade.await {
            Ok(io) => TokioIo::new(io),
            Err(error) => return tracing::debug!(%error, "the client left before the upgrade"),
        };
        match wire {
            Wire::Spdy => target.over_spdy(io).await,
            Wire::WebSocket if channels => target.over_channels(io, Codec::of(protocol), &ports).await,
            Wire::WebSocket => target.over_spdy(Tunnel::new(websocket::accept(io).await)).await,
        }
    });
    Ok(handshake.response)
}

/// The `ports` parameters of a query: repeated, comma-separated or both.
fn ports(query: &str) -> Result<Vec<u16>, Failure> {
    let mut ports = Vec::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if name != "ports" {
            continue;
        }
        for port in value.replace("%2C", ",").replace("%2c", ",").split(',') {
            if port.is_empty() {
                return Err(Failure::bad_request("query parameter \"ports\" cannot be empty"));
            }
            match port.parse() {
                Ok(0) => return Err(Failure::bad_request("port 0 must be > 0")),
                Ok(port) => ports.push(port),
                Err(_) => return Err(Failure::bad_request(format!("unable to parse {port:?} as a port"))),
            }
        }
    }
    match ports.len() {
        0 => Err(Failure::bad_request("query parameter \"ports\" is required")),
        1..=MAX_PORTS => Ok(ports),
        _ => Err(Failure::bad_request(format!(
            "at most {MAX_PORTS} ports can be forwarded at a time"
        ))),
    }
}

/// The pod whose ports are forwarded.
#[derive(Clone)]
struct Target {
    backend: Arc<dyn Backend>,
    pod: PodRef,
}

impl Target {
    async fn over_spdy(&self, io: impl AsyncRead + AsyncWrite + Send) {
        let (session, driver) = spdy::open(io);
        tokio::join!(driver, self.serve_pairs(session));
    }

    /// Pairs the client's streams and connects each pair, until the client leaves; then every connection is dropped.
    async fn serve_pairs(&self, mut session: Session) {
        let mut pairs = Pairs::default();
        let mut connections = JoinSet::new();
        let mut sweep = interval(STREAM_CREATION);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                stream = session.streams.recv() => match stream {
                    None => return,
                    Some(stream) => match pairs.add(stream) {
                        Ok(Some(pair)) => {
                            let target = self.clone();
                            connections.spawn(async move { target.serve_pair(pair).await });
                        }
                        Ok(None) => {}
                        Err(stray) => stray.outgoing.reset().await,
                    },
                },
                Some(_) = connections.join_next() => {}
                _ = sweep.tick() => {
                    for stray in pairs.expired() {
                        tracing::debug!("timed out waiting for the second stream of a pair");
                        stray.outgoing.reset().await;
                    }
                }
            }
        }
    }

    async fn serve_pair(&self, pair: Pair) {
        let Pair { port, mut data, error } = pair;
        tokio::select! {
            failure = self.connect(port, &mut data.incoming, &data.outgoing) => {
                if let Err(text) = failure {
                    let _ = error.outgoing.send(text).await;
                }
                // kubectl closes its side when both streams have ended, so the pod's end of the connection ends it all.
                data.outgoing.end().await;
                error.outgoing.end().await;
            }
            () = data.reset.cancelled() => error.outgoing.end().await,
        }
    }

    async fn over_channels(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send, codec: Codec, ports: &[u16]) {
        let channels = (0..ports.len() as u8).map(|index| 2 * index);
        let socket = websocket::accept(io).await;
        let (mut incoming, peer, driver) = websocket::open(socket, codec, channels.clone());
        let work = async {
            let connections = channels.zip(ports).filter_map(|(channel, &port)| {
                let from = incoming.remove(&channel)?;
                let (data, error) = (peer.outgoing(channel.into()), peer.outgoing((channel + 1).into()));
                Some(self.serve_channels(port, from, data, error))
            });
            tokio::select! {
                _ = join_all(connections.collect::<Vec<_>>()) => {}
                () = peer.gone.cancelled() => {}
            }
            peer.close().await;
        };
        tokio::join!(driver, work);
    }

    async fn serve_channels(&self, port: u16, mut from: Incoming, data: Outgoing, error: Outgoing) {
        // Both channels begin with the port, which tells the client which is which.
        let name = Bytes::copy_from_slice(&port.to_le_bytes());
        let _ = data.send(name.clone()).await;
        let _ = error.send(name).await;
        if let Err(text) = self.connect(port, &mut from, &data).await {
            let _ = error.send(text).await;
        }
    }

    /// Connects to a port and pumps until the pod closes the connection or the client is gone. The client's end of data is
    /// passed on, but does not end the connection.
    async fn connect(&self, port: u16, from: &mut Incoming, to: &Outgoing) -> Result<(), Bytes> {
        let failure = |error: &dyn std::fmt::Display| {
            let PodRef { name, uid, .. } = &self.pod;
            Bytes::from(format!(
                "error forwarding port {port} to pod {name}, uid {uid}: {error}"
            ))
        };
        let connection = self
            .backend
            .dial(&self.pod, port)
            .await
            .map_err(|error| failure(&error))?;
        let (read, write) = tokio::io::split(connection);
        let upwards = async {
            let _ = from.write_to(write).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = mux::pump(read, to) => match result {
                Err(Stopped::Read(error)) => Err(failure(&error)),
                Ok(()) | Err(Stopped::Gone) => Ok(()),
            },
            () = upwards => Ok(()),
        }
    }
}

/// The two streams of one forwarded connection.
struct Pair {
    port: u16,
    data: Stream,
    error: Stream,
}

/// Streams that wait for their other half.
#[derive(Default)]
struct Pairs(HashMap<String, Half>);

struct Half {
    stream: Stream,
    is_data: bool,
    port: u16,
    since: Instant,
}

impl Pairs {
    /// Takes a stream in. Returns the pair it completes, or the stream itself if it fits nowhere.
    fn add(&mut self, stream: Stream) -> Result<Option<Pair>, Stream> {
        let is_data = match stream.headers.get("streamtype") {
            Some("data") => true,
            Some("error") => false,
            _ => return Err(stream),
        };
        let Some(port) = stream
            .headers
            .get("port")
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0)
        else {
            return Err(stream);
        };
        let request = match stream.headers.get("requestid") {
            Some(id) => id.to_owned(),
            // The first clients sent none; they open the error stream and then, as the next one, the data stream.
            None => stream.id.wrapping_sub(if is_data { 2 } else { 0 }).to_string(),
        };
        match self.0.remove(&request) {
            None => {
                self.0.insert(
                    request,
                    Half {
                        stream,
                        is_data,
                        port,
                        since: Instant::now(),
                    },
                );
                Ok(None)
            }
            Some(half) if half.is_data == is_data || half.port != port => {
                self.0.insert(request, half);
                Err(stream)
            }
            Some(half) if is_data => Ok(Some(Pair {
                port,
                data: stream,
                error: half.stream,
            })),
            Some(half) => Ok(Some(Pair {
                port,
                data: half.stream,
                error: stream,
            })),
        }
    }

    /// Gives up on streams that have waited too long.
    fn expired(&mut self) -> Vec<Stream> {
        let now = Instant::now();
        let expired = self.0.extract_if(|_, half| now - half.since >= STREAM_CREATION);
        expired.map(|(_, half)| half.stream).collect()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;

    use crate::backend::{BackendError, Duplex, ExecOptions, LogOptions, LogStream, Process};
    use crate::spdy::client::{Client, Frame};

    use super::*;

    /// A pod whose ports lead to the test.
    struct Ports(mpsc::UnboundedSender<(u16, DuplexStream)>);

    #[async_trait]
    impl Backend for Ports {
        async fn logs(&self, _: &PodRef, _: LogOptions) -> Result<LogStream, BackendError> {
            Err(BackendError::NotFound("no logs".to_owned()))
        }
        async fn exec(&self, _: &PodRef, _: ExecOptions) -> Result<Process, BackendError> {
            Err(BackendError::NotFound("no commands".to_owned()))
        }
        async fn attach(&self, _: &PodRef, _: ExecOptions) -> Result<Process, BackendError> {
            Err(BackendError::NotFound("no process".to_owned()))
        }
        async fn dial(&self, _: &PodRef, port: u16) -> Result<Duplex, BackendError> {
            if port == 9 {
                return Err(BackendError::Internal("connection refused".to_owned()));
            }
            let (ours, theirs) = tokio::io::duplex(1024);
            self.0
                .send((port, theirs))
                .map_err(|_| BackendError::Internal("gone".to_owned()))?;
            Ok(Box::new(ours))
        }
    }

    fn forwarding() -> (Client, mpsc::UnboundedReceiver<(u16, DuplexStream)>) {
        let (client, io) = Client::new();
        let (dialled, ports) = mpsc::unbounded_channel();
        let pod = PodRef {
            namespace: "ns".to_owned(),
            name: "web".to_owned(),
            uid: "u1".to_owned(),
        };
        let target = Target {
            backend: Arc::new(Ports(dialled)),
            pod,
        };
        tokio::spawn(async move { target.over_spdy(io).await });
        (client, ports)
    }

    async fn open_pair(client: &mut Client, port: &str, request: &str) -> [u32; 2] {
        let error = client
            .open(&[("streamtype", "error"), ("port", port), ("requestid", request)])
            .await;
        let data = client
            .open(&[("streamtype", "data"), ("port", port), ("requestid", request)])
            .await;
        [data, error]
    }

    #[tokio::test]
    async fn each_pair_of_streams_is_a_connection_of_its_own() {
        let (mut client, mut ports) = forwarding();
        let [data, error] = open_pair(&mut client, "80", "0").await;
        let [other_data, other_error] = open_pair(&mut client, "81", "1").await;
        let mut pods = HashMap::from([ports.recv().await.unwrap(), ports.recv().await.unwrap()]);
        let (mut first, mut second) = (pods.remove(&80).unwrap(), pods.remove(&81).unwrap());

        client.send(data, b"request", true).await;
        let mut asked = String::new();
        first.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "request", "the client's end of data reaches the pod");
        first.write_all(b"answer").await.unwrap();
        drop(first);
        assert_eq!(client.collect([data, error]).await, ["answer", ""]);

        // The pod closing ends the connection although the client has not finished.
        second.write_all(b"bye").await.unwrap();
        drop(second);
        assert_eq!(client.collect([other_data, other_error]).await, ["bye", ""]);
    }

    #[tokio::test]
    async fn a_port_nobody_listens_on_is_told_on_the_error_stream() {
        let (mut client, _ports) = forwarding();
        let [data, error] = open_pair(&mut client, "9", "0").await;
        let expected = "error forwarding port 9 to pod web, uid u1: connection refused";
        assert_eq!(client.collect([data, error]).await, ["", expected]);
    }

    #[tokio::test]
    async fn connections_are_dropped_when_the_client_gives_them_up_or_leaves() {
        let (mut client, mut ports) = forwarding();
        let [data, _] = open_pair(&mut client, "80", "0").await;
        let (_, mut pod) = ports.recv().await.unwrap();
        client.reset(data).await;
        assert_eq!(pod.read(&mut [0]).await.unwrap(), 0);

        open_pair(&mut client, "80", "1").await;
        let (_, mut pod) = ports.recv().await.unwrap();
        drop(client);
        assert_eq!(pod.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_other_half_never_comes_is_reset_and_so_is_one_without_a_port() {
        let (mut client, _ports) = forwarding();
        let lonely = client
            .open(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")])
            .await;
        let portless = client.open(&[("streamtype", "data"), ("requestid", "1")]).await;
        let mut resets = Vec::new();
        while resets.len() < 2 {
            if let Frame::Reset { stream } = client.next().await.unwrap() {
                resets.push(stream);
            }
        }
        assert_eq!(resets, [portless, lonely]);
    }

    #[tokio::test]
    async fn the_first_clients_pair_streams_by_their_numbers() {
        let (mut client, mut ports) = forwarding();
        client.open(&[("streamtype", "error"), ("port", "80")]).await;
        client.open(&[("streamtype", "data"), ("port", "80")]).await;
        assert_eq!(ports.recv().await.unwrap().0, 80);
    }

    #[test]
    fn ports_come_repeated_or_separated_by_commas() {
        assert_eq!(ports("ports=80&x=1&ports=443,8080").unwrap(), [80, 443, 8080]);
        assert_eq!(ports("ports=80%2C81").unwrap(), [80, 81]);
        for (query, message) in [
            ("", "query parameter \"ports\" is required"),
            ("ports=", "query parameter \"ports\" cannot be empty"),
            ("ports=0", "port 0 must be > 0"),
            ("ports=70000", "unable to parse \"70000\" as a port"),
        ] {
            assert_eq!(ports(query).unwrap_err().message, message);
        }
        assert!(ports(&format!("ports={}", vec!["1"; 128].join(","))).is_err());
    }
}
