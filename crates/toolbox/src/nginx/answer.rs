//! Answers requests: files, redirects, error pages, proxying; and the access log.

use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::file::{http_date, listing, range_of};
use super::proxy::proxy;
use super::site::{Location, Match, Return, Server, Settings, Sites};
use super::variable::{absolute, variables};
use crate::app::files::{below, load};
use crate::net::serve::{Call, Reply, reply};
use crate::net::url::decode;

/// Internal redirects (`error_page`, `try_files`, `index`) of one request.
const MAX_REDIRECTS: usize = 10;

pub(super) struct State {
    sites: Sites,
    version: String,
    requests: AtomicU64,
    log: Mutex<()>,
}

/// How far a request has come.
#[derive(Clone, Copy, Default)]
struct Step {
    redirects: usize,
    /// The page of an error is being fetched; if that fails too, there is no page.
    in_error: bool,
}

impl Step {
    fn next(self) -> Self {
        Self {
            redirects: self.redirects + 1,
            ..self
        }
    }
}

/// An answer before its standard headers are added.
pub(super) struct Draft {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// An error without a page of its own yet.
    pub bare: bool,
}

impl Draft {
    pub(super) fn error(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            bare: true,
        }
    }

    fn redirect(status: u16, location: String) -> Self {
        Self {
            status,
            headers: vec![("Location".to_owned(), location)],
            body: Vec::new(),
            bare: true,
        }
    }
}

fn reason(status: u16) -> String {
    let text = match status {
        302 => "Moved Temporarily",
        404 => "Not Found",
        405 => "Not Allowed",
        413 => "Request Entity Too Large",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        other => http::StatusCode::from_u16(other)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or(""),
    };
    format!("{status} {text}")
}

impl State {
    pub(super) fn new(sites: Sites, version: String) -> Self {
        Self {
            sites,
            version,
            requests: AtomicU64::new(0),
            log: Mutex::new(()),
        }
    }

    pub(super) fn answer(&self, call: &Call) -> Reply {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let host = call.header("host").unwrap_or("");
        let Some(server) = self.sites.server(call.local, host) else {
            return reply(404, &[], "");
        };
        let (draft, settings) = if call.version == http::Version::HTTP_11 && host.is_empty() {
            (Draft::error(400), &server.settings)
        } else {
            self.serve(call, server, &decode(call.path()), Step::default())
        };
        self.finish(call, draft, settings)
    }

