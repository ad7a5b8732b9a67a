//! A health page that can be told to fail: the next N times, or for ever.

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::Zoned;
use serde_json::json;

use super::{json_reply, locked, not_found, plain};
use crate::net::serve::{Call, Reply, reply};

/// Calls remembered.
const HISTORY: usize = 20;

struct State {
    /// Above 0: fail this many times. Below 0: fail for ever.
    fail_next: i64,
    last: u64,
    history: VecDeque<(u64, Zoned, u16)>,
}

pub(super) struct Probe {
    path: &'static str,
    state: Mutex<State>,
}

impl Probe {
    pub(super) fn new(path: &'static str, fail_next: i64) -> Self {
        Self {
            path,
            state: Mutex::new(State {
                fail_next,
                last: 0,
                history: VecDeque::new(),
            }),
        }
    }

    /// `rest` is what follows the probe's path.
    pub(super) fn answer(&self, call: &Call, rest: &str) -> Reply {
        match (call.method.as_str(), rest) {
            ("GET" | "HEAD", "") => self.probe(),
            ("GET" | "HEAD", "/api") => self.status(),
            ("PUT" | "POST", "/api") => self.configure(call),
            (_, "" | "/api") => plain(405, "Method Not Allowed\n"),
            _ => not_found(),
        }
    }

    fn probe(&self) -> Reply {
        let mut state = locked(&self.state);
        let (status, message) = match state.fail_next {
            0 => (200, "ok".to_owned()),
            n if n > 0 => {
                state.fail_next -= 1;
                (500, format!("fail, {} left", state.fail_next))
            }
            _ => (500, "fail, permanent".to_owned()),
        };
        state.last += 1;
        let entry = (state.last, Zoned::now(), status);
        state.history.push_back(entry);
        if state.history.len() > HISTORY {
            state.history.pop_front();
        }
        reply(status, &[("Content-Type", "text/plain")], message)
    }

    fn status(&self) -> Reply {
        let state = locked(&self.state);
        let now = Zoned::now();
        let history: Vec<_> = state
            .history
            .iter()
            .rev()
            .map(|(id, when, code)| {
                let seconds = now.timestamp().as_second() - when.timestamp().as_second();
                json!({ "id": id, "when": when.strftime("%b %e %H:%M:%S").to_string(), "relWhen": ago(seconds), "code": code })
            })
            .collect();
        json_reply(&json!({ "probePath": self.path, "failNext": state.fail_next, "history": history }))
    }

    fn configure(&self, call: &Call) -> Reply {
        #[derive(serde::Deserialize)]
        struct Config {
            #[serde(rename = "failNext", default)]
            fail_next: i64,
        }
        match serde_json::from_slice::<Config>(&call.body) {
            Ok(config) => {
                locked(&self.state).fail_next = config.fail_next;
                self.status()
            }
            Err(error) => plain(400, format!("{error}\n")),
        }
    }
}

fn ago(seconds: i64) -> String {
    match seconds {
        i64::MIN..=0 => "now".to_owned(),
        1 => "1 second ago".to_owned(),
        2..60 => format!("{seconds} seconds ago"),
        60..120 => "1 minute ago".to_owned(),
        120..3600 => format!("{} minutes ago", seconds / 60),
        3600..7200 => "1 hour ago".to_owned(),
        _ => format!("{} hours ago", seconds / 3600),
    }
}
