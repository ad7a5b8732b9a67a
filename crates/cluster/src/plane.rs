//! Starts the parts of a cluster in order, and stops them in the reverse one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use knarr_apiserver::{ApiServer, Token, UserInfo};
use knarr_image::ImageStore;
use knarr_runtime::{Mode, Runtime};
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::daemon::storage;
use crate::directory::{self, DATABASE, Directory, Lock, Note, TEMPORARY};
use crate::error::{Doing, Error};
use crate::node::{self, Machines};
use crate::pki::{Identity, SECRETS, SERVICE_IP};
use crate::{Options, RuntimeChoice, Storage, image, kubeconfig, runtime};

const MASTERS: &str = "system:masters";
const NO_GROUPS: &[&str] = &[];
/// The label of a node that runs the control plane. Nodes may not say so of themselves.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// How long the parts may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running cluster. Ends in good order with [`Cluster::stop`]; dropping it ends it without waiting.
pub struct Cluster {
    server: ApiServer,
    machines: Arc<Machines>,
    nodes: Vec<String>,
    mode: Mode,
    refusals: Vec<String>,
    address: Option<SocketAddr>,
    kubeconfig: Option<PathBuf>,
    directory: Option<Directory>,
    tasks: JoinSet<()>,
    control: CancellationToken,
    listeners: CancellationToken,
    // Released last, in this order.
    _temporary: Option<TempDir>,
    _lock: Option<Lock>,
}

/// Where a cluster keeps its files.
struct Place {
    directory: Directory,
    temporary: Option<TempDir>,
    lock: Option<Lock>,
}

impl Place {
    fn open(options: &Options) -> Result<Self, Error> {
        let Storage::Directory(path) = &options.storage else {
            let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir();
            let temporary = temporary.doing(|| "cannot make a temporary directory".into())?;
            let directory = Directory::at(temporary.path().to_path_buf());
            // Who lives keeps others from sweeping it away.
            let lock = directory.try_lock()?;
            return Ok(Self {
                directory,
                temporary: Some(temporary),
                lock,
            });
        };
        let directory = Directory::at(path.clone());
        directory.create()?;
        let Some(lock) = directory.try_lock()? else {
            let holder = directory
                .holder()?
                .map(|pid| format!(" (process {pid})"))
                .unwrap_or_default();
            return Err(
                Error::new(format!("the cluster {:?} is running already{holder}", options.name))
                    .with_hint("use the running one, or choose another name")
                    .because_taken(),
            );
        };
        // An earlier process's end is none of this one's.
        directory.remove("stopping");
        Ok(Self {
            directory,
            temporary: None,
            lock: Some(lock),
        })
    }
}

/// Makes the database of a new cluster. One that has been started before has a database, or has lost it: then it does not
/// start empty as if nothing had happened.
fn settle(name: &str, directory: &Directory, database: &Path) -> Result<(), Error> {
    if database.exists() {
        return Ok(());
    }
    if directory.file("cluster.redb").exists() {
        return Err(Error::new(format!(
            "the cluster {name} was made by a version of Knarr whose database this one cannot read"
        ))
        .with_hint(format!(
            "knarr cluster delete {name} removes it, so that it can be started anew"
        )));
    }
    // The secrets are made after the database, so they tell that there was one.
    if directory.file(SECRETS).exists() {
        return Err(storage::missing(name, database));
    }
    knarr_apiserver::database::create(database).map_err(|error| storage::explain(name, error))
}

/// The API server, and what its clients find it by.
struct Door {
    server: ApiServer,
    identity: Identity,
    listener: Option<(TcpListener, SocketAddr)>,
}

impl Door {
    async fn open(options: &Options, directory: &Directory, database: Option<PathBuf>) -> Result<Self, Error> {
        let mut identity = Identity::open(directory)?;
        let listener = match options.listen {
            Some(address) => Some(listen(address, &identity).await?),
            None => None,
        };
        let address = listener.as_ref().map(|(_, address)| *address);
        if let Some(address) = address {
            identity.set_port(directory, address.port())?;
        }
        let server = ApiServer::start(knarr_apiserver::Options {
            clock: options.clock.clone(),
            data: database,
            tokens: vec![Token {
                token: identity.token().to_string(),
                user: kubeconfig::ADMIN.into(),
                groups: vec![MASTERS.into()],
            }],
            advertise: address,
            ca_pem: identity.ca_pem.clone(),
            // Pods that reach for the host run only where a label asks for it: the host is somebody's own machine.
            pod_security: knarr_apiserver::PodSecurity {
                enforce: knarr_apiserver::Level::Baseline,
                exempt_namespaces: vec!["kube-system".into()],
            },
            ..knarr_apiserver::Options::default()
        })
        .await
        .map_err(|error| storage::explain(&options.name, error))
        .map_err(|error| {
            let hint = error.hint().map(str::to_string);
            let failed = format!("the API server of the cluster {:?} does not start", options.name);
            let failed = Error::new(failed).because(error);
            match hint {
                Some(hint) => failed.with_hint(hint),
                None => failed,
            }
        })?;
        Ok(Self {
            server,
            identity,
            listener,
        })
    }
}

