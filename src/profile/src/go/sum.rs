//! Counters of one build, added up.
//!
//! A [`Sum`] has one counter for each unit of the program, in the order of
//! [`Meta::units`], whatever the number of files. A file is read and checked
//! against the meta-data as a whole before anything of it is added, so a bad
//! file never leaves a trace. Adding is commutative and associative.
//!
//! Counters are of 32 bits, and a count stops at the largest, because Go's are
//! and its tools refuse larger ones; [`Sum::is_saturated`] says that one did.
//!
//! ```
//! use podcov_profile::go::{meta::read_meta, report::Report, sum::Sum};
//! # macro_rules! file { ($name:literal) => {
//! #     include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/go/", $name))
//! # } }
//! # let covmeta = file!("covmeta.365db558e60f45db96600bc1c17ccd6e");
//! # let one_run = file!("covcounters.365db558e60f45db96600bc1c17ccd6e.2384.1795257547508204385");
//! # let another = file!("covcounters.365db558e60f45db96600bc1c17ccd6e.2388.1795257547510821171");
//! let meta = read_meta(covmeta)?;
//! let mut sum = Sum::new(&meta);
//! sum.add(one_run)?;
//! sum.add(another)?;
//! assert_eq!(sum.segments(), 2);
//!
//! let report = Report::new([&sum])?;
//! for (package, statements) in report.percent() {
//!     println!("{package}: {} of {}", statements.covered, statements.total);
//! }
//! // What go tool cover reads, and what go tool covdata reads.
//! report.write_text(&mut std::io::stdout())?;
//! let covcounters = sum.to_counters();
//! # assert_eq!(Sum::new(&meta).add(&covcounters)?.segments, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::Range;

use crate::error::ParseError;
use crate::go::counters::{self, CounterFile, Head, Origin, Segment, Sink};
use crate::go::live::Live;
use crate::go::meta::{Function, Meta, Misfit};
use crate::go::{VERSION, push_strings, push_uleb};

/// Why counters were not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// They do not hold what they claim.
    #[error(transparent)]
    Damaged(#[from] ParseError),
    /// They are not those of the program.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// What was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Runs of the program.
    pub segments: u64,
    /// Functions with counters; each time one is there counts.
    pub functions: u64,
    /// Places of a live file that were being written, and left out.
    pub torn: u64,
}

/// Counters of one build.
#[derive(Clone, Debug)]
pub struct Sum<'m> {
    meta: &'m Meta,
    counts: Vec<u32>,
    files: u64,
    segments: u64,
    is_saturated: bool,
    /// Of the files so far; what they do not agree on is none's.
    origin: Option<Origin>,
    stage: Stage,
}

/// A file before it is added.
#[derive(Clone, Debug, Default)]
struct Stage {
    counts: Vec<u32>,
    places: Vec<Range<u32>>,
    origin: Option<Origin>,
    segments: u64,
}

struct Staged<'s, 'm> {
    stage: &'s mut Stage,
    meta: &'m Meta,
}

impl Sink for Staged<'_, '_> {
    type Error = Refused;

    fn segment(&mut self, segment: &Segment<'_>) -> Result<(), Refused> {
        self.stage.segments += 1;
        join_origin(&mut self.stage.origin, &segment.origin);
        Ok(())
    }

    fn begin(&mut self, head: &Head) -> Result<&mut Vec<u32>, Refused> {
        let place = self
            .meta
            .place(head.package, head.function, head.counters)?;
        // There are less than 2^32 units, or the meta-data were refused.
        self.stage.places.push(place.start as u32..place.end as u32);
        Ok(&mut self.stage.counts)
    }

    fn end(&mut self, _: &Head) -> Result<(), Refused> {
        Ok(())
    }
}

/// As `argsmerge.go` of `cmd/covdata` does: what differs is dropped.
pub(crate) fn join_origin(known: &mut Option<Origin>, other: &Origin) {
    let Some(known) = known else {
        *known = Some(other.clone());
        return;
    };
    if known.os != other.os {
        known.os = None;
    }
    if known.arch != other.arch {
        known.arch = None;
    }
    if known.arguments != other.arguments {
        known.arguments = 0;
    }
}

