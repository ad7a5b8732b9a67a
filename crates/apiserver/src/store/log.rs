//! The objects on disk: a log of commit groups, rewritten from memory when most of it is out of date.
//!
//! Everything lives in memory, so the disk has two tasks only: make each group durable, which is one write at the end of a
//! file and one sync; and be read at the next start. The format is described in [`super::frame`].
//!
//! What happens when the disk fails decides what a client may be told:
//! * A write that fails is cut off again. If the cut reaches the disk, the group is surely not there.
//! * A sync that fails leaves pages that the kernel takes for written, so asking again would lie. The group is cut off, and
//!   before anything else is acknowledged the whole file is written anew from memory.
//! * If the cut fails, too, nobody knows whether the group comes back at the next start.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;

use super::disk::{Disk, DiskFile};
use super::frame::{self, Kind};
use super::replay::{self, Content, Salvaged, Trouble};
use crate::error::Error;

/// One write: the key on disk, and the new bytes or none for a deletion.
pub(crate) type Row = (String, Option<Bytes>);

/// The database itself, and the files beside it.
const LIVE: &str = "";
/// The next one, until it is complete.
const NEW: &str = ".new";
/// What was cut off at the last start.
const TORN: &str = ".torn";
/// Room that is given up when the disk is full, so that objects can still be deleted.
const RESERVE: &str = ".reserve";
const RESERVED: usize = 256 << 10;
/// No more than this is kept of what is cut off.
const KEEP_TORN: u64 = 16 << 20;
/// A rewrite syncs this often, so that the groups of the meantime do not wait for all of it at once.
const SYNC_EVERY: u64 = 8 << 20;
/// Objects are packed together up to this size in a snapshot.
const CHUNK: usize = 1 << 20;
/// So much may be missing in a rewritten file when writes are held up to complete it.
const CATCH_UP: u64 = 256 << 10;

/// Everything that is to be on disk at some moment: the version, and the objects one by one.
pub(crate) type Snapshot = (u64, Box<dyn Iterator<Item = (String, Bytes)> + Send>);
/// Takes a snapshot of memory. It holds at least every group written so far.
pub(crate) type Source = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// Why a group was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It is surely not on disk.
    Refused { reason: String, full: bool },
    /// It may be there at the next start.
    Unknown(String),
}

impl Status {
    fn refused(error: &io::Error) -> Self {
        Self::Refused {
            reason: error.to_string(),
            full: matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
        }
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } | Self::Unknown(reason) => reason,
        }
    }
}

/// When a file is rewritten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    /// A file is not rewritten below this many bytes.
    pub least: u64,
    /// Rewrite while writes go on. Tests that count calls do it in between.
    pub aside: bool,
    /// Versions that are skipped whenever a file is opened again, so that those that a crash lost are never given out again.
    pub gap: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            least: 4 << 20,
            aside: true,
            gap: super::RESTART_GAP,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    /// A write failed, or was not cut off yet: cutting the file is enough.
    Cut,
    /// A sync failed: nothing is appended to this file any more.
    Rewrite,
}

/// A file that is written to.
struct Out {
    file: Arc<dyn DiskFile>,
    id: u64,
    /// Where its snapshot ends.
    base: u64,
    /// Where its last good frame ends.
    end: u64,
}

/// A rewrite under way: the new file, and up to where it follows the old one.
type Rewriting = JoinHandle<io::Result<(Out, u64)>>;

