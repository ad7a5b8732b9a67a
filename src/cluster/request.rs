//! Requests as data: what the application asks of a cluster, built without any connection at hand. A [`Read`] changes nothing;
//! whatever does is a [`crate::cluster::Change`].

use std::fmt::Write as _;

/// One GET of an API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Path below the server's root, percent-encoded: `/api/v1/namespaces/default/pods/kuard`.
    pub path: String,
    /// Query parameters, not encoded.
    pub query: Vec<(String, String)>,
    /// What is being done, for messages: `list pods`.
    pub what: String,
}

impl Read {
    /// A request without parameters.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            query: Vec::new(),
            what: what.into(),
        }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// Path and encoded query.
    pub fn uri(&self) -> String {
        uri(&self.path, &self.query)
    }
}

/// Path and encoded query.
pub(super) fn uri(path: &str, query: &[(String, String)]) -> String {
    let mut uri = path.to_owned();
    for (at, (name, value)) in query.iter().enumerate() {
        uri.push(if at == 0 { '?' } else { '&' });
        encode_into(&mut uri, name);
        uri.push('=');
        encode_into(&mut uri, value);
    }
    uri
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
        let read = Read::new("/api/v1/pods", "list").param("labelSelector", "app in (a, b)");
        assert_eq!(read.uri(), "/api/v1/pods?labelSelector=app%20in%20%28a%2C%20b%29");
    }
}
