//! Many logical streams on one connection.
//!
//! SPDY and the WebSocket channel protocols differ in how they mark bytes on the wire but agree on what they carry: numbered
//! streams, each of which ends once. Neither has flow control that clients honour, so the only brake is TCP's. Every queue
//! here is short and bounded for that reason: a process that does not read its input fills its [`Incoming`], which stops the
//! connection's reader, which fills the client's socket; a client that does not read fills our socket, which stops the
//! connection's writer, which stops the pump that reads from the process.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The most bytes that travel as one piece.
pub(crate) const CHUNK: usize = 32 * 1024;

/// Chunks from the client that wait for their reader, per stream.
const INBOUND: usize = 4;

/// What waits for the connection's writer, for all streams together.
const OUTBOUND: usize = 16;

/// What the connection's writer is asked to put on the wire, in order.
#[derive(Debug)]
pub(crate) enum Out {
    /// Bytes of a stream.
    Data(u32, Bytes),
    /// No more bytes will follow on a stream.
    End(u32),
    /// A stream is given up in both directions (SPDY only).
    Reset(u32),
    /// A stream the client opened is accepted (SPDY only).
    Accept(u32),
    /// The answer to a ping (SPDY only; WebSocket answers below this layer).
    Pong(u32),
    /// A sign of life, to learn whether the client is still there.
    Ping,
    /// The conversation is over: put what is queued on the wire, then close.
    Close,
}

/// The queue to a connection's writer.
pub(crate) fn outbound() -> (mpsc::Sender<Out>, mpsc::Receiver<Out>) {
    mpsc::channel(OUTBOUND)
}

/// The connection has ended; nothing can be sent any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// The direction of a stream that leads to the client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: u32,
    out: mpsc::Sender<Out>,
}

impl Outgoing {
    pub(crate) fn new(stream: u32, out: mpsc::Sender<Out>) -> Self {
        Self { stream, out }
    }

    /// Sends bytes; waits while the client is slow.
    pub(crate) async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.out.send(Out::Data(self.stream, bytes)).await.map_err(|_| Gone)
    }

    /// Ends this direction. Once the connection has ended there is nobody left to tell.
    pub(crate) async fn end(self) {
        let _ = self.out.send(Out::End(self.stream)).await;
    }

    /// Gives the stream up.
    pub(crate) async fn reset(self) {
        let _ = self.out.send(Out::Reset(self.stream)).await;
    }
}

/// The direction of a stream that comes from the client.
#[derive(Debug)]
pub(crate) struct Incoming(mpsc::Receiver<Bytes>);

impl Incoming {
    /// A new stream and the end the connection's reader feeds. Dropping the sender ends the stream.
    pub(crate) fn new() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(INBOUND);
        (sender, Self(receiver))
    }

    /// The next bytes, or `None` at the end of the stream or of the connection.
    pub(crate) async fn recv(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }

    /// Writes all that comes to `to`, then shuts `to` down.
    pub(crate) async fn write_to(&mut self, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
        while let Some(bytes) = self.recv().await {
            to.write_all(&bytes).await?;
            if self.0.is_empty() {
                to.flush().await?;
            }
        }
        to.shutdown().await
    }
}

/// What a conversation holds of its connection, apart from the streams.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Cancelled when the connection has ended.
    pub(crate) gone: CancellationToken,
    pub(crate) out: mpsc::Sender<Out>,
}

impl Peer {
    pub(crate) fn outgoing(&self, stream: u32) -> Outgoing {
        Outgoing::new(stream, self.out.clone())
    }

    /// Says that the conversation is over; the connection's driver then closes it in good order.
    pub(crate) async fn close(self) {
        let _ = self.out.send(Out::Close).await;
    }
}

/// Why a pump stopped before the end of what it read.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The client is gone.
    Gone,
    /// Reading failed.
    Read(io::Error),
}

/// Sends all that `from` yields to the client. Leaves the stream open.
pub(crate) async fn pump(mut from: impl AsyncRead + Unpin, to: &Outgoing) -> Result<(), Stopped> {
    let mut buffer = BytesMut::new();
    loop {
        // A chunk that is split off keeps its part of the allocation; small reads share one.
        if buffer.capacity() < CHUNK / 8 {
            buffer.reserve(CHUNK);
        }
        if from.read_buf(&mut buffer).await.map_err(Stopped::Read)? == 0 {
            return Ok(());
        }
        to.send(buffer.split().freeze()).await.map_err(|Gone| Stopped::Gone)?;
    }
}
