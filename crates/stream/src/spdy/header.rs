//! SPDY header blocks: name-value pairs, compressed by one zlib stream per direction that lives as long as the connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;
use super::frame::Malformed;

/// The largest header block accepted, inflated. Streams of Kubernetes clients carry three short headers.
const MAX_BLOCK: usize = 64 * 1024;

/// The headers of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a header. Names compare without regard to case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, values) = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        values.split('\0').next()
    }

    fn parse(block: &[u8]) -> Result<Self, Malformed> {
        let mut rest = block;
        let count = take_length(&mut rest)?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let name = take_text(&mut rest)?;
            let value = take_text(&mut rest)?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(
            pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        )
    }

    fn to_block(&self) -> Vec<u8> {
        let mut block = (self.0.len() as u32).to_be_bytes().to_vec();
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&(text.len() as u32).to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        block
    }
}

fn take_length(rest: &mut &[u8]) -> Result<usize, Malformed> {
    let (head, tail) = rest
        .split_first_chunk::<4>()
        .ok_or(Malformed("header block ends early"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head) as usize)
}

fn take_text(rest: &mut &[u8]) -> Result<String, Malformed> {
    let length = take_length(rest)?;
    let (text, tail) = rest
        .split_at_checked(length)
        .ok_or(Malformed("header block ends early"))?;
    *rest = tail;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Inflates the peer's header blocks, in the order they came.
pub(crate) struct Inflater(Decompress);

impl Inflater {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(crate) fn headers(&mut self, compressed: &[u8]) -> Result<Headers, Malformed> {
        const CORRUPT: Malformed = Malformed("header block does not inflate");
        let mut block = Vec::with_capacity(1024);
        let mut consumed = 0;
        loop {
            if block.len() == block.capacity() {
                if block.len() >= MAX_BLOCK {
                    return Err(Malformed("header block too large"));
                }
                block.reserve(block.len());
            }
            let (before_in, before_out) = (self.0.total_in(), block.len());
            let result = self
                .0
                .decompress_vec(&compressed[consumed..], &mut block, FlushDecompress::Sync);
            let taken = (self.0.total_in() - before_in) as usize;
            consumed += taken;
            match result {
                // The stream goes on from block to block; one that ends cannot carry the next block.
                Ok(Status::StreamEnd) => return Err(CORRUPT),
                Ok(_) if block.len() == block.capacity() => {}
                Ok(_) if consumed == compressed.len() => return Headers::parse(&block),
                Ok(_) if taken == 0 && block.len() == before_out => return Err(CORRUPT),
                Ok(_) => {}
                // Only the first block names the dictionary.
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| CORRUPT)?;
                }
                Err(_) => return Err(CORRUPT),
            }
        }
    }
}

/// Deflates our header blocks, in the order they go.
pub(crate) struct Deflater(Compress);

impl Deflater {
    pub(crate) fn new() -> Self {
        let mut compress = Compress::new(Compression::default(), true);
        compress
            .set_dictionary(&DICTIONARY)
            .expect("a fresh deflate stream takes a dictionary");
        Self(compress)
    }

    pub(crate) fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let block = headers.to_block();
        let mut compressed = Vec::with_capacity(block.len() + 64);
        let mut consumed = 0;
        loop {
            let before = self.0.total_in();
            // Deflate cannot fail on valid state, and a flush that did not fit is continued by the next call.
            let _ = self
                .0
                .compress_vec(&block[consumed..], &mut compressed, FlushCompress::Sync);
            consumed += (self.0.total_in() - before) as usize;
            if compressed.len() < compressed.capacity() {
                return compressed;
            }
            compressed.reserve(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        // Every SPDY/3 peer names its dictionary by this Adler-32 in the first two bytes after the zlib header.
        let block = Deflater::new().block(&Headers::default());
        assert_eq!(DICTIONARY.len(), 1423);
        assert_eq!(block[2..6], 0xe3c6_a7c2_u32.to_be_bytes());
    }

    #[test]
    fn headers_survive_the_wire_block_after_block() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for round in 0..50 {
            let id = round.to_string();
            let headers = Headers::of(&[("streamtype", "data"), ("port", "8080"), ("requestid", &id)]);
            assert_eq!(inflater.headers(&deflater.block(&headers)), Ok(headers));
        }
        let long = "x".repeat(20_000);
        let headers = Headers::of(&[("streamtype", &long)]);
        assert_eq!(inflater.headers(&deflater.block(&headers)), Ok(headers.clone()));
        assert_eq!(headers.get("StreamType"), Some(long.as_str()));
    }

    #[test]
    fn a_block_that_inflates_without_end_is_refused() {
        let bomb = "\0".repeat(10_000_000);
        let block = Deflater::new().block(&Headers::of(&[("a", &bomb)]));
        assert!(block.len() < 60_000, "the bomb is small on the wire: {}", block.len());
        assert_eq!(
            Inflater::new().headers(&block),
            Err(Malformed("header block too large"))
        );
    }
}
