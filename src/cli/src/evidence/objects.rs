//! The programs that `--object` names.

use std::collections::BTreeSet;
use std::path::PathBuf;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::{Identity, elf};

use crate::exit::{Exit, Failure};

/// The builds of the programs; `None` where none was named, or where one has
/// no build id, so that evidence of it cannot be told from that of others.
pub fn wanted(
    objects: &[PathBuf],
    findings: &mut Vec<Finding>,
) -> Result<Option<BTreeSet<Identity>>, Failure> {
    let mut ids = BTreeSet::new();
    let mut all = true;
    for path in objects {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot read `{shown}`: {error}"))
        })?;
        let program = elf::read(&bytes)
            .map_err(|error| Failure::new(Exit::Usage, format!("`{shown}`: {error}")))?;
        match program.build_id {
            Some(id) => {
                ids.insert(id);
            }
            None => {
                all = false;
                let text = "a program without a build id: evidence of other programs counts, too";
                findings.push(Finding::new(Kind::Note, shown, text));
            }
        }
    }
    Ok((all && !objects.is_empty()).then_some(ids))
}
