//! What the application asks of the world, and what it does with the answers.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::cluster::{ApplyReport, Change, ClusterId, Content, ObjectRef, Plan, Read, Report};
use crate::keys::Line;
use crate::kind::why::Diagnosis;
use crate::session::{SessionId, Spec};
use crate::view::Target;

/// Names one thing asked.
pub type RequestId = u64;

/// One thing asked of the world. Each kind is a mechanism, not a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Carry out a plan, in the cluster it was made for.
    Execute(RequestId, Arc<Plan>),
    /// Begin no further change of an operation.
    Cancel(RequestId),
    /// Say what applying manifests (server-side apply) would change.
    Preview {
        /// Names it.
        id: RequestId,
        /// Where.
        cluster: ClusterId,
        /// YAML or JSON, any number of documents.
        text: String,
        /// Namespace of objects that name none.
        namespace: String,
    },
    /// Count what is in namespaces.
    Count {
        /// Names it.
        id: RequestId,
        /// Where.
        cluster: ClusterId,
        /// The namespaces.
        namespaces: Vec<String>,
    },
    /// Read something as it is.
    Get(RequestId, ClusterId, Read),
    /// Read lists that a command needs before it can say what it will do.
    List(RequestId, ClusterId, Vec<Read>),
    /// Ask what a change would lead to; nothing is kept.
    Ask(RequestId, Box<Change>),
    /// Read an object as it is now.
    Fetch(RequestId, ClusterId, ObjectRef),
    /// Find out why an object does not work.
    Examine(RequestId, ObjectRef),
    /// Ask a cluster again what it serves.
    Discover(RequestId, ClusterId),
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
    /// Go and work in a cluster, once it answers.
    Connect(ClusterId),
    /// Try to reach a cluster now, with what its kubeconfig says now.
    Retry(ClusterId),
    /// Lend the terminal to the credential plugin of a cluster's user, then try to reach the cluster.
    Login(ClusterId),
    /// Write something down between runs: the file's name in the state directory, and what it holds.
    Remember(&'static str, String),
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A file's contents, or nothing.
    Bytes(Bytes),
    /// What applying would change.
    Previewed(ApplyReport),
    /// What became of a plan.
    Executed(Report),
    /// What is in the namespaces.
    Counted(Content),
    /// An object.
    Object(Value),
    /// The objects of lists, in the order they were asked for.
    Lists(Vec<Vec<Value>>),
    /// Why an object does not work.
    Examined(Arc<Diagnosis>),
}

/// What happens when an answer is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Say so.
    Say(String),
    /// What the cluster serves is known anew: run a line that named what it did not serve before.
    Again(Line),
    /// Nothing.
    Quiet,
    /// Tell the dialog that asked.
    Learn,
    /// What a command needs has been read: it goes on.
    GoOn(Errand, Line, Vec<Target>),
    /// Show why an object does not work.
    Explain(Target),
    /// The file's text is to be applied: try it first.
    Preview {
        /// The file or directory.
        path: PathBuf,
        /// Namespace of objects that name none.
        namespace: Arc<str>,
    },
    /// The dry run of a text is back: show it and ask.
    Ask {
        /// Where the text comes from, for the title.
        origin: String,
        /// Namespace of objects that name none.
        namespace: Arc<str>,
    },
    /// A plan has been carried out.
    Report(Arc<Plan>),
    /// The user has edited an object: make the same changes on the server.
    Edited(Edit),
    /// The edited object has been sent: on failure the edited text must not be lost.
    Sent {
        /// The edit.
        edit: Edit,
        /// What the user wrote.
        text: String,
        /// The object the user wrote.
        edited: Value,
        /// What was sent.
        plan: Arc<Plan>,
    },
    /// The object has changed where the user has changed it, and is as read now: the editor opens on both.
    Reconcile {
        /// The edit.
        edit: Edit,
        /// The object the user wrote.
        edited: Value,
    },
}

/// What something is read for: the commands that look before they say what they will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// The pods of a node that is to be drained.
    Drain,
    /// The finished pods of a place.
    Sanitize,
    /// The revisions of a workload.
    Undo,
    /// What a service answers.
    Answer,
    /// The pods behind a service or a workload, to forward to.
    Forward,
    /// Whether the user may do something.
    CanI,
    /// What the user may do.
    Rights,
    /// The roles, for who may do something.
    WhoCan,
    /// The roles, for what an account may do.
    Account,
    /// The schema of a kind.
    Explain,
}

/// An object in the user's editor.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// The object.
    pub target: Target,
    /// The version that the text was made of.
    pub base: Value,
    /// The text the editor was given.
    pub shown: String,
}

/// An answer that is waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// What happens then.
    pub then: Then,
    /// The cluster it was asked in.
    pub cluster: ClusterId,
    /// How many keys had been pressed when it was asked: a dialog that it opens is opened by the last of them, or is a notice.
    pub keys: u64,
}
