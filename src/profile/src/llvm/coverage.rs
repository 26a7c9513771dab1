//! Mapping and profile together: every function with its regions and counts.
//!
//! What llvm-cov-22 shows of the same evidence, this shows, with these
//! exceptions, each with a test in `tests/llvm_mapping`:
//! * A profile belongs to the programs it came from. Where programs have
//!   profiles of their own ([`Evidence`]), equal names in different programs
//!   are not mixed (llvm#148279), and the same function of several programs is
//!   one function whose counts add up.
//! * A function of the same name and files but another structure in a second
//!   program is kept beside the first (llvm#148673).
//! * The dummy of a function that another program compiled is left out,
//!   whichever comes first (llvm#160248).
//! * A count that is computed to be negative is 0 and a finding.
//! * A function that is not in the profile keeps its conditions; llvm-cov drops
//!   it when a condition refers to a counter that no code does.
//! * Absolute paths of Windows are told by their form on every machine.
//! * What is left out is a [`Finding`]; llvm-cov only counts some of it.
//!
//! ```no_run
//! use podcov_profile::Limits;
//! use podcov_profile::llvm::coverage::{Coverage, Evidence, Options};
//! use podcov_profile::llvm::mapping::{Mapping, Paths};
//! use podcov_profile::llvm::{indexed, lcov::LcovOptions, object};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::default();
//! let program = std::fs::read("target/debug/operator")?;
//! let profile = indexed::read(&std::fs::read("merged.profdata")?, &limits)?.profile;
//! // One object, or those of an archive.
//! let objects = object::read(program.as_slice(), "operator", None, &limits)?;
//! let mapping = Mapping::read(&objects[0], Paths::default(), &limits)?;
//! let evidence = Evidence {
//!     mappings: &[&mapping],
//!     profile: &profile,
//! };
//! let coverage = Coverage::new(&[evidence], &Options::default())?;
//! for finding in coverage.findings() {
//!     eprintln!("{finding}");
//! }
//! coverage.write_lcov(&LcovOptions::default(), std::io::stdout())?;
//! # Ok(())
//! # }
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::counted::{Branch, Region};
use super::finding::Finding;
use super::join::join;
use super::mapping::Mapping;
use super::mcdc::Decision;
use super::profile::Profile;
use super::symbols::Symbols;
use crate::error::ParseError;

/// Programs, and the profile that was taken of them and of nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'e, 'm> {
    /// One, or, as with `llvm-cov -object`, several that share a profile.
    pub mappings: &'e [&'e Mapping<'m>],
    /// Their counts.
    pub profile: &'e Profile,
}

/// What to look at.
#[derive(Clone, Copy, Default)]
pub struct Options<'o> {
    /// Which files, by name; functions without any of them cost next to
    /// nothing. `None`: all.
    pub keep: Option<&'o dyn Fn(&str) -> bool>,
}

/// Every function of some programs with its counts. Regions of all functions
/// lie in one list, so that a large program stays small.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    pub(super) symbols: Vec<Arc<Symbols>>,
    /// Names of the files that functions refer to, ordered.
    pub(super) files: Vec<String>,
    /// Those among them that were asked for.
    pub(super) kept: Vec<bool>,
    pub(super) functions: Vec<Function>,
    /// Indices into `files`.
    pub(super) function_files: Vec<u32>,
    pub(super) regions: Vec<Region>,
    pub(super) branches: Vec<Branch>,
    pub(super) decisions: Vec<Decision>,
    pub(super) findings: Vec<Finding>,
    pub(super) by_file: ByFile,
}

/// Where the parts of a function are in the lists of [`Coverage`].
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) main: Option<u32>,
    pub(super) symbols: u32,
    pub(super) name: (u32, u32),
    pub(super) files: Range<u32>,
    pub(super) regions: Range<u32>,
    pub(super) branches: Range<u32>,
    pub(super) decisions: Range<u32>,
}

/// The functions that refer to a file, in their order, with the position of
/// the file in theirs; one that refers to it twice is there twice.
#[derive(Clone, Debug, Default)]
pub(super) struct ByFile {
    starts: Vec<u32>,
    places: Vec<(u32, u32)>,
}

/// A function as compiled: one instantiation of it.
#[derive(Clone, Copy, Debug)]
pub struct FunctionView<'c> {
    coverage: &'c Coverage,
    function: &'c Function,
}

