//! `wget`, with busybox' options and messages.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::net::client::{self, ClientError, Request};
use crate::net::resolve::Failed;
use crate::net::tls::Trust;
use crate::net::url::Url;
use crate::say::{fail, reason};

#[derive(Default)]
struct Options {
    quiet: bool,
    spider: bool,
    show_headers: bool,
    resume: bool,
    output: Option<String>,
    directory: Option<String>,
    headers: Vec<(String, String)>,
    post: Option<Vec<u8>>,
    timeout: Option<Duration>,
    method: Option<String>,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let mut options = Options::default();
    let mut addresses = Vec::new();
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        let (name, mut inline) = match arg.strip_prefix("--") {
            Some(long) => match long.split_once('=') {
                Some((name, value)) => (format!("--{name}"), Some(value.to_owned())),
                None => (arg.clone(), None),
            },
            None => (arg.clone(), None),
        };
        if !name.starts_with('-') || name == "-" {
            addresses.push(name);
            continue;
        }
        let letters: Vec<String> = if name.starts_with("--") {
            vec![name]
        } else {
            name.chars().skip(1).map(|c| format!("-{c}")).collect()
        };
        let mut consumed = 1;
        for letter in letters {
            consumed += 1;
            // `-O-` and `-qO-`: what follows the letter is its value.
            let tail: String = if letter.starts_with("--") {
                String::new()
            } else {
                arg.chars().skip(consumed).collect()
            };
            let mut value = || match inline.take() {
                Some(value) => value,
                None if !tail.is_empty() => tail.clone(),
                None => rest.next().cloned().unwrap_or_default(),
            };
            match letter.as_str() {
                "-q" | "--quiet" => options.quiet = true,
                "-s" | "--spider" => options.spider = true,
                "-S" | "--server-response" => options.show_headers = true,
                "-c" | "--continue" => options.resume = true,
                "--no-check-certificate" | "--no-verbose" | "-v" => {}
                "-O" | "--output-document" => {
                    options.output = Some(value());
                    break;
                }
                "-P" | "--directory-prefix" => {
                    options.directory = Some(value());
                    break;
                }
                "-U" | "--user-agent" => {
                    options.headers.push(("User-Agent".to_owned(), value()));
                    break;
                }
                "-T" | "--timeout" => {
                    options.timeout = value().parse().ok().map(Duration::from_secs);
                    break;
                }
                "-t" | "--tries" | "-Y" | "-o" => {
                    value();
                    break;
                }
                "--header" => {
                    let header = value();
                    let (name, text) = header.split_once(':').unwrap_or((&header, ""));
                    options.headers.push((name.trim().to_owned(), text.trim().to_owned()));
                }
                "--post-data" | "--body-data" => options.post = Some(value().into_bytes()),
                "--post-file" | "--body-file" => match std::fs::read(value()) {
                    Ok(bytes) => options.post = Some(bytes),
                    Err(error) => return fail("wget", reason(&error)),
                },
                "--method" => options.method = Some(value()),
                other => return fail("wget", format!("unrecognized option '{other}'")),
            }
        }
    }
    if addresses.is_empty() {
        return fail(
            "wget",
            "usage: wget [-cqS] [--spider] [-O FILE] [--header STR] [--post-data STR] [-P DIR] [-T SEC] URL...",
        );
    }
    addresses
        .iter()
        .map(|address| i32::from(fetch(address, &options).is_err_and(|message| fail("wget", message) != 0)))
        .max()
        .unwrap_or(0)
}

