//! The pods of a Job.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::ResourceExt;

use super::{COMPLETION_INDEX, FAILURE_COUNT, IGNORED_COUNT, TRACKING};
use crate::pod;

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What is left of a generated name when its random letters are added.
const LONGEST_PREFIX: usize = 58;

/// How often an index has failed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) counted: i32,
    pub(crate) ignored: i32,
}

impl Failures {
    /// What the pod says of those before it.
    pub(crate) fn before(pod: &Pod) -> Self {
        let number = |key: &str| {
            let text = pod.annotations().get(key)?;
            text.parse().ok().filter(|count| *count >= 0)
        };
        Self {
            counted: number(FAILURE_COUNT).unwrap_or(0),
            ignored: number(IGNORED_COUNT).unwrap_or(0),
        }
    }

    pub(crate) fn total(self) -> i32 {
        self.counted.saturating_add(self.ignored)
    }
}

/// A pod of a Job that does not number them.
pub(crate) fn plain(job: &Job) -> Pod {
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut pod = pod::from_template(&template, job);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    pod
}

/// The pod of one index: it finds its number in an annotation, a label, its hostname and its environment. `failures` are
/// counted where the back-off limit is per index.
pub(crate) fn indexed(job: &Job, index: i32, failures: Option<Failures>) -> Pod {
    let mut pod = plain(job);
    let name = job.name_any();
    let suffix = format!("-{index}-");
    let mut prefix = name.clone();
    prefix.truncate(LONGEST_PREFIX - suffix.len());
    pod.metadata.generate_name = Some(prefix + &suffix);
    let annotations: &mut BTreeMap<String, String> = pod.annotations_mut();
    annotations.insert(COMPLETION_INDEX.into(), index.to_string());
    if let Some(failures) = failures {
        annotations.insert(FAILURE_COUNT.into(), failures.counted.to_string());
        if failures.ignored > 0 {
            annotations.insert(IGNORED_COUNT.into(), failures.ignored.to_string());
        }
    }
    pod.labels_mut().insert(COMPLETION_INDEX.into(), index.to_string());
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(format!("{name}-{index}"));
        let init = spec.init_containers.iter_mut().flatten();
        spec.containers.iter_mut().chain(init).for_each(tell_index);
    }
    pod
}

fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    variables.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: format!("metadata.labels['{COMPLETION_INDEX}']"),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
}
