//! The steps as commands of their own; each starts from the files that the
//! step before it left in the run's folder.

use std::ffi::OsString;
use std::path::Path;

use podcov_cluster::overlay::Rendered;
use podcov_cluster::store::read_json;
use podcov_cluster::watch::observed::Observed;

use crate::args::{Format, Global, Merge};
use crate::exit::{Exit, Failure, OrExit};
use crate::print::{self, To};
use crate::session::{Session, Which};
use crate::{merged, reporting, steps};

/// `podcov build`.
pub fn build(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::New)?;
    steps::headline(&session);
    steps::build(&session)?;
    print::out(format_args!("{}\n", session.run.id()))?;
    Ok(Exit::Fine)
}

/// `podcov overlay`.
pub fn overlay(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    // Rendering needs its kubectl and paths, not that it runs.
    let cluster = steps::cluster(&session, true)?;
    let rendered = steps::overlay(&session, cluster.as_ref(), &session.bundles()?)?;
    for patched in &rendered.patched {
        let podcov_cluster::overlay::Patched {
            kind,
            name,
            container,
            component,
            now_image,
            ..
        } = patched;
        session.ui.say(format!(
            "    {kind}/{name} container {container}: {component}, {now_image}"
        ));
    }
    print::out(format_args!(
        "{}\n",
        session.run.path.join("overlay").display()
    ))?;
    Ok(Exit::Fine)
}

/// `podcov deploy`.
pub fn deploy(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let _alone = session.hold_cluster()?;
    let bundles = session.bundles()?;
    let cluster = steps::cluster_there(&session)?;
    let rendered: Rendered = steps::overlay(&session, cluster.as_ref(), &bundles)?;
    steps::check_rights(&session, cluster.as_ref(), &rendered)?;
    steps::load_images(&session, cluster.as_ref(), &bundles)?;
    let watcher = steps::watch(&session, cluster.as_ref(), &bundles)?;
    let deployed = steps::inject(&session, cluster.as_ref(), &bundles, None)
        .and_then(|()| steps::deploy(&session, cluster.as_ref(), &rendered, &watcher));
    remember(&session, watcher.finish())?;
    deployed.map(|_| Exit::Fine)
}

/// `podcov test`.
pub fn test(global: &Global, e2e: &[OsString]) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let _alone = session.hold_cluster()?;
    let bundles = session.bundles()?;
    let cluster = steps::cluster_there(&session)?;
    let watcher = steps::watch(&session, cluster.as_ref(), &bundles)?;
    let tested = steps::test(&session, cluster.as_ref(), &bundles, Some(&watcher), e2e);
    let seen = watcher.finish();
    let is_lost = seen.lost.is_some();
    remember(&session, seen)?;
    // That a suite fails without its cluster says nothing of the suite.
    let is_gone = || is_lost || !steps::is_cluster_up(&session).unwrap_or(false);
    let is_told = |failure: &Failure| failure.exit == Exit::Cluster || session.cancel.is_set();
    tested
        .map(|()| Exit::Fine)
        .map_err(|failure| match !is_told(&failure) && is_gone() {
            true => Failure::new(
                Exit::Cluster,
                format!("the cluster went away; {}", failure.message),
            ),
            false => failure,
        })
}

/// `podcov stop`.
pub fn stop(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let _alone = session.hold_cluster()?;
    let bundles = session.bundles()?;
    let cluster = steps::cluster_there(&session)?;
    let watcher = steps::watch(&session, cluster.as_ref(), &bundles)?;
    let stopped = steps::stop(&session, cluster.as_ref(), &watcher, &session.cancel);
    let removed = steps::uninject(&session, cluster.as_ref(), &watcher);
    remember(&session, watcher.finish())?;
    stopped.and(removed).map(|()| Exit::Fine)
}

/// Each command watches only while it runs; together they saw what they saw.
fn remember(session: &Session, seen: Observed) -> Result<(), Failure> {
    let path = session.run.observed_json();
    let mut observed: Observed = match path.exists() {
        true => read_json(&path).or_exit(Exit::Fault)?,
        false => Observed::default(),
    };
    observed.absorb(seen);
    podcov_cluster::store::write_json_atomic(&path, &observed).or_exit(Exit::Fault)
}

/// `podcov collect`.
pub fn collect(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let bundles = session.bundles()?;
    let observed = match session.run.observed_json() {
        path if path.exists() => read_json(&path).or_exit(Exit::Fault)?,
        _ => Observed::default(),
    };
    let ledger = steps::collect(&session, &bundles, &observed, &session.cancel)?;
    if ledger.incarnations.is_empty() {
        return Err(Failure::new(
            Exit::Nothing,
            "no incarnation left any evidence",
        ));
    }
    print::out(format_args!("{}\n", session.run.ledger_json().display()))?;
    Ok(Exit::Fine)
}

/// `podcov merge`.
pub fn merge(global: &Global, args: &Merge) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let bundles = session.bundles()?;
    let mut ledger = merged::collected(&session)?;
    let coverage = steps::merge(
        &session,
        &bundles,
        &mut ledger,
        args.backend,
        &session.cancel,
    )?;
    steps::usable(&session, &coverage)?;
    if let Some(dir) = &args.cargo_llvm_cov {
        let folders = bundles
            .iter()
            .map(|b| (b.clone(), session.run.bundle().join(&b.component)));
        let folders: Vec<_> = folders.collect();
        let evidence = session.run.evidence();
        let laid = podcov_merge::lay_out_for_cargo_llvm_cov(&ledger, &folders, &evidence, dir)
            .or_exit(Exit::Fault)?;
        session.ui.say(format!("    {laid}"));
    }
    print::out(format_args!("{}\n", session.run.coverage().display()))?;
    let (whole, _) = reporting::judge(&session, &coverage, &ledger)?;
    reporting::complete(&session, &whole.summary)
}

/// `podcov report`.
pub fn report(global: &Global, format: Format) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let bundles = session.bundles()?;
    let (coverage, ledger) = merged::read(&session)?;
    let step = session.ui.step("report", "");
    let made = reporting::write(&session, &bundles, &coverage, &ledger);
    step.end_with(&made, |made| made.index.display().to_string());
    let made = made?;
    reporting::tell_losses(&session, &made.report);
    match format {
        Format::Text => print::out(podcov_report::table(
            &made.report.summary,
            console::colors_enabled(),
        ))?,
        Format::Json => print::out(read_text(&session.run.report().join("summary.json"))?)?,
        Format::Markdown => print::out(read_text(&session.run.report().join("summary.md"))?)?,
    }
    reporting::complete(&session, &made.report.summary)
}

/// `podcov gate`.
pub fn gate(global: &Global) -> Result<Exit, Failure> {
    let session = Session::open(global, Which::Named)?;
    let (coverage, ledger) = merged::read(&session)?;
    steps::usable(&session, &coverage)?;
    let (whole, judgement) = reporting::judge(&session, &coverage, &ledger)?;
    reporting::tell_losses(&session, &whole);
    reporting::verdict(&session, &judgement, To::Stdout)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    fs_err::read_to_string(path).or_exit(Exit::Fault)
}
