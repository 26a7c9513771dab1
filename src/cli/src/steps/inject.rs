//! The steps that install and remove the webhook, which patches pods that
//! nobody wrote a manifest for.

use std::time::Duration;

use podcov_cluster::inject::{self, Webhook};
use podcov_cluster::overlay::{Spec, Unseen};
use podcov_cluster::provider::{Cluster, Provider};
use podcov_cluster::watch::{Injects, Watcher};
use podcov_process::Cancel;
use podcov_profile::bundle::Bundle;

use super::images::load_agent;
use super::{pods, target};
use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;
use crate::ui::count;

/// A run that outlives all of its time limits by this was killed.
const MORE: Duration = Duration::from_secs(10 * 60);
/// Stopping has as many parts, each of which gets the whole of its limit.
const PARTS_OF_STOP: u32 = 6;

/// Whether the webhook patches pods of this composition.
pub fn injects(session: &Session) -> bool {
    let mut components = session.config.file.components.iter();
    components.any(|component| pods::is_injected(session, component))
}

/// For how long the webhook of a whole run may patch pods.
pub fn lifetime(session: &Session) -> Duration {
    let config = &session.config;
    config.deploy_timeout + config.e2e_timeout + config.stop_timeout * PARTS_OF_STOP + MORE
}

/// Installs the webhook if a component asks for it.
pub fn inject(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
    lasts: Option<Duration>,
) -> Result<(), Failure> {
    if !injects(session) {
        return Ok(());
    }
    let spec = pods::spec(session, cluster, bundles)?;
    let namespaces = namespaces(session, cluster);
    install(session, cluster, spec, namespaces, lasts)
}

/// Installs it for the injected components of `spec`.
pub fn install(
    session: &Session,
    cluster: &dyn Cluster,
    spec: Spec,
    namespaces: Vec<String>,
    lasts: Option<Duration>,
) -> Result<(), Failure> {
    let step = session.ui.step("inject", "loading the webhook");
    let injected = spec.components.iter();
    let injected = injected.filter(|component| component.unseen == Unseen::Injected);
    let injected = count(injected.count(), "component");
    let installed = || {
        let image = load_agent(session, cluster, &step)?;
        let webhook = Webhook {
            composition: session.config.name().to_owned(),
            image,
            namespaces,
            lasts,
            spec,
        };
        inject::install(&target(session, cluster), &webhook, &step, &session.cancel)
            .or_exit(Exit::Cluster)
    };
    let result = installed();
    step.end_with(&result, |()| {
        format!("webhook answers, pods of {injected} are patched")
    });
    result
}

/// Removes it. Done whatever happened and whoever asked to stop: it is not to
/// be left in a cluster that others use.
pub fn uninject(
    session: &Session,
    cluster: &dyn Cluster,
    watcher: &Watcher,
) -> Result<(), Failure> {
    if !injects(session) || watcher.lost().is_some() {
        return Ok(());
    }
    watcher.injection_ends();
    let target = target(session, cluster);
    inject::uninstall(&target, session.config.name(), &Cancel::new())
        .map(drop)
        .or_exit(Exit::Cluster)
        .map_err(|failure| failure.help("`podcov inject uninstall` removes the webhook"))
}

/// Removes what a run left that was killed.
pub fn sweep(session: &Session, cluster: &dyn Cluster) -> Result<(), Failure> {
    let target = target(session, cluster);
    let swept = inject::sweep(&target, session.config.name(), &session.cancel);
    if swept.or_exit(Exit::Cluster)? {
        session
            .ui
            .say("  ! cluster     removed the webhook that a run left which was killed");
    }
    Ok(())
}

/// What the watch has to expect.
pub fn expected(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
) -> Result<Option<Injects>, Failure> {
    if !injects(session) {
        return Ok(None);
    }
    let spec = pods::spec(session, cluster, bundles)?;
    let injected = spec.components.iter();
    let injected = injected.filter(|component| component.unseen == Unseen::Injected);
    let composition = session.config.name();
    Ok(Some(Injects {
        composition: composition.to_owned(),
        components: injected.map(|component| component.name.clone()).collect(),
        own_namespace: inject::own_namespace(composition),
        needs_privileged: spec.needs_privileged(),
    }))
}

/// The namespaces whose pods are patched, besides those of the rendering. In a
/// cluster of podcov's own nothing else runs.
pub fn namespaces(session: &Session, cluster: &dyn Cluster) -> Vec<String> {
    match &session.config.file.deploy.inject_namespaces {
        Some(named) => named.get_ref().clone(),
        None if cluster.provider() == Provider::Existing => vec![],
        None => vec!["*".to_owned()],
    }
}
