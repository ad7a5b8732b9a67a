//! Lifecycle hooks.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::command;
use crate::context::Context;
use crate::probe::{self, Outcome};

/// Runs one hook of a container of `pod`. `Err` is the message for the pod's status.
pub(crate) async fn run(
    cx: &Context,
    id: &str,
    pod: &str,
    container: &Container,
    handler: &LifecycleHandler,
    pod_ip: Option<IpAddr>,
) -> Result<(), String> {
    let name = &container.name;
    if let Some(exec) = &handler.exec {
        let argv = exec.command.as_deref().unwrap_or_default();
        let failed = |error: String, output: &str| {
            let command = argv.join(" ");
            format!(
                "Exec lifecycle hook ([{command}]) for Container {name:?} in Pod {pod:?} failed - error: {error}, message: {output:?}"
            )
        };
        return match command::run(cx.runtime.as_ref(), id, argv).await {
            Ok((exit, _)) if exit.code == 0 => Ok(()),
            Ok((exit, output)) => {
                let error = format!("command '{}' exited with {}: {output}", argv.join(" "), exit.code);
                Err(failed(error, &output))
            }
            Err(error) => Err(failed(error.to_string(), "")),
        };
    }
    if let Some(action) = &handler.http_get {
        return match probe::http_get(cx, container, action, pod_ip).await {
            Outcome::Success(_) => Ok(()),
            Outcome::Failure(why) | Outcome::Unknown(why) => Err(format!(
                "HTTP lifecycle hook ({}) for Container {name:?} in Pod {pod:?} failed - error: {why}",
                action.path.as_deref().unwrap_or_default(),
            )),
        };
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
    }
    Ok(())
}
