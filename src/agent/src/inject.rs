//! The admission webhook: HTTPS around [`podcov_overlay::webhook::answer`].
//!
//! Its folder holds `settings.json`, `tls.crt` and `tls.key`, a Secret that
//! podcov made. It asks nobody anything, so it needs no rights in the cluster.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use podcov_overlay::webhook::{Answer, Settings, answer};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Variable with the folder.
const DIR: &str = "PODCOV_INJECT_DIR";
/// Variable with the addresses to listen at; the first that there is counts.
const LISTEN: &str = "PODCOV_LISTEN";
/// An object that etcd takes has 1.5 MiB at most; a review has it once or twice.
const LARGEST: usize = 4 << 20;
/// A handshake, and a request that has begun, take no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The API server keeps idle connections for 90 s. To end one before would
/// cost a pod that is sent at that instant its patch.
const IDLE: Duration = Duration::from_secs(120);
/// How long requests still come in after the pod was told to end: until then
/// the nodes have heard of it.
const FAREWELL: Duration = Duration::from_secs(3);

/// Serves until it is told to end.
pub fn main() -> Result<(), String> {
    let dir = variable(DIR)?;
    let addresses = addresses(&variable(LISTEN)?)?;
    let (settings, tls) = read(Path::new(&dir))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&addresses[..])
            .await
            .map_err(|error| format!("cannot listen at {addresses:?}: {error}"))?;
        let mut end = signal(SignalKind::terminate())
            .map_err(|error| format!("cannot wait for signals: {error}"))?;
        let own = listener.local_addr();
        let own = own.map_or_else(|error| error.to_string(), |own| own.to_string());
        eprintln!("patching pods of run {} at {own}", settings.spec.run);
        tokio::select! {
            () = serve(listener, Arc::new(settings), TlsAcceptor::from(Arc::new(tls))) => {}
            () = async { end.recv().await; tokio::time::sleep(FAREWELL).await } => {}
        }
        Ok(())
    })
}

fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let wrong = |word: &str| format!("expected addresses with ports in ${LISTEN}, found `{word}`");
    let words = text.split_whitespace();
    words
        .map(|word| word.parse().map_err(|_| wrong(word)))
        .collect()
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("expected ${name}; podcov's manifest sets it"))
}

fn read(dir: &Path) -> Result<(Settings, ServerConfig), String> {
    let file = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let settings: Settings = serde_json::from_slice(&file("settings.json")?)
        .map_err(|error| format!("cannot read {}/settings.json: {error}", dir.display()))?;
    let unusable = |error: &dyn std::fmt::Display| {
        format!("cannot use the certificate in {}: {error}", dir.display())
    };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&file("tls.crt")?).collect();
    let certificates = certificates.map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&file("tls.key")?).map_err(|error| unusable(&error))?;
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| unusable(&error))?;
    Ok((settings, tls))
}

async fn serve(listener: TcpListener, settings: Arc<Settings>, tls: TlsAcceptor) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&settings), tls.clone()));
            }
            // Too many open files: some will be closed.
            Err(error) => {
                eprintln!("cannot take a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, settings: Arc<Settings>, tls: TlsAcceptor) {
    // Whoever breaks off, scans ports or trusts another CA is no news here: the
    // API server says in its own log what it could not do.
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else {
        return;
    };
    let service = service_fn(|request| handle(Arc::clone(&settings), request));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn handle(
    settings: Arc<Settings>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = (request.method().clone(), request.uri().path());
    let (status, body) = match path {
        (Method::GET, "/healthz") => (StatusCode::OK, "ok".to_owned()),
        (Method::POST, "/review") => reviewed(&settings, request.into_body()).await,
        _ => (
            StatusCode::NOT_FOUND,
            "expected POST /review or GET /healthz".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}

async fn reviewed(settings: &Settings, body: Incoming) -> (StatusCode, String) {
    if body.size_hint().lower() > LARGEST as u64 {
        let why = format!("expected at most {LARGEST} bytes");
        return (StatusCode::PAYLOAD_TOO_LARGE, why);
    }
    let body = tokio::time::timeout(PATIENCE, Limited::new(body, LARGEST).collect());
    let bytes = match body.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return (StatusCode::BAD_REQUEST, error.to_string()),
        Err(_) => {
            return (
                StatusCode::REQUEST_TIMEOUT,
                "the review never ended".to_owned(),
            );
        }
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let answered = serde_json::from_slice::<Value>(&bytes)
        .map_err(|error| format!("expected an AdmissionReview as JSON: {error}"))
        .and_then(|review| answer(settings, &review, now));
    match answered {
        Ok(Answer { review, said }) => {
            if let Some(said) = said {
                eprintln!("{said}");
            }
            (StatusCode::OK, review.to_string())
        }
        Err(why) => (StatusCode::BAD_REQUEST, why),
    }
}
