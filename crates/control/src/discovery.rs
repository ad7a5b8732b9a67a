//! Which kinds the API server serves: what the namespace controller and the garbage collector have to look through.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResource, APIResourceList};
use kube::Client;

use crate::write::Failure;

/// A served kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Served {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Served {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// `v1`, `apps/v1`
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `deployments.apps`: how messages name it.
    pub(crate) fn name(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// URL path of all its objects, or of those of a namespace.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let namespace = namespace
            .map(|namespace| format!("namespaces/{namespace}/"))
            .unwrap_or_default();
        format!("{root}/{}/{namespace}{}", self.api_version(), self.plural)
    }
}

/// Asks for all kinds, each in its group's preferred version. Subresources are left out.
pub(crate) async fn discover(client: &Client) -> Result<Vec<Served>, Failure> {
    let mut served = Vec::new();
    for version in client.list_core_api_versions().await?.versions {
        let list = client.list_core_api_resources(&version).await?;
        served.extend(kinds(list));
    }
    for group in client.list_api_groups().await?.groups {
        let preferred = group.preferred_version.as_ref().or(group.versions.first());
        let Some(version) = preferred else { continue };
        // A group that fails to answer must not keep the others from being looked through.
        match client.list_api_group_resources(&version.group_version).await {
            Ok(list) => served.extend(kinds(list)),
            Err(error) => tracing::debug!(group = %group.name, %error, "discovery failed"),
        }
    }
    served.sort();
    Ok(served)
}

fn kinds(list: APIResourceList) -> Vec<Served> {
    let (group, version) = match list.group_version.split_once('/') {
        Some((group, version)) => (group.to_string(), version.to_string()),
        None => (String::new(), list.group_version.clone()),
    };
    let kind = |resource: APIResource| Served {
        group: group.clone(),
        version: version.clone(),
        plural: resource.name,
        kind: resource.kind,
        namespaced: resource.namespaced,
        verbs: resource.verbs,
    };
    list.resources
        .into_iter()
        .filter(|resource| !resource.name.contains('/'))
        .map(kind)
        .collect()
}
