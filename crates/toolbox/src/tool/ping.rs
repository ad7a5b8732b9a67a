//! `ping`: ICMP echo over a raw socket, or over one for datagrams where the kernel lets everybody have those.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recvfrom, sendto, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::net::resolve;
use crate::say::{fail, out};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const HEADER: usize = 8;

struct Options {
    count: Option<u32>,
    interval: Duration,
    wait: Duration,
    deadline: Option<Duration>,
    size: usize,
    quiet: bool,
    host: String,
}

/// `ping [-c COUNT] [-i SECONDS] [-W SECONDS] [-w SECONDS] [-s SIZE] [-q] HOST`
pub(crate) fn main(args: &[String]) -> i32 {
    let options = match parse(&args[1..]) {
        Ok(options) => options,
        Err(message) => return fail("ping", message),
    };
    let address = match resolve::host(&options.host).into_iter().flatten().find(IpAddr::is_ipv4) {
        Some(IpAddr::V4(address)) => address,
        _ => return fail("ping", format!("bad address '{}'", options.host)),
    };
    let (socket, raw) = match open() {
        Ok(open) => open,
        Err(errno) => return fail("ping", format!("permission denied (are you root?): {}", errno.desc())),
    };
    ping(&options, address, &socket, raw)
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        count: None,
        interval: Duration::from_secs(1),
        wait: Duration::from_secs(10),
        deadline: None,
        size: 56,
        quiet: false,
        host: String::new(),
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(letter) = arg.strip_prefix('-').and_then(|letters| letters.chars().next()) else {
            options.host.clone_from(arg);
            continue;
        };
        if matches!(letter, 'q' | '4' | 'n' | 'A') {
            options.quiet |= letter == 'q';
            continue;
        }
        let inline = &arg[2..];
        let value = if inline.is_empty() {
            rest.next().map(String::as_str)
        } else {
            Some(inline)
        };
        let value = value.ok_or_else(|| format!("option requires an argument -- '{letter}'"))?;
        let number = || value.parse::<f64>().map_err(|_| format!("invalid number '{value}'"));
        let seconds = || number().map(|number| Duration::from_secs_f64(number.clamp(0.0, 86_400.0)));
        match letter {
            'c' => options.count = Some(number()? as u32),
            'i' => options.interval = seconds()?.max(Duration::from_millis(2)),
            'W' => options.wait = seconds()?,
            'w' => options.deadline = Some(seconds()?),
            's' => options.size = (number()? as usize).min(65_000),
            't' | 'I' | 'p' => {}
            other => return Err(format!("invalid option -- '{other}'")),
        }
    }
    if options.host.is_empty() {
        return Err("usage: ping [-c COUNT] [-i SEC] [-W SEC] [-w SEC] [-s SIZE] [-q] HOST".into());
    }
    Ok(options)
}

fn open() -> nix::Result<(OwnedFd, bool)> {
    let open = |kind| socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp);
    match open(SockType::Raw) {
        Ok(socket) => Ok((socket, true)),
        Err(refused) => open(SockType::Datagram)
            .map(|socket| (socket, false))
            .map_err(|_| refused),
    }
}

fn ping(options: &Options, address: std::net::Ipv4Addr, socket: &OwnedFd, raw: bool) -> i32 {
    let begin = Instant::now();
    let identity = (crate::random::next() & 0xffff) as u16;
    let target = SockaddrIn::from(std::net::SocketAddrV4::new(address, 0));
    out(format!(
        "PING {} ({address}): {} data bytes\n",
        options.host, options.size
    ));
    let (mut sent, mut times): (u32, Vec<f64>) = (0, Vec::new());
    let over = || options.deadline.is_some_and(|deadline| begin.elapsed() >= deadline);
    while options.count.is_none_or(|count| sent < count) && !over() {
        let sequence = (sent & 0xffff) as u16;
        let packet = request(identity, sequence, options.size);
        let at = Instant::now();
        if let Err(errno) = sendto(socket.as_raw_fd(), &packet, &target, MsgFlags::empty()) {
            return fail("ping", format!("sendto: {}", errno.desc()));
        }
        sent += 1;
        let last = options.count == Some(sent);
        let patience = if last { options.wait } else { options.interval };
        if let Some((bytes, ttl)) = reply(socket, raw, (identity, sequence), at + patience) {
            let millis = at.elapsed().as_secs_f64() * 1000.0;
            times.push(millis);
            if !options.quiet {
                let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
                out(format!(
                    "{bytes} bytes from {address}: seq={sequence}{ttl} time={millis:.3} ms\n"
                ));
            }
        }
        if !last {
            #[expect(
                clippy::disallowed_methods,
                reason = "ping is a program of its own, without an async runtime"
            )]
            std::thread::sleep((at + options.interval).saturating_duration_since(Instant::now()));
        }
    }
    let lost = 100 * (sent as usize - times.len()) / (sent as usize).max(1);
    out(format!(
        "\n--- {} ping statistics ---\n{sent} packets transmitted, {} packets received, {lost}% packet loss\n",
        options.host,
        times.len()
    ));
    if times.is_empty() {
        return 1;
    }
    let (least, most) = times
        .iter()
        .fold((f64::MAX, 0.0_f64), |(a, b), time| (a.min(*time), b.max(*time)));
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    out(format!("round-trip min/avg/max = {least:.3}/{mean:.3}/{most:.3} ms\n"));
    0
}

fn request(identity: u16, sequence: u16, size: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADER + size];
    packet[0] = ECHO_REQUEST;
    packet[4..6].copy_from_slice(&identity.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Size and time to live of the answer, if it comes in time. Through a raw socket come the answers to others too.
fn reply(socket: &OwnedFd, raw: bool, wanted: (u16, u16), until: Instant) -> Option<(usize, Option<u8>)> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = until.checked_duration_since(Instant::now())?;
        let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
        setsockopt(socket, ReceiveTimeout, &TimeVal::microseconds(micros)).ok()?;
        let length = match recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut buffer) {
            Ok((length, _)) => length,
            Err(nix::Error::EINTR) => continue,
            Err(_) => return None,
        };
        let packet = buffer.get(..length)?;
        let (ttl, body) = if raw {
            let header = usize::from(packet.first()? & 0xf) * 4;
            (packet.get(8).copied(), packet.get(header..)?)
        } else {
            (None, packet)
        };
        let [kind, _, _, _, id_high, id_low, high, low, ..] = body else {
            continue;
        };
        let identity = u16::from_be_bytes([*id_high, *id_low]);
        let sequence = u16::from_be_bytes([*high, *low]);
        // The kernel chooses the identity for a datagram socket.
        if *kind == ECHO_REPLY && sequence == wanted.1 && (!raw || identity == wanted.0) {
            return Some((body.len(), ttl));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_a_checksum_that_adds_up() {
        let packet = request(7, 1, 56);
        assert_eq!((packet.len(), packet[0]), (64, ECHO_REQUEST));
        assert_eq!(checksum(&packet), 0);
        assert_eq!(checksum(&[0, 1, 0xf2]), !0xf201_u16);
    }
}
