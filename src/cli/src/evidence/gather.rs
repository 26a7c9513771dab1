//! From PATHs to sums: files are read by as many threads as there are
//! processors, each with one buffer and one set of sums, which are brought
//! together at the end. What comes out depends on the files alone, neither on
//! their order nor on the threads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::files::{Name, Part};
use podcov_profile::llvm::raw;
use podcov_profile::merge::{Counted, RawTotals, SetAside, Totals};
use podcov_profile::store::{MetaShape, Named, Shape};
use podcov_profile::{Identity, Limits};

use super::input::{self, Source};
use super::read::Buffer;
use super::snapshots;
use super::sort::{self, Sorted};
use super::stores::Stores;
use super::worker::{Known, Metas, Worker, conflicting, meta_of};
use crate::args::Reading;
use crate::exit::Failure;

/// A thread takes this many files at a time.
const STEP: usize = 8;
/// Fewer files than this are read before anyone could look at a bar.
const BAR_FROM: usize = 200;

/// What was read, before it is added up.
pub struct Plan {
    /// The files.
    pub sorted: Sorted,
    /// podcov files.
    pub stores: Stores,
    /// What every thread knows.
    pub known: Known,
    /// Bytes of stdin, if `-` was named.
    pub stdin: Option<Vec<u8>>,
    /// What was set aside so far.
    pub findings: Vec<Finding>,
    /// How many threads read.
    pub jobs: usize,
    /// Tells apart machines.
    pub origin: String,
    /// Files that count so far.
    pub used: u64,
    /// Names of the meta-data files by hash.
    pub meta_files: BTreeMap<String, String>,
}

/// What was counted.
pub struct Gathered {
    /// By program.
    pub counted: Vec<Counted>,
    /// What was set aside, ordered.
    pub findings: Vec<Finding>,
    /// How many files count.
    pub used: u64,
    /// The reports among the files; they hold no counters to add up.
    pub reports: Vec<(String, Vec<u8>)>,
}

impl Plan {
    /// Finds the files and reads what others are read by.
    pub fn new(
        paths: &[PathBuf],
        reading: &Reading,
        wanted: Option<BTreeSet<Identity>>,
    ) -> Result<Plan, Failure> {
        let found = input::find(paths)?;
        let mut findings = found.findings;
        let mut buffer = Buffer::default();
        let stdin = match found.stdin {
            true => match buffer.read_stdin() {
                Ok(bytes) => Some(bytes.to_vec()),
                Err(finding) => {
                    findings.push(finding);
                    None
                }
            },
            false => None,
        };
        let mut sorted = sort::sort(found.files);
        findings.append(&mut sorted.findings);
        let limits = Limits::default();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = reading.jobs.map_or(threads, usize::from);
        let (metas, meta_files) = read_metas(&sorted.metas, jobs, &mut findings);
        let mut known = Known {
            metas,
            wanted,
            limits,
        };
        let stores = Stores::read(&sorted.stores, &stdin, &limits, &mut findings);
        stores.lend_metas(&mut known.metas);
        Ok(Plan {
            jobs,
            origin: reading.origin.clone(),
            used: stores.len() as u64,
            sorted,
            stores,
            known,
            stdin,
            findings,
            meta_files,
        })
    }

    /// Adds everything up.
    pub fn gather(self) -> Gathered {
        let Plan {
            sorted,
            stores,
            known,
            stdin,
            mut findings,
            jobs,
            origin,
            used,
            meta_files,
        } = self;
        let mut reports = Vec::new();
        let mut buffer = Buffer::default();
        for source in &sorted.reports {
            match buffer.read(&source.path) {
                Ok(bytes) => reports.push((source.path.display().to_string(), bytes.to_vec())),
                Err(finding) => findings.push(finding),
            }
        }
        let (bulk, again) = stores.split(sorted.bulk, &origin);
        let mut worker = read_all(&known, &bulk, jobs);
        match stdin {
            Some(bytes) if stores.holds_stdin(&bytes) => {}
            Some(bytes) if sort::is_report(&bytes) => reports.push(("-".to_owned(), bytes)),
            Some(bytes) => worker.add("-".as_ref(), &bytes),
            None => {}
        }
        for files in &sorted.snapshots {
            snapshots::add(&mut worker, files);
        }
        stores.add(&mut worker.totals, &known, &again, &origin, &mut findings);
        findings.append(&mut worker.findings);
        let used = used + worker.used;
        let (totals, lost) = sums(worker, &known, jobs, &mut findings);
        let has_counts: BTreeSet<String> = totals
            .sums()
            .filter_map(|sum| meta_of(&sum.shape))
            .map(|shape| shape.meta.hash.clone())
            .collect();
        findings.extend(without_counters(&meta_files, |hash| {
            has_counts.contains(hash)
        }));
        let counted = totals.finish();
        for one in &counted {
            let program = one.program.to_string();
            findings.extend(conflicting(&program, &one.conflicts));
        }
        findings.sort();
        findings.dedup();
        Gathered {
            // What was set aside counts profiles, of which a file may hold many.
            used: match counted.is_empty() {
                true => 0,
                false => used.saturating_sub(lost).max(1),
            },
            counted,
            findings,
            reports,
        }
    }
}

