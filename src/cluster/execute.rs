//! Carrying out a [`Plan`]: a bounded number of requests at a time, progress, a way to stop, a result per object, and an entry in the
//! journal for each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use knarr_clock::Clock;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Change, Changed, Journal, Link, Pace, Plan, Read, Write};
use crate::error::{Error, ErrorKind, Result};

/// Requests at a time.
const AT_ONCE: usize = 8;
/// Evictions at a time: most of one only wait.
const WAITING_AT_ONCE: usize = 100;
/// Between two requests to evict a pod that a disruption budget holds, as kubectl waits.
const EVICT_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks whether an evicted pod is gone.
const GONE_PAUSE: Duration = Duration::from_secs(1);

/// How far an operation is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Changes that have been tried.
    pub tried: usize,
    /// Those of them that failed.
    pub failed: usize,
    /// All changes.
    pub total: usize,
    /// What holds those up that wait, by object.
    pub waits: BTreeMap<String, String>,
}

/// What became of each change of a plan, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// One result per change.
    pub results: Vec<Result<Changed>>,
}

impl Report {
    /// How many changes were made.
    pub fn made(&self) -> usize {
        self.results.iter().filter(|result| result.is_ok()).count()
    }
}

/// Makes every change of `plan`. After `cancel` no further one is begun; those under way are finished, because nobody could tell
/// otherwise whether they were made.
pub async fn execute(
    link: &Link,
    plan: &Plan,
    journal: &Journal,
    clock: &Clock,
    progress: impl Fn(Progress) + Send + Sync,
    cancel: &CancellationToken,
) -> Report {
    let run = Run {
        link,
        plan,
        journal,
        clock,
        cancel,
        progress: Mutex::new(Progress {
            total: plan.changes.len(),
            ..Progress::default()
        }),
        tell: &progress,
    };
    let (alone, at_once) = match plan.pace {
        Pace::Together => (0, AT_ONCE),
        Pace::InTurn => (0, 1),
        Pace::AfterFirst => (1, WAITING_AT_ONCE),
    };
    let mut results = Vec::with_capacity(plan.changes.len());
    let (first, others) = plan.changes.split_at(alone.min(plan.changes.len()));
    for change in first {
        results.push(run.one(change).await);
    }
    let begun = results.iter().all(Result::is_ok);
    if !begun {
        results.extend(
            others
                .iter()
                .map(|change| Err(left(change, "what comes before it failed"))),
        );
        return Report { results };
    }
    let all: Vec<_> = others.iter().map(|change| run.one(change)).collect();
    let rest: Vec<_> = futures::stream::iter(all).buffered(at_once).collect().await;
    results.extend(rest);
    Report { results }
}

/// A plan being carried out.
struct Run<'a> {
    link: &'a Link,
    plan: &'a Plan,
    journal: &'a Journal,
    clock: &'a Clock,
    cancel: &'a CancellationToken,
    progress: Mutex<Progress>,
    tell: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Run<'_> {
    async fn one(&self, change: &Change) -> Result<Changed> {
        let result = match &change.request {
            _ if self.cancel.is_cancelled() => Err(left(change, "the operation was cancelled")),
            Write::Evict { .. } => self.evict(change).await,
            _ => self.link.write(change).await,
        };
        if !matches!(&result, Err(error) if error.kind == ErrorKind::Cancelled) {
            self.journal
                .add(self.clock.now(), self.link, self.plan, change, &result)
                .await;
        }
        self.told(|progress| {
            progress.tried += 1;
            progress.failed += usize::from(result.is_err());
            progress.waits.remove(&change.target.title());
        });
        result
    }

    /// Tells how far it is, after this news.
    fn told(&self, news: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        news(&mut progress);
        (self.tell)(progress.clone());
    }

    /// Asks for a pod to go until it does, and waits until it is gone.
    async fn evict(&self, change: &Change) -> Result<Changed> {
        let wait = |why: &str| {
            self.told(|progress| {
                progress.waits.insert(change.target.title(), why.to_owned());
            });
        };
        let evicted = loop {
            match self.link.write(change).await {
                Err(error) if error.kind == ErrorKind::Busy => wait(&error.message),
                Err(error) if error.kind == ErrorKind::NotFound => {
                    return Ok(Changed {
                        before: change.before.clone(),
                        after: None,
                    });
                }
                other => break other?,
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Err(left(change, "a disruption budget held it, and the operation was cancelled")),
                () = tokio::time::sleep(EVICT_PAUSE) => {}
            }
        };
        wait("its processes are ending");
        let read = Read::new(change.target.path(), format!("read {}", change.target.title()));
        loop {
            match self.link.read(&read).await {
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(evicted),
                Ok(now) if !is_same(change, &now) => return Ok(evicted),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Ok(evicted),
                () = tokio::time::sleep(GONE_PAUSE) => {}
            }
        }
    }
}

