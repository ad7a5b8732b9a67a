//! Children: waiting for them, and job control on a terminal.

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Shell;

/// Ended jobs kept for a later `wait PID`.
const MOST_KEPT: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Stopped,
    Done(i32),
}

#[derive(Debug)]
struct Process {
    pid: i32,
    state: State,
    /// The signal that ended it.
    signal: Option<i32>,
}

#[derive(Debug)]
pub(super) struct Job {
    pub id: usize,
    pub group: Option<i32>,
    pub text: String,
    processes: Vec<Process>,
    background: bool,
    reported: bool,
}

impl Job {
    pub(super) fn state(&self) -> State {
        if self.processes.iter().any(|p| p.state == State::Running) {
            return State::Running;
        }
        if self.processes.iter().any(|p| p.state == State::Stopped) {
            return State::Stopped;
        }
        self.processes.last().map_or(State::Done(0), |p| p.state)
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = i32> + '_ {
        self.processes.iter().map(|p| p.pid)
    }

    fn last_pid(&self) -> i32 {
        self.processes.last().map_or(0, |p| p.pid)
    }

    /// As `jobs` shows it.
    pub(super) fn describe(&self, current: bool, pids: bool) -> String {
        let state = match self.state() {
            State::Running => "Running".to_owned(),
            State::Stopped => "Stopped".to_owned(),
            State::Done(0) => "Done".to_owned(),
            State::Done(code) => match self.processes.last().and_then(|p| p.signal) {
                Some(signal) => super::signal::describe(signal),
                None => format!("Done({code})"),
            },
        };
        let mark = if current { '+' } else { '-' };
        let pid = if pids {
            format!("{} ", self.last_pid())
        } else {
            String::new()
        };
        format!("[{}]{mark}  {pid}{state:<22}{}\n", self.id, self.text)
    }
}

/// The children that are known.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    all: Vec<Job>,
}

impl Jobs {
    pub(super) fn any(&self) -> bool {
        !self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.all.iter()
    }

    pub(super) fn add(&mut self, pids: Vec<i32>, group: Option<i32>, text: String, background: bool) -> usize {
        // A script that starts jobs for ever and waits for none must not grow for ever.
        if self.all.len() >= MOST_KEPT {
            self.all.retain(|j| !matches!(j.state(), State::Done(_)));
        }
        let id = self.all.iter().map(|j| j.id).max().unwrap_or(0) + 1;
        let processes = pids
            .into_iter()
            .map(|pid| Process {
                pid,
                state: State::Running,
                signal: None,
            })
            .collect();
        self.all.push(Job {
            id,
            group,
            text,
            processes,
            background,
            reported: false,
        });
        id
    }

    pub(super) fn get(&self, id: usize) -> Option<&Job> {
        self.all.iter().find(|j| j.id == id)
    }

    pub(super) fn remove(&mut self, id: usize) {
        self.all.retain(|j| j.id != id);
    }

    /// `%1`, `%%`, `%+`, `%-`, `%text`, or none for the current job.
    pub(super) fn resolve(&self, spec: Option<&str>) -> Option<usize> {
        let text = spec.map_or("%", |s| s);
        let text = text.strip_prefix('%').unwrap_or(text);
        match text {
            "" | "%" | "+" => self.all.last().map(|j| j.id),
            "-" => self.all.iter().rev().nth(1).or(self.all.last()).map(|j| j.id),
            _ => match text.parse::<usize>() {
                Ok(id) => self.get(id).map(|j| j.id),
                Err(_) => self.all.iter().rev().find(|j| j.text.starts_with(text)).map(|j| j.id),
            },
        }
    }

    pub(super) fn with_pid(&self, pid: i32) -> Option<usize> {
        self.all.iter().find(|j| j.pids().any(|p| p == pid)).map(|j| j.id)
    }

    fn note(&mut self, pid: i32, state: State, signal: Option<i32>) {
        for process in self
            .all
            .iter_mut()
            .flat_map(|j| &mut j.processes)
            .filter(|p| p.pid == pid)
        {
            process.state = state;
            process.signal = signal;
        }
    }

    fn resumed(&mut self, id: usize) {
        for job in self.all.iter_mut().filter(|j| j.id == id) {
            job.reported = false;
            for process in job.processes.iter_mut().filter(|p| p.state == State::Stopped) {
                process.state = State::Running;
            }
        }
    }
}

/// How to wait for a child.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// Until a child changes. Traps run after it.
    ForChild,
    /// As `wait` does: a signal with a trap ends it.
    UntilSignal,
}

/// What a wait saw.
pub(super) enum Waited {
    Changed,
    NoChildren,
    /// A signal with a trap arrived first.
    Interrupted,
    Nothing,
}

/// Puts a process into a group; both parent and child do it, so that neither has to wait for the other.
pub(super) fn set_group(pid: i32, group: i32) {
    let _ = nix::unistd::setpgid(Pid::from_raw(pid), Pid::from_raw(group));
}

/// Makes the caller's group the terminal's foreground group.
pub(super) fn take_terminal() {
    give_terminal(nix::unistd::getpgrp().as_raw());
}

fn give_terminal(group: i32) {
    // A background process that does this is stopped by SIGTTOU unless it ignores it.
    crate::sys::on_signal(22, crate::sys::Disposition::Ignore);
    let _ = nix::unistd::tcsetpgrp(crate::sys::borrow(0), Pid::from_raw(group));
}

