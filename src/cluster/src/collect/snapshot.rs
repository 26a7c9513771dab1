//! What processes counted while they run: their files are read, as they are
//! mapped, and what was added since the last look is told.
//!
//! Nothing is written, truncated or stopped; of a raw profile that is known
//! only the counters are read. A file that is not whole yet is looked at again
//! the next time, so its counts come then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use podcov_profile::bytes::Endian;
use podcov_profile::go::counters::CounterFile;
use podcov_profile::go::files::Name;
use podcov_profile::go::live::Live;
use podcov_profile::go::meta::{Meta, read_meta};
use podcov_profile::go::sum::Sum;
use podcov_profile::llvm::raw;
use podcov_profile::phases::{Counts, Delta, FileDelta, Shape, add, advance};

use super::walk::{Dir, Root, walk};
use super::{Error, Limits};

/// A raw profile's header is no longer.
const HEAD: usize = 160;

/// What is known of all files so far.
pub struct Snapshots {
    root: Root,
    path: std::path::PathBuf,
    limits: Limits,
    llvm: BTreeMap<String, Llvm>,
    go: BTreeMap<Process, Counts>,
    metas: BTreeMap<String, Meta>,
    /// Folders of processes that have ended.
    ended: BTreeSet<String>,
    /// Those of them that said all.
    done: BTreeSet<String>,
}

/// A raw profile.
struct Llvm {
    size: u64,
    head: Vec<u8>,
    sections: Vec<Range<usize>>,
    endian: Endian,
    counts: Counts,
}

/// A Go process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    /// The incarnation's folder.
    dir: String,
    hash: String,
    pid: u64,
    /// When it began to keep its counters in a file that is mapped over them.
    /// One that replaced itself (exec) kept its process id and has another.
    mapped_since: Option<u64>,
}

/// The newest of the files in which a Go process has all its counts.
struct Newest {
    path: String,
    /// When it was written.
    nanos: u64,
    counts: Counts,
    torn: bool,
    units: u32,
}

