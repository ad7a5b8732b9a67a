//! The logs of the control plane's components.
//!
//! The components run in this process, but people look for them where they are on any other cluster: in the pods of
//! `kube-system`. Each is shown as a pod there, and what it traces is that pod's log, in the format of Kubernetes' own
//! components.

use std::fmt::{self, Write};

use jiff::tz::TimeZone;
use knarr_clock::Clock;
use knarr_node::{ComponentLog, ComponentPod};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Component, the crates whose traces are its log, and the flags shown as its command.
const COMPONENTS: [(&str, &[&str]); 5] = [
    (
        "kube-apiserver",
        &["knarr_apiserver", "knarr_resource", "knarr_schema", "knarr_stream"],
    ),
    ("kube-controller-manager", &["knarr_control"]),
    ("kube-scheduler", &["knarr_control::scheduler"]),
    ("kube-proxy", &["knarr_network"]),
    ("coredns", &["knarr_network::dns"]),
];

/// The components' logs. Give [`Logs::layer`] to the program's subscriber and a clone to
/// [`Options::logs`](crate::Options::logs).
#[derive(Clone, Debug)]
pub struct Logs {
    clock: Clock,
    logs: [ComponentLog; COMPONENTS.len()],
}

impl Logs {
    /// Empty logs.
    pub fn new(clock: Clock) -> Self {
        Self {
            logs: std::array::from_fn(|_| ComponentLog::new(clock.clone())),
            clock,
        }
    }

    /// What turns traces into log lines.
    pub fn layer<S: Subscriber>(&self) -> impl Layer<S> + use<S> {
        Collect(self.clone())
    }

    /// The components that run as pods, with their flags.
    pub(crate) fn pods(&self, flags: &dyn Fn(&str) -> Option<Vec<String>>) -> Vec<ComponentPod> {
        let components = COMPONENTS.iter().zip(&self.logs);
        components
            .filter_map(|((name, _), log)| {
                Some(ComponentPod {
                    name: (*name).to_string(),
                    image: format!("registry.k8s.io/{name}:{}", knarr_apiserver::KUBERNETES_VERSION),
                    command: std::iter::once((*name).to_string()).chain(flags(name)?).collect(),
                    log: log.clone(),
                })
            })
            .collect()
    }
}

struct Collect(Logs);

/// The component whose target is the longest match.
fn component(target: &str) -> Option<usize> {
    let within = |prefix: &&str| {
        let rest = target.strip_prefix(*prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let matches = COMPONENTS.iter().enumerate().filter_map(|(index, (_, targets))| {
        let longest = targets
            .iter()
            .filter(|target| within(target))
            .map(|target| target.len())
            .max();
        longest.map(|length| (length, index))
    });
    matches.max().map(|(_, index)| index)
}

impl<S: Subscriber> Layer<S> for Collect {
    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        true // other layers may want what this one does not
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return;
        }
        if let Some(index) = component(metadata.target()) {
            self.0.logs[index].push(&line(event, &self.0.clock));
        }
    }
}

/// `I1121 14:03:59.123456       1 replica_set.rs:77] "Event occurred" object="default/web"`
fn line(event: &Event<'_>, clock: &Clock) -> String {
    let metadata = event.metadata();
    let letter = match *metadata.level() {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let now = clock.now().to_zoned(TimeZone::UTC);
    let file = metadata.file().unwrap_or_default();
    let file = file.rsplit('/').next().unwrap_or_default();
    let mut line = format!(
        "{letter}{} {:>7} {file}:{}] ",
        now.strftime("%m%d %H:%M:%S.%6f"),
        1,
        metadata.line().unwrap_or_default(),
    );
    let mut fields = Fields::default();
    event.record(&mut fields);
    line.push_str(&format!("{:?}", fields.message));
    line.push_str(&fields.rest);
    line
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            let _ = write!(self.rest, " {}={value:?}", field.name()); // writing to a string cannot fail
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            let text = format!("{value:?}");
            let plain = text.starts_with('"') || text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
            let _ = if plain {
                write!(self.rest, " {}={text}", field.name())
            } else {
                write!(self.rest, " {}={text:?}", field.name())
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::prelude::*;

    use super::*;

    #[test]
    fn each_component_gets_its_own_traces() {
        assert_eq!(component("knarr_control::scheduler"), Some(2));
        assert_eq!(component("knarr_control::scheduler::score"), Some(2));
        assert_eq!(component("knarr_control::replica_set"), Some(1));
        assert_eq!(component("knarr_network::proxy::tcp"), Some(3));
        assert_eq!(component("knarr_network::dns::serve"), Some(4));
        assert_eq!(component("knarr_controller"), None);
        assert_eq!(component("hyper"), None);
    }

    #[test]
    fn lines_look_like_those_of_other_clusters() {
        #[derive(Clone, Default)]
        struct Keep(std::sync::Arc<std::sync::Mutex<Vec<String>>>);
        impl<S: Subscriber> Layer<S> for Keep {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.lock().unwrap().push(line(event, &Clock::system()));
            }
        }
        let keep = Keep::default();
        let subscriber = tracing_subscriber::registry().with(keep.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(pod = %"default/web", node = "knarr", count = 2, "Successfully bound pod to node");
        });
        let lines = keep.0.lock().unwrap();
        assert!(
            lines[0].starts_with('I') && lines[0].contains(" component.rs:"),
            "{}",
            lines[0]
        );
        let end = r#"] "Successfully bound pod to node" pod="default/web" node="knarr" count=2"#;
        assert!(lines[0].ends_with(end), "{}", lines[0]);
    }
}
