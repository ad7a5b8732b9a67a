//! What the clusters hold, as the views see it.
//!
//! A [`Feed`](feed) is one list+watch and the single writer of its objects; a [`Lens`](lens) is one sort and filter over a feed that publishes an
//! immutable [`Listing`]; the [`Catalog`] keeps feeds and lenses for the union of all views' needs.

mod block;
mod catalog;
mod column;
mod delta;
mod feed;
mod filter;
mod index;
mod intern;
mod lens;
mod listing;
mod maker;
mod object;
mod order;
mod pack;
mod row;
mod rows;
mod tally;
mod trail;

pub use catalog::Catalog;
pub use column::Column;
pub use feed::{Decoder, Event, Page};
pub use filter::Filter;
pub use index::Change;
pub use lens::{Lens, Order};
#[cfg(test)]
pub(crate) use listing::steps;
pub use listing::{FeedState, Listing, Part};
pub use maker::{MakeRow, RowMaker};
pub use object::{Object, ObjectId};
pub use row::{Cell, Health, Row, Seen, row_of};
pub use tally::Tally;
pub use trail::{MINUTES, Slot, Trail};

use std::sync::Arc;

use crate::cluster::{Namespaces, Place, Resource};

/// What one feed lists and watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The resource.
    pub resource: Arc<Resource>,
    /// In which clusters and namespaces.
    pub place: Place,
    /// Label selector, evaluated by the server; empty is none.
    pub labels: String,
    /// Field selector, evaluated by the server; empty is none.
    pub fields: String,
}

impl Query {
    /// All objects of `resource` in a place.
    pub fn new(resource: Arc<Resource>, mut place: Place) -> Self {
        if !resource.namespaced {
            place.namespaces = Namespaces::all();
        }
        Self {
            resource,
            place,
            labels: String::new(),
            fields: String::new(),
        }
    }

    /// Exactly the objects that have the name of this one.
    pub fn object(resource: Arc<Resource>, id: &ObjectId) -> Self {
        let namespace = id.namespace().map(|_| id.namespace.clone());
        Self {
            fields: format!("metadata.name={}", id.name),
            ..Self::new(resource, Place::new(id.cluster, namespace))
        }
    }
}

/// Order of a listing. Ties are broken by namespace, name and UID, so that the order is total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Sort {
    /// Index into a row's cells; `None` sorts by namespace and name.
    pub column: Option<usize>,
    /// Largest first.
    pub descending: bool,
}

/// What a view needs: a feed, seen through a lens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// What to list and watch.
    pub query: Query,
    /// Rows to keep, as the user typed it (see [`Filter`]); empty keeps all.
    pub filter: String,
    /// Order.
    pub sort: Sort,
    /// Keep only rows that need attention.
    pub faults: bool,
}

impl Need {
    /// Everything the query gives, by name.
    pub fn all(query: Query) -> Self {
        Self {
            query,
            filter: String::new(),
            sort: Sort::default(),
            faults: false,
        }
    }
}
