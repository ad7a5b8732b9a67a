//! nginx: static files, redirects and simple proxying, configured by the usual files.

mod answer;
mod conf;
mod file;
mod proxy;
mod site;
mod variable;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use crate::net::serve::{Door, Stop, Style, run};
use crate::net::tls;

/// The version the image stands for.
fn version() -> String {
    std::env::var("NGINX_VERSION")
        .ok()
        .filter(|v| v.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
        .unwrap_or_else(|| "1.29.1".to_owned())
}

/// Writes to the error log, which containers have on standard error.
fn log(level: &str, text: &str) {
    let now = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
    let pid = std::process::id();
    let _ = crate::sys::write_all(2, format!("{now} [{level}] {pid}#{pid}: {text}\n").as_bytes());
}

struct Options {
    config: String,
    test: bool,
    quiet: bool,
    dump: bool,
    signal: Option<String>,
    global: String,
}

pub(crate) fn main(args: &[String]) -> i32 {
    let mut options = Options {
        config: "/etc/nginx/nginx.conf".to_owned(),
        test: false,
        quiet: false,
        dump: false,
        signal: None,
        global: String::new(),
    };
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().cloned().unwrap_or_default();
        match arg.as_str() {
            "-v" | "-V" => {
                let _ = crate::sys::write_all(2, format!("nginx version: nginx/{}\n", version()).as_bytes());
                return 0;
            }
            "-t" => options.test = true,
            "-T" => (options.test, options.dump) = (true, true),
            "-q" => options.quiet = true,
            "-c" => options.config = value(),
            "-g" => options.global = value(),
            "-p" | "-e" => drop(value()),
            "-s" => options.signal = Some(value()),
            other => {
                crate::say::fail("nginx", format!("invalid option: \"{other}\""));
                return 1;
            }
        }
    }
    if let Some(signal) = &options.signal {
        return send(signal);
    }
    let loaded = load(&options);
    if options.test {
        return match loaded {
            Ok(_) => {
                let text = format!(
                    "nginx: the configuration file {0} syntax is ok\nnginx: configuration file {0} test is successful\n",
                    options.config
                );
                if !options.quiet {
                    let _ = crate::sys::write_all(2, text.as_bytes());
                }
                if options.dump {
                    let text = std::fs::read_to_string(&options.config).unwrap_or_default();
                    crate::say::out(format!("# configuration file {}:\n{text}\n", options.config));
                }
                0
            }
            Err(message) => {
                emergency(&message);
                let _ = crate::sys::write_all(
                    2,
                    format!("nginx: configuration file {} test failed\n", options.config).as_bytes(),
                );
                1
            }
        };
    }
    let sites = match loaded {
        Ok(sites) => sites,
        Err(message) => {
            emergency(&message);
            return 1;
        }
    };
    let doors = match listen(&sites) {
        Ok(doors) => doors,
        Err(status) => return status,
    };
    let _ = std::fs::write("/run/nginx.pid", format!("{}\n", std::process::id()));
    let minor: u32 = version().split('.').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    if minor >= 19 {
        log("notice", "using the \"epoll\" event method");
        log("notice", &format!("nginx/{}", version()));
        if let Ok(uname) = nix::sys::utsname::uname() {
            log(
                "notice",
                &format!(
                    "OS: {} {}",
                    uname.sysname().to_string_lossy(),
                    uname.release().to_string_lossy()
                ),
            );
        }
        log("notice", "start worker processes");
    }
    let style = Style {
        terminate: Stop::Now(0),
        interrupt: Stop::Now(0),
        quit: Stop::Graceful(0),
        title_case: true,
        say_keep_alive: true,
        keep_alive: Duration::from_secs(75),
    };
    let state = answer::State::new(sites, version());
    let status = run(doors, style, move |call| state.answer(&call));
    if minor >= 19 {
        log("notice", "exit");
    }
    let _ = std::fs::remove_file("/run/nginx.pid");
    status
}

fn emergency(message: &str) {
    log("emerg", message);
    let _ = crate::sys::write_all(2, format!("nginx: [emerg] {message}\n").as_bytes());
}

fn load(options: &Options) -> Result<site::Sites, String> {
    let mut config = conf::load(&options.config)?;
    config.extend(conf::parse(&options.global, "command line")?);
    site::read(&config)
}

/// `nginx -s stop|quit|reload|reopen`
fn send(name: &str) -> i32 {
    let signal = match name {
        "stop" => nix::sys::signal::Signal::SIGTERM,
        "quit" => nix::sys::signal::Signal::SIGQUIT,
        // One process serves for good: a changed configuration is read by a new one.
        "reload" | "reopen" => {
            return crate::say::fail(
                "nginx",
                format!("-s {name} is not supported here: restart the container"),
            );
        }
        other => return crate::say::fail("nginx", format!("invalid option: \"-s {other}\"")),
    };
    let pid = std::fs::read_to_string("/run/nginx.pid")
        .ok()
        .and_then(|t| t.trim().parse::<i32>().ok());
    let Some(pid) = pid else {
        emergency("open() \"/run/nginx.pid\" failed (2: No such file or directory)");
        return 1;
    };
    match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal) {
        Ok(()) => 0,
        Err(error) => crate::say::fail("nginx", error.desc()),
    }
}

/// Opens every address once. Where `[::]` and `0.0.0.0` share a port, each is its own socket, as in nginx.
/// Servers that share an address with TLS share the certificate of the first.
fn listen(sites: &site::Sites) -> Result<Vec<Door>, i32> {
    let mut addresses = BTreeMap::new();
    for listen in sites.servers.iter().flat_map(|s| &s.listen) {
        let tls = addresses.entry(listen.address).or_insert(None);
        *tls = tls.or(listen.tls.as_ref());
    }
    let mut doors = Vec::new();
    for (address, files) in addresses {
        let tls = match files {
            None => None,
            Some((certificate, key)) => match tls::server(Path::new(certificate), Path::new(key)) {
                Ok(tls) => Some(tls),
                Err(message) => {
                    emergency(&format!("cannot load certificate \"{certificate}\": {message}"));
                    return Err(1);
                }
            },
        };
        match bind(address) {
            Ok(listener) => doors.push(Door { listener, tls }),
            // A host without IPv6 is no reason not to start.
            Err(error) if address.is_ipv6() && error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {}
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(0);
                emergency(&format!(
                    "bind() to {address} failed ({number}: {})",
                    crate::say::reason(&error)
                ));
                return Err(1);
            }
        }
    }
    Ok(doors)
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, socket, sockopt};
    let family = if address.is_ipv6() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    use std::os::fd::AsRawFd;
    nix::sys::socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    nix::sys::socket::listen(&fd, Backlog::new(511)?)?;
    Ok(TcpListener::from(fd))
}
