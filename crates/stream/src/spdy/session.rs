//! One SPDY connection: a reader that deals frames out to streams and a writer that puts frames on the wire.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::mux::{self, CHUNK, Incoming, Out, Outgoing, Peer};

use super::frame::{Decoder, Encoder, Frame, ResetCode};
use super::header::Headers;

/// Streams a client may have open at a time. `kubectl port-forward` uses two for each connection it forwards.
const MAX_STREAMS: usize = 1024;

/// How long the connection may be silent before we speak up. While a process does not read its input neither do we, and only
/// a write can then tell that the client has gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long the client may take to close after the last stream has ended, before we close.
const COURTESY: Duration = Duration::from_secs(2);

/// How long we then read on. Closing a socket on unread bytes makes the kernel reset it, and the client could lose what it
/// has not read yet.
const LINGER: Duration = Duration::from_secs(60);

/// A stream the client opened.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Its number.
    pub(crate) id: u32,
    /// What the client says it is for.
    pub(crate) headers: Headers,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// Cancelled when the client gives the stream up.
    pub(crate) reset: CancellationToken,
}

/// What a conversation holds of its connection.
#[derive(Debug)]
pub(crate) struct Session {
    /// Streams in the order the client opens them; ends with the connection.
    pub(crate) streams: mpsc::Receiver<Stream>,
    pub(crate) peer: Peer,
}

/// Begins to speak SPDY. The returned future drives the connection and resolves when it has ended.
pub(crate) fn open(io: impl AsyncRead + AsyncWrite + Send) -> (Session, impl Future<Output = ()> + Send) {
    let (out, queue) = mux::outbound();
    let (opened, streams) = mpsc::channel(8);
    let gone = CancellationToken::new();
    let session = Session {
        streams,
        peer: Peer {
            gone: gone.clone(),
            out: out.clone(),
        },
    };
    (session, drive(io, out, queue, opened, gone))
}

async fn drive(
    io: impl AsyncRead + AsyncWrite + Send,
    out: mpsc::Sender<Out>,
    queue: mpsc::Receiver<Out>,
    opened: mpsc::Sender<Stream>,
    gone: CancellationToken,
) {
    let _ends = gone.drop_guard();
    let table = Table::default();
    let (read, write) = tokio::io::split(io);
    let mut writer = Writer {
        write,
        encoder: Encoder::new(),
        table: table.clone(),
    };
    let mut reader = std::pin::pin!(
        Reader {
            read,
            table,
            out,
            opened
        }
        .run()
    );
    let closed = tokio::select! {
        result = &mut reader => {
            if let Err(error) = result {
                tracing::debug!(%error, "the client's SPDY connection failed");
            }
            return;
        }
        closed = writer.run(queue) => closed,
    };
    if closed.is_err() || timeout(COURTESY, &mut reader).await.is_ok() {
        return;
    }
    if writer.finish().await.is_ok() {
        let _ = timeout(LINGER, reader).await;
    }
}

/// What the reader and the writer both know of the open streams.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<HashMap<u32, Slot>>>);

struct Slot {
    /// Where the client's bytes go, until the client ends its direction.
    inbound: Option<mpsc::Sender<Bytes>>,
    /// We have ended our direction.
    ended: bool,
    reset: CancellationToken,
}

