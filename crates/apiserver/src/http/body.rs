//! Request bodies.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use knarr_resource::Status;
use knarr_schema::{proto, strict};
use serde_json::Value;

use crate::refusal;

/// The largest body, as in Kubernetes.
pub(crate) const LIMIT: usize = 3 << 20;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
}

/// How much of a body that is too large is read and thrown away: many clients look for the answer only after they have sent
/// everything.
const DRAIN: usize = 32 << 20;

/// Reads the whole body, up to the limit.
pub(crate) async fn read(mut body: Body) -> Result<Bytes, Status> {
    match Limited::new(&mut body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let mut drained = 0;
            while drained < DRAIN
                && let Some(Ok(frame)) = body.frame().await
            {
                drained += frame.data_ref().map_or(0, Bytes::len);
            }
            Err(refusal::too_large(LIMIT))
        }
        Err(error) => Err(Status::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// The media type without its parameters.
pub(crate) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// What a Content-Type names. Some clients send none; YAML covers JSON, so nothing has to be guessed.
pub(crate) fn media(content_type: &str, body: &[u8]) -> Result<Media, Status> {
    match essence(content_type) {
        "application/json" => Ok(Media::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Media::Protobuf),
        "" if body.starts_with(b"k8s\0") => Ok(Media::Protobuf),
        "" if body.trim_ascii_start().starts_with(b"{") => Ok(Media::Json),
        "" => Ok(Media::Yaml),
        _ => Err(refusal::unsupported_media_type(refusal::MEDIA_TYPES)),
    }
}

/// The body as an object of a kind, and its duplicate fields.
pub(crate) fn decode(content_type: &str, kind: &str, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let parsed = match media(content_type, body)? {
        Media::Json => {
            strict::parse_json(body).map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))
        }
        Media::Yaml => {
            strict::parse_yaml(body).map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))
        }
        Media::Protobuf => proto::decode_request(body)
            .map(|value| (value, Vec::new()))
            .map_err(|error| error.to_string()),
    };
    let unusable = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({})",
            summary(body)
        ))
    };
    let (value, duplicates) = parsed.map_err(unusable)?;
    if !value.is_object() {
        return Err(unusable(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct \
             {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            go_type(&value)
        )));
    }
    Ok((value, duplicates))
}

/// What Go calls the type of a JSON value.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The beginning of a body, for a message: as it is if it looks like JSON, else in hexadecimal.
fn summary(body: &[u8]) -> String {
    const LENGTH: usize = 30;
    let start = body.get(..LENGTH).unwrap_or(body);
    let text = match body.first() {
        None => return "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let more = if body.len() > LENGTH { " ..." } else { "" };
    format!("{text}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_without_a_type_is_recognised() {
        assert_eq!(media("", b" {\"a\":1}").unwrap(), Media::Json);
        assert_eq!(media("", b"a: 1").unwrap(), Media::Yaml);
        assert_eq!(media("application/json; charset=utf-8", b"").unwrap(), Media::Json);
        assert_eq!(media("text/html", b"").unwrap_err().code, 415);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let body = Body::from(vec![b' '; LIMIT + 1]);
        assert_eq!(read(body).await.unwrap_err().code, 413);
        assert_eq!(read(Body::from(vec![b' '; LIMIT])).await.unwrap().len(), LIMIT);
    }
}
