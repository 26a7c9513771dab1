//! What one thread adds up: one file after the other, each whole or not at
//! all, into sums that do not grow with their number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use podcov_profile::finding::{Finding, Kind};
use podcov_profile::go::counters::{CounterFile, is_counters};
use podcov_profile::go::live::{Live, is_live};
use podcov_profile::go::meta::is_meta;
use podcov_profile::go::sum::{Refused, Sum};
use podcov_profile::go::text;
use podcov_profile::llvm::profile::{Profile, ShapeConflict};
use podcov_profile::llvm::{indexed, raw, text as llvm_text};
use podcov_profile::merge::{RawTotals, Totals, of_text};
use podcov_profile::store::{MetaShape, Named, Shape, is_store};
use podcov_profile::{Identity, Limits, ParseError};

use super::sort::is_report;

/// Meta-data of Go by its hash.
pub type Metas = BTreeMap<String, Named>;

/// What every thread knows.
#[derive(Debug)]
pub struct Known {
    /// What counters of Go are read by.
    pub metas: Metas,
    /// The builds that count; all, where none was named.
    pub wanted: Option<BTreeSet<Identity>>,
    /// What files may claim.
    pub limits: Limits,
}

/// Sums of one thread.
pub struct Worker<'k> {
    known: &'k Known,
    /// Of raw profiles.
    pub raw: RawTotals,
    /// Of Go's counters, by hash.
    pub go: BTreeMap<String, Sum<'k>>,
    /// Of everything else.
    pub totals: Totals,
    /// What was set aside.
    pub findings: Vec<Finding>,
    /// How many files count.
    pub used: u64,
}

/// Meta-data that a shape holds.
pub fn meta_of(named: &Named) -> Option<&MetaShape> {
    match &**named.shape() {
        Shape::Go(shape) => Some(shape),
        _ => None,
    }
}

impl Known {
    /// Whether evidence of these builds counts; of a build that nothing names
    /// it does, or an object without a build id could never be told.
    pub fn check(&self, path: &str, ids: &[Identity]) -> Result<(), Finding> {
        let Some(wanted) = &self.wanted else {
            return Ok(());
        };
        if ids.is_empty() || ids.iter().any(|id| wanted.contains(id)) {
            return Ok(());
        }
        let list = |ids: &mut dyn Iterator<Item = &Identity>| {
            ids.map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" or ")
        };
        let finding = Finding::new(Kind::Foreign, path, list(&mut ids.iter()));
        Err(finding.expected(list(&mut wanted.iter())))
    }

    /// The meta-data that counters of this hash are read by.
    pub fn meta(&self, path: &str, hash: &str) -> Result<&MetaShape, Finding> {
        let named = self.metas.get(hash);
        named.and_then(meta_of).ok_or_else(|| {
            Finding::new(Kind::NoMeta, path, format!("counters of covmeta.{hash}"))
                .expected("that file among those that are named")
        })
    }

    /// A text profile of LLVM, and its functions that come in two shapes.
    pub fn llvm_text(&self, path: &str, bytes: &[u8]) -> Result<(Profile, Vec<Finding>), Finding> {
        let read = llvm_text::read(bytes, &self.limits);
        let (profile, conflicts) = read.map_err(|error| Finding::parse(path, &error))?;
        Ok((profile, conflicting(path, &conflicts)))
    }

    /// The profiles of a raw file, all of them sound and wanted.
    pub fn raw_parts<'b>(
        &self,
        path: &str,
        bytes: &'b [u8],
    ) -> Result<Vec<raw::Part<'b>>, Finding> {
        let parts: Result<Vec<_>, ParseError> = raw::parts(bytes, &self.limits).collect();
        let parts = parts.map_err(|error| Finding::parse(path, &error))?;
        for part in &parts {
            self.check(path, part.build_ids())?;
        }
        // Of one part its first sum sees to it.
        if parts.len() > 1 {
            for record in parts.iter().flat_map(raw::Part::records) {
                record.map_err(|error| Finding::parse(path, &error))?;
            }
        }
        Ok(parts)
    }
}

/// The hash of the meta-data that a mapped file's counters are read by.
pub fn build_of<'l>(path: &str, live: &'l Live<'_>) -> Result<&'l str, Finding> {
    live.hash.as_deref().ok_or_else(|| {
        let build = live.identity().map(|id| format!(" of {id}"));
        let build = build.unwrap_or_default();
        let text = format!("a process{build} that ended before it could say its meta-data");
        Finding::new(Kind::NoMeta, path, text)
            .expected("`podcov merge` of its run, whose bundle knows the build")
    })
}

/// The functions that a file holds in two shapes.
pub fn conflicting(path: &str, conflicts: &[ShapeConflict]) -> Vec<Finding> {
    let shape = |(counters, bytes): (usize, usize)| match bytes {
        0 => format!("{counters} counters"),
        _ => format!("{counters} counters and {bytes} bytes of bitmap"),
    };
    let told = |conflict: &ShapeConflict| {
        let function = conflict.function.name;
        let text = format!("function {function:016x} with {}", shape(conflict.other));
        Finding::new(Kind::Shape, path, text).expected(shape(conflict.known))
    };
    conflicts.iter().map(told).collect()
}

