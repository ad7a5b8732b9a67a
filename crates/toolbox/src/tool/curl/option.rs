//! Reads the command line.

use std::io::Read;
use std::time::Duration;

use super::{Failure, Options};

/// Options that take a value, and their long names.
const WITH_VALUE: &[(char, &str)] = &[
    ('X', "request"),
    ('H', "header"),
    ('d', "data"),
    ('o', "output"),
    ('m', "max-time"),
    ('u', "user"),
    ('A', "user-agent"),
    ('w', "write-out"),
    ('e', "referer"),
    ('b', "cookie"),
    ('T', "upload-file"),
    ('F', "form"),
    ('E', "cert"),
    ('x', "proxy"),
    ('c', "cookie-jar"),
];

const FLAGS: &[(char, &str)] = &[
    ('s', "silent"),
    ('S', "show-error"),
    ('v', "verbose"),
    ('i', "include"),
    ('I', "head"),
    ('L', "location"),
    ('f', "fail"),
    ('k', "insecure"),
    ('O', "remote-name"),
    ('G', "get"),
    ('4', "ipv4"),
    ('6', "ipv6"),
    ('N', "no-buffer"),
    ('g', "globoff"),
    ('#', "progress-bar"),
    ('V', "version"),
];

/// Reads all arguments.
pub(super) fn parse(args: &[String], options: &mut Options, addresses: &mut Vec<String>) -> Result<(), Failure> {
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = long
                .split_once('=')
                .map_or((long, None), |(n, v)| (n, Some(v.to_owned())));
            if FLAGS.iter().any(|(_, n)| *n == name)
                || matches!(
                    name,
                    "compressed"
                        | "path-as-is"
                        | "http1.1"
                        | "no-progress-meter"
                        | "fail-with-body"
                        | "retry-connrefused"
                )
            {
                flag(name, options);
                continue;
            }
            let Some(value) = inline.or_else(|| rest.next().cloned()) else {
                return Err((2, format!("option --{name}: requires parameter")));
            };
            set(name, value, options, addresses)?;
        } else if let Some(letters) = arg.strip_prefix('-').filter(|l| !l.is_empty()) {
            for (i, letter) in letters.char_indices() {
                if let Some((_, name)) = FLAGS.iter().find(|(c, _)| *c == letter) {
                    flag(name, options);
                } else if let Some((_, name)) = WITH_VALUE.iter().find(|(c, _)| *c == letter) {
                    let tail = &letters[i + letter.len_utf8()..];
                    let value = if tail.is_empty() {
                        rest.next().cloned()
                    } else {
                        Some(tail.to_owned())
                    };
                    let Some(value) = value else {
                        return Err((2, format!("option -{letter}: requires parameter")));
                    };
                    set(name, value, options, addresses)?;
                    break;
                } else {
                    return Err((2, format!("option -{letter}: is unknown")));
                }
            }
        } else {
            addresses.push(arg.clone());
        }
    }
    Ok(())
}

fn flag(name: &str, options: &mut Options) {
    match name {
        "silent" => options.silent = true,
        "show-error" => options.show_error = true,
        "verbose" => options.verbose = true,
        "include" => options.include = true,
        "head" => options.head = true,
        "location" => options.location = true,
        "insecure" => options.insecure = true,
        "fail" | "fail-with-body" => options.fail = true,
        "get" => options.get = true,
        "remote-name" => options.remote_name = true,
        "version" => {
            crate::say::out("curl 8.10.1 (built into knarr)\nProtocols: http https\n");
            std::process::exit(0);
        }
        _ => {}
    }
}

fn set(name: &str, value: String, options: &mut Options, addresses: &mut Vec<String>) -> Result<(), Failure> {
    let seconds = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|s| (0.0..1e9).contains(s))
            .map(Duration::from_secs_f64)
    };
    match name {
        "request" => options.method = Some(value),
        "header" => {
            // `Name:` takes a header away, `Name;` sends it empty.
            let (name, text) = value.split_once(':').unwrap_or((value.trim_end_matches(';'), ""));
            options.headers.push((name.trim().to_owned(), text.trim().to_owned()));
        }
        "user-agent" => options.headers.push(("User-Agent".to_owned(), value)),
        "referer" => options.headers.push(("Referer".to_owned(), value)),
        "cookie" => options.headers.push(("Cookie".to_owned(), value)),
        "data" | "data-ascii" | "data-binary" | "data-raw" | "data-urlencode" | "json" => {
            let bytes = match value.strip_prefix('@').filter(|_| name != "data-raw") {
                Some("-") => {
                    let mut all = Vec::new();
                    let _ = std::io::stdin().read_to_end(&mut all);
                    all
                }
                Some(path) => std::fs::read(path).map_err(|_| (26, format!("Failed to open {path}")))?,
                None => value.into_bytes(),
            };
            let bytes = if matches!(name, "data" | "data-ascii") {
                bytes.into_iter().filter(|b| !b"\r\n\0".contains(b)).collect()
            } else {
                bytes
            };
            options.json |= name == "json";
            match &mut options.data {
                Some(data) => {
                    if !options.json {
                        data.push(b'&');
                    }
                    data.extend(bytes);
                }
                none => *none = Some(bytes),
            }
        }
        "upload-file" => {
            let bytes = std::fs::read(&value).map_err(|_| (26, format!("Failed to open {value}")))?;
            options.data = Some(bytes);
            options.method.get_or_insert_with(|| "PUT".to_owned());
        }
        "output" => options.output = Some(value),
        "max-time" => options.max_time = seconds(&value),
        "connect-timeout" => options.connect_timeout = seconds(&value),
        "user" => options.user = Some(value),
        "retry" => options.retry = value.parse().unwrap_or(0),
        "write-out" => options.write_out = Some(value),
        "url" => addresses.push(value),
        "cacert" => options.authorities = Some(value),
        "cert" => options.certificate = Some(value),
        "key" => options.key = Some(value),
        "resolve" => {
            let mut parts = value.splitn(3, ':');
            if let (Some(host), Some(Ok(port)), Some(address)) =
                (parts.next(), parts.next().map(str::parse), parts.next())
            {
                options
                    .resolve
                    .push((host.to_owned(), port, address.trim_matches(['[', ']']).to_owned()));
            }
        }
        "retry-delay" | "retry-max-time" | "proxy" | "noproxy" | "cookie-jar" | "limit-rate" | "max-redirs" => {}
        _ => return Err((2, format!("option --{name}: is unknown"))),
    }
    Ok(())
}
