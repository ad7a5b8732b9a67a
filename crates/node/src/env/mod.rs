//! A container's environment.

mod downward;
mod expand;

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

pub(crate) use downward::{Place, field, resource};
pub(crate) use expand::expand;

use crate::context::Context;
use crate::object::{Key, Kind, Missing};

/// Variables in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    entries: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Environment {
    pub(crate) fn set(&mut self, name: String, value: String) {
        match self.index.get(&name) {
            Some(at) => self.entries[*at].1 = value,
            None => {
                self.index.insert(name.clone(), self.entries.len());
                self.entries.push((name, value));
            }
        }
    }

    /// Sets it unless something else has.
    pub(crate) fn fallback(&mut self, name: &str, value: &str) {
        if !self.index.contains_key(name) {
            self.set(name.to_owned(), value.to_owned());
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.index.get(name).map(|at| self.entries[*at].1.as_str())
    }

    pub(crate) fn into_vec(self) -> Vec<(String, String)> {
        self.entries
    }
}

/// The environment that the pod's specification gives to `container`, without what the image and the runtime add.
///
/// Errors are for the `CreateContainerConfigError` of the container's status.
pub(crate) async fn build(
    cx: &Context,
    pod: &Pod,
    container: &Container,
    place: &Place<'_>,
) -> Result<Environment, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.enable_service_links)
        .unwrap_or(true);
    let mut environment = Environment::default();
    for (name, value) in cx.services.variables(namespace, links).await? {
        environment.set(name, value);
    }
    let mut cache = Cache {
        cx,
        namespace,
        read: HashMap::new(),
    };
    for source in container.env_from.iter().flatten() {
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(from), _) => (Kind::ConfigMap, &from.name, from.optional),
            (_, Some(from)) => (Kind::Secret, &from.name, from.optional),
            _ => continue,
        };
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let Some(data) = cache.read(kind, name, optional.unwrap_or(false)).await? else {
            continue;
        };
        for (key, value) in data {
            environment.set(format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) if !text.is_empty() => Some(expand(text, |name| environment.get(name))),
            (_, Some(source)) => from_source(&mut cache, pod, container, source, place).await?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            environment.set(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

async fn from_source(
    cache: &mut Cache<'_>,
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    place: &Place<'_>,
) -> Result<Option<String>, String> {
    if let Some(selector) = &source.field_ref {
        return field(pod, selector, place).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return resource(pod, Some(container), selector, place.allocatable).map(Some);
    }
    let (kind, name, key, optional) = match (&source.config_map_key_ref, &source.secret_key_ref) {
        (Some(from), _) => (Kind::ConfigMap, &from.name, &from.key, from.optional),
        (_, Some(from)) => (Kind::Secret, &from.name, &from.key, from.optional),
        _ => return Ok(Some(String::new())),
    };
    let optional = optional.unwrap_or(false);
    let namespace = cache.namespace;
    let Some(data) = cache.read(kind, name, optional).await? else {
        return Ok(None);
    };
    match data.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional => Ok(None),
        None => Err(format!(
            "couldn't find key {key} in {} {namespace}/{name}",
            kind.title()
        )),
    }
}

/// What an object holds, by key.
type Data = BTreeMap<String, Vec<u8>>;

/// Each object is read once per container.
struct Cache<'a> {
    cx: &'a Context,
    namespace: &'a str,
    read: HashMap<(Kind, String), Option<Data>>,
}

impl Cache<'_> {
    /// `None` for an optional object that does not exist.
    async fn read(&mut self, kind: Kind, name: &str, optional: bool) -> Result<Option<&Data>, String> {
        let id = (kind, name.to_owned());
        if !self.read.contains_key(&id) {
            let key = Key {
                kind,
                namespace: self.namespace.to_owned(),
                name: name.to_owned(),
            };
            let data = match self.cx.objects.read(&key).await {
                Ok(data) => Some(data),
                Err(Missing::Absent(_)) => None,
                Err(error) => return Err(error.to_string()),
            };
            self.read.insert(id.clone(), data);
        }
        match self.read.get(&id).and_then(Option::as_ref) {
            Some(data) => Ok(Some(data)),
            None if optional => Ok(None),
            None => {
                let (namespace, name) = (self.namespace.to_owned(), name.to_owned());
                Err(Missing::Absent(Key { kind, namespace, name }).to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_again_keeps_its_place() {
        let mut environment = Environment::default();
        environment.set("A".into(), "1".into());
        environment.set("B".into(), "2".into());
        environment.set("A".into(), "3".into());
        environment.fallback("B", "4");
        environment.fallback("C", "5");
        let expected = [("A", "3"), ("B", "2"), ("C", "5")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(environment.into_vec(), expected);
    }
}