impl Snapshots {
    /// Nothing is known of what is in this folder of evidence: the first look
    /// tells all counts.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn new(evidence: &Path) -> Result<Snapshots, Error> {
        Ok(Snapshots {
            root: Root::open(evidence)?,
            path: evidence.to_owned(),
            limits: Limits::default(),
            llvm: BTreeMap::new(),
            go: BTreeMap::new(),
            metas: BTreeMap::new(),
            ended: BTreeSet::new(),
            done: BTreeSet::new(),
        })
    }

    /// What was added since the last look, by path. A file that cannot be read
    /// is passed over; the collection tells what is wrong with it.
    ///
    /// # Errors
    /// When the folder cannot be walked.
    pub fn take(&mut self) -> Result<Vec<FileDelta>, Error> {
        // They are told when the evidence is collected.
        let mut findings = Vec::new();
        let dirs = walk(&self.path, &self.limits, &mut findings)?;
        let mut deltas = Vec::new();
        for dir in dirs {
            if self.done.contains(&dir.path) {
                continue;
            }
            let before = deltas.len();
            self.profiles(&dir, &mut deltas);
            self.processes(&dir, &mut deltas);
            // A child that outlives the incarnation's first process may go on
            // to count; one that counted nothing between two looks is gone.
            let record = format!("{}/exit.json", dir.path);
            let has_ended = dir.entries.iter().any(|entry| entry.path == record);
            if has_ended && !self.ended.insert(dir.path.clone()) && deltas.len() == before {
                self.forget(&dir.path);
            }
        }
        Ok(deltas)
    }

    fn forget(&mut self, dir: &str) {
        self.done.insert(dir.to_owned());
        let below = format!("{dir}/");
        self.llvm.retain(|path, _| !path.starts_with(&below));
        self.go.retain(|process, _| process.dir != dir);
    }

    fn profiles(&mut self, dir: &Dir, deltas: &mut Vec<FileDelta>) {
        for entry in &dir.entries {
            let is_profile = entry.path.ends_with(".profraw") && entry.size > 0;
            if !is_profile || entry.refused.is_some() || entry.same_as.is_some() {
                continue;
            }
            let known = self.llvm.remove(&entry.path);
            let Some((now, counts)) = self.read_profile(&entry.path, known.as_ref()) else {
                // Half of it is there, or it is damaged.
                self.llvm
                    .extend(known.map(|known| (entry.path.clone(), known)));
                continue;
            };
            let mut before = known.map_or(Counts::new(), |known| known.counts);
            let added = advance(&mut before, counts);
            let places: usize = now.sections.iter().map(|section| section.len() / 8).sum();
            if !added.is_empty() {
                deltas.push(FileDelta {
                    path: entry.path.clone(),
                    delta: Delta {
                        shape: Shape::Llvm,
                        places: u32::try_from(places).unwrap_or(u32::MAX),
                        counts: added,
                    },
                });
            }
            let now = Llvm {
                counts: before,
                ..now
            };
            self.llvm.insert(entry.path.clone(), now);
        }
    }

    /// Where the counters are, and what they count.
    fn read_profile(&self, path: &str, known: Option<&Llvm>) -> Option<(Llvm, Counts)> {
        let file = self.root.open_file(path).ok()?;
        let meta = file.metadata().ok().filter(|meta| meta.is_file())?;
        let mut head = vec![0; HEAD.min(usize::try_from(meta.len()).ok()?)];
        file.read_exact_at(&mut head, 0).ok()?;
        let mut counts = Counts::new();
        let same = known.filter(|known| known.size == meta.len() && known.head == head);
        if let Some(known) = same {
            let mut section = Vec::new();
            let mut before = 0;
            for place in &known.sections {
                section.resize(place.len(), 0);
                file.read_exact_at(&mut section, place.start as u64).ok()?;
                counts.extend(numbered(&section, known.endian, before));
                before += (place.len() / 8) as u32;
            }
            let now = Llvm {
                size: known.size,
                head,
                sections: known.sections.clone(),
                endian: known.endian,
                counts: Counts::new(),
            };
            return Some((now, counts));
        }
        let bytes = self.root.read(path, &self.limits).ok()?;
        let limits = podcov_profile::Limits::default();
        let (mut sections, mut endian, mut before) = (Vec::new(), Endian::Little, 0);
        for part in raw::parts(&bytes, &limits) {
            let part = part.ok()?;
            let place = part.counters_place();
            endian = part.endian();
            counts.extend(numbered(bytes.get(place.clone())?, endian, before));
            before += (place.len() / 8) as u32;
            sections.push(place);
        }
        let now = Llvm {
            size: bytes.len() as u64,
            head,
            sections,
            endian,
            counts: Counts::new(),
        };
        Some((now, counts))
    }

    fn processes(&mut self, dir: &Dir, deltas: &mut Vec<FileDelta>) {
        let mut newest: BTreeMap<Process, Newest> = BTreeMap::new();
        for entry in &dir.entries {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            let Some(name) = Name::parse(name).filter(|_| entry.refused.is_none()) else {
                continue;
            };
            let Some((process, found)) = self.read_counters(dir, &entry.path, &name) else {
                continue;
            };
            let is_older = newest
                .get(&process)
                .is_some_and(|other| found.nanos < other.nanos);
            if !is_older {
                newest.insert(process, found);
            }
        }
        // The mapped file of a process has all that it wrote otherwise.
        let mapped: BTreeSet<(String, u64)> = newest
            .keys()
            .filter(|process| process.mapped_since.is_some())
            .map(|process| (process.hash.clone(), process.pid))
            .collect();
        for (process, found) in newest {
            let has_mapped = mapped.contains(&(process.hash.clone(), process.pid));
            if has_mapped && process.mapped_since.is_none() {
                continue;
            }
            let known = self.go.entry(process.clone()).or_default();
            let mut now = found.counts;
            if found.torn {
                // What is being written was there before.
                let seen: BTreeSet<u32> = now.iter().map(|(place, _)| *place).collect();
                let hidden = known.iter().filter(|(place, _)| !seen.contains(place));
                let hidden: Counts = hidden.copied().collect();
                add(&mut now, &hidden);
            }
            let counts = advance(known, now);
            if !counts.is_empty() {
                deltas.push(FileDelta {
                    path: found.path,
                    delta: Delta {
                        shape: Shape::Go { hash: process.hash },
                        places: found.units,
                        counts,
                    },
                });
            }
        }
    }

    /// `None` of what cannot be read, or is of a process whose packages are not
    /// all there: it is read the next time.
    fn read_counters(&mut self, dir: &Dir, path: &str, name: &Name) -> Option<(Process, Newest)> {
        let (pid, nanos, is_mapped) = match name {
            Name::Counters { pid, nanos, .. } => (*pid, *nanos, false),
            Name::Live { pid, nanos } => (*pid, *nanos, true),
            Name::Meta { .. } | Name::Leftover => return None,
        };
        let bytes = self.root.read(path, &self.limits).ok()?;
        let live = match is_mapped {
            true => Some(Live::parse(&bytes).ok()?),
            false => None,
        };
        let hash = match &live {
            Some(live) => live.hash.clone()?,
            None => CounterFile::parse(&bytes).ok()?.hash,
        };
        let mut sum = Sum::new(self.meta(dir, &hash)?);
        let added = match &live {
            Some(live) => sum.add_live(live).ok()?,
            None => sum.add(&bytes).ok()?,
        };
        let counts = sum.reached().map(|(unit, count)| (unit, u64::from(count)));
        let newest = Newest {
            path: path.to_owned(),
            nanos,
            counts: counts.collect(),
            torn: added.torn > 0,
            units: u32::try_from(sum.counts().len()).unwrap_or(u32::MAX),
        };
        let process = Process {
            dir: dir.path.clone(),
            hash,
            pid,
            mapped_since: is_mapped.then_some(nanos),
        };
        Some((process, newest))
    }

    /// The meta-data that a process left beside its counters.
    fn meta(&mut self, dir: &Dir, hash: &str) -> Option<&Meta> {
        if !self.metas.contains_key(hash) {
            let name = format!("/covmeta.{hash}");
            let entries = dir.entries.iter().filter(|entry| entry.refused.is_none());
            let entry = entries
                .into_iter()
                .find(|entry| entry.path.ends_with(&name))?;
            let bytes = self.root.read(&entry.path, &self.limits).ok()?;
            self.metas.insert(hash.to_owned(), read_meta(&bytes).ok()?);
        }
        self.metas.get(hash)
    }
}

fn numbered(section: &[u8], endian: Endian, before: u32) -> impl Iterator<Item = (u32, u64)> + '_ {
    raw::counts_in(section, endian).map(move |(place, count)| (before + place, count))
}
