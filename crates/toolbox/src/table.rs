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
    /// One of uutils' coreutils.
    Core(fn(std::vec::IntoIter<OsString>) -> i32),
}

use Start::{Core, Raw, Text};

const APPLETS: &[(&str, Start)] = &[
    ("[", Text(crate::sh::test::main)),
    ("ash", Raw(crate::sh::main)),
    ("base64", Core(|args| uu_base64::uumain(args))),
    ("basename", Core(|args| uu_basename::uumain(args))),
    ("bash", Raw(crate::sh::main)),
    ("cat", Core(|args| uu_cat::uumain(args))),
    ("chgrp", Core(|args| uu_chgrp::uumain(args))),
    ("chmod", Core(|args| uu_chmod::uumain(args))),
    ("chown", Core(|args| uu_chown::uumain(args))),
    ("clear", Text(crate::tool::screen::clear)),
    ("cmp", Text(crate::tool::compare::cmp)),
    ("comm", Core(|args| uu_comm::uumain(args))),
    ("cp", Core(|args| uu_cp::uumain(args))),
    ("curl", Text(crate::tool::curl::main)),
    ("cut", Core(|args| uu_cut::uumain(args))),
    ("date", Core(|args| uu_date::uumain(args))),
    ("dd", Core(|args| uu_dd::uumain(args))),
    ("df", Core(|args| uu_df::uumain(args))),
    ("diff", Text(crate::tool::compare::diff)),
    ("dig", Text(crate::tool::dns::dig)),
    ("dirname", Core(|args| uu_dirname::uumain(args))),
    ("dmesg", Text(crate::tool::system::dmesg)),
    ("du", Core(|args| uu_du::uumain(args))),
    ("echo", Text(crate::sh::echo)),
    ("egrep", Text(crate::tool::grep::main)),
    ("env", Core(|args| uu_env::uumain(args))),
    ("expr", Text(crate::tool::expr::main)),
    ("false", Text(crate::tool::simple::no_it_is_not)),
    ("fgrep", Text(crate::tool::grep::main)),
    ("find", Text(crate::tool::find::main)),
    ("fold", Core(|args| uu_fold::uumain(args))),
    ("fortune", Text(crate::app::fortune::main)),
    ("free", Text(crate::tool::system::free)),
    ("grep", Text(crate::tool::grep::main)),
    ("head", Core(|args| uu_head::uumain(args))),
    ("host", Text(crate::tool::dns::host)),
    ("hostname", Text(crate::host::main)),
    ("id", Core(|args| uu_id::uumain(args))),
    ("ifconfig", Text(crate::tool::interface::ifconfig)),
    ("ip", Text(crate::tool::interface::ip)),
    ("kill", Text(crate::sh::kill)),
    ("killall", Text(crate::tool::process::pidof)),
    ("kuard", Text(crate::app::kuard::main)),
    ("less", Text(crate::tool::pager::main)),
    ("ln", Core(|args| uu_ln::uumain(args))),
    ("ls", Core(|args| uu_ls::uumain(args))),
    ("md5sum", Text(crate::tool::digest::main)),
    ("mkdir", Core(|args| uu_mkdir::uumain(args))),
    ("mktemp", Core(|args| uu_mktemp::uumain(args))),
    ("more", Text(crate::tool::pager::main)),
    ("mount", Text(crate::tool::system::mount)),
    ("mv", Core(|args| uu_mv::uumain(args))),
    ("nc", Text(crate::tool::nc::main)),
    ("netstat", Text(crate::tool::socket::netstat)),
    ("nginx", Text(crate::nginx::main)),
    ("nice", Core(|args| uu_nice::uumain(args))),
    ("nl", Core(|args| uu_nl::uumain(args))),
    ("node", Text(crate::app::node::main)),
    ("nohup", Core(|args| uu_nohup::uumain(args))),
    ("nproc", Core(|args| uu_nproc::uumain(args))),
    ("nslookup", Text(crate::tool::dns::nslookup)),
    ("od", Core(|args| uu_od::uumain(args))),
    ("paste", Core(|args| uu_paste::uumain(args))),
    ("pause", Text(crate::app::pause::main)),
    ("pgrep", Text(crate::tool::process::pgrep)),
    ("pidof", Text(crate::tool::process::pidof)),
    ("pkill", Text(crate::tool::process::pgrep)),
    ("printenv", Core(|args| uu_printenv::uumain(args))),
    ("printf", Text(crate::sh::print_formatted)),
    ("ps", Text(crate::tool::process::ps)),
    ("pwd", Text(crate::tool::simple::pwd)),
    ("readlink", Core(|args| uu_readlink::uumain(args))),
    ("realpath", Core(|args| uu_realpath::uumain(args))),
    ("reset", Text(crate::tool::screen::reset)),
    ("rm", Core(|args| uu_rm::uumain(args))),
    ("rmdir", Core(|args| uu_rmdir::uumain(args))),
    ("route", Text(crate::tool::interface::route)),
    ("sed", Text(crate::tool::sed::main)),
    ("seq", Core(|args| uu_seq::uumain(args))),
    ("sh", Raw(crate::sh::main)),
    ("sha1sum", Text(crate::tool::digest::main)),
    ("sha256sum", Text(crate::tool::digest::main)),
    ("sha512sum", Text(crate::tool::digest::main)),
    ("sleep", Core(|args| uu_sleep::uumain(args))),
    ("sort", Core(|args| uu_sort::uumain(args))),
    ("split", Core(|args| uu_split::uumain(args))),
    ("stat", Core(|args| uu_stat::uumain(args))),
    ("stty", Core(|args| uu_stty::uumain(args))),
    ("sync", Core(|args| uu_sync::uumain(args))),
    ("tac", Core(|args| uu_tac::uumain(args))),
    ("tail", Core(|args| uu_tail::uumain(args))),
    ("tar", Text(crate::tool::archive::main)),
    ("tee", Core(|args| uu_tee::uumain(args))),
    ("test", Text(crate::sh::test::main)),
    ("time", Text(crate::tool::simple::time)),
    ("timeout", Core(|args| uu_timeout::uumain(args))),
    ("top", Text(crate::tool::top::main)),
    ("touch", Core(|args| uu_touch::uumain(args))),
    ("tr", Core(|args| uu_tr::uumain(args))),
    ("true", Text(crate::tool::simple::yes_it_is)),
    ("truncate", Core(|args| uu_truncate::uumain(args))),
    ("tty", Core(|args| uu_tty::uumain(args))),
    ("uname", Core(|args| uu_uname::uumain(args))),
    ("uniq", Core(|args| uu_uniq::uumain(args))),
    ("uptime", Text(crate::tool::system::uptime)),
    ("vi", Text(crate::vi::main)),
    ("watch", Text(crate::tool::watch::main)),
    ("wc", Core(|args| uu_wc::uumain(args))),
    ("wget", Text(crate::tool::wget::main)),
    ("which", Text(crate::which::main)),
    ("whoami", Core(|args| uu_whoami::uumain(args))),
    ("xargs", Text(crate::tool::xargs::main)),
    ("yes", Core(|args| uu_yes::uumain(args))),
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
        Core(run) => {
            // Their messages come from tables that are chosen by program; without this they print the names of messages instead.
            if let Err(error) = uucore::locale::setup_localization(name) {
                return Some(crate::say::fail(name, error));
            }
            let status = run(args.into_iter());
            let _ = std::io::Write::flush(&mut std::io::stdout());
            status
        }
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
