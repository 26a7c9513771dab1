//! What the merge left, for the steps behind it: coverage, and the account of
//! the evidence it was made of.
//!
//! The two are written one after the other, and `podcov collect` makes the
//! account anew. A gate that took one from before and one from after would
//! judge what nobody measured, so the merge ends with a seal.

use std::path::PathBuf;

use podcov_cluster::store::{read_json, write_atomic};
use podcov_profile::ledger::Ledger;
use podcov_profile::model::Coverage;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::exit::{Exit, Failure, OrExit};
use crate::session::Session;

/// Says that `coverage.json` is of `ledger.json` as it is now, in a form that
/// `sha256sum --check` reads, too.
pub fn seal(session: &Session) -> Result<(), Failure> {
    write_atomic(&seal_path(session), line(session)?.as_bytes()).or_exit(Exit::Fault)
}

/// Coverage and ledger, if they are of each other.
pub fn read(session: &Session) -> Result<(Coverage, Ledger), Failure> {
    let path = session.run.coverage().join("coverage.json");
    let coverage = left(&path, "podcov merge")?;
    let ledger_json = session.run.ledger_json();
    let ledger = left(&ledger_json, "podcov collect")?;
    let sealed = fs_err::read_to_string(seal_path(session)).unwrap_or_default();
    if sealed != line(session)? {
        let message = format!(
            "`{}` is not what `{}` was made of",
            ledger_json.display(),
            path.display()
        );
        return Err(
            Failure::new(Exit::Usage, message).help("run `podcov merge`: it brings them together")
        );
    }
    Ok((coverage, ledger))
}

/// What an earlier step left, or which step has to come first.
pub fn left<T: DeserializeOwned>(path: &std::path::Path, step: &str) -> Result<T, Failure> {
    if !path.exists() {
        return Err(
            Failure::new(Exit::Usage, format!("there is no `{}` yet", path.display()))
                .help(format!("run `{step}` first")),
        );
    }
    read_json(path)
        .or_exit(Exit::Fault)
        .map_err(|failure| failure.help(format!("`{step}` makes it anew")))
}

fn seal_path(session: &Session) -> PathBuf {
    session.run.coverage().join("ledger.sha256")
}

fn line(session: &Session) -> Result<String, Failure> {
    let bytes = fs_err::read(session.run.ledger_json()).or_exit(Exit::Fault)?;
    let hex: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("{hex}  ../ledger.json\n"))
}
