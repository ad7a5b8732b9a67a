//! Finds what an executable needs at run time: its dynamic loader and its shared libraries.
//!
//! A container made of the knarr binary and nothing else must bring these along. They are read from the ELF headers rather than listed
//! by hand, so that every libc, and a static build that needs none, works.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::Bind;

/// Tables larger than this are no tables of a program.
const MOST: u64 = 4 << 20;

#[derive(Debug, Default)]
struct Elf {
    interpreter: Option<PathBuf>,
    needed: Vec<String>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn text_at(bytes: &[u8], at: usize) -> Option<String> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|b| *b == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

fn slice(file: &mut File, offset: u64, size: u64) -> Option<Vec<u8>> {
    if size > MOST {
        return None;
    }
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

/// Reads a 64-bit little-endian ELF file: all that Linux runs knarr on.
fn read(path: &Path) -> Option<Elf> {
    const LOAD: u64 = 1;
    const DYNAMIC: u64 = 2;
    const INTERPRETER: u64 = 3;
    let mut file = File::open(path).ok()?;
    let header = slice(&mut file, 0, 64)?;
    if header.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (offset, size, count) = (u64_at(&header, 32)?, u16_at(&header, 54)?, u16_at(&header, 56)?);
    let table = slice(&mut file, offset, size.checked_mul(count)?)?;
    let mut elf = Elf::default();
    let mut loads = Vec::new();
    let mut dynamic = None;
    for entry in table.chunks_exact(usize::try_from(size).ok()?.max(1)) {
        let (at, address, length) = (u64_at(entry, 8)?, u64_at(entry, 16)?, u64_at(entry, 32)?);
        match u32_at(entry, 0)? {
            LOAD => loads.push((address, at, length)),
            DYNAMIC => dynamic = Some((at, length)),
            INTERPRETER => elf.interpreter = text_at(&slice(&mut file, at, length)?, 0).map(PathBuf::from),
            _ => {}
        }
    }
    let Some((at, length)) = dynamic else { return Some(elf) };
    let table = slice(&mut file, at, length)?;
    let (mut names, mut strings, mut strings_size) = (Vec::new(), None, 0);
    for entry in table.chunks_exact(16) {
        let value = u64_at(entry, 8)?;
        match u64_at(entry, 0)? {
            0 => break,
            1 => names.push(usize::try_from(value).ok()?),
            5 => strings = Some(value),
            10 => strings_size = value,
            _ => {}
        }
    }
    // The string table is given by its address in memory; the load segments say where that is in the file.
    let address = strings?;
    let (base, at, _) = loads
        .iter()
        .find(|(base, _, length)| (*base..base.saturating_add(*length)).contains(&address))?;
    let strings = slice(&mut file, at.checked_add(address - base)?, strings_size)?;
    elf.needed = names.into_iter().filter_map(|name| text_at(&strings, name)).collect();
    Some(elf)
}

/// Directories where libraries are found: where this process' own came from, then the usual ones.
fn directories() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let Some(at) = line.find('/') else { continue };
        let path = Path::new(&line[at..]);
        let library = path.file_name().is_some_and(|n| n.to_string_lossy().contains(".so"));
        if let Some(dir) = path.parent().filter(|_| library) {
            all.push(dir.to_owned());
        }
    }
    let arch = std::env::consts::ARCH;
    for dir in [format!("/lib/{arch}-linux-gnu"), format!("/usr/lib/{arch}-linux-gnu")] {
        all.push(PathBuf::from(dir));
    }
    all.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    let mut seen = std::collections::HashSet::new();
    all.retain(|dir| seen.insert(dir.clone()));
    all
}

/// Binds for everything that `program` loads. Targets are the paths where the loader looks, sources the files behind their links.
pub(crate) fn dependencies(program: &Path) -> Vec<Bind> {
    let directories = directories();
    let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut todo = vec![program.to_owned()];
    let mut seen = std::collections::HashSet::new();
    while let Some(path) = todo.pop() {
        let Some(elf) = read(&path) else { continue };
        if let Some(loader) = elf.interpreter.filter(|_| path == program)
            && let Ok(source) = loader.canonicalize()
        {
            found.insert(loader, source);
        }
        for name in elf.needed {
            if !seen.insert(name.clone()) {
                continue;
            }
            let place = directories
                .iter()
                .map(|dir| dir.join(&name))
                .find(|file| file.is_file());
            match place.as_ref().map(|file| file.canonicalize()) {
                Some(Ok(source)) => {
                    todo.push(source.clone());
                    found.insert(place.unwrap_or_default(), source);
                }
                _ => tracing::warn!(library = name, "a shared library of the program was not found"),
            }
        }
    }
    found
        .into_iter()
        .map(|(target, source)| Bind { source, target })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_program_has_its_loader_and_libc() {
        let program = std::env::current_exe().expect("own path");
        let elf = read(&program).expect("an ELF file");
        let binds = dependencies(&program);
        assert_eq!(binds.is_empty(), elf.interpreter.is_none());
        for bind in &binds {
            assert!(bind.source.is_file(), "{bind:?}");
            assert!(bind.target.is_absolute());
        }
        for name in &elf.needed {
            assert!(binds.iter().any(|b| b.target.ends_with(name)), "{name} in {binds:?}");
        }
    }

    #[test]
    fn files_that_are_no_programs_need_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        for (name, bytes) in [
            ("empty", &b""[..]),
            ("text", b"#!/bin/sh\n"),
            ("cut", b"\x7fELF\x02\x01\x01"),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            assert_eq!(dependencies(&path), []);
        }
        let mut header = vec![0xff; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let path = dir.path().join("wild");
        std::fs::write(&path, header).expect("written");
        assert_eq!(dependencies(&path), []);
    }
}