/// Why counters were not added.
pub fn refused(path: &str, error: &Refused) -> Finding {
    match error {
        Refused::Damaged(error) => Finding::parse(path, error),
        Refused::Misfit(misfit) => Finding::new(Kind::Shape, path, misfit.to_string()),
    }
}

/// What holds nothing.
pub fn empty(path: &str) -> Finding {
    Finding::new(
        Kind::Empty,
        path,
        "the file is empty: its process was stopped before it wrote",
    )
}

/// What is no profile.
pub fn no_profile(path: &str, bytes: &[u8]) -> Finding {
    if bytes.is_empty() {
        return empty(path);
    }
    let found = match () {
        () if is_store(bytes) => "a podcov file whose name says that it is a profile",
        () if is_meta(bytes) => "meta-data of Go whose name says that it is a profile",
        () if is_report(bytes) => "a report, of which only lines can be brought together",
        () if bytes.starts_with(b"\x7fELF") => "a program; name it with --object",
        () => "no format of coverage that podcov knows",
    };
    Finding::new(Kind::Unknown, path, found).expected("a profile or counters")
}

impl<'k> Worker<'k> {
    /// Nothing yet.
    pub fn new(known: &'k Known) -> Self {
        Worker {
            known,
            raw: RawTotals::default(),
            go: BTreeMap::new(),
            totals: Totals::default(),
            findings: Vec::new(),
            used: 0,
        }
    }

    /// What every thread knows.
    pub fn known(&self) -> &'k Known {
        self.known
    }

    /// Adds the file at `path` that holds `bytes`, or says why not.
    pub fn add(&mut self, path: &Path, bytes: &[u8]) {
        // Most paths are text, and most files sound: nothing is allocated.
        match self.try_add(&path.to_string_lossy(), bytes) {
            Ok(()) => self.used += 1,
            Err(finding) => self.findings.push(finding),
        }
    }

    fn try_add(&mut self, path: &str, bytes: &[u8]) -> Result<(), Finding> {
        let parse = |error: ParseError| Finding::parse(path, &error);
        if raw::is_raw(bytes) {
            for part in self.known.raw_parts(path, bytes)? {
                self.raw.add(&part, path).map_err(parse)?;
            }
        } else if is_counters(bytes) {
            let file = CounterFile::parse(bytes).map_err(parse)?;
            let sum = self.sum(path, &file.hash)?;
            sum.add_file(&file).map_err(|error| refused(path, &error))?;
        } else if is_live(bytes) {
            let live = Live::parse(bytes).map_err(parse)?;
            let sum = self.sum(path, build_of(path, &live)?)?;
            sum.add_live(&live).map_err(|error| refused(path, &error))?;
        } else if indexed::is_indexed(bytes) {
            let read = indexed::read(bytes, &self.known.limits).map_err(parse)?;
            let ids: Vec<Identity> = read.profile.binary_ids.iter().cloned().collect();
            self.known.check(path, &ids)?;
            self.findings.extend(conflicting(path, &read.conflicts));
            self.totals.add_profile(read.profile, 1);
        } else if text::is_text(bytes) {
            let profile = text::Profile::parse(bytes).map_err(parse)?;
            let (shape, vector) = of_text(&profile);
            self.totals.add(&shape, &vector, 1);
        } else if llvm_text::is_text(bytes) {
            let (profile, conflicts) = self.known.llvm_text(path, bytes)?;
            self.findings.extend(conflicts);
            self.totals.add_profile(profile, 1);
        } else {
            return Err(no_profile(path, bytes));
        }
        Ok(())
    }

    /// The sum of a build of Go.
    pub fn sum(&mut self, path: &str, hash: &str) -> Result<&mut Sum<'k>, Finding> {
        if !self.go.contains_key(hash) {
            let meta = self.known.meta(path, hash)?;
            self.known
                .check(path, &[Identity::Covmeta(hash.to_owned())])?;
            self.go.insert(hash.to_owned(), Sum::new(&meta.meta));
        }
        self.go.get_mut(hash).ok_or_else(|| no_profile(path, &[]))
    }

    /// Adds what another thread has.
    pub fn absorb(&mut self, other: Worker<'k>) {
        self.raw.absorb(other.raw);
        self.totals.absorb(other.totals);
        self.findings.extend(other.findings);
        self.used += other.used;
        for (hash, theirs) in other.go {
            match self.go.get_mut(&hash) {
                // Both are of one value of meta-data.
                Some(ours) => {
                    if let Err(misfit) = ours.absorb(&theirs) {
                        let text = misfit.to_string();
                        self.findings.push(Finding::new(Kind::Shape, hash, text));
                    }
                }
                None => {
                    self.go.insert(hash, theirs);
                }
            }
        }
    }
}
