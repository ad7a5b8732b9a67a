//! SPDY/3.1 frames, bytes to values and back.
//!
//! ```text
//! data     0 stream:31 | flags:8 length:24 | bytes
//! control  1 version:15 type:16 | flags:8 length:24 | fields
//! ```
//!
//! Data is handed on as it comes, however long its frame; of control frames only those that carry headers are held until
//! they are whole, and those are bounded. Frames that mean nothing to this server are skipped without being held.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::mux::CHUNK;

use super::header::{Deflater, Headers, Inflater};

/// The largest control frame with headers that is accepted.
const MAX_CONTROL: usize = 64 * 1024;

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;
const STREAM_ID: u32 = 0x7fff_ffff;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// The peer broke the protocol in a way the connection does not survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed SPDY: {0}")]
pub(crate) struct Malformed(pub(super) &'static str);

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetCode {
    Refused = 3,
    Cancel = 5,
}

/// What a frame says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Some bytes of a stream; `fin` when they are the last.
    Data { stream: u32, bytes: Bytes, fin: bool },
    /// SYN_STREAM: the peer opens a stream.
    Open { stream: u32, headers: Headers, fin: bool },
    /// SYN_REPLY or HEADERS: more about a stream. Only its end matters to a server.
    Headers { stream: u32, fin: bool },
    /// RST_STREAM.
    Reset { stream: u32 },
    /// PING, to be answered if the peer began it (odd identifiers).
    Ping { id: u32 },
    /// GOAWAY: the peer will open no more streams.
    GoAway,
}

enum State {
    /// The next byte begins a frame.
    Start,
    /// Inside a data frame.
    Data { stream: u32, left: usize, fin: bool },
    /// Inside a frame that means nothing to us.
    Skip { left: usize },
}

/// Turns received bytes into frames.
pub(crate) struct Decoder {
    state: State,
    inflater: Inflater,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            inflater: Inflater::new(),
        }
    }

    /// Takes the next frame out of `buffer`, or returns `None` when it needs more bytes.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        loop {
            match self.state {
                State::Start => match self.begin(buffer)? {
                    Begun::More => return Ok(None),
                    Begun::Inside => {}
                    Begun::Frame(frame) => return Ok(Some(frame)),
                },
                State::Data {
                    left: 0, fin: false, ..
                }
                | State::Skip { left: 0 } => self.state = State::Start,
                State::Data { stream, left, fin } => {
                    if left > 0 && buffer.is_empty() {
                        return Ok(None);
                    }
                    let bytes = buffer.split_to(left.min(buffer.len())).freeze();
                    let left = left - bytes.len();
                    let last = fin && left == 0;
                    self.state = if last {
                        State::Start
                    } else {
                        State::Data { stream, left, fin }
                    };
                    return Ok(Some(Frame::Data {
                        stream,
                        bytes,
                        fin: last,
                    }));
                }
                State::Skip { left } => {
                    if buffer.is_empty() {
                        return Ok(None);
                    }
                    let skipped = left.min(buffer.len());
                    buffer.advance(skipped);
                    self.state = State::Skip { left: left - skipped };
                }
            }
        }
    }

    fn begin(&mut self, buffer: &mut BytesMut) -> Result<Begun, Malformed> {
        let Some(head) = buffer.first_chunk::<8>() else {
            return Ok(Begun::More);
        };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        let fin = flags & FLAG_FIN != 0;
        if first & !STREAM_ID == 0 {
            buffer.advance(8);
            self.state = State::Data {
                stream: first,
                left: length,
                fin,
            };
            return Ok(Begun::Inside);
        }
        if (first >> 16) as u16 & 0x7fff != VERSION {
            return Err(Malformed("not version 3"));
        }
        let kind = first as u16;
        let least = match kind {
            SYN_STREAM => 10,
            RST_STREAM | GOAWAY => 8,
            SYN_REPLY | HEADERS | PING => 4,
            // SETTINGS and WINDOW_UPDATE speak of flow control, which clients announce and then ignore; the protocol asks
            // to ignore types one does not know.
            _ => {
                buffer.advance(8);
                self.state = State::Skip { left: length };
                return Ok(Begun::Inside);
            }
        };
        if length < least {
            return Err(Malformed("control frame too short"));
        }
        if length > MAX_CONTROL {
            return Err(Malformed("control frame too large"));
        }
        if buffer.len() < 8 + length {
            return Ok(Begun::More);
        }
        buffer.advance(8);
        let mut body = buffer.split_to(length);
        let number = body.get_u32();
        let stream = number & STREAM_ID;
        // Every header block must pass through the inflater, wanted or not: the next one builds on it.
        Ok(Begun::Frame(match kind {
            SYN_STREAM => {
                // The associated stream, the priority and the slot mean nothing here.
                body.advance(6);
                Frame::Open {
                    stream,
                    headers: self.inflater.headers(&body)?,
                    fin,
                }
            }
            SYN_REPLY | HEADERS => {
                self.inflater.headers(&body)?;
                Frame::Headers { stream, fin }
            }
            RST_STREAM => Frame::Reset { stream },
            PING => Frame::Ping { id: number },
            _ => Frame::GoAway,
        }))
    }
}

