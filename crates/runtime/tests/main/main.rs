//! The runtimes against the real kernel.
//!
//! Not the standard harness: this program has to be able to start itself again as a node process. Run by root, the same tests run a second
//! time as an unprivileged user.

#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod container;
mod hostile;
mod lifetime;
mod network;
mod stage;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use stage::Stage;

/// Set in the run as an unprivileged user.
const UNPRIVILEGED: &str = "KNARR_TEST_UNPRIVILEGED";

type Test = fn(&Stage) -> Result<(), Failed>;

fn main() -> ExitCode {
    if knarr_runtime::is_node() {
        return ExitCode::from(u8::try_from(knarr_runtime::node_main()).unwrap_or(1));
    }
    if std::env::args().nth(1).as_deref() == Some(lifetime::VICTIM) {
        return lifetime::victim();
    }
    if std::env::args().nth(1).as_deref() == Some(lifetime::SURVIVOR) {
        return lifetime::survivor();
    }
    if std::env::args().nth(1).as_deref() == Some(lifetime::PROBE) {
        return lifetime::print_probe();
    }
    if std::env::args().nth(1).as_deref() == Some(hostile::CULPRIT) {
        return hostile::culprit();
    }
    let arguments = Arguments::from_args();
    hostile::leak();
    let unprivileged = std::env::var_os(UNPRIVILEGED).is_some();
    let namespaces = Stage::namespaces();
    let processes = Stage::processes();
    let mut trials = Vec::new();
    let kind = if unprivileged { "unprivileged" } else { "namespaces" };
    match &namespaces {
        Ok(stage) => add(
            &mut trials,
            kind,
            stage,
            &[
                container::TESTS,
                container::ISOLATED,
                hostile::SHARED,
                hostile::TESTS,
                network::TESTS,
                lifetime::TESTS,
            ],
        ),
        Err(refusals) => {
            let note = format!(
                "{kind}:: skipped, this host refuses namespaces: {}",
                refusals.join("; ")
            );
            trials.push(Trial::test(note, || Ok(())).with_ignored_flag(true));
        }
    }
    add(
        &mut trials,
        "processes",
        &processes,
        &[container::TESTS, hostile::SHARED, network::SHARED],
    );
    trials.push(Trial::test(
        "a host without user namespaces gets plain processes and is told why",
        lifetime::locked_down,
    ));
    if nix::unistd::geteuid().is_root() {
        trials.push(Trial::test("all of it works for an unprivileged user", move || {
            lifetime::run_unprivileged(UNPRIVILEGED)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn add(trials: &mut Vec<Trial>, kind: &str, stage: &Stage, groups: &[&[(&'static str, Test)]]) {
    for (name, test) in groups.iter().copied().flatten().copied() {
        let stage = stage.clone();
        trials.push(Trial::test(format!("{kind}::{name}"), move || test(&stage)));
    }
}
