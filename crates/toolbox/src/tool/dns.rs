//! `nslookup`, `dig` and `host`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::net::dns::{Data, Message, Record, type_name, type_number};
use crate::net::resolve::{self, Config};
use crate::say::{fail, out};

/// An answer as dig prints it, from the header on.
pub(crate) fn show(message: &Message) -> String {
    let mut flags = String::new();
    for (bit, name) in [
        (0x8000, "qr"),
        (0x0400, "aa"),
        (0x0200, "tc"),
        (0x0100, "rd"),
        (0x0080, "ra"),
    ] {
        if message.flags & bit != 0 {
            flags.push(' ');
            flags.push_str(name);
        }
    }
    let mut text = format!(
        ";; ->>HEADER<<- opcode: QUERY, status: {}, id: {}\n;; flags:{flags}; QUERY: {}, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}\n",
        message.status(),
        message.id,
        u8::from(message.question.is_some()),
        message.answers.len(),
        message.authority.len(),
        message.additional.len()
    );
    if let Some((name, kind)) = &message.question {
        text.push_str(&format!(
            "\n;; QUESTION SECTION:\n;{name}.\t\t\tIN\t{}\n",
            type_name(*kind)
        ));
    }
    for (title, records) in [
        ("ANSWER", &message.answers),
        ("AUTHORITY", &message.authority),
        ("ADDITIONAL", &message.additional),
    ] {
        let shown: Vec<&Record> = records.iter().filter(|r| r.kind != 41).collect();
        if !shown.is_empty() {
            text.push_str(&format!("\n;; {title} SECTION:\n"));
            for r in shown {
                text.push_str(&format!(
                    "{}.\t{}\tIN\t{}\t{}\n",
                    r.name,
                    r.ttl,
                    type_name(r.kind),
                    r.data
                ));
            }
        }
    }
    text
}

/// `1.2.3.4` as the name that PTR questions ask for.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles: Vec<String> = v6
                .octets()
                .iter()
                .rev()
                .map(|b| format!("{:x}.{:x}", b & 15, b >> 4))
                .collect();
            format!("{}.ip6.arpa", nibbles.join("."))
        }
    }
}

fn server_address(text: &str, port: u16) -> Option<SocketAddr> {
    resolve::host(text).ok()?.first().map(|ip| SocketAddr::new(*ip, port))
}

/// `dig [@SERVER] [-x ADDRESS] [-p PORT] NAME [TYPE] [+short] [+search] [+noall] [+answer]`
pub(crate) fn dig(args: &[String]) -> i32 {
    let config = Config::load();
    let (mut name, mut kind, mut server, mut port) = (None, None, None, 53);
    let (mut short, mut search, mut only_answer) = (false, false, false);
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "+short" => short = true,
            "+search" => search = true,
            "+noall" => only_answer = true,
            "-x" => match rest.next().and_then(|a| a.parse().ok()) {
                Some(address) => (name, kind) = (Some(reverse(address)), Some(12)),
                None => return fail("dig", "Invalid IP address"),
            },
            "-t" => kind = rest.next().and_then(|t| type_number(t)),
            "-p" => port = rest.next().and_then(|p| p.parse().ok()).unwrap_or(53),
            "-4" | "-6" | "IN" | "in" => {}
            flag if flag.starts_with('+') => {}
            at if at.starts_with('@') => match server_address(&at[1..], port) {
                Some(address) => server = Some(address),
                None => {
                    fail("dig", format!("couldn't get address for '{}': not found", &at[1..]));
                    return 10;
                }
            },
            text => match type_number(text) {
                Some(number) if name.is_some() || kind.is_none() && text.chars().all(|c| c.is_ascii_uppercase()) => {
                    kind = Some(number)
                }
                _ => name = Some(text.to_owned()),
            },
        }
    }
    let name = name.unwrap_or_else(|| ".".to_owned());
    let kind = kind.unwrap_or(1);
    let server = server.unwrap_or_else(|| SocketAddr::new(config.servers[0].ip(), port));
    let names = if search {
        config.candidates(&name)
    } else {
        vec![name.clone()]
    };
    let start = Instant::now();
    let mut result = Err("no name".to_owned());
    for candidate in names {
        result = resolve::ask(server, &candidate, kind, Duration::from_secs(5));
        if result.as_ref().is_ok_and(|m| !m.answers.is_empty()) {
            break;
        }
    }
    let message = match result {
        Ok(message) => message,
        Err(error) => {
            out(format!(";; {error}\n"));
            return 9;
        }
    };
    if short {
        out(message
            .answers
            .iter()
            .map(|r| format!("{}\n", r.data))
            .collect::<String>());
    } else if only_answer {
        let line = |r: &Record| format!("{}.\t{}\tIN\t{}\t{}\n", r.name, r.ttl, type_name(r.kind), r.data);
        out(message.answers.iter().map(line).collect::<String>());
    } else {
        out(format!(
            "\n; <<>> DiG (knarr) <<>> {}\n;; global options: +cmd\n;; Got answer:\n{}\n;; Query time: {} msec\n;; SERVER: {}#{}({})\n;; WHEN: {}\n\n",
            args[1..].join(" "),
            show(&message),
            start.elapsed().as_millis(),
            server.ip(),
            server.port(),
            server.ip(),
            jiff::Zoned::now().strftime("%a %b %d %H:%M:%S %Z %Y"),
        ));
    }
    0
}

