//! Where clusters come from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use knarr_clock::Clock;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::cluster::embedded::{self, ComponentLogs, Running};
use crate::cluster::link::Opening;
use crate::cluster::{ClusterId, Credential, Link, Plugin, plugin};
use crate::error::{Error, ErrorKind, Result};

/// Where a cluster comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A kubeconfig (`None`: `$KUBECONFIG`, else `~/.kube/config`, else the pod's own service account) and a context in it (`None`: the current one).
    Kubeconfig {
        /// File given by `--kubeconfig`.
        path: Option<PathBuf>,
        /// Context given by `--context`.
        context: Option<String>,
    },
    /// The cluster inside this program.
    Embedded {
        /// Which of several.
        name: String,
        /// Keep nothing.
        ephemeral: bool,
        /// How large it is at least.
        size: Size,
    },
    /// A client that is there already: of a cluster in this process, or of any service that answers as one. Made for tests and for
    /// programs that bring their own.
    Given {
        /// What it is called.
        name: String,
        /// The clients, of which the name chooses one.
        clients: Given,
    },
}

/// How large a cluster inside this program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Nodes besides, whose pods are no processes.
    pub hollow: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { nodes: 1, hollow: 0 }
    }
}

/// Clients to connect with, by the names of their contexts. Two are equal when they are clones of one.
#[derive(Clone)]
pub struct Given(Arc<[(String, kube::Client)]>);

impl From<Vec<(String, kube::Client)>> for Given {
    fn from(clients: Vec<(String, kube::Client)>) -> Self {
        Self(clients.into())
    }
}

impl Given {
    fn client(&self, name: &str) -> Result<kube::Client> {
        let named = self.0.iter().find(|(known, _)| known == name);
        named
            .map(|(_, client)| client.clone())
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no client of {name:?}")))
    }
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Given {}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

impl Source {
    /// What it is called before it has been reached.
    pub fn name(&self) -> String {
        match self {
            Source::Kubeconfig {
                context: Some(context), ..
            } => context.clone(),
            Source::Kubeconfig { .. } => "kubeconfig".into(),
            Source::Embedded { name, .. } if name == "default" => "embedded".into(),
            Source::Embedded { name, .. } => format!("embedded:{name}"),
            Source::Given { name, .. } => name.clone(),
        }
    }

    /// Another cluster by its context, as it would be found from here.
    #[must_use]
    pub fn context(&self, context: &str) -> Self {
        match self {
            Source::Given { clients, .. } => Source::Given {
                name: context.to_owned(),
                clients: clients.clone(),
            },
            Source::Kubeconfig { path, .. } => Source::Kubeconfig {
                path: path.clone(),
                context: Some(context.to_owned()),
            },
            Source::Embedded { .. } => Source::Kubeconfig {
                path: None,
                context: Some(context.to_owned()),
            },
        }
    }

    /// A cluster inside this program by what it is called: `embedded`, `embedded:NAME`.
    pub fn embedded(called: &str) -> Option<Self> {
        let name = match called.split_once(':') {
            None if called == "embedded" => "default",
            Some(("embedded", name)) if !name.is_empty() => name,
            _ => return None,
        };
        Some(Source::Embedded {
            name: name.to_owned(),
            ephemeral: false,
            size: Size::default(),
        })
    }
}

/// The contexts of a kubeconfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Names, in file order.
    pub names: Vec<String>,
    /// The current one.
    pub current: Option<String>,
}

impl Contexts {
    /// Reads them.
    pub fn load(source: &Source) -> Result<Self> {
        let path = match source {
            Source::Kubeconfig { path, .. } => path.as_deref(),
            Source::Embedded { .. } => None,
            Source::Given { name, clients } => {
                return Ok(Self {
                    names: clients.0.iter().map(|(name, _)| name.clone()).collect(),
                    current: Some(name.clone()),
                });
            }
        };
        let config = read(path)?;
        Ok(Self {
            names: config.contexts.iter().map(|context| context.name.clone()).collect(),
            current: config.current_context,
        })
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Which cluster it will be.
    pub cluster: ClusterId,
    /// Refuse requests that change something.
    pub read_only: bool,
    /// User to impersonate.
    pub user: Option<String>,
    /// Groups to impersonate.
    pub groups: Vec<String>,
    /// Wall clock of an embedded cluster.
    pub clock: Clock,
    /// Simulate the embedded cluster's containers, in memory and without a socket: for tests and rehearsals.
    pub simulate: bool,
    /// Collects the embedded control plane's logs, shown as the logs of its pods.
    pub logs: Option<ComponentLogs>,
    /// What the user's credential plugin gave when it had the terminal: used when it gives nothing without.
    pub credential: Option<Credential>,
}

/// The link, what the cluster is called, and the embedded cluster that must be kept running.
pub type Reached = (Link, String, Option<Arc<Running>>);

/// Connects: the link, what the cluster is called, and the embedded cluster that must be kept running.
///
/// # Errors
///
/// When there is no such cluster, or it does not answer.
pub fn connect(
    source: &Source,
    options: ConnectOptions,
    running: Option<Arc<Running>>,
) -> BoxFuture<'_, Result<Reached>> {
    Box::pin(reach(source, options, running))
}

