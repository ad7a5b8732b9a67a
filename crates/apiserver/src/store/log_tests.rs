//! The log on a disk that loses, tears and fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;

use super::disk::Disk;
use super::log::{self, Log, Row, Status, Tuning};
use super::replay::Content;
use super::sim::{Fault, Sim};
use crate::error::Error;

type Rows = BTreeMap<Box<str>, Bytes>;

/// What the store has in memory: everything that was acknowledged.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<(u64, Rows)>>);

impl Memory {
    fn rows(&self) -> Rows {
        self.0.lock().unwrap().1.clone()
    }

    fn version(&self) -> u64 {
        self.0.lock().unwrap().0
    }

    fn live(&self) -> u64 {
        let rows = self.rows();
        rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn with(&self, rows: &[Row]) -> Rows {
        let mut after = self.rows();
        for (key, value) in rows {
            match value {
                Some(value) => drop(after.insert(key.as_str().into(), value.clone())),
                None => drop(after.remove(key.as_str())),
            }
        }
        after
    }

    fn set(&self, version: u64, rows: Rows) {
        *self.0.lock().unwrap() = (version, rows);
    }
}

/// Rewrites from a few groups on, in the middle of the calls.
const SMALL: Tuning = Tuning {
    least: 3000,
    aside: false,
    gap: 0,
};
/// Never rewrites.
const PLAIN: Tuning = Tuning {
    least: u64::MAX,
    aside: false,
    gap: 0,
};

fn open(disk: &Sim, tuning: Tuning, memory: &Memory) -> Result<Log, Error> {
    let source = memory.clone();
    let source = Arc::new(move || {
        let rows = source.rows().into_iter();
        let rows = rows.map(|(key, value)| (key.into_string(), value));
        (source.version(), Box::new(rows) as Box<dyn Iterator<Item = _> + Send>)
    });
    let (log, content) = Log::open(Arc::new(disk.clone()), tuning, source, Arc::new(|| {}))?;
    memory.set(content.version, content.rows);
    Ok(log)
}

fn content(disk: &Sim) -> Result<Content, String> {
    let memory = Memory::default();
    let log = open(disk, PLAIN, &memory).map_err(|error| error.to_string())?;
    Ok(log.content().unwrap())
}

/// The writes of a group: creates, updates and deletions, of up to some kilobytes.
fn group(n: u64) -> Vec<Row> {
    let value = |size: usize| Some(Bytes::from(format!("{{\"n\":{n},\"x\":\"{}\"}}", "ab".repeat(size))));
    let key = |n: u64| format!("pods\0a/{}", n % 7);
    match n % 4 {
        0 => vec![(key(n), value(20)), (key(n + 1), value(700))],
        1 => vec![(key(n), None)],
        2 => vec![
            (key(n), value(1)),
            (key(n + 3), None),
            (format!("events\0a/{n}"), value(3)),
        ],
        _ => vec![(key(n), value(2600))],
    }
}

/// Writes groups until the power goes or they are all written. Returns what may be on disk: what was acknowledged, and what
/// nobody knows of.
fn work(log: &mut Log, memory: &Memory, groups: std::ops::Range<u64>) -> Vec<Rows> {
    let mut possible = vec![memory.rows()];
    for n in groups {
        let rows = group(n);
        let after = memory.with(&rows);
        match log.append(&rows, n + 1) {
            Ok(()) => {
                memory.set(n + 1, after);
                possible = vec![memory.rows()];
            }
            Err(Status::Refused { .. }) => {}
            Err(Status::Unknown(_)) => possible.push(after),
        }
        log.tend(memory.live());
    }
    possible
}

fn seeds() -> std::ops::Range<u64> {
    0..6
}

#[test]
fn after_a_power_cut_at_any_call_exactly_what_was_acknowledged_is_there() {
    let mut cuts = 0;
    for call in 0.. {
        let disk = Sim::default();
        let memory = Memory::default();
        let mut log = open(&disk, SMALL, &memory).unwrap();
        work(&mut log, &memory, 0..5);
        disk.fail_at(call, Fault::PowerCut);
        let possible = work(&mut log, &memory, 5..40);
        if !disk.has_failed() {
            break;
        }
        cuts += 1;
        for seed in seeds() {
            let after = disk.after_power_cut(seed);
            let found = content(&after).unwrap_or_else(|error| panic!("call {call}, seed {seed}: {error}"));
            assert!(possible.contains(&found.rows), "call {call}, seed {seed}");
            // The file can be gone on with, and what was cut off does not come back.
            let memory = Memory::default();
            let mut log = open(&after, SMALL, &memory).unwrap();
            let possible = work(&mut log, &memory, 50..53);
            assert_eq!(
                possible,
                [content(&after.after_power_cut(seed + 1)).unwrap().rows],
                "call {call}, seed {seed}"
            );
        }
    }
    assert!(cuts > 80, "the power was cut {cuts} times");
}

#[test]
fn a_first_start_that_the_power_cuts_short_leaves_nothing_or_an_empty_database() {
    for call in 0..8 {
        let disk = Sim::default();
        disk.fail_at(call, Fault::PowerCut);
        let _ = open(&disk, SMALL, &Memory::default());
        for seed in seeds() {
            assert_eq!(
                content(&disk.after_power_cut(seed)).unwrap(),
                Content::default(),
                "call {call}"
            );
        }
    }
}

#[test]
fn any_call_may_fail_once_and_nothing_is_lost_invented_or_stuck() {
    for fault in [Fault::Error, Fault::Full, Fault::Dropped] {
        let mut failures = 0;
        for call in 0.. {
            let disk = Sim::default();
            let memory = Memory::default();
            let mut log = open(&disk, SMALL, &memory).unwrap();
            work(&mut log, &memory, 0..5);
            disk.fail_at(call, fault);
            work(&mut log, &memory, 5..40);
            if !disk.has_failed() {
                break;
            }
            failures += 1;
            // All is well again: what comes now is acknowledged, and memory and disk agree.
            work(&mut log, &memory, 40..42);
            assert_eq!(memory.version(), 42, "{fault:?} at {call}");
            assert_eq!(log.content().unwrap().rows, memory.rows(), "{fault:?} at {call}");
            for seed in seeds() {
                let found = content(&disk.after_power_cut(seed));
                let found = found.unwrap_or_else(|error| panic!("{fault:?} at {call}, seed {seed}: {error}"));
                assert_eq!(found.rows, memory.rows(), "{fault:?} at {call}, seed {seed}");
            }
        }
        assert!(failures > 80, "{fault:?} happened {failures} times");
    }
}

#[test]
fn what_a_failing_disk_may_still_hold_is_called_unknown() {
    let disk = Sim::default();
    let memory = Memory::default();
    let mut log = open(&disk, PLAIN, &memory).unwrap();
    log.append(&group(0), 1).unwrap();
    memory.set(1, memory.with(&group(0)));
    // The write arrives, everything from the sync on fails.
    disk.fail_at(1, Fault::PowerCut);
    assert!(matches!(log.append(&group(3), 2), Err(Status::Unknown(_))));
    let kept = content(&disk.after_power_cut(1)).unwrap();
    assert_eq!((kept.rows, kept.version), (memory.with(&group(3)), 2));
    let lost = content(&disk.after_power_cut(0)).unwrap();
    assert_eq!((lost.rows, lost.version), (memory.rows(), 1));
}

/// The bytes of a file with some groups in it.
fn file(closed: bool) -> (Vec<u8>, Rows) {
    let disk = Sim::default();
    let memory = Memory::default();
    let mut log = open(&disk, PLAIN, &memory).unwrap();
    work(&mut log, &memory, 0..6);
    if closed {
        log.close().unwrap();
    }
    (disk.seen("").unwrap(), memory.rows())
}

#[test]
fn a_last_group_cut_off_at_any_byte_is_dropped_and_put_aside() {
    let disk = Sim::default();
    let memory = Memory::default();
    let mut log = open(&disk, PLAIN, &memory).unwrap();
    work(&mut log, &memory, 0..4);
    let start = disk.seen("").unwrap().len();
    log.append(&group(4), 5).unwrap();
    let whole = disk.seen("").unwrap();
    for end in start..whole.len() {
        let torn = Sim::holding(&whole[..end]);
        assert_eq!(content(&torn).unwrap().rows, memory.rows(), "cut at {end}");
        assert_eq!(torn.seen(".torn"), (end > start).then(|| whole[start..end].to_vec()));
    }
    // A lost sector in the middle is as good as a missing end.
    for sector in start..whole.len() - 1 {
        let mut bytes = whole.clone();
        bytes[sector..].iter_mut().take(64).for_each(|byte| *byte = 0);
        let torn = Sim::holding(&bytes);
        let found = content(&torn).unwrap();
        assert_eq!(found.rows, memory.rows(), "lost at {sector}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_with_its_place() {
    let (bytes, rows) = file(true);
    let closing = bytes.len() - super::frame::HEAD;
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match content(&Sim::holding(&bytes)) {
            Err(error) => {
                let placed = error.contains("byte") || bit / 8 < super::frame::FILE_HEADER;
                assert!(error.contains("cluster.db is damaged") && placed, "{error}");
            }
            // The note that all is well holds nothing else.
            Ok(found) => assert!(bit / 8 >= closing && found.rows == rows, "bit {bit} went unnoticed"),
        }
    }
}

#[test]
fn every_group_is_one_write_and_one_sync_and_no_more_bytes_than_it_needs() {
    let disk = Sim::default();
    let memory = Memory::default();
    let mut log = open(&disk, PLAIN, &memory).unwrap();
    for n in 0..50 {
        let rows = group(n);
        let payload: usize = rows
            .iter()
            .map(|(key, value)| 8 + key.len() + value.as_ref().map_or(0, Bytes::len))
            .sum();
        let before = disk.counted();
        log.append(&rows, n + 1).unwrap();
        let after = disk.counted();
        assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
        assert!(after.bytes - before.bytes <= payload + 8 + super::frame::HEAD);
    }
}

#[test]
fn the_file_follows_what_is_live() {
    let disk = Sim::default();
    let memory = Memory::default();
    let mut log = open(&disk, Tuning { least: 20_000, ..PLAIN }, &memory).unwrap();
    for n in 0..400_u64 {
        let rows = vec![(format!("pods\0a/{}", n % 20), Some(Bytes::from(vec![n as u8; 1000])))];
        memory.set(n + 1, memory.with(&rows));
        log.append(&rows, n + 1).unwrap();
        log.tend(memory.live());
        assert!(disk.seen("").unwrap().len() < 50_000, "after {n}");
    }
    let gone: Vec<Row> = memory.rows().keys().map(|key| (key.to_string(), None)).collect();
    for (n, row) in gone.into_iter().enumerate() {
        let rows = vec![row];
        memory.set(401 + n as u64, memory.with(&rows));
        log.append(&rows, 401 + n as u64).unwrap();
        log.tend(memory.live());
    }
    assert!(disk.seen("").unwrap().len() < 25_000);
    assert_eq!(content(&disk).unwrap().version, 420);
}

#[test]
fn writes_go_on_while_the_file_is_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.db");
    let memory = Memory::default();
    let disk: Arc<dyn Disk> = Arc::new(super::disk::Folder::lock(&path).unwrap());
    let source = memory.clone();
    let source = Arc::new(move || {
        let rows = source.rows().into_iter().map(|(key, value)| (key.into_string(), value));
        (source.version(), Box::new(rows) as Box<dyn Iterator<Item = _> + Send>)
    });
    let tuning = Tuning {
        least: 50_000,
        aside: true,
        gap: 0,
    };
    let (mut log, _) = Log::open(disk, tuning, source, Arc::new(|| {})).unwrap();
    let mut longest = 0;
    for n in 0..3000 {
        let rows = group(n);
        memory.set(n + 1, memory.with(&rows));
        log.append(&rows, n + 1).unwrap();
        log.tend(memory.live());
        longest = longest.max(std::fs::metadata(&path).unwrap().len());
    }
    log.close().unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let (content, torn) = log::read(&file).unwrap();
    assert_eq!((content.rows, content.group, torn), (memory.rows(), 3000, 0));
    assert!(longest < 4_000_000, "3000 groups of 2 KB each would be 6 MB: {longest}");
}

#[test]
fn what_is_whole_of_a_damaged_file_is_saved_and_the_rest_is_named() {
    let (bytes, rows) = file(true);
    let salvage = |bytes: &[u8]| {
        let disk = Sim::holding(bytes);
        let file = disk.open("").unwrap().unwrap();
        log::salvage(&*file).unwrap()
    };
    let whole = salvage(&bytes);
    assert_eq!((whole.content.rows, whole.lost), (rows.clone(), vec![]));

    let mut headless = bytes.clone();
    headless[..64].fill(7);
    let saved = salvage(&headless);
    assert_eq!(
        (saved.content.rows, saved.lost),
        (rows.clone(), vec!["the header of the file".to_owned()])
    );

    // One group in the middle: the others are there, before and after.
    let place = bytes.windows(8).position(|window| window == b"\"n\":2,\"x").unwrap();
    let mut damaged = bytes.clone();
    damaged[place] ^= 1;
    let saved = salvage(&damaged);
    assert_eq!(saved.lost.len(), 2, "{:?}", saved.lost);
    assert!(
        saved.lost[0].starts_with("bytes ") && saved.lost[1] == "group 3",
        "{:?}",
        saved.lost
    );
    assert!(!saved.content.rows.contains_key("events\0a/2"));
    assert_eq!(
        saved.content.rows.get("pods\0a/4"),
        rows.get("pods\0a/4"),
        "a later group"
    );

    let nothing = salvage(b"not a database at all, and longer than a header, so that there is something to look at");
    assert!(nothing.content.rows.is_empty() && nothing.lost[0].starts_with("everything"));
    assert!(salvage(b"").content.rows.is_empty());
}

#[test]
fn files_that_are_empty_cut_off_or_of_another_kind_are_refused() {
    for (bytes, reason) in [
        (&b""[..], "empty"),
        (b"KNARRDB", "cut off after 7 bytes"),
        (&[b'x'; 200], "not a database of Knarr"),
    ] {
        let error = content(&Sim::holding(bytes)).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let mut later = super::frame::file_header(5, 0);
    later[7] = 9;
    let crc = crc32fast::hash(&later[..60]).to_le_bytes();
    later[60..].copy_from_slice(&crc);
    let error = content(&Sim::holding(&later)).unwrap_err();
    assert!(
        error.contains("it has format 9, this program reads format 1"),
        "{error}"
    );
}

/// A file of format 1 as the first version wrote it. It must be readable for ever.
const GOLDEN: &str = include_str!("golden/format-1.hex");

#[test]
fn a_file_of_the_first_format_reads_as_it_always_did() {
    let digits: Vec<u8> = GOLDEN.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let found = content(&Sim::holding(&bytes)).unwrap();
    assert_eq!((found.version, found.group), (1007, 3));
    let rows: Vec<(&str, &str)> = found
        .rows
        .iter()
        .map(|(key, value)| (&**key, std::str::from_utf8(&value[..21]).unwrap()))
        .collect();
    assert_eq!(
        rows,
        [
            ("configmaps\0default/a", "{\"metadata\":{\"name\":\""),
            ("secrets\0default/b", "{\"metadata\":{\"name\":\"")
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the bytes, opening ends in an error or a store.
    #[test]
    fn opening_any_bytes_ends_well(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop::collection::vec(any::<u8>(), 0..200),
        mend in any::<bool>(),
    ) {
        let (mut bytes, _) = file(false);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (place, byte) in edits {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes.extend(tail);
        if mend {
            // Checksums that fit, so that the fields behind them are looked at.
            mend_checksums(&mut bytes);
        }
        let disk = Sim::holding(&bytes);
        let _ = content(&disk);
        let file = disk.open("").unwrap().unwrap();
        let _ = log::salvage(&*file);
    }
}

fn mend_checksums(bytes: &mut [u8]) {
    let head = super::frame::HEAD;
    if bytes.len() >= 64 {
        let crc = crc32fast::hash(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    }
    let mut at = 64;
    while at + head <= bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        if let Some(payload) = bytes.get(at + head..at + head + length) {
            let crc = crc32fast::hash(payload).to_le_bytes();
            bytes[at + 32..at + 36].copy_from_slice(&crc);
        }
        let crc = crc32fast::hash(&bytes[at..at + 36]).to_le_bytes();
        bytes[at + 36..at + 40].copy_from_slice(&crc);
        at += head + length;
    }
}
