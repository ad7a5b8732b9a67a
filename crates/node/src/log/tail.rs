//! Finding the last lines of a log without reading all of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use super::format;
use super::writer::ContainerLog;

const BLOCK: u64 = 64 << 10;

/// Where the last `count` lines begin: segment and offset.
pub(super) fn start_of(log: &ContainerLog, count: u64) -> io::Result<(u64, u64)> {
    let segments = log.segments();
    let mut left = count;
    let mut first = (0, 0);
    for segment in segments.into_iter().rev() {
        let mut file = match log.open_segment(segment) {
            Ok(file) => file,
            // Removed since: it is older than all that is left.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let length = file.seek(SeekFrom::End(0))?;
        if left == 0 {
            // Nothing is wanted, only the end.
            return Ok(if count == 0 { (segment, length) } else { first });
        }
        match back(&mut file, length, &mut left)? {
            Some(offset) => return Ok((segment, offset)),
            None => first = (segment, 0),
        }
    }
    Ok(first)
}

/// Goes back over `left` lines from `end`; the offset of the first of them, or `None` when the file has fewer.
fn back(file: &mut File, end: u64, left: &mut u64) -> io::Result<Option<u64>> {
    let mut block = Vec::new();
    let mut at = end;
    while at > 0 {
        let from = at.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(from))?;
        block.clear();
        file.take(at - from).read_to_end(&mut block)?;
        for (i, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = from + i as u64 + 1;
            if after == end {
                continue; // the end of the last line
            }
            *left -= 1;
            if *left == 0 {
                return Ok(Some(after));
            }
        }
        at = from;
    }
    // The file's first line has no line feed in front of it.
    if end > 0 {
        *left -= 1;
        if *left == 0 {
            return Ok(Some(0));
        }
    }
    Ok(None)
}

/// At most `lines` last lines and `bytes` last bytes of text.
pub(super) fn last_words(log: &ContainerLog, lines: u64, bytes: usize) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let (first, offset) = start_of(log, lines)?;
        let mut text = Vec::new();
        for segment in log.segments().into_iter().filter(|segment| *segment >= first) {
            let mut file = log.open_segment(segment)?;
            if segment == first {
                file.seek(SeekFrom::Start(offset))?;
            }
            let mut stored = Vec::new();
            file.take(lines * 2 * format::LONGEST as u64).read_to_end(&mut stored)?;
            for line in stored.split(|byte| *byte == b'\n').filter_map(format::parse) {
                text.extend_from_slice(line.text);
                if line.full {
                    text.push(b'\n');
                }
            }
        }
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let start = text.len().saturating_sub(bytes);
    String::from_utf8_lossy(&text[start..]).into_owned()
}
