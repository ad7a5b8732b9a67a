//! Jobs, signals and traps.

use super::super::{Run, Shell, job, signal};
use super::{failed, print};

pub(super) fn trap(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let rest: &[String] = if words.get(1).is_some_and(|w| w == "--") {
        &words[2..]
    } else {
        &words[1..]
    };
    match rest {
        [] => {
            let mut lines = String::new();
            for (number, action) in &shell.traps {
                let name = if *number == 0 {
                    "EXIT"
                } else {
                    signal::name(*number).unwrap_or("?")
                };
                lines.push_str(&format!("trap -- '{}' {name}\n", action.replace('\'', "'\\''")));
            }
            print(shell, lines.as_bytes())
        }
        [flag] if flag == "-l" => print(shell, signal_list().as_bytes()),
        _ => {
            // `trap TERM` and `trap 15 2` reset: the first word is a condition, not an action.
            let (action, names) = match rest.split_first() {
                Some((first, names)) if first == "-" => (None, names),
                Some((first, names)) if !names.is_empty() && first.parse::<u32>().is_err() => {
                    (Some(first.clone()), names)
                }
                _ => (None, rest),
            };
            for name in names {
                match signal::number(name) {
                    Some(number) => shell.trap(number, action.clone()),
                    None if matches!(name.as_str(), "ERR" | "DEBUG" | "RETURN") => {}
                    None => return failed(shell, &format!("trap: {name}: invalid signal specification")),
                }
            }
            Ok(0)
        }
    }
}

fn signal_list() -> String {
    signal::all()
        .map(|(number, name)| format!("{number:2}) {name}\n"))
        .collect()
}

/// `kill [-SIGNAL] PID|%JOB...`; jobs are known to the shell only, so the program of that name passes none.
pub(crate) fn kill_with(args: &[String], job: impl Fn(&str) -> Option<i32>) -> Result<Option<String>, Vec<String>> {
    let mut rest = args.iter();
    let mut number = 15;
    let mut targets = Vec::new();
    while let Some(arg) = rest.next() {
        if arg == "-l" {
            let Some(code) = rest.next() else {
                return Ok(Some(signal_list()));
            };
            let code = code
                .parse::<i32>()
                .map_or_else(|_| signal::number(code), |n| Some(if n > 128 { n - 128 } else { n }));
            let text = code.map_or_else(
                || "?".to_owned(),
                |n| signal::name(n).map_or_else(|| n.to_string(), str::to_owned),
            );
            return Ok(Some(format!("{text}\n")));
        }
        let option = arg.strip_prefix('-').filter(|_| targets.is_empty());
        match option {
            Some("s" | "n") => {
                let name = rest.next().map_or("", String::as_str);
                number = signal::number(name).ok_or_else(|| vec![format!("bad signal name '{name}'")])?;
            }
            Some("-") => targets.extend(rest.by_ref().cloned()),
            Some(name) => number = signal::number(name).ok_or_else(|| vec![format!("bad signal name '{name}'")])?,
            None => targets.push(arg.clone()),
        }
    }
    if targets.is_empty() {
        return Err(vec!["you need to specify whom to kill".to_owned()]);
    }
    let mut errors = Vec::new();
    for target in targets {
        let pid = if target.starts_with('%') {
            job(&target)
        } else {
            target.parse().ok()
        };
        let Some(pid) = pid else {
            errors.push(format!("invalid number '{target}'"));
            continue;
        };
        let signal = nix::sys::signal::Signal::try_from(number).ok();
        if let Err(error) = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal) {
            errors.push(format!(
                "can't kill pid {pid}: {}",
                crate::say::reason(&std::io::Error::from(error))
            ));
        }
    }
    if errors.is_empty() { Ok(None) } else { Err(errors) }
}

pub(super) fn kill(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let job = |spec: &str| {
        let job = shell.jobs.get(shell.jobs.resolve(Some(spec))?)?;
        job.group.map(|g| -g).or_else(|| job.pids().last())
    };
    match kill_with(&words[1..], job) {
        Ok(text) => print(shell, text.unwrap_or_default().as_bytes()),
        Err(errors) => {
            for error in errors {
                shell.complain(&error);
            }
            Ok(1)
        }
    }
}

