//! The `channel.k8s.io` protocols: each message begins with the number of the channel its bytes belong to.
//!
//! Version 5 adds a way to end a channel, which the client uses for the end of standard input: channel 255, and as bytes the
//! number of the channel that ends. The base64 variants are for browsers of old that could not send binary messages.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use crate::mux::{self, CHUNK, Incoming, Out, Peer};

/// The channel whose bytes name channels that end.
const CLOSE: u8 = 255;

/// How long the connection may be silent before we speak up. While a process does not read its input neither do we, and only
/// a write can then tell that the client has gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long the client may take to answer our closing the conversation.
const LINGER: Duration = Duration::from_secs(60);

/// How one version of the protocol writes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codec {
    base64: bool,
    ends_channels: bool,
}

impl Codec {
    /// The codec of a negotiated protocol; no name at all means plain binary messages.
    pub(crate) fn of(protocol: &str) -> Self {
        Self {
            base64: protocol.contains("base64"),
            ends_channels: protocol.starts_with("v5."),
        }
    }

    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
            text.push(char::from(b'0'.wrapping_add(channel)));
            STANDARD.encode_string(bytes, &mut text);
            return Message::text(text);
        }
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(channel);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// The channel and the bytes of a message; `None` if it is not one.
    fn decode(self, mut message: Bytes) -> Option<(u8, Bytes)> {
        if message.is_empty() {
            return None;
        }
        let channel = message.split_to(1)[0];
        if !self.base64 {
            return Some((channel, message));
        }
        // Here a channel is one digit.
        let channel = char::from(channel).to_digit(10)? as u8;
        let bytes = STANDARD.decode(&message).ok()?;
        Some((channel, bytes.into()))
    }
}

/// Begins to speak over a WebSocket connection. The client may send on the `readable` channels; what it sends on others is
/// discarded. The returned future drives the connection and resolves when it has ended.
pub(crate) fn open<S: AsyncRead + AsyncWrite + Unpin + Send>(
    socket: WebSocketStream<S>,
    codec: Codec,
    readable: impl IntoIterator<Item = u8>,
) -> (HashMap<u8, Incoming>, Peer, impl Future<Output = ()> + Send) {
    let (out, queue) = mux::outbound();
    let gone = CancellationToken::new();
    let mut inbound = HashMap::new();
    let mut incoming = HashMap::new();
    for channel in readable {
        let (sender, receiver) = Incoming::new();
        inbound.insert(channel, sender);
        incoming.insert(channel, receiver);
    }
    let peer = Peer {
        gone: gone.clone(),
        out,
    };
    (incoming, peer, drive(socket, codec, inbound, queue, gone))
}

async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    codec: Codec,
    inbound: HashMap<u8, mpsc::Sender<Bytes>>,
    queue: mpsc::Receiver<Out>,
    gone: CancellationToken,
) {
    let _ends = gone.drop_guard();
    let (sink, stream) = socket.split();
    let mut reader = std::pin::pin!(read(stream, codec, inbound));
    let written = tokio::select! {
        result = &mut reader => {
            if let Err(error) = result {
                tracing::debug!(%error, "the client's WebSocket connection failed");
            }
            return;
        }
        written = write(sink, codec, queue) => written,
    };
    if written.is_ok() {
        // Closing a socket on unread bytes makes the kernel reset it, and the client could lose what it has not read yet.
        let _ = timeout(LINGER, reader).await;
    }
}

/// Deals messages out to channels until the client closes.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: SplitStream<WebSocketStream<S>>,
    codec: Codec,
    mut inbound: HashMap<u8, mpsc::Sender<Bytes>>,
) -> io::Result<()> {
    while let Some(message) = stream.next().await {
        let message = match message.map_err(io::Error::other)? {
            message @ (Message::Binary(_) | Message::Text(_)) => message.into_data(),
            // Polling once more lets the answer to the close go out.
            Message::Close(_) => {
                let _ = stream.next().await;
                return Ok(());
            }
            _ => continue,
        };
        let (channel, mut bytes) = codec
            .decode(message)
            .ok_or_else(|| io::Error::other("malformed message"))?;
        if channel == CLOSE && codec.ends_channels {
            bytes.iter().for_each(|ended| drop(inbound.remove(ended)));
            continue;
        }
        // In pieces, so that a huge message does not slip through the bounds of the queue in one go.
        while let Some(sender) = inbound.get(&channel)
            && !bytes.is_empty()
        {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            let _ = sender.send(piece).await;
        }
    }
    Ok(())
}

/// Writes what is queued until [`Out::Close`].
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    codec: Codec,
    mut queue: mpsc::Receiver<Out>,
) -> Result<(), Error> {
    loop {
        let out = timeout(HEARTBEAT, queue.recv()).await;
        let Some(out) = out.unwrap_or(Some(Out::Ping)) else {
            return Ok(());
        };
        match out {
            Out::Ping => sink.feed(Message::Ping(Bytes::new())).await?,
            Out::Data(channel, bytes) => sink.feed(codec.encode(channel as u8, &bytes)).await?,
            Out::Close => {
                let frame = CloseFrame {
                    code: CloseCode::Normal,
                    reason: "".into(),
                };
                return sink.send(Message::Close(Some(frame))).await;
            }
            // Real servers leave ends unsaid: a client takes the end of the conversation for them, and some do not expect
            // to be told otherwise. Resets, accepts and pings are SPDY's.
            Out::End(_) | Out::Reset(_) | Out::Accept(_) | Out::Pong(_) => {}
        }
        if queue.is_empty() {
            sink.flush().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_message_is_read_as_it_would_be_written_or_is_none(message in proptest::collection::vec(any::<u8>(), 0..40), base64 in any::<bool>()) {
            let codec = Codec { base64, ends_channels: true };
            if let Some((channel, bytes)) = codec.decode(Bytes::from(message.clone())) {
                let again = codec.encode(channel, &bytes).into_data();
                prop_assert_eq!(codec.decode(again), Some((channel, bytes)));
            } else {
                prop_assert!(base64 || message.is_empty());
            }
        }
    }

    #[test]
    fn both_codecs_read_what_they_write() {
        for protocol in [
            "",
            "v4.channel.k8s.io",
            "v5.channel.k8s.io",
            "base64.channel.k8s.io",
            "v4.base64.channel.k8s.io",
        ] {
            let codec = Codec::of(protocol);
            let message = codec.encode(3, b"\0\xffhello");
            assert_eq!(message.is_text(), codec.base64);
            assert_eq!(
                codec.decode(message.into_data()),
                Some((3, Bytes::from_static(b"\0\xffhello"))),
                "{protocol}"
            );
        }
        assert_eq!(
            Codec::of("base64.channel.k8s.io").encode(1, b"hi"),
            Message::text("1aGk=")
        );
    }

    #[test]
    fn a_message_without_channel_or_with_bad_base64_is_none() {
        assert_eq!(Codec::of("").decode(Bytes::new()), None);
        let base64 = Codec::of("base64.channel.k8s.io");
        assert_eq!(base64.decode(Bytes::from_static(b"0***")), None);
        assert_eq!(base64.decode(Bytes::from_static(b"\x01aGk=")), None);
    }
}
