//! Reading a database file: strictly, where damage is refused with its place; and to save what is whole.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::disk::DiskFile;
use super::frame::{self, FILE_HEADER, HEAD, Head, Kind};

/// Bytes read at once.
const WINDOW: usize = 512 << 10;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub version: u64,
    /// The number of the last commit group.
    pub group: u64,
    /// Every object, by `table NUL namespace/name`.
    pub rows: BTreeMap<Box<str>, Bytes>,
}

/// A whole file.
pub(super) struct Replayed {
    pub content: Content,
    pub id: u64,
    /// Where the snapshot at its beginning ends.
    pub base: u64,
    /// Where the last whole frame ends.
    pub end: u64,
    /// Bytes after it: a write that was cut off, and so never acknowledged.
    pub torn: u64,
}

/// What could be read of a damaged file.
pub(crate) struct Salvaged {
    pub content: Content,
    /// What could not be read, in words.
    pub lost: Vec<String>,
}

pub(super) enum Trouble {
    /// The disk does not let the file be read.
    Io(io::Error),
    /// What it holds is not what was written.
    Damaged(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A file seen through a window that moves over it, so that a large one is never in memory as a whole.
struct Scan<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    window: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self {
            len: file.len()?,
            file,
            start: 0,
            window: Vec::new(),
        })
    }

    /// Some bytes of the file; `None` if it ends before them.
    fn bytes(&mut self, at: u64, want: usize) -> io::Result<Option<&[u8]>> {
        let end = at.saturating_add(want as u64);
        if end > self.len {
            return Ok(None);
        }
        if at < self.start || end > self.start + self.window.len() as u64 {
            let size = (self.len - at).min(want.max(WINDOW) as u64);
            self.window.resize(usize::try_from(size).map_err(io::Error::other)?, 0);
            self.start = at;
            self.file
                .read(&mut self.window, at)
                .inspect_err(|_| self.window.clear())?;
        }
        let from = usize::try_from(at - self.start).map_err(io::Error::other)?;
        Ok(Some(&self.window[from..from + want]))
    }

    fn head(&mut self, at: u64, id: Option<u64>) -> io::Result<Option<Head>> {
        Ok(self.bytes(at, HEAD)?.and_then(|bytes| Head::read(bytes, id)))
    }

    /// The payload of the frame at a place, if it is what was written.
    fn payload(&mut self, at: u64, head: &Head) -> io::Result<Option<&[u8]>> {
        let payload = self.bytes(at + HEAD as u64, head.len)?;
        Ok(payload.filter(|payload| head.fits(payload)))
    }

    /// The first head at or after a place.
    fn find(&mut self, mut at: u64, id: Option<u64>, wanted: impl Fn(&Head) -> bool) -> io::Result<Option<u64>> {
        while at + HEAD as u64 <= self.len {
            let size = (self.len - at).min(WINDOW as u64);
            let Some(bytes) = self.bytes(at, usize::try_from(size).map_err(io::Error::other)?)? else {
                break;
            };
            let mut from = 0;
            while let Some(place) = Head::find(bytes, from) {
                if Head::read(&bytes[place..], id).is_some_and(|head| wanted(&head)) {
                    return Ok(Some(at + place as u64));
                }
                from = place + 1;
            }
            if at + size == self.len {
                break;
            }
            // The next piece overlaps, since a head may lie across the border.
            at += size - (HEAD as u64 - 1);
        }
        Ok(None)
    }

    fn all_zero(&mut self, mut at: u64) -> io::Result<bool> {
        while at < self.len {
            let size = (self.len - at).min(WINDOW as u64);
            let bytes = self.bytes(at, usize::try_from(size).map_err(io::Error::other)?)?;
            if bytes.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
            at += size;
        }
        Ok(true)
    }
}

impl Content {
    fn apply(&mut self, head: &Head, payload: &[u8]) -> Result<(), String> {
        let mut buffer = Vec::new();
        match head.kind {
            Kind::Group | Kind::Snapshot => {
                let data = head.unpack(payload, &mut buffer)?;
                let rows = &mut self.rows;
                let version = frame::records(data, |key, value| match (value, rows.get_mut(key)) {
                    (Some(value), Some(place)) => *place = Bytes::copy_from_slice(value),
                    (Some(value), None) => {
                        rows.insert(key.into(), Bytes::copy_from_slice(value));
                    }
                    (None, _) => {
                        rows.remove(key);
                    }
                });
                self.version = version.ok_or("a record runs over the end of its frame")?;
            }
            Kind::End => {
                if payload.len() != 16 {
                    return Err("the end of the snapshot has the wrong length".into());
                }
                self.version = frame::u64_at(payload, 0);
                let count = frame::u64_at(payload, 8);
                if count != self.rows.len() as u64 {
                    let there = self.rows.len();
                    return Err(format!("the snapshot has {there} objects instead of {count}"));
                }
            }
            Kind::Open => {
                let start = payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                self.version = self.version.max(start);
            }
            Kind::Close | Kind::Room => {}
        }
        self.group = head.group;
        Ok(())
    }
}

