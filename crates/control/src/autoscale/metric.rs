//! Measurements: asked for at the APIs of metrics, turned into replicas.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricStatus, MetricIdentifier, MetricSpec, MetricStatus, MetricTarget,
    MetricValueStatus, ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use knarr_apimachinery::Quantity;
use kube::Client;
use kube::core::Selector;
use serde_json::Value;

use super::replicas::{self, Proposal, Sample, Samples, Target, Tolerance};
use crate::discovery::Served;
use crate::owner;
use crate::write::Failure;

/// What of a target is measured.
pub(super) struct Scope<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    /// The selector of the target's pods, as text.
    pub(super) selector: &'a str,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) current: i32,
    pub(super) tolerance: Tolerance,
    pub(super) now: Timestamp,
}

/// A metric that was measured.
pub(super) struct Measured {
    pub(super) replicas: i32,
    /// As messages name it.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// Why a metric could not be measured.
pub(super) struct Unmeasured {
    pub(super) reason: &'static str,
    /// Of the metric itself, and within what was attempted.
    pub(super) message: String,
    pub(super) outer: String,
}

impl Unmeasured {
    fn new(reason: &'static str, message: String, outer: &str) -> Self {
        Self {
            reason,
            outer: format!("{outer}: {message}"),
            message,
        }
    }
}

impl Scope<'_> {
    /// The replicas that one metric asks for.
    pub(super) async fn measure(&self, metric: &MetricSpec) -> Result<Measured, Unmeasured> {
        if let Some(source) = &metric.resource {
            let (name, fail) = (&source.name, "FailedGetResourceMetric");
            let outer = format!("failed to get {name} resource metric value");
            let proposal = self.resource(name, None, &source.target).await;
            let proposal = proposal.map_err(|why| Unmeasured::new(fail, why, &outer))?;
            let status = MetricStatus {
                type_: metric.type_.clone(),
                resource: Some(ResourceMetricStatus {
                    name: name.clone(),
                    current: average(&proposal),
                }),
                ..MetricStatus::default()
            };
            let kind = if proposal.utilization.is_some() {
                " utilization (percentage of request)"
            } else {
                ""
            };
            return Ok(Measured {
                replicas: proposal.replicas,
                name: format!("{name} resource{kind}"),
                status,
            });
        }
        if let Some(source) = &metric.container_resource {
            let (name, container, fail) = (&source.name, &source.container, "FailedGetContainerResourceMetric");
            let outer = format!("failed to get {container} container metric value");
            let proposal = self.resource(name, Some(container), &source.target).await;
            let proposal = proposal.map_err(|why| Unmeasured::new(fail, why, &outer))?;
            let status = MetricStatus {
                type_: metric.type_.clone(),
                container_resource: Some(ContainerResourceMetricStatus {
                    name: name.clone(),
                    container: container.clone(),
                    current: average(&proposal),
                }),
                ..MetricStatus::default()
            };
            return Ok(Measured {
                replicas: proposal.replicas,
                name: format!("{name} container resource"),
                status,
            });
        }
        self.custom(metric).await
    }

    async fn resource(
        &self,
        resource: &str,
        container: Option<&str>,
        target: &MetricTarget,
    ) -> Result<Proposal, String> {
        let (target, what) = match (&target.average_value, target.average_utilization) {
            (Some(value), _) => (Target::Average(milli(value)), "usage"),
            (None, percent) => {
                let percent = percent.ok_or("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")?;
                let target = Target::Utilization {
                    percent,
                    resource,
                    container,
                };
                (target, "utilization")
            }
        };
        let fail = |why: String| format!("failed to get {resource} {what}: {why}");
        let samples = self.samples(resource, container).await;
        let samples = samples.map_err(|why| fail(format!("unable to get metrics for resource {resource}: {why}")))?;
        let cpu = resource == "cpu";
        replicas::propose(self.pods, samples, &target, cpu, self.current, self.tolerance, self.now).map_err(fail)
    }

    /// What the pods used, by the resource metrics API.
    async fn samples(&self, resource: &str, container: Option<&str>) -> Result<Samples, String> {
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", self.namespace);
        let query = [("labelSelector", self.selector)];
        let answer = get(self.client, &path, &query).await;
        let list = answer.map_err(|failure| {
            let why = explain(&failure, "get pods.metrics.k8s.io");
            format!("unable to fetch metrics from resource metrics API: {why}")
        })?;
        let mut samples = Samples::new();
        for item in items(&list["items"]) {
            let used = |container: &Value| Some(Quantity::milli_in(container["usage"][resource].as_str()?));
            let containers = items(&item["containers"]);
            let value = match container {
                Some(name) => containers.iter().find(|it| it["name"] == name).and_then(used),
                None => containers.iter().map(used).sum(),
            };
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            if let Some(value) = value {
                samples.insert(name.to_owned(), sample(item, value, self.now));
            }
        }
        if samples.is_empty() {
            return Err("no metrics returned from resource metrics API".into());
        }
        Ok(samples)
    }

