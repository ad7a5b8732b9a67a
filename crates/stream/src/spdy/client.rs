//! A client's side of SPDY, for tests.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) use super::frame::Frame;

use super::frame::{Decoder, Encoder, ResetCode};
use super::header::Headers;

pub(crate) struct Client {
    io: DuplexStream,
    decoder: Decoder,
    encoder: Encoder,
    buffer: BytesMut,
    next: u32,
}

impl Client {
    /// A client and the server's end of its connection.
    pub(crate) fn new() -> (Self, DuplexStream) {
        let (io, server) = tokio::io::duplex(64 * 1024);
        let (decoder, encoder) = (Decoder::new(), Encoder::new());
        (
            Self {
                io,
                decoder,
                encoder,
                buffer: BytesMut::new(),
                next: 1,
            },
            server,
        )
    }

    /// Opens a stream and returns its number.
    pub(crate) async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.write(|encoder, wire| encoder.open(wire, stream, &Headers::of(headers), false))
            .await;
        stream
    }

    pub(crate) async fn send(&mut self, stream: u32, bytes: &[u8], fin: bool) {
        self.write(|encoder, wire| encoder.data(wire, stream, bytes, fin)).await;
    }

    pub(crate) async fn ping(&mut self, id: u32) {
        self.write(|encoder, wire| encoder.ping(wire, id)).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32) {
        self.write(|encoder, wire| encoder.reset(wire, stream, ResetCode::Cancel))
            .await;
    }

    pub(crate) async fn write(&mut self, encode: impl FnOnce(&mut Encoder, &mut BytesMut)) {
        let mut wire = BytesMut::new();
        encode(&mut self.encoder, &mut wire);
        self.io.write_all(&wire).await.unwrap();
    }

    /// The next frame; `None` when the server has closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// All that comes on the given streams until each of them has ended. Skips what is not data.
    pub(crate) async fn collect<const N: usize>(&mut self, streams: [u32; N]) -> [Bytes; N] {
        let mut collected = [(); N].map(|()| BytesMut::new());
        let mut open = N;
        while open > 0 {
            let frame = self.next().await.expect("the server closed with streams open");
            if let Frame::Data { stream, bytes, fin } = frame {
                let index = streams
                    .iter()
                    .position(|id| *id == stream)
                    .expect("data on a stream nobody asked for");
                collected[index].extend_from_slice(&bytes);
                open -= usize::from(fin);
            }
        }
        collected.map(BytesMut::freeze)
    }
}
