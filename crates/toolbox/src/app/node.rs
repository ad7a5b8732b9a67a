//! `node app.js`: the JavaScript servers of the kubia family, each by its name in the script.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::net::serve::{Call, Reply, Stop, Style, listen_all, reply, run};

/// Node as first process has no handler for SIGTERM, so a pod of it takes the whole grace period to stop.
const STYLE: Style = Style {
    terminate: Stop::Never,
    interrupt: Stop::Never,
    quit: Stop::Never,
    title_case: true,
    say_keep_alive: true,
    keep_alive: Duration::from_secs(120),
};

pub(super) fn text(status: u16, body: impl Into<String>) -> Reply {
    reply(status, &[], body.into())
}

/// What Node shows of a peer: IPv4 comes in through a socket for both kinds.
fn remote(call: &Call) -> String {
    match call.peer.ip() {
        std::net::IpAddr::V4(v4) => format!("::ffff:{v4}"),
        std::net::IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => format!("::ffff:{v4}"),
            None => v6.to_string(),
        },
    }
}

pub(crate) fn main(args: &[String]) -> i32 {
    let Some(script) = args.get(1) else {
        return crate::say::fail("node", "only the built-in applications run here: node SCRIPT");
    };
    if script == "--version" || script == "-v" {
        crate::say::out(format!(
            "v{}\n",
            std::env::var("NODE_VERSION").unwrap_or_else(|_| "7.10.1".to_owned())
        ));
        return 0;
    }
    let text = match std::fs::read_to_string(script) {
        Ok(text) => text,
        Err(_) => return crate::say::fail("node", format!("Cannot find module '{script}'")),
    };
    let setting = |key: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(": "));
        value.unwrap_or("").trim().to_owned()
    };
    let name = setting("application");
    let port = setting("port").parse().unwrap_or(8080);
    let host = crate::host::name();
    let answer: Box<dyn Fn(Call) -> Reply + Send + Sync> = match name.as_str() {
        "kubia-pet" => Box::new(move |call| super::pet::pet(&call, &host)),
        "kubia-pet-peers" => Box::new(move |call| super::pet::peers(&call, &host)),
        "kubia" => hit(move |_| (200, format!("You've hit {host}\n"))),
        "kubia-unhealthy" => hit(move |count| match count {
            0..=5 => (200, format!("You've hit {host}\n")),
            _ => (500, "I'm not well. Please restart me!".to_owned()),
        }),
        "kubia-v3" => hit(move |count| match count {
            0..=4 => (200, format!("This is v3 running in pod {host}\n")),
            _ => (500, format!("Some internal error has occurred! This is pod {host}\n")),
        }),
        "kubia-v1" | "kubia-v2" | "kubia-v4" => {
            let version = name.trim_start_matches("kubia-").to_owned();
            hit(move |_| (200, format!("This is {version} running in pod {host}\n")))
        }
        _ => return crate::say::fail("node", format!("{script}: only the built-in applications run here")),
    };
    if !name.starts_with("kubia-pet") {
        crate::say::out("Kubia server starting...\n");
    }
    let listener = match listen_all(port) {
        Ok(listener) => listener,
        Err(error) => {
            let code = match error.kind() {
                std::io::ErrorKind::AddrInUse => "EADDRINUSE",
                std::io::ErrorKind::PermissionDenied => "EACCES",
                _ => "EADDRNOTAVAIL",
            };
            let _ = crate::sys::write_all(
                2,
                format!("events.js:160\n      throw er; // Unhandled 'error' event\n      ^\n\nError: listen {code} :::{port}\n").as_bytes(),
            );
            return 1;
        }
    };
    run(vec![listener.into()], STYLE, answer)
}

/// A server that logs each request and answers by how many there have been.
fn hit(answer: impl Fn(u64) -> (u16, String) + Send + Sync + 'static) -> Box<dyn Fn(Call) -> Reply + Send + Sync> {
    let count = AtomicU64::new(0);
    Box::new(move |call| {
        crate::say::out(format!("Received request from {}\n", remote(&call)));
        let (status, body) = answer(count.fetch_add(1, Ordering::Relaxed) + 1);
        text(status, body)
    })
}
