//! Protobuf's wire format: numbered fields of four encodings, read and written.

use super::ProtoError;

/// A field's content.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Payload<'a> {
    fn wire_type(self) -> u8 {
        match self {
            Payload::Varint(_) => 0,
            Payload::Fixed64(_) => 1,
            Payload::Bytes(_) => 2,
            Payload::Fixed32(_) => 5,
        }
    }

    pub(crate) fn unexpected(self, field: &str) -> ProtoError {
        ProtoError::WireType {
            field: field.to_owned(),
            wire_type: self.wire_type(),
        }
    }

    pub(crate) fn bytes(self, field: &str) -> Result<&'a [u8], ProtoError> {
        if let Payload::Bytes(bytes) = self {
            Ok(bytes)
        } else {
            Err(self.unexpected(field))
        }
    }

    pub(crate) fn text(self, field: &str) -> Result<&'a str, ProtoError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| ProtoError::Utf8(field.to_owned()))
    }

    pub(crate) fn varint(self, field: &str) -> Result<u64, ProtoError> {
        if let Payload::Varint(number) = self {
            Ok(number)
        } else {
            Err(self.unexpected(field))
        }
    }
}

/// Reads the fields of one message; never beyond its bytes.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next field's number and content, none at the end of the message.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, ProtoError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| *number > 0)
            .ok_or(ProtoError::Overflow)?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtoError::Overflow)?;
                Payload::Bytes(self.take(length)?)
            }
            5 => Payload::Fixed32(u32::from_le_bytes(self.array()?)),
            other => {
                return Err(ProtoError::WireType {
                    field: number.to_string(),
                    wire_type: other as u8,
                });
            }
        };
        Ok(Some((number, payload)))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(ProtoError::Truncated)?;
            self.0 = rest;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(ProtoError::Overflow)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtoError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ProtoError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ProtoError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// Writes a field of the integer encoding.
pub(crate) fn varint(out: &mut Vec<u8>, number: u32, value: u64) {
    raw_varint(out, u64::from(number) << 3);
    raw_varint(out, value);
}

/// Writes a field of eight bytes.
pub(crate) fn fixed64(out: &mut Vec<u8>, number: u32, bits: u64) {
    raw_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Writes a field of any bytes: a string, or a message that is ready.
pub(crate) fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    raw_varint(out, u64::from(number) << 3 | 2);
    raw_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a field that is a message.
pub(crate) fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    raw_varint(out, u64::from(number) << 3 | 2);
    let start = out.len();
    write(out);
    // The length goes in front, but how many bytes it takes is known only now. Most messages are short.
    let mut length = Vec::with_capacity(5);
    raw_varint(&mut length, (out.len() - start) as u64);
    out.splice(start..start, length);
}

fn raw_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
