//! URLs, as Go reads them: what Kubernetes accepts, expressions accept.

use std::sync::Arc;

use super::opaque::Opaque;
use super::{Run, error, unfit};
use crate::value::{Entries, Map, Val};

/// A URL with a scheme, or an absolute path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    opaque: String,
    host: String,
    /// Decoded.
    path: Vec<u8>,
    /// As it was written.
    raw_path: String,
    query: String,
}

impl Url {
    /// As the target of a request: a scheme or a leading slash, no fragment.
    pub(super) fn parse_request(text: &str) -> Result<Self, String> {
        Self::read(text, true).map_err(|why| format!("parse {text:?}: {why}"))
    }

    /// With a fragment, which is left out.
    fn parse(text: &str) -> Result<Self, String> {
        let plain = text.split_once('#').map_or(text, |(plain, _)| plain);
        Self::read(plain, false).map_err(|why| format!("parse {text:?}: {why}"))
    }

    fn read(text: &str, request: bool) -> Result<Self, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".into());
        }
        if text.is_empty() && request {
            return Err("empty url".into());
        }
        let mut url = Self::default();
        if text == "*" {
            url.path = b"*".to_vec();
            url.raw_path = "*".into();
            return Ok(url);
        }
        let (scheme, rest) = scheme(text)?;
        url.scheme = scheme.to_ascii_lowercase();
        let (mut rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        url.query = query.to_owned();
        if !rest.starts_with('/') {
            if !url.scheme.is_empty() {
                url.opaque = rest.to_owned();
                return Ok(url);
            }
            if request {
                return Err("invalid URI for request".into());
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err("first path segment in URL cannot contain colon".into());
            }
        }
        let has_authority = !url.scheme.is_empty() || (!request && !rest.starts_with("///"));
        if let Some(after) = rest.strip_prefix("//").filter(|_| has_authority) {
            let end = after.find('/').unwrap_or(after.len());
            let (authority, path) = after.split_at(end);
            url.host = host(authority)?;
            rest = path;
        }
        url.path = unescape(rest, false)?;
        url.raw_path = rest.to_owned();
        Ok(url)
    }

    fn hostname(&self) -> &str {
        let name = self.port_at().map_or(self.host.as_str(), |at| &self.host[..at]);
        name.strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name)
    }

    fn port(&self) -> &str {
        self.port_at().map_or("", |at| &self.host[at + 1..])
    }

    fn port_at(&self) -> Option<usize> {
        let at = self.host.rfind(':')?;
        let numeric = self.host[at + 1..].bytes().all(|byte| byte.is_ascii_digit());
        (numeric && !self.host[at..].contains(']')).then_some(at)
    }

    fn escaped_path(&self) -> String {
        let valid = self
            .raw_path
            .bytes()
            .all(|byte| b"!$&'()*+,;=:@[]%".contains(&byte) || !must_escape(byte));
        if valid {
            return self.raw_path.clone();
        }
        let mut escaped = String::new();
        for byte in &self.path {
            if must_escape(*byte) {
                escaped.push_str(&format!("%{byte:02X}"));
            } else {
                escaped.push(char::from(*byte));
            }
        }
        escaped
    }

    fn queries(&self) -> Vec<(String, Vec<String>)> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for pair in self
            .query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
        {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| {
                unescape(text, true)
                    .ok()
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            };
            let (Some(key), Some(value)) = (decoded(key), decoded(value)) else {
                continue;
            };
            match found.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) => values.push(value),
                None => found.push((key, vec![value])),
            }
        }
        found
    }
}

fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".into()),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn host(authority: &str) -> Result<String, String> {
    let (user, host) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, host)| (Some(user), host));
    let odd = |c: char| !c.is_ascii_alphanumeric() && !"-._:~!$&'()*+,;=%@".contains(c);
    if user.is_some_and(|user| user.contains(odd)) {
        return Err("net/url: invalid userinfo".into());
    }
    if let Some(literal) = host.strip_prefix('[') {
        let (address, port) = literal.rsplit_once(']').ok_or("missing ']' in host")?;
        check_port(port)?;
        let address = address.split_once("%25").map_or(address, |(address, _)| address);
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("invalid host: ParseAddr({address:?}): unable to parse IP"));
        }
    } else if let Some(at) = host.rfind(':') {
        check_port(&host[at..])?;
    }
    let decoded = String::from_utf8_lossy(&unescape(host, false)?).into_owned();
    if let Some(c) = decoded
        .chars()
        .find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-._~!$&'()*+,;=:[]<>\"%".contains(*c))
    {
        return Err(format!("invalid character {:?} in host name", c.to_string()));
    }
    Ok(decoded)
}

