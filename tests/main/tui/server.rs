//! Servers that misbehave: a real cluster's client, with somebody in between.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

/// What happens to one request.
pub(crate) enum Meddle {
    /// It reaches the server.
    Pass,
    /// It is answered with this code and body instead.
    Answer(u16, Value),
    /// It reaches the server after this time.
    Late(std::time::Duration),
    /// It is never answered.
    Hang,
    /// Its connection is refused.
    Refuse,
}

/// A `Status` that refuses.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Meddle {
    Meddle::Answer(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

/// A client like `client`, with `meddle` in between.
pub(crate) fn between(
    client: kube::Client,
    meddle: impl Fn(&Request<Body>) -> Meddle + Send + Sync + 'static,
) -> kube::Client {
    let meddle = Arc::new(meddle);
    let service = service_fn(move |request: Request<Body>| {
        let (client, meddle) = (client.clone(), meddle.clone());
        let answered: BoxFuture<'static, Result<Response<Body>, tower::BoxError>> = Box::pin(async move {
            match meddle(&request) {
                Meddle::Pass => Ok(client.send(request).await?),
                Meddle::Answer(code, body) => {
                    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
                    *response.status_mut() = StatusCode::from_u16(code)?;
                    response
                        .headers_mut()
                        .insert("content-type", "application/json".parse()?);
                    Ok(response)
                }
                Meddle::Late(pause) => {
                    tokio::time::sleep(pause).await;
                    Ok(client.send(request).await?)
                }
                Meddle::Hang => std::future::pending().await,
                Meddle::Refuse => Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()),
            }
        });
        answered
    });
    kube::Client::new(service, "default")
}
