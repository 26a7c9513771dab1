//! The operator as a process: watches, probes, and a tidy end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::ListParams;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, info, warn};
use website_api::{Certificate, Website};

use crate::FIELD_MANAGER;
use crate::health::{self, Readiness};
use crate::hosts::Hosts;
use crate::options::Options;
use crate::reconcile::{Context, on_error, reconcile};

/// Works until SIGTERM or SIGINT, then finishes the reconciliations under way and returns.
///
/// # Errors
/// When the cluster cannot be reached at the start, or probes cannot be answered.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("could not find a cluster: neither a service account nor a kubeconfig")?;
    let version = client
        .apiserver_version()
        .await
        .context("could not reach the API server")?;
    info!(
        kubernetes = version.git_version,
        image = options.webserver_image,
        "starting"
    );

    let readiness = Readiness::default();
    let probes = health::serve(options.health_address, readiness.clone());
    let work = work(client, options, readiness);
    tokio::select! {
        result = probes => match result? {},
        result = work => result,
    }
}

async fn work(client: Client, options: Options, readiness: Readiness) -> anyhow::Result<()> {
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: options.pod.clone(),
    };
    tokio::spawn(announce(client.clone(), readiness));
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter),
        hosts: Hosts::new(client.clone(), &options.namespace),
        client: client.clone(),
        options,
    });
    let stop = stop_signal()?;

    // Only our own children are watched: the cluster's other objects are none of our business.
    let ours = watcher::Config::default().labels("app.kubernetes.io/managed-by=website-operator");
    let controller = Controller::new(
        Api::<Website>::all(client.clone()),
        watcher::Config::default(),
    )
    .owns(Api::<Deployment>::all(client.clone()), ours.clone())
    .owns(Api::<Service>::all(client.clone()), ours.clone())
    .owns(Api::<ConfigMap>::all(client.clone()), ours.clone())
    .owns(Api::<Certificate>::all(client), ours)
    .with_config(Config::default().concurrency(8))
    .graceful_shutdown_on(stop);

    controller
        .run(reconcile, on_error, context)
        .for_each(|outcome| async {
            match outcome {
                Ok((website, _)) => debug!(website = website.name, "reconciled"),
                Err(kube::runtime::controller::Error::QueueError(error)) => {
                    warn!(%error, "a watch ended and is started anew");
                }
                // Told by `on_error`, or an object that is gone.
                Err(error) => debug!(%error, "not reconciled"),
            }
        })
        .await;
    info!("stopped");
    Ok(())
}

/// Turns ready as soon as websites can be listed: their CRD is there, and we have the right to.
///
/// The controller's store cannot be asked: it wakes only one of several tasks that wait for it
/// (kube-runtime's `DelayedInit`), and the controller itself has to be that one.
async fn announce(client: Client, readiness: Readiness) {
    let websites: Api<Website> = Api::all(client);
    while let Err(error) = websites.list(&ListParams::default().limit(1)).await {
        warn!(%error, "websites cannot be listed yet");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    readiness.set(true);
    info!("ready");
}

/// Completes on the first SIGTERM or SIGINT. A second one is left to the kernel's SIGKILL.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + Sync + 'static> {
    let (sender, receiver) = tokio::sync::watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("could not handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not handle SIGINT")?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "stopping");
        sender.send_replace(true);
    });
    let mut receiver = receiver;
    Ok(async move {
        // An error means that the sender is gone, which is a reason to stop as well.
        let _ = receiver.wait_for(|stop| *stop).await;
    })
}
