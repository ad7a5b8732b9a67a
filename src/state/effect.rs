//! What the application asks of the world, and what it does with the answers.

use std::path::PathBuf;

use bytes::Bytes;

use crate::cluster::{ApplyReport, Request, Source};
use crate::session::{SessionId, Spec};
use crate::view::Target;

/// Names one thing asked.
pub type RequestId = u64;

/// One thing asked of the world. Each kind is a mechanism, not a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a request to the cluster.
    Send(RequestId, Request),
    /// Apply manifests (server-side apply), or only say what applying them would change.
    Apply {
        /// Names it.
        id: RequestId,
        /// YAML or JSON, any number of documents.
        text: String,
        /// Namespace of objects that name none.
        namespace: String,
        /// Change nothing.
        dry_run: bool,
    },
    /// Open a session.
    Open(SessionId, Spec),
    /// Send bytes to a terminal session.
    Input(SessionId, Bytes),
    /// Change a terminal session's size: columns, rows.
    Resize(SessionId, u16, u16),
    /// End a session.
    Close(SessionId),
    /// Put a text on the clipboard.
    Copy(String),
    /// Read a file (a directory: its manifests, joined).
    Read(RequestId, PathBuf),
    /// Write a file that does not exist yet.
    Write(RequestId, PathBuf, String),
    /// Leave the screen to the user's editor with this text.
    Edit(RequestId, String),
    /// Open a web page.
    Browse(String),
    /// Connect to a cluster.
    Connect(Source),
    /// Remember that the welcome has been seen.
    Welcomed,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The body of an answer, or a file's contents.
    Bytes(Bytes),
    /// What applying changed, or would change.
    Applied(ApplyReport),
}

/// What happens when an answer is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Say so.
    Say(String),
    /// Nothing, unless it failed.
    Quiet,
    /// The file's text is to be applied: show the dry run first.
    Preview(PathBuf),
    /// The dry run of a text is back: show it and ask.
    Ask {
        /// The text.
        text: String,
        /// Where it comes from, for the title.
        origin: String,
    },
    /// The text has been applied.
    Report,
    /// The user has edited an object: send what changed.
    Edited {
        /// The object.
        target: Target,
        /// The text the editor was given.
        before: String,
    },
    /// The edited object has been sent: on failure the edited text must not be lost.
    Sent {
        /// The object.
        target: Target,
        /// What the user wrote.
        text: String,
    },
}
