//! Serves an API server without nodes or controllers: something to point kubectl at.
//!
//! `cargo run -p knarr-apiserver --example serve -- 127.0.0.1:8001 [DATABASE]`, then
//! `kubectl --server https://127.0.0.1:8001 --insecure-skip-tls-verify --token admin get all`.
//! (Over plain HTTP kubectl would not send the token.)

use std::sync::Arc;

use k8s_openapi::api::core::v1::ServiceAccount;
use knarr_apiserver::{ApiServer, Options, Token, UserInfo};
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
    let accounts: Api<ServiceAccount> =
        Api::default_namespaced(server.client(UserInfo::authenticated("admin", &["system:masters"])));
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
    server.serve(listener, Arc::new(tls()?), shutdown).await;
    server.shutdown().await;
    Ok(())
}

fn tls() -> Result<rustls::ServerConfig, Box<dyn std::error::Error>> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
