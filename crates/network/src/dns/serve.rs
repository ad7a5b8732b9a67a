//! The sockets of the DNS server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

use super::message;
use crate::Context;
use crate::view::View;

const PORT: u16 = 53;
/// TCP connections at a time; further ones wait.
const CONNECTIONS: usize = 64;
/// A connection without questions is closed after this.
const IDLE: Duration = Duration::from_secs(10);
/// Until connections are accepted again after that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers questions until the network ends: at the service's address, and at the node's, where the service's endpoint
/// is said to be.
pub(crate) async fn run(context: Context, view: watch::Receiver<Arc<View>>) {
    let addresses = [context.options.dns_ip.into(), context.runtime.node_ip()];
    let servers = addresses.map(|ip| serve(context.clone(), SocketAddr::new(ip, PORT), view.clone()));
    futures::future::join_all(servers).await;
}

async fn serve(context: Context, address: SocketAddr, mut view: watch::Receiver<Arc<View>>) {
    let sockets = tokio::try_join!(context.runtime.bind_node(address), context.runtime.listen_node(address));
    let (socket, listener) = match sockets {
        Ok(sockets) => sockets,
        Err(error) => {
            tracing::warn!(%error, "Names do not resolve");
            return;
        }
    };
    // Before the services are known, "no such name" would be a lie; questions wait in the sockets.
    if view.wait_for(|view| view.version > 0).await.is_err() {
        return;
    }
    tracing::info!(%address, domain = context.options.domain, "Serving DNS");
    tokio::join!(
        datagrams(&context, socket, &view),
        connections(&context, listener, &view),
    );
}

async fn datagrams(context: &Context, socket: UdpSocket, view: &watch::Receiver<Arc<View>>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error tells of an answer that did not arrive; the socket goes on.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let current = view.borrow().clone();
        let domain = &context.options.domain;
        if let Some(answer) = message::respond(&current, domain, &buffer[..length], true) {
            let _ = socket.send_to(&answer, client).await; // whoever hears nothing asks again
        }
    }
}

async fn connections(context: &Context, listener: TcpListener, view: &watch::Receiver<Arc<View>>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (view, domain) = (view.clone(), context.options.domain.clone());
                context.spawn(async move {
                    let _permit = permit;
                    let _ = connection(stream, &view, &domain).await; // the client has gone
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Over TCP, each message follows its length.
async fn connection(mut stream: TcpStream, view: &watch::Receiver<Arc<View>>, domain: &str) -> std::io::Result<()> {
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await?;
            Ok::<_, std::io::Error>(bytes)
        };
        let bytes = tokio::time::timeout(IDLE, read).await??;
        let current = view.borrow().clone();
        let Some(answer) = message::respond(&current, domain, &bytes, false) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        tokio::time::timeout(IDLE, stream.write_all(&framed)).await??;
    }
}
