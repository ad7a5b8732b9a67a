//! Memory on request: to meet a limit and be killed for it.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::{locked, plain};
use crate::net::serve::{Call, Reply, reply};

#[derive(Default)]
pub(super) struct Memory {
    held: Mutex<Vec<Vec<u8>>>,
}

impl Memory {
    pub(super) fn stats(&self) -> Value {
        let held: usize = locked(&self.held).iter().map(Vec::len).sum();
        let pages = |field: usize| -> u64 {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
            text.split_whitespace()
                .nth(field)
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0)
                * 4096
        };
        let (virtual_, resident) = (pages(0), pages(1));
        json!({ "memStats": {
            "Alloc": held, "TotalAlloc": held, "Sys": virtual_, "HeapAlloc": held, "HeapSys": resident,
            "HeapInuse": resident, "HeapIdle": 0, "HeapReleased": 0, "NumGC": 0,
        } })
    }

    pub(super) fn alloc(&self, call: &Call) -> Reply {
        let Some(size) = call.query("size").filter(|s| !s.is_empty()) else {
            return plain(400, "size not specified\n");
        };
        let Ok(size) = size.parse::<usize>() else {
            return plain(400, "bad size param\n");
        };
        let mut block = Vec::new();
        // Asking politely: more than the address space holds is the client's mistake; more than the limit allows is the point.
        if block.try_reserve_exact(size).is_err() {
            return plain(500, "cannot allocate that much\n");
        }
        block.resize(size, b'x');
        locked(&self.held).push(block);
        reply(200, &[], "")
    }

    pub(super) fn clear(&self) -> Reply {
        locked(&self.held).clear();
        reply(200, &[], "")
    }
}
