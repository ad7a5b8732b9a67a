//! `knarr why`: what is wrong with an object, for people and for scripts.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use knarr::cluster::{ClusterId, ConnectOptions, connect};
use knarr::error::{Error, ErrorKind, Result};
use knarr::kind::why::{self, Severity, Tail};
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
    let (world, object) = why::gather(&link, &resource, namespace, name, Tail::Read).await?;
    let now = Timestamp::now();
    let findings = why::diagnose(&world, &object, now);
    match ask.output {
        Output::Json => super::print(&format!("{:#}\n", why::json(&findings, &world))),
        Output::Text => {
            let title = format!("{} {name}", resource.singular);
            let page = why::document(&title, &findings, &world, now);
            for line in &page.lines {
                super::print(&format!("{}\n", line.plain()));
            }
        }
    }
    if let Some(running) = running {
        running.stop().await;
    }
    let wrong = findings.iter().any(|finding| finding.severity > Severity::Note);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
