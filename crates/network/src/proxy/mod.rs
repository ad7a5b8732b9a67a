//! The service proxy: keeps one listener per port of every service that has endpoints.
//!
//! A service without endpoints has no listener, so that the kernel refuses connections to it at once; a program then
//! knows to try again, where a silent network would leave it hanging.

mod front;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use knarr_runtime::RuntimeError;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use self::front::{Front, Place, Wanted};
use crate::endpoint::Backends;
use crate::view::View;
use crate::{Context, announce};
use knarr_client::key::Key;

/// Until a port that another program holds is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Follows the view until the network ends.
pub(crate) async fn run(context: Context, mut view: watch::Receiver<Arc<View>>) {
    let (opened_tx, mut opened) = mpsc::unbounded_channel();
    let mut proxy = Proxy {
        context,
        slots: BTreeMap::new(),
        opened: opened_tx,
    };
    loop {
        tokio::select! {
            changed = view.changed() => {
                if changed.is_err() {
                    return;
                }
                let current = view.borrow_and_update().clone();
                proxy.apply(&current).await;
                proxy.publish_balancers(&current).await;
            }
            Some((front, is_open)) = opened.recv() => {
                if let Some(slot) = proxy.slots.get_mut(&front) {
                    slot.is_open = Some(is_open);
                }
                let current = view.borrow().clone();
                proxy.publish_balancers(&current).await;
            }
        }
    }
}

/// What listens on one front.
struct Slot {
    task: JoinHandle<()>,
    backends: watch::Sender<Backends>,
    /// Of a balancer's port: whether it could be opened, once that was tried.
    is_open: Option<bool>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Proxy {
    context: Context,
    slots: BTreeMap<Front, Slot>,
    /// Tells which balancers' ports could be opened.
    opened: mpsc::UnboundedSender<(Front, bool)>,
}

impl Proxy {
    async fn apply(&mut self, view: &View) {
        let options = &self.context.options;
        let taken = |ip| ip == options.dns_ip || options.reserved.contains(&ip);
        let mut wanted = front::wanted(view, self.context.runtime.node_ip(), &taken);
        let gone: Vec<Front> = self
            .slots
            .keys()
            .filter(|front| !wanted.contains_key(front))
            .cloned()
            .collect();
        for front in gone {
            if let Some(mut slot) = self.slots.remove(&front) {
                slot.task.abort();
                // Its socket is closed when this returns, so that the address is free for the next.
                let _ = (&mut slot.task).await;
                tracing::info!(%front, "Closed service port");
            }
        }
        for (front, slot) in &self.slots {
            if let Some(Wanted { backends, .. }) = wanted.remove(front) {
                slot.backends.send_if_modified(|current| {
                    let differs = *current != backends;
                    *current = backends;
                    differs
                });
            }
        }
        for (front, Wanted { service, backends }) in wanted {
            let (sender, receiver) = watch::channel(backends);
            let task = serve(
                self.context.clone(),
                front.clone(),
                service,
                receiver,
                self.opened.clone(),
            );
            let slot = Slot {
                task: tokio::spawn(task),
                backends: sender,
                is_open: None,
            };
            self.slots.insert(front, slot);
        }
    }

    /// A load balancer's address is told once all of its ports are open, and taken back with it.
    async fn publish_balancers(&self, view: &View) {
        for (key, entry) in &view.services {
            let status = entry
                .service
                .status
                .as_ref()
                .and_then(|status| status.load_balancer.as_ref());
            let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
            let told = ingress
                .iter()
                .find_map(|ingress| ingress.ip.as_deref()?.parse::<Ipv4Addr>().ok());
            let mut ip = front::balancer_ip(entry);
            if let Some(address) = ip {
                let own = |front: &Front| front.place == Place::Balancer && front.address.ip() == IpAddr::V4(address);
                let slots = self.slots.iter().filter(|(front, _)| own(front));
                let ports: Vec<Option<bool>> = slots.map(|(_, slot)| slot.is_open).collect();
                if ports.contains(&None) {
                    continue; // to be seen
                }
                ip = ip.filter(|_| !ports.is_empty() && !ports.contains(&Some(false)));
            }
            // What others have told is theirs.
            if ip != told && told.is_none_or(|told| told.is_loopback()) {
                announce::balancer(&self.context, key, ip).await;
            }
        }
    }
}

/// Opens a front, waiting for its port to become free if need be, and serves it.
async fn serve(
    context: Context,
    front: Front,
    service: Key,
    backends: watch::Receiver<Backends>,
    opened: mpsc::UnboundedSender<(Front, bool)>,
) {
    let tell = |is_open: bool| {
        if front.place == Place::Balancer {
            let _ = opened.send((front.clone(), is_open)); // nobody hears it when the network ends
        }
    };
    let mut complained = false;
    let socket = loop {
        match open(&context, &front).await {
            Ok(socket) => break socket,
            Err(reason) => {
                if !complained {
                    tracing::warn!(%front, reason, "Cannot open service port");
                    let hint = match front.place {
                        Place::Balancer => "; its node port is on 127.0.0.1",
                        Place::Node | Place::Host => "",
                    };
                    let message = format!("cannot listen on {front}: {reason}{hint}");
                    announce::port_not_opened(&context, &service, message);
                    complained = true;
                    tell(false);
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tracing::info!(service = %format_args!("{}/{}", service.namespace, service.name), %front, "Opened service port");
    tell(true);
    match socket {
        Socket::Stream(listener) => tcp::serve(context, listener, backends).await,
        Socket::Datagram(socket) => udp::serve(context, socket, backends).await,
    }
}

/// The node's network has a route to pods and services only. An endpoint outside the cluster, as somebody has written
/// it into an Endpoints object by hand, is reached from the host; what the host has for itself is not.
fn is_outside(address: SocketAddr, error: &io::Error) -> bool {
    let ip = address.ip().to_canonical();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let own = local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified();
    error.kind() == io::ErrorKind::NetworkUnreachable && !own
}

enum Socket {
    Stream(TcpListener),
    Datagram(UdpSocket),
}

async fn open(context: &Context, front: &Front) -> Result<Socket, String> {
    let address = front.address;
    let inside = |error: RuntimeError| error.to_string();
    let outside = |error: io::Error| error.to_string();
    Ok(match (front.place, front.datagrams) {
        (Place::Node, false) => Socket::Stream(context.runtime.listen_node(address).await.map_err(inside)?),
        (Place::Node, true) => Socket::Datagram(context.runtime.bind_node(address).await.map_err(inside)?),
        (Place::Host | Place::Balancer, false) => Socket::Stream(TcpListener::bind(address).await.map_err(outside)?),
        (Place::Host | Place::Balancer, true) => Socket::Datagram(UdpSocket::bind(address).await.map_err(outside)?),
    })
}
