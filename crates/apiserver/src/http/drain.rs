//! What is left of a request's body when its answer is ready.
//!
//! A refusal needs no body, but a client may still be sending one. Over HTTP/1.1 the rest would be read as the next request;
//! over HTTP/2 the stream is reset, and some clients lose the answer with it. So the rest is read and thrown away, within
//! bounds, before the answer goes out, and a connection on which that did not succeed is closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};

/// How much is thrown away at most.
const LIMIT: usize = 32 << 20;
/// How long the client may take for it.
const PATIENCE: Duration = Duration::from_secs(5);

struct Source {
    body: Body,
    /// Somebody has asked for its bytes, so a client that waits for `100 Continue` has been told to send them.
    touched: bool,
}

/// A body to read from; its rest comes back when it is dropped.
struct Lent(Arc<Mutex<Source>>);

/// The body as its lender sees it.
pub(crate) struct Rest(Arc<Mutex<Source>>);

/// Splits a body into one to read from and what comes back.
pub(crate) fn lend(body: Body) -> (Body, Rest) {
    let source = Arc::new(Mutex::new(Source { body, touched: false }));
    (Body::new(Lent(source.clone())), Rest(source))
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.touched = true;
        Pin::new(&mut source.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.body.size_hint()
    }
}

impl Rest {
    /// Reads what is left. False if something still is, so that the connection cannot be used again. A body that somebody
    /// goes on reading, because it is streamed to elsewhere, is left alone.
    pub(crate) async fn settle(self, waits_for_continue: bool) -> bool {
        let Ok(source) = Arc::try_unwrap(self.0) else {
            return true;
        };
        let Source { mut body, touched } = source.into_inner().unwrap_or_else(PoisonError::into_inner);
        if body.is_end_stream() {
            return true;
        }
        if waits_for_continue && !touched {
            return false;
        }
        let rest = async {
            let mut read = 0;
            while read < LIMIT {
                match body.frame().await {
                    Some(Ok(frame)) => read += frame.data_ref().map_or(0, Buf::remaining),
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        };
        tokio::time::timeout(PATIENCE, rest).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_reads_is_thrown_away_within_bounds() {
        let (lent, rest) = lend(Body::from(vec![b'x'; 900_000]));
        drop(lent);
        assert!(rest.settle(false).await);
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 65536])));
        let (lent, rest) = lend(Body::from_stream(endless));
        drop(lent);
        assert!(!rest.settle(false).await);
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_asked_for_its_body_is_not_asked() {
        let (lent, rest) = lend(Body::from("body"));
        drop(lent);
        assert!(!rest.settle(true).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let (lent, rest) = lend(Body::from_stream(futures::stream::pending::<
            Result<Bytes, std::io::Error>,
        >()));
        drop(lent);
        assert!(!rest.settle(false).await);
    }

    #[tokio::test]
    async fn a_body_that_is_still_read_is_left_to_its_reader() {
        let (lent, rest) = lend(Body::from("body"));
        assert!(rest.settle(false).await);
        assert_eq!(lent.collect().await.unwrap().to_bytes(), "body");
    }
}