/// Brings the sums of all formats together; gives how many files were set
/// aside on the way.
fn sums(
    worker: Worker<'_>,
    known: &Known,
    jobs: usize,
    findings: &mut Vec<Finding>,
) -> (Totals, u64) {
    let mut totals = worker.totals;
    let aside = worker.raw.finish(&known.limits, jobs, &mut totals);
    let lost = tell(aside, findings);
    for (hash, sum) in &worker.go {
        if let Some(named) = known.metas.get(hash) {
            let counts: Vec<u64> = sum.counts().iter().map(|n| u64::from(*n)).collect();
            totals.add_dense(named, &counts, sum.files());
        }
    }
    (totals, lost)
}

/// Reads the files with several threads.
fn read_all<'k>(known: &'k Known, bulk: &[Source], jobs: usize) -> Worker<'k> {
    let bar = bar(bulk.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut worker = Worker::new(known);
        let mut buffer = Buffer::default();
        loop {
            let from = next.fetch_add(STEP, Ordering::Relaxed);
            let Some(files) = bulk.get(from..(from + STEP).min(bulk.len())) else {
                break;
            };
            if files.is_empty() {
                break;
            }
            for source in files {
                match buffer.read(&source.path) {
                    Ok(bytes) => worker.add(&source.path, bytes),
                    Err(finding) => worker.findings.push(finding),
                }
            }
            bar.inc(files.len() as u64);
        }
        worker
    };
    let jobs = jobs.min(bulk.len().div_ceil(STEP)).max(1);
    let whole = std::thread::scope(|scope| {
        let others: Vec<_> = (1..jobs).map(|_| scope.spawn(work)).collect();
        let mut worker = work();
        for other in others {
            match other.join() {
                Ok(other) => worker.absorb(other),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        worker
    });
    bar.finish_and_clear();
    whole
}

/// A bar on stderr, where someone can see it and there is something to see.
pub fn bar(files: usize) -> ProgressBar {
    if files < BAR_FROM {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(files as u64), ProgressDrawTarget::stderr());
    if let Ok(look) = ProgressStyle::with_template("  {pos} of {len} files {wide_bar} {eta}") {
        bar.set_style(look);
    }
    bar
}

/// Meta-data by hash, and the first file of each. Every process writes them
/// again: files that are the same byte by byte as one before need no second
/// look, and are compared by several threads.
fn read_metas(
    sources: &[Source],
    jobs: usize,
    findings: &mut Vec<Finding>,
) -> (Metas, BTreeMap<String, String>) {
    let (mut metas, mut files) = (Metas::new(), BTreeMap::new());
    let mut names = BTreeSet::new();
    let (first, again): (Vec<&Source>, Vec<&Source>) = sources
        .iter()
        .partition(|source| names.insert(source.name()));
    let mut buffer = Buffer::default();
    let mut read = |source: &Source, metas: &mut Metas| {
        let path = source.path.display().to_string();
        let result = buffer.read(&source.path).and_then(|bytes| {
            if bytes.is_empty() {
                return Err(super::worker::empty(&path));
            }
            let shape = MetaShape::read(bytes).map_err(|error| Finding::parse(&path, &error))?;
            let hash = &shape.meta.hash;
            match metas.get(hash).and_then(meta_of) {
                Some(known) if known.bytes == bytes => Ok(None),
                Some(_) => {
                    let text = format!("other content than another covmeta.{hash}");
                    Err(Finding::new(Kind::Shape, &path, text))
                }
                None => Ok(Some(shape)),
            }
        });
        match result {
            Ok(None) => {}
            Ok(Some(shape)) => {
                let hash = shape.meta.hash.clone();
                metas.insert(hash.clone(), Named::new(Shape::Go(shape)));
                files.insert(hash, path);
            }
            Err(finding) => findings.push(finding),
        }
    };
    for source in first {
        read(source, &mut metas);
    }
    for index in others(&metas, &again, jobs) {
        if let Some(source) = again.get(index) {
            read(source, &mut metas);
        }
    }
    (metas, files)
}

/// Those of the files that are not the same as meta-data that are known.
fn others(metas: &Metas, again: &[&Source], jobs: usize) -> BTreeSet<usize> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = Buffer::default();
        let mut others = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(source) = again.get(index) else {
                return others;
            };
            let is_same = buffer.read(&source.path).is_ok_and(|bytes| {
                let known = match Part::of(bytes) {
                    Some(Part::Meta(hash)) => metas.get(&hash).and_then(meta_of),
                    _ => None,
                };
                known.is_some_and(|known| known.bytes == bytes)
            });
            if !is_same {
                others.push(index);
            }
        }
    };
    std::thread::scope(|scope| {
        let jobs = jobs.min(again.len().div_ceil(STEP)).max(1);
        let threads: Vec<_> = (1..jobs).map(|_| scope.spawn(work)).collect();
        let mut all: BTreeSet<usize> = work().into_iter().collect();
        for thread in threads {
            match thread.join() {
                Ok(more) => all.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

/// Meta-data whose program left no counters.
pub fn without_counters(
    files: &BTreeMap<String, String>,
    is_counted: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let alone = files.iter().filter(|(hash, _)| !is_counted(hash));
    let text = "meta-data alone: its processes were stopped before they wrote what they did";
    alone
        .map(|(hash, path)| {
            Finding::new(Kind::NoCounters, path, text).expected(format!("covcounters.{hash}.*"))
        })
        .collect()
}

/// The raw profiles that are like most of their build, and the others.
pub fn layouts(
    known: &Known,
    bulk: &[Source],
    stdin: Option<&[u8]>,
    jobs: usize,
) -> (RawTotals, Vec<Finding>) {
    let mut findings = Vec::new();
    // A name is only that, and the files of Go are many and read later.
    let can_be_raw = |source: &&Source| {
        let is_go = Name::parse(source.name()).is_some();
        !is_go || sort::head(&source.path).is_ok_and(|head| raw::is_raw(&head))
    };
    let bulk: Vec<Source> = bulk.iter().filter(can_be_raw).cloned().collect();
    let mut worker = read_all(known, &bulk, jobs);
    if let Some(bytes) = stdin {
        worker.add("-".as_ref(), bytes);
    }
    let mut kept = worker.raw;
    tell(kept.settle(), &mut findings);
    tell(kept.conflicts(), &mut findings);
    (kept, findings)
}

/// What was set aside of raw profiles, and how many files that is.
fn tell(aside: Vec<SetAside>, findings: &mut Vec<Finding>) -> u64 {
    let functions = |(functions, counters): (usize, usize)| {
        format!("{functions} functions, {counters} counters")
    };
    let mut lost = 0;
    for one in aside {
        match one {
            SetAside::Layout {
                ids,
                labels,
                pieces,
                known,
                other,
                undecided,
            } => {
                if !undecided {
                    lost += pieces;
                }
                let build: Vec<String> = ids.iter().map(ToString::to_string).collect();
                let build = build.join("+");
                let text = match (known == other, undecided) {
                    (_, true) => format!(
                        "{} that are not those of another profile of {build}; both are counted",
                        functions(other)
                    ),
                    (true, false) => format!("as many, but others: not those of {build}"),
                    (false, false) => format!("{}: not those of {build}", functions(other)),
                };
                for label in labels {
                    let finding = Finding::new(Kind::Shape, label, &text);
                    findings.push(finding.expected(functions(known)));
                }
            }
            SetAside::Names {
                labels,
                pieces,
                error,
            } => {
                lost += pieces;
                findings.extend(labels.iter().map(|label| Finding::parse(label, &error)));
            }
            SetAside::Function { labels, conflict } => {
                let conflict = [conflict];
                let of_label = |label| conflicting(label, &conflict);
                findings.extend(labels.iter().flat_map(|label| of_label(label)));
            }
        }
    }
    lost
}
