//! What podcov may do in a cluster that others keep.

use podcov_cluster::overlay::Rendered;
use podcov_cluster::provider::{Cluster, Provider};
use podcov_cluster::rights::{self, Composition, Injection, Right};
use podcov_profile::names::Kind;

use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;
use crate::steps;

/// How many missing rights an error shows.
const SHOWN: usize = 10;

/// The rights that a run needs.
pub fn rights(
    session: &Session,
    cluster: &dyn Cluster,
    rendered: &Rendered,
) -> Result<Vec<Right>, Failure> {
    let components = &session.config.file.components;
    let has = |kind| components.iter().any(|component| component.kind == kind);
    let namespaces = steps::namespaces(session, cluster);
    let webhook = Injection {
        composition: session.config.name(),
        namespaces: &namespaces,
    };
    let composition = Composition {
        rendering: &rendered.objects,
        creates_pods: has(Kind::Workload),
        has_clients: has(Kind::Client),
        webhook: steps::injects(session).then_some(webhook),
    };
    let target = steps::target(session, cluster);
    rights::needed(&target, &composition, &session.cancel).or_exit(Exit::Cluster)
}

/// Fails before anything is changed where a right is missing: some are needed
/// only at the end, and a run that cannot stop its pods leaves them there. In a
/// cluster of our own, podcov may do everything.
pub fn check_rights(
    session: &Session,
    cluster: &dyn Cluster,
    rendered: &Rendered,
) -> Result<(), Failure> {
    if cluster.provider() != Provider::Existing {
        return Ok(());
    }
    let loads = &session.config.file.cluster.load_image;
    let cluster_has_images = session.config.registry.is_none() && loads.is_empty();
    if steps::injects(session) && cluster_has_images {
        let what =
            "the webhook's image is made by this podcov: nobody can have put it on the nodes";
        return Err(Failure::new(Exit::Usage, what)
            .help("set `[cluster] registry` or `load_image`, or `[deploy] inject = \"off\"`"));
    }
    let step = session.ui.step("rights", "");
    let missing = || {
        let needed = rights(session, cluster, rendered)?;
        let target = steps::target(session, cluster);
        let missing = rights::missing(&target, &needed, &session.cancel).or_exit(Exit::Cluster)?;
        match missing.as_slice() {
            [] => Ok(needed.len()),
            missing => Err(failure(cluster.name(), missing)),
        }
    };
    let checked = missing();
    step.end_with(&checked, |number| format!("all {number} are there"));
    checked.map(drop)
}

fn failure(cluster: &str, missing: &[Right]) -> Failure {
    let mut message = format!("the user of the kubeconfig may not do in cluster `{cluster}`:");
    for right in missing.iter().take(SHOWN) {
        message += &format!("\n    {right}");
    }
    if missing.len() > SHOWN {
        message += &format!("\n    and {} more", missing.len() - SHOWN);
    }
    Failure::new(Exit::Cluster, message).help(
        "`podcov rbac` prints a manifest with exactly the rights that are needed; an administrator \
         of the cluster applies it",
    )
}
