//! Traps, and what signals do to the shell and its children.

use super::{Run, Shell, Stop};
use crate::sys::{Disposition, on_signal};

/// Names without `SIG`, by number.
const NAMES: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];

/// A signal's number by number or name, with or without `SIG`. `EXIT` is 0.
pub(crate) fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if name == "EXIT" {
        return Some(0);
    }
    NAMES.iter().find(|(_, n)| *n == name).map(|(number, _)| *number)
}

/// A signal's name without `SIG`.
pub(crate) fn name(number: i32) -> Option<&'static str> {
    NAMES.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
}

/// All names, by number.
pub(crate) fn all() -> impl Iterator<Item = (i32, &'static str)> {
    NAMES.iter().copied()
}

/// What a shell says when a signal ended a job.
pub(super) fn describe(number: i32) -> String {
    match number {
        1 => "Hangup".to_owned(),
        3 => "Quit".to_owned(),
        6 => "Aborted".to_owned(),
        9 => "Killed".to_owned(),
        11 => "Segmentation fault".to_owned(),
        15 => "Terminated".to_owned(),
        n => name(n).map_or_else(|| format!("Signal {n}"), |name| format!("Signal {name}")),
    }
}

impl Shell {
    /// Sets, or with `None` clears, what a signal runs.
    pub(super) fn trap(&mut self, number: i32, action: Option<String>) {
        if number != 0 {
            on_signal(
                number,
                match &action {
                    Some(text) if text.is_empty() => Disposition::Ignore,
                    Some(_) => Disposition::Note,
                    None => self.untrapped(number),
                },
            );
        }
        match action {
            Some(action) => self.traps.insert(number, action),
            None => self.traps.remove(&number),
        };
    }

    /// What a signal does when no trap is set.
    fn untrapped(&self, number: i32) -> Disposition {
        match number {
            2 if self.options.interactive => Disposition::Note,
            // Waiting for children sleeps until this one comes.
            17 => Disposition::Note,
            15 | 3 if self.options.interactive => Disposition::Ignore,
            20..=22 if self.options.monitor => Disposition::Ignore,
            _ => Disposition::Default,
        }
    }

    pub(super) fn interactive_signals(&self) {
        for number in [2, 3, 15, 20, 21, 22] {
            if !self.traps.contains_key(&number) {
                on_signal(number, self.untrapped(number));
            }
        }
    }

    /// A child gets the default signals back, but keeps what a trap ignores.
    pub(super) fn child_signals(&mut self) {
        for (number, action) in &self.traps {
            if *number != 0 && !action.is_empty() {
                on_signal(*number, Disposition::Default);
            }
        }
        if self.options.interactive || self.options.monitor {
            for number in [2, 3, 15, 20, 21, 22] {
                if !self.traps.get(&number).is_some_and(String::is_empty) {
                    on_signal(number, Disposition::Default);
                }
            }
        }
        on_signal(13, Disposition::Default);
    }

    /// This process, just forked, goes on as a subshell.
    pub(super) fn become_subshell(&mut self) {
        self.child_signals();
        self.traps.retain(|_, action| action.is_empty());
        self.options.monitor = false;
        self.options.interactive = false;
        self.jobs = super::job::Jobs::default();
        self.last_command = false;
        on_signal(17, Disposition::Note);
        let _ = crate::sys::take_pending();
    }

    /// Runs the traps of the signals that arrived.
    pub(super) fn run_traps(&mut self) -> Run<()> {
        if crate::sys::pending() == 0 || self.in_trap {
            return Ok(());
        }
        // Ctrl-C at a prompt without a trap is left for `interrupted`.
        let mut bits = crate::sys::take_pending();
        for number in 1..64 {
            if bits & (1 << number) == 0 {
                continue;
            }
            bits &= !(1 << number);
            let Some(action) = self.traps.get(&number).cloned() else {
                if number == 2 && self.options.interactive {
                    return Err(Stop::Abort(130));
                }
                continue;
            };
            let status = self.status;
            self.in_trap = true;
            let last = std::mem::take(&mut self.last_command);
            let result = self.run_text(&action);
            self.last_command = last;
            self.in_trap = false;
            match result {
                Ok(_) => self.status = status,
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    /// Whether a signal has arrived that a trap, or the prompt, waits for.
    pub(super) fn signalled(&self) -> bool {
        let bits = crate::sys::pending();
        self.interrupted() || self.traps.keys().any(|n| *n > 0 && bits & (1u64 << n) != 0)
    }

    /// Whether Ctrl-C asked to stop what runs inside the shell itself.
    pub(super) fn interrupted(&self) -> bool {
        self.options.interactive && !self.traps.contains_key(&2) && crate::sys::pending() & (1 << 2) != 0
    }
}