/// An open database.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    tuning: Tuning,
    source: Source,
    out: Out,
    /// The number of the last group.
    group: u64,
    version: u64,
    state: State,
    rewriting: Option<Rewriting>,
    /// After a rewrite that failed: the size at which to try again.
    not_before: u64,
    reserved: bool,
    /// Called from another thread when a rewrite has got somewhere.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Log {
    /// Reads the database, or makes an empty one. `source` and `wake` are used from the first [`Log::append`] on.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        tuning: Tuning,
        source: Source,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<(Self, Content), Error> {
        let failed = |error: io::Error| Error::Disk(format!("{}: {error}", disk.path().display()));
        disk.remove(NEW).map_err(failed)?;
        let log = |out, content: &Content| Self {
            disk: disk.clone(),
            tuning,
            source: source.clone(),
            out,
            group: content.group,
            version: content.version,
            state: State::Fine,
            rewriting: None,
            not_before: 0,
            reserved: false,
            wake: wake.clone(),
        };
        let Some(file) = disk.open(LIVE).map_err(failed)? else {
            let content = Content::default();
            let out = write_snapshot(&*disk, 0, (0, Box::new(std::iter::empty()))).map_err(failed)?;
            disk.rename(NEW, LIVE).map_err(failed)?;
            disk.sync_directory().map_err(failed)?;
            let mut log = log(out, &content);
            log.reserve();
            return Ok((log, content));
        };
        let file: Arc<dyn DiskFile> = file.into();
        let replayed = replay::replay(&*file).map_err(|trouble| match trouble {
            Trouble::Io(error) => failed(error),
            Trouble::Damaged(reason) => Error::Corrupt {
                path: disk.path().into(),
                reason,
            },
        })?;
        let out = Out {
            file,
            id: replayed.id,
            base: replayed.base,
            end: replayed.end,
        };
        let mut content = replayed.content;
        content.version += tuning.gap;
        let mut log = log(out, &content);
        if replayed.torn > 0 {
            log.keep_torn(replayed.torn);
        }
        // What was read may have been in the page cache only: it has to be on disk before anybody is told of it.
        log.cut().map_err(failed)?;
        // A disk that is full can still be read from, so this may fail.
        let _ = log.write_frame(Kind::Open, log.group, &content.version.to_le_bytes());
        log.reserve();
        Ok((log, content))
    }

    /// Puts the end of a file aside before it is cut off: it was never acknowledged, but nothing is thrown away unseen.
    fn keep_torn(&self, torn: u64) {
        let kept = || -> io::Result<()> {
            let mut bytes = vec![0; usize::try_from(torn.min(KEEP_TORN)).map_err(io::Error::other)?];
            self.out.file.read(&mut bytes, self.out.end)?;
            let file = self.disk.create(TORN)?;
            file.write(&bytes, 0)
        };
        let aside = kept().is_ok();
        let at = self.out.end;
        tracing::warn!(
            bytes = torn, at, aside, path = %self.disk.path().display(),
            "cut off the end of the database, a write that was not finished; .torn beside it has the bytes"
        );
    }

    /// Sees to it that there is something to give up when the disk is full.
    fn reserve(&mut self) {
        let made = || -> io::Result<()> {
            if let Some(file) = self.disk.open(RESERVE)?
                && file.len()? == RESERVED as u64
            {
                return Ok(());
            }
            let file = self.disk.create(RESERVE)?;
            file.write(&vec![0; RESERVED], 0)?;
            file.sync()
        };
        self.reserved = made().is_ok();
    }

    /// Gives up the room held back. False if there was none.
    pub(crate) fn give_room(&mut self) -> bool {
        std::mem::take(&mut self.reserved)
            && self
                .disk
                .remove(RESERVE)
                .and_then(|()| self.disk.sync_directory())
                .is_ok()
    }

    /// Writes a group, all of it or nothing; it is on disk when this returns. Deletions of what is not there do no harm.
    pub(crate) fn append(&mut self, rows: &[Row], version: u64) -> Result<(), Status> {
        self.mend().map_err(|error| Status::refused(&error))?;
        let payload = frame::payload(version, rows);
        self.write_frame(Kind::Group, self.group + 1, &payload)?;
        self.group += 1;
        self.version = version;
        Ok(())
    }

    fn write_frame(&mut self, kind: Kind, group: u64, payload: &[u8]) -> Result<(), Status> {
        let mut bytes = Vec::with_capacity(payload.len() + frame::HEAD);
        frame::write(&mut bytes, self.out.id, kind, group, payload)
            .map_err(|reason| Status::Refused { reason, full: false })?;
        let written = match self.out.file.write(&bytes, self.out.end) {
            Err(error) => {
                self.state = State::Cut;
                Err(error)
            }
            Ok(()) => self.out.file.sync().inspect_err(|_| self.state = State::Rewrite),
        };
        match written {
            Ok(()) => {
                self.out.end += bytes.len() as u64;
                Ok(())
            }
            Err(error) => Err(match self.cut() {
                Ok(()) => {
                    // Room for the next one may be found by then.
                    if self.state == State::Cut {
                        self.state = State::Fine;
                    }
                    Status::refused(&error)
                }
                Err(_) => Status::Unknown(error.to_string()),
            }),
        }
    }

    /// Cuts off whatever follows the last good frame.
    fn cut(&mut self) -> io::Result<()> {
        self.out.file.set_len(self.out.end)?;
        self.out.file.sync()
    }

    /// Gets rid of what a failed write left. Until this succeeds nothing more may be written.
    fn mend(&mut self) -> io::Result<()> {
        match self.state {
            State::Fine => return Ok(()),
            State::Cut => self.cut()?,
            State::Rewrite => {
                self.abandon();
                let out = write_snapshot(&*self.disk, self.group, (self.source)())?;
                self.swap(out)?;
            }
        }
        self.state = State::Fine;
        Ok(())
    }

    /// Mends the file and tries whether there is room for more than a few bytes.
    pub(crate) fn probe(&mut self) -> Result<(), Status> {
        self.mend().map_err(|error| Status::refused(&error))?;
        let end = self.out.end;
        self.write_frame(Kind::Room, self.group, &[0; 64 << 10])?;
        self.out.end = end;
        self.state = State::Cut;
        self.mend().map_err(|error| Status::refused(&error))?;
        if !self.reserved {
            self.reserve();
        }
        Ok(())
    }

    /// Puts a new file in the place of the old one.
    fn swap(&mut self, out: Out) -> io::Result<()> {
        self.disk.rename(NEW, LIVE)?;
        let old = std::mem::replace(&mut self.out, out);
        self.not_before = 0;
        // The last close frees the blocks of the old file, which takes long for a large one.
        if self.tuning.aside {
            std::thread::spawn(move || drop(old));
        }
        // If this fails, either name may survive a crash. Both files hold all that was acknowledged, but only the new one
        // grows, so nothing more may be acknowledged until it is the one that is found.
        self.disk.sync_directory().inspect_err(|_| self.state = State::Rewrite)
    }

    fn abandon(&mut self) {
        if let Some(rewriting) = self.rewriting.take() {
            let _ = rewriting.join();
        }
    }

    /// Starts a rewrite if the file is worth one, or carries on with the one under way. To be called now and then; `live` is
    /// the number of bytes of all objects.
    pub(crate) fn tend(&mut self, live: u64) {
        if self.state != State::Fine {
            return;
        }
        if let Some(rewriting) = self.rewriting.take_if(|rewriting| rewriting.is_finished()) {
            let outcome = match rewriting.join() {
                Ok(Ok((out, copied))) => self.finish(out, copied),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::Error::other("the rewrite ended early")),
            };
            self.excuse(outcome);
        }
        if self.rewriting.is_none() && self.is_worth_it(live) {
            self.rewrite();
        }
    }

    /// Whether [`Log::tend`] has something to do.
    pub(crate) fn wants(&self, live: u64) -> bool {
        match &self.rewriting {
            Some(rewriting) => rewriting.is_finished(),
            None => self.is_worth_it(live),
        }
    }

    fn is_worth_it(&self, live: u64) -> bool {
        let end = self.out.end;
        let grown = end - self.out.base;
        end >= self.tuning.least.max(self.not_before)
            // The snapshot is packed, so it may be much smaller than what is live.
            && (end > 2 * live || grown > self.tuning.least.max(self.out.base).max(live / 4))
    }

    /// A rewrite that failed is no misfortune: the old file is as good as ever.
    fn excuse(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            tracing::warn!(%error, "the database was not rewritten");
            self.not_before = self.out.end + self.out.end / 4 + self.tuning.least;
            if self.state == State::Fine {
                let _ = self.disk.remove(NEW);
            }
        }
    }

    fn rewrite(&mut self) {
        let (disk, group, from) = (self.disk.clone(), self.group, self.out.end);
        let snapshot = (self.source)();
        if !self.tuning.aside {
            let outcome = write_snapshot(&*disk, group, snapshot).and_then(|out| self.finish(out, from));
            return self.excuse(outcome);
        }
        let wake = self.wake.clone();
        self.rewriting = Some(std::thread::spawn(move || {
            let _wake = Wake(wake);
            Ok((write_snapshot(&*disk, group, snapshot)?, from))
        }));
    }

    /// Brings a new file up to date with what was written meanwhile, and puts it in place.
    fn finish(&mut self, mut out: Out, copied: u64) -> io::Result<()> {
        let (file, id, end) = (self.out.file.clone(), self.out.id, self.out.end);
        if end - copied > CATCH_UP {
            let wake = self.wake.clone();
            self.rewriting = Some(std::thread::spawn(move || {
                let _wake = Wake(wake);
                follow(&*file, id, copied, end, &mut out)?;
                Ok((out, end))
            }));
            return Ok(());
        }
        follow(&*file, id, copied, end, &mut out)?;
        self.swap(out)
    }

    /// Notes that all is well: from now on damage to the last group can be told from a write that was cut off.
    pub(crate) fn close(mut self) -> Result<(), Status> {
        self.abandon();
        let _ = self.disk.remove(NEW);
        self.mend().map_err(|error| Status::refused(&error))?;
        self.write_frame(Kind::Close, self.group, &[])
    }

    /// Everything the file holds, read again.
    pub(crate) fn content(&self) -> Result<Content, Error> {
        match replay::replay(&*self.out.file) {
            Ok(replayed) => Ok(replayed.content),
            Err(Trouble::Io(error)) => Err(Error::Disk(error.to_string())),
            Err(Trouble::Damaged(reason)) => Err(Error::Corrupt {
                path: self.disk.path().into(),
                reason,
            }),
        }
    }
}