impl<'m> Sum<'m> {
    /// No counts of a program yet.
    pub fn new(meta: &'m Meta) -> Sum<'m> {
        Sum {
            meta,
            counts: vec![0; meta.units().len()],
            files: 0,
            segments: 0,
            is_saturated: false,
            origin: None,
            stage: Stage::default(),
        }
    }

    /// Counts that were added up elsewhere.
    pub(crate) fn of(meta: &'m Meta, counts: &[u32], origin: &Origin) -> Sum<'m> {
        let mut sum = Sum::new(meta);
        sum.is_saturated = add_all(meta, &mut sum.counts, counts);
        sum.origin = Some(origin.clone());
        sum
    }

    /// Adds a `covcounters` file.
    ///
    /// # Errors
    /// Says why nothing of it was added: it is damaged, of another build, or
    /// has counters for what the program does not have.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Added, Refused> {
        self.add_file(&CounterFile::parse(bytes)?)
    }

    /// Adds a `covcounters` file whose header was read before.
    ///
    /// # Errors
    /// As [`Sum::add`].
    pub fn add_file(&mut self, file: &CounterFile<'_>) -> Result<Added, Refused> {
        self.fits(&file.hash)?;
        self.add_from(|sink| file.pour(sink).map(|()| 0))
    }

    /// Adds the counters of a process that runs or was killed.
    ///
    /// # Errors
    /// As [`Sum::add`].
    pub fn add_live(&mut self, live: &Live<'_>) -> Result<Added, Refused> {
        live.fits(self.meta)?;
        self.add_from(|sink| {
            sink.stage.segments = 1;
            Ok(live.pour(sink.meta, sink)?.torn)
        })
    }

    /// Adds counts of units, by their place in [`Meta::units`]; those of places
    /// that there are not are left out. They are of no file and no run.
    pub fn add_counts(&mut self, counts: &[(u32, u64)]) {
        let mode = self.meta.mode;
        for (place, count) in counts {
            if let Some(sum) = self.counts.get_mut(*place as usize) {
                *sum = mode.add(*sum, u32::try_from(*count).unwrap_or(u32::MAX));
            }
        }
    }

    fn fits(&self, hash: &str) -> Result<(), Misfit> {
        if hash == self.meta.hash {
            return Ok(());
        }
        Err(Misfit::Build {
            expected: self.meta.hash.clone(),
            found: hash.to_owned(),
        })
    }

    fn add_from(
        &mut self,
        pour: impl FnOnce(&mut Staged<'_, '_>) -> Result<u64, Refused>,
    ) -> Result<Added, Refused> {
        let stage = &mut self.stage;
        stage.counts.clear();
        stage.places.clear();
        (stage.origin, stage.segments) = (None, 0);
        let meta = self.meta;
        let torn = pour(&mut Staged { stage, meta })?;
        let mut counts = self.stage.counts.as_slice();
        for place in &self.stage.places {
            let place = place.start as usize..place.end as usize;
            let (own, rest) = counts.split_at_checked(place.len()).unwrap_or_default();
            counts = rest;
            let into = self.counts.get_mut(place).unwrap_or_default();
            self.is_saturated |= add_all(meta, into, own);
        }
        let added = Added {
            segments: self.stage.segments,
            functions: self.stage.places.len() as u64,
            torn,
        };
        self.files += 1;
        self.segments += added.segments;
        if let Some(origin) = self.stage.origin.take() {
            join_origin(&mut self.origin, &origin);
        }
        Ok(added)
    }

    /// Adds what another sum of the same build holds.
    ///
    /// # Errors
    /// When it is of another build, or of other meta-data of the same hash;
    /// nothing was added then.
    pub fn absorb(&mut self, other: &Sum<'_>) -> Result<(), Misfit> {
        self.fits(&other.meta.hash)?;
        if !std::ptr::eq(self.meta, other.meta) && self.meta != other.meta {
            return Err(Misfit::Meta {
                hash: self.meta.hash.clone(),
            });
        }
        self.is_saturated |= other.is_saturated;
        self.is_saturated |= add_all(self.meta, &mut self.counts, &other.counts);
        self.files += other.files;
        self.segments += other.segments;
        if let Some(origin) = &other.origin {
            join_origin(&mut self.origin, origin);
        }
        Ok(())
    }

    /// What the counters count.
    pub fn meta(&self) -> &'m Meta {
        self.meta
    }

