//! kuard: a server to look at a pod from inside and to make it misbehave on request.

mod keygen;
mod memory;
mod page;
mod probe;
mod queue;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::net::serve::{Call, Door, Reply, Stop, Style, listen_all, reply, run};
use crate::net::{dns, resolve, tls};

/// A Go program that is the first process of a container ends with status 2 on SIGTERM.
const STYLE: Style = Style {
    terminate: Stop::Now(2),
    interrupt: Stop::Now(2),
    quit: Stop::Now(2),
    title_case: true,
    say_keep_alive: false,
    keep_alive: Duration::from_secs(180),
};

/// Locks; what a panicking thread held is still good here, every value is replaced whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line as Go's log package does.
fn log(text: &str) {
    let _ = crate::sys::write_all(
        2,
        format!("{} {text}\n", jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S")).as_bytes(),
    );
}

/// Settings by flag name.
#[derive(Clone, Debug)]
struct Config {
    flags: BTreeMap<&'static str, String>,
}

const DEFAULTS: &[(&str, &str)] = &[
    ("address", ":8080"),
    ("debug", "false"),
    ("debug-sitedata-dir", "./sitedata"),
    ("keygen-enable", "false"),
    ("keygen-exit-code", "0"),
    ("keygen-exit-on-complete", "false"),
    ("keygen-memq-queue", ""),
    ("keygen-memq-server", ""),
    ("keygen-num-to-gen", "0"),
    ("keygen-time-to-run", "0"),
    ("liveness-fail-next", "0"),
    ("readiness-fail-next", "0"),
    ("tls-address", ":8443"),
    ("tls-dir", "/tls"),
];

impl Config {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut flags: BTreeMap<&str, String> = DEFAULTS
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let Some(flag) = arg.strip_prefix("--") else {
                return Err(format!("unknown argument: {arg}"));
            };
            let (name, value) = flag
                .split_once('=')
                .map_or((flag, None), |(n, v)| (n, Some(v.to_owned())));
            let Some((known, default)) = DEFAULTS.iter().find(|(n, _)| *n == name) else {
                return Err(format!("unknown flag: --{name}"));
            };
            let boolean = matches!(*default, "true" | "false");
            let value = match value {
                Some(value) => value,
                None if boolean => "true".to_owned(),
                None => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: --{name}"))?,
            };
            let valid = if boolean {
                matches!(value.as_str(), "true" | "false" | "1" | "0" | "t" | "f")
            } else {
                default.parse::<i64>().is_err() || value.parse::<i64>().is_ok()
            };
            if !valid {
                return Err(format!("invalid argument \"{value}\" for \"--{name}\" flag"));
            }
            flags.insert(known, value);
        }
        Ok(Self { flags })
    }

    fn text(&self, name: &str) -> &str {
        self.flags.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    fn on(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "1" | "t")
    }

    /// As the start-up banner shows it.
    fn dump(&self) -> String {
        let value = json!({
            "address": self.text("address"),
            "debug": self.on("debug"),
            "debug-sitedata-dir": self.text("debug-sitedata-dir"),
            "keygen": {
                "enable": self.on("keygen-enable"),
                "exit-code": self.number("keygen-exit-code"),
                "exit-on-complete": self.on("keygen-exit-on-complete"),
                "memq-queue": self.text("keygen-memq-queue"),
                "memq-server": self.text("keygen-memq-server"),
                "num-to-gen": self.number("keygen-num-to-gen"),
                "time-to-run": self.number("keygen-time-to-run"),
            },
            "liveness": { "fail-next": self.number("liveness-fail-next") },
            "readiness": { "fail-next": self.number("readiness-fail-next") },
            "tls-address": self.text("tls-address"),
            "tls-dir": self.text("tls-dir"),
        });
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }
}

/// Method, path and status; each with its count and seconds.
type Route = (String, String, u16);

