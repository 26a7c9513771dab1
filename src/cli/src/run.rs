//! The pipeline: each step takes what the step before it gave.
//!
//! Whatever happens between deployment and the end of the e2e command, the
//! composition is stopped and its evidence is collected and reported.

use std::ffi::OsString;

use podcov_cluster::provider::{Cluster, Provider};
use podcov_cluster::watch::observed::Observed;
use podcov_process::Cancel;
use podcov_profile::bundle::Bundle;

use crate::args::Backend;
use crate::exit::{Exit, Failure};
use crate::interrupt::on_interrupt;
use crate::print::To;
use crate::session::Session;
use crate::steps;

/// What `podcov run` was asked for.
pub struct Options {
    /// Leave the cluster running.
    pub keep_cluster: bool,
    /// What merges.
    pub backend: Backend,
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
    let written = session.update_record(|record| record.exit = Some(exit as u8));
    first([result, written.map(|()| Exit::Fine)])
}

fn pipeline(session: &Session, options: &Options) -> Result<Exit, Failure> {
    steps::headline(session);
    let _alone = session.hold_cluster()?;
    steps::prepare(session, options.backend)?;
    let bundles = steps::build(session)?;
    let ours = !steps::is_cluster_up(session)?;
    let cluster = steps::cluster_up(session, options.keep_cluster || !ours)?;
    let result = measure(session, cluster.as_ref(), &bundles, options);
    // One that was up before (`podcov cluster up`) is not ours to remove.
    let is_lent = cluster.provider() == Provider::Existing;
    let down = match is_lent || ours && !options.keep_cluster {
        true => steps::cluster_down(session, cluster.as_ref()),
        false => Ok(()),
    };
    first([result, down.map(|()| Exit::Fine)])
}

fn measure(
    session: &Session,
    cluster: &dyn Cluster,
    bundles: &[Bundle],
    options: &Options,
) -> Result<Exit, Failure> {
    let overlay = steps::overlay(session, cluster, bundles)?;
    steps::check_rights(session, cluster, &overlay)?;
    steps::load_images(session, cluster, bundles)?;
    let watcher = steps::watch(session, cluster, bundles)?;
    // From here on there is evidence. A first interrupt ends the suite, a
    // second one also what follows.
    let after = Cancel::new();
    on_interrupt(&after);
    let lifetime = Some(steps::lifetime(session));
    let exercised = steps::inject(session, cluster, bundles, lifetime)
        .and_then(|()| steps::deploy(session, cluster, &overlay, &watcher))
        .and_then(|_| steps::test(session, cluster, bundles, Some(&watcher), &options.e2e));
    let stopped = steps::stop(session, cluster, &watcher, &after);
    let removed = steps::uninject(session, cluster, &watcher);
    let observed = watcher.finish();
    let told = tell(session, bundles, &observed, options.backend, &after);
    // What went wrong first explains what went wrong after it: a gate that
    // fails because nothing was deployed is not the news.
    let stopped = stopped.and(removed).map(|()| Exit::Fine);
    let exercised = exercised.map(|()| Exit::Fine);
    // That a suite fails without its cluster says nothing of the suite.
    if observed.lost.is_some() {
        return first([stopped, exercised, told]);
    }
    first([exercised, stopped, told])
}

fn tell(
    session: &Session,
    bundles: &[Bundle],
    observed: &Observed,
    backend: Backend,
    cancel: &Cancel,
) -> Result<Exit, Failure> {
    let kept = |failure: Failure| match failure.help {
        Some(_) => failure,
        None => failure.help(
            "the evidence is kept: `podcov collect`, `podcov merge` and `podcov report` go on from \
             here when the cause is gone",
        ),
    };
    let mut ledger = steps::collect(session, bundles, observed, cancel).map_err(kept)?;
    let coverage = steps::merge(session, bundles, &mut ledger, backend, cancel).map_err(kept)?;
    let reported = steps::report(session, bundles, &coverage, &ledger, To::Stdout);
    steps::usable(session, &coverage).and(reported)
}

/// The first failure, with the others told in it.
fn first<const N: usize>(results: [Result<Exit, Failure>; N]) -> Result<Exit, Failure> {
    let mut failed: Option<Failure> = None;
    for failure in results.into_iter().filter_map(Result::err) {
        match &mut failed {
            Some(first) => {
                if !first.message.contains(&failure.message) {
                    first.message += &format!("\nand then: {}", failure.message);
                }
                first.help = first.help.take().or(failure.help);
            }
            None => failed = Some(failure),
        }
    }
    failed.map_or(Ok(Exit::Fine), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_gives_the_status_and_none_is_hidden() {
        let failed = |exit, text: &str| Err(Failure::new(exit, text));
        let all = [
            Ok(Exit::Fine),
            failed(Exit::E2e, "the e2e command failed"),
            failed(Exit::Gate, "gate: 1 of 1 rules failed"),
        ];
        let failure = first(all).unwrap_err();
        assert_eq!(failure.exit, Exit::E2e);
        assert!(failure.message.contains("e2e command") && failure.message.contains("gate: 1"));
        assert_eq!(first([Ok(Exit::Fine), Ok(Exit::Fine)]).unwrap(), Exit::Fine);
    }
}
