//! The Ingress controller: HTTP and HTTPS for hosts and paths.
//!
//! It listens in the node's network behind a Service of type `LoadBalancer`, like any other, so that pods reach it too, and
//! people where that Service's load balancer or its node ports are. Ingresses say so in their status.

mod certificate;
mod route;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use knarr_client::key::Key;
use knarr_client::reflector::reflect;
use knarr_client::store::Store;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Resource};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use self::certificate::Certificates;
use self::route::Routes;
use self::serve::Shared;
use crate::view::View;
use crate::{Context, announce};

/// The controller that its classes name.
const CONTROLLER: &str = "knarr.dev/ingress";
/// Its Service.
pub(crate) const SERVICE: &str = "knarr-ingress";
/// Where it listens at the node's address: ports that pods are unlikely to want of their host.
pub(crate) const HTTP: u16 = 18_080;
pub(crate) const HTTPS: u16 = 18_443;
/// How the class was named before it was a field.
const CLASS: &str = "kubernetes.io/ingress.class";

/// What the API says about Ingresses.
struct Stores {
    ingresses: Store<Ingress>,
    classes: Store<IngressClass>,
    /// Those with certificates.
    secrets: Store<Secret>,
    changed: Notify,
}

impl Stores {
    fn new() -> Arc<Self> {
        let stores = Arc::new(Self {
            ingresses: Store::new(|_| Vec::new()),
            classes: Store::new(|_| Vec::new()),
            secrets: Store::new(|_| Vec::new()),
            changed: Notify::new(),
        });
        wake(&stores, &stores.ingresses);
        wake(&stores, &stores.classes);
        wake(&stores, &stores.secrets);
        stores
    }

    /// The Ingresses of this controller's classes.
    fn own(&self) -> Vec<Arc<Ingress>> {
        let mut own = self.ingresses.all();
        own.retain(|ingress| self.is_own(ingress));
        own
    }

    fn is_own(&self, ingress: &Ingress) -> bool {
        let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
        let annotations = ingress.metadata.annotations.as_ref();
        let class = field.or_else(|| annotations?.get(CLASS));
        let class = class.and_then(|class| self.classes.named(class));
        let controller = class.and_then(|class| class.spec.as_ref()?.controller.clone());
        controller.as_deref() == Some(CONTROLLER)
    }
}

fn wake<K: Resource>(stores: &Arc<Stores>, store: &Store<K>) {
    // Weak, because the handler is kept inside the store.
    let stores = Arc::downgrade(stores);
    store.on_change(move |_| {
        if let Some(stores) = stores.upgrade() {
            stores.changed.notify_one();
        }
    });
}

/// Serves Ingresses until the network ends.
pub(crate) async fn run(context: Context, view: watch::Receiver<Arc<View>>) {
    let stores = Stores::new();
    let (routes, on_routes) = watch::channel(Arc::new(Routes::default()));
    let (certificates, on_certificates) = watch::channel(Arc::new(Certificates::default()));
    let client = context.client.clone();
    let slim: fn(&mut Ingress) = |ingress| ingress.metadata.managed_fields = None;
    let tls = watcher::Config::default().fields("type=kubernetes.io/tls");
    tokio::join!(
        reflect(
            Api::all(client.clone()),
            watcher::Config::default(),
            slim,
            &stores.ingresses
        ),
        reflect(
            Api::all(client.clone()),
            watcher::Config::default(),
            |_| {},
            &stores.classes
        ),
        reflect(Api::all(client), tls, |_| {}, &stores.secrets),
        follow(&context, &stores, view.clone(), routes, certificates),
        listen(&context, view, on_routes, on_certificates),
    );
}