/// Reads a whole file, or says where it is damaged.
///
/// A group is written only after the one before it is on disk. So bytes that are no frame are a write that was cut off if
/// nothing follows them, and damage if a frame does.
pub(super) fn replay(file: &dyn DiskFile) -> Result<Replayed, Trouble> {
    let damaged = |at: u64, what: &str| Trouble::Damaged(format!("{what} (at byte {at})"));
    let mut scan = Scan::new(file)?;
    if scan.len == 0 {
        return Err(Trouble::Damaged("it is empty".into()));
    }
    let Some(header) = scan.bytes(0, FILE_HEADER)? else {
        return Err(Trouble::Damaged(format!("it is cut off after {} bytes", scan.len)));
    };
    let (id, group) = frame::read_file_header(header).map_err(Trouble::Damaged)?;
    let mut content = Content {
        group,
        ..Content::default()
    };
    let (mut at, mut base) = (FILE_HEADER as u64, None);
    while let Some(head) = scan.head(at, Some(id))? {
        let Some(payload) = scan.payload(at, &head)? else { break };
        let expected = content.group + u64::from(head.kind == Kind::Group);
        let in_place = match head.kind {
            Kind::Snapshot | Kind::End => base.is_none(),
            Kind::Group | Kind::Open | Kind::Close | Kind::Room => base.is_some(),
        };
        if head.group != expected || !in_place {
            return Err(damaged(
                at,
                &format!("group {} stands where {expected} belongs", head.group),
            ));
        }
        content.apply(&head, payload).map_err(|why| damaged(at, &why))?;
        at += (HEAD + head.len) as u64;
        if head.kind == Kind::End {
            base = Some(at);
        }
    }
    let Some(base) = base else {
        return Err(damaged(at, "the snapshot at its beginning is damaged or cut off"));
    };
    let group = content.group;
    let follows = |head: &Head| head.group > group || matches!(head.kind, Kind::Open | Kind::Close);
    if let Some(later) = scan.find(at + 1, Some(id), follows)? {
        let what = format!(
            "group {} is damaged, though what follows from byte {later} on is whole",
            group + 1
        );
        return Err(damaged(at, &what));
    }
    let torn = match scan.all_zero(at)? {
        true => 0,
        false => scan.len - at,
    };
    Ok(Replayed {
        content,
        id,
        base,
        end: at,
        torn,
    })
}

/// Reads what is whole of a damaged file.
pub(super) fn salvage(file: &dyn DiskFile) -> io::Result<Salvaged> {
    let mut scan = Scan::new(file)?;
    let mut content = Content::default();
    let mut lost = Vec::new();
    let header = scan.bytes(0, FILE_HEADER)?.map(frame::read_file_header);
    let (mut at, id) = match header {
        Some(Ok((id, _))) => (FILE_HEADER as u64, Some(id)),
        // Every frame says whose it is, so the first one found stands in for the header.
        _ => match scan.find(0, None, |_| true)? {
            Some(at) => {
                lost.push("the header of the file".into());
                (at, scan.head(at, None)?.map(|head| head.id))
            }
            None => {
                lost.push(format!(
                    "everything: none of its {} bytes are a frame of a database",
                    scan.len
                ));
                return Ok(Salvaged { content, lost });
            }
        },
    };
    loop {
        let whole = match scan.head(at, id)? {
            Some(head) => match scan.payload(at, &head)? {
                Some(payload) => {
                    if head.kind == Kind::Group && content.group > 0 && head.group > content.group + 1 {
                        let (first, last) = (content.group + 1, head.group - 1);
                        lost.push(match first == last {
                            true => format!("group {first}"),
                            false => format!("groups {first} to {last}"),
                        });
                    }
                    if let Err(why) = content.apply(&head, payload) {
                        lost.push(format!("{why} (at byte {at})"));
                        content.group = head.group;
                    }
                    at += (HEAD + head.len) as u64;
                    true
                }
                None => false,
            },
            None => false,
        };
        if whole {
            continue;
        }
        match scan.find(at + 1, id, |_| true)? {
            Some(next) => {
                lost.push(format!("bytes {at} to {next}"));
                at = next;
            }
            None => {
                if at < scan.len && !scan.all_zero(at)? {
                    lost.push(format!(
                        "bytes {at} to {}, the end: a write that was cut off, or the last group",
                        scan.len
                    ));
                }
                return Ok(Salvaged { content, lost });
            }
        }
    }
}
