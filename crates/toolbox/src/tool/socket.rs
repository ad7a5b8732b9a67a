//! `netstat [-tulnap]`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::say::out;

const STATES: &[&str] = &[
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
];

pub(crate) fn netstat(args: &[String]) -> i32 {
    let flags: String = args[1..]
        .iter()
        .filter(|a| a.starts_with('-'))
        .map(String::as_str)
        .collect();
    if flags.contains('r') {
        return super::interface::route(args);
    }
    let (tcp, udp) = (flags.contains('t'), flags.contains('u'));
    let both = !tcp && !udp;
    let (listening, every) = (flags.contains('l'), flags.contains('a'));
    let programs = if flags.contains('p') { owners() } else { Vec::new() };
    let which = match (listening, every) {
        (_, true) => "(servers and established)",
        (true, false) => "(only servers)",
        _ => "(w/o servers)",
    };
    let program = if flags.contains('p') { " PID/Program name" } else { "" };
    let mut text = format!(
        "Active Internet connections {which}\nProto Recv-Q Send-Q Local Address           Foreign Address         State      {program}\n"
    );
    for (name, wanted) in [
        ("tcp", tcp || both),
        ("tcp6", tcp || both),
        ("udp", udp || both),
        ("udp6", udp || both),
    ] {
        if !wanted {
            continue;
        }
        let table = std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let f: Vec<&str> = line.split_whitespace().collect();
            let [_, local, remote, state, queues, _, _, _, _, inode, ..] = f.as_slice() else {
                continue;
            };
            let state = usize::from_str_radix(state, 16)
                .ok()
                .and_then(|s| STATES.get(s))
                .copied()
                .unwrap_or("");
            let server = state == "LISTEN" || name.starts_with("udp");
            if !every && server != listening {
                continue;
            }
            let (Some(local), Some(remote)) = (address(local), address(remote)) else {
                continue;
            };
            let (sent, received) = queues.split_once(':').unwrap_or(("0", "0"));
            let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap_or(0);
            let shown = if name.starts_with("udp") { "" } else { state };
            let owner = if flags.contains('p') {
                programs
                    .iter()
                    .find(|(i, _)| i == inode)
                    .map_or(" -".to_owned(), |(_, o)| format!(" {o}"))
            } else {
                String::new()
            };
            let name = if local.contains("::") || name.ends_with('6') {
                name
            } else {
                name.trim_end_matches('6')
            };
            text.push_str(&format!(
                "{name:<5} {:>6} {:>6} {local:<23} {remote:<23} {shown:<11}{owner}\n",
                number(received),
                number(sent)
            ));
        }
    }
    out(text);
    0
}

/// `0100007F:1F90` as `127.0.0.1:8080`.
fn address(hex: &str) -> Option<String> {
    let (ip, port) = hex.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u32> = ip
        .as_bytes()
        .chunks(8)
        .map_while(|c| u32::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok())
        .collect();
    let ip = match words.as_slice() {
        [v4] => IpAddr::V4(Ipv4Addr::from(v4.swap_bytes())),
        [a, b, c, d] => {
            let bytes: Vec<u8> = [a, b, c, d].iter().flat_map(|w| w.to_le_bytes()).collect();
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => return None,
    };
    let port = if port == 0 { "*".to_owned() } else { port.to_string() };
    Some(format!("{ip}:{port}"))
}

/// Which process holds which socket: (inode, "pid/name").
fn owners() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for process in super::process::all() {
        for fd in std::fs::read_dir(format!("/proc/{}/fd", process.pid))
            .into_iter()
            .flatten()
            .flatten()
        {
            let Ok(target) = std::fs::read_link(fd.path()) else {
                continue;
            };
            if let Some(inode) = target.to_string_lossy().strip_prefix("socket:[") {
                let name = process
                    .command
                    .split(' ')
                    .next()
                    .and_then(|c| c.rsplit('/').next())
                    .unwrap_or(&process.name);
                all.push((
                    inode.trim_end_matches(']').to_owned(),
                    format!("{}/{name}", process.pid),
                ));
            }
        }
    }
    all
}
