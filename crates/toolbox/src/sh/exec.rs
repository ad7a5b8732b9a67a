//! Runs commands.

use std::rc::Rc;

use super::ast::{Cmd, Item};
use super::{Run, Shell, Stop, pattern};

impl Shell {
    /// Runs one command of any shape; its status is the result and `$?`.
    pub(super) fn run(&mut self, cmd: &Cmd) -> Run<i32> {
        // Only the very last command of a `-c` text may replace the shell; whatever looks into a command decides anew.
        let last = std::mem::take(&mut self.last_command);
        let status = match cmd {
            Cmd::Simple(simple) => {
                self.last_command = last;
                let status = self.simple(simple);
                self.last_command = false;
                let status = status?;
                self.status = status;
                self.check_errexit(status)?;
                status
            }
            Cmd::List(items) => self.list(items, last)?,
            Cmd::AndOr(first, rest) => self.and_or(first, rest)?,
            Cmd::Pipeline { negate, timed, stages } => self.timed_pipeline(*negate, *timed, stages)?,
            Cmd::Subshell(body) => {
                let body = Rc::clone(body);
                let status = self.fork_and(move |shell| {
                    let result = shell.run(&body);
                    shell.finish(result)
                })?;
                self.status = status;
                self.check_errexit(status)?;
                status
            }
            Cmd::Group(body) => self.run(body)?,
            Cmd::If { arms, otherwise } => self.if_clause(arms, otherwise.as_deref())?,
            Cmd::While { until, condition, body } => self.while_loop(*until, condition, body)?,
            Cmd::For { name, words, body } => {
                let values = match words {
                    Some(words) => self.expand_words(words)?,
                    None => self.args.clone(),
                };
                let mut values = values.into_iter();
                self.status = 0;
                self.looping(|shell| {
                    let Some(value) = values.next() else { return Ok(false) };
                    let done = shell.vars.set(name, value);
                    shell.fine(done)?;
                    shell.run(body)?;
                    Ok(true)
                })?
            }
            Cmd::ArithFor {
                start,
                condition,
                step,
                body,
            } => {
                self.arith_value(start)?;
                let mut first = true;
                self.looping(|shell| {
                    if !std::mem::take(&mut first) {
                        shell.arith_value(step)?;
                    }
                    if !condition.is_empty() && shell.arith_value(condition)? == 0 {
                        return Ok(false);
                    }
                    shell.run(body)?;
                    Ok(true)
                })?
            }
            Cmd::Case { word, arms } => self.case(word, arms)?,
            Cmd::Function { name, body } => {
                self.functions.insert(name.clone(), Rc::clone(body));
                0
            }
            Cmd::Test(test) => {
                let status = i32::from(!self.conditional(test)?);
                self.status = status;
                self.check_errexit(status)?;
                status
            }
            Cmd::Arith(text) => {
                let status = i32::from(self.arith_value(text)? == 0);
                self.status = status;
                self.check_errexit(status)?;
                status
            }
            Cmd::Redirected(inner, redirects) => match self.redirect(redirects)? {
                Ok(saved) => {
                    let result = self.run(inner);
                    self.undo(saved);
                    result?
                }
                Err(()) => {
                    self.status = 1;
                    self.check_errexit(1)?;
                    1
                }
            },
        };
        self.status = status;
        self.run_traps()?;
        Ok(self.status)
    }

    fn check_errexit(&self, status: i32) -> Run<()> {
        if status != 0 && self.options.errexit && self.tested == 0 {
            Err(Stop::Exit(status))
        } else {
            Ok(())
        }
    }

    fn list(&mut self, items: &[Item], last: bool) -> Run<i32> {
        for (i, item) in items.iter().enumerate() {
            if item.background {
                self.background(item)?;
            } else {
                self.last_command = last && i + 1 == items.len() && self.traps.is_empty() && !self.jobs.any();
                self.run(&item.cmd)?;
            }
        }
        Ok(self.status)
    }

