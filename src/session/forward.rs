//! Local ports forwarded into pods: a listener on 127.0.0.1 and [::1], one stream to the cluster per connection.

use std::io::ErrorKind as Io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::shared::Shared;
use super::{ForwardSpec, Status};
use crate::cluster::Link;
use crate::error::{Error, ErrorKind};

/// Listens until the session is closed.
pub(super) async fn run(link: Link, spec: ForwardSpec, shared: Arc<Shared>) {
    let client = match link.stream("port-forward") {
        Ok(client) => client,
        Err(error) => return shared.set(Status::Failed(error)),
    };
    let (four, six) = match listen(spec.local).await {
        Ok(listeners) => listeners,
        Err(error) => return shared.set(Status::Failed(error)),
    };
    if let Ok(address) = four.local_addr() {
        shared.listening(address);
    }
    let pods: Api<Pod> = Api::namespaced(client, &spec.target.namespace);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = four.accept() => accepted,
            accepted = accept(six.as_ref()) => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        // Out of file descriptors: connections in hand go on, new ones wait in the kernel.
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let (pods, link, spec, shared) = (pods.clone(), link.clone(), spec.clone(), shared.clone());
        connections.spawn(async move {
            shared.connected();
            match carry(&pods, &spec, socket, &shared).await {
                Ok(()) => {
                    if matches!(shared.status().0, Status::Retrying(_)) {
                        shared.set(Status::Running);
                    }
                }
                Err(error) => shared.set(Status::Retrying(link.explain(&error, "port-forward"))),
            }
            shared.disconnected();
        });
    }
}

async fn accept(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// The same port on both loopback addresses; IPv6 is left out where there is none.
async fn listen(port: u16) -> Result<(TcpListener, Option<TcpListener>), Error> {
    let four = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| refuse(port, &error))?;
    let port = four.local_addr().map_or(port, |address| address.port());
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        Ok(six) => Ok((four, Some(six))),
        Err(error) if error.kind() == Io::AddrInUse => Err(refuse(port, &error)),
        Err(_) => Ok((four, None)),
    }
}

fn refuse(port: u16, error: &std::io::Error) -> Error {
    match error.kind() {
        Io::AddrInUse => Error::new(ErrorKind::Conflict, format!("local port {port} is in use"))
            .hint("choose another local port, or 0 for any free one"),
        Io::PermissionDenied => Error::new(ErrorKind::Forbidden, format!("local port {port} needs more rights"))
            .hint("choose a local port from 1024 on, or 0 for any free one"),
        _ => Error::new(ErrorKind::Other, format!("cannot listen on local port {port}")).because(error),
    }
}

/// The pod that takes a connection: the one that was chosen for as long as it serves, then another one behind the same selector.
async fn serving(pods: &Api<Pod>, spec: &ForwardSpec) -> Result<Arc<str>, kube::Error> {
    /// Pods looked at: some of them serve, when any does.
    const LOOKED_AT: u32 = 100;
    if spec.selector.is_empty() {
        return Ok(spec.target.pod.clone());
    }
    let all = pods
        .list(&ListParams::default().labels(&spec.selector).limit(LOOKED_AT))
        .await?;
    let mut ready = all.items.iter().filter(|pod| is_ready(pod));
    let named = |pod: &&Pod| pod.metadata.name.as_deref() == Some(&*spec.target.pod);
    let chosen = ready.clone().find(named).or_else(|| ready.next());
    let name = chosen.and_then(|pod| pod.metadata.name.as_deref());
    Ok(name.map_or_else(|| spec.target.pod.clone(), Arc::from))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn carry(pods: &Api<Pod>, spec: &ForwardSpec, socket: TcpStream, shared: &Shared) -> Result<(), kube::Error> {
    let pod = serving(pods, spec).await?;
    let mut forward = pods.portforward(&pod, &[spec.port]).await?;
    let Some(stream) = forward.take_stream(spec.port) else {
        return Ok(());
    };
    let failed = forward.take_error(spec.port);
    let (from_socket, to_socket) = socket.into_split();
    let (from_pod, to_pod) = tokio::io::split(stream);
    let up = copy(from_socket, to_pod, |bytes| shared.sent(bytes));
    let down = copy(from_pod, to_socket, |bytes| shared.received(bytes));
    // The pod's side closing ends the connection; the client's side closing only ends its half.
    tokio::pin!(up, down);
    tokio::select! {
        _ = &mut down => {}
        _ = &mut up => { let _ = (&mut down).await; }
    }
    forward.abort();
    if let Some(failed) = failed
        && let Ok(Some(message)) = tokio::time::timeout(std::time::Duration::from_millis(10), failed).await
    {
        shared.set(Status::Retrying(
            Error::new(ErrorKind::Other, message).hint("does something listen on that port in the pod?"),
        ));
    }
    Ok(())
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(u64),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        count(read as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_a_way_out() {
        let (taken, _six) = listen(0).await.expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let error = listen(port).await.expect_err("refused");
        assert!(
            error.to_string().contains(&format!("local port {port} is in use")),
            "{error}"
        );
        assert!(error.hints[0].contains('0'));
    }
}