/// Whether an answer is the very object that a change is about.
fn is_same(change: &Change, answer: &[u8]) -> bool {
    let object: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let uid = object.pointer("/metadata/uid").and_then(serde_json::Value::as_str);
    change.target.uid.as_deref() == uid
}

fn left(change: &Change, why: &str) -> Error {
    Error::new(
        ErrorKind::Cancelled,
        format!("{} was left as it is: {why}", change.target.title()),
    )
}

/// How many objects a namespace holds, of how many kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Content {
    /// Objects, without what every namespace has.
    pub objects: u64,
    /// Pods among them.
    pub pods: u64,
}

/// The objects of lists, each in full.
///
/// # Errors
///
/// When one of them cannot be read.
pub async fn list(link: &Link, reads: &[Read]) -> Result<Vec<Vec<serde_json::Value>>> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        items: Vec<serde_json::Value>,
    }
    let all = reads.iter().map(|read| async move {
        let bytes = link.read(read).await?;
        let list: List = serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(ErrorKind::Other, "the cluster's answer is not a list").because(&error))?;
        Ok(list.items)
    });
    futures::future::try_join_all(all).await
}

/// Counts what goes with namespaces that are deleted: one small list per kind, with the server's word for the rest.
///
/// # Errors
///
/// When a kind cannot be counted: then nobody knows what would go.
pub async fn content(link: &Link, namespaces: &[String]) -> Result<Content> {
    let kinds = link
        .discovery
        .resources
        .iter()
        .filter(|resource| resource.namespaced && resource.can("list") && resource.can("delete"))
        // Events come and go by themselves, and endpoints with their services.
        .filter(|resource| !matches!(&*resource.plural, "events" | "endpoints" | "endpointslices"));
    let lists: Vec<(bool, Read)> = namespaces
        .iter()
        .flat_map(|namespace| {
            kinds.clone().map(move |resource| {
                let what = format!("count {} in {namespace}", resource.plural);
                let read = Read::new(resource.path(Some(namespace)), what).param("limit", "3");
                (&*resource.plural == "pods", read)
            })
        })
        .collect();
    let all: Vec<_> = lists
        .iter()
        .map(|(pods, read)| async move {
            match link.read(read).await {
                Ok(bytes) => Ok((*pods, count(&bytes))),
                // A kind that is not served (any more) has no objects.
                Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Other) => Ok((false, 0)),
                Err(error) => Err(error),
            }
        })
        .collect();
    let mut counts = futures::stream::iter(all).buffer_unordered(AT_ONCE);
    let mut content = Content::default();
    while let Some(counted) = counts.next().await {
        let (pods, count) = counted?;
        content.objects += count;
        content.pods += if pods { count } else { 0 };
    }
    Ok(content)
}

fn count(list: &[u8]) -> u64 {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct List {
        metadata: Meta,
        items: Vec<Item>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Meta {
        remaining_item_count: u64,
        name: String,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Item {
        metadata: Meta,
    }
    let list: List = serde_json::from_slice(list).unwrap_or_default();
    let own = |item: &&Item| !matches!(&*item.metadata.name, "kube-root-ca.crt" | "default");
    list.items.iter().filter(own).count() as u64 + list.metadata.remaining_item_count
}
