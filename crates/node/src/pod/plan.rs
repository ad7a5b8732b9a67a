//! What is to be done next for a pod. A pure function: what it does not decide is when it is called.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::state::{ContainerState, Ended, Ran, Role, Startup, State};

/// The next steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Containers to start now, by index.
    pub(crate) start: Vec<usize>,
    /// Containers that have ended and are to be restarted only later: index, length and end of the wait.
    pub(crate) back_off: Vec<(usize, Duration, Timestamp)>,
    /// The next time at which there may be something to do.
    pub(crate) wake: Option<Timestamp>,
    /// All that was to be done is done, or cannot be: what still runs is to be ended.
    pub(crate) finished: bool,
}

/// Whether `ended` is followed by another instance.
pub(crate) fn restarts(pod: &Pod, container: &Container, role: Role, ended: &Ended) -> bool {
    if role == Role::Ephemeral {
        return false;
    }
    if role == Role::Sidecar {
        return true;
    }
    // Rules look at the exit code before the policy does.
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else {
            continue;
        };
        let listed = codes.values.iter().flatten().any(|code| *code == ended.exit_code);
        let matches = if codes.operator == "NotIn" { !listed } else { listed };
        if matches && rule.action.starts_with("Restart") {
            return true;
        }
    }
    let pod_policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let policy = container.restart_policy.as_deref().or(pod_policy).unwrap_or("Always");
    match (policy, role) {
        ("Never", _) => false,
        // An init container's success is its aim.
        ("OnFailure", _) | (_, Role::Init) => ended.exit_code != 0,
        _ => true,
    }
}

/// Works out the next steps. `declared` is the specification in the order of `containers`.
pub(crate) fn plan(pod: &Pod, declared: &[(Role, Container)], containers: &[ContainerState], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let of_role = |role: Role| containers.iter().filter(move |container| container.role == role);
    let over = |index: usize, container: &ContainerState| {
        let spec = declared.get(index).map(|(_, spec)| spec);
        let ended = container.ended().zip(spec);
        ended.is_some_and(|(ended, spec)| !container.again && !restarts(pod, spec, container.role, ended))
    };
    let apps = || {
        containers
            .iter()
            .enumerate()
            .filter(|(_, container)| container.role == Role::App)
    };
    if apps().count() > 0 && apps().all(|(index, container)| over(index, container)) {
        plan.finished = true;
        return plan;
    }
    for (index, container) in containers.iter().enumerate().filter(|(_, c)| c.role == Role::Ephemeral) {
        if matches!(container.state, State::Waiting(_)) {
            plan.consider(index, container, now);
        }
    }
    // Once the app containers have been started, init containers are history.
    let initialised = of_role(Role::App).any(|container| container.ran == Ran::Here);
    for (index, container) in containers.iter().enumerate() {
        let proceed = match container.role {
            Role::Init if initialised => true,
            Role::Init => match container.ended() {
                Some(ended) if ended.exit_code == 0 && !container.again => true,
                Some(_) if over(index, container) => {
                    plan.finished = true;
                    return plan;
                }
                _ => false,
            },
            Role::Sidecar => initialised || container.started(),
            Role::App | Role::Ephemeral => true,
        };
        // A sidecar is kept alive even when it holds nobody up any more.
        if !container.running() && (!proceed || container.role == Role::Sidecar) {
            plan.consider(index, container, now);
        }
        if !proceed {
            return plan;
        }
    }
    for (index, container) in apps() {
        // Each waits for the image of the one before it.
        if container.pulling {
            break;
        }
        if container
            .instance()
            .is_some_and(|instance| instance.startup == Startup::PostStart && !instance.stopping)
        {
            // The next one waits for this one's hook.
            break;
        }
        if !container.running() && !over(index, container) {
            plan.consider(index, container, now);
        }
    }
    plan
}

impl Plan {
    /// Starts the container now or says when.
    fn consider(&mut self, index: usize, container: &ContainerState, now: Timestamp) {
        if container.pulling {
            return;
        }
        if let Some(at) = container.retry_at.filter(|at| *at > now) {
            self.wake_at(at);
            return;
        }
        if let Some(ended) = container.to_restart()
            && let Some((wait, until)) = container.crash.wait(ended.finished_at)
            && until > now
        {
            self.back_off.push((index, wait, until));
            self.wake_at(until);
            return;
        }
        self.start.push(index);
    }

    pub(crate) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::state::{self, Instance};
    use super::*;

