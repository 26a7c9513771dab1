//! One incarnation's folder: what each file in it is, and what becomes of it.

use std::collections::BTreeMap;
use std::path::Path;

use podcov_profile::bundle::Bundle;
use podcov_profile::classify::{Problem, classify};
use podcov_profile::go::files::{Counters, Name, read_counters};
use podcov_profile::ledger::{
    Cause, Fate, File, Finding, Format, Incarnation, Seal, is_stood_in_for,
};
use podcov_profile::{Identity, names::Language};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::earlier;
use super::walk::{Dir, Entry, Root};
use super::{Error, Limits, finding};
use crate::store;

/// Longest file name that keeps its name in quarantine.
const NAME: usize = 200;
/// How often a Go program that podcov built writes its counters, where nothing
/// says it.
const TICKER_MS: u64 = 1000;

/// `start.json`, as the launcher writes it. What is missing is empty: an old
/// launcher's record is better than none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct StartRecord {
    pub(crate) run: String,
    pub(crate) component: String,
    pub(crate) identity: Option<String>,
    pub(crate) start: Option<String>,
    pub(crate) phase: Option<String>,
}

/// `exit.json`, as the launcher writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ExitRecord {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) end: Option<String>,
}

/// `live/ticker.json`, as a Go program writes it that cannot keep its counters
/// in the file at every moment.
#[derive(Debug, Deserialize)]
struct TickerRecord {
    interval_ms: u64,
}

/// What an incarnation's folder holds.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) files: Vec<File>,
    pub(crate) interval_ms: Option<u64>,
}

/// Beside each file in quarantine.
#[derive(Serialize)]
struct Reason<'a> {
    schema: u32,
    path: &'a str,
    size: u64,
    sha256: &'a str,
    fate: Fate,
    cause: Option<Cause>,
    reason: &'a str,
    identity: Option<&'a Identity>,
    component: &'a str,
}

pub(crate) struct Judge<'a> {
    pub(crate) root: &'a Root,
    pub(crate) quarantine: &'a Path,
    pub(crate) bundles: &'a [Bundle],
    pub(crate) limits: &'a Limits,
}

/// A counter file that could be merged, until it is known which one is.
struct Snapshot {
    file: usize,
    live: bool,
    nanos: u64,
    counters: Counters,
}

