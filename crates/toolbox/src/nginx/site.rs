//! What a configuration means: servers, their locations, where their files are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::conf::Directive;

/// Everything that serving needs.
#[derive(Debug)]
pub(super) struct Sites {
    pub servers: Vec<Server>,
    /// File extension to media type.
    pub types: HashMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Server {
    pub listen: Vec<Listen>,
    pub names: Vec<String>,
    pub settings: Settings,
    pub locations: Vec<Location>,
    pub answer: Option<Return>,
}

/// One `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    pub address: SocketAddr,
    pub default: bool,
    /// Files with the certificate and its key.
    pub tls: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(super) enum Match {
    Exact(String),
    /// The flag: `^~`, no regular expression is tried after it.
    Prefix(String, bool),
    Regex(regex::Regex),
    Named(String),
}

#[derive(Debug)]
pub(super) struct Location {
    pub matches: Match,
    pub settings: Settings,
    pub alias: Option<String>,
    pub answer: Option<Return>,
    pub try_files: Vec<String>,
    pub proxy_pass: Option<String>,
    pub proxy_headers: Vec<(String, String)>,
    pub stub_status: bool,
    pub deny: bool,
}

/// `return CODE [TEXT|URL]`.
#[derive(Clone, Debug)]
pub(super) struct Return {
    pub status: u16,
    pub text: Option<String>,
}

/// What inner blocks inherit from outer ones.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub root: String,
    pub index: Vec<String>,
    pub default_type: String,
    pub autoindex: bool,
    pub gzip: bool,
    pub gzip_types: Vec<String>,
    pub gzip_min_length: usize,
    pub access_log: Option<String>,
    pub error_pages: Vec<(Vec<u16>, Option<u16>, String)>,
    pub headers: Vec<(String, String)>,
    pub server_tokens: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: "/etc/nginx/html".to_owned(),
            index: vec!["index.html".to_owned()],
            default_type: "text/plain".to_owned(),
            autoindex: false,
            gzip: false,
            gzip_types: vec!["text/html".to_owned()],
            gzip_min_length: 20,
            access_log: Some("/var/log/nginx/access.log".to_owned()),
            error_pages: Vec::new(),
            headers: Vec::new(),
            server_tokens: true,
        }
    }
}

impl Settings {
    fn apply(&mut self, block: &[Directive]) {
        let on = |d: &Directive| d.arg(0) == "on";
        let mut pages = Vec::new();
        let mut headers = Vec::new();
        for d in block {
            match d.name.as_str() {
                "root" => self.root = d.arg(0).trim_end_matches('/').to_owned(),
                "index" => self.index = d.args.clone(),
                "default_type" => self.default_type = d.arg(0).to_owned(),
                "autoindex" => self.autoindex = on(d),
                "gzip" => self.gzip = on(d),
                "gzip_types" => {
                    self.gzip_types = d.args.clone();
                    self.gzip_types.push("text/html".to_owned());
                }
                "gzip_min_length" => self.gzip_min_length = d.arg(0).parse().unwrap_or(20),
                "access_log" => self.access_log = (d.arg(0) != "off").then(|| d.arg(0).to_owned()),
                "server_tokens" => self.server_tokens = on(d),
                "add_header" => headers.push((d.arg(0).to_owned(), d.arg(1).to_owned())),
                "error_page" => {
                    let Some((target, rest)) = d.args.split_last() else {
                        continue;
                    };
                    let codes = rest.iter().filter_map(|c| c.parse().ok()).collect();
                    let change = rest
                        .iter()
                        .find_map(|c| c.strip_prefix('='))
                        .and_then(|c| c.parse().ok());
                    pages.push((codes, change, target.clone()));
                }
                _ => {}
            }
        }
        // As in nginx, a level that sets its own hides the outer ones.
        if !pages.is_empty() {
            self.error_pages = pages;
        }
        if !headers.is_empty() {
            self.headers = headers;
        }
    }
}

