//! The volumes of a pod or of a pod template, described.

use serde_json::Value;

use super::field::{int, items, or_none, pairs, present, scalar, text, yes};
use super::page::Page;
use crate::theme::Role;

/// A source of volumes: its key in the object, its description, and the fields shown of it.
struct Source {
    key: &'static str,
    what: &'static str,
    fields: &'static [(&'static str, &'static str)],
}

const SOURCES: &[Source] = &[
    Source {
        key: "hostPath",
        what: "HostPath (bare host directory volume)",
        fields: &[("Path", "path"), ("HostPathType", "type")],
    },
    Source {
        key: "emptyDir",
        what: "EmptyDir (a temporary directory that shares a pod's lifetime)",
        fields: &[("Medium", "medium"), ("SizeLimit", "sizeLimit")],
    },
    Source {
        key: "secret",
        what: "Secret (a volume populated by a Secret)",
        fields: &[("SecretName", "secretName"), ("Optional", "optional")],
    },
    Source {
        key: "configMap",
        what: "ConfigMap (a volume populated by a ConfigMap)",
        fields: &[("Name", "name"), ("Optional", "optional")],
    },
    Source {
        key: "persistentVolumeClaim",
        what: "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        fields: &[("ClaimName", "claimName"), ("ReadOnly", "readOnly")],
    },
    Source {
        key: "nfs",
        what: "NFS (an NFS mount that lasts the lifetime of a pod)",
        fields: &[("Server", "server"), ("Path", "path"), ("ReadOnly", "readOnly")],
    },
    Source {
        key: "csi",
        what: "CSI (a Container Storage Interface (CSI) volume source)",
        fields: &[("Driver", "driver"), ("FSType", "fsType"), ("ReadOnly", "readOnly")],
    },
    Source {
        key: "image",
        what: "Image (a container image or OCI artifact)",
        fields: &[("Reference", "reference"), ("PullPolicy", "pullPolicy")],
    },
    Source {
        key: "ephemeral",
        what: "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        fields: &[],
    },
    Source {
        key: "downwardAPI",
        what: "DownwardAPI (a volume populated by information about the pod)",
        fields: &[],
    },
    Source {
        key: "projected",
        what: "Projected (a volume that contains injected data from multiple sources)",
        fields: &[],
    },
];

/// The volumes under a heading; those of a template stand a little further in.
pub(super) fn describe(page: &mut Page, template: bool, volumes: &Value) {
    let (pad, name_pad) = if template { ("  ", " ") } else { ("", "") };
    if !present(volumes) {
        page.cells(0, &[(Role::Section, &format!("{pad}Volumes:")), (Role::Dim, "<none>")]);
        return;
    }
    page.head(0, &format!("{pad}Volumes:"));
    for volume in items(volumes) {
        page.head(1, &format!("{name_pad}{}:", text(&volume["name"])));
        match SOURCES.iter().find(|source| volume[source.key].is_object()) {
            Some(source) => describe_source(page, source, &volume[source.key]),
            None => other(page, volume),
        }
    }
}

/// The source of a volume that is an object of its own; whether it is of a known kind.
pub(super) fn describe_own(page: &mut Page, spec: &Value) -> bool {
    let known = SOURCES.iter().find(|source| spec[source.key].is_object());
    if let Some(source) = known {
        describe_source(page, source, &spec[source.key]);
    }
    known.is_some()
}

fn describe_source(page: &mut Page, source: &Source, value: &Value) {
    page.field(2, "Type", source.what);
    for (title, key) in source.fields {
        let shown = match *key {
            "optional" | "readOnly" => yes(&value[key]).to_string(),
            "sizeLimit" if !present(&value[key]) || value[key] == "0" => "<unset>".into(),
            "type" if value[key].is_null() => "<none>".into(),
            _ => scalar(&value[key]).into_owned(),
        };
        page.field(2, title, &shown);
    }
    match source.key {
        "projected" => projected(page, value),
        "downwardAPI" => {
            page.line(2, Role::Field, "Items:");
            for item in items(&value["items"]) {
                let field = match text(&item["fieldRef"]["fieldPath"]) {
                    "" => text(&item["resourceFieldRef"]["resource"]),
                    path => path,
                };
                page.line(3, Role::Value, &format!("{field} -> {}", text(&item["path"])));
            }
        }
        "csi" => super::describe::labels(page, 2, "VolumeAttributes", &value["volumeAttributes"]),
        "ephemeral" => claim(page, &value["volumeClaimTemplate"]["spec"]),
        _ => {}
    }
}

fn projected(page: &mut Page, value: &Value) {
    for source in items(&value["sources"]) {
        for (title, key) in [("SecretName", "secret"), ("ConfigMapName", "configMap")] {
            if source[key].is_object() {
                page.field(2, title, text(&source[key]["name"]));
                page.field(2, "Optional", &yes(&source[key]["optional"]).to_string());
            }
        }
        if source["downwardAPI"].is_object() {
            page.field(2, "DownwardAPI", "true");
        }
        if source["serviceAccountToken"].is_object() {
            let seconds = match int(&source["serviceAccountToken"]["expirationSeconds"]) {
                0 => 3600,
                seconds => seconds,
            };
            page.field(2, "TokenExpirationSeconds", &seconds.to_string());
        }
    }
}

fn claim(page: &mut Page, spec: &Value) {
    page.field(2, "StorageClass", text(&spec["storageClassName"]));
    let requests = &spec["resources"]["requests"]["storage"];
    page.field(2, "Capacity", &scalar(requests));
    let modes: Vec<_> = items(&spec["accessModes"]).iter().map(text).collect();
    page.field(2, "Access Modes", or_none(&modes.join(",")));
}

/// A source without a row above: its type by its key, and its scalar fields.
fn other(page: &mut Page, volume: &Value) {
    let Some((key, value)) = pairs(volume)
        .into_iter()
        .find(|(key, value)| *key != "name" && value.is_object())
    else {
        page.line(1, Role::Dim, "<unknown>");
        return;
    };
    page.field(2, "Type", &super::generic::title(key));
    for (key, value) in pairs(value)
        .into_iter()
        .filter(|(_, value)| !value.is_object() && !value.is_array())
    {
        page.field(2, &super::generic::title(key), &scalar(value));
    }
}
