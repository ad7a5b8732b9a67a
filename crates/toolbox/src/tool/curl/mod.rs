//! `curl`, with its everyday options, exit codes and messages.

mod option;

use std::io::Write;
use std::time::{Duration, Instant};

use crate::net::client::{self, ClientError, Request, Response};
use crate::net::resolve::Failed;
use crate::net::tls::Trust;
use crate::net::url::Url;
use crate::say::reason;

#[derive(Default)]
struct Options {
    silent: bool,
    show_error: bool,
    verbose: bool,
    include: bool,
    head: bool,
    location: bool,
    fail: bool,
    get: bool,
    remote_name: bool,
    output: Option<String>,
    method: Option<String>,
    headers: Vec<(String, String)>,
    data: Option<Vec<u8>>,
    json: bool,
    user: Option<String>,
    max_time: Option<Duration>,
    connect_timeout: Option<Duration>,
    retry: u32,
    write_out: Option<String>,
    resolve: Vec<(String, u16, String)>,
    insecure: bool,
    authorities: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let mut options = Options::default();
    let mut addresses = Vec::new();
    if let Err((code, message)) = option::parse(&args[1..], &mut options, &mut addresses) {
        complain(&options, true, code, &message);
        return code;
    }
    if addresses.is_empty() {
        let _ = writeln!(std::io::stderr(), "curl: try 'curl --help' for more information");
        return 2;
    }
    let mut status = 0;
    for address in &addresses {
        let mut tries = options.retry + 1;
        loop {
            tries -= 1;
            match transfer(address, &options) {
                Ok(()) => break,
                Err((code, message)) => {
                    status = code;
                    if tries == 0 || !matches!(code, 7 | 28 | 52) {
                        complain(&options, false, code, &message);
                        break;
                    }
                    // A program with one thread that has nothing else to do.
                    #[allow(clippy::disallowed_methods, reason = "a program with one thread")]
                    std::thread::sleep(Duration::from_secs(1));
                    status = 0;
                }
            }
        }
    }
    status
}

fn complain(options: &Options, usage: bool, code: i32, message: &str) {
    if usage || !options.silent || options.show_error {
        let _ = writeln!(
            std::io::stderr(),
            "curl: {}{message}",
            if usage { String::new() } else { format!("({code}) ") }
        );
    }
}

type Failure = (i32, String);

fn transfer(address: &str, options: &Options) -> Result<(), Failure> {
    let start = Instant::now();
    let mut url = Url::parse(address).map_err(|message| {
        if message.starts_with("Protocol") {
            (1, message)
        } else {
            (3, format!("URL rejected: {message}"))
        }
    })?;
    let mut data = options.data.clone();
    if options.get
        && let Some(query) = data.take()
    {
        let joint = if url.path.contains('?') { '&' } else { '?' };
        url.path.push(joint);
        url.path.push_str(&String::from_utf8_lossy(&query));
    }
    let mut method = options.method.clone();
    let mut redirects = 0;
    loop {
        let mut response = exchange(&url, options, &data, method.as_deref(), start)?;
        let location = response.header("location").map(str::to_owned);
        let moved = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        if moved
            && options.location
            && let Some(location) = location
        {
            redirects += 1;
            if redirects > 50 {
                return Err((47, "Maximum (50) redirects followed".to_owned()));
            }
            if options.include || options.head {
                crate::say::out(head_text(&response));
            }
            if !matches!(response.status, 307 | 308) {
                data = None;
                method = method.filter(|m| m == "HEAD");
            }
            url = url.join(&location).map_err(|message| (3, message))?;
            continue;
        }
        if options.fail && response.status >= 400 {
            return Err((22, format!("The requested URL returned error: {}", response.status)));
        }
        let (size, result) = save(&url, options, &mut response);
        if let Some(format) = &options.write_out {
            write_out(format, &response, size, start.elapsed(), &url, redirects);
        }
        return result;
    }
}

