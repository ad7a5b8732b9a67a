//! Carrying out a [`Plan`]: a bounded number of requests at a time, progress, a way to stop, a result per object, and an entry in the
//! journal for each.

use futures::StreamExt as _;
use knarr_clock::Clock;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Change, Changed, Journal, Link, Plan, Read};
use crate::error::{Error, ErrorKind, Result};

/// Requests at a time.
const AT_ONCE: usize = 8;

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Changes that have been tried.
    pub tried: usize,
    /// Those of them that failed.
    pub failed: usize,
    /// All changes.
    pub total: usize,
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
    progress: impl Fn(Progress),
    cancel: &CancellationToken,
) -> Report {
    let total = plan.changes.len();
    let at_once = if plan.ordered { 1 } else { AT_ONCE };
    let mut results = Vec::with_capacity(total);
    let all: Vec<_> = plan
        .changes
        .iter()
        .map(|change| one(link, plan, change, journal, clock, cancel))
        .collect();
    let mut running = futures::stream::iter(all).buffered(at_once);
    let mut failed = 0;
    while let Some(result) = running.next().await {
        failed += usize::from(result.is_err());
        results.push(result);
        progress(Progress {
            tried: results.len(),
            failed,
            total,
        });
    }
    Report { results }
}

async fn one(
    link: &Link,
    plan: &Plan,
    change: &Change,
    journal: &Journal,
    clock: &Clock,
    cancel: &CancellationToken,
) -> Result<Changed> {
    if cancel.is_cancelled() {
        return Err(Error::new(
            ErrorKind::Cancelled,
            format!(
                "{} was left as it is: the operation was cancelled",
                change.target.title()
            ),
        ));
    }
    let result = link.write(change).await;
    journal.add(clock.now(), link, plan, change, &result).await;
    result
}

/// How many objects a namespace holds, of how many kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Content {
    /// Objects, without what every namespace has.
    pub objects: u64,
    /// Pods among them.
    pub pods: u64,
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
