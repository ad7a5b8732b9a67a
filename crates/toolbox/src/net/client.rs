//! A small HTTP/1.1 client for wget, curl and the servers that call each other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::resolve::{self, Failed};
use super::tls::{self, TlsError, TlsStream, Trust};
use super::url::Url;

/// Longest header section read from a server.
const MAX_HEAD: usize = 256 * 1024;

/// What to send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub method: String,
    /// In order; a Host header here replaces the usual one.
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub connect_timeout: Option<Duration>,
    /// Everything has to be done by then.
    pub deadline: Option<Instant>,
    pub trust: Trust,
    /// Connect there instead of where the address says.
    pub instead: Option<String>,
}

/// The head of an answer, and its body still to be read.
pub(crate) struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    /// The request's head as sent.
    pub sent: String,
    pub peer: SocketAddr,
    body: Body,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum ClientError {
    Connect(Failed),
    Timeout,
    /// The server closed the connection without an answer.
    Empty,
    /// No trust in the server's certificate.
    Untrusted(String),
    /// A file with certificates cannot be used.
    Certificates(String),
    /// What came is no HTTP.
    Malformed(String),
    Io(std::io::Error),
}

impl From<std::io::Error> for ClientError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(Failed::Name) => f.write_str("name not resolved"),
            Self::Connect(Failed::Connect(address, error)) => {
                write!(f, "connect {address}: {}", crate::say::reason(error))
            }
            Self::Timeout => f.write_str("timed out"),
            Self::Empty => f.write_str("empty reply from server"),
            Self::Untrusted(text) | Self::Certificates(text) | Self::Malformed(text) => f.write_str(text),
            Self::Io(error) => f.write_str(&crate::say::reason(error)),
        }
    }
}

enum Framing {
    Length(u64),
    Chunked { left: u64, first: bool },
    UntilClose,
    Done,
}

struct Body {
    reader: BufReader<Deadline>,
    framing: Framing,
}

/// A connection whose every read knows how much time is left for the whole.
struct Deadline {
    stream: Stream,
    until: Option<Instant>,
}

impl Read for Deadline {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            self.stream.socket().set_read_timeout(Some(left))?;
        }
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => match stream.read(buffer) {
                // Many servers close without the goodbye that TLS asks for; what is missing shows by the framing.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

impl Response {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The next bytes of the body; 0 at its end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ClientError> {
        self.body.read(buffer)
    }

    /// The whole body, up to `most` bytes.
    pub(crate) fn text(mut self, most: usize) -> Result<String, ClientError> {
        let mut all = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let n = self.read(&mut buffer)?;
            if n == 0 || all.len() > most {
                return Ok(String::from_utf8_lossy(&all).into_owned());
            }
            all.extend_from_slice(&buffer[..n]);
        }
    }
}

impl Body {
    fn line(&mut self) -> Result<String, ClientError> {
        let mut line = Vec::new();
        (&mut self.reader).take(64 * 1024).read_until(b'\n', &mut line)?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ClientError> {
        if let Framing::Chunked { left: 0, first } = self.framing {
            if !first {
                self.line()?;
            }
            let line = self.line()?;
            let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
                .map_err(|_| ClientError::Malformed("bad chunk".to_owned()))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                self.framing = Framing::Done;
            } else {
                self.framing = Framing::Chunked {
                    left: size,
                    first: false,
                };
            }
        }
        let most = match self.framing {
            Framing::Done | Framing::Length(0) => return Ok(0),
            Framing::Length(left) | Framing::Chunked { left, .. } => {
                usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len())
            }
            Framing::UntilClose => buffer.len(),
        };
        let n = self.reader.read(&mut buffer[..most])?;
        match &mut self.framing {
            Framing::Length(left) | Framing::Chunked { left, .. } => {
                if n == 0 {
                    return Err(ClientError::Malformed(
                        "transfer closed with outstanding read data remaining".to_owned(),
                    ));
                }
                *left -= n as u64;
            }
            _ => {}
        }
        Ok(n)
    }
}

/// Sends a request and reads the answer's head.
pub(crate) fn send(url: &Url, request: &Request) -> Result<Response, ClientError> {
    let left = request.deadline.map(|d| d.saturating_duration_since(Instant::now()));
    let wait = match (request.connect_timeout, left) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if wait.is_some_and(|w| w.is_zero()) {
        return Err(ClientError::Timeout);
    }
    let target = request.instead.as_deref().unwrap_or(&url.host);
    let stream = resolve::connect(target, url.port, wait).map_err(|failed| match failed {
        Failed::Connect(_, error) if matches!(error.kind(), std::io::ErrorKind::TimedOut) => ClientError::Timeout,
        failed => ClientError::Connect(failed),
    })?;
    let peer = stream.peer_addr()?;
    let mut stream = if url.secure {
        stream.set_read_timeout(wait)?;
        let tls = tls::connect(stream, &url.host, &request.trust).map_err(|error| match error {
            TlsError::Untrusted(text) => ClientError::Untrusted(text),
            TlsError::File(text) => ClientError::Certificates(text),
            TlsError::Io(error) => ClientError::from(error),
        })?;
        tls.sock.set_read_timeout(None)?;
        Stream::Tls(Box::new(tls))
    } else {
        Stream::Plain(stream)
    };
    let given = |name: &str| request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, url.path);
    if !given("host") {
        head.push_str(&format!("Host: {}\r\n", url.authority()));
    }
    for (name, value) in request.headers.iter().filter(|(_, value)| !value.is_empty()) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = &request.body
        && !given("content-length")
    {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if let Some(body) = &request.body {
        stream.write_all(body)?;
    }
    let reader = BufReader::new(Deadline {
        stream,
        until: request.deadline,
    });
    let mut body = Body {
        reader,
        framing: Framing::UntilClose,
    };
    loop {
        let response = read_head(&mut body)?;
        let (version, status, reason, headers) = response;
        // 100 Continue and its kin come before the answer.
        if (100..200).contains(&status) {
            continue;
        }
        let find = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, v)| v.as_str())
        };
        body.framing = if request.method == "HEAD" || status == 204 || status == 304 {
            Framing::Done
        } else if find("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked")) {
            Framing::Chunked { left: 0, first: true }
        } else if let Some(length) = find("content-length").and_then(|v| v.trim().parse().ok()) {
            Framing::Length(length)
        } else {
            Framing::UntilClose
        };
        return Ok(Response {
            version,
            status,
            reason,
            headers,
            sent: head,
            peer,
            body,
        });
    }
}

type Head = (String, u16, String, Vec<(String, String)>);

fn read_head(body: &mut Body) -> Result<Head, ClientError> {
    let first = body.line()?;
    if first.is_empty() {
        return Err(ClientError::Empty);
    }
    let mut words = first.splitn(3, ' ');
    let version = words.next().unwrap_or("").to_owned();
    let status = words.next().and_then(|s| s.parse().ok());
    let (true, Some(status)) = (version.starts_with("HTTP/"), status) else {
        return Err(ClientError::Malformed("Received HTTP/0.9 when not allowed".to_owned()));
    };
    let reason = words.next().unwrap_or("").to_owned();
    let mut headers = Vec::new();
    let mut total = 0;
    loop {
        let line = body.line()?;
        if line.is_empty() {
            return Ok((version, status, reason, headers));
        }
        total += line.len();
        if total > MAX_HEAD {
            return Err(ClientError::Malformed("headers too large".to_owned()));
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}
