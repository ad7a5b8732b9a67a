//! The two phases of admission: the plugins that are compiled in, then the policies and webhooks that users register.

use knarr_resource::Status;
use knarr_resource::admission::{self, Attributes, Notes};
use serde_json::Value;

use crate::policy;
use crate::server::Server;
use crate::webhook::{self, Rounds};

/// Lets everything that may change an object do so. Returns whether anything was changed.
///
/// If a policy or a webhook changes the object, all that came before gets to see it once more: the plugins always, policies
/// and webhooks if they ask for it.
pub(crate) async fn mutate(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    notes: &mut Notes,
) -> Result<bool, Status> {
    let before = object.clone();
    let mut rounds = Rounds::default();
    if round(server, attributes, object, old, &mut rounds, notes).await? {
        rounds.again();
        round(server, attributes, object, old, &mut rounds, notes).await?;
    }
    // Who owns which field is not for admission to say.
    let managed = &before["metadata"]["managedFields"];
    if object["metadata"]["managedFields"] != *managed && object["metadata"].is_object() {
        object["metadata"]["managedFields"] = managed.clone();
    }
    Ok(*object != before)
}

/// Whether a policy or a webhook has changed the object.
async fn round(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    rounds: &mut Rounds,
    notes: &mut Notes,
) -> Result<bool, Status> {
    admission::mutate(attributes, object, old, server)?;
    let by_policy = policy::mutate(server, attributes, object, old, rounds)?;
    let by_webhook = webhook::mutate(server, attributes, object, old, rounds, notes).await?;
    Ok(by_policy || by_webhook)
}

/// Lets everything that may refuse a complete and valid object do so.
pub(crate) async fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    object: &Value,
    old: Option<&Value>,
    notes: &mut Notes,
) -> Result<(), Status> {
    admission::validate(attributes, object, old, server, &server.options.pod_security, notes)?;
    policy::validate(server, attributes, object, old, notes)?;
    webhook::validate(server, attributes, object, old, notes).await
}