impl Shell {
    /// Takes one change of any child, without or with waiting for one. As PID 1 of a container this reaps orphans too.
    pub(super) fn wait_any(&mut self, wait: Wait) -> Waited {
        let mut flags = WaitPidFlag::WNOHANG;
        if self.options.monitor {
            flags |= WaitPidFlag::WUNTRACED;
        }
        // A signal between looking and sleeping must not be slept over; so they are held, and let in only by the sleep itself. SIGCHLD is
        // one of them.
        let held = crate::sys::hold_signals();
        loop {
            match waitpid(Pid::from_raw(-1), Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) => self.jobs.note(pid.as_raw(), State::Done(code), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    let signal = signal as i32;
                    self.jobs.note(pid.as_raw(), State::Done(128 + signal), Some(signal));
                }
                Ok(WaitStatus::Stopped(pid, _)) => self.jobs.note(pid.as_raw(), State::Stopped, None),
                Ok(WaitStatus::StillAlive) => {
                    match wait {
                        Wait::No => return Waited::Nothing,
                        Wait::UntilSignal if self.signalled() => return Waited::Interrupted,
                        _ => held.sleep(),
                    }
                    continue;
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return Waited::NoChildren,
            }
            return Waited::Changed;
        }
    }

    /// Waits for one child that is no job.
    pub(super) fn wait_for(&mut self, pid: i32) -> i32 {
        let id = self.jobs.add(vec![pid], None, String::new(), false);
        self.wait_job(id)
    }

    fn wait_job(&mut self, id: usize) -> i32 {
        loop {
            match self.jobs.get(id).map(Job::state) {
                Some(State::Running) => {}
                Some(State::Stopped) => return 128 + 20,
                Some(State::Done(code)) => {
                    let code = self.pipe_status(id, code);
                    self.jobs.remove(id);
                    return code;
                }
                None => return 127,
            }
            if matches!(self.wait_any(Wait::ForChild), Waited::NoChildren) {
                self.jobs.remove(id);
                return 127;
            }
        }
    }

    fn pipe_status(&self, id: usize, code: i32) -> i32 {
        if !self.options.pipefail {
            return code;
        }
        let failed = self.jobs.get(id).and_then(|job| {
            job.processes.iter().rev().find_map(|p| match p.state {
                State::Done(code) if code != 0 => Some(code),
                _ => None,
            })
        });
        failed.unwrap_or(code)
    }

    /// Waits for a job in the foreground, lending it the terminal.
    pub(super) fn foreground(&mut self, pids: Vec<i32>, group: Option<i32>, text: String) -> i32 {
        let id = self.jobs.add(pids, group, text, false);
        self.wait_foreground(id)
    }

    pub(super) fn wait_foreground(&mut self, id: usize) -> i32 {
        let group = self.jobs.get(id).and_then(|j| j.group);
        let modes = if group.is_some() {
            nix::sys::termios::tcgetattr(crate::sys::borrow(0)).ok()
        } else {
            None
        };
        if let Some(group) = group {
            give_terminal(group);
        }
        let signal = self.wait_and_signal(id);
        let code = signal.0;
        if group.is_some() {
            take_terminal();
            // A program that died in raw mode must not leave the prompt in it.
            if let Some(modes) = modes
                && (signal.1.is_some() || code == 128 + 20)
            {
                let _ =
                    nix::sys::termios::tcsetattr(crate::sys::borrow(0), nix::sys::termios::SetArg::TCSADRAIN, &modes);
            }
        }
        if self.options.interactive {
            if let Some(job) = self.jobs.get(id) {
                let text = format!("\n{}", job.describe(true, false));
                let _ = crate::sys::write_all(2, text.as_bytes());
            } else if let Some(signal) = signal.1 {
                let text = match signal {
                    2 => "\n".to_owned(),
                    13 => String::new(),
                    n => format!("{}\n", super::signal::describe(n)),
                };
                let _ = crate::sys::write_all(2, text.as_bytes());
            }
        }
        for job in self.jobs.all.iter_mut().filter(|j| j.id == id) {
            job.background = true;
            job.reported = true;
        }
        code
    }

    fn wait_and_signal(&mut self, id: usize) -> (i32, Option<i32>) {
        loop {
            let Some(job) = self.jobs.get(id) else {
                return (127, None);
            };
            if let State::Done(_) = job.state() {
                let signal = job.processes.last().and_then(|p| p.signal);
                return (self.wait_job(id), signal);
            }
            if job.state() == State::Stopped {
                return (128 + 20, None);
            }
            if matches!(self.wait_any(Wait::ForChild), Waited::NoChildren) {
                self.jobs.remove(id);
                return (127, None);
            }
        }
    }

    /// Lets a stopped job run on.
    pub(super) fn resume(&mut self, id: usize, foreground: bool) -> i32 {
        let Some(job) = self.jobs.get(id) else { return 127 };
        let group = job.group;
        let pids: Vec<i32> = job.pids().collect();
        if foreground && let Some(group) = group {
            give_terminal(group);
        }
        self.jobs.resumed(id);
        match group {
            Some(group) => {
                let _ = nix::sys::signal::killpg(Pid::from_raw(group), nix::sys::signal::Signal::SIGCONT);
            }
            None => {
                for pid in pids {
                    let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGCONT);
                }
            }
        }
        if foreground { self.wait_foreground(id) } else { 0 }
    }

    /// Before a prompt: takes what ended, and says so.
    pub(super) fn report_jobs(&mut self) {
        while matches!(self.wait_any(Wait::No), Waited::Changed) {}
        let last = self.jobs.all.last().map(|j| j.id);
        let mut text = String::new();
        for job in &mut self.jobs.all {
            if job.background && !job.reported && job.state() != State::Running {
                text.push_str(&job.describe(Some(job.id) == last, false));
                job.reported = true;
            }
        }
        self.jobs.all.retain(|j| !matches!(j.state(), State::Done(_)));
        let _ = crate::sys::write_all(2, text.as_bytes());
    }
}
