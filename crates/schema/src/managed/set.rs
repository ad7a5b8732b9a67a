//! Sets of field paths, and their JSON (`fieldsV1`).
//!
//! A set is a trie. An edge is written as in `fieldsV1`: `f:name` a field or a key of a map, `k:{"name":"a"}` an item of a
//! list known by its keys, `v:"x"` an item of a set. A path may be a member without its children and the other way round:
//! who sets one label owns `metadata.labels.app`, not all labels.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Deeper than any object of the API; a set comes from a request.
const MAX_DEPTH: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set(BTreeMap<String, Node>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub member: bool,
    pub children: Set,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(edge, node)| (edge.as_str(), node))
    }

    pub(super) fn get(&self, edge: &str) -> Option<&Node> {
        self.0.get(edge)
    }

    pub(super) fn insert(&mut self, path: &[String]) {
        let Some((last, inner)) = path.split_last() else { return };
        let mut set = self;
        for edge in inner {
            set = &mut set.0.entry(edge.clone()).or_default().children;
        }
        set.0.entry(last.clone()).or_default().member = true;
    }

    /// Takes a path and all below it out.
    pub(super) fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        if rest.is_empty() {
            self.0.remove(*first);
        } else if let Some(node) = self.0.get_mut(*first) {
            node.children.cut(rest);
            if !node.member && node.children.is_empty() {
                self.0.remove(*first);
            }
        }
    }

    /// Takes one path out, not what is below it.
    pub(super) fn remove(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        if let Some(node) = self.0.get_mut(*first) {
            if rest.is_empty() {
                node.member = false;
            } else {
                node.children.remove(rest);
            }
            if !node.member && node.children.is_empty() {
                self.0.remove(*first);
            }
        }
    }

    pub(super) fn union(&self, other: &Set) -> Set {
        let mut result = self.clone();
        for (edge, node) in &other.0 {
            let mine = result.0.entry(edge.clone()).or_default();
            mine.member |= node.member;
            mine.children = mine.children.union(&node.children);
        }
        result
    }

    pub(super) fn intersection(&self, other: &Set) -> Set {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    pub(super) fn difference(&self, other: &Set) -> Set {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    fn combine(&self, other: &Set, member: fn(bool, bool) -> bool) -> Set {
        let nothing = Node::default();
        let combined = self.0.iter().filter_map(|(edge, mine)| {
            let theirs = other.0.get(edge).unwrap_or(&nothing);
            let node = Node {
                member: member(mine.member, theirs.member),
                children: mine.children.combine(&theirs.children, member),
            };
            (node.member || !node.children.is_empty()).then(|| (edge.clone(), node))
        });
        Set(combined.collect())
    }

    /// The set with every path for which `also` holds made a member; `also` sees the path from the root.
    pub(super) fn with_members(&self, path: &mut Vec<String>, also: &dyn Fn(&[String]) -> bool) -> Set {
        let mut result = Set::default();
        for (edge, node) in &self.0 {
            path.push(edge.clone());
            let member = node.member || also(path);
            let children = node.children.with_members(path, also);
            path.pop();
            result.0.insert(edge.clone(), Node { member, children });
        }
        result
    }

    /// The members as paths.
    pub(super) fn members(&self) -> Vec<Vec<&str>> {
        fn collect<'a>(set: &'a Set, path: &mut Vec<&'a str>, found: &mut Vec<Vec<&'a str>>) {
            for (edge, node) in &set.0 {
                path.push(edge);
                if node.member {
                    found.push(path.clone());
                }
                collect(&node.children, path, found);
                path.pop();
            }
        }
        let mut found = Vec::new();
        collect(self, &mut Vec::new(), &mut found);
        found
    }

    /// `{"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}`
    pub(super) fn to_json(&self) -> Value {
        let edges = self.0.iter().map(|(edge, node)| {
            let mut inner = Map::new();
            if node.member && !node.children.is_empty() {
                inner.insert(".".into(), Map::new().into());
            }
            if let Value::Object(children) = node.children.to_json() {
                inner.extend(children);
            }
            (edge.clone(), inner.into())
        });
        Value::Object(edges.collect())
    }

    /// What is no set is taken for an empty one: it was written by somebody else.
    pub(super) fn from_json(value: &Value) -> Set {
        fn read(value: &Value, depth: usize) -> Set {
            let Value::Object(map) = value else {
                return Set::default();
            };
            let edges = map
                .iter()
                .filter(|(edge, _)| edge.len() >= 2 && edge.as_bytes()[1] == b':');
            let edges = edges.map(|(edge, inner)| {
                let children = if depth < MAX_DEPTH {
                    read(inner, depth + 1)
                } else {
                    Set::default()
                };
                let member = inner.get(".").is_some() || children.is_empty();
                (edge.clone(), Node { member, children })
            });
            Set(edges.collect())
        }
        read(value, 0)
    }
}

/// `.spec.containers[name="a"].image`
pub(super) fn display(path: &[&str]) -> String {
    let mut text = String::new();
    for edge in path {
        match edge.split_once(':') {
            Some(("f", name)) => {
                text.push('.');
                text.push_str(name);
            }
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                text.push_str(&format!("[{}]", keys.join(",")));
            }
            Some(("v", value)) => text.push_str(&format!("[={value}]")),
            Some((_, other)) => text.push_str(&format!("[{other}]")),
            None => text.push_str(edge),
        }
    }
    text
}
