//! Connections to services.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use knarr_runtime::{Connection, RuntimeError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Context;
use crate::endpoint::{Backends, Balancer};

/// A backend that does not answer within this is passed over.
const DIAL: Duration = Duration::from_secs(5);
/// Until connections are accepted again after that failed: usually this process has too many files open.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts connections for as long as the service's port is open. Established ones outlive it.
pub(super) async fn serve(context: Context, listener: TcpListener, backends: watch::Receiver<Backends>) {
    let balancer = Arc::new(Mutex::new(Balancer::new(rand::random::<u16>().into())));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let current = backends.borrow().clone();
                context.spawn(forward(context.clone(), stream, balancer.clone(), current));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection to a service was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn forward(context: Context, mut client: TcpStream, balancer: Arc<Mutex<Balancer>>, backends: Backends) {
    let Ok(peer) = client.peer_addr() else { return };
    let lock = || balancer.lock().unwrap_or_else(PoisonError::into_inner);
    let order = lock().order(peer.ip(), &backends);
    for address in order {
        match tokio::time::timeout(DIAL, dial(&context, address)).await {
            Ok(Ok(mut backend)) => {
                lock().chosen(peer.ip(), address, &backends);
                // What one side sends goes out as it comes: this is not the place to wait for more.
                let _ = client.set_nodelay(true);
                if tokio::io::copy_bidirectional(&mut client, &mut backend).await.is_err() {
                    abandon(&client);
                }
                return;
            }
            Ok(Err(error)) => tracing::debug!(%address, %error, "an endpoint does not answer"),
            Err(_) => tracing::debug!(%address, "an endpoint does not answer in time"),
        }
    }
    abandon(&client);
}

async fn dial(context: &Context, address: SocketAddr) -> Result<Box<dyn Connection>, RuntimeError> {
    match context.runtime.dial_node(address).await {
        Err(RuntimeError::Io { context, source }) if super::is_outside(address, &source) => {
            let outside = TcpStream::connect(address).await;
            let stream = outside.map_err(|source| RuntimeError::Io { context, source })?;
            Ok(Box::new(stream))
        }
        other => other,
    }
}

/// Lets the client see a reset rather than an orderly end.
fn abandon(client: &TcpStream) {
    let _ = client.set_zero_linger();
}
