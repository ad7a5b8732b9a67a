//! Custom resources of one version in another: by their definition's word that all versions are the same, or by a webhook.
//!
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/>.

use std::time::Duration;

use knarr_resource::conversion::{Review, group_version_kind};
use knarr_resource::{Definition, Status};
use serde_json::Value;

use crate::server::Server;
use crate::webhook::client;

/// How long a webhook may take. Upstream gives it no choice either.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most objects that a webhook gets at once.
const BATCH: usize = 500;

/// Brings objects, each with its kind and version, to the version `wanted` (`GROUP/VERSION`).
///
/// # Errors
/// 500 without a reason, as upstream's store fails, in the same words.
pub(crate) async fn convert(
    server: &Server,
    definition: &Definition,
    wanted: &str,
    objects: &mut [Value],
) -> Result<(), Status> {
    let mut others: Vec<&mut Value> = objects
        .iter_mut()
        .filter(|object| object["apiVersion"] != wanted)
        .collect();
    if definition.conversion["strategy"] != "Webhook" {
        for object in others {
            object["apiVersion"] = wanted.into();
        }
        return Ok(());
    }
    for batch in others.chunks_mut(BATCH) {
        let of = batch
            .first()
            .map(|object| group_version_kind(object))
            .unwrap_or_default();
        let asked = ask(server, &definition.conversion["webhook"], wanted, batch);
        asked.await.map_err(|why| Status {
            code: 500,
            reason: "",
            message: format!("conversion webhook for {of} {why}"),
            details: Value::Null,
        })?;
    }
    Ok(())
}

async fn ask(server: &Server, webhook: &Value, wanted: &str, objects: &mut [&mut Value]) -> Result<(), String> {
    let failed = |why: String| format!("failed: {why}");
    let review = Review::new(&webhook["conversionReviewVersions"], wanted).map_err(failed)?;
    let question = review.request(objects).to_string().into_bytes();
    let answer = client::call(server, &webhook["clientConfig"], question, Some(TIMEOUT)).await;
    let answer = answer.map_err(failed)?;
    let answer = serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
    let converted = review.converted(answer).map_err(failed)?;
    review.accept(objects, converted)
}