impl Judge<'_> {
    /// The launcher's record of the start, `None` when there is none to read.
    pub(crate) fn start_record(&self, dir: &Dir) -> Option<StartRecord> {
        self.record(dir, "start.json")
    }

    /// The launcher's record of the end.
    pub(crate) fn exit_record(&self, dir: &Dir) -> Option<ExitRecord> {
        self.record(dir, "exit.json")
    }

    /// How often the process wrote its counters, if it did so at intervals.
    fn interval_ms(&self, dir: &Dir) -> Option<u64> {
        let record: Option<TickerRecord> = self.record(dir, "live/ticker.json");
        let is_written = |entry: &Entry| {
            let name = Name::parse(base(&entry.path));
            is_live(&entry.path, &dir.path) && matches!(name, Some(Name::Counters { .. }))
        };
        let by_build = || dir.entries.iter().any(is_written).then_some(TICKER_MS);
        record.map(|record| record.interval_ms).or_else(by_build)
    }

    fn record<T: for<'de> Deserialize<'de>>(&self, dir: &Dir, name: &str) -> Option<T> {
        let path = format!("{}/{name}", dir.path);
        dir.entries
            .iter()
            .find(|entry| entry.path == path && entry.refused.is_none())?;
        serde_json::from_slice(&self.root.read(&path, self.limits).ok()?).ok()
    }

    /// Gives each file its fate; copies what is set aside to the quarantine.
    /// `before` is what an earlier collection sealed.
    pub(crate) fn judge(
        &self,
        dir: &Dir,
        start: &StartRecord,
        before: Option<&Incarnation>,
        findings: &mut Vec<Finding>,
    ) -> Result<Judged, Error> {
        let said = start
            .identity
            .as_deref()
            .and_then(|text| text.parse::<Identity>().ok());
        let mut files = Vec::with_capacity(dir.entries.len());
        let mut snapshots: BTreeMap<(String, u64), Vec<Snapshot>> = BTreeMap::new();
        let mut mapped = BTreeMap::new();
        for entry in &dir.entries {
            let (mut file, bytes) = self.file(entry, &start.component, said.as_ref());
            earlier::check(before, &mut file, &bytes);
            if file.format == Format::Covcounters
                && file.fate == Fate::Merged
                && let Some(Name::Counters { hash, pid, nanos }) = Name::parse(base(&file.path))
                && let Ok(counters) = read_counters(&bytes)
            {
                let live = is_live(&file.path, &dir.path);
                let snapshot = Snapshot {
                    file: files.len(),
                    live,
                    nanos,
                    counters,
                };
                snapshots.entry((hash, pid)).or_default().push(snapshot);
            }
            if file.format == Format::Covlive
                && file.fate == Fate::Merged
                && let Some(Name::Live { pid, nanos }) = Name::parse(base(&file.path))
            {
                mapped.insert((pid, nanos), base(&file.path).to_owned());
            }
            if matches!(file.fate, Fate::Rejected | Fate::Foreign) && !bytes.is_empty() {
                self.set_aside(&file, &bytes, &start.component)?;
            }
            files.push(file);
        }
        for ((_, pid), mut group) in snapshots {
            group.retain(|snapshot| {
                let mapped = mapped.get(&(pid, snapshot.nanos));
                if let Some(mapped) = mapped {
                    let file = &mut files[snapshot.file];
                    (file.fate, file.cause) = (Fate::Superseded, None);
                    file.reason = format!("{mapped} has all its counters");
                }
                mapped.is_none()
            });
            supersede(&mut files, group);
        }
        earlier::add_removed(before, &mut files);
        settle_meta(&mut files);
        settle_leftovers(&mut files, &dir.path, &mapped);
        for file in &files {
            if matches!(file.fate, Fate::Rejected | Fate::Foreign) {
                let word = if file.fate == Fate::Rejected {
                    "damaged-file"
                } else {
                    "foreign-file"
                };
                findings.push(finding(word, format!("{}: {}", file.path, file.reason)));
            }
        }
        Ok(Judged {
            files,
            interval_ms: self.interval_ms(dir),
        })
    }

    /// What the file is by itself, without a look at its neighbours.
    fn file(&self, entry: &Entry, component: &str, said: Option<&Identity>) -> (File, Vec<u8>) {
        let refused = |reason: String| File {
            path: entry.path.clone(),
            format: Format::Unknown,
            size: entry.size,
            sha256: String::new(),
            identity: None,
            fate: Fate::Rejected,
            cause: Some(Cause::Refused),
            reason,
        };
        if let Some(reason) = &entry.refused {
            return (refused(reason.clone()), vec![]);
        }
        let bytes = match self.root.read(&entry.path, self.limits) {
            Ok(bytes) => bytes,
            Err(reason) => return (refused(reason), vec![]),
        };
        let found = classify(&entry.path, &bytes);
        let known = found.identities.iter().find(|id| self.knows(id, component));
        let identity = known.or(found.identities.first()).cloned();
        // These say nothing of their build themselves; the launcher knows
        // which program it started.
        let silent = matches!(
            found.format,
            Format::Gotext | Format::Profraw | Format::Profdata | Format::Covlive
        );
        let identity = identity.or_else(|| said.filter(|_| silent).cloned());
        let foreign = |reason: String| (Fate::Foreign, Some(Cause::ForeignBuild), reason);
        let (fate, cause, reason) = match (&found.problem, &identity) {
            _ if entry.same_as.is_some() => {
                let first = entry.same_as.as_deref().unwrap_or_default();
                (Fate::Duplicate, None, format!("the same file as {first}"))
            }
            (Some(problem), _) => {
                let fate = match problem {
                    Problem::Empty => Fate::Empty,
                    _ => Fate::Rejected,
                };
                (fate, Some(problem.cause()), problem.to_string())
            }
            (None, _) if found.format == Format::Record => (Fate::Record, None, String::new()),
            (None, Some(id)) if self.knows(id, component) => (Fate::Merged, None, String::new()),
            (None, Some(id)) => foreign(format!("no bundle of this run has {id}")),
            (None, None) => {
                foreign("neither it nor the launcher says which build wrote it".to_owned())
            }
        };
        let Seal { size, sha256 } = Seal::of(&bytes);
        let file = File {
            path: entry.path.clone(),
            format: found.format,
            size,
            sha256,
            identity,
            fate,
            cause,
            reason,
        };
        (file, bytes)
    }

    fn knows(&self, identity: &Identity, component: &str) -> bool {
        let unknown_yet = |bundle: &Bundle| {
            // Go built for another machine: its hash shows when it has run.
            matches!(identity, Identity::Covmeta(_))
                && bundle.component == component
                && bundle.language == Language::Go
                && bundle
                    .binaries
                    .iter()
                    .any(|binary| binary.identity.is_none())
        };
        self.bundles
            .iter()
            .any(|bundle| bundle.binary(identity).is_some() || unknown_yet(bundle))
    }

    fn set_aside(&self, file: &File, bytes: &[u8], component: &str) -> Result<(), Error> {
        let name = quarantined(&file.path);
        store::write_atomic(&self.quarantine.join(&name), bytes)?;
        let reason = Reason {
            schema: 1,
            path: &file.path,
            size: file.size,
            sha256: &file.sha256,
            fate: file.fate,
            cause: file.cause,
            reason: &file.reason,
            identity: file.identity.as_ref(),
            component,
        };
        let beside = self.quarantine.join(format!("{name}.reason.json"));
        Ok(store::write_json_atomic(&beside, &reason)?)
    }
}

/// Where a file is set aside: at its own path, unless its name leaves no room
/// for the one of the reason.
fn quarantined(path: &str) -> String {
    let name = base(path);
    if name.len() <= NAME {
        return path.to_owned();
    }
    let dir = &path[..path.len() - name.len()];
    let digest = Sha256::digest(name);
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    format!("{dir}{}", hex.collect::<String>())
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_live(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.starts_with("/live/"))
}

