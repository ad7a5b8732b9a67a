//! Claims and volumes: their descriptions.

use serde_json::Value;

use super::field::{items, or_none, present, scalar, text, time};
use super::page::Page;
use super::{Subject, describe};
use crate::document::Document;
use crate::text::age;
use crate::theme::Role;

/// `RWO,ROX`: access modes as kubectl shortens them.
fn modes(modes: &Value) -> String {
    let short = |mode: &Value| match text(mode) {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    let all: Vec<&str> = items(modes).iter().map(short).filter(|mode| !mode.is_empty()).collect();
    all.join(",")
}

fn finalizers(object: &Value) -> String {
    let all: Vec<&str> = items(&object["metadata"]["finalizers"]).iter().map(text).collect();
    format!("[{}]", all.join(" "))
}

/// The phase, or since when it is being deleted.
fn status(subject: &Subject<'_>) -> String {
    let object = subject.object;
    match time(&object["metadata"]["deletionTimestamp"]) {
        Some(at) => format!("Terminating (lasts {})", age(at, subject.now)),
        None => text(&object["status"]["phase"]).to_owned(),
    }
}

pub(super) fn claim(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&metadata["name"]));
    page.field(0, "Namespace", text(&metadata["namespace"]));
    page.field(0, "StorageClass", text(&spec["storageClassName"]));
    let phase = status(subject);
    let role = if phase == "Bound" { Role::Value } else { Role::Warning };
    page.field_as(0, "Status", role, &phase);
    page.field(0, "Volume", text(&spec["volumeName"]));
    describe::labels(&mut page, 0, "Labels", &metadata["labels"]);
    describe::annotations(&mut page, 0, "Annotations", &metadata["annotations"]);
    page.field(0, "Finalizers", &finalizers(object));
    let bound = !text(&spec["volumeName"]).is_empty();
    let capacity = &object["status"]["capacity"]["storage"];
    page.field(0, "Capacity", if bound { scalar(capacity) } else { "".into() }.as_ref());
    page.field(
        0,
        "Access Modes",
        &if bound {
            modes(&object["status"]["accessModes"])
        } else {
            String::new()
        },
    );
    page.field_if(0, "VolumeMode", text(&spec["volumeMode"]));
    if let Some(related) = subject.related {
        let claim = text(&metadata["name"]);
        let uses = |pod: &&Value| {
            items(&pod["spec"]["volumes"])
                .iter()
                .any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
        };
        let pods = related.iter().filter(uses);
        let pods: Vec<String> = pods.map(|pod| text(&pod["metadata"]["name"]).to_owned()).collect();
        page.list(0, "Used By", &pods);
    }
    describe::events(&mut page, subject);
    page.finish()
}

pub(super) fn volume(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let spec = &object["spec"];
    let mut page = Page::new(&subject.zone);
    describe::metadata(&mut page, object, false);
    page.field(0, "Finalizers", &finalizers(object));
    page.field(0, "StorageClass", text(&spec["storageClassName"]));
    page.field(0, "Status", &status(subject));
    let claim = &spec["claimRef"];
    let name = format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]));
    page.field(0, "Claim", if claim.is_object() { &name } else { "" });
    page.field(0, "Reclaim Policy", text(&spec["persistentVolumeReclaimPolicy"]));
    page.field(0, "Access Modes", &modes(&spec["accessModes"]));
    page.field_if(0, "VolumeMode", text(&spec["volumeMode"]));
    page.field(0, "Capacity", &scalar(&spec["capacity"]["storage"]));
    let terms = items(&spec["nodeAffinity"]["required"]["nodeSelectorTerms"]);
    page.field(0, "Node Affinity", if terms.is_empty() { "<none>" } else { "" });
    if !terms.is_empty() {
        page.head(1, "Required Terms:");
        for (at, term) in terms.iter().enumerate() {
            let expressions = items(&term["matchExpressions"]).iter().map(|expression| {
                let values: Vec<&str> = items(&expression["values"]).iter().map(text).collect();
                format!(
                    "{} {} [{}]",
                    text(&expression["key"]),
                    text(&expression["operator"]).to_lowercase(),
                    values.join(", ")
                )
            });
            page.list(2, &format!("Term {at}"), &expressions.collect::<Vec<_>>());
        }
    }
    page.field(0, "Message", text(&object["status"]["message"]));
    page.head(0, "Source:");
    if !super::volume::describe_own(&mut page, spec) {
        other_source(&mut page, spec);
    }
    describe::events(&mut page, subject);
    page.finish()
}

/// A source of a kind that is not known: its fields as they are.
fn other_source(page: &mut Page, spec: &Value) {
    const NOT_SOURCES: &[&str] = &[
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let sources = super::field::pairs(spec);
    for (kind, source) in sources.into_iter().filter(|(key, _)| !NOT_SOURCES.contains(key)) {
        page.field(2, "Type", &super::generic::title(kind));
        for (key, value) in super::field::pairs(source) {
            page.field(2, &super::generic::title(key), &scalar(value));
        }
    }
}

pub(super) fn class(subject: &Subject<'_>) -> Document {
    let object = subject.object;
    let metadata = &object["metadata"];
    let mut page = Page::new(&subject.zone);
    page.field(0, "Name", text(&metadata["name"]));
    let default = &metadata["annotations"]["storageclass.kubernetes.io/is-default-class"];
    page.field(0, "IsDefaultClass", if default == "true" { "Yes" } else { "No" });
    let annotations = super::field::pairs(&metadata["annotations"]);
    let annotations = annotations
        .into_iter()
        .filter(|(key, _)| *key != describe::LAST_APPLIED);
    let joined: Vec<String> = annotations
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    page.field(0, "Annotations", or_none(&joined.join(",")));
    page.field(0, "Provisioner", text(&object["provisioner"]));
    let parameters = super::field::pairs(&object["parameters"]);
    let joined: Vec<String> = parameters
        .into_iter()
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    page.field(0, "Parameters", or_none(&joined.join(",")));
    let expands = &object["allowVolumeExpansion"];
    page.field(
        0,
        "AllowVolumeExpansion",
        match expands.as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        },
    );
    let options: Vec<String> = items(&object["mountOptions"])
        .iter()
        .map(|option| text(option).to_owned())
        .collect();
    if present(&object["mountOptions"]) {
        page.list(0, "MountOptions", &options);
    } else {
        page.field(0, "MountOptions", "<none>");
    }
    page.field(0, "ReclaimPolicy", text(&object["reclaimPolicy"]));
    page.field(0, "VolumeBindingMode", text(&object["volumeBindingMode"]));
    describe::events(&mut page, subject);
    page.finish()
}