fn check_port(port: &str) -> Result<(), String> {
    let digits = port.strip_prefix(':').unwrap_or(port);
    let good = port.is_empty() || (port.starts_with(':') && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if good {
        Ok(())
    } else {
        Err(format!("invalid port {port:?} after host"))
    }
}

fn unescape(text: &str, is_query: bool) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            decoded.push(if is_query && bytes[at] == b'+' { b' ' } else { bytes[at] });
            at += 1;
            continue;
        }
        let digits = bytes
            .get(at + 1..at + 3)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let Some(code) = code else {
            let wrong = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]).into_owned();
            return Err(format!("invalid URL escape {wrong:?}"));
        };
        decoded.push(code);
        at += 3;
    }
    Ok(decoded)
}

/// Whether a byte of a path has to be written as `%XX`.
fn must_escape(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte))
}

fn text_of<'a>(args: &[Val<'a>], of: fn(&Url) -> String) -> crate::eval::Outcome<Val<'a>> {
    match args {
        [Val::Opaque(Opaque::Url(url))] => Ok(Val::string(of(url))),
        _ => unfit(),
    }
}

pub(super) fn find(name: &str) -> Option<Run> {
    Some(match name {
        "url" => |_, args, _| match args {
            [Val::String(text)] => {
                let wrong = |why: String| error(format!("URL parse error during conversion from string: {why}"));
                Url::parse_request(text).map_err(wrong)?;
                let url = Url::parse(text).map_err(wrong)?;
                Ok(Val::Opaque(Opaque::Url(Arc::new(url))))
            }
            _ => unfit(),
        },
        "isURL" => |_, args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(Url::parse_request(text).is_ok())),
            _ => unfit(),
        },
        "getScheme" => |_, args, _| text_of(args, |url| url.scheme.clone()),
        "getHost" => |_, args, _| text_of(args, |url| url.host.clone()),
        "getHostname" => |_, args, _| text_of(args, |url| url.hostname().to_owned()),
        "getPort" => |_, args, _| text_of(args, |url| url.port().to_owned()),
        "getEscapedPath" => |_, args, _| text_of(args, Url::escaped_path),
        "getQuery" => |_, args, _| match args {
            [Val::Opaque(Opaque::Url(url))] => {
                let mut entries = Entries::default();
                for (key, values) in url.queries() {
                    entries.insert(
                        Val::string(key),
                        Val::list(values.into_iter().map(Val::string).collect()),
                    )?;
                }
                Ok(Val::Map(Map::new(entries)))
            }
            _ => unfit(),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_for_a_url_is_one() {
        for good in [
            "https://a.b/c?d=e",
            "/path",
            "http://[::1]:80/",
            "mailto:x",
            "http://user:pw@host/",
            "https://a",
            "*",
            "http://ä.example/",
        ] {
            assert!(Url::parse_request(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "a b",
            "://x",
            "http://a:b/",
            "http://[::1",
            "http://a/%zz",
            "http://a b/",
            "ht\ttp://a",
        ] {
            assert!(Url::parse_request(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_parts_of_a_host_are_told_apart() {
        let url = Url::parse("http://u@[::1]:80/a%2Fb?x=1&y=%20&x=2#f").expect("valid");
        assert_eq!(
            (url.hostname(), url.port(), url.escaped_path().as_str()),
            ("::1", "80", "/a%2Fb")
        );
        assert_eq!(
            url.queries(),
            [
                ("x".into(), vec!["1".into(), "2".into()]),
                ("y".into(), vec![" ".into()])
            ]
        );
    }
}