    /// A metric of the pods, of another object, or of something outside of the cluster.
    async fn custom(&self, metric: &MetricSpec) -> Result<Measured, Unmeasured> {
        let (custom, external) = (
            "/apis/custom.metrics.k8s.io/v1beta2",
            "/apis/external.metrics.k8s.io/v1beta1",
        );
        let namespace = self.namespace;
        if let Some(source) = &metric.pods {
            let (name, fail) = (&source.metric.name, "FailedGetPodsMetric");
            let path = format!("{custom}/namespaces/{namespace}/pods/*/{name}");
            let wanted = selector(source.metric.selector.as_ref());
            let query = [
                ("labelSelector", self.selector),
                ("metricLabelSelector", wanted.as_str()),
            ];
            let outer = "failed to get pods metric value";
            let list = get(self.client, &path, &query).await.map_err(|failure| {
                let why = explain(&failure, "get pods.custom.metrics.k8s.io *");
                let why =
                    format!("unable to get metric {name}: unable to fetch metrics from custom metrics API: {why}");
                Unmeasured::new(fail, why, outer)
            })?;
            let pods = items(&list["items"]).iter().filter_map(|item| {
                let pod = item["describedObject"]["name"].as_str()?;
                Some((pod.to_owned(), sample(item, milli_of(&item["value"]), self.now)))
            });
            let target = Target::Average(source.target.average_value.as_ref().map_or(0, milli));
            let proposal = replicas::propose(
                self.pods,
                pods.collect(),
                &target,
                false,
                self.current,
                self.tolerance,
                self.now,
            );
            let proposal = proposal.map_err(|why| Unmeasured::new(fail, why, outer))?;
            return Ok(Measured {
                replicas: proposal.replicas,
                name: format!("pods metric {name}"),
                status: MetricStatus {
                    type_: metric.type_.clone(),
                    pods: Some(PodsMetricStatus {
                        metric: source.metric.clone(),
                        current: average(&proposal),
                    }),
                    ..MetricStatus::default()
                },
            });
        }
        if let Some(source) = &metric.object {
            let (name, object) = (&source.metric.name, &source.described_object);
            let group = object
                .api_version
                .as_deref()
                .and_then(|version| version.split_once('/'));
            let plural = format!("{}s", object.kind.to_lowercase());
            let resource = group.map_or(plural.clone(), |(group, _)| format!("{plural}.{group}"));
            let path = format!("{custom}/namespaces/{namespace}/{resource}/{}/{name}", object.name);
            let whole = self.whole(&path, &source.metric, "custom").await;
            let outer = "failed to get object metric value";
            let value = whole.map_err(|why| Unmeasured::new("FailedGetObjectMetric", why, outer))?;
            let (replicas, current) = self.share(value, &source.target);
            return Ok(Measured {
                replicas,
                name: format!("{} metric {name}", object.kind),
                status: MetricStatus {
                    type_: metric.type_.clone(),
                    object: Some(ObjectMetricStatus {
                        metric: source.metric.clone(),
                        described_object: object.clone(),
                        current,
                    }),
                    ..MetricStatus::default()
                },
            });
        }
        let Some(source) = &metric.external else {
            let message = format!("unknown metric source type {:?}", metric.type_);
            return Err(Unmeasured {
                reason: "InvalidMetricSourceType",
                outer: message.clone(),
                message,
            });
        };
        let name = &source.metric.name;
        let path = format!("{external}/namespaces/{namespace}/{name}");
        let outer = format!("failed to get {name} external metric value");
        let value = self.whole(&path, &source.metric, "external").await;
        let value = value.map_err(|why| Unmeasured::new("FailedGetExternalMetric", why, &outer))?;
        let (replicas, current) = self.share(value, &source.target);
        Ok(Measured {
            replicas,
            name: format!("external metric {name}"),
            status: MetricStatus {
                type_: metric.type_.clone(),
                external: Some(ExternalMetricStatus {
                    metric: source.metric.clone(),
                    current,
                }),
                ..MetricStatus::default()
            },
        })
    }

    /// The sum of a metric that is not of the pods.
    async fn whole(&self, path: &str, metric: &MetricIdentifier, api: &str) -> Result<i64, String> {
        let wanted = selector(metric.selector.as_ref());
        let key = if api == "external" {
            "labelSelector"
        } else {
            "metricLabelSelector"
        };
        let list = get(self.client, path, &[(key, &wanted)]).await.map_err(|failure| {
            let why = explain(&failure, &format!("get {}.{api}.metrics.k8s.io", metric.name));
            format!(
                "unable to get {api} metric {}: unable to fetch metrics from {api} metrics API: {why}",
                metric.name
            )
        })?;
        let values = items(&list["items"]);
        if values.is_empty() {
            return Err(format!("no metrics returned from {api} metrics API"));
        }
        Ok(values.iter().map(|item| milli_of(&item["value"])).sum())
    }

