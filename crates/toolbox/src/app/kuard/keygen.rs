//! A workload that takes time: the exercises with Jobs use it. The original makes RSA keys; this one does a comparable amount of hashing
//! per item and shows the fingerprint of the result.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{json_reply, locked, log, plain};
use crate::net::client;
use crate::net::serve::{Call, Reply};
use crate::net::url::Url;

const HISTORY: usize = 20;

/// How long one item takes.
const ITEM: Duration = Duration::from_millis(800);

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    enable: bool,
    num_to_gen: i64,
    time_to_run: i64,
    #[serde(rename = "memQServer")]
    memq_server: String,
    #[serde(rename = "memQQueue")]
    memq_queue: String,
    exit_on_complete: bool,
    exit_code: i32,
}

impl Config {
    pub(super) fn from_flags(flags: &super::Config) -> Self {
        Self {
            enable: flags.on("keygen-enable"),
            num_to_gen: flags.number("keygen-num-to-gen"),
            time_to_run: flags.number("keygen-time-to-run"),
            memq_server: flags.text("keygen-memq-server").to_owned(),
            memq_queue: flags.text("keygen-memq-queue").to_owned(),
            exit_on_complete: flags.on("keygen-exit-on-complete"),
            exit_code: i32::try_from(flags.number("keygen-exit-code")).unwrap_or(0),
        }
    }
}

#[derive(Default)]
pub(super) struct KeyGen {
    config: Mutex<Config>,
    history: Mutex<VecDeque<(u64, String)>>,
    next: AtomicU64,
    /// Each load starts a new generation; workers of an older one stop.
    generation: AtomicU64,
}

impl KeyGen {
    pub(super) fn load(self: &Arc<Self>, config: Config) {
        *locked(&self.config) = config.clone();
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        if config.enable {
            let this = Arc::clone(self);
            std::thread::spawn(move || {
                if config.memq_server.is_empty() || config.memq_queue.is_empty() {
                    this.work(&config, generation);
                } else {
                    this.work_queue(&config, generation);
                }
            });
        }
    }

    pub(super) fn put(self: &Arc<Self>, call: &Call) -> Reply {
        match serde_json::from_slice(&call.body) {
            Ok(config) => {
                self.load(config);
                json_reply(&self.status())
            }
            Err(error) => plain(400, format!("{error}\n")),
        }
    }

    pub(super) fn status(&self) -> Value {
        let history: Vec<_> = locked(&self.history)
            .iter()
            .map(|(id, data)| json!({ "id": id, "data": data }))
            .collect();
        json!({ "config": *locked(&self.config), "history": history })
    }

    fn say(&self, text: String) {
        log(&text);
        let mut history = locked(&self.history);
        history.push_back((self.next.fetch_add(1, Ordering::Relaxed), text));
        if history.len() > HISTORY {
            history.pop_front();
        }
    }

    fn current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::SeqCst) == generation
    }

    fn work(&self, config: &Config, generation: u64) {
        let id = generation - 1;
        self.say(format!("(ID {id}) Workload starting"));
        let end = u64::try_from(config.time_to_run)
            .ok()
            .filter(|n| *n > 0)
            .map(|n| Instant::now() + Duration::from_secs(n));
        let mut done = 0;
        loop {
            if !self.current(generation) {
                self.say(format!("(ID {id}) Workload exiting"));
                return;
            }
            if end.is_some_and(|end| Instant::now() >= end) || (config.num_to_gen > 0 && done >= config.num_to_gen) {
                break;
            }
            let key = item();
            done += 1;
            let total = if config.num_to_gen > 0 {
                config.num_to_gen.to_string()
            } else {
                "Inf".to_owned()
            };
            self.say(format!("(ID {id} {done}/{total}) Item done: {key}"));
        }
        self.say(format!("(ID {id}) Workload exiting"));
        if config.exit_on_complete {
            std::process::exit(config.exit_code);
        }
    }

    fn work_queue(&self, config: &Config, generation: u64) {
        self.say("MemQ Worker starting".to_owned());
        let address = format!(
            "{}/queues/{}/dequeue",
            config.memq_server.trim_end_matches('/'),
            config.memq_queue
        );
        while self.current(generation) {
            let request = client::Request {
                method: "POST".to_owned(),
                body: Some(Vec::new()),
                deadline: Some(Instant::now() + Duration::from_secs(30)),
                ..client::Request::default()
            };
            let status = Url::parse(&address).and_then(|url| client::send(&url, &request).map_err(|e| e.to_string()));
            match status.map(|response| response.status) {
                Ok(200) => {
                    let key = item();
                    self.say(format!("Item done: {key}"));
                    continue;
                }
                Ok(204) if config.exit_on_complete => std::process::exit(config.exit_code),
                Ok(204) => self.say("Queue is empty. Retrying after 1s.".to_owned()),
                Ok(status) => self.say(format!("Error talking to server: status {status}. Retrying after 1s.")),
                Err(error) => self.say(format!("Error talking to server: {error}. Retrying after 1s.")),
            }
            // A worker thread of its own; nothing else waits for it.
            #[allow(clippy::disallowed_methods, reason = "a plain worker thread")]
            std::thread::sleep(Duration::from_secs(1));
        }
        self.say("MemQ Worker shutting down".to_owned());
    }
}

/// One item of work: keeps a processor busy and gives a fingerprint.
fn item() -> String {
    let end = Instant::now() + ITEM;
    let mut hash = Sha256::digest(crate::random::next().to_le_bytes());
    while Instant::now() < end {
        for _ in 0..256 {
            hash = Sha256::digest(hash);
        }
    }
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    format!("SHA256:{}", &hex[..43])
}
