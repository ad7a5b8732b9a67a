//! A disk in memory that forgets what was not synced, tears what was being written, fails when told to and counts.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::disk::{Disk, DiskFile};

/// What is lost or kept in one piece.
const SECTOR: usize = 512;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing happens but an error.
    Error,
    /// The disk is full; a write gets halfway.
    Full,
    /// A sync drops what it should have written, and later ones do not know of it.
    Dropped,
    /// The power goes: this call and all later ones fail.
    PowerCut,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, mut keep: impl FnMut() -> bool) {
        match self {
            Self::Length(length) => {
                if keep() {
                    bytes.resize(*length, 0);
                }
            }
            Self::Write(at, data) => {
                for (i, sector) in data.chunks(SECTOR).enumerate() {
                    let at = at + i * SECTOR;
                    if keep() {
                        bytes.resize(bytes.len().max(at + sector.len()), 0);
                        bytes[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }
}

#[derive(Clone, Default)]
struct FileState {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What has reached the disk.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Naming {
    Link(String, usize),
    Rename(String, String),
    Remove(String),
}

fn apply(naming: &Naming, names: &mut BTreeMap<String, usize>) {
    match naming {
        Naming::Link(name, file) => {
            names.insert(name.clone(), *file);
        }
        Naming::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Naming::Remove(name) => {
            names.remove(name);
        }
    }
}

#[derive(Clone, Default)]
struct World {
    files: Vec<FileState>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
    /// Calls that change something.
    calls: usize,
    fault: Option<(usize, Fault)>,
    dead: bool,
    /// Bytes all files may have together.
    capacity: Option<usize>,
    counted: Counted,
}

/// What was asked of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub writes: usize,
    pub bytes: usize,
    pub syncs: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<World>>);

struct SimFile(Sim, usize);

impl Sim {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Makes the call of that number, from now on, fail.
    pub(crate) fn fail_at(&self, call: usize, fault: Fault) {
        let mut world = self.world();
        world.calls = 0;
        world.fault = Some((call, fault));
    }

    /// Whether the fault that was asked for has happened.
    pub(crate) fn has_failed(&self) -> bool {
        let world = self.world();
        world.fault.is_some_and(|(call, _)| world.calls > call)
    }

    /// Everything works again; what was not synced is still in the cache.
    pub(crate) fn heal(&self) {
        let mut world = self.world();
        world.fault = None;
        world.dead = false;
    }

    /// Bounds the bytes of all files.
    pub(crate) fn set_capacity(&self, capacity: Option<usize>) {
        self.world().capacity = capacity;
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> usize {
        let world = self.world();
        world.names.values().map(|file| world.files[*file].seen.len()).sum()
    }

    pub(crate) fn counted(&self) -> Counted {
        self.world().counted
    }

    /// What a reader sees in a file.
    pub(crate) fn seen(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        world.names.get(name).map(|file| world.files[*file].seen.clone())
    }

    /// A disk with one file.
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        let sim = Self::default();
        let file = sim.create("").unwrap();
        file.write(bytes, 0).unwrap();
        file.sync().unwrap();
        sim.sync_directory().unwrap();
        sim
    }

    /// What is there after the power went and came back: whatever was synced, and any part of the rest.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let world = self.world();
        let mut rng = SmallRng::seed_from_u64(seed);
        // Some disks lose everything, some nothing, most something.
        let chance = match seed % 4 {
            0 => 0.0,
            1 => 1.0,
            _ => 0.5,
        };
        let mut keep = move || rng.random_bool(chance);
        let mut after = World::default();
        for file in &world.files {
            let mut bytes = file.durable.clone();
            for change in &file.pending {
                change.apply(&mut bytes, &mut keep);
            }
            after.files.push(FileState {
                seen: bytes.clone(),
                durable: bytes,
                pending: Vec::new(),
            });
        }
        after.names = world.durable_names.clone();
        for naming in &world.pending_names {
            if keep() {
                apply(naming, &mut after.names);
            }
        }
        after.durable_names = after.names.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    /// Counts a call. The fault it is to have, if any.
    fn call(&self) -> (MutexGuard<'_, World>, Option<Fault>) {
        let mut world = self.world();
        let fault = world
            .fault
            .filter(|(call, _)| *call == world.calls)
            .map(|(_, fault)| fault);
        world.calls += 1;
        world.dead |= fault == Some(Fault::PowerCut);
        let fault = match world.dead {
            true => Some(Fault::PowerCut),
            false => fault,
        };
        (world, fault)
    }

    fn name(&self, naming: Naming) -> io::Result<()> {
        let (mut world, fault) = self.call();
        // With the power cut in the middle, a change may still have begun.
        if fault.is_none()
            || fault == Some(Fault::PowerCut) && world.fault.is_some_and(|(call, _)| call + 1 == world.calls)
        {
            apply(&naming, &mut world.names);
            world.pending_names.push(naming);
        }
        fault.map_or(Ok(()), |_| Err(broken()))
    }
}

fn broken() -> io::Error {
    io::Error::other("input/output error")
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

impl Disk for Sim {
    fn open(&self, suffix: &str) -> io::Result<Option<Box<dyn DiskFile>>> {
        let file = self.world().names.get(suffix).copied();
        Ok(file.map(|file| Box::new(SimFile(self.clone(), file)) as Box<dyn DiskFile>))
    }

    fn create(&self, suffix: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = {
            let mut world = self.world();
            world.files.push(FileState::default());
            world.files.len() - 1
        };
        self.name(Naming::Link(suffix.into(), file))?;
        Ok(Box::new(SimFile(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.name(Naming::Rename(from.into(), to.into()))
    }

    fn remove(&self, suffix: &str) -> io::Result<()> {
        match self.world().names.contains_key(suffix) {
            true => {}
            false => return Ok(()),
        }
        self.name(Naming::Remove(suffix.into()))
    }

    fn sync_directory(&self) -> io::Result<()> {
        let (mut world, fault) = self.call();
        if fault.is_some() {
            return Err(broken());
        }
        world.durable_names = world.names.clone();
        world.pending_names.clear();
        Ok(())
    }

    fn path(&self) -> &Path {
        Path::new("cluster.db")
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.world().files[self.1].seen.len() as u64)
    }

    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        let world = self.0.world();
        let at = usize::try_from(at).unwrap();
        let bytes = world.files[self.1].seen.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        let used = self.0.used();
        let (mut world, fault) = self.0.call();
        world.counted.writes += 1;
        world.counted.bytes += bytes.len();
        let grown = (at + bytes.len()).saturating_sub(world.files[self.1].seen.len());
        let room = world
            .capacity
            .map_or(grown, |capacity| capacity.saturating_sub(used).min(grown));
        let (end, outcome) = match fault {
            None if room < grown => (bytes.len() - (grown - room), Err(full())),
            None => (bytes.len(), Ok(())),
            Some(Fault::Full) => (bytes.len() / 2, Err(full())),
            Some(Fault::PowerCut) if world.fault.is_some_and(|(call, _)| call + 1 == world.calls) => {
                (bytes.len(), Err(broken()))
            }
            Some(_) => (0, Err(broken())),
        };
        if end > 0 {
            let change = Change::Write(at, bytes[..end].to_vec());
            let file = &mut world.files[self.1];
            change.apply(&mut file.seen, || true);
            file.pending.push(change);
        }
        outcome
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut world, fault) = self.0.call();
        if fault.is_some() {
            return Err(broken());
        }
        let change = Change::Length(usize::try_from(len).unwrap());
        let file = &mut world.files[self.1];
        change.apply(&mut file.seen, || true);
        file.pending.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut world, fault) = self.0.call();
        world.counted.syncs += 1;
        let file = &mut world.files[self.1];
        match fault {
            None => {
                let pending = std::mem::take(&mut file.pending);
                pending
                    .iter()
                    .for_each(|change| change.apply(&mut file.durable, || true));
                Ok(())
            }
            Some(Fault::Dropped) => {
                // Lengths are kept in the journal; data is what gets lost.
                file.pending.retain(|change| matches!(change, Change::Length(_)));
                let lengths = std::mem::take(&mut file.pending);
                lengths
                    .iter()
                    .for_each(|change| change.apply(&mut file.durable, || true));
                let length = file.seen.len();
                file.durable.resize(length, 0);
                Err(broken())
            }
            Some(_) => Err(broken()),
        }
    }
}
