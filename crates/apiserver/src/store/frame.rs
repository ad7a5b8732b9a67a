//! The format of the database file.
//!
//! ```text
//! file   = header, SNAPSHOT*, END, (GROUP | OPEN | CLOSE | ROOM)*
//! header = magic (8), id of the file (8), group (8), zeros, CRC-32 of it all (4): 64 bytes
//! frame  = head (40), payload
//! head   = magic (4), kind (1), flags (1), zero (2), length of the payload (4), its length unpacked (4), group (8),
//!          id of the file (8), CRC-32 of the payload (4), CRC-32 of the head (4)
//! ```
//!
//! Numbers are little-endian. A frame is one commit group: what was written and synced at once. Groups count up by one; the
//! other frames carry the number of the last group before them. A snapshot begins the file: the objects as they were after
//! the group that the header names.
//!
//! The payload of GROUP and SNAPSHOT is the store's version (8) and records: length of the key (4), length of the value (4)
//! or all ones for a deletion, key, value. That of END is the version and the number of objects (8 each), that of OPEN the
//! version from which the process goes on (8).
//!
//! The head has a checksum of its own, so that damage in a payload does not lose the place of the next frame. And it has the
//! id of the file, a random number that nobody is told: nothing that a client stores can pass for a frame.

use super::log::Row;

pub(super) const FILE_HEADER: usize = 64;
pub(super) const HEAD: usize = 40;
/// The last byte is the version of the format.
const MAGIC: &[u8; 8] = b"KNARRDB\x01";
const FRAME: &[u8; 4] = b"MRFK";
const PACKED: u8 = 1;
/// Payloads from this size on are packed (LZ4). For smaller ones it gains nothing: the disk writes whole pages.
const PACK_FROM: usize = 4 << 10;
const DELETED: u32 = u32::MAX;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Writes that became durable together.
    Group = 0,
    /// Objects that were there when the file was begun.
    Snapshot = 1,
    /// The snapshot is complete.
    End = 2,
    /// A process has read the file up to here: whatever is before was whole.
    Open = 3,
    /// A process has ended in good order.
    Close = 4,
    /// Nothing; tries whether there is room.
    Room = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Group,
            Self::Snapshot,
            Self::End,
            Self::Open,
            Self::Close,
            Self::Room,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The first bytes of a file.
pub(super) fn file_header(id: u64, group: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(FILE_HEADER);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&group.to_le_bytes());
    out.resize(FILE_HEADER - 4, 0);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The id of a file and the group its snapshot stands for, if `bytes` is a header of this format.
pub(super) fn read_file_header(bytes: &[u8]) -> Result<(u64, u64), String> {
    if bytes.get(..7) != Some(&MAGIC[..7]) {
        return Err("it is not a database of Knarr, or its first bytes are damaged".into());
    }
    if crc32fast::hash(&bytes[..FILE_HEADER - 4]).to_le_bytes() != bytes[FILE_HEADER - 4..FILE_HEADER] {
        return Err("its header is damaged".into());
    }
    if bytes[7] != MAGIC[7] {
        return Err(format!(
            "it has format {}, this program reads format {}",
            bytes[7], MAGIC[7]
        ));
    }
    Ok((u64_at(bytes, 8), u64_at(bytes, 16)))
}

/// The head of a frame, whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub kind: Kind,
    packed: bool,
    pub len: usize,
    raw: usize,
    pub group: u64,
    pub id: u64,
    crc: u32,
}

impl Head {
    /// Reads a head; with an `id`, only one of that file.
    pub(super) fn read(bytes: &[u8], id: Option<u64>) -> Option<Self> {
        let bytes = bytes.get(..HEAD)?;
        if bytes[..4] != *FRAME || crc32fast::hash(&bytes[..HEAD - 4]).to_le_bytes() != bytes[HEAD - 4..] {
            return None;
        }
        let head = Self {
            kind: Kind::of(bytes[4])?,
            packed: bytes[5] & PACKED != 0,
            len: u32_at(bytes, 8) as usize,
            raw: u32_at(bytes, 12) as usize,
            group: u64_at(bytes, 16),
            id: u64_at(bytes, 24),
            crc: u32_at(bytes, 32),
        };
        id.is_none_or(|id| id == head.id).then_some(head)
    }

    /// Where the next head may begin in bytes that are not known to be one.
    pub(super) fn find(bytes: &[u8], from: usize) -> Option<usize> {
        let rest = bytes.get(from..)?;
        rest.windows(FRAME.len())
            .position(|window| window == FRAME)
            .map(|at| from + at)
    }

    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        crc32fast::hash(payload) == self.crc
    }

    /// The payload unpacked.
    pub(super) fn unpack<'a>(&self, payload: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], String> {
        if !self.packed {
            return Ok(payload);
        }
        // LZ4 cannot do better than this, so a larger number is a lie.
        if self.raw > payload.len().saturating_mul(255) + 64 {
            return Err("a frame claims an absurd size".into());
        }
        *buffer = lz4_flex::block::decompress(payload, self.raw).map_err(|error| error.to_string())?;
        Ok(buffer)
    }
}

/// Appends a frame to `out`.
pub(super) fn write(out: &mut Vec<u8>, id: u64, kind: Kind, group: u64, raw: &[u8]) -> Result<(), String> {
    let packed = (raw.len() >= PACK_FROM && kind != Kind::Room).then(|| lz4_flex::block::compress(raw));
    let (flags, payload) = match &packed {
        Some(packed) if packed.len() < raw.len() => (PACKED, packed.as_slice()),
        _ => (0, raw),
    };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| "too much for one write".to_owned());
    let start = out.len();
    out.extend_from_slice(FRAME);
    out.extend_from_slice(&[kind as u8, flags, 0, 0]);
    out.extend_from_slice(&length(payload)?.to_le_bytes());
    out.extend_from_slice(&length(raw)?.to_le_bytes());
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends a record to a payload.
pub(super) fn put(out: &mut Vec<u8>, key: &str, value: Option<&[u8]>) {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(DELETED - 1);
    out.extend_from_slice(&length(key.len()).to_le_bytes());
    out.extend_from_slice(&value.map_or(DELETED, |value| length(value.len())).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value.unwrap_or_default());
}

/// A payload of GROUP or SNAPSHOT: version and records.
pub(super) fn payload(version: u64, rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 << 10);
    out.extend_from_slice(&version.to_le_bytes());
    for (key, value) in rows {
        put(&mut out, key, value.as_deref());
    }
    out
}

/// Reads a payload: hands every record to `each`, and returns the version. `None` if a record runs over the end.
pub(super) fn records(data: &[u8], mut each: impl FnMut(&str, Option<&[u8]>)) -> Option<u64> {
    let version = u64::from_le_bytes(data.get(..8)?.try_into().ok()?);
    let mut rest = &data[8..];
    while !rest.is_empty() {
        let lengths = rest.get(..8)?;
        let (key_length, length) = (u32_at(lengths, 0) as usize, u32_at(lengths, 4));
        rest = &rest[8..];
        let key = std::str::from_utf8(rest.get(..key_length)?).ok()?;
        rest = &rest[key_length..];
        if length == DELETED {
            each(key, None);
            continue;
        }
        each(key, Some(rest.get(..length as usize)?));
        rest = &rest[length as usize..];
    }
    Some(version)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
