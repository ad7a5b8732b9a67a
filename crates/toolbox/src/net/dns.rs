//! DNS messages: writing questions and reading answers (RFC 1035).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types by name and number.
const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("ANY", 255),
];

pub(crate) fn type_number(name: &str) -> Option<u16> {
    let upper = name.to_ascii_uppercase();
    TYPES.iter().find(|(n, _)| *n == upper).map(|(_, number)| *number)
}

pub(crate) fn type_name(number: u16) -> String {
    TYPES
        .iter()
        .find(|(_, n)| *n == number)
        .map_or_else(|| format!("TYPE{number}"), |(name, _)| (*name).to_owned())
}

/// A record's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Address(IpAddr),
    Name(String),
    Service {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Text(String),
    Other(String),
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => write!(f, "{name}."),
            Self::Service {
                priority,
                weight,
                port,
                target,
            } => write!(f, "{priority} {weight} {port} {target}."),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub name: String,
    pub kind: u16,
    pub ttl: u32,
    pub data: Data,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub id: u16,
    pub flags: u16,
    pub question: Option<(String, u16)>,
    pub answers: Vec<Record>,
    pub authority: Vec<Record>,
    pub additional: Vec<Record>,
}

impl Message {
    /// `NOERROR` is 0, `NXDOMAIN` is 3.
    pub(crate) fn code(&self) -> u16 {
        self.flags & 0xf
    }

    pub(crate) fn truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    pub(crate) fn status(&self) -> &'static str {
        match self.code() {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            _ => "RESERVED",
        }
    }
}

/// A question with recursion desired.
pub(crate) fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for value in [id, 0x0100, 1, 0, 0, 0] {
        out.extend(value.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.').filter(|l| !l.is_empty()) {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|n| *n < 64)
            .ok_or_else(|| format!("'{name}' is not a legal name"))?;
        out.push(length);
        out.extend(label.as_bytes());
    }
    if out.len() > 12 + 254 {
        return Err(format!("'{name}' is not a legal name"));
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend(1u16.to_be_bytes());
    Ok(out)
}

struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let value = *self.bytes.get(self.pos)?;
        self.pos += 1;
        Some(value)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    /// A name, which may point back into the message. Pointers only ever lead backwards here, so they cannot loop.
    fn name(&mut self) -> Option<String> {
        let mut labels: Vec<String> = Vec::new();
        let mut at = self.pos;
        let mut least = self.pos;
        let mut end = None;
        let mut total = 0;
        loop {
            let length = *self.bytes.get(at)?;
            match length {
                0 => {
                    self.pos = end.unwrap_or(at + 1);
                    return Some(labels.join("."));
                }
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(length))?;
                    total += label.len() + 1;
                    if total > 255 {
                        return None;
                    }
                    // Control characters in a name must not reach a terminal.
                    labels.push(
                        String::from_utf8_lossy(label)
                            .chars()
                            .map(|c| if c.is_control() { '?' } else { c })
                            .collect(),
                    );
                    at += 1 + usize::from(length);
                }
                192.. => {
                    let target = usize::from(length & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    end.get_or_insert(at + 2);
                    if target >= least {
                        return None;
                    }
                    least = target;
                    at = target;
                }
                _ => return None,
            }
        }
    }

    fn record(&mut self) -> Option<Record> {
        let name = self.name()?;
        let kind = self.u16()?;
        let _class = self.u16()?;
        let ttl = self.u32()?;
        let length = usize::from(self.u16()?);
        let end = self.pos + length;
        let raw = self.bytes.get(self.pos..end)?;
        let data = match kind {
            1 => Data::Address(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(raw).ok()?))),
            28 => Data::Address(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(raw).ok()?))),
            2 | 5 | 12 => Data::Name(self.name()?),
            33 => Data::Service {
                priority: self.u16()?,
                weight: self.u16()?,
                port: self.u16()?,
                target: self.name()?,
            },
            15 => Data::Other(format!("{} {}.", self.u16()?, self.name()?)),
            6 => {
                let (server, mail) = (self.name()?, self.name()?);
                let numbers: Vec<String> = (0..5).map_while(|_| self.u32()).map(|n| n.to_string()).collect();
                Data::Other(format!("{server}. {mail}. {}", numbers.join(" ")))
            }
            16 => {
                let mut text = String::new();
                let mut rest = raw;
                while let Some((n, after)) = rest.split_first() {
                    let n = usize::from(*n).min(after.len());
                    text.extend(String::from_utf8_lossy(&after[..n]).chars().filter(|c| !c.is_control()));
                    rest = &after[n..];
                }
                Data::Text(text)
            }
            _ => Data::Other(format!("\\# {length}")),
        };
        self.pos = end;
        Some(Record { name, kind, ttl, data })
    }
}

/// Reads an answer. `None` when it is no DNS message.
pub(crate) fn parse(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader { bytes, pos: 0 };
    let mut message = Message {
        id: reader.u16()?,
        flags: reader.u16()?,
        ..Message::default()
    };
    let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
    for _ in 0..counts[0] {
        let name = reader.name()?;
        let kind = reader.u16()?;
        reader.u16()?;
        message.question.get_or_insert((name, kind));
    }
    for (count, list) in [
        (counts[1], &mut message.answers),
        (counts[2], &mut message.authority),
        (counts[3], &mut message.additional),
    ] {
        for _ in 0..count {
            list.push(reader.record()?);
        }
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_nonsense_is_not() {
        let mut bytes = question(7, "kubia.default.svc.cluster.local", 33).expect("a name");
        bytes[2] = 0x84;
        bytes[7] = 1;
        let start = bytes.len();
        bytes.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 30, 0, 16, 0, 10, 0, 33, 0, 80, 7]);
        bytes.extend(b"kubia-0\xc0\x0c");
        let message = parse(&bytes).expect("a message");
        assert_eq!(
            message.answers[0].data.to_string(),
            "10 33 80 kubia-0.kubia.default.svc.cluster.local."
        );
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).is_none(), "{cut}");
        }
        // A name that points at itself.
        bytes.truncate(start);
        bytes.extend([0xc0, start as u8]);
        bytes.extend([0; 10]);
        assert!(parse(&bytes).is_none());
    }
}
