//! The process of a cluster in the background.

use std::io::Write;
use std::time::Duration;

use knarr_clock::Clock;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt};

use super::{ARGUMENT, Order, Report};
use crate::error::{Doing, Error};
use crate::{Cluster, Logs, Options, RuntimeChoice};

/// Most threads for what does not block. A cluster mostly waits, and each thread keeps memory of its own.
const WORKERS: usize = 4;
/// How long threads may go on when all is over.
const LEFTOVER: Duration = Duration::from_secs(1);

/// Becomes that process, when started as one.
pub(crate) fn reexec() -> Option<i32> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    Some(match run(&arguments.next().unwrap_or_default()) {
        Ok(()) => 0,
        Err(error) => {
            let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
            let causes: String = causes.map(|cause| format!(": {cause}")).collect();
            let hint = error.hint().map(str::to_string);
            let message = format!("{error}{causes}");
            report(&match error.is_taken() {
                true => Report::Beaten,
                false => Report::Failed { message, hint },
            });
            1
        }
    })
}

fn run(order: &str) -> Result<(), Error> {
    // What the starting shell has open is none of this process' business either, nor of what it starts.
    knarr_runtime::close_inherited_on_exec();
    // A session of its own: the terminal's signals and its end are none of this process' business.
    let _ = nix::unistd::setsid(); // fails only when it is the leader of one already
    let order: Order = serde_json::from_str(order).doing(|| "this is an internal argument".into())?;
    let logs = Logs::new(Clock::system());
    let filter = EnvFilter::try_from_env("KNARR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let file = fmt::layer()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(logs.layer()).with(file);
    let _ = tracing::subscriber::set_global_default(subscriber); // fails only when there is one already
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(WORKERS))
        .enable_all()
        .build();
    let runtime = runtime.doing(|| "cannot start threads".into())?;
    let result = runtime.block_on(serve(order, logs));
    // What blocks a thread, such as a disk that does not answer, does not keep the process from ending.
    runtime.shutdown_timeout(LEFTOVER);
    result
}

async fn serve(order: Order, logs: Logs) -> Result<(), Error> {
    let mut options = Options::named(&order.name)?;
    options.listen = order.listen.or(options.listen);
    options.logs = Some(logs);
    options.runtime = match order.runtime.as_str() {
        "processes" => RuntimeChoice::Processes,
        "hollow" => RuntimeChoice::Hollow,
        _ => RuntimeChoice::Auto,
    };
    options.nodes = crate::node::names(order.nodes);
    options.hollow = order.hollow;
    let context = || "cannot wait for signals".to_string();
    let mut terminate = signal(SignalKind::terminate()).doing(context)?;
    let mut interrupt = signal(SignalKind::interrupt()).doing(context)?;
    let mut hang_up = signal(SignalKind::hangup()).doing(context)?;
    let cluster = Cluster::start(options).await?;
    let mut served = false;
    let stopped = tokio::select! {
        ready = cluster.ready() => {
            ready?;
            tracing::info!(mode = ?cluster.mode(), address = ?cluster.address(), "ready");
            report(&Report::Ready);
            served = true;
            loop {
                tokio::select! {
                    _ = terminate.recv() => break "SIGTERM",
                    _ = interrupt.recv() => break "SIGINT",
                    _ = hang_up.recv() => {} // there is no terminal to lose
                }
            }
        }
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = stopped, "stopping");
    if !served {
        let message = format!("the cluster {:?} was stopped while it started", order.name);
        report(&Report::Failed { message, hint: None });
    }
    cluster.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// One line for the process that waits. Nobody may be waiting any more.
fn report(report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(&line).and_then(|()| output.flush());
}