impl Cluster {
    /// Starts a cluster. It answers requests when this returns, and runs pods as soon as its node is ready, for which
    /// [`Cluster::ready`] waits.
    pub fn start(options: Options) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(Self::begin(options))
    }

    async fn begin(options: Options) -> Result<Self, Error> {
        let place = Place::open(&options)?;
        if options.runtime != RuntimeChoice::Hollow {
            std::thread::spawn(directory::sweep);
        }
        let directory = &place.directory;
        let database = place.temporary.is_none().then(|| directory.file(DATABASE));
        if let Some(database) = &database {
            settle(&options.name, directory, database)?;
        }
        let state = directory.create_sub("node")?;
        // The node process finds out what this host allows while the API server starts. Both are waited for: what has started
        // ends when it is dropped.
        // Opening the image store packs the built-in images, which is work for another thread meanwhile.
        let store = state.join(image::STORE);
        let (chosen, door, images) = tokio::join!(
            runtime::choose(options.runtime, &state, &options.clock),
            Door::open(&options, directory, database),
            tokio::task::spawn_blocking(move || ImageStore::open(&store)),
        );
        let chosen = chosen?;
        let Door {
            server,
            identity,
            listener,
        } = door?;
        let mode = chosen.runtime.mode();
        // Otherwise pods have no network of their own, so that there is nothing to listen in.
        let networked = matches!(mode, Mode::Root | Mode::UserNamespace);
        tracing::info!(?mode, refusals = ?chosen.refusals, "containers");
        let address = listener.as_ref().map(|(_, address)| *address);
        let inside = address
            .filter(|_| networked)
            .map(|address| SocketAddr::new(chosen.runtime.node_ip(), address.port()));
        if let Some(inside) = inside {
            server
                .advertise_to_pods(inside)
                .await
                .map_err(|error| storage::explain(&options.name, error))?;
        }

        let mut tasks = JoinSet::new();
        let (control, listeners) = (CancellationToken::new(), CancellationToken::new());
        let mut config = None;
        if let Some((listener, address)) = listener {
            let tls = identity.tls(&[address.ip(), chosen.runtime.node_ip()])?;
            let url = format!("https://{}", reachable(address));
            config = Some(kubeconfig::write(directory, &options.name, &url, &identity)?);
            // Pods reach the server under the address of its Service, and of the endpoint that this has.
            for inside in inside
                .into_iter()
                .chain(networked.then(|| SocketAddr::new(SERVICE_IP.into(), 443)))
            {
                let (server, tls) = (server.clone(), tls.clone());
                let runtime = chosen.runtime.clone();
                let serve = move |ended| serve_pods(server.clone(), runtime.clone(), tls.clone(), inside, ended);
                tasks.spawn(in_each_network(chosen.runtime.clone(), listeners.clone(), serve));
            }
            tracing::info!(target: "knarr_apiserver", "Serving securely on {address}");
            let (server, listeners) = (server.clone(), listeners.clone());
            tasks.spawn(server.serve(listener, tls, listeners));
        }

        tasks.spawn(knarr_control::run(
            {
                let server = server.clone();
                Box::new(move |user: &str| server.client(UserInfo::authenticated(user, NO_GROUPS)))
            },
            knarr_control::Options {
                clock: options.clock.clone(),
                ca_pem: identity.ca_pem.clone(),
                authority: Some(identity.authority()?),
                node_grace: options.node_grace,
                volumes: Some(state.join("volumes")),
                ..knarr_control::Options::default()
            },
            control.clone(),
        ));

        let network = knarr_network::Options {
            clock: options.clock.clone(),
            reserved: vec![SERVICE_IP.into()],
            ..knarr_network::Options::default()
        };
        let dns = networked.then(|| IpAddr::from(network.dns_ip));
        if networked {
            let clients = knarr_network::Clients {
                proxy: server.client(UserInfo::authenticated("system:kube-proxy", NO_GROUPS)),
                dns: server.client(UserInfo::authenticated(
                    "system:serviceaccount:kube-system:coredns",
                    NO_GROUPS,
                )),
                ingress: server.client(UserInfo::authenticated(
                    "system:serviceaccount:kube-system:knarr-ingress",
                    NO_GROUPS,
                )),
            };
            let runtime = chosen.runtime.clone();
            let serve = move |ended| knarr_network::run(clients.clone(), runtime.clone(), network.clone(), ended);
            tasks.spawn(in_each_network(chosen.runtime.clone(), control.clone(), serve));
        } else {
            tracing::info!(
                mode = mode.name(),
                "Pods have no network: there are no service addresses and no DNS"
            );
        }

        let doing = || "cannot open the image store".into();
        let images = Arc::new(images.doing(doing)?.doing(doing)?);
        // Where nothing really runs, nobody outside is asked for anything either.
        let registries = match mode {
            Mode::Hollow => None,
            _ => Some(Arc::new(image::registries(directory)?)),
        };
        // The components and the static pods of the cluster belong to the first node.
        let first = options.nodes.first().cloned().unwrap_or_default();
        let own = knarr_node::Options {
            clock: options.clock.clone(),
            node_ip: chosen.runtime.node_ip(),
            pod_cidr: chosen.runtime.pod_cidr(),
            cluster_dns: dns.into_iter().collect(),
            components: components(&options, address, networked),
            registries,
            manifest_dir: Some(directory.create_sub("manifests")?),
            ..knarr_node::Options::new(first.clone(), state.join(&first))
        };
        let machines = Arc::new(Machines {
            server: server.clone(),
            runtime: chosen.runtime.clone(),
            images,
            options: own,
            directory: directory.create_sub("node/nodes")?,
            shutdown: control.clone(),
            running: Mutex::default(),
            hollow: watch::Sender::default(),
        });
        let admin = server.client(UserInfo::authenticated(kubeconfig::ADMIN, &[MASTERS]));
        if let Some((first, further)) = options.nodes.split_first() {
            let started = machines.start_first().await;
            started.doing(|| format!("the node {first:?} does not start"))?;
            let made = node::ensure(&admin, further, options.hollow).await;
            made.doing(|| "cannot make the nodes".into())?;
            let (machines, ended, client) = (machines.clone(), control.clone(), admin.clone());
            tasks.spawn(async move {
                let both = async { tokio::join!(machines.follow(client.clone()), machines.drive_hollow(client)) };
                ended.run_until_cancelled(both).await;
            });
        }
        if let (Some(first), Some(_)) = (options.nodes.first(), &options.logs) {
            let marking = mark_control_plane(Api::all(admin), first.clone());
            let ended = control.clone();
            tasks.spawn(async move {
                ended.run_until_cancelled(marking).await;
            });
        }

        let cluster = Self {
            server,
            machines,
            nodes: options.nodes,
            mode,
            refusals: chosen.refusals,
            address,
            kubeconfig: config,
            directory: place.temporary.is_none().then(|| directory.clone()),
            tasks,
            control,
            listeners,
            _temporary: place.temporary,
            _lock: place.lock,
        };
        cluster.publish(&options.clock)?;
        Ok(cluster)
    }
}