    /// Counts of all units, in the order of [`Meta::units`].
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Counts of a function's units.
    pub fn counts_of(&self, function: &Function<'_>) -> &[u32] {
        self.counts.get(function.place()).unwrap_or_default()
    }

    /// The units that ran, by their place in [`Meta::units`], ascending. This is
    /// what one incarnation, phase or test reached.
    pub fn reached(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let numbered = self.counts.iter().enumerate();
        let ran = numbered.filter(|(_, count)| **count > 0);
        ran.map(|(place, count)| (place as u32, *count))
    }

    /// Files that were added.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Runs of the program that were added.
    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// Whether a count stopped at 2^32 - 1.
    pub fn is_saturated(&self) -> bool {
        self.is_saturated
    }

    /// Where all files come from: what they agree on.
    pub fn origin(&self) -> Origin {
        self.origin.clone().unwrap_or_default()
    }

    /// A `covcounters` file that `go tool covdata` reads: one segment, in ULEB,
    /// with the functions that ran, by package and function. Arguments are left
    /// out, operating system and architecture stay. The same counts give the
    /// same bytes.
    pub fn to_counters(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.counts.len() * 2);
        out.extend_from_slice(&counters::MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&bytes_of(&self.meta.hash));
        out.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
        let origin = self.origin();
        let mut strings = vec![""];
        for (key, value) in [("GOARCH", &origin.arch), ("GOOS", &origin.os)] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                strings.extend([key, value]);
            }
        }
        let mut preamble = Vec::new();
        push_strings(&mut preamble, strings.iter().copied());
        let strings_len = preamble.len();
        push_uleb(&mut preamble, strings.len() as u64 / 2);
        (1..strings.len()).for_each(|index| push_uleb(&mut preamble, index as u64));
        preamble.resize(preamble.len().next_multiple_of(4), 0);
        let mut functions = 0u64;
        let mut body = Vec::with_capacity(self.counts.len() * 2);
        for (package, of) in self.meta.packages().enumerate() {
            for (number, function) in of.functions().enumerate() {
                let counts = self.counts_of(&function);
                if counts.iter().all(|count| *count == 0) {
                    continue;
                }
                functions += 1;
                for value in [counts.len(), package, number] {
                    push_uleb(&mut body, value as u64);
                }
                for count in counts {
                    push_uleb(&mut body, u64::from(*count));
                }
            }
        }
        out.extend_from_slice(&functions.to_le_bytes());
        out.extend_from_slice(&(strings_len as u32).to_le_bytes());
        out.extend_from_slice(&((preamble.len() - strings_len) as u32).to_le_bytes());
        out.append(&mut preamble);
        out.append(&mut body);
        out.extend_from_slice(&counters::MAGIC);
        out.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        out
    }
}

/// Adds counts one by one; whether one stopped at the largest.
fn add_all(meta: &Meta, into: &mut [u32], counts: &[u32]) -> bool {
    let mode = meta.mode;
    let mut over = false;
    for (sum, count) in into.iter_mut().zip(counts) {
        let was = *sum;
        *sum = mode.add(was, *count);
        over |= sum.wrapping_sub(was) < *count && mode != crate::go::meta::Mode::Set;
    }
    over
}

/// Half a hex digit each.
fn bytes_of(hex: &str) -> [u8; 16] {
    u128::from_str_radix(hex, 16).unwrap_or(0).to_be_bytes()
}
