//! WebSocket, as Kubernetes uses it: numbered channels in messages, or SPDY's bytes in messages.

mod channel;
mod tunnel;

pub(crate) use channel::{Codec, open};
pub(crate) use tunnel::Tunnel;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::mux::CHUNK;

/// The largest message accepted. Some clients send all they have to say to a process as one message.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// The server's end of a connection that has been upgraded.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        .write_buffer_size(CHUNK)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}
