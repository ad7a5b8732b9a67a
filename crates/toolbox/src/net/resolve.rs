//! Looks names up as the C library would: /etc/hosts, then the servers and search list of /etc/resolv.conf.
//!
//! Done here rather than by the C library, because that loads further libraries at run time which a bare image does not have.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::dns::{self, Data, Message};

/// /etc/resolv.conf.
#[derive(Debug)]
pub(crate) struct Config {
    pub servers: Vec<SocketAddr>,
    pub search: Vec<String>,
    pub ndots: usize,
}

impl Config {
    pub(crate) fn load() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut config = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
        };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or("").split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    if let Some(address) = words
                        .next()
                        .and_then(|a| a.split('%').next())
                        .and_then(|a| a.parse::<IpAddr>().ok())
                    {
                        config.servers.push(SocketAddr::new(address, 53));
                    }
                }
                Some("search" | "domain") => {
                    config.search = words.map(|w| w.trim_end_matches('.').to_owned()).collect()
                }
                Some("options") => {
                    for option in words {
                        if let Some(n) = option.strip_prefix("ndots:").and_then(|n| n.parse().ok()) {
                            config.ndots = n;
                        }
                    }
                }
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config
                .servers
                .push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53));
        }
        config
    }

    /// The names to try, in order.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut all: Vec<String> = self.search.iter().map(|s| format!("{name}.{s}")).collect();
        let dots = name.matches('.').count();
        all.insert(if dots >= self.ndots { 0 } else { all.len() }, name.to_owned());
        all
    }
}

/// Asks one server; repeats over TCP when the answer did not fit.
pub(crate) fn ask(server: SocketAddr, name: &str, kind: u16, wait: Duration) -> Result<Message, String> {
    let id = (super::super::random::next() & 0xffff) as u16;
    let packet = dns::question(id, name, kind)?;
    let local: SocketAddr = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
        .parse()
        .map_err(|_| "bad address".to_owned())?;
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            "connection timed out; no servers could be reached".to_owned()
        }
        _ => crate::say::reason(&error),
    };
    let socket = UdpSocket::bind(local).map_err(failed)?;
    socket.connect(server).map_err(failed)?;
    socket.set_read_timeout(Some(wait)).map_err(failed)?;
    let mut buffer = vec![0; 65_535];
    for attempt in 0..2 {
        socket.send(&packet).map_err(failed)?;
        loop {
            match socket.recv(&mut buffer) {
                Ok(n) => match dns::parse(&buffer[..n]).filter(|m| m.id == id) {
                    Some(message) if message.truncated() => return ask_tcp(server, &packet, wait).map_err(failed),
                    Some(message) => return Ok(message),
                    None => {}
                },
                Err(error)
                    if attempt == 0
                        && matches!(
                            error.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                        ) =>
                {
                    break;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Err("connection timed out; no servers could be reached".to_owned())
}

fn ask_tcp(server: SocketAddr, packet: &[u8], wait: Duration) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, wait)?;
    stream.set_read_timeout(Some(wait))?;
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes()[..], packet].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    dns::parse(&bytes).ok_or_else(|| std::io::Error::other("bad answer"))
}

/// Goes through the search list; the first answer with records of the wanted type wins, else the last answer there was.
pub(crate) fn query(name: &str, kind: u16) -> Result<Message, String> {
    let config = Config::load();
    let mut last = Err(format!("bad address '{name}'"));
    for candidate in config.candidates(name) {
        for server in &config.servers {
            match ask(*server, &candidate, kind, Duration::from_secs(5)) {
                Ok(message) => {
                    if !message.answers.is_empty() {
                        return Ok(message);
                    }
                    last = Ok(message);
                    break;
                }
                Err(error) => last = Err(error),
            }
        }
    }
    last
}

fn hosts(name: &str) -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        let Some(address) = words.next().and_then(|a| a.parse().ok()) else {
            continue;
        };
        if words.any(|w| w.eq_ignore_ascii_case(name)) {
            found.push(address);
        }
    }
    found
}

/// The addresses of a host, IPv4 first.
pub(crate) fn host(name: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let mut found = hosts(name);
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    if found.is_empty() {
        for kind in [1, 28] {
            let answers = query(name, kind)?.answers;
            found.extend(answers.into_iter().filter_map(|r| match r.data {
                Data::Address(address) => Some(address),
                _ => None,
            }));
            if !found.is_empty() {
                break;
            }
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    if found.is_empty() {
        Err(format!("bad address '{name}'"))
    } else {
        Ok(found)
    }
}

/// Connects to a host by name; the last error speaks for all addresses.
pub(crate) fn connect(name: &str, port: u16, wait: Option<Duration>) -> Result<TcpStream, Failed> {
    let addresses = host(name).map_err(|_| Failed::Name)?;
    let mut last = None;
    for address in addresses {
        let address = SocketAddr::new(address, port);
        let result = match wait {
            Some(wait) => TcpStream::connect_timeout(&address, wait),
            None => TcpStream::connect(address),
        };
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some((address, error)),
        }
    }
    last.map_or(Err(Failed::Name), |(address, error)| {
        Err(Failed::Connect(address, error))
    })
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The name has no address.
    Name,
    /// Nobody answers there.
    Connect(SocketAddr, std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_comes_first_for_short_names() {
        let config = Config::parse(
            "nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local\noptions ndots:5\n",
        );
        assert_eq!(config.servers, ["10.96.0.10:53".parse().expect("address")]);
        assert_eq!(
            config.candidates("kubia"),
            ["kubia.default.svc.cluster.local", "kubia.svc.cluster.local", "kubia"]
        );
        assert_eq!(config.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(config.candidates("kubia."), ["kubia"]);
    }
}
