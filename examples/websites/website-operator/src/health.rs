//! Probes: `/healthz` answers as long as the process does, `/readyz` once it can work.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::{debug, info};

/// Whether the operator is at work.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on it is.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn answer(&self, path: &str) -> (StatusCode, &'static str) {
        match path {
            "/healthz" => (StatusCode::OK, "ok\n"),
            "/readyz" if self.0.load(Ordering::Acquire) => (StatusCode::OK, "ok\n"),
            "/readyz" => (
                StatusCode::SERVICE_UNAVAILABLE,
                "websites cannot be listed yet\n",
            ),
            _ => (StatusCode::NOT_FOUND, "try /healthz or /readyz\n"),
        }
    }
}

/// Answers probes until it is dropped.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, readiness: Readiness) -> anyhow::Result<Infallible> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen on {address} (HEALTH_ADDRESS)"))?;
    info!(address = %listener.local_addr()?, "answering probes");
    loop {
        let (stream, peer) = listener
            .accept()
            .await
            .context("could not accept a probe")?;
        let readiness = readiness.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (status, text) = readiness.answer(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
                *response.status_mut() = status;
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                debug!(%peer, %error, "probe connection ended early");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_told_once_it_is_there() {
        let readiness = Readiness::default();
        assert_eq!(readiness.answer("/healthz").0, StatusCode::OK);
        assert_eq!(
            readiness.answer("/readyz").0,
            StatusCode::SERVICE_UNAVAILABLE
        );
        readiness.set(true);
        assert_eq!(readiness.answer("/readyz").0, StatusCode::OK);
        assert_eq!(readiness.answer("/x").0, StatusCode::NOT_FOUND);
    }
}
