//! The kubeconfig of a cluster.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::directory::Directory;
use crate::error::{Doing, Error};
use crate::pki::Identity;

/// The user of the kubeconfig.
pub(crate) const ADMIN: &str = "kubernetes-admin";

/// Writes it: context `knarr-NAME`.
pub(crate) fn write(directory: &Directory, name: &str, server: &str, identity: &Identity) -> Result<PathBuf, Error> {
    let context = format!("knarr-{name}");
    let user = format!("{context}-admin");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": context, "cluster": {
            "server": server,
            "certificate-authority-data": BASE64_STANDARD.encode(&identity.ca_pem),
        }}],
        "users": [{ "name": user, "user": { "token": identity.token() } }],
        "contexts": [{ "name": context, "context": { "cluster": context, "user": user, "namespace": "default" } }],
        "current-context": context,
        "preferences": {},
    });
    let text = serde_yaml::to_string(&config).doing(|| "cannot write the kubeconfig".into())?;
    directory.write("kubeconfig", text.as_bytes())
}