    fn background(&mut self, item: &Item) -> Run<()> {
        let monitor = self.options.monitor;
        match crate::sys::fork() {
            Ok(Some(child)) => {
                if monitor {
                    super::job::set_group(child, child);
                }
                self.last_background = Some(child);
                let id = self
                    .jobs
                    .add(vec![child], monitor.then_some(child), item.text.clone(), true);
                if self.options.interactive {
                    let _ = crate::sys::write_all(2, format!("[{id}] {child}\n").as_bytes());
                }
                self.status = 0;
                Ok(())
            }
            Ok(None) => {
                if monitor {
                    super::job::set_group(0, 0);
                } else {
                    // Without job control a background command must not take the terminal's signals or input.
                    crate::sys::on_signal(2, crate::sys::Disposition::Ignore);
                    crate::sys::on_signal(3, crate::sys::Disposition::Ignore);
                    if let Ok(null) = std::fs::File::open("/dev/null") {
                        use std::os::fd::AsRawFd;
                        let _ = crate::sys::dup_to(null.as_raw_fd(), 0);
                    }
                }
                self.become_subshell();
                self.last_command = true;
                let result = self.run(&item.cmd);
                self.finish(result)
            }
            Err(error) => Err(self.fatal(&format!("can't fork: {error}"))),
        }
    }

    fn and_or(&mut self, first: &Cmd, rest: &[(bool, Cmd)]) -> Run<i32> {
        self.tested += 1;
        let result = self.run(first);
        self.tested -= 1;
        let mut status = result?;
        for (i, (and, cmd)) in rest.iter().enumerate() {
            if (status == 0) != *and {
                continue;
            }
            let last = i + 1 == rest.len();
            self.tested += u32::from(!last);
            let result = self.run(cmd);
            self.tested -= u32::from(!last);
            status = result?;
        }
        Ok(status)
    }

    /// Runs something whose failure is an answer.
    fn test(&mut self, cmd: &Cmd) -> Run<bool> {
        self.tested += 1;
        let result = self.run(cmd);
        self.tested -= 1;
        Ok(result? == 0)
    }

    fn if_clause(&mut self, arms: &[(Cmd, Cmd)], otherwise: Option<&Cmd>) -> Run<i32> {
        for (condition, body) in arms {
            if self.test(condition)? {
                return self.run(body);
            }
        }
        match otherwise {
            Some(body) => self.run(body),
            None => Ok(0),
        }
    }

    fn while_loop(&mut self, until: bool, condition: &Cmd, body: &Cmd) -> Run<i32> {
        let mut status = 0;
        self.looping(|shell| {
            if shell.test(condition)? == until {
                shell.status = status;
                return Ok(false);
            }
            status = shell.run(body)?;
            Ok(true)
        })
    }

    /// Runs rounds until one says `false`, or `break`.
    fn looping(&mut self, mut round: impl FnMut(&mut Self) -> Run<bool>) -> Run<i32> {
        self.loops += 1;
        let result = loop {
            match round(self) {
                Ok(true) | Err(Stop::Continue(1)) => {}
                Ok(false) => break Ok(self.status),
                Err(Stop::Break(1)) => break Ok(0),
                Err(Stop::Break(n)) => break Err(Stop::Break(n - 1)),
                Err(Stop::Continue(n)) => break Err(Stop::Continue(n - 1)),
                Err(other) => break Err(other),
            }
            if let Err(stop) = self.run_traps() {
                break Err(stop);
            }
            if self.interrupted() {
                break Err(Stop::Abort(130));
            }
        };
        self.loops -= 1;
        result
    }

