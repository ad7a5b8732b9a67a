//! PodSecurity: what pods may ask of their node, as labels of their namespace say.
//!
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-admission/>.

mod checks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::{Attributes, Lookup, Notes, Operation};
use crate::field::{Errors, FieldError, Path};
use crate::json::{items, text};
use crate::status::Status;
use checks::{Pod, Violation};
use serde_json::Value;

const LABEL: &str = "pod-security.kubernetes.io/";
/// The most pods that are looked at when the labels of their namespace change.
const MOST_PODS: usize = 3000;

/// How much a pod may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything.
    Privileged,
    /// Nothing by which it is known to reach beyond itself.
    Baseline,
    /// What is the best practice.
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        })
    }
}

/// A level as it was in a minor version of Kubernetes, or as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LevelVersion {
    level: Level,
    /// `None` is the latest.
    minor: Option<u32>,
}

impl LevelVersion {
    const fn latest(level: Level) -> Self {
        Self { level, minor: None }
    }

    fn evaluate(self, metadata: &Value, spec: &Value) -> Vec<Violation> {
        // The latest version is newer than any check.
        checks::evaluate(self.level, self.minor.unwrap_or(u32::MAX - 1), &Pod { metadata, spec })
    }
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            None => write!(f, "{}:latest", self.level),
            Some(minor) => write!(f, "{}:v1.{minor}", self.level),
        }
    }
}

/// What one namespace asks of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    enforce: LevelVersion,
    audit: LevelVersion,
    warn: LevelVersion,
}

/// How the plugin is configured: `PodSecurityConfiguration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSecurity {
    /// What counts in namespaces without labels.
    pub enforce: Level,
    /// Namespaces whose pods are not looked at.
    pub exempt_namespaces: Vec<String>,
}

impl Default for PodSecurity {
    /// As a cluster has it whose administrator configured nothing.
    fn default() -> Self {
        Self {
            enforce: Level::Privileged,
            exempt_namespaces: Vec::new(),
        }
    }
}

impl PodSecurity {
    fn is_exempt(&self, namespace: &str) -> bool {
        self.exempt_namespaces.iter().any(|own| own == namespace)
    }

    fn defaults(&self) -> Policy {
        Policy {
            enforce: LevelVersion::latest(self.enforce),
            audit: LevelVersion::latest(Level::Privileged),
            warn: LevelVersion::latest(Level::Privileged),
        }
    }

