//! kubia-pet keeps what is posted to it on its volume; kubia-pet-peers also asks the other pods of its set, which it finds by DNS.

use std::time::{Duration, Instant};

use super::node::text;
use crate::net::dns::Data;
use crate::net::serve::{Call, Reply};
use crate::net::url::Url;
use crate::net::{client, resolve};

const FILE: &str = "/var/data/kubia.txt";
const SERVICE: &str = "kubia.default.svc.cluster.local";
const NOTHING: &str = "No data posted yet";

fn stored() -> String {
    std::fs::read(FILE).map_or_else(
        |_| NOTHING.to_owned(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

fn store(call: &Call, host: &str, log: bool) -> Reply {
    if let Err(error) = std::fs::write(FILE, &call.body) {
        // The original does not handle this either, and its process ends; here the client learns why.
        crate::say::fail("kubia-pet", format!("{FILE}: {}", crate::say::reason(&error)));
        return text(500, format!("cannot write {FILE}\n"));
    }
    if log {
        crate::say::out("New data has been received and stored.\n");
    }
    text(200, format!("Data stored on pod {host}\n"))
}

pub(super) fn pet(call: &Call, host: &str) -> Reply {
    if call.method == http::Method::POST {
        return store(call, host, true);
    }
    text(
        200,
        format!("You've hit {host}\nData stored on this pod: {}\n", stored()),
    )
}

pub(super) fn peers(call: &Call, host: &str) -> Reply {
    if call.method == http::Method::POST {
        return store(call, host, false);
    }
    if call.target() == "/data" {
        return text(200, stored());
    }
    let mut page = format!("You've hit {host}\nData stored in the cluster:\n");
    let names: Vec<String> = match resolve::query(SERVICE, 33) {
        Ok(message) if message.code() == 0 => message
            .answers
            .into_iter()
            .filter_map(|record| match record.data {
                Data::Service { target, .. } => Some(target),
                _ => None,
            })
            .collect(),
        _ => {
            page.push_str(&format!(
                "Could not look up DNS SRV records: Error: querySrv ENOTFOUND {SERVICE}"
            ));
            return text(200, page);
        }
    };
    if names.is_empty() {
        page.push_str("No peers discovered.");
        return text(200, page);
    }
    // All at once: one peer that hangs must not hold up the rest.
    let answers: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = names.iter().map(|name| scope.spawn(move || ask(name))).collect();
        asked
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| "Error: failed".to_owned()))
            .collect()
    });
    for (name, answer) in names.iter().zip(answers) {
        page.push_str(&format!("- {name}: {answer}\n"));
    }
    text(200, page)
}

fn ask(name: &str) -> String {
    let url = Url {
        secure: false,
        user: None,
        host: name.to_owned(),
        port: 8080,
        path: "/data".to_owned(),
    };
    let request = client::Request {
        method: "GET".to_owned(),
        deadline: Some(Instant::now() + Duration::from_secs(5)),
        ..client::Request::default()
    };
    match client::send(&url, &request).and_then(|response| response.text(1 << 20)) {
        Ok(body) => body,
        Err(error) => format!("Error: {error}"),
    }
}