impl<'c> FunctionView<'c> {
    /// Mangled; a local function has its file and a colon in front.
    pub fn name(&self) -> &'c [u8] {
        let (start, len) = self.function.name;
        let symbols = self.coverage.symbols.get(self.function.symbols as usize);
        symbols.map_or(&[], |symbols| symbols.at(start, len))
    }

    /// Indices into [`Coverage::files`]; regions refer to them by position.
    pub fn files(&self) -> &'c [u32] {
        part(&self.coverage.function_files, &self.function.files)
    }

    /// Its regions, as the compiler wrote them.
    pub fn regions(&self) -> &'c [Region] {
        part(&self.coverage.regions, &self.function.regions)
    }

    /// Its conditions.
    pub fn branches(&self) -> &'c [Branch] {
        part(&self.coverage.branches, &self.function.branches)
    }

    /// Its decisions (MC/DC).
    pub fn decisions(&self) -> &'c [Decision] {
        part(&self.coverage.decisions, &self.function.decisions)
    }

    /// How often it was called: the count of its first region.
    pub fn count(&self) -> u64 {
        self.regions().first().map_or(0, |region| region.count)
    }

    /// The file it is written in, as position in [`files`](Self::files): the
    /// first one that nothing expands to.
    pub fn main_file(&self) -> Option<u32> {
        self.function.main
    }

    /// Its regions in one of its files, by position.
    pub fn regions_in(&self, position: u32) -> &'c [Region] {
        // The compiler writes them file by file.
        between(self.regions(), position, |region| region.file)
    }

    /// Its conditions in one of its files, by position.
    pub fn branches_in(&self, position: u32) -> &'c [Branch] {
        between(self.branches(), position, |branch| branch.region.file)
    }
}

fn between<T>(all: &[T], file: u32, of: impl Fn(&T) -> u32) -> &[T] {
    let start = all.partition_point(|one| of(one) < file);
    let end = all.partition_point(|one| of(one) <= file);
    all.get(start..end).unwrap_or_default()
}

fn part<'c, T>(all: &'c [T], range: &Range<u32>) -> &'c [T] {
    all.get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

impl Coverage {
    /// Joins mappings with profiles.
    ///
    /// # Errors
    /// Records that are malformed, or over the limits. What does not fit
    /// together is no error but a [`Finding`].
    pub fn new(
        evidence: &[Evidence<'_, '_>],
        options: &Options<'_>,
    ) -> Result<Coverage, ParseError> {
        join(evidence, options)
    }

    /// Names of the files that were asked for and that functions refer to, by
    /// name, with their indices.
    pub fn kept_files(&self) -> impl Iterator<Item = (u32, &str)> {
        let all = self.files.iter().zip(&self.kept).enumerate();
        all.filter(|(_, (_, kept))| **kept)
            .map(|(index, (name, _))| (index as u32, name.as_str()))
    }

    /// Names of all files that functions refer to, ordered.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Name of a file.
    pub fn file_name(&self, file: u32) -> &str {
        self.files.get(file as usize).map_or("", String::as_str)
    }

    /// The functions, in the order of the programs.
    pub fn functions(&self) -> impl Iterator<Item = FunctionView<'_>> {
        let view = |function| FunctionView {
            coverage: self,
            function,
        };
        self.functions.iter().map(view)
    }

    /// The functions that have a part in a file, in the same order.
    pub fn functions_of(&self, file: u32) -> impl Iterator<Item = FunctionView<'_>> {
        let mut before = None;
        let places = self.places(file).iter();
        places.filter_map(move |(index, _)| {
            let is_new = before.replace(*index) != Some(*index);
            if is_new { self.function(*index) } else { None }
        })
    }

    /// The functions that have a part in a file, with the position that it has
    /// among theirs.
    pub(super) fn parts_of(&self, file: u32) -> impl Iterator<Item = (FunctionView<'_>, u32)> {
        let places = self.places(file).iter();
        places.filter_map(|(index, position)| Some((self.function(*index)?, *position)))
    }

    fn places(&self, file: u32) -> &[(u32, u32)] {
        let start = |file: usize| self.by_file.starts.get(file).copied().unwrap_or(0);
        let (start, end) = (start(file as usize), start(file as usize + 1));
        part(&self.by_file.places, &(start..end.max(start)))
    }

    fn function(&self, index: u32) -> Option<FunctionView<'_>> {
        Some(FunctionView {
            coverage: self,
            function: self.functions.get(index as usize)?,
        })
    }

    /// What did not fit together, in the order it was met.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(super) fn index(&self) -> ByFile {
        let mut starts = vec![0u32; self.files.len() + 1];
        for file in &self.function_files {
            if let Some(number) = starts.get_mut(*file as usize + 1) {
                *number += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut places = vec![(0, 0); self.function_files.len()];
        for (index, function) in self.functions.iter().enumerate() {
            let files = part(&self.function_files, &function.files);
            for (position, file) in files.iter().enumerate() {
                let Some(next) = next.get_mut(*file as usize) else {
                    continue;
                };
                if let Some(slot) = places.get_mut(*next as usize) {
                    *slot = (index as u32, position as u32);
                }
                *next += 1;
            }
        }
        ByFile { starts, places }
    }
}
