//! The public side: HTTP or HTTPS connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;
use crate::site::{Question, Site};
use crate::tls::Identity;

/// A client gets this long to send its request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections get this long to finish after the stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves `site` until `stop` turns true, then finishes what was begun.
///
/// # Errors
/// When connections can no longer be accepted.
pub async fn serve(
    listener: TcpListener,
    site: Arc<Site>,
    metrics: Arc<Metrics>,
    identity: Option<Identity>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.context("could not accept a connection")?.0,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let (site, metrics, stop) = (site.clone(), metrics.clone(), stop.clone());
        match &identity {
            None => {
                connections.spawn(converse(stream, site, metrics, stop));
            }
            Some(identity) => {
                let acceptor = identity.acceptor();
                connections.spawn(async move {
                    match tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => converse(stream, site, metrics, stop).await,
                        Ok(Err(error)) => {
                            metrics.record_handshake_failure();
                            debug!(%error, "no TLS with this client");
                        }
                        Err(_) => metrics.record_handshake_failure(),
                    }
                });
            }
        }
    }
    drop(listener);
    let left = connections.len();
    let drained = tokio::time::timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    });
    match drained.await {
        Ok(()) => info!(connections = left, "stopped"),
        Err(_) => warn!(
            connections = connections.len(),
            "stopped with connections still open"
        ),
    }
    Ok(())
}

async fn converse<S>(
    stream: S,
    site: Arc<Site>,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&site, &metrics, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a reason to stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn respond<B>(site: &Site, metrics: &Metrics, request: &Request<B>) -> Response<Full<Bytes>> {
    // Monitors that call all the time are no visitors.
    let visit = if request.headers().contains_key("x-synthetic-monitor") {
        metrics.record_synthetic()
    } else {
        metrics.record_visit()
    };
    let known = request.headers().get(hyper::header::IF_NONE_MATCH);
    let answer = site.answer(Question {
        method: request.method().as_str(),
        path: request.uri().path(),
        known: known.and_then(|value| value.to_str().ok()),
    });
    metrics.record_answer(answer.status, answer.body.len());
    debug!(
        visit,
        path = request.uri().path(),
        status = answer.status,
        "answered"
    );

    let body = if request.method() == Method::HEAD {
        Bytes::new()
    } else {
        Bytes::from(answer.body)
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let own = answer
        .headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let site_wide = site.headers.clone().into_iter();
    for (name, value) in site_wide.chain(own) {
        // The operator checks names and values; what slips through is left out, not fatal.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_carries_the_headers_of_the_site() {
        let site = Site::parse(
            r#"{"host": "h", "title": "t", "pages": {"/": "x"}, "headers": {"x-team": "web"}}"#,
        )
        .expect("valid");
        let metrics = Metrics::default();
        for (path, status) in [("/", 200), ("/none", 404)] {
            let request = Request::builder().uri(path).body(()).expect("valid");
            let response = respond(&site, &metrics, &request);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["x-team"], "web");
        }
        assert!(metrics.render().contains("webserver_visits_total 2"));
    }
}
