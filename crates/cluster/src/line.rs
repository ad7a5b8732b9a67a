//! The line between a node and the API server, which can be cut.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyStream, StreamBody};
use kube::Client;
use kube::client::Body;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, service_fn};

/// One node's line; clones share it. It begins connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<Mutex<CancellationToken>>);

impl Line {
    /// Ends all that goes over it now when it is cut.
    fn current(&self) -> CancellationToken {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        !self.current().is_cancelled()
    }

    /// Cuts the line, or makes it whole.
    pub(crate) fn connect(&self, connected: bool) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (connected, current.is_cancelled()) {
            (true, true) => *current = CancellationToken::new(),
            (false, _) => current.cancel(),
            (true, false) => {}
        }
    }

    /// A client as the node has it: while the line is cut its requests fail, and its watches end.
    pub(crate) fn client(&self, client: Client) -> Client {
        let line = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let (cut, client) = (line.current(), client.clone());
            async move {
                let answer = cut.run_until_cancelled(client.send(request)).await;
                let answer = answer.ok_or_else(unreachable)??;
                let (parts, body) = answer.into_parts();
                let rest = BodyStream::new(body).take_until(cut.cancelled_owned());
                Ok::<_, BoxError>(Response::from_parts(parts, StreamBody::new(rest)))
            }
        });
        Client::new(service, "default")
    }
}

/// What the kernel says on such a line.
fn unreachable() -> BoxError {
    io::Error::from_raw_os_error(nix::libc::EHOSTUNREACH).into()
}
