//! The private side: probes, metrics, and which certificate is in use.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::debug;

use crate::metrics::Metrics;
use crate::tls::Identity;

/// Answers until it is dropped.
///
/// # Errors
/// When connections can no longer be accepted.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    identity: Option<Identity>,
) -> anyhow::Result<Infallible> {
    let fingerprint: Arc<str> = identity.as_ref().map_or("", Identity::fingerprint).into();
    loop {
        let (stream, peer) = listener
            .accept()
            .await
            .context("could not accept a connection")?;
        let (metrics, fingerprint) = (metrics.clone(), fingerprint.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (status, text) = answer(request.uri().path(), &metrics, &fingerprint);
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status;
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                debug!(%peer, %error, "connection ended early");
            }
        });
    }
}

fn answer(path: &str, metrics: &Metrics, fingerprint: &str) -> (StatusCode, String) {
    match path {
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/metrics" => (StatusCode::OK, metrics.render()),
        "/certificate" if fingerprint.is_empty() => (
            StatusCode::NOT_FOUND,
            "no certificate: plain HTTP\n".to_owned(),
        ),
        "/certificate" => (StatusCode::OK, fingerprint.to_owned()),
        _ => (
            StatusCode::NOT_FOUND,
            "try /healthz, /metrics or /certificate\n".to_owned(),
        ),
    }
}