/// Directives that are understood or harmless to leave out; anything else is refused as unknown, as nginx refuses a typo.
const KNOWN: &[&str] = &[
    "user",
    "worker_processes",
    "error_log",
    "pid",
    "events",
    "worker_connections",
    "http",
    "types",
    "default_type",
    "log_format",
    "access_log",
    "sendfile",
    "tcp_nopush",
    "tcp_nodelay",
    "keepalive_timeout",
    "keepalive_requests",
    "gzip",
    "gzip_types",
    "gzip_min_length",
    "gzip_vary",
    "gzip_proxied",
    "gzip_comp_level",
    "gzip_buffers",
    "gzip_http_version",
    "gzip_disable",
    "server",
    "listen",
    "server_name",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_protocols",
    "ssl_ciphers",
    "ssl_prefer_server_ciphers",
    "ssl_session_cache",
    "ssl_session_timeout",
    "location",
    "root",
    "alias",
    "index",
    "return",
    "try_files",
    "error_page",
    "autoindex",
    "autoindex_exact_size",
    "autoindex_localtime",
    "add_header",
    "charset",
    "proxy_pass",
    "proxy_set_header",
    "proxy_http_version",
    "proxy_read_timeout",
    "proxy_connect_timeout",
    "proxy_send_timeout",
    "proxy_buffering",
    "proxy_redirect",
    "client_max_body_size",
    "client_body_buffer_size",
    "stub_status",
    "allow",
    "deny",
    "server_tokens",
    "upstream",
    "daemon",
    "master_process",
    "worker_rlimit_nofile",
    "multi_accept",
    "use",
    "expires",
    "etag",
    "types_hash_max_size",
    "types_hash_bucket_size",
    "server_names_hash_bucket_size",
    "large_client_header_buffers",
    "client_header_timeout",
    "client_body_timeout",
    "send_timeout",
    "reset_timedout_connection",
    "open_file_cache",
    "log_not_found",
    "internal",
    "map",
    "resolver",
    "real_ip_header",
    "set_real_ip_from",
    "load_module",
    "client_body_temp_path",
    "proxy_temp_path",
    "fastcgi_temp_path",
    "uwsgi_temp_path",
    "scgi_temp_path",
    "pcre_jit",
    "worker_shutdown_timeout",
    "absolute_redirect",
    "port_in_redirect",
    "max_ranges",
    "if_modified_since",
    "limit_except",
    "merge_slashes",
    "zone",
    "least_conn",
    "ip_hash",
    "keepalive",
];

fn check(block: &[Directive], inside: &str) -> Result<(), String> {
    for d in block {
        if matches!(inside, "types" | "map") {
            continue;
        }
        if !KNOWN.contains(&d.name.as_str()) {
            return Err(format!("unknown directive \"{}\" in {}:{}", d.name, d.file, d.line));
        }
        check(d.children(), &d.name)?;
    }
    Ok(())
}

/// Reads the meaning of a whole configuration.
pub(super) fn read(config: &[Directive]) -> Result<Sites, String> {
    check(config, "")?;
    if !config.iter().any(|d| d.name == "events") {
        return Err("no \"events\" section in configuration".to_owned());
    }
    let mut sites = Sites {
        servers: Vec::new(),
        types: HashMap::new(),
    };
    for http in config.iter().filter(|d| d.name == "http") {
        let mut settings = Settings::default();
        settings.apply(http.children());
        for types in http.children().iter().filter(|d| d.name == "types") {
            for kind in types.children() {
                for extension in &kind.args {
                    sites.types.insert(extension.to_ascii_lowercase(), kind.name.clone());
                }
            }
        }
        let upstreams: HashMap<&str, String> = http
            .children()
            .iter()
            .filter(|d| d.name == "upstream")
            .filter_map(|d| Some((d.arg(0), d.find("server")?.arg(0).to_owned())))
            .collect();
        for server in http.children().iter().filter(|d| d.name == "server") {
            sites.servers.push(server_of(server, &settings, &upstreams)?);
        }
    }
    Ok(sites)
}

