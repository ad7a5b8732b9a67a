//! The pages for people: one document whose parts a small script fills from the server's APIs.

use super::Server;
use crate::net::serve::{Call, Reply, reply};
use crate::net::url::html;

pub(super) const SCRIPT: &str = include_str!("kuard.js");
pub(super) const STYLE: &str = include_str!("kuard.css");

/// The start page; also every address below `/-/`, of which the script shows the part that the address names.
pub(super) fn root(server: &Server, call: &Call, base: &str) -> Reply {
    let addresses = nix::ifaddrs::getifaddrs().map_or_else(
        |_| Vec::new(),
        |all| {
            all.filter_map(|i| Some(i.address?.as_sockaddr_in()?.ip()))
                .filter(|ip| !ip.is_loopback())
                .map(|ip| ip.to_string())
                .collect()
        },
    );
    let mut dump = format!("{} {} {:?}\n", call.method, call.target(), call.version);
    for (name, value) in &call.headers {
        dump.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    let color = match server.version.rsplit('-').next() {
        Some("blue") => "#3477c4",
        Some("green") => "#2f8f4e",
        Some("purple") => "#7d4bb0",
        _ => "#555f6b",
    };
    let tabs: String = [
        ("", "Request Details"),
        ("env", "Server Env"),
        ("mem", "Memory"),
        ("liveness", "Liveness Probe"),
        ("readiness", "Readiness Probe"),
        ("dns", "DNS Query"),
        ("keygen", "KeyGen Workload"),
        ("memq", "MemQ Server"),
    ]
    .iter()
    .map(|(path, title)| {
        let link = if path.is_empty() {
            format!("{base}/")
        } else {
            format!("{base}/-/{path}")
        };
        format!("<a data-tab=\"{path}\" href=\"{link}\">{title}</a>\n")
    })
    .collect();
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>KUAR Demo</title>\n\
         <link rel=\"stylesheet\" href=\"{base}/static/kuard.css\">\n</head>\n<body data-base=\"{base}\">\n\
         <h1>Demo application <em>version <b style=\"background:{color}\">{version}</b></em></h1>\n\
         <p class=\"warning\">WARNING: This server may expose sensitive and secret information. Be careful.</p>\n\
         <p>Served on <b id=\"hostname\">{host}</b>, addresses <b>{addresses}</b> | <a href=\"{base}/fs/\">File system browser</a></p>\n\
         <nav>\n{tabs}</nav>\n<main id=\"content\"><h2>Request Details</h2>\n<p>Protocol: {protocol:?}</p>\n<p>Client address: {peer}</p>\n\
         <pre>{dump}</pre></main>\n<script src=\"{base}/static/kuard.js\"></script>\n</body>\n</html>\n",
        version = html(&server.version),
        host = html(&crate::host::name()),
        addresses = html(&addresses.join(", ")),
        protocol = call.version,
        peer = html(&super::show_peer(call)),
        dump = html(&dump),
    );
    reply(
        200,
        &[
            ("Content-Type", "text/html; charset=utf-8"),
            ("Cache-Control", "no-cache, private, max-age=0"),
        ],
        page,
    )
}
