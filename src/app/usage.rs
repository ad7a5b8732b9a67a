//! What pods and nodes use is read every quarter of a minute, as long as a table of them is seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::event::{Event, Measured};
use super::run::App;
use crate::cluster::{Read, Resource};
use crate::kind::usage::{GROUP, Usage};
use crate::view::Data;

/// Between two readings: metrics-server measures no oftener.
const EVERY: Duration = Duration::from_secs(15);

/// What is known of a kind's usage.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) of: Measured,
    /// The last answer; `None` before the first, and after one that could not be understood.
    pub(super) usage: Option<Arc<Usage>>,
    /// When it is asked for again; `None` while it is being read.
    due: Option<Instant>,
}

impl App {
    /// Reads what is due of what is seen, and forgets what is not.
    pub(super) fn measure(&mut self) {
        let wanted = self.wanted_usage();
        self.desk.usage.retain(|reading| wanted.contains(&reading.of));
        let now = Instant::now();
        for of in wanted {
            let reading = match self.desk.usage.iter_mut().find(|reading| reading.of == of) {
                Some(reading) if reading.due.is_some_and(|due| due <= now) => reading,
                Some(_) => continue,
                None => {
                    self.desk.usage.push(Reading {
                        of: of.clone(),
                        usage: None,
                        due: None,
                    });
                    self.desk.usage.last_mut().expect("it has just been added")
                }
            };
            reading.due = None;
            let Some(link) = self.desk.clusters.get(&of.0).and_then(|known| known.link.clone()) else {
                reading.due = Some(now + EVERY);
                continue;
            };
            let sender = self.sender.clone();
            tokio::spawn(async move {
                let (_, plural, namespace) = &of;
                let within = namespace
                    .as_ref()
                    .map_or_else(String::new, |name| format!("namespaces/{name}/"));
                let read = Read::new(
                    format!("/apis/{GROUP}/v1beta1/{within}{plural}"),
                    format!("read what {plural} use"),
                );
                let usage = match link.read(&read).await {
                    Ok(bytes) => Usage::parse(&bytes).ok().map(Arc::new),
                    Err(_) => None,
                };
                let _ = sender.send(Event::Measured(of, usage));
            });
        }
    }

    /// Takes an answer; it is asked again after a while.
    pub(super) fn measured(&mut self, of: &Measured, usage: Option<Arc<Usage>>) {
        let Some(reading) = self.desk.usage.iter_mut().find(|reading| reading.of == *of) else {
            return;
        };
        reading.due = Some(Instant::now() + EVERY);
        if reading.usage != usage {
            reading.usage = usage;
            self.dirty = true;
            self.sync();
        }
    }

    /// When the next reading is due.
    pub(super) fn next_measure(&self) -> Option<Instant> {
        self.desk.usage.iter().filter_map(|reading| reading.due).min()
    }

    /// The clusters and kinds of the tables that are seen, where their usage is served.
    fn wanted_usage(&self) -> Vec<Measured> {
        let mut wanted: Vec<Measured> = Vec::new();
        for pane in self.state.panes().visible() {
            let view = pane.view();
            let (Some(resource), Some(place)) = (view.resource(), view.place()) else {
                continue;
            };
            let measured = ["pods", "nodes"]
                .into_iter()
                .find(|plural| **plural == *resource.plural);
            // An empty table has nothing to show it beside.
            let shown = resource.group.is_empty() && view.under_cursor().is_some();
            let Some(plural) = measured.filter(|_| shown) else {
                continue;
            };
            for cluster in place.clusters.iter() {
                let discovery = self.desk.discovery_of(*cluster);
                let served = |known: &Arc<Resource>| &*known.group == GROUP && &*known.plural == plural;
                let namespace = place.namespaces.only().filter(|_| resource.namespaced);
                let of = (*cluster, plural, namespace.cloned());
                if discovery.resources.iter().any(served) && !wanted.contains(&of) {
                    wanted.push(of);
                }
            }
        }
        wanted
    }
}
