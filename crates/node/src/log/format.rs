//! One line of a log file: `2026-01-02T03:04:05.000000006Z stdout F text`.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Lines longer than this are stored in parts.
pub(crate) const LONGEST: usize = 16 << 10;

/// Nanoseconds always, so that all stamps have one length.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

/// Which of a process's outputs a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A stored line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line<'a> {
    pub(crate) stamp: &'a str,
    pub(crate) stream: Stream,
    /// The end of the line as the process wrote it, not just a part of a very long one.
    pub(crate) full: bool,
    pub(crate) text: &'a [u8],
}

/// A time as lines carry it.
pub(crate) fn stamp(at: Timestamp) -> String {
    PRINTER.timestamp_to_string(&at)
}

/// Appends one stored line.
pub(crate) fn write(output: &mut Vec<u8>, stamp: &str, stream: Stream, full: bool, text: &[u8]) {
    output.extend_from_slice(stamp.as_bytes());
    output.push(b' ');
    output.extend_from_slice(stream.name().as_bytes());
    output.extend_from_slice(if full { b" F " } else { b" P " });
    output.extend_from_slice(text);
    output.push(b'\n');
}

/// Takes a stored line apart (without its line feed); `None` for what is none.
pub(crate) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let stamp = std::str::from_utf8(fields.next()?).ok()?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let full = fields.next()?.first() != Some(&b'P');
    Some(Line {
        stamp,
        stream,
        full,
        text: fields.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_being_stored() {
        let at = Timestamp::new(1_700_000_000, 5).expect("in range");
        let mut stored = Vec::new();
        write(&mut stored, &stamp(at), Stream::Stderr, false, b"a  b ");
        assert_eq!(stored, b"2023-11-14T22:13:20.000000005Z stderr P a  b \n");
        let line = parse(&stored[..stored.len() - 1]).expect("a line");
        assert_eq!(
            (line.stream, line.full, line.text),
            (Stream::Stderr, false, b"a  b ".as_slice())
        );
        assert_eq!(line.stamp.parse::<Timestamp>().expect("a time"), at);
        assert_eq!(parse(b"garbage"), None);
        assert_eq!(
            parse(b"2023-11-14T22:13:20Z stdout F ").map(|line| line.text),
            Some(b"".as_slice())
        );
    }
}
