//! Counters that there are more than once of one Go process. Each time it
//! writes all it counted so far, so they must not be added up: a later file
//! says all that an earlier one says, and one that is mapped over the counters
//! says all that any says. A process may also clear its counters in between;
//! then nothing is larger everywhere, and both count.

use std::path::Path;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::counters::{CounterFile, is_counters};
use podcov_profile::go::live::Live;
use podcov_profile::go::sum::Sum;

use super::input::Source;
use super::read::Buffer;
use super::sort::{How, Written, about};
use super::worker::{Known, Worker, build_of, empty, refused};

/// The files that count, with the hash of each; the others are told.
pub fn choose<'f, 'k>(
    known: &'k Known,
    files: &'f [(Source, Written)],
    findings: &mut Vec<Finding>,
) -> Vec<(&'f Source, Sum<'k>)> {
    let mut kept: Vec<(&Source, Written, Sum<'k>)> = Vec::new();
    let mut buffer = Buffer::default();
    for (source, written) in files {
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
        // With exec a process id has several processes, one after the other.
        let start = |(_, other, _): &&(&Source, Written, Sum<'_>)| {
            (other.how == How::Mapped && other.nanos <= written.nanos).then_some(other.nanos)
        };
        let last = kept.iter().filter_map(|one| start(&one)).max();
        let later = kept.iter().find(|(_, other, later)| {
            let is_mapped = other.how == How::Mapped;
            written.how != How::Mapped
                && later.meta().hash == sum.meta().hash
                && (!is_mapped || Some(other.nanos) == last)
                && (is_mapped && other.nanos == written.nanos
                    || written.how == How::Ticker
                    || includes(later, &sum))
        });
        match later {
            None => kept.push((source, *written, sum)),
            Some((later, by, _)) => {
                let what = match by.how {
                    How::Mapped => "all that the process counted",
                    How::ByGo => "what the same process wrote later",
                    How::Ticker => "a later snapshot of the same process",
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
pub fn add(worker: &mut Worker<'_>, files: &[(Source, Written)]) {
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
    let mut sum = Sum::new(&known.meta(&path, build_of(&path, &live)?)?.meta);
    sum.add_live(&live)
        .map_err(|error| refused(&path, &error))?;
    Ok(sum)
}

fn includes(later: &Sum<'_>, earlier: &Sum<'_>) -> bool {
    let mut counts = later.counts().iter().zip(earlier.counts());
    counts.all(|(later, earlier)| later >= earlier)
}
