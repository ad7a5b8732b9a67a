//! Who owns whom, and what follows from it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Finalizer of an owner that waits for its dependents to be deleted.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner that waits for its dependents to be cut loose.
pub(crate) const ORPHAN: &str = "orphan";
/// Absent owners that are remembered.
const MEMORY: usize = 500;

/// An object as the graph knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) uid: String,
    /// `apiVersion` and `kind`.
    pub(crate) gvk: Arc<(String, String)>,
    /// URL path, which ends in the name.
    pub(crate) path: String,
    pub(crate) namespace: String,
    pub(crate) version: String,
    pub(crate) owners: Vec<Owner>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) deleting: bool,
}

impl Object {
    /// Whether it lives in another namespace than its dependent, so that it does not count as an owner.
    fn is_foreign_to(&self, dependent: &Object) -> bool {
        !self.namespace.is_empty() && self.namespace != dependent.namespace
    }
}

/// A reference to an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: String,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The owner, deleted in the foreground, waits for this dependent.
    pub(crate) blocking: bool,
}

/// What to do about an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Ask the API server whether this owner exists, then ask again.
    LookUp(Owner, String),
    /// Look at these dependents.
    Visit(Vec<String>),
    /// Delete it, with this propagation policy.
    Delete(Object, &'static str),
    /// Delete it in the foreground; but it is part of a circle of objects that wait for each other, so let its owners not
    /// wait for it any more.
    Unblock(Object),
    /// Remove its references to these owners.
    Disown(Object, Vec<String>),
    /// Cut these dependents loose, then let it go.
    Orphan(Object, Vec<Object>),
    /// All dependents are gone: let it go.
    LetGo(Object),
}

/// All objects.
#[derive(Default)]
pub(crate) struct Graph {
    objects: HashMap<String, Object>,
    dependents: HashMap<String, BTreeSet<String>>,
    /// Owners that were looked up and found not to exist. UIDs are never used again.
    absent: BTreeSet<String>,
}

impl Graph {
    /// Takes over an object. Returns the UIDs that have to be looked at because of it.
    pub(crate) fn put(&mut self, object: Object) -> Vec<String> {
        let uid = object.uid.clone();
        let old = self.objects.get(&uid);
        let same_owners = old.is_some_and(|old| old.owners == object.owners);
        let mut look = Vec::new();
        if !same_owners {
            if let Some(old) = self.objects.remove(&uid) {
                self.unlink(&old);
            }
            for owner in &object.owners {
                self.dependents
                    .entry(owner.uid.clone())
                    .or_default()
                    .insert(uid.clone());
            }
            // New references may lead nowhere, and a reference that was removed may have been the last that held it.
            if !object.owners.is_empty() {
                look.push(uid.clone());
            }
        }
        if object.deleting {
            look.push(uid.clone());
            if object.finalizers.iter().any(|finalizer| finalizer == FOREGROUND) {
                look.extend(self.dependents_of(&uid));
            }
        }
        self.objects.insert(uid, object);
        look
    }

