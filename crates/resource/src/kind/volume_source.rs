//! Where a volume's data is: the sources that pods and PersistentVolumes share.

use crate::field::{Errors, Path};
use crate::json::{absent, blank, existing, set, text};
use serde_json::{Value, json};

/// Kinds of host paths; the empty one is not checked at all.
const HOST_PATHS: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// What each source cannot do without. None of the network's is mounted here, but all are stored as they are written.
const REQUIRED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("csi", &["driver"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("glusterfs", &["endpoints", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("nfs", &["server", "path"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("rbd", &["monitors", "image"]),
    ("vsphereVolume", &["volumePath"]),
];

/// The fields of a PersistentVolume's spec that are sources.
pub(super) const PERSISTENT: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Fills in the source of a volume (of a pod) or of a PersistentVolume's spec.
pub(super) fn default(volume: &mut Value) {
    if let Some(path) = existing(volume, "hostPath")
        && absent(path, "type")
    {
        set(path, "type", "");
    }
    if let Some(disk) = existing(volume, "iscsi")
        && blank(disk, "iscsiInterface")
    {
        set(disk, "iscsiInterface", "default");
    }
    for kind in ["rbd", "scaleIO"] {
        let Some(source) = existing(volume, kind) else { continue };
        let defaults = match kind {
            "rbd" => json!({"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}),
            _ => json!({"storageMode": "ThinProvisioned", "fsType": "xfs"}),
        };
        for (key, value) in crate::json::entries(&defaults) {
            if blank(source, key) {
                set(source, key, value.clone());
            }
        }
    }
    if let Some(disk) = existing(volume, "azureDisk") {
        let defaults = json!({"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": false, "kind": "Shared"});
        for (key, value) in crate::json::entries(&defaults) {
            if absent(disk, key) {
                set(disk, key, value.clone());
            }
        }
    }
}

/// Finds the mistakes in one source.
pub(super) fn validate(kind: &str, source: &Value, at: &Path, errors: &mut Errors) {
    match kind {
        "hostPath" | "local" => {
            let host = text(source, "path");
            if host.is_empty() {
                errors.required(&at.child("path"), "");
                return;
            }
            if host.split('/').any(|part| part == "..") {
                errors.invalid(&at.child("path"), host, "must not contain '..'");
            }
            if kind == "hostPath" && !absent(source, "type") {
                let found = text(source, "type");
                if !HOST_PATHS.contains(&found) {
                    errors.not_supported(&at.child("type"), found, HOST_PATHS);
                }
            }
        }
        _ => {
            let required = REQUIRED.iter().find(|(name, _)| *name == kind);
            for field in required.into_iter().flat_map(|(_, fields)| *fields) {
                if blank(source, field) || source[*field] == json!([]) {
                    errors.required(&at.child(field), "");
                }
            }
            if kind == "nfs" && !text(source, "path").starts_with('/') {
                errors.invalid(&at.child("path"), text(source, "path"), "must be an absolute path");
            }
        }
    }
}