    fn case(&mut self, word: &super::ast::Word, arms: &[super::ast::Arm]) -> Run<i32> {
        let text = self.expand_text(word)?;
        let mut taken = false;
        let mut status = 0;
        for arm in arms {
            for pattern in &arm.patterns {
                if taken {
                    break;
                }
                let pattern = self.expand_pattern(pattern)?;
                taken = pattern::matches(&pattern, &text);
            }
            if taken {
                status = match &arm.body {
                    Cmd::List(items) if items.is_empty() => 0,
                    body => self.run(body)?,
                };
                if !arm.fall_through {
                    break;
                }
            }
        }
        Ok(status)
    }

    fn timed_pipeline(&mut self, negate: bool, timed: bool, stages: &[Cmd]) -> Run<i32> {
        let start = std::time::Instant::now();
        let before = crate::sys::times();
        self.tested += u32::from(negate);
        let result = match stages {
            [only] => self.run(only),
            stages => self.pipeline(stages),
        };
        self.tested -= u32::from(negate);
        let status = result?;
        if timed {
            let after = crate::sys::times();
            let show = |name: &str, s: f64| format!("{name}\t{}m{:.3}s\n", (s / 60.0) as u64, s % 60.0);
            let text = format!(
                "\n{}{}{}",
                show("real", start.elapsed().as_secs_f64()),
                show("user", after.0 + after.2 - before.0 - before.2),
                show("sys", after.1 + after.3 - before.1 - before.3)
            );
            let _ = crate::sys::write_all(2, text.as_bytes());
        }
        let status = if negate { i32::from(status == 0) } else { status };
        self.status = status;
        if !negate {
            self.check_errexit(status)?;
        }
        Ok(status)
    }

    fn pipeline(&mut self, stages: &[Cmd]) -> Run<i32> {
        let mut pids = Vec::new();
        let mut group = None;
        let mut input = None;
        for (i, stage) in stages.iter().enumerate() {
            let last = i + 1 == stages.len();
            let ends = if last {
                None
            } else {
                match crate::sys::pipe() {
                    Ok(ends) => Some(ends),
                    Err(error) => return Err(self.fatal(&format!("can't create pipe: {error}"))),
                }
            };
            match crate::sys::fork() {
                Ok(Some(child)) => {
                    if self.options.monitor {
                        super::job::set_group(child, *group.get_or_insert(child));
                    }
                    pids.push(child);
                }
                Ok(None) => {
                    if self.options.monitor {
                        super::job::set_group(0, group.unwrap_or(0));
                        if group.is_none() {
                            super::job::take_terminal();
                        }
                    }
                    if let Some(fd) = input {
                        let _ = crate::sys::dup_to(fd, 0);
                        crate::sys::close(fd);
                    }
                    if let Some((read, write)) = ends {
                        crate::sys::close(read);
                        let _ = crate::sys::dup_to(write, 1);
                        crate::sys::close(write);
                    }
                    self.become_subshell();
                    self.last_command = true;
                    let result = self.run(stage);
                    self.finish(result)
                }
                Err(error) => return Err(self.fatal(&format!("can't fork: {error}"))),
            }
            if let Some(fd) = input.take() {
                crate::sys::close(fd);
            }
            if let Some((read, write)) = ends {
                crate::sys::close(write);
                input = Some(read);
            }
        }
        let group = if self.options.monitor { group } else { None };
        Ok(self.foreground(pids, group, String::new()))
    }

    /// Forks, runs `child` there and waits for it.
    fn fork_and(&mut self, child: impl FnOnce(&mut Self)) -> Run<i32> {
        match crate::sys::fork() {
            Ok(Some(pid)) => {
                let group = self.options.monitor.then_some(pid);
                if self.options.monitor {
                    super::job::set_group(pid, pid);
                }
                Ok(self.foreground(vec![pid], group, String::new()))
            }
            Ok(None) => {
                if self.options.monitor {
                    super::job::set_group(0, 0);
                    super::job::take_terminal();
                }
                self.become_subshell();
                child(self);
                std::process::exit(self.status)
            }
            Err(error) => Err(self.fatal(&format!("can't fork: {error}"))),
        }
    }
}