/// Labels the node that shows the control plane's components, whenever it is registered anew.
async fn mark_control_plane(nodes: Api<Node>, name: String) {
    let own = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(nodes.clone(), own).default_backoff());
    let mut marked = None;
    while let Some(event) = events.next().await {
        let Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) = event else {
            continue;
        };
        if marked == node.metadata.uid {
            continue;
        }
        let patch = json!({ "metadata": { "labels": { CONTROL_PLANE: "" } } });
        match nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => marked = node.metadata.uid,
            Err(error) => tracing::debug!(%error, "the node of the control plane was not labelled"),
        }
    }
}

/// Runs `serve` in the node's network until `shutdown`: anew whenever the runtime has lost that network and made another.
async fn in_each_network<F: Future<Output = ()>>(
    runtime: Arc<dyn Runtime>,
    shutdown: CancellationToken,
    serve: impl Fn(CancellationToken) -> F,
) {
    let mut status = runtime.status();
    while !shutdown.is_cancelled() {
        let up = status.wait_for(|status| status.down.is_none());
        let Some(Ok(epoch)) = shutdown
            .run_until_cancelled(up)
            .await
            .map(|up| up.map(|status| status.epoch))
        else {
            return;
        };
        let ended = shutdown.child_token();
        let lost = async {
            if status.wait_for(|status| status.epoch != epoch).await.is_ok() {
                ended.cancel();
            }
            std::future::pending().await
        };
        tokio::select! {
            () = serve(ended.clone()) => {}
            () = lost => {}
        }
        if !ended.is_cancelled() {
            return; // it has nothing more to do
        }
    }
}