pub(super) fn jobs(shell: &mut Shell, words: &[String]) -> Run<i32> {
    while matches!(shell.wait_any(job::Wait::No), job::Waited::Changed) {}
    let pids = words.iter().any(|w| w == "-l");
    let only = words.iter().any(|w| w == "-p");
    let last = shell.jobs.iter().last().map(|j| j.id);
    let mut lines = String::new();
    let mut done = Vec::new();
    for job in shell.jobs.iter() {
        if only {
            lines.push_str(&format!("{}\n", job.pids().next().unwrap_or(0)));
        } else {
            lines.push_str(&job.describe(Some(job.id) == last, pids));
        }
        if matches!(job.state(), job::State::Done(_)) && shell.options.interactive {
            done.push(job.id);
        }
    }
    for id in done {
        shell.jobs.remove(id);
    }
    print(shell, lines.as_bytes())
}

pub(super) fn fg(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let Some(id) = shell.jobs.resolve(words.get(1).map(String::as_str)) else {
        return failed(shell, "fg: no current job");
    };
    let text = shell.jobs.get(id).map(|j| j.text.clone()).unwrap_or_default();
    print(shell, format!("{text}\n").as_bytes())?;
    Ok(shell.resume(id, true))
}

pub(super) fn bg(shell: &mut Shell, words: &[String]) -> Run<i32> {
    let Some(id) = shell.jobs.resolve(words.get(1).map(String::as_str)) else {
        return failed(shell, "bg: no current job");
    };
    let text = shell.jobs.get(id).map(|j| j.text.clone()).unwrap_or_default();
    print(shell, format!("[{id}] {text}\n").as_bytes())?;
    Ok(shell.resume(id, false))
}

pub(super) fn wait(shell: &mut Shell, words: &[String]) -> Run<i32> {
    use job::{State, Waited};
    let any = words.get(1).is_some_and(|w| w == "-n");
    let specs = &words[1 + usize::from(any)..];
    let mut ids = Vec::new();
    for spec in specs {
        let id = if spec.starts_with('%') {
            shell.jobs.resolve(Some(spec))
        } else {
            spec.parse().ok().and_then(|pid| shell.jobs.with_pid(pid))
        };
        ids.push(id);
    }
    let mut status = 0;
    loop {
        let running = |shell: &Shell, id: usize| shell.jobs.get(id).is_some_and(|j| j.state() == State::Running);
        if any {
            let done = shell.jobs.iter().find_map(|j| match j.state() {
                State::Done(code) => Some((j.id, code)),
                _ => None,
            });
            if let Some((id, code)) = done {
                shell.jobs.remove(id);
                return Ok(code);
            }
        } else if specs.is_empty() {
            if !shell.jobs.iter().any(|j| j.state() == State::Running) {
                let ended: Vec<usize> = shell
                    .jobs
                    .iter()
                    .filter(|j| matches!(j.state(), State::Done(_)))
                    .map(|j| j.id)
                    .collect();
                for id in ended {
                    shell.jobs.remove(id);
                }
                return Ok(0);
            }
        } else if !ids.iter().flatten().any(|id| running(shell, *id)) {
            for id in ids {
                status = match id.and_then(|id| shell.jobs.get(id)).map(job::Job::state) {
                    Some(State::Done(code)) => code,
                    _ => 127,
                };
                if let Some(id) = id {
                    shell.jobs.remove(id);
                }
            }
            return Ok(status);
        }
        match shell.wait_any(job::Wait::UntilSignal) {
            Waited::Changed | Waited::Nothing => {}
            Waited::NoChildren => return Ok(if specs.is_empty() && !any { status } else { 127 }),
            Waited::Interrupted => {
                let bits = crate::sys::pending() & !(1 << 17);
                let number = (1..64).find(|n| bits & (1 << n) != 0).unwrap_or(0);
                shell.run_traps()?;
                return Ok(128 + number);
            }
        }
    }
}