struct Server {
    version: String,
    args: Vec<String>,
    live: probe::Probe,
    ready: probe::Probe,
    memory: memory::Memory,
    queues: queue::Broker,
    keygen: Arc<keygen::KeyGen>,
    requests: Mutex<BTreeMap<Route, (u64, f64)>>,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let config = match Config::parse(args.get(1..).unwrap_or_default()) {
        Ok(config) => config,
        Err(message) => {
            crate::say::fail("kuard", message);
            return 2;
        }
    };
    let version = std::fs::read_to_string("/etc/kuard-version")
        .map_or_else(|_| "v0.10.0-blue".to_owned(), |v| v.trim().to_owned());
    log(&format!("Starting kuard version: {version}"));
    let stars = "*".repeat(70);
    log(&stars);
    log("* WARNING: This server may expose sensitive");
    log("* and secret information. Be careful.");
    log(&stars);
    log(&format!("Config: \n{}", config.dump()));
    let keygen = Arc::new(keygen::KeyGen::default());
    keygen.load(keygen::Config::from_flags(&config));
    let mut doors = Vec::new();
    let files = Path::new(config.text("tls-dir"));
    let (certificate, secret) = (files.join("kuard.crt"), files.join("kuard.key"));
    if certificate.exists() && secret.exists() {
        let address = config.text("tls-address");
        log(&format!("Serving HTTPS on {address}"));
        match tls::server(&certificate, &secret).and_then(|tls| Ok((tls, listen(address)?))) {
            Ok((tls, listener)) => doors.push(Door {
                listener,
                tls: Some(tls),
            }),
            Err(message) => {
                log(&message);
                return 1;
            }
        }
    } else {
        log("Could not find certificates to serve TLS");
    }
    let address = config.text("address").to_owned();
    log(&format!("Serving on HTTP on {address}"));
    match listen(&address) {
        Ok(listener) => doors.push(listener.into()),
        Err(message) => {
            log(&message);
            return 1;
        }
    }
    let server = Server {
        version,
        args: args.to_vec(),
        live: probe::Probe::new("/healthy", config.number("liveness-fail-next")),
        ready: probe::Probe::new("/ready", config.number("readiness-fail-next")),
        memory: memory::Memory::default(),
        queues: queue::Broker::default(),
        keygen,
        requests: Mutex::new(BTreeMap::new()),
    };
    run(doors, STYLE, move |call| {
        log(&format!("{} {} {}", show_peer(&call), call.method, call.uri));
        let start = Instant::now();
        let reply = server.answer(&call);
        let mut requests = locked(&server.requests);
        // A scanner must not fill the memory with paths: after this many, the rest share one entry.
        let path = if requests.len() < 1000 {
            call.path().to_owned()
        } else {
            "other".to_owned()
        };
        let entry = requests
            .entry((call.method.to_string(), path, reply.status().as_u16()))
            .or_default();
        entry.0 += 1;
        entry.1 += start.elapsed().as_secs_f64();
        drop(requests);
        reply
    })
}

/// Listens on `:8080` (everywhere) or `host:port`.
fn listen(address: &str) -> Result<std::net::TcpListener, String> {
    let listener = match address.strip_prefix(':').map(str::parse::<u16>) {
        Some(Ok(port)) => listen_all(port),
        _ => std::net::TcpListener::bind(address),
    };
    listener.map_err(|error| {
        format!(
            "listen tcp {address}: bind: {}",
            crate::say::reason(&error).to_lowercase()
        )
    })
}

/// Go shows IPv4 peers as such, whatever socket they came through.
fn show_peer(call: &Call) -> String {
    std::net::SocketAddr::new(call.peer.ip().to_canonical(), call.peer.port()).to_string()
}

fn json_reply(value: &serde_json::Value) -> Reply {
    let headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-cache, private, max-age=0"),
        ("Expires", "Thu, 01 Jan 1970 00:00:00 UTC"),
        ("Pragma", "no-cache"),
    ];
    reply(200, &headers, format!("{value}\n"))
}

fn plain(status: u16, body: impl Into<String>) -> Reply {
    let headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    reply(status, &headers, body.into())
}

fn not_found() -> Reply {
    plain(404, "404 page not found\n")
}