/// Of the snapshots of one process, where its counters are not mapped to a
/// file, only the last counts: they are cumulative. What was written at its end
/// says more than any taken while it lived.
///
/// A program that replaced itself (exec) keeps its pid and counts from zero
/// again: both halves count. The second shows by having less than the first.
fn supersede(files: &mut [File], mut group: Vec<Snapshot>) {
    group.sort_by_key(|snapshot| (!snapshot.live, snapshot.nanos));
    for pair in group.windows(2) {
        let [earlier, later] = pair else { continue };
        if includes(&later.counters, &earlier.counters) {
            let reason = format!("{} has all its counts", base(&files[later.file].path));
            let file = &mut files[earlier.file];
            file.fate = Fate::Superseded;
            file.reason = reason;
        }
    }
}

/// Whether `later` has at least the counts of `earlier`, everywhere.
fn includes(later: &Counters, earlier: &Counters) -> bool {
    let later: BTreeMap<_, _> = later
        .functions
        .iter()
        .map(|f| ((f.package, f.function), &f.counts))
        .collect();
    earlier.functions.iter().all(|function| {
        let Some(counts) = later.get(&(function.package, function.function)) else {
            return function.counts.iter().all(|count| *count == 0);
        };
        counts.len() == function.counts.len()
            && counts
                .iter()
                .zip(&function.counts)
                .all(|(later, earlier)| later >= earlier)
    })
}

/// Meta-data counts with counters only; alone it says that nothing is known,
/// not that nothing ran.
fn settle_meta(files: &mut [File]) {
    let counted: Vec<Identity> = files
        .iter()
        .filter(|file| holds_counters(file) && file.fate == Fate::Merged)
        .filter_map(|file| file.identity.clone())
        .collect();
    for file in files {
        let alone = file
            .identity
            .as_ref()
            .is_none_or(|identity| !counted.contains(identity));
        if file.format == Format::Covmeta && file.fate == Fate::Merged && alone {
            file.fate = Fate::Empty;
            file.cause = Some(Cause::MetaWithoutCounters);
            file.reason =
                "no counters came with it: the process was stopped before it wrote them".to_owned();
        }
    }
}

/// A snapshot that was being written when the process was killed is no loss:
/// the one before it is whole.
///
/// Nor is what a process was writing at its end, if its counters are mapped.
fn settle_leftovers(files: &mut [File], dir: &str, mapped: &BTreeMap<(u64, u64), String>) {
    let replaced: Vec<bool> = files
        .iter()
        .map(|file| is_stood_in_for(file, files))
        .collect();
    for (file, is_replaced) in files.iter_mut().zip(replaced) {
        let name = base(&file.path);
        if Name::parse(name) != Some(Name::Leftover) || !is_replaced {
            continue;
        }
        let whole = name.strip_prefix("tmp.").and_then(Name::parse);
        if let Some(Name::Counters { pid, nanos, .. }) = whole
            && let Some(mapped) = mapped.get(&(pid, nanos))
        {
            (file.fate, file.cause) = (Fate::Superseded, None);
            file.reason = format!("{mapped} has all its counters");
        } else if is_live(&file.path, dir) {
            (file.fate, file.cause) = (Fate::Superseded, None);
            "the process was stopped while it wrote it; the one before counts"
                .clone_into(&mut file.reason);
        }
    }
}

fn holds_counters(file: &File) -> bool {
    matches!(file.format, Format::Covcounters | Format::Covlive)
}

#[cfg(test)]
mod tests {
    use podcov_profile::go::files::FunctionCounters;

    use super::*;

    /// Snapshots as (live, count), oldest first; whether each one counts.
    fn counted(snapshots: &[(bool, u32)]) -> Vec<bool> {
        let file = |number: usize| File {
            path: format!("covcounters.{number}"),
            format: Format::Covcounters,
            size: 1,
            sha256: String::new(),
            identity: None,
            fate: Fate::Merged,
            cause: None,
            reason: String::new(),
        };
        let mut files: Vec<File> = (0..snapshots.len()).map(file).collect();
        let group = snapshots.iter().enumerate();
        let group = group.map(|(number, (live, count))| Snapshot {
            file: number,
            live: *live,
            nanos: number as u64,
            counters: Counters {
                hash: String::new(),
                segments: 1,
                functions: vec![FunctionCounters {
                    package: 0,
                    function: 0,
                    counts: vec![*count],
                }],
            },
        });
        supersede(&mut files, group.collect());
        files.iter().map(|file| file.fate == Fate::Merged).collect()
    }

    #[test]
    fn of_a_process_only_the_last_snapshot_counts() {
        assert_eq!(counted(&[(true, 1), (true, 2)]), [false, true]);
        assert_eq!(counted(&[(false, 3), (true, 2)]), [true, false]);
    }

    #[test]
    fn both_halves_of_a_program_that_replaced_itself_count_once() {
        let all = [(true, 5), (true, 7), (true, 2), (false, 3)];
        assert_eq!(counted(&all), [false, true, false, true]);
        assert_eq!(counted(&[(true, 7), (false, 3)]), [true, true]);
    }
}
