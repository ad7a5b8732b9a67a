//! Container logs: written as the Container Runtime Interface lays them down, read as `kubectl logs` asks.
//!
//! One instance of a container is one *attempt*; its log is one or more *segments*, files named `ATTEMPT.SEGMENT.log`. A segment that
//! has grown large is followed by the next, and the oldest ones are removed. A segment is never renamed, so a reader finds
//! the next one by counting.
//!
//! Files are written and read with plain blocking calls: they are short, they go to the page cache, and handing each line to another thread
//! would cost more than it saves.

mod format;
mod pump;
mod reader;
mod tail;
mod writer;

pub(crate) use format::Stream;
pub(crate) use pump::pump;
pub(crate) use reader::{Reader, chunks};
pub(crate) use writer::ContainerLog;
