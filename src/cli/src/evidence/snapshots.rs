//! Counters that one Go process wrote more than once. Each time it writes all
//! it counted so far, so they must not be added up: a later file says all
//! that an earlier one says. A process may also clear its counters in
//! between; then nothing is larger everywhere, and both count.

use std::path::Path;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::counters::{CounterFile, is_counters};
use podcov_profile::go::live::Live;
use podcov_profile::go::sum::Sum;

use super::input::Source;
use super::read::Buffer;
use super::sort::about;
use super::worker::{Known, Worker, empty, refused};

/// The files that count, with the hash of each; the others are told.
pub fn choose<'f, 'k>(
    known: &'k Known,
    files: &'f [(Source, bool)],
    findings: &mut Vec<Finding>,
) -> Vec<(&'f Source, Sum<'k>)> {
    let mut kept: Vec<(&Source, bool, Sum<'k>)> = Vec::new();
    let mut buffer = Buffer::default();
    for (source, is_live) in files {
        let read = buffer
            .read(&source.path)
            .and_then(|bytes| sum(known, &source.path, bytes));
        let sum = match read {
            Ok(sum) => sum,
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        let later = kept.iter().find(|(_, _, later)| {
            later.meta().hash == sum.meta().hash && (*is_live || includes(later, &sum))
        });
        match later {
            None => kept.push((source, *is_live, sum)),
            Some((later, later_is_live, _)) => {
                let what = match later_is_live {
                    true => "a later snapshot of the same process",
                    false => "what the same process wrote later",
                };
                let text = format!("{what} is in {}", later.path.display());
                findings.push(about(source, Kind::Superseded, text));
            }
        }
    }
    kept.into_iter()
        .map(|(source, _, sum)| (source, sum))
        .collect()
}

/// Adds the files that count. What a later file replaces may be damaged: the
/// process was writing it, or was stopped while it did.
pub fn add(worker: &mut Worker<'_>, files: &[(Source, bool)]) {
    let mut findings = Vec::new();
    for (source, sum) in choose(worker.known(), files, &mut findings) {
        let path = source.path.display().to_string();
        let added = worker.sum(&path, &sum.meta().hash).and_then(|into| {
            into.absorb(&sum)
                .map_err(|misfit| Finding::new(Kind::Shape, &path, misfit.to_string()))
        });
        match added {
            Ok(()) => worker.used += 1,
            Err(finding) => findings.push(finding),
        }
    }
    worker.findings.append(&mut findings);
}

fn sum<'k>(known: &'k Known, path: &Path, bytes: &[u8]) -> Result<Sum<'k>, Finding> {
    let path = path.display().to_string();
    let parse = |error| Finding::parse(&path, &error);
    if bytes.is_empty() {
        return Err(empty(&path));
    }
    if is_counters(bytes) {
        let file = CounterFile::parse(bytes).map_err(parse)?;
        let mut sum = Sum::new(&known.meta(&path, &file.hash)?.meta);
        sum.add_file(&file)
            .map_err(|error| refused(&path, &error))?;
        return Ok(sum);
    }
    let live = Live::parse(bytes).map_err(parse)?;
    let mut sum = Sum::new(&known.meta(&path, &live.hash)?.meta);
    sum.add_live(&live)
        .map_err(|error| refused(&path, &error))?;
    Ok(sum)
}

fn includes(later: &Sum<'_>, earlier: &Sum<'_>) -> bool {
    let mut counts = later.counts().iter().zip(earlier.counts());
    counts.all(|(later, earlier)| later >= earlier)
}