    /// Forgets an object that is gone. Returns its dependents, and the owners that may have waited for it.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(object) = self.objects.remove(uid) else {
            return Vec::new();
        };
        self.unlink(&object);
        self.remember_absent(uid);
        let mut look = self.dependents_of(uid);
        let waiting = object
            .owners
            .iter()
            .filter(|owner| self.objects.get(&owner.uid).is_some_and(|o| o.deleting));
        look.extend(waiting.map(|owner| owner.uid.clone()));
        look
    }

    /// Decides what to do about an object. `found` says of owners that were just looked up whether they exist.
    pub(crate) fn step(&self, uid: &str, found: &HashMap<String, bool>) -> Step {
        let Some(object) = self.objects.get(uid) else {
            return Step::Nothing;
        };
        let waits_for = |finalizer: &str| object.deleting && object.finalizers.iter().any(|known| known == finalizer);
        if waits_for(ORPHAN) {
            let dependents = self.dependents_of(uid);
            let dependents = dependents.iter().filter_map(|uid| self.objects.get(uid).cloned());
            return Step::Orphan(object.clone(), dependents.collect());
        }
        if waits_for(FOREGROUND) {
            let dependents = self.dependents_of(uid);
            let blocks = |dependent: &&String| {
                let owners = self.objects.get(*dependent).map(|dependent| &dependent.owners);
                owners
                    .into_iter()
                    .flatten()
                    .any(|owner| owner.uid == uid && owner.blocking)
            };
            if !dependents.iter().any(|dependent| blocks(&dependent)) {
                return Step::LetGo(object.clone());
            }
            let living = |dependent: &String| self.objects.get(dependent).is_some_and(|object| !object.deleting);
            return Step::Visit(dependents.into_iter().filter(living).collect());
        }
        if object.deleting || object.owners.is_empty() {
            return Step::Nothing;
        }
        let (mut solid, mut lost, mut waiting) = (false, Vec::new(), Vec::new());
        for owner in &object.owners {
            match self.objects.get(&owner.uid) {
                Some(found) if found.is_foreign_to(object) => lost.push(owner.uid.clone()),
                Some(found) if found.deleting && found.finalizers.iter().any(|f| f == FOREGROUND) => {
                    waiting.push(owner.uid.clone());
                }
                Some(_) => solid = true,
                None => match found.get(&owner.uid) {
                    Some(true) => solid = true,
                    Some(false) => lost.push(owner.uid.clone()),
                    None if self.absent.contains(&owner.uid) => lost.push(owner.uid.clone()),
                    None => return Step::LookUp(owner.clone(), object.namespace.clone()),
                },
            }
        }
        if solid {
            lost.append(&mut waiting);
            return if lost.is_empty() {
                Step::Nothing
            } else {
                Step::Disown(object.clone(), lost)
            };
        }
        let dependents = self.dependents.get(uid);
        let has_dependents = dependents.is_some_and(|dependents| !dependents.is_empty());
        let in_foreground = |uid: &String| {
            let dependent = self.objects.get(uid);
            dependent.is_some_and(|object| object.deleting && object.finalizers.iter().any(|own| own == FOREGROUND))
        };
        if !waiting.is_empty() && dependents.into_iter().flatten().any(in_foreground) {
            return Step::Unblock(object.clone());
        }
        let has = |finalizer: &str| object.finalizers.iter().any(|known| known == finalizer);
        let policy = if !waiting.is_empty() && has_dependents {
            "Foreground" // its owner waits: so must it
        } else if has(ORPHAN) {
            "Orphan"
        } else if has(FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        Step::Delete(object.clone(), policy)
    }

    /// The references of an object to owners that are there, but in another namespace, where they cannot own it.
    pub(crate) fn foreign_owners(&self, object: &Object) -> Vec<Owner> {
        let foreign = |owner: &&Owner| {
            let found = self.objects.get(&owner.uid);
            found.is_some_and(|found| found.is_foreign_to(object))
        };
        object.owners.iter().filter(foreign).cloned().collect()
    }

    fn dependents_of(&self, uid: &str) -> Vec<String> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    fn unlink(&mut self, object: &Object) {
        for owner in &object.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(&object.uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    /// Notes that an owner does not exist, which spares a look for its other dependents.
    pub(crate) fn remember_absent(&mut self, uid: &str) {
        if self.absent.len() >= MEMORY {
            self.absent.pop_first();
        }
        self.absent.insert(uid.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Graph {
        fn decide(&self, uid: &str) -> Step {
            self.step(uid, &HashMap::new())
        }
    }

    fn object(uid: &str, owners: &[&str]) -> Object {
        let owner = |uid: &&str| Owner {
            uid: uid.to_string(),
            blocking: true,
            ..Owner::default()
        };
        Object {
            uid: uid.into(),
            owners: owners.iter().map(owner).collect(),
            ..Object::default()
        }
    }

    fn deleting(uid: &str, owners: &[&str], finalizer: &str) -> Object {
        Object {
            deleting: true,
            finalizers: vec![finalizer.into()],
            ..object(uid, owners)
        }
    }

    #[test]
    fn what_loses_its_last_owner_is_deleted() {
        let mut graph = Graph::default();
        graph.put(object("deployment", &[]));
        graph.put(object("set", &["deployment"]));
        graph.put(object("pod", &["set"]));
        assert_eq!(graph.decide("pod"), Step::Nothing);
        assert_eq!(graph.remove("deployment"), ["set"]);
        assert_eq!(
            graph.decide("set"),
            Step::Delete(object("set", &["deployment"]), "Background")
        );
        assert_eq!(graph.decide("pod"), Step::Nothing, "its owner is still there");
        assert_eq!(graph.remove("set"), ["pod"]);
        assert!(matches!(graph.decide("pod"), Step::Delete(..)));
    }

    #[test]
    fn one_living_owner_is_enough() {
        let mut graph = Graph::default();
        graph.put(object("a", &[]));
        graph.put(object("b", &[]));
        graph.put(object("shared", &["a", "b"]));
        graph.remove("a");
        assert_eq!(
            graph.decide("shared"),
            Step::Disown(object("shared", &["a", "b"]), vec!["a".into()])
        );
    }

    #[test]
    fn an_unknown_owner_is_looked_up_before_anything_is_deleted() {
        let mut graph = Graph::default();
        assert_eq!(graph.put(object("pod", &["set"])), ["pod"]);
        assert!(matches!(graph.decide("pod"), Step::LookUp(owner, _) if owner.uid == "set"));
        let found = |exists| HashMap::from([("set".to_string(), exists)]);
        assert_eq!(graph.step("pod", &found(true)), Step::Nothing);
        assert!(matches!(graph.step("pod", &found(false)), Step::Delete(..)));
        graph.remember_absent("set");
        assert!(matches!(graph.decide("pod"), Step::Delete(..)));
    }

    #[test]
    fn in_the_foreground_dependents_go_first() {
        let mut graph = Graph::default();
        graph.put(object("set", &["deployment"]));
        graph.put(object("pod", &["set"]));
        graph.put(object("deployment", &[]));
        let look = graph.put(deleting("deployment", &[], FOREGROUND));
        assert_eq!(look, ["deployment", "set"]);
        assert_eq!(graph.decide("deployment"), Step::Visit(vec!["set".into()]));
        assert!(
            matches!(graph.decide("set"), Step::Delete(_, "Foreground")),
            "it has a dependent itself"
        );
        graph.put(deleting("set", &["deployment"], FOREGROUND));
        assert!(matches!(graph.decide("pod"), Step::Delete(_, "Background")));
        assert_eq!(graph.remove("pod"), ["set"]);
        assert!(matches!(graph.decide("set"), Step::LetGo(_)));
        assert_eq!(graph.remove("set"), ["deployment"]);
        assert!(matches!(graph.decide("deployment"), Step::LetGo(_)));
    }

    #[test]
    fn an_owner_in_another_namespace_is_none() {
        let mut graph = Graph::default();
        let at = |namespace: &str, object: Object| Object {
            namespace: namespace.into(),
            ..object
        };
        graph.put(at("a", object("owner", &[])));
        graph.put(object("cluster-wide", &[]));
        let own = at("b", object("own", &["owner"]));
        graph.put(own.clone());
        graph.put(at("b", object("shared", &["cluster-wide"])));
        assert!(matches!(graph.decide("own"), Step::Delete(_, "Background")));
        assert_eq!(graph.foreign_owners(&own).len(), 1);
        assert_eq!(graph.decide("shared"), Step::Nothing);
    }

    #[test]
    fn a_circle_that_is_deleted_in_the_foreground_is_opened() {
        let mut graph = Graph::default();
        graph.put(object("a", &["b"]));
        graph.put(object("b", &["a"]));
        graph.put(deleting("a", &["b"], FOREGROUND));
        assert_eq!(graph.decide("b"), Step::Unblock(object("b", &["a"])));
    }

    #[test]
    fn orphans_are_cut_loose_before_their_owner_goes() {
        let mut graph = Graph::default();
        graph.put(object("set", &[]));
        graph.put(object("pod", &["set"]));
        graph.put(deleting("set", &[], ORPHAN));
        let expected = Step::Orphan(deleting("set", &[], ORPHAN), vec![object("pod", &["set"])]);
        assert_eq!(graph.decide("set"), expected);
        graph.put(object("pod", &[]));
        graph.remove("set");
        assert_eq!(graph.decide("pod"), Step::Nothing);
    }
}