enum Begun {
    More,
    Inside,
    Frame(Frame),
}

/// Turns what this server says into bytes.
pub(crate) struct Encoder(Deflater);

impl Encoder {
    pub(crate) fn new() -> Self {
        Self(Deflater::new())
    }

    /// Opens a stream; only a client does.
    #[cfg(test)]
    pub(crate) fn open(&mut self, out: &mut BytesMut, stream: u32, headers: &Headers, fin: bool) {
        let block = self.0.block(headers);
        control(out, SYN_STREAM, 10 + block.len());
        let flags = out.len() - 4;
        out[flags] = u8::from(fin);
        out.put_u32(stream);
        out.put_slice(&[0; 6]);
        out.put_slice(&block);
    }

    pub(crate) fn data(&mut self, out: &mut BytesMut, stream: u32, bytes: &[u8], fin: bool) {
        // The length field has 24 bits; our chunks are far below that, and longer input becomes several frames.
        let mut pieces = bytes.chunks(CHUNK).peekable();
        if pieces.peek().is_none() {
            out.put_u32(stream & STREAM_ID);
            out.put_u32(u32::from(fin) << 24);
        }
        while let Some(piece) = pieces.next() {
            let flags = u32::from(fin && pieces.peek().is_none()) << 24;
            out.put_u32(stream & STREAM_ID);
            out.put_u32(flags | piece.len() as u32);
            out.put_slice(piece);
        }
    }

    pub(crate) fn accept(&mut self, out: &mut BytesMut, stream: u32) {
        let block = self.0.block(&Headers::default());
        control(out, SYN_REPLY, 4 + block.len());
        out.put_u32(stream & STREAM_ID);
        out.put_slice(&block);
    }

    pub(crate) fn reset(&mut self, out: &mut BytesMut, stream: u32, code: ResetCode) {
        control(out, RST_STREAM, 8);
        out.put_u32(stream & STREAM_ID);
        out.put_u32(code as u32);
    }

    pub(crate) fn ping(&mut self, out: &mut BytesMut, id: u32) {
        control(out, PING, 4);
        out.put_u32(id);
    }

    pub(crate) fn go_away(&mut self, out: &mut BytesMut, last_stream: u32) {
        control(out, GOAWAY, 8);
        out.put_u32(last_stream & STREAM_ID);
        out.put_u32(0);
    }
}

