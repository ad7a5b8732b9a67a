//! `Status` objects: what every failure looks like to a Kubernetes client, before an upgrade and after it.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::backend::BackendError;

/// A failure as Kubernetes words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: StatusCode,
    pub(crate) message: String,
    reason: &'static str,
    /// Repeats the bare cause of an internal error, as Kubernetes does.
    cause: Option<String>,
}

impl Failure {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            code: StatusCode::BAD_REQUEST,
            message: message.into(),
            reason: "BadRequest",
            cause: None,
        }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self {
            code: StatusCode::FORBIDDEN,
            message: message.into(),
            reason: "Forbidden",
            cause: None,
        }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code: StatusCode::SERVICE_UNAVAILABLE,
            message,
            reason: "ServiceUnavailable",
            cause: None,
        }
    }

    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self {
            code: StatusCode::INTERNAL_SERVER_ERROR,
            message: format!("Internal error occurred: {cause}"),
            reason: "InternalError",
            cause: Some(cause),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        });
        if let Some(cause) = &self.cause {
            status["details"] = json!({"causes": [{"message": cause}]});
        }
        status["code"] = json!(self.code.as_u16());
        status
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.to_json().to_string()));
        *response.status_mut() = self.code;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// The error stream's last word on a command that ended well.
pub(crate) fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// The error stream's last word on a command that ended with a code; clients exit with the same one.
pub(crate) fn exit_status(code: i32, command: &[String]) -> Value {
    let command = command.join(" ");
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!(
            "command terminated with non-zero exit code: error executing command [{command}], exit code {code}"
        ),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::NotFound(message) => Self {
                code: StatusCode::NOT_FOUND,
                message,
                reason: "NotFound",
                cause: None,
            },
            BackendError::BadRequest(message) => Self::bad_request(message),
            BackendError::Internal(cause) => Self::internal(cause),
        }
    }
}