/// Serves the API server inside the node's network.
async fn serve_pods(
    server: ApiServer,
    runtime: Arc<dyn Runtime>,
    tls: Arc<rustls::ServerConfig>,
    address: SocketAddr,
    ended: CancellationToken,
) {
    match runtime.listen_node(address).await {
        Ok(inner) => server.serve(inner, tls, ended).await,
        Err(error) => tracing::warn!(%error, "pods cannot reach the API server"),
    }
}

fn components(options: &Options, address: Option<SocketAddr>, networked: bool) -> Vec<knarr_node::ComponentPod> {
    let Some(logs) = &options.logs else {
        return Vec::new();
    };
    logs.pods(&|component| match (component, address) {
        ("kube-apiserver", Some(address)) => Some(vec![
            format!("--advertise-address={}", address.ip()),
            format!("--secure-port={}", address.port()),
            "--authorization-mode=RBAC".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            match &options.storage {
                Storage::Directory(_) => "--storage-backend=log".into(),
                Storage::Memory => "--storage-backend=memory".into(),
            },
        ]),
        ("kube-controller-manager", _) => Some(vec![format!(
            "--node-monitor-grace-period={}s",
            options.node_grace.as_secs()
        )]),
        ("kube-proxy", _) => networked.then(|| vec!["--proxy-mode=userspace".into()]),
        ("coredns", _) => networked.then(Vec::new),
        _ => Some(Vec::new()),
    })
}

/// Listens on the given address. Port 0 prefers the port that kubeconfigs know.
async fn listen(address: SocketAddr, identity: &Identity) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = bind(address, identity).await?;
    let address = listener.local_addr().doing(|| "cannot listen".into())?;
    Ok((listener, address))
}

async fn bind(address: SocketAddr, identity: &Identity) -> Result<TcpListener, Error> {
    let known = SocketAddr::new(address.ip(), identity.port());
    if address.port() == 0
        && known.port() != 0
        && let Ok(listener) = TcpListener::bind(known).await
    {
        return Ok(listener);
    }
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program uses this port; port 0 takes any free one",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; port 0 takes any free one",
            _ => "is this an address of this machine?",
        };
        Error::new(format!("cannot listen on {address}"))
            .because(error)
            .with_hint(hint)
    })
}

/// The address that clients use: "all addresses" is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

impl Cluster {
    /// A client in this process that may do everything.
    pub fn client(&self) -> Client {
        self.client_as(crate::kubeconfig::ADMIN, &[MASTERS])
    }

    /// A client in this process that acts as somebody.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        self.server.client(UserInfo::authenticated(user, groups))
    }

    /// The API server.
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// The kubeconfig for other programs, when there is a listener.
    pub fn kubeconfig_path(&self) -> Option<&Path> {
        self.kubeconfig.as_deref()
    }

    /// Where it serves TLS.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// How containers are isolated.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Why containers are not isolated better.
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// Waits until every node is ready for pods, and pods find what they need.
    pub fn ready(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.wait_ready())
    }

    async fn wait_ready(&self) -> Result<(), Error> {
        use k8s_openapi::api::core::v1::ServiceAccount;
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client());
        let there = |account: Option<&ServiceAccount>| account.is_some();
        let wait = await_condition(accounts, "default", there).await;
        wait.doing(|| "the default service account does not appear".into())?;
        for name in &self.nodes {
            let nodes: Api<Node> = Api::all(self.client());
            let wait = await_condition(nodes, name, |node: Option<&Node>| node.is_some_and(node::is_ready)).await;
            wait.doing(|| format!("the node {name:?} does not become ready"))?;
        }
        Ok(())
    }

    /// Ends the cluster in good order: containers first, then the loops, then the API server, whose last writes are
    /// made durable.
    pub fn stop(self) -> BoxFuture<'static, ()> {
        Box::pin(self.end())
    }

    async fn end(mut self) {
        if let Some(directory) = &self.directory {
            // However it was told to: from here on nobody is to rely on it.
            if let Err(error) = directory.mark_stopping(own_pid()) {
                tracing::warn!(%error, "cannot note that the cluster stops");
            }
        }
        self.machines.stop().await;
        self.control.cancel();
        self.server.shutdown().await;
        self.listeners.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            tracing::warn!("some parts did not end in time");
        }
    }

    /// Tells other processes that, and where, this cluster runs.
    fn publish(&self, clock: &knarr_clock::Clock) -> Result<(), Error> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let note = Note {
            pid: own_pid(),
            server: self.address.map(|address| format!("https://{}", reachable(address))),
            mode: self.mode.name().to_string(),
            started: clock.now_seconds().to_string(),
        };
        let json = serde_json::to_vec_pretty(&note).doing(|| "cannot describe the cluster".into())?;
        directory.write("running.json", &json).map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control.cancel();
        self.listeners.cancel();
        if let Some(directory) = &self.directory {
            directory.remove("running.json");
        }
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}