impl Server {
    fn answer(&self, call: &Call) -> Reply {
        let path = call.path();
        // The same under /a, /b and /c, so that an Ingress can tell several of them apart.
        let (base, path) = match ["/a", "/b", "/c"]
            .iter()
            .find(|b| path.starts_with(*b) && path[b.len()..].starts_with('/'))
        {
            Some(base) => (*base, &path[base.len()..]),
            None => ("", path),
        };
        let get = matches!(call.method.as_str(), "GET" | "HEAD");
        match (call.method.as_str(), path) {
            ("GET" | "HEAD", "/") => page::root(self, call, base),
            ("GET" | "HEAD", p) if p.starts_with("/-/") => page::root(self, call, base),
            ("GET" | "HEAD", "/env" | "/mem" | "/dns") => reply(302, &[("Location", &format!("{base}/-{path}"))], ""),
            ("GET" | "HEAD", "/static/kuard.js") => {
                reply(200, &[("Content-Type", "application/javascript")], page::SCRIPT)
            }
            ("GET" | "HEAD", "/static/kuard.css") => reply(200, &[("Content-Type", "text/css")], page::STYLE),
            ("GET" | "HEAD", "/metrics") => self.metrics(),
            ("GET" | "HEAD", p) if p.starts_with("/fs/") => {
                crate::app::files::answer(Path::new("/"), &format!("{base}/fs"), &p[3..])
            }
            ("GET" | "HEAD", "/fs") => reply(301, &[("Location", &format!("{base}/fs/"))], ""),
            (_, p) if p == "/healthy" || p.starts_with("/healthy/") => self.live.answer(call, &p["/healthy".len()..]),
            (_, p) if p == "/ready" || p.starts_with("/ready/") => self.ready.answer(call, &p["/ready".len()..]),
            ("GET" | "HEAD", "/env/api") => {
                let env: BTreeMap<String, String> = std::env::vars_os()
                    .map(|(n, v)| (n.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()))
                    .collect();
                json_reply(&json!({ "commandLine": self.args, "env": env }))
            }
            ("GET" | "HEAD", "/mem/api") => json_reply(&self.memory.stats()),
            ("POST", "/mem/api/alloc") => self.memory.alloc(call),
            ("POST", "/mem/api/clear") => self.memory.clear(),
            ("POST", "/dns/api") => dns_lookup(call),
            ("GET" | "HEAD", "/keygen") => json_reply(&self.keygen.status()),
            ("PUT", "/keygen") => self.keygen.put(call),
            (method, p) if p.starts_with("/memq/server/") => {
                self.queues.answer(method, &p["/memq/server".len()..], call)
            }
            _ if get => not_found(),
            _ => plain(405, "Method Not Allowed\n"),
        }
    }

    fn metrics(&self) -> Reply {
        let mut text = String::from(
            "# HELP request_duration_seconds Time serving HTTP request\n# TYPE request_duration_seconds summary\n",
        );
        for ((method, route, code), (count, seconds)) in locked(&self.requests).iter() {
            let route = route.replace(['\\', '"', '\n'], "_");
            let labels = format!("{{method=\"{method}\",route=\"{route}\",status_code=\"{code}\"}}");
            text.push_str(&format!(
                "request_duration_seconds_sum{labels} {seconds}\nrequest_duration_seconds_count{labels} {count}\n"
            ));
        }
        reply(200, &[("Content-Type", "text/plain; version=0.0.4")], text)
    }
}

fn dns_lookup(call: &Call) -> Reply {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Lookup {
        #[serde(rename = "type")]
        kind: String,
        name: String,
    }
    let lookup: Lookup = match serde_json::from_slice(&call.body) {
        Ok(lookup) => lookup,
        Err(error) => return plain(400, format!("{error}\n")),
    };
    let Some(kind) = dns::type_number(&lookup.kind) else {
        return plain(400, format!("Unknown DNS type: {}\n", lookup.kind));
    };
    match resolve::query(&lookup.name, kind) {
        Ok(message) => json_reply(&json!({ "result": crate::tool::dns::show(&message) })),
        Err(error) => plain(400, format!("{error}\n")),
    }
}
