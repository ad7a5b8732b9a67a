//! Which backend an Ingress has for a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend};
use knarr_client::key::Key;

/// Annotations, as users of ingress-nginx know them.
const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Everything that is routed, by host: exact names, `*.domain`s, and `` for all other hosts.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    hosts: BTreeMap<String, Host>,
    /// `spec.defaultBackend` of the oldest Ingress that has one.
    default: Option<Location>,
}

#[derive(Debug, Default)]
struct Host {
    locations: Vec<Location>,
    /// Whether there is a certificate to redirect to.
    tls: bool,
}

/// Where requests for a path go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    path: String,
    kind: Kind,
    pub(crate) service: Key,
    pub(crate) port: Port,
    pub(crate) options: Arc<Options>,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exact,
    /// Element by element.
    Prefix,
    /// Letter by letter.
    ImplementationSpecific,
}

/// A service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Name(String),
    Number(i32),
}

/// What an Ingress asks for by annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Clients stay with their backend.
    pub(crate) affinity: Option<Cookie>,
    /// The path that the backend sees.
    pub(crate) rewrite_target: Option<String>,
    /// Stay with HTTP although there is a certificate.
    pub(crate) no_redirect: bool,
}

/// The cookie that says to which backend a client belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) path: String,
    /// Seconds; for the session if it is not said.
    pub(crate) max_age: Option<u64>,
}

/// What there is for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Location(&'a Location),
    /// Go and ask by HTTPS.
    Redirect,
    Nothing,
}

impl Routes {
    /// The routes of these Ingresses. Where two say something about the same path, the older one counts.
    pub(crate) fn new(mut ingresses: Vec<Arc<Ingress>>) -> Self {
        ingresses.sort_by_key(|ingress| {
            let created = ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (created, Key::of(ingress.as_ref()))
        });
        let mut routes = Self::default();
        for ingress in &ingresses {
            routes.add(ingress);
        }
        for host in routes.hosts.values_mut() {
            // The first that fits is the best: exact paths, then the longest.
            host.locations
                .sort_by_key(|location| (location.kind != Kind::Exact, std::cmp::Reverse(location.path.len())));
        }
        routes
    }

    fn add(&mut self, ingress: &Ingress) {
        let Some(spec) = &ingress.spec else { return };
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        let options = Arc::new(Options::of(ingress));
        for rule in spec.rules.iter().flatten() {
            let host = self.hosts.entry(rule.host.clone().unwrap_or_default()).or_default();
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let location = Location::new(namespace, path, &options);
                let known = |known: &Location| {
                    Some((&known.path, known.kind)) == location.as_ref().map(|new| (&new.path, new.kind))
                };
                if !host.locations.iter().any(known) {
                    host.locations.extend(location);
                }
            }
        }
        for host in spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten()) {
            if let Some(host) = self.hosts.get_mut(host) {
                host.tls = true;
            }
        }
        if let (Some(backend), None) = (&spec.default_backend, &self.default) {
            self.default = Location::to(namespace, backend, "/".into(), Kind::Prefix, &options);
        }
    }

    /// What there is for a host and a path, asked for by HTTP or HTTPS.
    pub(crate) fn find(&self, host: &str, path: &str, https: bool) -> Found<'_> {
        let wildcard = host.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        let host = self
            .hosts
            .get(host)
            .or_else(|| self.hosts.get(&wildcard?))
            .or_else(|| self.hosts.get(""));
        let found = host.and_then(|host| host.locations.iter().find(|location| location.matches(path)));
        let redirects = !https && host.is_some_and(|host| host.tls);
        match found.or(self.default.as_ref()) {
            Some(location) if redirects && !location.options.no_redirect => Found::Redirect,
            Some(location) => Found::Location(location),
            None => Found::Nothing,
        }
    }
}

impl Location {
    fn new(namespace: &str, path: &HTTPIngressPath, options: &Arc<Options>) -> Option<Self> {
        let kind = match path.path_type.as_str() {
            "Exact" => Kind::Exact,
            "Prefix" => Kind::Prefix,
            _ => Kind::ImplementationSpecific,
        };
        let text = path.path.clone().filter(|path| !path.is_empty());
        Self::to(
            namespace,
            &path.backend,
            text.unwrap_or_else(|| "/".into()),
            kind,
            options,
        )
    }

    /// Only services can be backends here.
    fn to(namespace: &str, backend: &IngressBackend, path: String, kind: Kind, options: &Arc<Options>) -> Option<Self> {
        let service = backend.service.as_ref()?;
        let port = service.port.as_ref()?;
        let name = port.name.clone().filter(|name| !name.is_empty()).map(Port::Name);
        Some(Self {
            path,
            kind,
            service: Key::new(namespace, &service.name),
            port: name.or(port.number.map(Port::Number))?,
            options: options.clone(),
        })
    }