fn exchange(
    url: &Url,
    options: &Options,
    data: &Option<Vec<u8>>,
    method: Option<&str>,
    start: Instant,
) -> Result<Response, Failure> {
    let method = method.map(str::to_owned).unwrap_or_else(|| {
        if options.head {
            "HEAD"
        } else if data.is_some() {
            "POST"
        } else {
            "GET"
        }
        .to_owned()
    });
    let mut headers = vec![("Host".to_owned(), url.authority())];
    if let Some(user) = options.user.as_ref().or(url.user.as_ref()) {
        headers.push(("Authorization".to_owned(), format!("Basic {}", base64(user.as_bytes()))));
    }
    headers.push(("User-Agent".to_owned(), "curl/8.10.1".to_owned()));
    headers.push((
        "Accept".to_owned(),
        if options.json { "application/json" } else { "*/*" }.to_owned(),
    ));
    if data.is_some() {
        let kind = if options.json {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        headers.push(("Content-Type".to_owned(), kind.to_owned()));
    }
    for (name, value) in &options.headers {
        headers.retain(|(n, _)| {
            !n.eq_ignore_ascii_case(name) || options.headers.iter().any(|(o, v)| o == n && v != value && o == name)
        });
        headers.push((name.clone(), value.clone()));
    }
    let deadline = options.max_time.map(|t| start + t);
    let request = Request {
        method,
        headers,
        body: data.clone(),
        connect_timeout: options.connect_timeout,
        deadline,
        trust: Trust {
            authorities: options
                .authorities
                .clone()
                .or_else(|| std::env::var("CURL_CA_BUNDLE").ok()),
            insecure: options.insecure,
            identity: options
                .certificate
                .clone()
                .map(|c| (c.clone(), options.key.clone().unwrap_or(c))),
        },
        instead: options
            .resolve
            .iter()
            .find(|(host, port, _)| *host == url.host && *port == url.port)
            .map(|(_, _, address)| address.clone()),
    };
    let response = client::send(url, &request).map_err(|error| match error {
        ClientError::Connect(Failed::Name) => (6, format!("Could not resolve host: {}", url.host)),
        ClientError::Connect(Failed::Connect(..)) => (
            7,
            format!(
                "Failed to connect to {} port {} after {} ms: Could not connect to server",
                url.host,
                url.port,
                start.elapsed().as_millis()
            ),
        ),
        ClientError::Timeout => (
            28,
            format!(
                "Operation timed out after {} milliseconds with 0 bytes received",
                start.elapsed().as_millis()
            ),
        ),
        ClientError::Empty => (52, "Empty reply from server".to_owned()),
        ClientError::Malformed(text) => (1, text),
        ClientError::Untrusted(text) => (60, format!("SSL certificate problem: {text}")),
        ClientError::Certificates(text) => (77, format!("error setting certificate file: {text}")),
        ClientError::Io(error) => (56, format!("Recv failure: {}", reason(&error))),
    })?;
    if options.verbose {
        let mut text = format!(
            "*   Trying {}...\n* Connected to {} ({}) port {}\n",
            response.peer,
            url.host,
            response.peer.ip(),
            url.port
        );
        for line in response.sent.split("\r\n").filter(|l| !l.is_empty()) {
            text.push_str(&format!("> {line}\n"));
        }
        text.push_str("> \n");
        for line in head_text(&response).split("\r\n").filter(|l| !l.is_empty()) {
            text.push_str(&format!("< {line}\n"));
        }
        text.push_str("< \n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    Ok(response)
}

fn head_text(response: &Response) -> String {
    let mut text = format!("{} {} {}\r\n", response.version, response.status, response.reason);
    for (name, value) in &response.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n"
}

fn save(url: &Url, options: &Options, response: &mut Response) -> (u64, Result<(), Failure>) {
    let name = match (&options.output, options.remote_name) {
        (Some(name), _) => Some(name.clone()),
        (None, true) => match url
            .path
            .split('?')
            .next()
            .and_then(|p| p.rsplit('/').next())
            .filter(|n| !n.is_empty() && *n != "..")
        {
            Some(name) => Some(name.to_owned()),
            None => return (0, Err((23, "Remote file name has no length".to_owned()))),
        },
        (None, false) => None,
    };
    let mut target: Box<dyn Write> = match name.as_deref() {
        None | Some("-") => Box::new(std::io::stdout()),
        Some(path) => match std::fs::File::create(path) {
            Ok(file) => Box::new(file),
            Err(error) => {
                return (
                    0,
                    Err((
                        23,
                        format!("Failure writing output to destination: {path}: {}", reason(&error)),
                    )),
                );
            }
        },
    };
    let written = |error: std::io::Error| (23, format!("Failure writing output to destination: {}", reason(&error)));
    if (options.include || options.head)
        && let Err(error) = target.write_all(head_text(response).as_bytes())
    {
        return (0, Err(written(error)));
    }
    let mut total = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match response.read(&mut buffer) {
            Ok(0) => return (total, target.flush().map_err(written)),
            Ok(n) => {
                total += n as u64;
                if let Err(error) = target.write_all(&buffer[..n]).and_then(|()| target.flush()) {
                    return (total, Err(written(error)));
                }
            }
            Err(ClientError::Timeout) => {
                return (
                    total,
                    Err((28, format!("Operation timed out with {total} bytes received"))),
                );
            }
            Err(error) => return (total, Err((18, error.to_string()))),
        }
    }
}

fn write_out(format: &str, response: &Response, size: u64, time: Duration, url: &Url, redirects: u32) {
    let (resolved, _) = crate::sh::text::unescape(format, crate::sh::text::Octal::Bare);
    let mut text = String::from_utf8_lossy(&resolved).into_owned();
    for (name, value) in [
        ("http_code", format!("{:03}", response.status)),
        ("response_code", format!("{:03}", response.status)),
        ("size_download", size.to_string()),
        ("time_total", format!("{:.6}", time.as_secs_f64())),
        ("remote_ip", response.peer.ip().to_string()),
        ("num_redirects", redirects.to_string()),
        (
            "url_effective",
            format!(
                "{}://{}{}",
                if url.secure { "https" } else { "http" },
                url.authority(),
                url.path
            ),
        ),
        ("content_type", response.header("content-type").unwrap_or("").to_owned()),
    ] {
        text = text.replace(&format!("%{{{name}}}"), &value);
    }
    crate::say::out(text);
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let value = chunk.iter().fold(0u32, |v, b| v << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(LETTERS[(value >> (18 - 6 * i) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}
