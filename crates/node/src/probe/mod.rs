//! Probes: is a container up, alive, ready?

mod grpc;
mod http;
mod run;
mod worker;

pub(crate) use run::http_get;
pub(crate) use worker::{Kind, ProbeResult, Target, watch};

/// What one attempt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is well; the text is for nobody but the curious.
    Success(String),
    /// It is not, and why.
    Failure(String),
    /// The probe itself could not be made; counts as neither.
    Unknown(String),
}
