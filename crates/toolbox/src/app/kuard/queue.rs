//! memq: work queues in memory, for the exercises with Jobs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{json_reply, locked, not_found, plain};
use crate::net::serve::{Call, Reply, reply};

/// Messages per queue and queues: a demonstration, not a broker.
const MOST_MESSAGES: usize = 100_000;
const MOST_QUEUES: usize = 1000;

#[derive(Default)]
struct Queue {
    messages: VecDeque<Value>,
    enqueued: u64,
    dequeued: u64,
    drained: u64,
}

#[derive(Default)]
pub(super) struct Broker {
    queues: Mutex<BTreeMap<String, Queue>>,
}

impl Broker {
    pub(super) fn answer(&self, method: &str, path: &str, call: &Call) -> Reply {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let mut queues = locked(&self.queues);
        match (method, parts.as_slice()) {
            ("GET", ["stats"]) => {
                let queues: Vec<_> = queues
                    .iter()
                    .map(|(name, q)| {
                        json!({ "name": name, "depth": q.messages.len(), "enqueued": q.enqueued, "dequeued": q.dequeued, "drained": q.drained })
                    })
                    .collect();
                json_reply(&json!({ "kind": "stats", "queues": queues }))
            }
            (_, ["queues", ""]) => plain(400, "empty name\n"),
            ("PUT", ["queues", name]) => {
                if queues.contains_key(*name) {
                    return plain(400, "already exists\n");
                }
                if queues.len() >= MOST_QUEUES {
                    return plain(400, "too many queues\n");
                }
                queues.insert((*name).to_owned(), Queue::default());
                reply(200, &[], "")
            }
            ("DELETE", ["queues", name]) => match queues.remove(*name) {
                Some(_) => reply(200, &[], ""),
                None => plain(400, "does not exist\n"),
            },
            ("POST", ["queues", name, action @ ("drain" | "dequeue" | "enqueue")]) => {
                let Some(queue) = queues.get_mut(*name) else {
                    return plain(400, "does not exist\n");
                };
                queue.act(action, call)
            }
            _ => not_found(),
        }
    }
}

impl Queue {
    fn act(&mut self, action: &str, call: &Call) -> Reply {
        match action {
            "drain" => {
                self.drained += self.messages.len() as u64;
                self.messages.clear();
                reply(200, &[], "")
            }
            "dequeue" => match self.messages.pop_front() {
                Some(message) => {
                    self.dequeued += 1;
                    json_reply(&message)
                }
                None => reply(204, &[], ""),
            },
            _ => {
                if self.messages.len() >= MOST_MESSAGES {
                    return plain(400, "queue is full\n");
                }
                let message = json!({
                    "kind": "message",
                    "id": format!("{:016x}{:016x}", crate::random::next(), crate::random::next()),
                    "body": String::from_utf8_lossy(&call.body),
                    "creationTimestamp": jiff::Timestamp::now().to_string(),
                });
                self.messages.push_back(message.clone());
                self.enqueued += 1;
                json_reply(&message)
            }
        }
    }
}
