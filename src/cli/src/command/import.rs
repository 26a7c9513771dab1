//! `podcov import`: profiles of Rust programs that something else collected.

use podcov_cluster::store::write_json_atomic;
use podcov_profile::ledger::{Ledger, SCHEMA};
use podcov_profile::names::{Kind, Language};

use crate::args::{Global, Import};
use crate::command::exec::folder;
use crate::exit::{Exit, Failure, OrExit};
use crate::print::To;
use crate::session::Session;
use crate::steps;

/// Runs the command.
pub fn import(global: &Global, args: &Import) -> Result<Exit, Failure> {
    let session = Session::bare(&folder(global, args.evidence.as_deref())?, global.quiet)?;
    refuse_evidence(&session)?;
    let root = match &args.source_root {
        Some(dir) => dir.clone(),
        None => session.config.root.clone(),
    };
    let root = fs_err::canonicalize(root).or_exit(Exit::Usage)?;
    let name = args
        .object
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let component = args.component.clone().unwrap_or(name);
    let rust = podcov_build::Component::new(&component, Language::Rust, &root);
    let major = podcov_build::llvm_major(&rust, &session.cancel).or_exit(Exit::Build)?;
    let Some(llvm_major) = major else {
        return Err(Failure::new(
            Exit::Build,
            "rustc does not say which LLVM it has",
        ));
    };
    let step = session.ui.step("import", &component);
    let mut ledger = Ledger {
        schema: SCHEMA,
        run: session.run.id(),
        ..Ledger::default()
    };
    let import = podcov_merge::Import {
        component: &component,
        kind: Kind::Client,
        program: &args.object,
        root: &root,
        profiles: &args.profiles,
        llvm_major,
        run: &session.run.id(),
        bundles: &session.run.bundle(),
        evidence: &session.run.evidence(),
    };
    let imported = podcov_merge::import(import, &mut ledger, &step, &session.cancel);
    step.end_with(&imported, |done| crate::ui::count(done.profiles, "profile"));
    let imported = imported.or_exit(Exit::Nothing)?;
    write_json_atomic(&imported.dir.join("bundle.json"), &imported.bundle).or_exit(Exit::Fault)?;
    let bundles = [imported.bundle];
    let coverage = steps::merge(
        &session,
        &bundles,
        &mut ledger,
        args.backend,
        &session.cancel,
    )?;
    steps::usable(&session, &coverage)?;
    steps::report(&session, &bundles, &coverage, &ledger, To::Stdout)
}

/// The account would be of the imported profiles alone, and what is there could
/// be written over.
fn refuse_evidence(session: &Session) -> Result<(), Failure> {
    let evidence = session.run.evidence();
    let mut there = fs_err::read_dir(&evidence).or_exit(Exit::Usage)?;
    if there.next().is_none() && !session.run.ledger_json().exists() {
        return Ok(());
    }
    let message = format!(
        "expected a folder without evidence, found some in `{}`",
        evidence.display()
    );
    Err(Failure::new(Exit::Usage, message).help(
        "name another folder with `--evidence`; `podcov merge PATH…` adds up profiles of several",
    ))
}