    /// The policy that labels ask for, and what is wrong with them. What cannot be read is enforced as strictly as can
    /// be, and neither audited nor warned of.
    fn policy(&self, labels: &Value) -> (Policy, Vec<FieldError>) {
        let mut policy = self.defaults();
        let mut errors = Errors::new();
        let path = Path::new("metadata").child("labels");
        let mut read = |mode: &str, own: &mut LevelVersion, otherwise: Level| {
            let (key, version) = (format!("{LABEL}{mode}"), format!("{LABEL}{mode}-version"));
            let mut level = None;
            if let Some(text) = labels[&key].as_str() {
                level = Level::parse(text);
                own.level = level.unwrap_or(otherwise);
                if level.is_none() {
                    errors.invalid(&path.key(&key), text, "must be one of privileged, baseline, restricted");
                }
            }
            if let Some(text) = labels[&version].as_str() {
                own.minor = match (text, minor(text)) {
                    ("latest", _) => None,
                    (_, Some(minor)) => Some(minor),
                    _ => {
                        errors.invalid(&path.key(&version), text, "must be \"latest\" or \"v1.x\"");
                        None
                    }
                };
            }
            level.is_some()
        };
        let enforced = read("enforce", &mut policy.enforce, Level::Restricted);
        read("audit", &mut policy.audit, Level::Privileged);
        read("warn", &mut policy.warn, Level::Privileged);
        let said = |key: &str| labels[format!("{LABEL}{key}")].is_string();
        // Whoever enforces wants to be told of workloads whose pods will not come.
        if !said("warn") && enforced && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !said("warn-version") {
                policy.warn.minor = policy.enforce.minor;
            }
        }
        (policy, errors.into_vec())
    }

    /// Refuses pods that their namespace does not allow, and tells of workloads that will make such pods.
    pub(super) fn validate(
        &self,
        request: &Attributes<'_>,
        object: &Value,
        old: Option<&Value>,
        lookup: &dyn Lookup,
        notes: &mut Notes,
    ) -> Result<(), Status> {
        if !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        match (
            request.resource.group.as_str(),
            request.resource.plural.as_str(),
            request.subresource,
        ) {
            ("", "namespaces", "") => self.namespace(request, object, old, lookup, notes),
            ("", "pods", "" | "ephemeralcontainers" | "resize") => self.pod(request, object, old, lookup, notes),
            (_, _, "") => {
                self.template(request, object, lookup, notes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn pod(
        &self,
        request: &Attributes<'_>,
        pod: &Value,
        old: Option<&Value>,
        lookup: &dyn Lookup,
        notes: &mut Notes,
    ) -> Result<(), Status> {
        if self.is_exempt(request.namespace) {
            notes.annotate("pod-security.kubernetes.io/exempt", "namespace");
            return Ok(());
        }
        let (policy, errors) = self.policy_of(request.namespace, lookup);
        if old.is_some_and(|old| !is_significant(pod, old)) {
            return Ok(());
        }
        note_errors(&errors, notes);
        notes.annotate("pod-security.kubernetes.io/enforce-policy", policy.enforce.to_string());
        let violations = policy.enforce.evaluate(&pod["metadata"], &pod["spec"]);
        self.tell(policy, &pod["metadata"], &pod["spec"], violations.is_empty(), notes);
        if violations.is_empty() {
            return Ok(());
        }
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&violations));
        Err(Status::forbidden(request.resource, request.name, &why))
    }

    /// Only pods are refused: a workload may wait for its namespace to be labelled.
    fn template(&self, request: &Attributes<'_>, object: &Value, lookup: &dyn Lookup, notes: &mut Notes) {
        let Some(template) = template_of(&request.resource.group, &request.resource.plural, object) else {
            return;
        };
        if self.is_exempt(request.namespace) {
            notes.annotate("pod-security.kubernetes.io/exempt", "namespace");
            return;
        }
        let (policy, errors) = self.policy_of(request.namespace, lookup);
        note_errors(&errors, notes);
        self.tell(policy, &template["metadata"], &template["spec"], true, notes);
    }

    fn policy_of(&self, namespace: &str, lookup: &dyn Lookup) -> (Policy, Vec<FieldError>) {
        let namespace = lookup.get("", "namespaces", "", namespace).unwrap_or_default();
        self.policy(&namespace["metadata"]["labels"])
    }

    fn tell(&self, policy: Policy, metadata: &Value, spec: &Value, warn: bool, notes: &mut Notes) {
        let would = |level: LevelVersion| {
            let violations = level.evaluate(metadata, spec);
            let text = || format!("would violate PodSecurity \"{level}\": {}", details(&violations));
            (!violations.is_empty()).then(text)
        };
        if let Some(text) = would(policy.audit) {
            notes.annotate("pod-security.kubernetes.io/audit-violations", text);
        }
        if let Some(text) = would(policy.warn).filter(|_| warn) {
            notes.warn(text);
        }
    }

    fn namespace(
        &self,
        request: &Attributes<'_>,
        namespace: &Value,
        old: Option<&Value>,
        lookup: &dyn Lookup,
        notes: &mut Notes,
    ) -> Result<(), Status> {
        let name = text(&namespace["metadata"], "name");
        let (policy, errors) = self.policy(&namespace["metadata"]["labels"]);
        let (before, old_errors) = match old {
            Some(old) => self.policy(&old["metadata"]["labels"]),
            None => (self.defaults(), Vec::new()),
        };
        // Labels that were wrong before do not keep anybody from changing others.
        if !errors.is_empty() && errors != old_errors {
            let resource = request.resource;
            return Err(Status::invalid(&resource.group, &resource.kind, request.name, &errors));
        }
        let stricter = policy.enforce != before.enforce
            && policy.enforce.level != Level::Privileged
            && (policy.enforce.minor != before.enforce.minor || policy.enforce.level > before.enforce.level);
        if self.is_exempt(name) && (old.is_none() || stricter) {
            if let Some(ignored) = self.ignored(policy, &namespace["metadata"]["labels"]) {
                notes.warn(format!(
                    "namespace \"{name}\" is exempt from Pod Security, and the policy ({ignored}) will be ignored"
                ));
            }
        } else if stricter && old.is_some() {
            for warning in existing(name, policy.enforce, lookup) {
                notes.warn(warning);
            }
        }
        Ok(())
    }

    /// What the labels of an exempt namespace ask for in vain.
    fn ignored(&self, policy: Policy, labels: &Value) -> Option<String> {
        let modes = [
            ("enforce", policy.enforce),
            ("audit", policy.audit),
            ("warn", policy.warn),
        ];
        if policy == self.defaults() || modes.iter().all(|(_, own)| own.level == Level::Privileged) {
            return None;
        }
        let said = |mode: &str| {
            labels[format!("{LABEL}{mode}")].is_string() || labels[format!("{LABEL}{mode}-version")].is_string()
        };
        let parts: Vec<String> = modes
            .into_iter()
            .filter(|(mode, own)| own.level != Level::Privileged && said(mode))
            .map(|(mode, own)| format!("{mode}={own}"))
            .collect();
        Some(parts.join(", "))
    }
}

/// `v1.N`, without leading zeros.
fn minor(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("v1.")?;
    let plain = digits == "0" || !digits.starts_with('0');
    (plain && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
        .filter(|minor| *minor < u32::MAX)
}

fn note_errors(errors: &[FieldError], notes: &mut Notes) {
    if errors.is_empty() {
        return;
    }
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let text = match errors.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    notes.annotate(
        "pod-security.kubernetes.io/error",
        format!("Failed to parse policy: {text}"),
    );
}

fn details(violations: &[Violation]) -> String {
    let parts: Vec<String> = violations
        .iter()
        .map(|violation| format!("{} ({})", violation.reason, violation.detail))
        .collect();
    parts.join(", ")
}

/// The pod template of a workload.
fn template_of<'a>(group: &str, plural: &str, object: &'a Value) -> Option<&'a Value> {
    let template = match (group, plural) {
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template.is_object().then_some(template)
}

/// Whether an update changes what runs: other images, or more containers.
fn is_significant(new: &Value, old: &Value) -> bool {
    let list = |pod: &Value, key: &str| items(&pod["spec"][key]).to_vec();
    let changed = |key: &str| {
        let (new, old) = (list(new, key), list(old, key));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| new["image"] != old["image"])
    };
    let before = list(old, "ephemeralContainers");
    let added = list(new, "ephemeralContainers").iter().any(|container| {
        let same = |old: &&Value| old["name"] == container["name"];
        before
            .iter()
            .find(same)
            .is_none_or(|old| old["image"] != container["image"])
    });
    changed("containers") || changed("initContainers") || added
}

