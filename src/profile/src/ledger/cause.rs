//! Why evidence is lost, and what follows for the process that left it.

use serde::{Deserialize, Serialize};

use super::{Fate, File, Format};
use crate::go::files::Name;

/// Why evidence is lost: the word for programs, where the reason is the
/// sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Go's meta-data came without counters.
    MetaWithoutCounters,
    /// A file has no byte, such as the profile of a Rust program that was
    /// killed before its end.
    EmptyFile,
    /// The process began and ended, and left no file that could hold counts.
    NoFile,
    /// No exit record and no counts, and the cluster says that it ended: the
    /// whole container was killed, or its node stopped.
    NoExitRecord,
    /// A file whose writing was interrupted.
    Interrupted,
    /// A file ends before what it claims to hold.
    Truncated,
    /// A file does not hold what its format says.
    Damaged,
    /// A format or version that podcov does not read.
    Unsupported,
    /// Counters of a build that no bundle of the run knows.
    ForeignBuild,
    /// A file that is not opened: a link, a pipe, one that is too large.
    Refused,
    /// Only the restart count tells of this start: neither the watch nor the
    /// profile volume has it.
    UnseenStart,
    /// The launcher says that it could not write to the profile volume.
    VolumeNotWritable,
    /// The launcher says that the program could not be started.
    NeverStarted,
    /// The pod ran another image than the measured one.
    OtherImage,
    /// The webhook did not make the pod a measured one.
    NotInjected,
    /// It ran, and nothing of the launcher is there.
    NoLauncher,
    /// Counters were written at intervals, and the process ended in one: what
    /// it counted since the last is lost, the rest counts.
    Ticker,
    /// A file is not there any more since it was collected.
    Removed,
    /// A file is not what was collected.
    Changed,
}

impl Cause {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Cause::MetaWithoutCounters => "meta-without-counters",
            Cause::EmptyFile => "empty-file",
            Cause::NoFile => "no-file",
            Cause::NoExitRecord => "no-exit-record",
            Cause::Interrupted => "interrupted",
            Cause::Truncated => "truncated",
            Cause::Damaged => "damaged",
            Cause::Unsupported => "unsupported",
            Cause::ForeignBuild => "foreign-build",
            Cause::Refused => "refused",
            Cause::UnseenStart => "unseen-start",
            Cause::VolumeNotWritable => "volume-not-writable",
            Cause::NeverStarted => "never-started",
            Cause::OtherImage => "other-image",
            Cause::NotInjected => "not-injected",
            Cause::NoLauncher => "no-launcher",
            Cause::Ticker => "ticker",
            Cause::Removed => "removed",
            Cause::Changed => "changed",
        }
    }

    /// Whether the seal says it: what is restored counts again.
    pub fn is_by_seal(self) -> bool {
        matches!(self, Cause::Removed | Cause::Changed)
    }
}

/// What became of an incarnation by its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its fate.
    pub fate: Fate,
    /// Why some or all of its evidence is lost.
    pub cause: Option<Cause>,
    /// The same in one sentence.
    pub reason: String,
}

/// The fate of an incarnation from the fates of its files, with the reason if
/// it is lost. A file that was set aside makes it lost, because what that file
/// counted is missing; but not one that another file of the process stands in
/// for (a snapshot, or what Go was writing when it was killed), nor one that
/// is no evidence by its format.
///
/// `interval_ms` is how often it wrote its counters. Where the last that it
/// wrote on its way are those that count, the rest of an interval is lost.
pub fn fate_of(files: &[File], interval_ms: Option<u64>) -> Verdict {
    let any_counts = files.iter().any(counts);
    let lost: Vec<&File> = files
        .iter()
        .filter(|file| file.format != Format::Record)
        .filter(|file| {
            matches!(
                file.fate,
                Fate::Rejected | Fate::Foreign | Fate::Empty | Fate::Missing
            )
        })
        .filter(|file| !is_stood_in_for(file, files))
        .filter(|file| !(any_counts && file.format == Format::Unknown))
        .collect();
    let verdict = |fate, cause: Cause, reason: &str| Verdict {
        fate,
        cause: Some(cause),
        reason: reason.to_owned(),
    };
    // What is there and cannot be read says more than what holds nothing.
    let first = lost.iter().find(|file| file.fate != Fate::Empty);
    if let Some(first) = first.or(lost.first()) {
        let more = match lost.len() - 1 {
            0 => String::new(),
            number => format!(" (and {number} more)"),
        };
        return Verdict {
            fate: first.fate,
            cause: first.cause,
            reason: format!("{}: {}{more}", first.path, first.reason),
        };
    }
    if files.iter().all(|file| file.format == Format::Record) {
        return verdict(Fate::Empty, Cause::NoFile, "it started and left no profile");
    }
    if !any_counts {
        let reason = "the process left no counts: it was stopped before it wrote them";
        return verdict(Fate::Empty, Cause::NoFile, reason);
    }
    match interval_ms.filter(|_| files.iter().any(|f| counts(f) && is_on_the_way(f))) {
        Some(interval) => Verdict {
            fate: Fate::Collected,
            cause: Some(Cause::Ticker),
            reason: format!(
                "its counters were written every {interval} ms and it ended in between: \
                 what it counted in its last {interval} ms or less is lost, the rest counts"
            ),
        },
        None => Verdict {
            fate: Fate::Collected,
            cause: None,
            reason: String::new(),
        },
    }
}

/// Whether other counts of the same process, among the files of its
/// incarnation, stand in for this file: a snapshot, what Go was writing when it
/// was killed, or a damaged mapping whose counters it wrote at its end, too. Not
/// those of another process in the container.
pub fn is_stood_in_for(file: &File, files: &[File]) -> bool {
    let is_mapped = file.format == Format::Covlive;
    let is_replaceable = is_mapped || is_on_the_way(file) || file.path.contains("/tmp.cov");
    let own = process(file);
    let stands_in = |other: &File| match (own, process(other)) {
        // All that the process counted: only all of the same one replaces it.
        (own, other) if is_mapped => own.is_some() && own == other,
        (Some((own, _)), Some((other, _))) => own == other,
        _ => true,
    };
    is_replaceable && files.iter().any(|other| counts(other) && stands_in(other))
}

fn counts(file: &File) -> bool {
    file.fate == Fate::Merged && file.format.holds_counts()
}

/// Process id and time in the name of a file of Go's.
fn process(file: &File) -> Option<(u64, u64)> {
    let name = file.path.rsplit('/').next()?;
    match Name::parse(name.strip_prefix("tmp.").unwrap_or(name))? {
        Name::Counters { pid, nanos, .. } | Name::Live { pid, nanos } => Some((pid, nanos)),
        Name::Meta { .. } | Name::Leftover => None,
    }
}

/// Whether the process wrote it while it lived.
fn is_on_the_way(file: &File) -> bool {
    file.path.contains("/live/")
}