impl Slot {
    /// Nobody will read from or write to the stream any more.
    fn is_over(&self) -> bool {
        self.ended && self.inbound.as_ref().is_none_or(mpsc::Sender::is_closed)
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a stream unless there are too many.
    fn admit(&self, id: u32, slot: Slot) -> bool {
        let mut slots = self.lock();
        // Streams nobody on this side uses any more may wait for the client's last word; it is not needed.
        slots.retain(|_, slot| !slot.is_over());
        let admitted = slots.len() < MAX_STREAMS;
        if admitted {
            slots.insert(id, slot);
        }
        admitted
    }

    fn inbound(&self, id: u32) -> Option<mpsc::Sender<Bytes>> {
        self.lock().get(&id)?.inbound.clone()
    }

    /// The client has ended its direction.
    fn end_inbound(&self, id: u32) {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(&id) {
            slot.inbound = None;
            if slot.ended {
                slots.remove(&id);
            }
        }
    }

    /// We have ended our direction.
    fn end_outbound(&self, id: u32) {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(&id) {
            slot.ended = true;
            if slot.inbound.is_none() {
                slots.remove(&id);
            }
        }
    }

    /// Whether we may still send on a stream: it is open and we have not ended it.
    fn may_send(&self, id: u32) -> bool {
        self.lock().get(&id).is_some_and(|slot| !slot.ended)
    }

    fn remove(&self, id: u32) -> bool {
        let slot = self.lock().remove(&id);
        slot.inspect(|slot| slot.reset.cancel()).is_some()
    }
}

struct Reader<T> {
    read: ReadHalf<T>,
    table: Table,
    out: mpsc::Sender<Out>,
    opened: mpsc::Sender<Stream>,
}

impl<T: AsyncRead> Reader<T> {
    /// Reads until the client closes. When the conversation is over and the queues are closed, what comes is discarded.
    async fn run(mut self) -> io::Result<()> {
        let mut decoder = Decoder::new();
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let mut last = 0;
        loop {
            while let Some(frame) = decoder.next(&mut buffer).map_err(io::Error::other)? {
                match frame {
                    Frame::Open { stream, headers, fin } => {
                        // A client's streams are odd and count upwards, so none is ever opened twice.
                        if stream.is_multiple_of(2) || stream <= last {
                            return Err(io::Error::other("stream identifiers must be odd and grow"));
                        }
                        last = stream;
                        self.open(stream, headers, fin).await;
                    }
                    Frame::Data { stream, bytes, fin } => {
                        if let Some(inbound) = self.table.inbound(stream)
                            && !bytes.is_empty()
                        {
                            let _ = inbound.send(bytes).await;
                        }
                        if fin {
                            self.table.end_inbound(stream);
                        }
                    }
                    Frame::Headers { stream, fin: true } => self.table.end_inbound(stream),
                    Frame::Reset { stream } => {
                        self.table.remove(stream);
                    }
                    // Even identifiers answer pings of ours.
                    Frame::Ping { id } if !id.is_multiple_of(2) => {
                        let _ = self.out.send(Out::Pong(id)).await;
                    }
                    Frame::Headers { .. } | Frame::Ping { .. } | Frame::GoAway => {}
                }
            }
            if buffer.capacity() < CHUNK / 4 {
                buffer.reserve(CHUNK);
            }
            if self.read.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn open(&mut self, id: u32, headers: Headers, fin: bool) {
        let (inbound, incoming) = Incoming::new();
        let reset = CancellationToken::new();
        let slot = Slot {
            inbound: (!fin).then_some(inbound),
            ended: false,
            reset: reset.clone(),
        };
        if !self.table.admit(id, slot) {
            let _ = self.out.send(Out::Reset(id)).await;
            return;
        }
        let _ = self.out.send(Out::Accept(id)).await;
        let outgoing = Outgoing::new(id, self.out.clone());
        let _ = self
            .opened
            .send(Stream {
                id,
                headers,
                incoming,
                outgoing,
                reset,
            })
            .await;
    }
}

struct Writer<T> {
    write: WriteHalf<T>,
    encoder: Encoder,
    table: Table,
}

impl<T: AsyncWrite> Writer<T> {
    /// Writes what is queued until [`Out::Close`]. Whatever is ready goes out together.
    async fn run(&mut self, mut queue: mpsc::Receiver<Out>) -> io::Result<()> {
        let mut wire = BytesMut::with_capacity(2 * CHUNK);
        loop {
            let first = timeout(HEARTBEAT, queue.recv()).await;
            let Some(first) = first.unwrap_or(Some(Out::Ping)) else {
                return Ok(());
            };
            let mut next = Some(first);
            let mut close = false;
            while let Some(out) = next {
                close |= matches!(out, Out::Close);
                self.encode(out, &mut wire);
                next = if close || wire.len() >= CHUNK {
                    None
                } else {
                    queue.try_recv().ok()
                };
            }
            self.write.write_all_buf(&mut wire).await?;
            if close || queue.is_empty() {
                self.write.flush().await?;
            }
            if close {
                return Ok(());
            }
        }
    }

    fn encode(&mut self, out: Out, wire: &mut BytesMut) {
        match out {
            Out::Data(stream, bytes) if self.table.may_send(stream) => {
                self.encoder.data(wire, stream, &bytes, false);
            }
            Out::End(stream) if self.table.may_send(stream) => {
                self.encoder.data(wire, stream, b"", true);
                self.table.end_outbound(stream);
            }
            // The client has reset the stream.
            Out::Data(..) | Out::End(_) => {}
            Out::Reset(stream) => {
                let code = if self.table.remove(stream) {
                    ResetCode::Cancel
                } else {
                    ResetCode::Refused
                };
                self.encoder.reset(wire, stream, code);
            }
            Out::Accept(stream) => self.encoder.accept(wire, stream),
            Out::Pong(id) => self.encoder.ping(wire, id),
            // A server's pings have even identifiers.
            Out::Ping => self.encoder.ping(wire, 2),
            Out::Close => {}
        }
    }

    /// Says that nothing more will come.
    async fn finish(&mut self) -> io::Result<()> {
        let mut wire = BytesMut::new();
        self.encoder.go_away(&mut wire, 0);
        self.write.write_all_buf(&mut wire).await?;
        self.write.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::Client;
    use super::*;

    #[tokio::test]
    async fn streams_are_accepted_and_carry_data_and_ends_both_ways() {
        let (mut client, io) = Client::new();
        let (mut session, driver) = open(io);
        let driver = tokio::spawn(driver);
        let id = client.open(&[("streamtype", "data")]).await;
        client.ping(1).await;
        client.send(id, b"up", true).await;
        let mut stream = session.streams.recv().await.unwrap();
        assert_eq!((stream.id, stream.headers.get("streamType")), (id, Some("data")));
        assert_eq!(stream.incoming.recv().await.unwrap(), "up");
        assert_eq!(stream.incoming.recv().await, None);
        stream.outgoing.send(Bytes::from_static(b"down")).await.unwrap();
        stream.outgoing.end().await;
        assert_eq!(client.next().await, Some(Frame::Headers { stream: id, fin: false }));
        assert_eq!(client.next().await, Some(Frame::Ping { id: 1 }));
        assert_eq!(client.collect([id]).await, ["down"]);
        drop(client);
        session.peer.gone.cancelled().await;
        driver.await.unwrap();
        assert!(session.streams.recv().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_stops_the_sender() {
        let (mut client, io) = Client::new();
        let (mut session, driver) = open(io);
        tokio::spawn(driver);
        let id = client.open(&[]).await;
        let stream = session.streams.recv().await.unwrap();
        let chunk = Bytes::from(vec![7; CHUNK]);
        let mut sent = 0;
        // Once every queue up to the client's socket is full, sending waits: with the clock paused, time moves only when no
        // task can.
        while timeout(Duration::from_secs(1), stream.outgoing.send(chunk.clone()))
            .await
            .is_ok()
        {
            sent += 1;
            assert!(sent < 100, "sent {sent} chunks to a client that reads none");
        }
        drop(stream.incoming);
        let (collected, ()) = tokio::join!(client.collect([id]), stream.outgoing.end());
        assert_eq!(collected[0].len(), sent * CHUNK);
    }

    #[tokio::test]
    async fn too_many_streams_are_refused_until_some_have_ended() {
        let (mut client, io) = Client::new();
        let (mut session, driver) = open(io);
        tokio::spawn(driver);
        let mut streams = Vec::new();
        for _ in 0..MAX_STREAMS {
            let id = client.open(&[]).await;
            streams.push(session.streams.recv().await.unwrap());
            assert_eq!(client.next().await, Some(Frame::Headers { stream: id, fin: false }));
        }
        let refused = client.open(&[]).await;
        assert_eq!(client.next().await, Some(Frame::Reset { stream: refused }));
        // A stream that nobody uses any more makes room even if the client never says its last word.
        let Stream {
            incoming, outgoing, id, ..
        } = streams.pop().unwrap();
        drop(incoming);
        outgoing.end().await;
        assert_eq!(
            client.next().await,
            Some(Frame::Data {
                stream: id,
                bytes: Bytes::new(),
                fin: true
            })
        );
        let admitted = client.open(&[]).await;
        assert_eq!(
            client.next().await,
            Some(Frame::Headers {
                stream: admitted,
                fin: false
            })
        );
    }

    #[tokio::test]
    async fn a_stream_the_client_gives_up_ends_and_takes_nothing_more() {
        let (mut client, io) = Client::new();
        let (mut session, driver) = open(io);
        tokio::spawn(driver);
        let (given_up, kept) = (client.open(&[]).await, client.open(&[]).await);
        let mut first = session.streams.recv().await.unwrap();
        let second = session.streams.recv().await.unwrap();
        client.reset(given_up).await;
        first.reset.cancelled().await;
        assert_eq!(first.incoming.recv().await, None);
        first.outgoing.send(Bytes::from_static(b"lost")).await.unwrap();
        second.outgoing.send(Bytes::from_static(b"kept")).await.unwrap();
        second.outgoing.end().await;
        assert_eq!(client.collect([kept]).await, ["kept"]);
    }

    #[tokio::test]
    async fn a_client_that_breaks_the_protocol_is_disconnected() {
        let (mut client, io) = Client::new();
        let (_session, driver) = open(io);
        client
            .write(|_, wire| wire.extend_from_slice(b"\x80\x02\0\x01\0\0\0\x0agarbage..."))
            .await;
        driver.await;
        assert_eq!(client.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_vanishes_while_its_input_is_not_read_is_noticed() {
        let (mut client, io) = Client::new();
        let (mut session, driver) = open(io);
        tokio::spawn(driver);
        let id = client.open(&[]).await;
        let _unread = session.streams.recv().await.unwrap();
        for _ in 0..8 {
            client.send(id, &[0; 8192], false).await;
        }
        assert_eq!(client.next().await, Some(Frame::Headers { stream: id, fin: false }));
        assert_eq!(client.next().await, Some(Frame::Ping { id: 2 }));
        drop(client);
        session.peer.gone.cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn closing_waits_a_moment_for_the_client_to_close_first() {
        let (mut client, io) = Client::new();
        let (session, driver) = open(io);
        let driver = tokio::spawn(driver);
        let before = tokio::time::Instant::now();
        session.peer.close().await;
        assert_eq!(client.next().await, Some(Frame::GoAway));
        assert_eq!(before.elapsed(), COURTESY);
        assert_eq!(client.next().await, None);
        drop(client);
        driver.await.unwrap();
        assert_eq!(before.elapsed(), COURTESY);
    }
}
