//! Services, for the environment variables that tell containers where they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use knarr_client::reflector::reflect;
use knarr_client::store::Store;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;

/// The services of the cluster, by one watch.
#[derive(Clone)]
pub(crate) struct Services {
    store: Arc<Store<Service>>,
    shutdown: CancellationToken,
}

impl Services {
    /// Starts the watch.
    pub(crate) fn start(client: Client, shutdown: CancellationToken) -> Self {
        let store = Arc::new(Store::new(|_| Vec::new()));
        let services = Self {
            store: store.clone(),
            shutdown: shutdown.clone(),
        };
        tokio::spawn(async move {
            let slim = |service: &mut Service| service.meta_mut().managed_fields = None;
            let informer = reflect(Api::all(client), watcher::Config::default(), slim, &store);
            shutdown.run_until_cancelled(informer).await;
        });
        services
    }

    /// The variables for a pod in `namespace`: those of its namespace if it wants them (`enableServiceLinks`), and always
    /// those of the API server itself.
    pub(crate) async fn variables(&self, namespace: &str, links: bool) -> Result<Vec<(String, String)>, String> {
        let synced = self.shutdown.run_until_cancelled(self.store.wait_synced()).await;
        synced.ok_or("services have not yet been read at least once, cannot construct envs")?;
        let mut table = table(&self.store.in_namespace("default"));
        if namespace != "default" {
            table.extend(self::table(&self.store.in_namespace(namespace)));
        }
        Ok(variables(&table, namespace, links))
    }
}

/// What the variables of one service are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    ip: String,
    /// Name, protocol, number.
    ports: Vec<(String, String, i32)>,
}

type Table = BTreeMap<(String, String), Entry>;

fn table(services: &[Arc<Service>]) -> Table {
    let entries = services.iter().filter_map(|service| {
        let meta = &service.metadata;
        let key = (meta.namespace.clone()?, meta.name.clone()?);
        Some((key, entry(service)?))
    });
    entries.collect()
}

/// `None` for a service without an address.
fn entry(service: &Service) -> Option<Entry> {
    let spec = service.spec.as_ref()?;
    let ip = spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?;
    let ports = spec.ports.iter().flatten().map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        (port.name.clone().unwrap_or_default(), protocol, port.port)
    });
    let ports = ports.collect();
    Some(Entry { ip, ports })
}

/// The part of variable names that stands for `name`.
fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn variables(table: &Table, namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let in_namespace = table.iter().filter(|((ns, name), _)| {
        let api_server = ns == "default" && name == "kubernetes";
        let shadowed =
            api_server && links && table.contains_key(&(namespace.to_owned(), name.clone())) && ns != namespace;
        (api_server && !shadowed) || (links && ns == namespace)
    });
    for ((_, name), entry) in in_namespace {
        let Some((_, first_protocol, first_port)) = entry.ports.first() else {
            continue;
        };
        let prefix = upper(name);
        let ip = &entry.ip;
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.clone()
        };
        let mut add = |name: String, value: String| variables.push((name, value));
        add(format!("{prefix}_SERVICE_HOST"), ip.clone());
        add(format!("{prefix}_SERVICE_PORT"), first_port.to_string());
        for (name, _, port) in entry.ports.iter().filter(|(name, ..)| !name.is_empty()) {
            add(format!("{prefix}_SERVICE_PORT_{}", upper(name)), port.to_string());
        }
        // The names that Docker links once had.
        add(
            format!("{prefix}_PORT"),
            format!("{}://{host}:{first_port}", first_protocol.to_ascii_lowercase()),
        );
        for (_, protocol, port) in &entry.ports {
            let link = format!("{prefix}_PORT_{port}_{}", protocol.to_ascii_uppercase());
            let lower = protocol.to_ascii_lowercase();
            add(link.clone(), format!("{lower}://{host}:{port}"));
            add(format!("{link}_PROTO"), lower);
            add(format!("{link}_PORT"), port.to_string());
            add(format!("{link}_ADDR"), ip.clone());
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let entry = |ip: &str, ports: &[(&str, i32)]| Entry {
            ip: ip.into(),
            ports: ports
                .iter()
                .map(|(name, port)| ((*name).into(), "TCP".into(), *port))
                .collect(),
        };
        Table::from([
            (
                ("default".into(), "kubernetes".into()),
                entry("10.96.0.1", &[("https", 443)]),
            ),
            (
                ("web".into(), "my-db".into()),
                entry("10.96.0.7", &[("sql", 5432), ("metrics", 9187)]),
            ),
        ])
    }

    #[test]
    fn service_variables_have_the_names_that_programs_look_for() {
        let variables = variables(&table(), "web", true);
        let text: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        for expected in [
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
            "KUBERNETES_SERVICE_PORT=443",
            "KUBERNETES_SERVICE_PORT_HTTPS=443",
            "KUBERNETES_PORT=tcp://10.96.0.1:443",
            "KUBERNETES_PORT_443_TCP_ADDR=10.96.0.1",
            "MY_DB_SERVICE_PORT=5432",
            "MY_DB_SERVICE_PORT_METRICS=9187",
            "MY_DB_PORT_9187_TCP=tcp://10.96.0.7:9187",
            "MY_DB_PORT_9187_TCP_PROTO=tcp",
        ] {
            assert!(text.iter().any(|line| line == expected), "{expected} in {text:#?}");
        }
    }

    #[test]
    fn without_service_links_only_the_api_server_is_told() {
        let variables = variables(&table(), "web", false);
        assert!(variables.iter().all(|(name, _)| name.starts_with("KUBERNETES_")));
        assert_eq!(variables.len(), 8);
    }
}
