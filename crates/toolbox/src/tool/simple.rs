//! The smallest programs.

use crate::say::{fail, out, reason};

pub(crate) fn yes_it_is(_: &[String]) -> i32 {
    0
}

pub(crate) fn no_it_is_not(_: &[String]) -> i32 {
    1
}

pub(crate) fn pwd(_: &[String]) -> i32 {
    match std::env::current_dir() {
        Ok(dir) => {
            out(format!("{}\n", dir.display()));
            0
        }
        Err(error) => fail("pwd", reason(&error)),
    }
}

/// `time COMMAND`
pub(crate) fn time(args: &[String]) -> i32 {
    let words: Vec<&String> = args[1..].iter().skip_while(|a| *a == "-p" || *a == "-v").collect();
    let Some((name, rest)) = words.split_first() else {
        return fail("time", "usage: time COMMAND");
    };
    let start = std::time::Instant::now();
    let status = std::process::Command::new(name).args(rest).status();
    let (_, _, user, system) = crate::sys::times();
    let show = |s: f64| format!("{}m {:.2}s", (s / 60.0) as u64, s % 60.0);
    let text = format!(
        "real\t{}\nuser\t{}\nsys\t{}\n",
        show(start.elapsed().as_secs_f64()),
        show(user),
        show(system)
    );
    match status {
        Ok(status) => {
            let _ = crate::sys::write_all(2, text.as_bytes());
            use std::os::unix::process::ExitStatusExt;
            status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
        }
        Err(error) => {
            fail("time", format!("can't execute '{name}': {}", reason(&error)));
            127
        }
    }
}
