//! What the merge left, for the steps behind it: coverage, and the account of
//! the evidence it was made of.
//!
//! The two are written one after the other, and `podcov collect` makes the
//! account anew. A gate that took one from before and one from after would
//! judge what nobody measured, so the ledger seals the coverage made of it.

use podcov_cluster::store::read_ledger;
use podcov_profile::ledger::Ledger;
use podcov_profile::model::Coverage;

use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;
use crate::ui::count;

/// Coverage and ledger, if they are of each other, and what became of the
/// evidence since.
pub fn read(session: &Session) -> Result<(Coverage, Ledger), Failure> {
    let mut ledger = collected(session)?;
    let path = session.run.coverage().join("coverage.json");
    let stale = |what: String| Failure::new(Exit::Usage, what).help("run `podcov merge` first");
    let Some(seal) = &ledger.coverage else {
        return Err(stale(format!(
            "what was collected is not merged into `{}` yet",
            path.display()
        )));
    };
    let bytes = fs_err::read(&path)
        .or_exit(Exit::Usage)
        .map_err(|failure| failure.help("run `podcov merge` first"))?;
    if seal.check(&bytes).is_err() {
        return Err(Failure::new(
            Exit::Incomplete,
            format!("`{}` is not what was merged", path.display()),
        )
        .help("`podcov merge` makes it anew from the evidence"));
    }
    let coverage = serde_json::from_slice(&bytes).or_exit(Exit::Fault)?;
    let evidence = session.run.evidence();
    let broken =
        podcov_merge::verify(&mut ledger, &evidence, &session.cancel).or_exit(Exit::Fault)?;
    if broken > 0 {
        let files = count(usize::try_from(broken).unwrap_or(usize::MAX), "file");
        session.ui.say(format!(
            "  ! {files} of evidence gone or changed since it was collected"
        ));
    }
    Ok((coverage, ledger))
}

/// What the collector left, or which step has to come first.
pub fn collected(session: &Session) -> Result<Ledger, Failure> {
    let path = session.run.ledger_json();
    if !path.exists() {
        return Err(
            Failure::new(Exit::Usage, format!("there is no `{}` yet", path.display()))
                .help("run `podcov collect` first"),
        );
    }
    read_ledger(&path).or_exit(Exit::Incomplete)
}
