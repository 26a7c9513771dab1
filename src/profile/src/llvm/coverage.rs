//! Mapping and profile together: every function with its regions and counts.
//!
//! What llvm-cov-22 shows of the same evidence, this shows, with these
//! exceptions, each with a test in `tests/llvm_mapping_exceptions.rs`:
//! * A profile belongs to the programs it came from. Where programs have
//!   profiles of their own ([`Evidence`]), equal names in different programs
//!   are not mixed (llvm#148279), and the same function of several programs is
//!   one function whose counts add up.
//! * A function of the same name and files but another structure in a second
//!   program is kept beside the first (llvm#148673).
//! * The dummy of a function that another program compiled is left out,
//!   whichever comes first (llvm#160248).
//! * A count that is computed to be negative is 0 and a finding.
//! * What is left out is a [`Finding`]; llvm-cov only counts some of it.

use std::ops::Range;
use std::sync::Arc;

use super::counted::{Branch, Region, RegionKind};
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
    pub(super) symbols: u32,
    pub(super) name: (u32, u32),
    pub(super) files: Range<u32>,
    pub(super) regions: Range<u32>,
    pub(super) branches: Range<u32>,
    pub(super) decisions: Range<u32>,
}

/// The functions that refer to a file, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct ByFile {
    starts: Vec<u32>,
    functions: Vec<u32>,
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
        let files = self.files().len() as u32;
        if files <= 1 {
            return (files == 1).then_some(0);
        }
        let mut is_expanded = vec![false; files as usize];
        for region in self.regions() {
            if region.kind == RegionKind::Expansion
                && let Some(slot) = is_expanded.get_mut(region.expanded as usize)
            {
                *slot = true;
            }
        }
        let found = is_expanded.iter().position(|is_expanded| !is_expanded);
        found.map(|position| position as u32)
    }
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
        let by_file = &self.by_file;
        let start = by_file.starts.get(file as usize).copied().unwrap_or(0);
        let end = by_file.starts.get(file as usize + 1).copied().unwrap_or(0);
        let indices = part(&by_file.functions, &(start..end.max(start)));
        indices.iter().filter_map(|index| {
            Some(FunctionView {
                coverage: self,
                function: self.functions.get(*index as usize)?,
            })
        })
    }

    /// What did not fit together, in the order it was met.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(super) fn index(&self) -> ByFile {
        let mut starts = vec![0u32; self.files.len() + 1];
        let mut last = vec![u32::MAX; self.files.len()];
        let mut each = |found: &mut dyn FnMut(usize, u32)| {
            last.fill(u32::MAX);
            for (index, function) in self.functions.iter().enumerate() {
                for file in part(&self.function_files, &function.files) {
                    let file = *file as usize;
                    if let Some(last) = last.get_mut(file)
                        && *last != index as u32
                    {
                        *last = index as u32;
                        found(file, index as u32);
                    }
                }
            }
        };
        each(&mut |file, _| {
            if let Some(number) = starts.get_mut(file + 1) {
                *number += 1;
            }
        });
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut next = starts.clone();
        let mut functions = vec![0u32; sum as usize];
        each(&mut |file, index| {
            if let Some(next) = next.get_mut(file) {
                if let Some(slot) = functions.get_mut(*next as usize) {
                    *slot = index;
                }
                *next += 1;
            }
        });
        ByFile { starts, functions }
    }
}
