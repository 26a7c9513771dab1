//! `webserver`: serves the site file named by `SITE_FILE` until SIGTERM.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use webserver::metrics::Metrics;
use webserver::options::Options;
use webserver::{admin, server, site::Site, tls};

fn main() -> ExitCode {
    tracing_subscriber::fmt().json().flatten_event(true).init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = runtime
        .context("could not start the runtime")
        .and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("webserver: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let options = Options::from_env(|name| std::env::var(name).ok())?;
    let text = std::fs::read_to_string(&options.site_file)
        .with_context(|| format!("could not read {} (SITE_FILE)", options.site_file.display()))?;
    let site = Arc::new(Site::parse(&text).context("could not understand the site file")?);
    let identity = options
        .tls_directory
        .as_deref()
        .map(tls::Identity::load)
        .transpose()?;
    let metrics = Arc::new(Metrics::default());

    let public = listen(options.site_address, "SITE_ADDRESS").await?;
    let private = listen(options.admin_address, "ADMIN_ADDRESS").await?;
    info!(
        host = site.host,
        pages = site.pages.len(),
        tls = identity.is_some(),
        "serving"
    );

    let admin = admin::serve(private, metrics.clone(), identity.clone());
    let stop = tokio::sync::watch::channel(false);
    let public = server::serve(public, site, metrics, identity, stop.1);
    tokio::pin!(public);

    let mut terminate = signal(SignalKind::terminate()).context("could not handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not handle SIGINT")?;
    tokio::select! {
        result = &mut public => return result,
        result = admin => match result? {},
        _ = terminate.recv() => info!(signal = "SIGTERM", "stopping"),
        _ = interrupt.recv() => info!(signal = "SIGINT", "stopping"),
    }
    stop.0.send_replace(true);
    public.await
}

async fn listen(address: std::net::SocketAddr, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen on {address} ({variable})"))
}