    /// The replicas for a value that all pods share.
    fn share(&self, value: i64, target: &MetricTarget) -> (i32, MetricValueStatus) {
        let count = f64::from(self.current.max(1));
        let (ratio, replicas, current) = match (&target.average_value, &target.value) {
            (Some(each), _) => {
                let wanted = value as f64 / milli(each) as f64;
                let current = MetricValueStatus {
                    average_value: Some(written(value / i64::from(self.current.max(1)))),
                    ..MetricValueStatus::default()
                };
                (wanted / count, wanted, current)
            }
            (None, whole) => {
                let ratio = value as f64 / whole.as_ref().map_or(1, milli) as f64;
                let current = MetricValueStatus {
                    value: Some(written(value)),
                    ..MetricValueStatus::default()
                };
                (ratio, ratio * count, current)
            }
        };
        match self.tolerance.covers(ratio) {
            true => (self.current, current),
            false => (replicas.ceil() as i32, current),
        }
    }
}

fn average(proposal: &Proposal) -> MetricValueStatus {
    MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(written(proposal.average)),
        value: None,
    }
}

fn milli(quantity: &Text) -> i64 {
    Quantity::milli_in(&quantity.0)
}

fn milli_of(value: &Value) -> i64 {
    Quantity::of(value).map_or(0, |quantity| i64::try_from(quantity.milli()).unwrap_or(i64::MAX))
}

/// Thousandths as a quantity.
fn written(milli: i64) -> Text {
    Text(if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    })
}

fn sample(item: &Value, value: i64, now: Timestamp) -> Sample {
    let at = item["timestamp"].as_str().and_then(|text| text.parse().ok());
    let window = item["window"]
        .as_str()
        .and_then(|text| text.parse::<SignedDuration>().ok());
    Sample {
        value,
        at: at.unwrap_or(now),
        window: window.unwrap_or(SignedDuration::ZERO),
    }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn selector(selector: Option<&LabelSelector>) -> String {
    let parsed = selector.and_then(owner::selector);
    parsed
        .map(|selector: Selector| selector.to_string())
        .unwrap_or_default()
}

/// What a client of Kubernetes says of an answer that nobody was there to give.
fn explain(failure: &Failure, what: &str) -> String {
    match failure.code {
        404 => format!("the server could not find the requested resource ({what})"),
        _ => failure.message.clone(),
    }
}

/// Reads `path`.
pub(super) async fn get(client: &Client, path: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
    let pairs = query.iter().filter(|(_, value)| !value.is_empty());
    let query: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    let question = if query.is_empty() { "" } else { "?" };
    let request = http::Request::get(format!("{path}{question}{}", query.join("&")))
        .body(Vec::new())
        .map_err(|error| Failure::other(error.to_string()))?;
    Ok(client.request::<Value>(request).await?)
}

fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

/// The pods that a selector in the form of queries selects.
pub(super) fn selected(pods: Vec<Arc<Pod>>, text: &str) -> Option<Vec<Arc<Pod>>> {
    let selector = parse(text)?;
    Some(
        pods.into_iter()
            .filter(|pod| owner::matches(&selector, &pod.metadata))
            .collect(),
    )
}

/// `a=b,c!=d,e in (f,g),h,!i`; `None` if it is something else.
fn parse(text: &str) -> Option<Selector> {
    use kube::core::Expression;
    let mut depth = 0;
    let terms = text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    let one = |term: &str| {
        let term = term.trim();
        let owned = |text: &str| text.trim().to_owned();
        let list = |text: &str| {
            let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
        };
        Some(if let Some((key, values)) = term.split_once(" notin ") {
            Expression::NotIn(owned(key), list(values)?)
        } else if let Some((key, values)) = term.split_once(" in ") {
            Expression::In(owned(key), list(values)?)
        } else if let Some((key, value)) = term.split_once("!=") {
            Expression::NotEqual(owned(key), owned(value))
        } else if let Some((key, value)) = term.split_once('=') {
            Expression::Equal(owned(key), owned(value.trim_start_matches('=')))
        } else if let Some(key) = term.strip_prefix('!') {
            Expression::DoesNotExist(owned(key))
        } else {
            Expression::Exists(owned(term))
        })
    };
    terms.filter(|term| !term.trim().is_empty()).map(one).collect()
}

/// The path of the scale of a target among what is served.
pub(super) fn scale_path(served: &[Served], group: &str, kind: &str, namespace: &str, name: &str) -> Option<String> {
    let found = served
        .iter()
        .find(|it| it.group == group && it.kind == kind && it.namespaced)?;
    Some(format!("{}/{name}/scale", found.path(Some(namespace))))
}
