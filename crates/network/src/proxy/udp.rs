//! Datagrams to services.
//!
//! Datagrams have no connections, but answers must find their way back and a client's datagrams should meet the same
//! backend: so each client gets a socket of its own, which lives until nothing has passed for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::Context;
use crate::endpoint::{Backends, Balancer};

/// Without traffic a client is forgotten after this.
const IDLE: Duration = Duration::from_secs(60);
/// Clients of one port at a time; further ones are not heard.
const CLIENTS: usize = 1024;

struct Session {
    backend: SocketAddr,
    socket: Arc<UdpSocket>,
    used: Arc<Mutex<Instant>>,
    answers: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

/// Passes datagrams on for as long as the service's port is open.
pub(super) async fn serve(context: Context, socket: UdpSocket, mut backends: watch::Receiver<Backends>) {
    let socket = Arc::new(socket);
    let mut balancer = Balancer::new(rand::random::<u16>().into());
    let mut sessions: HashMap<SocketAddr, Session> = HashMap::new();
    // Each ends when its client has been silent for long.
    let mut answers: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error tells of an answer that did not arrive; the socket goes on.
                let Ok((length, client)) = received else { continue };
                let current = backends.borrow().clone();
                if !sessions.contains_key(&client) {
                    if sessions.len() >= CLIENTS {
                        continue;
                    }
                    match open(&context, client, &current, &mut balancer, &socket, &mut answers).await {
                        Some(session) => sessions.insert(client, session),
                        None => continue,
                    };
                }
                if let Some(session) = sessions.get(&client) {
                    *session.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    let _ = session.socket.send(&buffer[..length]).await; // datagrams may get lost
                }
            }
            Some(ended) = answers.join_next() => {
                // Unless the client has a new session by now.
                if let Ok(client) = ended
                    && sessions.get(&client).is_some_and(|session| session.answers.is_finished())
                {
                    sessions.remove(&client);
                }
            }
            Ok(()) = backends.changed() => {
                let current = backends.borrow_and_update();
                sessions.retain(|_, session| current.addresses.contains(&session.backend));
            }
        }
    }
}

async fn open(
    context: &Context,
    client: SocketAddr,
    backends: &Backends,
    balancer: &mut Balancer,
    front: &Arc<UdpSocket>,
    answers: &mut JoinSet<SocketAddr>,
) -> Option<Session> {
    let backend = *balancer.order(client.ip(), backends).first()?;
    balancer.chosen(client.ip(), backend, backends);
    let any: IpAddr = match backend {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let any = SocketAddr::new(any, 0);
    let mut socket = context.runtime.bind_node(any).await.ok()?;
    if let Err(error) = socket.connect(backend).await {
        if !super::is_outside(backend, &error) {
            return None;
        }
        socket = UdpSocket::bind(any).await.ok()?;
        socket.connect(backend).await.ok()?;
    }
    let socket = Arc::new(socket);
    let used = Arc::new(Mutex::new(Instant::now()));
    let answers = answers.spawn(answer(client, front.clone(), socket.clone(), used.clone()));
    Some(Session {
        backend,
        socket,
        used,
        answers,
    })
}

/// Passes answers back until nothing has passed either way for a while.
async fn answer(
    client: SocketAddr,
    front: Arc<UdpSocket>,
    backend: Arc<UdpSocket>,
    used: Arc<Mutex<Instant>>,
) -> SocketAddr {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let deadline = *used.lock().unwrap_or_else(PoisonError::into_inner) + IDLE;
        match tokio::time::timeout_at(deadline, backend.recv(&mut buffer)).await {
            Ok(Ok(length)) => {
                *used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                let _ = front.send_to(&buffer[..length], client).await; // datagrams may get lost
            }
            Ok(Err(_)) => return client, // nobody listens there; the next datagram starts anew
            Err(_) if used.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= IDLE => return client,
            Err(_) => {}
        }
    }
}
