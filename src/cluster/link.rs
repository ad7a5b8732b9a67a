//! The way to one cluster.

use crate::cluster::{Discovery, Request};
use crate::error::{Error, Result};
use jiff::Timestamp;
use std::sync::Arc;

/// How the way to the cluster is.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum LinkState {
    /// First contact is being made.
    #[default]
    Connecting,
    /// The cluster answers.
    Up,
    /// It does not answer, since when and why; it is tried again.
    Down(Timestamp, Error),
}

/// The way to one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    client: kube::Client,
    read_only: bool,
    /// What the cluster serves.
    pub discovery: Arc<Discovery>,
    /// Namespace of the context.
    pub namespace: Arc<str>,
}

impl Link {
    /// The client, for feeds and sessions.
    pub(crate) fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Whether requests that change something are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Sends one request; the body of the answer.
    pub async fn send(&self, _request: &Request) -> Result<bytes::Bytes> {
        Err(Error::usage("not connected"))
    }
}
