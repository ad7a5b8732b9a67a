//! Host ports: a pod's ports on the node itself, where its pods and the host find them. What comes in is passed on to the pod.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_runtime::{Mode, RuntimeError};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::container::on_host_network;
use crate::context::Context;

/// Without answers a client's way back for datagrams is forgotten after this.
const IDLE: Duration = Duration::from_secs(60);
/// Clients of one datagram port at a time; further ones are not heard.
const CLIENTS: usize = 1024;
/// Until connections are accepted again after that failed: usually this process has too many files open.
const PAUSE: Duration = Duration::from_millis(200);

/// A pod's open host ports. Dropping them closes them, and the connections through them.
#[derive(Default)]
pub(super) struct HostPorts(Vec<AbortOnDropHandle<()>>);

impl HostPorts {
    /// Opens what the pod asks for: on the node's address, and on the host's loopback, which stands for the node's outside. What cannot be
    /// opened is told by an event about it.
    pub(super) async fn open(cx: &Arc<Context>, pod: &Pod, about: ObjectReference, ip: IpAddr) -> Self {
        let mode = cx.runtime.mode();
        // Pods of the node's network have their ports there already; simulated ones have no network.
        if on_host_network(pod) || mode == Mode::Hollow {
            return Self::default();
        }
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut open = Self::default();
        for port in containers.flat_map(|container| container.ports.iter().flatten()) {
            let number = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
            let (Some(host_port), Some(target)) = (number(port.host_port), number(Some(port.container_port))) else {
                continue;
            };
            let target = SocketAddr::new(ip, target);
            let wanted: Option<IpAddr> = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
            let everywhere = wanted.is_none_or(|ip| ip.is_unspecified());
            let loopback = outside(cx.options.node_ip);
            let node = (matches!(mode, Mode::Root | Mode::UserNamespace), cx.options.node_ip);
            for (inside, address) in [node, (false, loopback)] {
                let address = match wanted {
                    Some(ip) if !inside && ip.is_loopback() => SocketAddr::new(ip, host_port),
                    _ if everywhere || wanted == Some(address) => SocketAddr::new(address, host_port),
                    _ => continue,
                };
                // Without networks of their own, pods may listen there themselves.
                if address == target || (!inside && address.ip() != loopback && !address.ip().is_loopback()) {
                    continue;
                }
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                match serve(cx, protocol, inside, address, target).await {
                    Ok(Some(task)) => open.0.push(task),
                    Ok(None) => {}
                    Err(error) => {
                        let message = format!("cannot open hostport {host_port} for pod: {error}");
                        cx.events.warning(about.clone(), "HostPortUnavailable", message);
                    }
                }
            }
        }
        open
    }
}

/// The host's loopback address that stands for a node's outside: 127.0.0.1 for the first, 127.244.3.1 for the one at 10.244.3.1.
fn outside(node: IpAddr) -> IpAddr {
    match node {
        IpAddr::V4(ip) if ip.octets()[2] > 0 => {
            let [_, b, c, d] = ip.octets();
            Ipv4Addr::new(127, b, c, d).into()
        }
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

/// Opens one port in the node's network (`inside`) or on the host. `None`: nobody passes this protocol on.
async fn serve(
    cx: &Arc<Context>,
    protocol: &str,
    inside: bool,
    address: SocketAddr,
    target: SocketAddr,
) -> Result<Option<AbortOnDropHandle<()>>, RuntimeError> {
    let lower = protocol.to_ascii_lowercase();
    let failed = |source| RuntimeError::Io {
        context: format!("listen {lower} {address}"),
        source,
    };
    let task = match protocol {
        "TCP" => {
            let listener = if inside {
                cx.runtime.listen_node(address).await?
            } else {
                TcpListener::bind(address).await.map_err(failed)?
            };
            tokio::spawn(connections(cx.clone(), listener, target))
        }
        "UDP" => {
            let socket = if inside {
                cx.runtime.bind_node(address).await?
            } else {
                UdpSocket::bind(address).await.map_err(failed)?
            };
            tokio::spawn(datagrams(cx.clone(), socket, target))
        }
        _ => return Ok(None),
    };
    Ok(Some(AbortOnDropHandle::new(task)))
}

async fn connections(cx: Arc<Context>, listener: TcpListener, target: SocketAddr) {
    // They end with this task.
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((mut client, _)) => {
                    let cx = cx.clone();
                    open.spawn(async move {
                        match cx.runtime.dial_node(target).await {
                            Ok(mut pod) => {
                                let _ = client.set_nodelay(true);
                                let _ = tokio::io::copy_bidirectional(&mut client, &mut pod).await; // either side may leave
                            }
                            // A reset says that nobody listens; an orderly end would say that there was nothing to be had.
                            Err(_) => drop(client.set_zero_linger()),
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to a host port was not accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn datagrams(cx: Arc<Context>, socket: UdpSocket, target: SocketAddr) {
    let socket = Arc::new(socket);
    // Each client has a socket of its own, so that answers find their way back.
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answers: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error tells of an answer that did not arrive; the socket goes on.
                let Ok((length, client)) = received else { continue };
                if !clients.contains_key(&client) && clients.len() < CLIENTS {
                    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                    let Ok(way) = cx.runtime.bind_node(any).await else { continue };
                    if way.connect(target).await.is_err() {
                        continue;
                    }
                    let way = Arc::new(way);
                    answers.spawn(answer(client, socket.clone(), way.clone()));
                    clients.insert(client, way);
                }
                if let Some(way) = clients.get(&client) {
                    let _ = way.send(&buffer[..length]).await; // datagrams may get lost
                }
            }
            Some(ended) = answers.join_next() => {
                if let Ok(client) = ended {
                    clients.remove(&client);
                }
            }
        }
    }
}

/// Passes answers back until there has been none for a while.
async fn answer(client: SocketAddr, front: Arc<UdpSocket>, way: Arc<UdpSocket>) -> SocketAddr {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    while let Ok(Ok(length)) = tokio::time::timeout(IDLE, way.recv(&mut buffer)).await {
        let _ = front.send_to(&buffer[..length], client).await; // datagrams may get lost
    }
    client
}
