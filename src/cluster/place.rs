//! Where one works and looks: which clusters, and which of their namespaces.

use std::fmt;
use std::sync::Arc;

/// Names a cluster for as long as the program runs. Whatever is read, asked or changed says with it where that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClusterId(pub u16);

/// Some namespaces, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespaces(Arc<[Arc<str>]>);

impl Default for Namespaces {
    fn default() -> Self {
        Self::all()
    }
}

impl Namespaces {
    /// All of them.
    pub fn all() -> Self {
        Self(Arc::default())
    }

    /// These, each once, in this order; none at all means all.
    pub fn these<T: Into<Arc<str>>>(names: impl IntoIterator<Item = T>) -> Self {
        let mut known: Vec<Arc<str>> = Vec::new();
        for name in names {
            let name = name.into();
            if !name.is_empty() && !known.contains(&name) {
                known.push(name);
            }
        }
        Self(known.into())
    }

    /// As it is typed: `web,shop`.
    pub fn parse(text: &str) -> Self {
        Self::these(text.split(',').map(str::trim))
    }

    /// Whether it is all of them.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The only one, when it is one.
    pub fn only(&self) -> Option<&Arc<str>> {
        match &*self.0 {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Those that are named; none for all.
    pub fn named(&self) -> &[Arc<str>] {
        &self.0
    }
}

impl From<Option<Arc<str>>> for Namespaces {
    fn from(name: Option<Arc<str>>) -> Self {
        Self::these(name)
    }
}

impl From<&str> for Namespaces {
    fn from(name: &str) -> Self {
        Self::these([name])
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all namespaces");
        }
        f.write_str(&self.0.join(","))
    }
}

/// Clusters, and the namespaces looked at in each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The clusters, in the order they were asked for; never empty.
    pub clusters: Arc<[ClusterId]>,
    /// The same namespaces in each.
    pub namespaces: Namespaces,
}

impl Place {
    /// In one cluster.
    pub fn new(cluster: ClusterId, namespaces: impl Into<Namespaces>) -> Self {
        Self {
            clusters: [cluster].into(),
            namespaces: namespaces.into(),
        }
    }

    /// The same namespaces of these clusters; without any it stays where it is.
    #[must_use]
    pub fn across(mut self, clusters: &[ClusterId]) -> Self {
        if !clusters.is_empty() {
            self.clusters = clusters.into();
        }
        self
    }

    /// Other namespaces of the same clusters.
    #[must_use]
    pub fn within(mut self, namespaces: impl Into<Namespaces>) -> Self {
        self.namespaces = namespaces.into();
        self
    }

    /// What is listed by one request each: a namespace of a cluster, or all of a cluster.
    pub fn parts(&self) -> Vec<(ClusterId, Option<Arc<str>>)> {
        let namespaces: Vec<Option<Arc<str>>> = match self.namespaces.named() {
            [] => vec![None],
            named => named.iter().cloned().map(Some).collect(),
        };
        let each = |cluster: &ClusterId| {
            let cluster = *cluster;
            namespaces.iter().map(move |namespace| (cluster, namespace.clone()))
        };
        self.clusters.iter().flat_map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_listed_part_by_part() {
        let two = [ClusterId(1), ClusterId(2)];
        let all = Place::new(ClusterId(0), Namespaces::all()).across(&two);
        assert_eq!(all.parts(), [(two[0], None), (two[1], None)]);
        let some = all.within(Namespaces::parse("web, shop,web"));
        assert_eq!(some.parts().len(), 4);
        assert_eq!(some.namespaces.to_string(), "web,shop");
    }
}