fn control(out: &mut BytesMut, kind: u16, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(length as u32);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(decoder: &mut Decoder, mut buffer: BytesMut) -> Result<Vec<Frame>, Malformed> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_conversation_decodes_the_same_whole_and_byte_by_byte() {
        let headers = Headers::of(&[("streamtype", "stdin")]);
        let (mut wire, mut encoder) = (BytesMut::new(), Encoder::new());
        encoder.open(&mut wire, 1, &headers, false);
        encoder.open(&mut wire, 3, &headers, true);
        encoder.data(&mut wire, 1, b"hello", false);
        encoder.data(&mut wire, 1, b"", false);
        control(&mut wire, 9, 8);
        wire.put_slice(&[0; 8]);
        encoder.ping(&mut wire, 7);
        encoder.data(&mut wire, 1, b"", true);
        encoder.reset(&mut wire, 3, ResetCode::Cancel);
        encoder.go_away(&mut wire, 0);

        let expected = vec![
            Frame::Open {
                stream: 1,
                headers: headers.clone(),
                fin: false,
            },
            Frame::Open {
                stream: 3,
                headers,
                fin: true,
            },
            Frame::Data {
                stream: 1,
                bytes: Bytes::from_static(b"hello"),
                fin: false,
            },
            Frame::Ping { id: 7 },
            Frame::Data {
                stream: 1,
                bytes: Bytes::new(),
                fin: true,
            },
            Frame::Reset { stream: 3 },
            Frame::GoAway,
        ];
        assert_eq!(frames(&mut Decoder::new(), wire.clone()).unwrap(), expected);

        let mut decoder = Decoder::new();
        let mut dribbled = Vec::new();
        let mut buffer = BytesMut::new();
        let mut text = Vec::new();
        for byte in wire {
            buffer.put_u8(byte);
            while let Some(frame) = decoder.next(&mut buffer).unwrap() {
                match frame {
                    Frame::Data { bytes, fin: false, .. } => text.extend_from_slice(&bytes),
                    frame => dribbled.push(frame),
                }
            }
        }
        assert_eq!(text, b"hello");
        let rest: Vec<_> = expected
            .into_iter()
            .filter(|f| !matches!(f, Frame::Data { fin: false, .. }))
            .collect();
        assert_eq!(dribbled, rest);
    }

    #[test]
    fn our_replies_inflate_in_order() {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut wire = BytesMut::new();
        for stream in [1, 3, 5] {
            encoder.accept(&mut wire, stream);
        }
        let expected: Vec<_> = [1, 3, 5].map(|stream| Frame::Headers { stream, fin: false }).into();
        assert_eq!(frames(&mut decoder, wire).unwrap(), expected);
    }

    #[test]
    fn a_frame_that_would_have_to_be_held_is_refused_when_too_large() {
        let mut wire = BytesMut::new();
        control(&mut wire, SYN_STREAM, 0xff_ffff);
        assert_eq!(
            frames(&mut Decoder::new(), wire),
            Err(Malformed("control frame too large"))
        );
        let mut wire = BytesMut::new();
        control(&mut wire, 4, 0xff_ffff);
        let mut decoder = Decoder::new();
        assert_eq!(
            decoder.next(&mut wire),
            Ok(None),
            "a large frame without meaning is skipped"
        );
        assert!(wire.is_empty(), "and not held");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_are_never_held(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..64),
                    (0u16..12, 0u8..2, 0u32..90_000, proptest::collection::vec(any::<u8>(), 0..200)).prop_map(
                        |(kind, flags, length, body)| {
                            let mut wire = BytesMut::new();
                            wire.put_u16(0x8003);
                            wire.put_u16(kind);
                            wire.put_u32(u32::from(flags) << 24 | length.min(body.len() as u32 + length % 3));
                            wire.put_slice(&body);
                            wire.to_vec()
                        }
                    ),
                ],
                0..20,
            )
        ) {
            let mut decoder = Decoder::new();
            let mut buffer = BytesMut::new();
            for piece in pieces {
                buffer.put_slice(&piece);
                loop {
                    match decoder.next(&mut buffer) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(buffer.len() <= 8 + MAX_CONTROL);
            }
        }
    }
}