fn fetch(address: &str, options: &Options) -> Result<(), String> {
    let say = |text: &str| {
        if !options.quiet {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    };
    let mut url = Url::parse(address)?;
    let mut body = options.post.clone();
    for _ in 0..10 {
        if url.secure {
            // As in busybox: encrypted, to whomever.
            let _ = std::io::stderr().write_all(
                b"wget: note: TLS certificate validation not implemented
",
            );
        }
        let method = options
            .method
            .clone()
            .unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
        let mut headers = options.headers.clone();
        if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("user-agent")) {
            headers.insert(0, ("User-Agent".to_owned(), "Wget".to_owned()));
        }
        if body.is_some() && !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")) {
            headers.push((
                "Content-Type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ));
        }
        let request = Request {
            method,
            headers,
            body: body.clone(),
            connect_timeout: options.timeout,
            deadline: options.timeout.map(|t| Instant::now() + t),
            trust: Trust {
                insecure: true,
                ..Trust::default()
            },
            instead: None,
        };
        let mut response = client::send(&url, &request).map_err(|error| match error {
            ClientError::Connect(Failed::Name) => format!("bad address '{}'", url.host),
            ClientError::Connect(Failed::Connect(address, error)) => {
                say(&format!("Connecting to {} ({address})\n", url.authority()));
                format!("can't connect to remote host ({}): {}", address.ip(), reason(&error))
            }
            ClientError::Timeout => "download timed out".to_owned(),
            ClientError::Empty => "error getting response".to_owned(),
            other => other.to_string(),
        })?;
        say(&format!("Connecting to {} ({})\n", url.authority(), response.peer));
        if options.show_headers {
            say(&format!(
                "  {} {} {}\n",
                response.version, response.status, response.reason
            ));
            for (name, value) in &response.headers {
                say(&format!("  {name}: {value}\n"));
            }
        }
        match (response.status, response.header("location")) {
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                if !matches!(response.status, 307 | 308) {
                    body = None;
                }
                url = url.join(location)?;
                continue;
            }
            (200..=299, _) => {}
            (status, _) => {
                return Err(format!(
                    "server returned error: {} {status} {}",
                    response.version, response.reason
                ));
            }
        }
        if options.spider {
            say("remote file exists\n");
            return Ok(());
        }
        return save(&url, options, &mut response, &say);
    }
    Err("too many redirections".to_owned())
}

fn save(url: &Url, options: &Options, response: &mut client::Response, say: &dyn Fn(&str)) -> Result<(), String> {
    let last = url
        .path
        .split('?')
        .next()
        .and_then(|p| p.rsplit('/').next())
        .filter(|n| !n.is_empty() && *n != "..");
    let name = match (&options.output, &options.directory) {
        (Some(name), _) => name.clone(),
        (None, Some(dir)) => format!("{dir}/{}", last.unwrap_or("index.html")),
        (None, None) => last.unwrap_or("index.html").to_owned(),
    };
    let to_stdout = name == "-";
    let mut file: Box<dyn Write> = if to_stdout {
        Box::new(std::io::stdout())
    } else {
        let mut open = std::fs::OpenOptions::new();
        open.write(true).create(true);
        // Without -O a file that is there stays as it is, as in busybox.
        let open = if options.output.is_none() && !options.resume {
            open.create_new(true)
        } else {
            open.truncate(true)
        };
        Box::new(
            open.open(&name)
                .map_err(|error| format!("can't open '{name}': {}", reason(&error)))?,
        )
    };
    if !to_stdout {
        say(&format!("saving to '{name}'\n"));
    }
    let mut total = 0u64;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = response.read(&mut buffer).map_err(|error| error.to_string())?;
        if n == 0 {
            break;
        }
        total += n as u64;
        file.write_all(&buffer[..n])
            .map_err(|error| format!("write error: {}", reason(&error)))?;
    }
    file.flush()
        .map_err(|error| format!("write error: {}", reason(&error)))?;
    let shown = if to_stdout { "-" } else { name.as_str() };
    say(&format!(
        "{shown:<20} 100% |{}| {total:>5}  0:00:00 ETA\n",
        "*".repeat(32)
    ));
    say(&if to_stdout {
        "written to stdout\n".to_owned()
    } else {
        format!("'{name}' saved\n")
    });
    Ok(())
}