async fn reach(source: &Source, options: ConnectOptions, running: Option<Arc<Running>>) -> Result<Reached> {
    match source {
        Source::Kubeconfig { path, context } => {
            let (config, name, user) = kubeconfig(path.as_deref(), context.as_deref(), &options).await?;
            let (address, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
            let failed = format!("context {name:?} cannot be used");
            let now = options.clock.now();
            let credential = options.credential.as_ref().filter(|credential| credential.counts(now));
            let client = match (client(config.clone(), &failed).await, credential) {
                (Err(_), Some(credential)) => client(credential.in_place_of_plugin(config), &failed).await?,
                (made, _) => made?,
            };
            let link = open(&options, client, &user, address.trim_end_matches('/'), &namespace).await?;
            Ok((link, name, running))
        }
        Source::Embedded { name, ephemeral, size } => {
            embedded::connect(name, *ephemeral, *size, options, running).await
        }
        Source::Given { name, clients } => {
            let client = clients.client(name)?;
            let link = open(&options, client, "", name, "default").await?;
            Ok((link, name.clone(), running))
        }
    }
}

/// The credential plugin of the user of a context, to be run on a terminal.
///
/// # Errors
///
/// When the kubeconfig cannot be read, or the user is known in another way.
pub async fn plugin_of(source: &Source) -> Result<Plugin> {
    let none = || Error::usage("the user of this context has no credential plugin that could ask for anything");
    let Source::Kubeconfig { path, context } = source else {
        return Err(none());
    };
    let (config, ..) = kubeconfig_of(path.as_deref(), context.as_deref()).await?;
    Plugin::of(&config.auth_info).ok_or_else(none)
}

/// A client; making one may run a credential plugin, which takes its time.
pub(super) async fn client(config: kube::Config, failed: &str) -> Result<kube::Client> {
    let made = tokio::task::spawn_blocking(move || crate::cluster::dial::client(config)).await;
    let made = made.map_err(|error| Error::new(ErrorKind::Other, failed).because(&error))?;
    made.map_err(|error| match &error {
        kube::Error::ProxyProtocolUnsupported { proxy_url } => {
            // Without what precedes the host: that may be a password.
            let proxy = proxy_url.host().unwrap_or("a proxy").to_owned();
            Error::new(
                ErrorKind::Config,
                format!("{failed}: the proxy {proxy} speaks an unknown protocol"),
            )
            .hint("proxies are reached by http, https or socks5")
        }
        _ => plugin::failed(&error).unwrap_or_else(|| Error::new(ErrorKind::Config, failed).because(&error)),
    })
}

pub(super) async fn open(
    options: &ConnectOptions,
    client: kube::Client,
    user: &str,
    address: &str,
    namespace: &str,
) -> Result<Link> {
    let user = match &options.user {
        Some(other) if user.is_empty() => other.clone(),
        Some(other) => format!("{user} as {other}"),
        None => user.to_owned(),
    };
    Link::open(Opening {
        client,
        read_only: options.read_only,
        cluster: options.cluster,
        user: &user,
        address,
        namespace,
    })
    .await
}

fn read(path: Option<&Path>) -> Result<Kubeconfig> {
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    read.or_else(|error| match &error {
        // The client library bounds how much it reads; files with tens of thousands of contexts exist, and kubectl reads them.
        KubeconfigError::Parse(_) => large(path).ok_or(error),
        _ => Err(error),
    })
    .map_err(|error| explain(path, &error))
}

/// Largest kubeconfig read: bytes.
const LARGEST: u64 = 64 << 20;

/// A kubeconfig of one file that is larger than the client library reads. Paths in it are relative to it.
fn large(path: Option<&Path>) -> Option<Kubeconfig> {
    let own = match path {
        Some(path) => path.to_owned(),
        None => match std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
            Some(paths) => {
                let mut paths = std::env::split_paths(&paths);
                let only = paths.next()?;
                paths.next().is_none().then_some(only)?
            }
            None => PathBuf::from(std::env::var_os("HOME")?).join(".kube/config"),
        },
    };
    if std::fs::metadata(&own).ok()?.len() > LARGEST {
        return None;
    }
    let text = std::fs::read_to_string(&own).ok()?;
    let mut config: Kubeconfig = serde_yaml::from_str(&text).ok()?;
    let beside = |file: &mut Option<String>| {
        if let (Some(name), Some(directory)) =
            (file.as_mut().filter(|name| Path::new(name).is_relative()), own.parent())
        {
            *name = directory.join(&*name).display().to_string();
        }
    };
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        beside(&mut cluster.certificate_authority);
    }
    for user in config
        .auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
    {
        beside(&mut user.client_certificate);
        beside(&mut user.client_key);
        beside(&mut user.token_file);
    }
    Some(config)
}

