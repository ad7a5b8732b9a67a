//! `knarr why`: what is wrong with an object, for people and for scripts.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use knarr::cluster::{ClusterId, ConnectOptions, ObjectRef, connect};
use knarr::error::{Error, ErrorKind, Result};
use knarr::kind::why;
use knarr_clock::Clock;

use super::Place;

/// An object to be examined.
#[derive(Args)]
pub(super) struct Why {
    /// KIND/NAME, or KIND NAME
    #[arg(required = true, num_args = 1..=2, value_name = "KIND/NAME")]
    object: Vec<String>,
    /// How the findings are printed
    #[arg(short, long, default_value = "text")]
    output: Output,
    #[command(flatten)]
    place: Place,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Sentences, evidence and remedies
    Text,
    /// For scripts
    Json,
}

/// Examines the object; exit code 1 when something is wrong with it.
pub(super) fn run(ask: Why) -> Result<ExitCode> {
    let (kind, name) = match ask.object.as_slice() {
        [one] => one
            .split_once('/')
            .ok_or_else(|| Error::usage(format!("{one:?} names no object")).hint("say which: knarr why pod/web"))?,
        [kind, name] => (kind.as_str(), name.as_str()),
        _ => return Err(Error::usage("say which object: knarr why pod/web")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Other, "cannot start").because(&error))?;
    runtime.block_on(examine(&ask, kind, name))
}

async fn examine(ask: &Why, kind: &str, name: &str) -> Result<ExitCode> {
    let place = &ask.place;
    let options = ConnectOptions {
        credential: None,
        cluster: ClusterId::default(),
        read_only: true,
        user: place.as_user.clone(),
        groups: place.as_group.clone(),
        clock: Clock::system(),
        simulate: false,
        logs: None,
    };
    let (link, _, running) = connect(&place.source(), options, None).await?;
    let resource = link.discovery.find(kind).cloned().ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("the cluster has no kind {kind:?}"))
            .hint("`kubectl api-resources` lists what it has")
    })?;
    let namespace = place.namespace.as_deref().unwrap_or(&link.namespace);
    let namespace = resource.namespaced.then_some(namespace);
    let object = ObjectRef {
        cluster: link.cluster,
        resource: resource.clone(),
        namespace: namespace.map(Into::into),
        name: name.into(),
        uid: None,
    };
    let report = why::examine(&link, &object, Timestamp::now()).await?;
    match ask.output {
        Output::Json => super::print(&format!("{:#}\n", report.json())),
        Output::Text => super::print(&report.document(&object.title()).plain()),
    }
    if let Some(running) = running {
        running.stop().await;
    }
    Ok(if report.is_wrong() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
