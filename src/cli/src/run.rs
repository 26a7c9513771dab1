//! The pipeline: each step takes what the step before it gave.
//!
//! Whatever happens between deployment and the end of the e2e command, the
//! composition is stopped and its evidence is collected and reported.

use std::ffi::OsString;

use podcov_cluster::provider::Cluster;
use podcov_process::Cancel;

use crate::exit::{Exit, Failure};
use crate::interrupt::on_interrupt;
use crate::session::Session;
use crate::steps;

/// What `podcov run` was asked for.
pub struct Options {
    /// Leave the cluster running.
    pub keep_cluster: bool,
    /// Instead of `[e2e] command`.
    pub e2e: Vec<OsString>,
}

/// The whole story, with its end in `run.json`.
pub fn whole(session: &Session, options: &Options) -> Result<Exit, Failure> {
    let mut result = pipeline(session, options);
    steps::times(session);
    if let (Err(failure), true) = (&mut result, session.cancel.is_set()) {
        failure.exit = Exit::Interrupted;
    }
    let exit = result
        .as_ref()
        .map_or_else(|failure| failure.exit, |exit| *exit);
    session.update_record(|record| record.exit = Some(exit as u8))?;
    result
}

fn pipeline(session: &Session, options: &Options) -> Result<Exit, Failure> {
    steps::headline(session);
    let _alone = session.hold_cluster()?;
    steps::prepare(session)?;
    let bundles = steps::build(session)?;
    let ours = !steps::is_cluster_up(session)?;
    let cluster = steps::cluster_up(session, options.keep_cluster || !ours)?;
    let result = measure(session, cluster.as_ref(), &bundles, &options.e2e);
    // One that was up before (`podcov cluster up`) is not ours to remove.
    if ours && !options.keep_cluster {
        steps::cluster_down(session, cluster.as_ref())?;
    }
    result
}

fn measure(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[podcov_profile::bundle::Bundle],
    e2e: &[OsString],
) -> Result<Exit, Failure> {
    let overlay = steps::overlay(session, cluster, bundles)?;
    steps::load_images(session, cluster, bundles)?;
    let watcher = steps::watch(session, cluster, bundles)?;
    // From here on there is evidence. A first interrupt ends the suite, a
    // second one also what follows.
    let after = Cancel::new();
    on_interrupt(&after);
    let exercised = steps::deploy(session, cluster, &overlay, &watcher)
        .and_then(|_| steps::test(session, cluster, bundles, Some(&watcher), e2e));
    let stopped = steps::stop(session, cluster, &watcher, &after);
    let observed = watcher.finish();
    let mut ledger = steps::collect(session, bundles, &observed, &after)?;
    let coverage = steps::merge(session, bundles, &mut ledger, &after)?;
    let exit = steps::report(session, bundles, &coverage, &ledger)?;
    exercised.and(stopped).map(|()| exit)
}
