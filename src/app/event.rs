//! Whatever wakes the application.

use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::{ClusterId, Contexts, Discovery, Link, Plugin, Progress, Running};
use crate::error::{Error, Result};
use crate::kind::outline::{Of, Outline};
use crate::kind::usage::Usage;
use crate::state::{Outcome, RequestId};
use crate::view::{Glance, Input};

/// A connection to a cluster, just made.
pub struct Connected {
    /// The way to it.
    pub link: Link,
    /// What it is called.
    pub name: String,
    /// An embedded cluster, kept running for as long as this is held.
    pub running: Option<Arc<Running>>,
}

/// Of which cluster, which kind and which namespace something is measured: all of them where it is `None`.
pub type Measured = (ClusterId, &'static str, Option<Arc<str>>);

/// Whatever wakes the application.
pub enum Event {
    /// The user did something.
    Input(Input),
    /// The terminal has another size.
    Resized,
    /// Listings have changed.
    Data,
    /// Sessions have changed.
    Sessions,
    /// The cluster has answered a heartbeat, or has not.
    Heartbeat(ClusterId, bool),
    /// An operation has come further.
    Progress(RequestId, Progress),
    /// What a view wanted to glance at is there.
    Glanced(Glance, Bytes),
    /// An outline has been drawn up.
    Surveyed(Of, Outline),
    /// What a kind uses has been read, or cannot be.
    Measured(Measured, Option<Arc<Usage>>),
    /// Something asked for is back.
    Done(RequestId, Result<Outcome>),
    /// An attempt to reach a cluster, by its number, has succeeded or failed.
    Connected(ClusterId, u64, Result<Connected>),
    /// The cluster was asked again what it serves.
    Discovered(ClusterId, Arc<Discovery>),
    /// The contexts of the kubeconfig are known.
    Contexts(Contexts),
    /// The user's editor is to run on a text: the loop gives it the terminal.
    Edit(RequestId, String),
    /// The credential plugin of a cluster's user is to run: the loop gives it the terminal.
    Login(ClusterId, Plugin),
    /// A text goes to the terminal's clipboard (OSC 52).
    Clipboard(String),
    /// Something failed that nobody waits for.
    Failed(Error),
    /// The program is asked to stop until it is continued (SIGTSTP).
    Suspend,
    /// The program is asked to end (SIGTERM, SIGHUP).
    Terminate,
}