/// Why a kubeconfig cannot be read, in words that name the file.
fn explain(path: Option<&Path>, error: &KubeconfigError) -> Error {
    let tried = match path {
        Some(path) => path.display().to_string(),
        None => match std::env::var("KUBECONFIG") {
            Ok(paths) if !paths.is_empty() => format!("{paths} (from KUBECONFIG)"),
            _ => "~/.kube/config".into(),
        },
    };
    let missing = match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(source, _) => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    if missing {
        return Error::new(ErrorKind::Config, format!("there is no kubeconfig at {tried}"))
            .hint("knarr --embedded starts a cluster of its own, offline")
            .hint("or name one with --kubeconfig FILE or the variable KUBECONFIG");
    }
    Error::new(ErrorKind::Config, format!("the kubeconfig {tried} cannot be used")).because(error)
}

/// How to connect to a context, its name, and that of its user.
pub(super) async fn kubeconfig(
    path: Option<&Path>,
    context: Option<&str>,
    options: &ConnectOptions,
) -> Result<(kube::Config, String, String)> {
    let (config, name, user) = kubeconfig_of(path, context).await?;
    Ok((impersonate(config, options), name, user))
}

async fn kubeconfig_of(path: Option<&Path>, context: Option<&str>) -> Result<(kube::Config, String, String)> {
    let owned = path.map(Path::to_owned);
    let loaded = tokio::task::spawn_blocking(move || read(owned.as_deref())).await;
    let file =
        match loaded.map_err(|error| Error::new(ErrorKind::Other, "reading the kubeconfig failed").because(&error))? {
            Ok(file) => file,
            // Inside a pod the service account is the way in.
            Err(error) if path.is_none() && context.is_none() => match kube::Config::incluster() {
                Ok(config) => {
                    return Ok((config, "in-cluster".into(), "service account".into()));
                }
                Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        };
    let name = context
        .map(str::to_owned)
        .or_else(|| file.current_context.clone())
        .filter(|name| !name.is_empty());
    let names: Vec<String> = file.contexts.iter().map(|context| context.name.clone()).collect();
    let Some(name) = name else {
        return Err(Error::new(ErrorKind::Config, "the kubeconfig names no current context")
            .hint(format!("choose one with --context: {}", names.join(", "))));
    };
    if !names.contains(&name) {
        return Err(
            Error::new(ErrorKind::Config, format!("the kubeconfig has no context {name:?}")).hint(
                if names.is_empty() {
                    "it has no contexts at all".into()
                } else {
                    format!("it has: {}", names.join(", "))
                },
            ),
        );
    }
    let user = file
        .contexts
        .iter()
        .find(|context| context.name == name)
        .and_then(|context| context.context.as_ref()?.user.clone())
        .unwrap_or_default();
    let proxy = proxy_of(&file, &name)?;
    let selection = KubeConfigOptions {
        context: Some(name.clone()),
        cluster: None,
        user: None,
    };
    let mut config = kube::Config::from_custom_kubeconfig(file, &selection)
        .await
        .map_err(|error| {
            Error::new(
                ErrorKind::Config,
                format!("context {name:?} of the kubeconfig cannot be used"),
            )
            .because(&error)
        })?;
    // What the environment says of proxies counts for other machines only, and with its exceptions.
    config.proxy_url = proxy;
    Ok((config, name, user))
}

/// The proxy that a kubeconfig names for the cluster of a context.
fn proxy_of(file: &Kubeconfig, context: &str) -> Result<Option<http::Uri>> {
    let context = file.contexts.iter().find(|known| known.name == context);
    let cluster = context.and_then(|known| Some(&*known.context.as_ref()?.cluster));
    let cluster = file.clusters.iter().find(|known| Some(&*known.name) == cluster);
    let named = cluster.and_then(|known| known.cluster.as_ref()?.proxy_url.as_deref());
    let parsed = named.filter(|named| !named.is_empty()).map(str::parse).transpose();
    parsed.map_err(|error: http::uri::InvalidUri| {
        Error::new(ErrorKind::Config, "the kubeconfig's proxy-url is no address").because(&error)
    })
}

fn impersonate(mut config: kube::Config, options: &ConnectOptions) -> kube::Config {
    plugin::confine(&mut config.auth_info);
    config.connect_timeout = Some(std::time::Duration::from_secs(10));
    // Watches and followed logs are quiet for long; what must answer soon has a timeout of its own.
    config.read_timeout = None;
    // A busy server is waited for where it is known what was asked, and what it said.
    config.default_retry = false;
    if options.user.is_some() {
        config.auth_info.impersonate.clone_from(&options.user);
        config.auth_info.impersonate_groups = Some(options.groups.clone()).filter(|groups| !groups.is_empty());
    }
    config
}