    fn matches(&self, path: &str) -> bool {
        match self.kind {
            Kind::Exact => path == self.path,
            Kind::ImplementationSpecific => path.starts_with(&self.path),
            Kind::Prefix => {
                let rest = path.strip_prefix(self.path.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl Options {
    fn of(ingress: &Ingress) -> Self {
        let annotations = ingress.metadata.annotations.as_ref();
        let get = |name: &str| annotations?.get(&format!("{PREFIX}{name}")).cloned();
        let cookie = || Cookie {
            name: get("session-cookie-name").unwrap_or_else(|| "INGRESSCOOKIE".into()),
            path: get("session-cookie-path").unwrap_or_else(|| "/".into()),
            max_age: get("session-cookie-max-age").and_then(|seconds| seconds.parse().ok()),
        };
        Self {
            affinity: (get("affinity").as_deref() == Some("cookie")).then(cookie),
            rewrite_target: get("rewrite-target").filter(|target| target.starts_with('/') && !target.contains('$')),
            no_redirect: get("ssl-redirect").as_deref() == Some("false"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ingress(name: &str, annotations: Value, spec: Value) -> Arc<Ingress> {
        let created = format!("2024-01-01T00:00:0{}Z", name.len());
        let ingress = json!({
            "metadata": { "name": name, "namespace": "shop", "creationTimestamp": created, "annotations": annotations },
            "spec": spec,
        });
        Arc::new(serde_json::from_value(ingress).unwrap())
    }

    fn path(path: &str, kind: &str, service: &str) -> Value {
        json!({ "path": path, "pathType": kind, "backend": { "service": { "name": service, "port": { "number": 80 } } } })
    }

    fn found(routes: &Routes, host: &str, path: &str) -> String {
        match routes.find(host, path, false) {
            Found::Location(location) => location.service.name.clone(),
            Found::Redirect => "redirect".into(),
            Found::Nothing => "404".into(),
        }
    }

    #[test]
    fn the_most_specific_host_and_path_decide() {
        let rules = json!({ "rules": [
            { "host": "a.example.com", "http": { "paths": [
                path("/", "Prefix", "root"), path("/foo", "Prefix", "foo"), path("/foo/bar/", "Prefix", "bar"),
                path("/foo", "Exact", "exact"), path("/raw", "ImplementationSpecific", "raw"),
            ] } },
            { "host": "*.example.com", "http": { "paths": [path("/only", "Prefix", "wild")] } },
            { "http": { "paths": [path("/any", "Prefix", "any")] } },
        ] });
        let again =
            json!({ "rules": [{ "host": "a.example.com", "http": { "paths": [path("/foo", "Prefix", "late")] } }] });
        let routes = Routes::new(vec![ingress("bb", json!({}), again), ingress("a", json!({}), rules)]);
        for (host, asked, expected) in [
            ("a.example.com", "/", "root"),
            ("a.example.com", "/foo", "exact"),
            ("a.example.com", "/foo/", "foo"),
            ("a.example.com", "/foobar", "root"),
            ("a.example.com", "/foo/bar", "bar"),
            ("a.example.com", "/foo/bar/x", "bar"),
            ("a.example.com", "/raw1", "raw"),
            ("b.example.com", "/only/x", "wild"),
            ("b.example.com", "/other", "404"),
            ("a.b.example.com", "/any", "any"),
            ("127.0.0.1", "/any/x", "any"),
            ("127.0.0.1", "/", "404"),
        ] {
            assert_eq!(found(&routes, host, asked), expected, "{host}{asked}");
        }
    }

    #[test]
    fn what_has_a_certificate_is_asked_by_https_and_the_rest_has_a_default() {
        let spec = json!({
            "tls": [{ "hosts": ["a"], "secretName": "s" }],
            "rules": [{ "host": "a", "http": { "paths": [path("/x", "Prefix", "a")] } }, { "host": "b", "http": { "paths": [path("/", "Prefix", "b")] } }],
            "defaultBackend": { "service": { "name": "default", "port": { "name": "http" } } },
        });
        let routes = Routes::new(vec![ingress("i", json!({}), spec.clone())]);
        assert_eq!(found(&routes, "a", "/x"), "redirect");
        assert!(matches!(routes.find("a", "/x", true), Found::Location(_)));
        assert_eq!(found(&routes, "b", "/"), "b");
        assert_eq!(found(&routes, "c", "/"), "default");
        let stay = json!({ "nginx.ingress.kubernetes.io/ssl-redirect": "false" });
        let routes = Routes::new(vec![ingress("i", stay, spec)]);
        assert_eq!(found(&routes, "a", "/x"), "a");
    }

    #[test]
    fn annotations_are_those_of_ingress_nginx() {
        let annotations = json!({
            "nginx.ingress.kubernetes.io/affinity": "cookie",
            "nginx.ingress.kubernetes.io/session-cookie-name": "route",
            "nginx.ingress.kubernetes.io/session-cookie-max-age": "60",
            "nginx.ingress.kubernetes.io/rewrite-target": "/",
        });
        let options = Options::of(&ingress("i", annotations, json!({})));
        let cookie = options.affinity.unwrap();
        assert_eq!(
            (cookie.name.as_str(), cookie.path.as_str(), cookie.max_age),
            ("route", "/", Some(60))
        );
        assert_eq!(options.rewrite_target.as_deref(), Some("/"));
        assert_eq!(Options::of(&ingress("i", json!({}), json!({}))), Options::default());
    }
}
