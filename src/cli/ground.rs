//! Whether the terminal's ground is light or dark: the variable COLORFGBG says it, else the terminal is asked (OSC 11).

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long an answer is waited for. Every terminal answers what it is (DA1), which is asked last, so only what is no terminal takes so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most bytes of an answer.
const LONGEST: usize = 256;

/// Whether the ground is light; what is not known is dark.
pub(super) fn is_light() -> bool {
    let told = std::env::var("COLORFGBG").ok();
    told.as_deref()
        .and_then(read_variable)
        .or_else(|| read_answer(&ask().unwrap_or_default()))
        .unwrap_or(false)
}

/// `15;0`, `0;default;15`: the last is the ground.
fn read_variable(text: &str) -> Option<bool> {
    let ground: u8 = text.rsplit(';').next()?.parse().ok()?;
    Some(matches!(ground, 7 | 9..=15))
}

/// `ESC ] 11 ; rgb:ffff/ffff/ffff ST`, with one to four digits a colour, somewhere in what the terminal said.
fn read_answer(said: &str) -> Option<bool> {
    let (_, rest) = said.split_once("]11;rgb")?;
    let rest = rest.strip_prefix('a').unwrap_or(rest).strip_prefix(':')?;
    let end = rest.find(['\x07', '\x1b']).unwrap_or(rest.len());
    let share = |digits: &str| {
        let digits = digits.get(..digits.len().min(4)).filter(|digits| !digits.is_empty())?;
        let most = f64::from(16u32.pow(u32::try_from(digits.len()).ok()?) - 1);
        Some(f64::from(u32::from_str_radix(digits, 16).ok()?) / most)
    };
    let mut colours = rest[..end].split('/').map(share);
    let (red, green, blue) = (colours.next()??, colours.next()??, colours.next()??);
    Some(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5)
}

/// Asks the terminal, and reads until it has said what it is. Nothing is asked while somebody types ahead: those keys are not ours.
fn ask() -> Option<String> {
    if !std::io::stdout().is_terminal() || std::env::var("TERM").is_ok_and(|term| term == "dumb") {
        return None;
    }
    let mut terminal = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()?;
    crossterm::terminal::enable_raw_mode().ok()?;
    let said = exchange(&mut terminal);
    let _ = crossterm::terminal::disable_raw_mode();
    said
}

fn exchange(terminal: &mut std::fs::File) -> Option<String> {
    if is_ready(terminal, Duration::ZERO) {
        return None;
    }
    terminal.write_all(b"\x1b]11;?\x1b\\\x1b[c").ok()?;
    let until = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while said.len() < LONGEST && !is_whole(&said) {
        let left = until.checked_duration_since(Instant::now())?;
        if !is_ready(terminal, left) {
            return None;
        }
        let mut piece = [0; 64];
        match terminal.read(&mut piece).ok()? {
            0 => return None,
            count => said.extend_from_slice(&piece[..count]),
        }
    }
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// Whether the answer to the last question is there: `ESC [ ? ... c`.
fn is_whole(said: &[u8]) -> bool {
    let start = said.windows(3).rposition(|bytes| bytes == b"\x1b[?");
    start.is_some_and(|start| said[start..].ends_with(b"c"))
}

fn is_ready(terminal: &std::fs::File, patience: Duration) -> bool {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
    let mut wanted = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
    poll(&mut wanted, timeout).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ground_is_read_from_what_terminals_say() {
        for (said, light) in [
            ("\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b[?62;c", Some(true)),
            ("\x1b]11;rgb:14/16/1b\x07\x1b[?1;2c", Some(false)),
            ("\x1b]11;rgba:fafa/fafa/f8f8/ffff\x07\x1b[?1;2c", Some(true)),
            ("\x1b[?1;2c", None),
            ("\x1b]11;rgb:zz/zz/zz\x07", None),
            ("\x1b]11;rgb:ff/ff", None),
        ] {
            assert_eq!(read_answer(said), light, "{said:?}");
        }
        for (said, light) in [("15;0", Some(false)), ("0;default;15", Some(true)), ("x", None)] {
            assert_eq!(read_variable(said), light, "{said:?}");
        }
        assert!(is_whole(b"\x1b]11;rgb:0/0/0\x07\x1b[?1;2c"));
        assert!(!is_whole(b"\x1b]11;rgb:c/c/c"));
    }
}
