//! Which names are programs, and how a process becomes one of them.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;

/// How a program is started.
enum Start {
    /// With the arguments as text.
    Text(fn(&[String]) -> i32),
    /// With the arguments as they are.
    Raw(fn(&[OsString]) -> i32),
}

use Start::{Raw, Text};

const APPLETS: &[(&str, Start)] = &[
    ("[", Text(crate::sh::test::main)),
    ("ash", Raw(crate::sh::main)),
    ("bash", Raw(crate::sh::main)),
    ("hostname", Text(crate::host::main)),
    ("sh", Raw(crate::sh::main)),
    ("test", Text(crate::sh::test::main)),
    ("which", Text(crate::which::main)),
];

/// The names of all programs, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    APPLETS.iter().map(|(name, _)| *name)
}

fn find(name: &str) -> Option<&'static Start> {
    APPLETS.iter().find(|(n, _)| *n == name).map(|(_, start)| start)
}

/// Runs a program. `args` begins with the name it was called by. `None`: there is no such program.
pub fn applet(name: &str, args: Vec<OsString>) -> Option<i32> {
    let start = find(name)?;
    // Rust ignores SIGPIPE; programs in a pipeline are expected to die of it.
    crate::sys::on_signal(nix::libc::SIGPIPE, crate::sys::Disposition::Default);
    Some(match start {
        Text(run) => {
            let args: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
            run(&args)
        }
        Raw(run) => run(&args),
    })
}

/// Becomes the program that this process was called as: by its name (`argv[0]`), or as `__box NAME ARGS...`.
/// The result is its exit status; `None`: it was not called as a program of this crate.
pub fn dispatch() -> Option<i32> {
    let args: Vec<OsString> = std::env::args_os().collect();
    let called = Path::new(args.first()?)
        .file_name()
        .and_then(OsStr::to_str)
        .unwrap_or("");
    let called = called.trim_start_matches('-');
    if called != "busybox" && called != "knarr-box" && args.get(1).is_none_or(|a| a != "__box") {
        return find(called).is_some().then(|| applet(called, args.clone())).flatten();
    }
    // `busybox ls`: start over under that name, because the programs say their own name in messages.
    let skip = usize::from(args.get(1).is_some_and(|a| a == "__box")) + 1;
    let Some(name) = args.get(skip).and_then(|a| a.to_str()) else {
        crate::say::out(format!("Programs:\n{}\n", names().collect::<Vec<_>>().join(" ")));
        return Some(0);
    };
    let base = name.rsplit('/').next().unwrap_or(name);
    if find(base).is_none() {
        crate::say::fail(called, format!("{name}: applet not found"));
        return Some(127);
    }
    let exe = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let error = std::process::Command::new(exe)
        .arg0(name)
        .args(&args[skip + 1..])
        .exec();
    crate::say::fail(called, format!("{name}: {}", crate::say::reason(&error)));
    Some(126)
}