/// Warnings of the pods that a stricter level would not have let in.
fn existing(namespace: &str, enforce: LevelVersion, lookup: &dyn Lookup) -> Vec<String> {
    let mut pods = lookup.list("", "pods", namespace);
    let total = pods.len();
    if total > MOST_PODS {
        // One pod of each owner first: the others are like it.
        let mut owners = std::collections::HashSet::new();
        pods.sort_by_cached_key(|pod| {
            let owner = items(&pod["metadata"]["ownerReferences"])
                .iter()
                .find(|owner| owner["controller"] == true);
            owner.is_some_and(|owner| !owners.insert(text(owner, "uid").to_owned()))
        });
        pods.truncate(MOST_PODS);
    }
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in &pods {
        let violations = enforce.evaluate(&pod["metadata"], &pod["spec"]);
        if violations.is_empty() {
            continue;
        }
        let reasons: Vec<&str> = violations.iter().map(|violation| violation.reason).collect();
        let name = text(&pod["metadata"], "name").to_owned();
        let (first, count) = found.entry(reasons.join(", ")).or_insert_with(|| (name.clone(), 0));
        *count += 1;
        if name < *first {
            *first = name;
        }
    }
    let mut warnings = Vec::new();
    if pods.len() < total {
        let checked = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            count => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    lines.sort();
    warnings.append(&mut lines);
    warnings
}
