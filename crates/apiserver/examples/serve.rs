//! Serves an API server over plain HTTP, without nodes or controllers: something to point kubectl at.
//!
//! `cargo run -p knarr-apiserver --example serve -- 127.0.0.1:8001 [DATABASE]`, then
//! `kubectl --server http://127.0.0.1:8001 --token admin get all`.

use k8s_openapi::api::core::v1::ServiceAccount;
use knarr_apiserver::{ApiServer, Options, Token};
use kube::Api;
use kube::api::PostParams;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8001".into());
    let listener = TcpListener::bind(&address).await?;
    let server = ApiServer::start(Options {
        data: arguments.next().map(Into::into),
        tokens: vec![Token {
            token: "admin".into(),
            user: "admin".into(),
            groups: vec!["system:masters".into()],
        }],
        advertise: Some(listener.local_addr()?),
        ..Options::default()
    })
    .await?;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client("admin", &["system:masters"]));
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("default".into());
    // It is there already when the database is not new.
    let _ = accounts.create(&PostParams::default(), &account).await;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    server.serve_plain(listener, shutdown).await;
    server.shutdown().await;
    Ok(())
}
