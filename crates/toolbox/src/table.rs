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
    ("base64", Core(uu_base64::uumain)),
    ("basename", Core(uu_basename::uumain)),
    ("bash", Raw(crate::sh::main)),
    ("cat", Core(uu_cat::uumain)),
    ("chgrp", Core(uu_chgrp::uumain)),
    ("chmod", Core(uu_chmod::uumain)),
    ("chown", Core(uu_chown::uumain)),
    ("clear", Text(crate::tool::screen::clear)),
    ("cmp", Text(crate::tool::compare::cmp)),
    ("comm", Core(uu_comm::uumain)),
    ("cp", Core(uu_cp::uumain)),
    ("curl", Text(crate::tool::curl::main)),
    ("cut", Core(uu_cut::uumain)),
    ("date", Core(uu_date::uumain)),
    ("dd", Core(uu_dd::uumain)),
    ("df", Core(uu_df::uumain)),
    ("diff", Text(crate::tool::compare::diff)),
    ("dig", Text(crate::tool::dns::dig)),
    ("dirname", Core(uu_dirname::uumain)),
    ("dmesg", Text(crate::tool::system::dmesg)),
    ("du", Core(uu_du::uumain)),
    ("echo", Text(crate::sh::echo)),
    ("egrep", Text(crate::tool::grep::main)),
    ("env", Core(uu_env::uumain)),
    ("expr", Text(crate::tool::expr::main)),
    ("false", Text(crate::tool::simple::no_it_is_not)),
    ("fgrep", Text(crate::tool::grep::main)),
    ("find", Text(crate::tool::find::main)),
    ("fold", Core(uu_fold::uumain)),
    ("fortune", Text(crate::app::fortune::main)),
    ("free", Text(crate::tool::system::free)),
    ("grep", Text(crate::tool::grep::main)),
    ("gunzip", Text(crate::tool::gzip::main)),
    ("gzip", Text(crate::tool::gzip::main)),
    ("head", Core(uu_head::uumain)),
    ("host", Text(crate::tool::dns::host)),
    ("hostname", Text(crate::host::main)),
    ("id", Core(uu_id::uumain)),
    ("ifconfig", Text(crate::tool::interface::ifconfig)),
    ("ip", Text(crate::tool::interface::ip)),
    ("kill", Text(crate::sh::kill)),
    ("killall", Text(crate::tool::process::pidof)),
    ("kuard", Text(crate::app::kuard::main)),
    ("kubectl-proxy", Text(crate::app::proxy::main)),
    ("less", Text(crate::tool::pager::main)),
    ("ln", Core(uu_ln::uumain)),
    ("ls", Core(uu_ls::uumain)),
    ("md5sum", Text(crate::tool::digest::main)),
    ("mkdir", Core(uu_mkdir::uumain)),
    ("mktemp", Core(uu_mktemp::uumain)),
    ("more", Text(crate::tool::pager::main)),
    ("mount", Text(crate::tool::system::mount)),
    ("mv", Core(uu_mv::uumain)),
    ("nc", Text(crate::tool::nc::main)),
    ("netstat", Text(crate::tool::socket::netstat)),
    ("nginx", Text(crate::nginx::main)),
    ("nice", Core(uu_nice::uumain)),
    ("nl", Core(uu_nl::uumain)),
    ("node", Text(crate::app::node::main)),
    ("nohup", Core(uu_nohup::uumain)),
    ("nproc", Core(uu_nproc::uumain)),
    ("nslookup", Text(crate::tool::dns::nslookup)),
    ("od", Core(uu_od::uumain)),
    ("paste", Core(uu_paste::uumain)),
    ("pause", Text(crate::app::pause::main)),
    ("pgrep", Text(crate::tool::process::pgrep)),
    ("pidof", Text(crate::tool::process::pidof)),
    ("ping", Text(crate::tool::ping::main)),
    ("pkill", Text(crate::tool::process::pgrep)),
    ("printenv", Core(uu_printenv::uumain)),
    ("printf", Text(crate::sh::print_formatted)),
    ("ps", Text(crate::tool::process::ps)),
    ("pwd", Text(crate::tool::simple::pwd)),
    ("readlink", Core(uu_readlink::uumain)),
    ("realpath", Core(uu_realpath::uumain)),
    ("reset", Text(crate::tool::screen::reset)),
    ("rm", Core(uu_rm::uumain)),
    ("rmdir", Core(uu_rmdir::uumain)),
    ("route", Text(crate::tool::interface::route)),
    ("sed", Text(crate::tool::sed::main)),
    ("seq", Core(uu_seq::uumain)),
    ("sh", Raw(crate::sh::main)),
    ("sha1sum", Text(crate::tool::digest::main)),
    ("sha256sum", Text(crate::tool::digest::main)),
    ("sha512sum", Text(crate::tool::digest::main)),
    ("sleep", Core(uu_sleep::uumain)),
    ("sort", Core(uu_sort::uumain)),
    ("split", Core(uu_split::uumain)),
    ("stat", Core(uu_stat::uumain)),
    ("stty", Core(uu_stty::uumain)),
    ("sync", Core(uu_sync::uumain)),
    ("tac", Core(uu_tac::uumain)),
    ("tail", Core(uu_tail::uumain)),
    ("tar", Text(crate::tool::archive::main)),
    ("tee", Core(uu_tee::uumain)),
    ("telnet", Text(crate::tool::nc::telnet)),
    ("test", Text(crate::sh::test::main)),
    ("time", Text(crate::tool::simple::time)),
    ("timeout", Core(uu_timeout::uumain)),
    ("top", Text(crate::tool::top::main)),
    ("touch", Core(uu_touch::uumain)),
    ("tr", Core(uu_tr::uumain)),
    ("true", Text(crate::tool::simple::yes_it_is)),
    ("truncate", Core(uu_truncate::uumain)),
    ("tty", Core(uu_tty::uumain)),
    ("uname", Core(uu_uname::uumain)),
    ("uniq", Core(uu_uniq::uumain)),
    ("uptime", Text(crate::tool::system::uptime)),
    ("vi", Text(crate::vi::main)),
    ("watch", Text(crate::tool::watch::main)),
    ("wc", Core(uu_wc::uumain)),
    ("wget", Text(crate::tool::wget::main)),
    ("which", Text(crate::which::main)),
    ("whoami", Core(uu_whoami::uumain)),
    ("xargs", Text(crate::tool::xargs::main)),
    ("yes", Core(uu_yes::uumain)),
    ("zcat", Text(crate::tool::gzip::main)),
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
