//! The behaviours that Kubernetes' conformance suite names, as requests to a whole cluster in virtual time: `conformance.yaml`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Method, Request};
use http_body_util::BodyExt;
use knarr_cluster::Cluster;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{simulated, within};

/// How long a controller may take, in the cluster's time.
const PATIENCE: Duration = Duration::from_secs(120);
const JSON: &str = "application/json";
const TICK: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    steps: Vec<Step>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Method and path.
    send: String,
    #[serde(default)]
    body: Value,
    #[serde(rename = "type", default)]
    media: Option<String>,
    accept: Option<String>,
    code: Option<u16>,
    /// By JSON pointer.
    #[serde(default)]
    has: BTreeMap<String, Value>,
    lacks: Option<String>,
    #[serde(default)]
    keep: BTreeMap<String, String>,
    #[serde(default)]
    until: bool,
}

/// What `$name` stands for; longer names first.
#[derive(Default)]
struct Kept(Vec<(String, String)>);

impl Kept {
    fn put(&mut self, name: &str, value: String) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
        self.0.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    fn text(&self, text: &str) -> String {
        let put = |text: String, (name, value): &(String, String)| text.replace(&format!("${name}"), value);
        self.0.iter().fold(text.to_owned(), put)
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| (self.text(key), self.value(value)))
                .collect(),
            other => other.clone(),
        }
    }
}

struct Answer {
    code: u16,
    value: Value,
}

async fn send(client: &Client, method: &Method, path: &str, headers: [&str; 2], body: &Value) -> Answer {
    let body = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    let [media, accept] = headers;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media)
        .header("accept", accept);
    let request = request.body(Body::from(body)).expect("a request");
    let response = client.send(request).await.expect("an answer");
    let code = response.status().as_u16();
    let text = response.into_body().collect().await.expect("a whole answer").to_bytes();
    let events = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
    let value = match path.contains("watch=true") {
        true => events.map(|event| event.expect("an event")).collect(),
        false => serde_json::from_slice(&text).unwrap_or(Value::Null),
    };
    Answer { code, value }
}

impl Step {
    /// What is not as it should be.
    fn faults(&self, answer: &Answer, method: &Method, kept: &Kept) -> Vec<String> {
        let mut faults = Vec::new();
        let right = match self.code {
            Some(code) => answer.code == code,
            None if method == Method::POST => answer.code == 201,
            // What begins to be deleted is told as such.
            None => matches!(answer.code, 200 | 202),
        };
        if !right {
            faults.push(format!("the code is {}", answer.code));
        }
        for (pointer, wanted) in &self.has {
            let (pointer, wanted) = (kept.text(pointer), kept.value(wanted));
            let found = answer.value.pointer(&pointer).unwrap_or(&Value::Null);
            if *found != wanted {
                faults.push(format!("{pointer} is {found}, not {wanted}"));
            }
        }
        if let Some(text) = self
            .lacks
            .as_ref()
            .filter(|text| answer.value.to_string().contains(*text))
        {
            faults.push(format!("it has {text}"));
        }
        faults
    }

    async fn take(&self, client: &Client, kept: &mut Kept) -> Result<(), String> {
        let line = kept.text(&self.send);
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let method: Method = method.parse().expect("a method");
        let media = match self.media.as_deref() {
            None => JSON,
            Some("merge") => "application/merge-patch+json",
            Some("strategic") => "application/strategic-merge-patch+json",
            Some("json") => "application/json-patch+json",
            Some("apply") => "application/apply-patch+yaml",
            Some(other) => return Err(format!("{other} is no type of a patch")),
        };
        let accept = self.accept.as_deref().unwrap_or(JSON);
        let body = kept.value(&self.body);
        let start = tokio::time::Instant::now();
        let answer = loop {
            let answer = send(client, &method, path, [media, accept], &body).await;
            let faults = self.faults(&answer, &method, kept);
            if faults.is_empty() {
                break answer;
            }
            if !self.until || start.elapsed() > PATIENCE {
                return Err(format!("{line}: {}\n    {}", faults.join(", "), answer.value));
            }
            tokio::time::sleep(TICK).await;
        };
        for (name, pointer) in &self.keep {
            let value = answer.value.pointer(pointer).unwrap_or(&Value::Null);
            kept.put(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        Ok(())
    }
}

async fn show(client: &Client, row: &Row, namespace: String) -> Result<(), String> {
    let object = json!({"metadata": {"name": namespace}});
    send(client, &Method::POST, "/api/v1/namespaces", [JSON; 2], &object).await;
    let mut kept = Kept::default();
    kept.put("ns", namespace);
    for step in &row.steps {
        step.take(client, &mut kept).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_kubernetes_promises_is_kept() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance.yaml");
    let rows = std::fs::read_to_string(table).expect("the table is there");
    let rows: Vec<Row> = serde_yaml::from_str(&rows).expect("a table");
    let cluster = within(Cluster::start(simulated())).await.expect("it starts");
    within(cluster.ready()).await.expect("its node is ready");
    let client = cluster.client();
    let mut broken = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        if let Err(fault) = show(&client, row, format!("row-{number}")).await {
            broken.push(format!("{}\n  {fault}", row.name));
        }
    }
    within(cluster.stop()).await;
    assert!(
        broken.is_empty(),
        "{} of {} rows:\n{}",
        broken.len(),
        rows.len(),
        broken.join("\n")
    );
}