/// Calls when it is dropped, also by a panic.
struct Wake(Arc<dyn Fn() + Send + Sync>);

impl Drop for Wake {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Reads what is whole of a file.
pub(crate) fn salvage(file: &dyn DiskFile) -> io::Result<Salvaged> {
    replay::salvage(file)
}

/// Reads a file strictly, without changing it: also one that is being written to. Returns what it holds, and how many bytes
/// at its end are a write that was cut off or is under way.
pub(crate) fn read(file: &dyn DiskFile) -> Result<(Content, u64), String> {
    match replay::replay(file) {
        Ok(replayed) => Ok((replayed.content, replayed.torn)),
        Err(Trouble::Io(error)) => Err(error.to_string()),
        Err(Trouble::Damaged(reason)) => Err(reason),
    }
}

/// Writes a database that begins with these objects in place of whatever is there.
pub(crate) fn replace(disk: &dyn Disk, content: Content) -> io::Result<()> {
    let rows = content.rows.into_iter().map(|(key, value)| (key.into_string(), value));
    write_snapshot(disk, content.group, (content.version, Box::new(rows)))?;
    disk.rename(NEW, LIVE)?;
    disk.sync_directory()
}

/// Writes a whole new file, synced but not yet in place.
fn write_snapshot(disk: &dyn Disk, group: u64, (version, rows): Snapshot) -> io::Result<Out> {
    let id = loop {
        let id: u64 = rand::random();
        if id != 0 {
            break id;
        }
    };
    let file: Arc<dyn DiskFile> = disk.create(NEW)?.into();
    let mut bytes = frame::file_header(id, group);
    let (mut end, mut synced, mut count) = (0, 0, 0_u64);
    let mut raw = version.to_le_bytes().to_vec();
    let mut add = |kind, raw: &mut Vec<u8>, bytes: &mut Vec<u8>| -> io::Result<u64> {
        frame::write(bytes, id, kind, group, raw).map_err(io::Error::other)?;
        file.write(bytes, end)?;
        end += bytes.len() as u64;
        if end - synced > SYNC_EVERY {
            file.sync()?;
            synced = end;
        }
        bytes.clear();
        raw.truncate(8);
        Ok(end)
    };
    for (key, value) in rows {
        frame::put(&mut raw, &key, Some(&value));
        count += 1;
        if raw.len() >= CHUNK {
            add(Kind::Snapshot, &mut raw, &mut bytes)?;
        }
    }
    if raw.len() > 8 {
        add(Kind::Snapshot, &mut raw, &mut bytes)?;
    }
    raw.extend_from_slice(&count.to_le_bytes());
    let end = add(Kind::End, &mut raw, &mut bytes)?;
    file.sync()?;
    Ok(Out {
        file,
        id,
        base: end,
        end,
    })
}

/// Copies frames from one file to another.
fn follow(from: &dyn DiskFile, from_id: u64, mut at: u64, end: u64, out: &mut Out) -> io::Result<()> {
    let changed = || io::Error::new(io::ErrorKind::InvalidData, "a group changed under the rewrite");
    let mut buffer = Vec::new();
    while at < end {
        let mut head = [0; frame::HEAD];
        from.read(&mut head, at)?;
        let head = frame::Head::read(&head, Some(from_id)).ok_or_else(changed)?;
        let mut payload = vec![0; head.len];
        from.read(&mut payload, at + frame::HEAD as u64)?;
        if !head.fits(&payload) {
            return Err(changed());
        }
        at += (frame::HEAD + head.len) as u64;
        let raw = head.unpack(&payload, &mut buffer).map_err(|_| changed())?;
        let mut bytes = Vec::with_capacity(head.len + frame::HEAD);
        frame::write(&mut bytes, out.id, head.kind, head.group, raw).map_err(io::Error::other)?;
        out.file.write(&bytes, out.end)?;
        out.end += bytes.len() as u64;
    }
    out.file.sync()
}
