//! Ending a container: hook, signal, patience, force.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Instance;
use crate::context::Context;

/// A hook that has used up the time leaves the process this much.
const LEAST: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;

/// A container's end under way.
pub(crate) struct Stop {
    /// When patience ends; may be moved to an earlier time.
    deadline: watch::Sender<Instant>,
}

impl Stop {
    /// Shortens what is left to `grace`, if it is longer.
    pub(crate) fn hasten(&self, grace: Duration) {
        let earlier = Instant::now() + grace;
        self.deadline.send_if_modified(|deadline| {
            let hastened = earlier < *deadline;
            if hastened {
                *deadline = earlier;
            }
            hastened
        });
    }
}

/// Begins to end `instance`; its exit is told by the instance itself.
pub(crate) fn stop(
    cx: Arc<Context>,
    pod: Arc<Pod>,
    container: Container,
    instance: Arc<Instance>,
    signal: i32,
    grace: Duration,
    pod_ip: Option<IpAddr>,
) -> Stop {
    let started = Instant::now();
    let (deadline, mut until) = watch::channel(started + grace);
    instance.dismiss();
    tokio::spawn(async move {
        if grace.is_zero() {
            return kill(&cx, &instance).await;
        }
        let (namespace, name) = crate::pod::key(&pod);
        let name = format!("{name}_{namespace}({})", crate::pod::uid(&pod));
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        if let Some(hook) = hook {
            tokio::select! {
                outcome = super::run_hook(&cx, &instance.id, &name, &container, hook, pod_ip) => {
                    if let Err(message) = outcome {
                        // What the hook has said may be secret, and events are read by many.
                        tracing::warn!(target: "kubelet", pod = %name, container = %container.name, "{message}");
                        let about = crate::pod::reference(&pod, Some(format!("spec.containers{{{}}}", container.name)));
                        cx.events.warning(about, "FailedPreStopHook", "PreStopHook failed");
                    }
                }
                () = passed(&mut until) => {}
                _ = instance.exited() => return,
            }
        }
        if let Err(error) = cx.runtime.signal(&instance.id, signal).await {
            tracing::warn!(container = %instance.id, %error, "cannot be signalled");
        }
        // A hook that took all the time must not cost the process its own chance.
        let least = if hook.is_some() && started.elapsed() + LEAST > grace {
            LEAST
        } else {
            Duration::ZERO
        };
        tokio::select! {
            _ = instance.exited() => return,
            () = async { tokio::join!(passed(&mut until), tokio::time::sleep(least)); } => {}
        }
        kill(&cx, &instance).await;
    });
    Stop { deadline }
}

async fn kill(cx: &Context, instance: &Instance) {
    if let Err(error) = cx.runtime.signal(&instance.id, SIGKILL).await {
        tracing::warn!(container = %instance.id, %error, "cannot be killed");
    }
}

/// Waits for the deadline, wherever it is moved to.
async fn passed(deadline: &mut watch::Receiver<Instant>) {
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(at) => return,
            moved = deadline.changed() => if moved.is_err() {
                // Nobody can move it any more.
                return tokio::time::sleep_until(at).await;
            },
        }
    }
}

/// The signal of a name such as `SIGQUIT`, `QUIT` or `3`; SIGTERM when there is none.
pub(crate) fn signal_number(name: &str) -> i32 {
    const TERM: i32 = 15;
    if let Ok(number) = name.parse() {
        return number;
    }
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    full.parse::<nix::sys::signal::Signal>()
        .map_or(TERM, |signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_known_by_name_and_number() {
        for (name, number) in [("", 15), ("SIGQUIT", 3), ("quit", 3), ("9", 9), ("SIGNONE", 15)] {
            assert_eq!(signal_number(name), number, "{name}");
        }
    }
}