fn server_of(block: &Directive, outer: &Settings, upstreams: &HashMap<&str, String>) -> Result<Server, String> {
    let mut settings = outer.clone();
    settings.apply(block.children());
    let mut server = Server {
        listen: Vec::new(),
        names: Vec::new(),
        settings,
        locations: Vec::new(),
        answer: None,
    };
    for d in block.children() {
        match d.name.as_str() {
            "listen" => {
                let address = listen_address(d.arg(0)).ok_or_else(|| {
                    format!(
                        "invalid port in \"{}\" of the \"listen\" directive in {}:{}",
                        d.arg(0),
                        d.file,
                        d.line
                    )
                })?;
                let has = |word: &str| d.args.iter().any(|a| a == word);
                let tls = if has("ssl") { Some(identity(block, d)?) } else { None };
                let default = has("default_server");
                server.listen.push(Listen { address, default, tls });
            }
            "server_name" => server.names.extend(d.args.iter().map(|n| n.to_ascii_lowercase())),
            "location" => server.locations.extend(location_of(d, &server.settings, upstreams)?),
            "return" => server.answer = return_of(d)?,
            _ => {}
        }
    }
    if server.listen.is_empty() {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);
        server.listen.push(Listen {
            address,
            default: false,
            tls: None,
        });
    }
    Ok(server)
}

/// The certificate and key of a server; relative paths start where the main configuration is.
fn identity(block: &Directive, listen: &Directive) -> Result<(String, String), String> {
    let path = |name: &str| -> Result<String, String> {
        let found = block
            .find(name)
            .map(|d| d.arg(0))
            .filter(|p| !p.is_empty())
            .ok_or_else(|| {
                format!(
                    "no \"{name}\" is defined for the \"listen ... ssl\" directive in {}:{}",
                    listen.file, listen.line
                )
            })?;
        Ok(if found.starts_with('/') {
            found.to_owned()
        } else {
            format!("/etc/nginx/{found}")
        })
    };
    Ok((path("ssl_certificate")?, path("ssl_certificate_key")?))
}

fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        return (port > 0).then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, port.parse().ok()?),
        _ => (text, 80),
    };
    let address = match host {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "[::]" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.trim_matches(['[', ']']).parse().ok()?,
    };
    Some(SocketAddr::new(address, port))
}

fn return_of(d: &Directive) -> Result<Option<Return>, String> {
    let first = d.arg(0);
    if first.starts_with("http") || first.starts_with('$') {
        return Ok(Some(Return {
            status: 302,
            text: Some(first.to_owned()),
        }));
    }
    match first.parse() {
        Ok(status) if (100..1000).contains(&status) => Ok(Some(Return {
            status,
            text: d.args.get(1).cloned(),
        })),
        _ => Err(format!("invalid return code \"{first}\" in {}:{}", d.file, d.line)),
    }
}

fn location_of(
    block: &Directive,
    outer: &Settings,
    upstreams: &HashMap<&str, String>,
) -> Result<Vec<Location>, String> {
    let mut settings = outer.clone();
    settings.apply(block.children());
    let pattern = |text: &str, fold: bool| {
        regex::RegexBuilder::new(text)
            .case_insensitive(fold)
            .size_limit(1 << 20)
            .build()
            .map_err(|_| format!("pcre_compile() failed in \"{text}\" in {}:{}", block.file, block.line))
    };
    let matches = match (block.arg(0), block.args.get(1)) {
        ("=", Some(path)) => Match::Exact(path.clone()),
        ("^~", Some(path)) => Match::Prefix(path.clone(), true),
        ("~", Some(text)) => Match::Regex(pattern(text, false)?),
        ("~*", Some(text)) => Match::Regex(pattern(text, true)?),
        (name, None) if name.starts_with('@') => Match::Named(name.to_owned()),
        (path, None) if !path.is_empty() => Match::Prefix(path.to_owned(), false),
        (other, _) => {
            return Err(format!(
                "invalid location modifier \"{other}\" in {}:{}",
                block.file, block.line
            ));
        }
    };
    let mut location = Location {
        matches,
        settings,
        alias: None,
        answer: None,
        try_files: Vec::new(),
        proxy_pass: None,
        proxy_headers: Vec::new(),
        stub_status: false,
        deny: false,
    };
    let mut inner = Vec::new();
    for d in block.children() {
        match d.name.as_str() {
            "alias" => location.alias = Some(d.arg(0).to_owned()),
            "return" => location.answer = return_of(d)?,
            "try_files" => location.try_files = d.args.clone(),
            "stub_status" => location.stub_status = true,
            "deny" => location.deny |= d.arg(0) == "all",
            "proxy_set_header" => location.proxy_headers.push((d.arg(0).to_owned(), d.arg(1).to_owned())),
            "proxy_pass" => {
                let target = d.arg(0);
                let rest = target
                    .strip_prefix("http://")
                    .ok_or_else(|| format!("invalid URL prefix in {}:{}", d.file, d.line))?;
                let host = rest.split('/').next().unwrap_or(rest);
                let real = upstreams.get(host).map_or(host, String::as_str);
                location.proxy_pass = Some(format!("http://{real}{}", &rest[host.len()..]));
            }
            "location" => inner.extend(location_of(d, &location.settings, upstreams)?),
            _ => {}
        }
    }
    inner.insert(0, location);
    Ok(inner)
}