    fn serve<'a>(&'a self, call: &Call, server: &'a Server, path: &str, step: Step) -> (Draft, &'a Settings) {
        if step.redirects > MAX_REDIRECTS {
            return (Draft::error(500), &server.settings);
        }
        if let Some(answer) = server.answer.as_ref().filter(|_| step.redirects == 0) {
            return (self.returned(call, answer), &server.settings);
        }
        let location = server.location(path);
        let settings = location.map_or(&server.settings, |l| &l.settings);
        let draft = self.located(call, server, location, path, step);
        self.error_page(call, server, draft, settings, step)
    }

    fn error_page<'a>(
        &'a self,
        call: &Call,
        server: &'a Server,
        draft: Draft,
        settings: &'a Settings,
        step: Step,
    ) -> (Draft, &'a Settings) {
        let page = settings
            .error_pages
            .iter()
            .find(|(codes, ..)| !step.in_error && draft.bare && draft.status >= 300 && codes.contains(&draft.status));
        let Some((_, change, target)) = page else {
            return (draft, settings);
        };
        if target.starts_with("http://") || target.starts_with("https://") {
            return (Draft::redirect(302, target.clone()), settings);
        }
        let step = Step { in_error: true, ..step };
        let mut inner = match server.named(target) {
            Some(location) => (
                self.located(call, server, Some(location), call.path(), step.next()),
                &location.settings,
            ),
            None => self.serve(call, server, target, step.next()),
        };
        if inner.0.status == 200 {
            inner.0.status = change.unwrap_or(draft.status);
            return inner;
        }
        (draft, settings)
    }

    fn returned(&self, call: &Call, answer: &Return) -> Draft {
        let text = answer.text.as_ref().map(|t| variables(t, call));
        match (answer.status, text) {
            (301 | 302 | 303 | 307 | 308, Some(target)) => Draft::redirect(answer.status, absolute(call, &target)),
            (status, Some(text)) => Draft {
                status,
                headers: Vec::new(),
                body: text.into_bytes(),
                bare: false,
            },
            (status, None) if status < 300 => Draft {
                status,
                headers: Vec::new(),
                body: Vec::new(),
                bare: false,
            },
            (status, None) => Draft::error(status),
        }
    }

    fn located(&self, call: &Call, server: &Server, location: Option<&Location>, path: &str, step: Step) -> Draft {
        if let Some(location) = location {
            if location.deny {
                return Draft::error(403);
            }
            if let Some(answer) = &location.answer {
                return self.returned(call, answer);
            }
            if location.stub_status {
                let n = self.requests.load(Ordering::Relaxed);
                let body = format!(
                    "Active connections: 1 \nserver accepts handled requests\n {n} {n} {n} \nReading: 0 Writing: 1 Waiting: 0 \n"
                );
                return Draft {
                    status: 200,
                    headers: vec![("Content-Type".into(), "text/plain".into())],
                    body: body.into_bytes(),
                    bare: false,
                };
            }
            if let Some(target) = &location.proxy_pass {
                return proxy(call, location, target, path);
            }
        }
        if !matches!(call.method.as_str(), "GET" | "HEAD") && step.redirects == 0 {
            return Draft::error(405);
        }
        let settings = location.map_or(&server.settings, |l| &l.settings);
        if let Some(location) = location
            && let Some((last, tries)) = location.try_files.split_last()
        {
            for candidate in tries {
                let name = variables(candidate, call).replace("$uri", path);
                let Some(full) = file_of(location, settings, &name) else {
                    continue;
                };
                let wants_dir = name.ends_with('/');
                if full.is_file() && !wants_dir {
                    return self.file(&full, settings, call);
                }
                if full.is_dir() && wants_dir {
                    return self.directory(call, server, &name, &full, settings, step);
                }
            }
            if let Some(code) = last.strip_prefix('=').and_then(|c| c.parse().ok()) {
                return Draft::error(code);
            }
            let next = variables(last, call).replace("$uri", path);
            return match server.named(&next) {
                Some(named) => self.located(call, server, Some(named), path, step.next()),
                None => {
                    self.serve(call, server, next.split('?').next().unwrap_or("/"), step.next())
                        .0
                }
            };
        }
        let full = match location {
            Some(location) => file_of(location, settings, path),
            None => below(Path::new(&settings.root), &encode(path)),
        };
        let Some(full) = full else { return Draft::error(400) };
        match std::fs::metadata(&full) {
            Ok(meta) if meta.is_dir() && !path.ends_with('/') => {
                Draft::redirect(301, absolute(call, &format!("{}/", encode(path))))
            }
            Ok(meta) if meta.is_dir() => self.directory(call, server, path, &full, settings, step),
            Ok(_) if !path.ends_with('/') => self.file(&full, settings, call),
            Ok(_) => missing(call, &full, 20, "Not a directory"),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                super::log(
                    "error",
                    &format!(
                        "*1 open() \"{}\" failed (13: Permission denied), {}",
                        full.display(),
                        context(call)
                    ),
                );
                Draft::error(403)
            }
            Err(_) => missing(call, &full, 2, "No such file or directory"),
        }
    }

    fn directory(
        &self,
        call: &Call,
        server: &Server,
        path: &str,
        full: &Path,
        settings: &Settings,
        step: Step,
    ) -> Draft {
        for name in &settings.index {
            if full.join(name).is_file() {
                // An index is found anew through the locations, which may treat it in their own way.
                let next = format!("{path}{name}");
                if step.redirects < MAX_REDIRECTS && server.location(&next).is_some() {
                    return self.serve(call, server, &next, step.next()).0;
                }
                return self.file(&full.join(name), settings, call);
            }
        }
        if settings.autoindex {
            return listing(full, path);
        }
        super::log(
            "error",
            &format!(
                "*1 directory index of \"{}/\" is forbidden, {}",
                full.display().to_string().trim_end_matches('/'),
                context(call)
            ),
        );
        Draft::error(403)
    }

    fn file(&self, full: &Path, settings: &Settings, call: &Call) -> Draft {
        let (Ok(meta), Ok(body)) = (std::fs::metadata(full), load(full)) else {
            super::log(
                "error",
                &format!(
                    "*1 open() \"{}\" failed (13: Permission denied), {}",
                    full.display(),
                    context(call)
                ),
            );
            return Draft::error(403);
        };
        let extension = full
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        let kind = self
            .sites
            .types
            .get(&extension)
            .cloned()
            .unwrap_or_else(|| settings.default_type.clone());
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let seconds = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let tag = format!("\"{seconds:x}-{:x}\"", body.len());
        let when = http_date(i64::try_from(seconds).unwrap_or(0));
        let mut headers = vec![
            ("Content-Type".to_owned(), kind),
            ("Last-Modified".to_owned(), when.clone()),
            ("ETag".to_owned(), tag.clone()),
        ];
        let fresh = match (call.header("if-none-match"), call.header("if-modified-since")) {
            (Some(tags), _) => tags
                .split(',')
                .any(|t| t.trim().trim_start_matches("W/") == tag || t.trim() == "*"),
            (None, Some(date)) => date == when,
            (None, None) => false,
        };
        if fresh {
            headers.remove(0);
            return Draft {
                status: 304,
                headers,
                body: Vec::new(),
                bare: false,
            };
        }
        headers.push(("Accept-Ranges".to_owned(), "bytes".to_owned()));
        if let Some(range) = call.header("range") {
            match range_of(range, body.len()) {
                Some(Ok((from, to))) => {
                    headers.push((
                        "Content-Range".to_owned(),
                        format!("bytes {from}-{}/{}", to - 1, body.len()),
                    ));
                    return Draft {
                        status: 206,
                        headers,
                        body: body[from..to].to_vec(),
                        bare: false,
                    };
                }
                Some(Err(())) => {
                    let mut draft = Draft::error(416);
                    draft
                        .headers
                        .push(("Content-Range".to_owned(), format!("bytes */{}", body.len())));
                    return draft;
                }
                None => {}
            }
        }
        Draft {
            status: 200,
            headers,
            body,
            bare: false,
        }
    }

    fn finish(&self, call: &Call, mut draft: Draft, settings: &Settings) -> Reply {
        let server = if settings.server_tokens {
            format!("nginx/{}", self.version)
        } else {
            "nginx".to_owned()
        };
        if draft.bare && !matches!(draft.status, 204 | 304 | 444) && draft.status >= 300 {
            let title = reason(draft.status);
            let text = format!(
                "<html>\r\n<head><title>{title}</title></head>\r\n<body{}>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>{server}</center>\r\n</body>\r\n</html>\r\n",
                if self.version.starts_with("1.14") || self.version.starts_with("1.7") {
                    " bgcolor=\"white\""
                } else {
                    ""
                }
            );
            draft.body = text.into_bytes();
            draft
                .headers
                .insert(0, ("Content-Type".to_owned(), "text/html".to_owned()));
        }
        let has = |draft: &Draft, name: &str| draft.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        if !has(&draft, "content-type") && draft.status != 304 {
            draft
                .headers
                .insert(0, ("Content-Type".to_owned(), settings.default_type.clone()));
        }
        if draft.status < 400 {
            for (name, value) in &settings.headers {
                draft.headers.push((name.clone(), variables(value, call)));
            }
        }
        self.compress(call, &mut draft, settings);
        self.access(call, &draft, settings);
        let date = http_date(jiff::Timestamp::now().as_second());
        let mut headers: Vec<(&str, &str)> = vec![("Server", &server), ("Date", &date)];
        headers.extend(draft.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        reply(draft.status, &headers, draft.body)
    }

    fn compress(&self, call: &Call, draft: &mut Draft, settings: &Settings) {
        let kind = draft
            .headers
            .iter()
            .find(|(n, _)| n == "Content-Type")
            .map_or("", |(_, v)| v.as_str())
            .to_owned();
        let wanted = settings.gzip
            && call.header("accept-encoding").is_some_and(|v| v.contains("gzip"))
            && draft.body.len() >= settings.gzip_min_length
            && matches!(draft.status, 200 | 403 | 404)
            && settings
                .gzip_types
                .iter()
                .any(|t| t == "*" || kind.starts_with(t.as_str()));
        if !wanted {
            return;
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        if encoder.write_all(&draft.body).is_ok()
            && let Ok(bytes) = encoder.finish()
        {
            draft.body = bytes;
            draft.headers.retain(|(n, _)| n != "Accept-Ranges");
            draft.headers.push(("Content-Encoding".to_owned(), "gzip".to_owned()));
        }
    }

    fn access(&self, call: &Call, draft: &Draft, settings: &Settings) {
        let Some(target) = &settings.access_log else { return };
        let now = jiff::Zoned::now().strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
        // Whatever a client sends may end in a terminal that shows the log.
        let quoted = |text: &str| -> String {
            text.chars()
                .map(|c| {
                    if c.is_control() || c == '"' || c == '\\' {
                        format!("\\x{:02X}", u32::from(c))
                    } else {
                        c.to_string()
                    }
                })
                .collect()
        };
        let header = |name: &str| quoted(call.header(name).unwrap_or("-"));
        let length = if call.method == http::Method::HEAD {
            0
        } else {
            draft.body.len()
        };
        let line = format!(
            "{} - - [{now}] \"{} {} {:?}\" {} {length} \"{}\" \"{}\" \"{}\"\n",
            call.peer.ip().to_canonical(),
            call.method,
            quoted(&call.target()),
            call.version,
            draft.status,
            header("referer"),
            header("user-agent"),
            header("x-forwarded-for"),
        );
        let _one = self.log.lock();
        if matches!(target.as_str(), "/dev/stdout" | "/var/log/nginx/access.log") {
            let _ = crate::sys::write_all(1, line.as_bytes());
        } else if let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(target) {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

fn encode(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F")
}

pub(super) fn context(call: &Call) -> String {
    let host = call.header("host").unwrap_or("");
    format!(
        "client: {}, server: localhost, request: \"{} {} {:?}\", host: \"{host}\"",
        call.peer.ip().to_canonical(),
        call.method,
        call.target(),
        call.version
    )
}

fn missing(call: &Call, full: &Path, number: i32, why: &str) -> Draft {
    super::log(
        "error",
        &format!(
            "*1 open() \"{}\" failed ({number}: {why}), {}",
            full.display(),
            context(call)
        ),
    );
    Draft::error(404)
}

/// Where a path is in the file system.
fn file_of(location: &Location, settings: &Settings, path: &str) -> Option<std::path::PathBuf> {
    match (&location.alias, &location.matches) {
        (Some(alias), Match::Prefix(prefix, _) | Match::Exact(prefix)) => {
            let rest = encode(path.strip_prefix(prefix.as_str())?);
            // `/img` with an alias `/data` must not let `/img../etc` climb.
            let full = if rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/') {
                below(Path::new(alias), &rest)?
            } else {
                below(Path::new("/"), &format!("{alias}{rest}"))?
            };
            Some(full)
        }
        (Some(alias), _) => Some(alias.into()),
        (None, _) => below(Path::new(&settings.root), &encode(path)),
    }
}
