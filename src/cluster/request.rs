//! Requests as data: what the application asks of a cluster, built without any connection at hand.

use std::fmt::Write as _;

use serde_json::Value;

/// The HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Read.
    Get,
    /// Create.
    Post,
    /// Replace.
    Put,
    /// Change a part, in the given patch format.
    Patch(Patch),
    /// Delete.
    Delete,
}

/// Patch formats of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    /// Kubernetes' own, by merge keys.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl Patch {
    /// Its `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Patch::Merge => "application/merge-patch+json",
            Patch::Json => "application/json-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
            Patch::Apply => "application/apply-patch+yaml",
        }
    }
}

/// One request to an API server.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to do.
    pub verb: Verb,
    /// Path below the server's root, percent-encoded: `/api/v1/namespaces/default/pods/kuard`.
    pub path: String,
    /// Query parameters, not encoded.
    pub query: Vec<(String, String)>,
    /// JSON body.
    pub body: Option<Value>,
    /// What is being done, for messages: `delete pod kuard`.
    pub what: String,
}

impl Request {
    /// A request without a body.
    pub fn new(verb: Verb, path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            verb,
            path: path.into(),
            query: Vec::new(),
            body: None,
            what: what.into(),
        }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether it changes anything: what read-only mode refuses. A server-side dry run changes nothing, and neither do the
    /// review resources that only answer questions.
    pub fn mutates(&self) -> bool {
        let dry = self
            .query
            .iter()
            .any(|(name, value)| name == "dryRun" && value == "All");
        let review = self.verb == Verb::Post
            && self.path.starts_with("/apis/authorization.k8s.io/")
            && self.path.ends_with("reviews");
        self.verb != Verb::Get && !dry && !review
    }

    /// Path and encoded query.
    pub fn uri(&self) -> String {
        let mut uri = self.path.clone();
        for (at, (name, value)) in self.query.iter().enumerate() {
            uri.push(if at == 0 { '?' } else { '&' });
            encode_into(&mut uri, name);
            uri.push('=');
            encode_into(&mut uri, value);
        }
        uri
    }
}

/// Percent-encodes one path segment or query component.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text);
    out
}

fn encode_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_encoded() {
        let request = Request::new(Verb::Get, "/api/v1/pods", "list").param("labelSelector", "app in (a, b)");
        assert_eq!(request.uri(), "/api/v1/pods?labelSelector=app%20in%20%28a%2C%20b%29");
    }

    #[test]
    fn dry_runs_and_reviews_change_nothing() {
        assert!(!Request::new(Verb::Get, "/api", "x").mutates());
        assert!(Request::new(Verb::Delete, "/api/v1/pods/x", "x").mutates());
        assert!(
            !Request::new(Verb::Post, "/api/v1/pods", "x")
                .param("dryRun", "All")
                .mutates()
        );
        assert!(
            !Request::new(
                Verb::Post,
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                "x"
            )
            .mutates()
        );
        assert!(Request::new(Verb::Post, "/api/v1/namespaces/a/pods/b/eviction", "x").mutates());
    }
}