impl Server {
    /// The location for a path: exact, then the longest prefix unless a regular expression matches.
    pub(super) fn location(&self, path: &str) -> Option<&Location> {
        let mut best: Option<(&Location, usize, bool)> = None;
        for location in &self.locations {
            match &location.matches {
                Match::Exact(exact) if exact == path => return Some(location),
                Match::Prefix(prefix, last)
                    if path.starts_with(prefix.as_str()) && best.is_none_or(|(_, length, _)| prefix.len() > length) =>
                {
                    best = Some((location, prefix.len(), *last));
                }
                _ => {}
            }
        }
        if let Some((location, _, true)) = best {
            return Some(location);
        }
        let regex = self
            .locations
            .iter()
            .find(|l| matches!(&l.matches, Match::Regex(regex) if regex.is_match(path)));
        regex.or(best.map(|(location, ..)| location))
    }

    pub(super) fn named(&self, name: &str) -> Option<&Location> {
        self.locations
            .iter()
            .find(|l| matches!(&l.matches, Match::Named(n) if n == name))
    }
}

impl Sites {
    /// The server for a connection and a Host header.
    pub(super) fn server(&self, local: SocketAddr, host: &str) -> Option<&Server> {
        let host = host.rsplit_once(':').map_or(
            host,
            |(h, p)| if p.bytes().all(|b| b.is_ascii_digit()) { h } else { host },
        );
        let host = host.to_ascii_lowercase();
        let here: Vec<&Server> = self
            .servers
            .iter()
            .filter(|s| {
                s.listen.iter().map(|l| l.address).any(|a| {
                    a.port() == local.port() && (a.ip().is_unspecified() || a.ip() == local.ip().to_canonical())
                })
            })
            .collect();
        let by_name = here.iter().find(|s| {
            s.names.iter().any(|n| match n.strip_prefix('*') {
                Some(suffix) => host.ends_with(suffix),
                None => *n == host,
            })
        });
        let default = here
            .iter()
            .find(|s| s.listen.iter().any(|l| l.default && l.address.port() == local.port()));
        by_name.or(default).or(here.first()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conf::parse;
    use super::*;

    #[test]
    fn locations_are_chosen_as_nginx_does() {
        let text = "events {} http { server { location / { return 1; } location = /a { return 200; } location /images/ { return 200; } \
                    location ^~ /static/ { return 200; } location ~* \\.(png|jpg)$ { return 200; } } }";
        let text = text.replace("return 1;", "return 201;");
        let sites = read(&parse(&text, "x").expect("parses")).expect("valid");
        let server = sites
            .server("127.0.0.1:80".parse().expect("address"), "any")
            .expect("a server");
        let kind = |path: &str| match &server.location(path).expect("a location").matches {
            Match::Exact(p) => format!("= {p}"),
            Match::Prefix(p, _) => p.clone(),
            Match::Regex(r) => r.to_string(),
            Match::Named(n) => n.clone(),
        };
        assert_eq!(kind("/a"), "= /a");
        assert_eq!(kind("/ab"), "/");
        assert_eq!(kind("/images/x.gif"), "/images/");
        assert_eq!(kind("/images/x.PNG"), "\\.(png|jpg)$");
        assert_eq!(kind("/static/x.png"), "/static/");
    }

    #[test]
    fn typos_are_refused() {
        let error =
            read(&parse("events {}\nhttp {\n server {\n  lisen 80;\n } }", "x").expect("parses")).expect_err("a typo");
        assert_eq!(error, "unknown directive \"lisen\" in x:4");
    }
}
