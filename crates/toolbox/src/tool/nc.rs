//! `nc`: TCP to and from standard input and output.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::net::resolve::{self, Failed};
use crate::net::serve::listen_all;
use crate::say::{fail, reason};

/// `nc [-lvzn] [-w SECONDS] [-p PORT] [-e PROGRAM] [HOST] [PORT]`
pub(crate) fn main(args: &[String]) -> i32 {
    let (mut listen, mut verbose, mut scan, mut wait, mut port, mut program, mut keep) =
        (false, false, false, None, None, None, false);
    let mut words = Vec::new();
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match arg.strip_prefix('-').filter(|l| !l.is_empty()) {
            None => words.push(arg.clone()),
            Some(letters) => {
                for letter in letters.chars() {
                    match letter {
                        'l' => listen = true,
                        'k' => keep = true,
                        'v' => verbose = true,
                        'z' => scan = true,
                        'n' | 't' | '4' | '6' | 'N' => {}
                        'w' => wait = rest.next().and_then(|w| w.parse().ok()).map(Duration::from_secs),
                        'p' => port = rest.next().and_then(|p| p.parse::<u16>().ok()),
                        'e' => {
                            program = Some(rest.by_ref().cloned().collect::<Vec<_>>());
                        }
                        other => return fail("nc", format!("invalid option -- '{other}'")),
                    }
                }
            }
        }
    }
    if listen {
        let port = port.or_else(|| words.last().and_then(|p| p.parse().ok())).unwrap_or(0);
        let listener = match listen_all(port) {
            Ok(listener) => listener,
            Err(error) => return fail("nc", format!("bind: {}", reason(&error))),
        };
        if verbose {
            let _ = writeln!(
                std::io::stderr(),
                "listening on [::]:{} ...",
                listener.local_addr().map_or(port, |a| a.port())
            );
        }
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    if verbose {
                        let _ = writeln!(std::io::stderr(), "connect from {peer}");
                    }
                    let status = talk(stream, program.as_deref());
                    if !keep {
                        return status;
                    }
                }
                Err(error) => return fail("nc", reason(&error)),
            }
        }
    }
    let [host, port] = words.as_slice() else {
        return fail("nc", "usage: nc [-lvz] [-w SEC] [-p PORT] [HOST] PORT");
    };
    let Ok(port) = port.parse::<u16>() else {
        return fail("nc", format!("bad port '{port}'"));
    };
    match resolve::connect(host, port, wait) {
        Ok(stream) => {
            if verbose {
                let _ = writeln!(
                    std::io::stderr(),
                    "{host} ({}) open",
                    stream.peer_addr().map_or_else(|_| port.to_string(), |a| a.to_string())
                );
            }
            if scan { 0 } else { talk(stream, program.as_deref()) }
        }
        Err(Failed::Name) => fail("nc", format!("bad address '{host}'")),
        Err(Failed::Connect(address, error)) => {
            if scan && !verbose {
                return 1;
            }
            fail("nc", format!("{host} ({address}): {}", reason(&error)))
        }
    }
}

/// `telnet HOST [PORT]`: what is typed goes there, what comes is shown. Nobody negotiates options with the servers one tries this on.
pub(crate) fn telnet(args: &[String]) -> i32 {
    let (host, port) = match &args[1..] {
        [host] => (host, "23"),
        [host, port] => (host, port.as_str()),
        _ => return fail("telnet", "usage: telnet HOST [PORT]"),
    };
    let Ok(port) = port.parse::<u16>() else {
        return fail("telnet", format!("bad port '{port}'"));
    };
    match resolve::connect(host, port, None) {
        Ok(stream) => {
            crate::say::out(format!("Connected to {host}\n"));
            let status = talk(stream, None);
            let _ = writeln!(std::io::stderr(), "Connection closed by foreign host");
            status
        }
        Err(Failed::Name) => fail("telnet", format!("bad address '{host}'")),
        Err(Failed::Connect(_, error)) => fail(
            "telnet",
            format!("can't connect to remote host ({host}): {}", reason(&error)),
        ),
    }
}

fn talk(stream: TcpStream, program: Option<&[String]>) -> i32 {
    if let Some([name, args @ ..]) = program {
        use std::os::fd::OwnedFd;
        let copies = (
            stream.try_clone().map(OwnedFd::from),
            stream.try_clone().map(OwnedFd::from),
        );
        let (Ok(input), Ok(output)) = copies else { return 1 };
        return match std::process::Command::new(name)
            .args(args)
            .stdin(input)
            .stdout(output)
            .status()
        {
            Ok(status) => status.code().unwrap_or(1),
            Err(error) => fail("nc", format!("{name}: {}", reason(&error))),
        };
    }
    let Ok(mut sending) = stream.try_clone() else { return 1 };
    let mut receiving = stream;
    // Input goes out on a thread of its own; the program ends when the other side does.
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        let mut stdin = std::io::stdin();
        while let Ok(n) = stdin.read(&mut buffer) {
            if n == 0 || sending.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        let _ = sending.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 8192];
    loop {
        match receiving.read(&mut buffer) {
            Ok(0) => return 0,
            Ok(n) => crate::say::out(&buffer[..n]),
            Err(error) => return fail("nc", reason(&error)),
        }
    }
}
