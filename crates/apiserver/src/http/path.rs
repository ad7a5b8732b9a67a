//! What a path names.

use percent_encoding::percent_decode_str;

use super::query::Query;

/// A path under `/api/V` or `/apis/G/V` that names a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub group: String,
    pub version: String,
    /// Empty for cluster-scoped resources and for requests over all namespaces.
    pub namespace: String,
    pub plural: String,
    /// Empty for collections.
    pub name: String,
    /// Empty without one.
    pub subresource: String,
    /// What follows the subresource, with its leading slash and still encoded: only proxies have it.
    pub rest: Option<String>,
    /// The old `/api/v1/watch/...` form.
    pub watch: bool,
}

impl ResourcePath {
    /// Whether a GET is a watch. `?watch=1` means something for a collection only.
    pub(crate) fn watches(&self, query: &Query) -> bool {
        self.watch || (query.flag("watch") && self.name.is_empty())
    }
}

/// The kinds of paths an API server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Resource(ResourcePath),
    /// `/api/V` or `/apis/G/V`.
    Version {
        group: String,
        version: String,
    },
    /// Everything else, discovery roots and health checks included.
    Other,
}

impl Route {
    /// Whether a request may last as long as the client likes.
    pub(crate) fn lasts(&self, query: &Query) -> bool {
        match self {
            Self::Resource(place) => place.watches(query) || super::streams(&place.subresource),
            _ => false,
        }
    }
}

/// Reads a path. The same rules decide what RBAC checks and what is served, so that the two never disagree.
pub(crate) fn route(path: &str) -> Route {
    let mut parts = path.trim_start_matches('/').split('/').peekable();
    let group = match parts.next() {
        Some("api") => "",
        Some("apis") => match parts.next() {
            Some(group) if !group.is_empty() => group,
            _ => return Route::Other,
        },
        _ => return Route::Other,
    };
    let Some(version) = parts.next().filter(|version| !version.is_empty()) else {
        return Route::Other;
    };
    let mut out = ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        ..ResourcePath::default()
    };
    let rest: Vec<&str> = parts.collect();
    let mut rest = &rest[..];
    if let ["watch", after @ ..] = rest
        && !after.is_empty()
    {
        out.watch = true;
        rest = after;
    }
    // `namespaces/X/pods` is inside a namespace; `namespaces/X/status` belongs to the namespace itself.
    if let ["namespaces", namespace, resource, ..] = rest
        && !matches!(*resource, "status" | "finalize" | "")
    {
        out.namespace = decode(namespace);
        rest = &rest[2..];
    }
    match rest {
        [] | [""] => Route::Version {
            group: out.group,
            version: out.version,
        },
        [plural, more @ ..] => {
            out.plural = (*plural).to_owned();
            if let [name, more @ ..] = more {
                out.name = decode(name);
                if let [subresource, more @ ..] = more {
                    out.subresource = (*subresource).to_owned();
                    if !more.is_empty() {
                        out.rest = Some(format!("/{}", more.join("/")));
                    }
                }
            }
            Route::Resource(out)
        }
    }
}

fn decode(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match route(path) {
            Route::Resource(resource) => resource,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_name_resources() {
        let pod = resource("/api/v1/namespaces/a/pods/p/log");
        assert_eq!(
            (pod.namespace, pod.plural, pod.name, pod.subresource, pod.rest),
            ("a".into(), "pods".into(), "p".into(), "log".into(), None)
        );
        let role = resource("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode");
        assert_eq!(role.name, "system:node");
        assert_eq!(role.group, "rbac.authorization.k8s.io");
        let proxy = resource("/api/v1/namespaces/a/services/s:http/proxy/x/y%20z/");
        assert_eq!(proxy.rest.as_deref(), Some("/x/y%20z/"));
        assert_eq!(proxy.name, "s:http");
        assert!(resource("/api/v1/watch/namespaces/a/pods").watch);
    }

    #[test]
    fn a_namespace_and_what_is_in_it_are_told_apart() {
        let finalize = resource("/api/v1/namespaces/a/finalize");
        assert_eq!((&*finalize.plural, &*finalize.name), ("namespaces", "a"));
        assert_eq!(finalize.namespace, "");
        assert_eq!(resource("/api/v1/namespaces/a").name, "a");
        assert_eq!(resource("/api/v1/namespaces/a/pods").namespace, "a");
        assert_eq!(resource("/api/v1/namespaces").plural, "namespaces");
    }

    #[test]
    fn roots_are_no_resources() {
        for path in [
            "/",
            "",
            "/api",
            "/apis",
            "/apis/",
            "/apis/apps",
            "/healthz",
            "/openapi/v3/api/v1",
        ] {
            assert_eq!(route(path), Route::Other, "{path}");
        }
        for (path, group) in [("/api/v1", ""), ("/api/v1/", ""), ("/apis/apps/v1", "apps")] {
            let version = Route::Version {
                group: group.into(),
                version: "v1".into(),
            };
            assert_eq!(route(path), version, "{path}");
        }
    }
}