/// Keeps routes, certificates and statuses as the API has them.
async fn follow(
    context: &Context,
    stores: &Stores,
    mut view: watch::Receiver<Arc<View>>,
    routes: watch::Sender<Arc<Routes>>,
    certificates: watch::Sender<Arc<Certificates>>,
) {
    let mut complained: Vec<(Key, String)> = Vec::new();
    loop {
        let own = stores.own();
        let (read, mistakes) = Certificates::new(&own, &stores.secrets);
        certificates.send_replace(Arc::new(read));
        routes.send_replace(Arc::new(Routes::new(own.clone())));
        let mistakes = mistakes
            .into_iter()
            .map(|(ingress, why)| (Key::of(ingress.as_ref()), why, ingress));
        let mut now = Vec::new();
        for (key, why, ingress) in mistakes {
            let known = complained.contains(&(key.clone(), why.clone()));
            if !known {
                context
                    .recorder
                    .warning(ingress.object_ref(&()), "BadCertificate", why.clone());
            }
            now.push((key, why));
        }
        complained = now;
        let wanted = balancer(&view.borrow_and_update());
        for ingress in &own {
            publish(context, ingress, &wanted).await;
        }
        tokio::select! {
            () = stores.changed.notified() => {}
            changed = view.changed() => if changed.is_err() { return },
        }
    }
}

/// Where people reach the controller: at its load balancer's address, or by the node ports where that has none.
fn balancer(view: &View) -> Value {
    let Some(entry) = view.services.get(&Key::new(announce::NAMESPACE, SERVICE)) else {
        return json!([]);
    };
    let status = entry
        .service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    if let Some(ip) = ingress.iter().find_map(|ingress| ingress.ip.as_deref()) {
        return json!([{ "ip": ip }]);
    }
    let ports = entry.service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let ports: Vec<Value> = ports
        .filter_map(|port| port.node_port.filter(|number| *number > 0))
        .map(|number| json!({ "port": number, "protocol": "TCP" }))
        .collect();
    match ports.is_empty() {
        true => json!([]),
        false => json!([{ "ip": "127.0.0.1", "ports": ports }]),
    }
}

async fn publish(context: &Context, ingress: &Ingress, wanted: &Value) {
    let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let told = status.and_then(|status| status.ingress.as_ref());
    let told = told.map_or_else(|| json!([]), |told| json!(told));
    if told == *wanted {
        return;
    }
    let key = Key::of(ingress);
    let ingresses: Api<Ingress> = Api::namespaced(context.client.clone(), &key.namespace);
    let patch =
        json!({ "metadata": { "uid": ingress.metadata.uid }, "status": { "loadBalancer": { "ingress": wanted } } });
    let parameters = PatchParams {
        field_manager: Some(SERVICE.into()),
        ..PatchParams::default()
    };
    match ingresses
        .patch_status(&key.name, &parameters, &Patch::Merge(patch))
        .await
    {
        Ok(_) => {
            let about = ingress.object_ref(&());
            context.recorder.normal(about, "Sync", "Scheduled for sync");
        }
        Err(error) => tracing::debug!(%error, ingress = %key, "status not written"),
    }
}

/// Opens both ports.
async fn listen(
    context: &Context,
    view: watch::Receiver<Arc<View>>,
    routes: watch::Receiver<Arc<Routes>>,
    certificates: watch::Receiver<Arc<Certificates>>,
) {
    let ip = context.runtime.node_ip();
    let (http, https) = (SocketAddr::new(ip, HTTP), SocketAddr::new(ip, HTTPS));
    let opened = tokio::try_join!(context.runtime.listen_node(http), context.runtime.listen_node(https));
    let (plain, secure) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(%error, "Ingresses are not served");
            return;
        }
    };
    let tls = match certificate::server_config(certificates) {
        Ok(config) => TlsAcceptor::from(config),
        Err(error) => {
            tracing::warn!(error, "Ingresses are not served");
            return;
        }
    };
    announce::ingress_service(context).await;
    let shared = Shared {
        context: context.clone(),
        routes,
        view,
        turn: Arc::default(),
    };
    tokio::join!(
        serve::accept(shared.clone(), plain, None),
        serve::accept(shared, secure, Some(tls)),
    );
}