/// `host NAME [SERVER]`
pub(crate) fn host(args: &[String]) -> i32 {
    let Some(name) = args.get(1) else {
        return fail("host", "usage: host NAME");
    };
    if let Ok(address) = name.parse() {
        let query = reverse(address);
        return match resolve::query(&query, 12) {
            Ok(message) if !message.answers.is_empty() => {
                out(message
                    .answers
                    .iter()
                    .map(|r| format!("{query} domain name pointer {}\n", r.data))
                    .collect::<String>());
                0
            }
            _ => {
                out(format!("Host {query}. not found: 3(NXDOMAIN)\n"));
                1
            }
        };
    }
    match resolve::query(name, 1) {
        Ok(message) if !message.answers.is_empty() => {
            let line = |r: &Record| match &r.data {
                Data::Address(address) => format!("{} has address {address}\n", r.name),
                other => format!("{} is an alias for {other}\n", r.name),
            };
            out(message.answers.iter().map(line).collect::<String>());
            0
        }
        Ok(message) => {
            out(format!(
                "Host {name} not found: {}({})\n",
                message.code(),
                message.status()
            ));
            1
        }
        Err(error) => {
            out(format!(";; {error}\n"));
            1
        }
    }
}

/// `nslookup [-type=TYPE] NAME [SERVER]`
pub(crate) fn nslookup(args: &[String]) -> i32 {
    let config = Config::load();
    let (mut kinds, mut words) = (Vec::new(), Vec::new());
    for arg in &args[1..] {
        match arg.strip_prefix('-') {
            Some(option) => {
                let kind = option.split_once('=').map_or("", |(_, t)| t);
                if let Some(number) = type_number(kind) {
                    kinds.push(number);
                }
            }
            None => words.push(arg),
        }
    }
    let Some(name) = words.first() else {
        let _ = fail("nslookup", "usage: nslookup [-type=TYPE] HOST [DNS_SERVER]");
        return 1;
    };
    let server = match words.get(1) {
        None => config.servers[0],
        Some(text) => match server_address(text, 53) {
            Some(address) => address,
            None => return fail("nslookup", format!("can't resolve '{text}'")),
        },
    };
    out(format!(
        "Server:\t\t{}\nAddress:\t{}:{}\n\n",
        server.ip(),
        server.ip(),
        server.port()
    ));
    if let Ok(address) = name.parse::<IpAddr>() {
        let query = reverse(address);
        return match resolve::ask(server, &query, 12, Duration::from_secs(5)) {
            Ok(message) if !message.answers.is_empty() => {
                out(message
                    .answers
                    .iter()
                    .map(|r| format!("{query}\tname = {}\n", r.data.to_string().trim_end_matches('.')))
                    .collect::<String>());
                0
            }
            Ok(message) => {
                out(format!("** server can't find {query}: {}\n\n", message.status()));
                1
            }
            Err(error) => fail("nslookup", error),
        };
    }
    if kinds.is_empty() {
        kinds = vec![1, 28];
    }
    let mut failed = None;
    for candidate in config.candidates(name) {
        let mut found = false;
        let mut exists = false;
        let mut text = String::new();
        for kind in &kinds {
            match resolve::ask(server, &candidate, *kind, Duration::from_secs(5)) {
                Ok(message) => {
                    exists |= message.code() == 0;
                    if message.code() != 0 {
                        failed = Some(format!("** server can't find {candidate}: {}\n\n", message.status()));
                    }
                    for r in &message.answers {
                        found = true;
                        text.push_str(&answer_line(r));
                    }
                }
                Err(error) => {
                    out(format!(";; {error}\n\n"));
                    return 1;
                }
            }
        }
        if found {
            out(format!("{text}\n"));
            return 0;
        }
        if exists {
            out(format!("*** Can't find {candidate}: No answer\n\n"));
            return 1;
        }
    }
    out(failed.unwrap_or_else(|| format!("** server can't find {name}: NXDOMAIN\n\n")));
    1
}

fn answer_line(r: &Record) -> String {
    match &r.data {
        Data::Address(address) => format!("Name:\t{}\nAddress: {address}\n", r.name),
        Data::Service { .. } => format!("{}\tservice = {}\n", r.name, r.data.to_string().trim_end_matches('.')),
        Data::Name(target) if r.kind == 5 => format!("{}\tcanonical name = {target}\n", r.name),
        other => format!("{}\t{} = {other}\n", r.name, type_name(r.kind).to_lowercase()),
    }
}
