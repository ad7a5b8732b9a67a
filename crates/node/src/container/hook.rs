//! Lifecycle hooks.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::command;
use crate::context::Context;
use crate::probe::{self, Outcome};

/// Runs one hook. `Err` is the message for the event.
pub(crate) async fn run(
    cx: &Context,
    id: &str,
    container: &Container,
    handler: &LifecycleHandler,
    pod_ip: Option<IpAddr>,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let argv = exec.command.as_deref().unwrap_or_default();
        return match command::run(cx.runtime.as_ref(), id, argv).await {
            Ok((exit, _)) if exit.code == 0 => Ok(()),
            Ok((exit, output)) => Err(format!(
                "Exec lifecycle hook ({argv:?}) for Container {:?} failed - error: command '{}' exited with {}: {output}, message: {output:?}",
                container.name,
                argv.join(" "),
                exit.code
            )),
            Err(error) => Err(format!(
                "Exec lifecycle hook ({argv:?}) for Container {:?} failed - error: {error}",
                container.name
            )),
        };
    }
    if let Some(action) = &handler.http_get {
        return match probe::http_get(cx, container, action, pod_ip).await {
            Outcome::Success(_) => Ok(()),
            Outcome::Failure(why) | Outcome::Unknown(why) => Err(format!(
                "HTTP lifecycle hook ({}) for Container {:?} failed - error: {why}",
                action.path.as_deref().unwrap_or_default(),
                container.name
            )),
        };
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
    }
    Ok(())
}
