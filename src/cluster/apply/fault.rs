//! Where in the manifest an error of the API server is about.

use std::sync::LazyLock;

use regex::Regex;

use crate::cluster::manifest::{Manifest, Step};

/// The line of the manifest that `message` complains of, where it names a field.
pub(super) fn line(manifest: &Manifest, message: &str) -> Option<usize> {
    let found = paths(message).filter_map(|path| {
        let known = |step: &Step| matches!(step, Step::Key(key) if manifest.object.get(key).is_some());
        // The names of Go structs stand before some paths.
        let from = path.iter().position(known)?;
        Some(manifest.line_of(&path[from..]))
    });
    // The path that leads deepest is the one meant; the first of several such.
    let (line, _) = found.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    usize::try_from(line).ok()
}

/// What looks like the path of a field: `spec.containers[0].image`, `.spec.containers[name="web"].image`, `"spec"`.
fn paths(message: &str) -> impl Iterator<Item = Vec<Step>> {
    #[expect(clippy::unwrap_used, reason = "the expression is a constant, and a test uses it")]
    static PATH: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"[A-Za-z_][\w/-]*(?:\[[^\]]*\]|\.[A-Za-z_][\w/-]*)*"#).unwrap());
    PATH.find_iter(message).map(|found| steps(found.as_str()))
}

fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (inside, after) = inner.split_once(']').unwrap_or((inner, ""));
            steps.push(bracket(inside));
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 && !rest.starts_with('[') {
                break;
            }
            if end > 0 {
                steps.push(Step::Key(rest[..end].to_owned()));
            }
            rest = &rest[end..];
        }
    }
    steps
}

/// `0`, `name="web"`, `containerPort=80,protocol="TCP"`, or a key with dots.
fn bracket(inside: &str) -> Step {
    if let Ok(index) = inside.parse() {
        return Step::Index(index);
    }
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    };
    match inside.split(',').map(pair).collect::<Option<Vec<_>>>() {
        Some(pairs) if !inside.starts_with('=') => Step::Having(pairs),
        _ => Step::Key(inside.trim_matches('"').to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::manifest;

    const TEXT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations:
    example.com/a: 1
spec:
  replicas: many
  template:
    spec:
      containers:
      - name: log
        image: busybox
      - name: web
        ports:
        - contatinerPort: 80
";

    #[test]
    fn errors_lead_to_the_line_they_are_about() {
        let manifest = manifest::parse(TEXT).expect("YAML").remove(0);
        for (message, expected) in [
            (
                "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
                 \"spec.template.spec.containers[1].ports[0].contatinerPort\"",
                Some(16),
            ),
            (
                "Deployment.apps \"web\" is invalid: [spec.template.spec.containers[1].image: Required value, \
                 spec.selector: Required value]",
                Some(14),
            ),
            (
                "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): \
                 .spec.template.spec.containers[name=\"web\"].ports[0].contatinerPort: field not declared in schema",
                Some(16),
            ),
            (
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
                Some(8),
            ),
            (".spec.replicas: expected numeric (int or float), got string", Some(8)),
            ("metadata.annotations[example.com/a]: Invalid value: 1", Some(6)),
            ("unknown field \"metadata\"", Some(3)),
            ("the server is busy", None),
            ("a[[[=]]].[", None),
        ] {
            assert_eq!(line(&manifest, message), expected, "{message}");
        }
    }
}
