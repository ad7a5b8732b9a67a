//! Web addresses, as far as the tools here need them.

/// `http://host:port/path?query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub secure: bool,
    pub user: Option<String>,
    pub host: String,
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

impl Url {
    /// Reads an address; without a scheme it is `http`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            other => return Err(format!("Protocol \"{other}\" not supported")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user.to_owned()), address),
            None => (None, authority),
        };
        let default = if secure { 443 } else { 80 };
        let (host, port) = if let Some(v6) = address.strip_prefix('[') {
            let (host, after) = v6.split_once(']').ok_or("bad IPv6 address")?;
            (host, after.strip_prefix(':'))
        } else {
            match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            }
        };
        let port = match port {
            None | Some("") => default,
            Some(port) => port
                .parse()
                .map_err(|_| "Port number was not a decimal number between 0 and 65535".to_owned())?,
        };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("no host part in the URL".to_owned());
        }
        let path = tail.split('#').next().unwrap_or("");
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        // What could split a request line must not come from an address.
        let path = path
            .chars()
            .map(|c| {
                if c.is_control() || c == ' ' {
                    "%20".to_owned()
                } else {
                    c.to_string()
                }
            })
            .collect();
        Ok(Self {
            secure,
            user,
            host: host.to_owned(),
            port,
            path,
        })
    }

    /// `host:port`, without the port where it is the usual one: the Host header.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == if self.secure { 443 } else { 80 } {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Where a `Location` header leads.
    pub(crate) fn join(&self, location: &str) -> Result<Self, String> {
        if location.contains("://") {
            return Self::parse(location);
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let base = self.path.split('?').next().unwrap_or("/");
            format!("{}/{location}", base.rsplit_once('/').map_or("", |(dir, _)| dir))
        };
        Ok(Self { path, ..self.clone() })
    }
}

/// Resolves `%41`.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).filter(|_| bytes[i] == b'%');
        let value = hex
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match value {
            Some(value) => {
                out.push(value);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Text that is safe inside HTML.
pub(crate) fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("kubia:8080/a?b=c#d").expect("valid");
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("kubia", 8080, "/a?b=c")
        );
        let url = Url::parse("http://[::1]:81").expect("valid");
        assert_eq!((url.host.as_str(), url.authority().as_str()), ("::1", "[::1]:81"));
        assert_eq!(url.join("/x").expect("valid").path, "/x");
        for bad in ["http://", "ftp://x", "http://a:b/", "http://[::1"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
