//! podcov's own engine: counters are added up without any tool.

use std::collections::BTreeMap;

use podcov_profile::go::files::Name;
use podcov_profile::go::report::Report;
use podcov_profile::go::sum::Sum;
use podcov_profile::go::text::Profile;

use super::{Counted, Metas, stage};
use crate::{Error, Work, write_atomic};

/// Adds up counters, and keeps what `go tool covdata` reads.
pub(super) fn merge(
    work: &mut Work<'_>,
    metas: &Metas,
    counted: &[Counted<'_>],
) -> Result<Profile, Error> {
    stage(work, metas, counted)?;
    let sums = add_up(metas, counted.iter())?;
    let merged = work.out.join("merged");
    for (hash, (_, bytes)) in metas {
        let meta = Name::Meta { hash: hash.clone() };
        write_atomic(&merged.join(meta.to_string()), bytes)?;
    }
    for (hash, sum) in &sums {
        if sum.files() > 0 {
            let name = Name::merged(hash).to_string();
            write_atomic(&merged.join(name), &sum.to_counters())?;
        }
    }
    profile(&sums)
}

/// The counts of each build.
pub(super) fn add_up<'m, 'c, 'p: 'c>(
    metas: &'m Metas,
    counted: impl Iterator<Item = &'c Counted<'p>>,
) -> Result<BTreeMap<&'m str, Sum<'m>>, Error> {
    let mut sums: BTreeMap<&str, Sum<'_>> = metas
        .iter()
        .map(|(hash, (meta, _))| (hash.as_str(), Sum::new(meta)))
        .collect();
    for one in counted {
        let Some(sum) = sums.get_mut(one.counters.hash.as_str()) else {
            continue;
        };
        one.add_to(sum)?;
    }
    Ok(sums)
}

/// The text profile of some counters and of nothing else.
pub(super) fn profile_of<'c, 'p: 'c>(
    metas: &Metas,
    counted: impl Iterator<Item = &'c Counted<'p>>,
) -> Result<Profile, Error> {
    profile(&add_up(metas, counted)?)
}

/// The text profile of counts.
pub(super) fn profile(sums: &BTreeMap<&str, Sum<'_>>) -> Result<Profile, Error> {
    let wrong = |what: String| Error::Output {
        tool: "the program's meta-data".to_owned(),
        what,
    };
    let report = Report::new(sums.values()).map_err(|error| wrong(error.to_string()))?;
    report
        .to_profile()
        .map_err(|error| wrong(error.to_string()))
}
