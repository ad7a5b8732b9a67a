//! `/metrics` in Prometheus' text format, under the names of `kube-apiserver`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Method, Response, header};

use super::path::{ResourcePath, Route};
use super::query::Query;
use crate::server::Server;

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// What has been counted.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    requests: BTreeMap<Labels, Series>,
    inflight: BTreeMap<&'static str, u64>,
    longrunning: BTreeMap<Labels, u64>,
}

/// What tells requests apart. Only served resources are named, so that there are not more of these than resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
}

#[derive(Default)]
struct Series {
    codes: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
}

impl Labels {
    /// The labels of a request.
    pub(crate) fn of(server: &Server, method: &Method, route: &Route, query: &Query, apply: bool) -> Self {
        let Route::Resource(place) = route else {
            return Self {
                verb: verb(method, None, query, apply),
                ..Self::default()
            };
        };
        let registry = server.served().registry.clone();
        let found = registry.find(&place.group, &place.version, &place.plural);
        let known =
            found.filter(|resource| place.subresource.is_empty() || resource.subresource(&place.subresource).is_some());
        let mut labels = Self {
            verb: verb(method, Some(place), query, apply),
            ..Self::default()
        };
        if known.is_some() {
            labels.group.clone_from(&place.group);
            labels.version.clone_from(&place.version);
            labels.resource.clone_from(&place.plural);
            labels.subresource.clone_from(&place.subresource);
            labels.scope = match (place.name.is_empty(), place.namespace.is_empty()) {
                (false, _) => "resource",
                (true, false) => "namespace",
                (true, true) => "cluster",
            };
        }
        labels
    }
}

/// The verb as this metric has it, which is neither HTTP's nor RBAC's.
fn verb(method: &Method, place: Option<&ResourcePath>, query: &Query, apply: bool) -> &'static str {
    if let Some(place) = place {
        if super::connects(&place.subresource) {
            return "CONNECT";
        }
        if matches!(*method, Method::GET | Method::HEAD) && place.watches(query) {
            return "WATCH";
        }
        match *method {
            Method::GET if place.name.is_empty() => return "LIST",
            Method::DELETE if place.name.is_empty() => return "DELETECOLLECTION",
            Method::PATCH if apply => return "APPLY",
            _ => {}
        }
    }
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A request that is worked on; dropping it ends it.
pub(crate) struct Running {
    server: Arc<Server>,
    labels: Labels,
    lasts: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut counts = self.server.metrics.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match self.lasts {
            true => counts.longrunning.get_mut(&self.labels),
            false => counts.inflight.get_mut(kind(self.labels.verb)),
        };
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
    }
}

fn kind(verb: &str) -> &'static str {
    match verb {
        "GET" | "HEAD" | "LIST" | "WATCH" | "OPTIONS" => "readOnly",
        _ => "mutating",
    }
}

/// Notes that a request has begun.
pub(crate) fn begin(server: &Arc<Server>, labels: &Labels, lasts: bool) -> Running {
    let mut counts = server.metrics.0.lock().unwrap_or_else(PoisonError::into_inner);
    match lasts {
        true => *counts.longrunning.entry(labels.clone()).or_default() += 1,
        false => *counts.inflight.entry(kind(labels.verb)).or_default() += 1,
    }
    Running {
        server: server.clone(),
        labels: labels.clone(),
        lasts,
    }
}

impl Metrics {
    /// Notes how a request went.
    pub(crate) fn end(&self, labels: Labels, code: u16, took: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = counts.requests.entry(labels).or_default();
        *series.codes.entry(code).or_default() += 1;
        let seconds = took.as_secs_f64();
        series.seconds += seconds;
        if let Some(bucket) = BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .and_then(|at| series.buckets.get_mut(at))
        {
            *bucket += 1;
        }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        help(
            out,
            "apiserver_request_total",
            "counter",
            "Counter of apiserver requests broken out for each verb, group, version, resource, scope, component, and HTTP response code.",
        )?;
        for (labels, series) in &counts.requests {
            for (code, count) in &series.codes {
                writeln!(
                    out,
                    "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",dry_run=\"\",{labels}}} {count}",
                    labels = labels.text()
                )?;
            }
        }
        let name = "apiserver_request_duration_seconds";
        help(
            out,
            name,
            "histogram",
            "Response latency distribution in seconds for each verb, group, version, resource, subresource, scope and component.",
        )?;
        for (labels, series) in counts.requests.iter().filter(|(labels, _)| labels.verb != "WATCH") {
            let labels = format!("component=\"apiserver\",dry_run=\"\",{}", labels.text());
            let mut sum = 0;
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                sum += count;
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {sum}")?;
            }
            let all: u64 = series.codes.values().sum();
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}")?;
            writeln!(out, "{name}_sum{{{labels}}} {}", series.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {all}")?;
        }
        let name = "apiserver_current_inflight_requests";
        help(
            out,
            name,
            "gauge",
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        )?;
        for kind in ["mutating", "readOnly"] {
            let count = counts.inflight.get(kind).copied().unwrap_or_default();
            writeln!(out, "{name}{{request_kind=\"{kind}\"}} {count}")?;
        }
        let name = "apiserver_longrunning_requests";
        help(
            out,
            name,
            "gauge",
            "Gauge of all active long-running apiserver requests.",
        )?;
        for (labels, count) in &counts.longrunning {
            writeln!(out, "{name}{{component=\"apiserver\",{}}} {count}", labels.text())?;
        }
        Ok(())
    }
}

impl Labels {
    pub(crate) fn verb(&self) -> &'static str {
        self.verb
    }

    fn text(&self) -> String {
        let Self {
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
        } = self;
        format!(
            "group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        )
    }
}

fn help(out: &mut String, name: &str, kind: &str, text: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {text}\n# TYPE {name} {kind}")
}

/// `GET /metrics`
pub(crate) fn answer(server: &Server) -> Response<Body> {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = server.metrics.write(&mut out);
    let _ = storage(server, &mut out);
    let mut response = Response::new(Body::from(out));
    let headers = response.headers_mut();
    let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, media);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

fn storage(server: &Server, out: &mut String) -> std::fmt::Result {
    let name = "apiserver_storage_objects";
    help(
        out,
        name,
        "gauge",
        "Number of stored objects at the time of last check split by kind.",
    )?;
    let served = server.served();
    let mut counts = BTreeMap::new();
    for resource in served.registry.iter().filter(|resource| resource.stored()) {
        let full = match resource.group.as_str() {
            "" => resource.plural.clone(),
            group => format!("{}.{group}", resource.plural),
        };
        counts.insert(full, server.store.list(server.slot_of(resource), None).objects.len());
    }
    for (resource, count) in counts {
        writeln!(out, "{name}{{resource=\"{resource}\"}} {count}")?;
    }
    let name = "kubernetes_build_info";
    help(out, name, "gauge", "The version this API server says it has.")?;
    writeln!(out, "{name}{{git_version=\"{}\"}} 1", server.options.version)
}