    struct Case {
        pod: Pod,
        declared: Vec<(Role, Container)>,
        containers: Vec<ContainerState>,
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    impl Case {
        fn new(policy: &str) -> Self {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": "p" },
                "spec": {
                    "restartPolicy": policy,
                    "initContainers": [
                        { "name": "setup" },
                        { "name": "proxy", "restartPolicy": "Always" },
                        { "name": "migrate" },
                    ],
                    "containers": [{ "name": "a" }, { "name": "b" }],
                    "ephemeralContainers": [{ "name": "debug" }],
                },
            }))
            .expect("a pod");
            let declared = state::declared(&pod);
            let containers = declared
                .iter()
                .map(|(role, spec)| ContainerState::new(&spec.name, *role))
                .collect();
            Self {
                pod,
                declared,
                containers,
            }
        }

        fn plan(&self) -> Plan {
            plan(&self.pod, &self.declared, &self.containers, at(100))
        }

        fn starts(&self) -> Vec<&str> {
            self.plan()
                .start
                .into_iter()
                .map(|index| self.containers[index].name.as_str())
                .collect()
        }

        fn get(&mut self, name: &str) -> &mut ContainerState {
            self.containers
                .iter_mut()
                .find(|container| container.name == name)
                .expect("declared")
        }

        fn run(&mut self, name: &str) {
            self.run_to(name, Startup::Started { ready: true });
        }

        fn run_to(&mut self, name: &str, startup: Startup) {
            let container = self.get(name);
            container.state = State::Running(Instance {
                id: "i".into(),
                since: at(0),
                startup,
                stopping: false,
            });
            container.ran = Ran::Here;
        }

        fn end(&mut self, name: &str, exit_code: i32) {
            self.run(name);
            self.get(name).state = State::Ended(Ended {
                id: None,
                exit_code,
                reason: "Error".into(),
                message: None,
                started_at: None,
                finished_at: at(99),
            });
        }
    }

    #[test]
    fn containers_start_in_their_order() {
        let mut case = Case::new("Always");
        assert_eq!(case.starts(), ["debug", "setup"]);
        case.run("debug");
        case.run("setup");
        assert_eq!(case.starts(), [""; 0]);
        case.end("setup", 0);
        assert_eq!(case.starts(), ["proxy"]);
        case.run_to("proxy", Startup::Probing);
        assert_eq!(case.starts(), [""; 0], "the sidecar's startup probe has not succeeded");
        case.run("proxy");
        assert_eq!(case.starts(), ["migrate"]);
        case.end("migrate", 1);
        assert_eq!(case.starts(), ["migrate"], "a failed init container is tried again");
        case.end("migrate", 0);
        assert_eq!(case.starts(), ["a", "b"]);
        case.run_to("a", Startup::PostStart);
        assert_eq!(case.starts(), [""; 0], "the hook comes first");
        case.run("a");
        case.run("b");
        case.end("proxy", 1);
        assert_eq!(case.starts(), ["proxy"], "a sidecar is kept alive");
        case.run("proxy");
        case.end("debug", 0);
        assert_eq!(case.plan(), Plan::default());
    }

    #[test]
    fn policies_decide_what_follows_an_end() {
        for (policy, code, again) in [
            ("Always", 0, true),
            ("Always", 1, true),
            ("OnFailure", 0, false),
            ("OnFailure", 1, true),
            ("Never", 1, false),
        ] {
            let mut case = Case::new(policy);
            for name in ["setup", "migrate"] {
                case.end(name, 0);
            }
            for name in ["proxy", "b", "debug"] {
                case.run(name);
            }
            case.end("a", code);
            assert_eq!(case.starts(), if again { vec!["a"] } else { vec![] }, "{policy} {code}");
            case.end("b", code);
            assert_eq!(case.plan().finished, !again, "{policy} {code}");
        }
        let mut case = Case::new("Never");
        case.end("setup", 3);
        assert!(case.plan().finished, "a failed init container fails the pod");
    }

    #[test]
    fn a_container_that_ends_again_and_again_waits_longer() {
        let mut case = Case::new("Always");
        for name in ["setup", "migrate"] {
            case.end(name, 0);
        }
        for name in ["proxy", "b", "debug"] {
            case.run(name);
        }
        case.end("a", 1);
        case.get("a").crash.retried(at(90));
        let plan = case.plan();
        assert_eq!(plan.back_off, [(3, Duration::from_secs(10), at(109))]);
        assert_eq!((plan.wake, plan.start.len()), (Some(at(109)), 0));
        case.get("a").again = true;
        case.get("a").retry_at = Some(at(101));
        assert_eq!(case.plan().wake, Some(at(101)));
    }
}
