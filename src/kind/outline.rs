//! Outlines: pages whose lines stand for objects, made of everything that is watched around one object, or in one place.
//!
//! What an outline shows is worked out beside the UI thread, from immutable listings; views only draw it.

mod check;
mod pulse;
mod relation;
mod rollout;
mod sight;
mod workload;

use std::sync::Arc;

use jiff::Timestamp;

use crate::cluster::{ClusterId, Discovery, Place, Resource};
use crate::document::TextLine;
use crate::keys::Line;
use crate::store::{Health, Listing, Need, ObjectId, Query, Row};
use sight::Sight;

/// One line, with those below it that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Names the line among all others, also in a later outline: the cursor stays on it.
    pub key: String,
    /// How deep it stands.
    pub depth: usize,
    /// How what it tells of is doing.
    pub health: Health,
    /// What it says.
    pub line: TextLine,
    /// The object it stands for.
    pub about: Option<About>,
    /// What Enter runs, instead of describing the object.
    pub enter: Option<Line>,
    /// Whether what belongs to it is hidden until it is asked for.
    pub folded: bool,
}

impl Item {
    fn new(key: impl Into<String>, depth: usize, health: Health, line: TextLine) -> Self {
        Self {
            key: key.into(),
            depth,
            health,
            line,
            about: None,
            enter: None,
            folded: false,
        }
    }

    fn about(self, about: Option<About>) -> Self {
        Self { about, ..self }
    }

    fn enter(self, line: Line) -> Self {
        Self {
            enter: Some(line),
            ..self
        }
    }

    fn folded(self) -> Self {
        Self { folded: true, ..self }
    }
}

/// An object of an outline.
#[derive(Clone, Debug)]
pub struct About {
    /// Its resource.
    pub resource: Arc<Resource>,
    /// Its row.
    pub row: Arc<Row>,
}

impl PartialEq for About {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.row, &other.row)
    }
}

/// Lines from top to bottom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outline {
    /// The lines.
    pub items: Vec<Item>,
    /// What it says in the top line: `3 need attention`.
    pub status: String,
    /// The object it is of: what lines act on that stand for no other.
    pub about: Option<About>,
}

/// What an outline is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// How the rollout of a workload goes, and its revisions.
    Rollout(Arc<Resource>, ObjectId),
    /// What an object is tied to, in both directions.
    Relations(Arc<Resource>, ObjectId),
    /// From the name of a Service to what answers, hop by hop.
    Check(Arc<Resource>, ObjectId),
    /// The workloads of a place with their pods.
    Workloads(Place),
    /// What is wrong in a place, first, and what it has.
    Pulse(Place),
}

impl Of {
    /// The word for it, in titles.
    pub fn word(&self) -> &'static str {
        match self {
            Of::Rollout(..) => "rollout",
            Of::Relations(..) => "xray",
            Of::Check(..) => "check",
            Of::Workloads(_) => "workloads",
            Of::Pulse(_) => "pulse",
        }
    }

    /// The object it is of, when it is one.
    pub fn object(&self) -> Option<(&Arc<Resource>, &ObjectId)> {
        match self {
            Of::Rollout(resource, id) | Of::Relations(resource, id) | Of::Check(resource, id) => Some((resource, id)),
            Of::Workloads(_) | Of::Pulse(_) => None,
        }
    }

    /// Where it looks.
    pub fn place(&self) -> Place {
        match self {
            Of::Workloads(place) | Of::Pulse(place) => place.clone(),
            Of::Rollout(_, id) | Of::Relations(_, id) | Of::Check(_, id) => {
                Place::new(id.cluster, id.namespace().map(|_| id.namespace.clone()))
            }
        }
    }

    /// The cluster it looks at.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.place().clusters.first().copied()
    }

    /// What it is made from, as far as the cluster serves it.
    pub fn needs(&self, discovery: &Discovery) -> Vec<Need> {
        let place = self.place();
        let kinds: &[(&str, &str)] = match self {
            Of::Rollout(..) => rollout::KINDS,
            Of::Relations(..) => relation::KINDS,
            Of::Check(..) => check::KINDS,
            Of::Workloads(_) => workload::KINDS,
            Of::Pulse(_) => pulse::KINDS,
        };
        let named = |(group, plural): &(&str, &str)| {
            let same = |known: &&Arc<Resource>| *known.group == **group && *known.plural == **plural;
            discovery.resources.iter().find(same).cloned()
        };
        let own = self.object().map(|(resource, _)| resource.clone());
        let mut resources: Vec<Arc<Resource>> = own.into_iter().chain(kinds.iter().filter_map(named)).collect();
        let mut seen = Vec::new();
        resources.retain(|resource| {
            let new = !seen.contains(&(resource.group.clone(), resource.plural.clone()));
            seen.push((resource.group.clone(), resource.plural.clone()));
            new
        });
        resources
            .into_iter()
            .map(|resource| Need::all(Query::new(resource, place.clone())))
            .collect()
    }

    /// Works it out from the listings of its needs, in their order.
    pub fn draw_up(&self, sources: &[(Arc<Resource>, Arc<Listing>)], now: Timestamp) -> Outline {
        let sight = Sight::of(sources, now);
        match self {
            Of::Rollout(resource, id) => rollout::outline(&sight, resource, id),
            Of::Relations(_, id) => relation::outline(&sight, id),
            Of::Check(_, id) => check::outline(&sight, id),
            Of::Workloads(_) => workload::outline(&sight),
            Of::Pulse(_) => pulse::outline(&sight),
        }
    }
}
