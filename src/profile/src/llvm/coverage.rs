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

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::counted::{Branch, Region, RegionKind};
use super::evaluate::{Evaluator, Fault};
use super::finding::Finding;
use super::mapping::{Mapping, Record};
use super::mcdc::{self, Budget, Decision, Pending, Seen};
use super::profile::{Counts, FunctionId, Profile};
use super::regions::{Regions, Term, read_files};
use super::symbols::Symbols;
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};

/// Lines that all functions may span together, beside 256 for each byte of
/// mapping: what is written out line by line has to end.
const LINES: u64 = 1 << 24;
/// Steps that MC/DC may take, beside 4096 for each byte of mapping.
const MCDC_STEPS: u64 = 1 << 26;

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
    symbols: Vec<Arc<Symbols>>,
    /// Names of the files that functions refer to, ordered.
    files: Vec<String>,
    /// Those among them that were asked for.
    kept: Vec<bool>,
    functions: Vec<Function>,
    /// Indices into `files`.
    function_files: Vec<u32>,
    regions: Vec<Region>,
    branches: Vec<Branch>,
    decisions: Vec<Decision>,
    findings: Vec<Finding>,
    by_file: ByFile,
}

#[derive(Clone, Debug)]
struct Function {
    symbols: u32,
    name: (u32, u32),
    files: Range<u32>,
    regions: Range<u32>,
    branches: Range<u32>,
    decisions: Range<u32>,
}

/// The functions that refer to a file, in their order.
#[derive(Clone, Debug, Default)]
struct ByFile {
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
        let mut builder = Builder::default();
        let bytes: u64 = evidence
            .iter()
            .flat_map(|one| one.mappings)
            .map(|mapping| mapping.size())
            .sum();
        builder.lines_left = LINES.saturating_add(bytes.saturating_mul(256));
        builder.budget = Budget(MCDC_STEPS.saturating_add(bytes.saturating_mul(4096)));
        let programs = evidence.iter().map(|one| one.mappings.len()).sum::<usize>();
        if programs > 1 {
            builder.compiled(evidence);
        }
        if evidence.len() > 1 {
            builder.shared(evidence);
        }
        for (group, one) in evidence.iter().enumerate() {
            for mapping in one.mappings {
                builder.add(group, mapping, one.profile, options)?;
            }
        }
        Ok(builder.finish())
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

    fn index(&self) -> ByFile {
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

/// What makes two records the same function of the same source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    name: u64,
    hash: u64,
    /// Of the names of files, and between profiles of the regions.
    place: u64,
}

#[derive(Default)]
struct Builder {
    coverage: Coverage,
    files: HashMap<String, u32>,
    known: HashSet<Key>,
    /// Names that some program compiled, when there are several programs.
    compiled: HashSet<u64>,
    /// Counts of functions that several profiles have.
    shared: HashMap<Key, Shared>,
    lines_left: u64,
    budget: Budget,
    regions: Regions,
    evaluator: Evaluator,
    pending: Pending,
}

struct Shared {
    /// The profile it was met in first.
    group: usize,
    counts: Option<Counts>,
    is_shared: bool,
}

impl Builder {
    fn compiled(&mut self, evidence: &[Evidence<'_, '_>]) {
        for mapping in evidence.iter().flat_map(|one| one.mappings) {
            let real = mapping.records().iter().filter(|record| !record.is_dummy);
            self.compiled.extend(real.map(|record| record.name));
        }
    }

    /// Adds up what several profiles say of one function.
    fn shared(&mut self, evidence: &[Evidence<'_, '_>]) {
        for (group, one) in evidence.iter().enumerate() {
            let mut seen = HashSet::new();
            for mapping in one.mappings {
                for record in mapping.records() {
                    let key = key(mapping, record, true);
                    if !seen.insert(key) {
                        continue;
                    }
                    let id = FunctionId {
                        name: record.name,
                        hash: record.hash,
                    };
                    let counts = one.profile.functions.get(&id);
                    match self.shared.entry(key) {
                        Entry::Vacant(entry) => {
                            entry.insert(Shared {
                                group,
                                counts: counts.cloned(),
                                is_shared: false,
                            });
                        }
                        Entry::Occupied(mut entry) => {
                            let shared = entry.get_mut();
                            shared.is_shared = true;
                            match (&mut shared.counts, counts) {
                                (Some(sum), Some(more)) if sum.shape() == more.shape() => {
                                    sum.absorb(more);
                                }
                                (Some(sum), Some(more)) => {
                                    let finding = Finding::Shapes {
                                        function: name_of(mapping, record),
                                        hash: record.hash,
                                        known: sum.shape(),
                                        other: more.shape(),
                                    };
                                    self.coverage.findings.push(finding);
                                }
                                (sum @ None, Some(more)) => *sum = Some(more.clone()),
                                (_, None) => {}
                            }
                        }
                    }
                }
            }
        }
        self.shared.retain(|_, shared| shared.is_shared);
    }

    fn add(
        &mut self,
        group: usize,
        mapping: &Mapping<'_>,
        profile: &Profile,
        options: &Options<'_>,
    ) -> Result<(), ParseError> {
        let wanted: Vec<bool> = match options.keep {
            Some(keep) => mapping.files().iter().map(|name| keep(name)).collect(),
            None => vec![true; mapping.files().len()],
        };
        let symbols = self.coverage.symbols.len() as u32;
        self.coverage.symbols.push(mapping.symbols().clone());
        for collision in mapping.collisions() {
            self.coverage.findings.push(Finding::Collision {
                reference: collision.reference,
                functions: collision.functions,
            });
        }
        // Names of the mapping's files as indices into those of the coverage.
        let mut ids: Vec<Option<u32>> = vec![None; mapping.files().len()];
        for record in mapping.records() {
            let place = |error| mapping.place(record, error);
            let bytes = mapping.bytes(record);
            let table = mapping.table(record);
            if options.keep.is_some() {
                let mut reader = Reader::new(bytes, Endian::Little);
                read_files(&mut reader, table.len(), &mut self.regions.files).map_err(place)?;
                let is_wanted = |file: &u32| {
                    let file = table.get(*file as usize).copied().unwrap_or_default();
                    wanted.get(file as usize) == Some(&true)
                };
                if !self.regions.files.iter().any(is_wanted) {
                    continue;
                }
            }
            if record.is_dummy && self.compiled.contains(&record.name) {
                continue;
            }
            let counts = match self.counts(group, mapping, record, profile) {
                Found::Counts(counts) => Some(counts),
                Found::Nothing => None,
                Found::LeaveOut => continue,
            };
            self.regions.decode(bytes, table.len()).map_err(place)?;
            self.check_lines(bytes.len()).map_err(place)?;
            let begun = self.begin();
            let counts = counts.as_deref();
            if !self.evaluate(mapping, record, counts) {
                self.undo(&begun);
                continue;
            }
            let name = self.name(mapping, record, table);
            let key = self.display_key(mapping, record, table, name);
            if !self.known.insert(key) {
                self.undo(&begun);
                continue;
            }
            for file in &self.regions.files {
                let file = table.get(*file as usize).copied().unwrap_or_default() as usize;
                let Some(slot) = ids.get_mut(file) else {
                    continue;
                };
                let id = match slot {
                    Some(id) => *id,
                    None => {
                        let name = mapping.files().get(file).cloned().unwrap_or_default();
                        let next = self.coverage.files.len() as u32;
                        let id = *self.files.entry(name.clone()).or_insert_with(|| {
                            self.coverage.files.push(name);
                            self.coverage.kept.push(wanted.get(file) == Some(&true));
                            next
                        });
                        *slot = Some(id);
                        id
                    }
                };
                self.coverage.function_files.push(id);
            }
            let coverage = &mut self.coverage;
            let function = Function {
                symbols,
                name,
                files: begun.files..coverage.function_files.len() as u32,
                regions: begun.regions..coverage.regions.len() as u32,
                branches: begun.branches..coverage.branches.len() as u32,
                decisions: begun.decisions..coverage.decisions.len() as u32,
            };
            coverage.functions.push(function);
        }
        Ok(())
    }

    /// Names of local functions carry the name of the file in front, which
    /// LLVM takes off where it is the whole name of the function's file.
    fn name(&self, mapping: &Mapping<'_>, record: &Record, table: &[u32]) -> (u32, u32) {
        let (start, len) = record.symbol;
        let first = self.regions.files.first();
        let first = first.and_then(|file| table.get(*file as usize));
        let file = first.and_then(|file| mapping.files().get(*file as usize));
        let name = mapping.symbols().at(start, len);
        match file {
            Some(file) if !file.is_empty() && name.starts_with(file.as_bytes()) => {
                let cut = (file.len() as u32 + 1).min(len);
                (start + cut, len - cut)
            }
            _ => (start, len),
        }
    }

    /// What LLVM tells two functions of one program by, and the structure.
    fn display_key(
        &self,
        mapping: &Mapping<'_>,
        record: &Record,
        table: &[u32],
        name: (u32, u32),
    ) -> Key {
        let is_whole = name == record.symbol;
        Key {
            name: if is_whole {
                record.name
            } else {
                super::symbols::hash(mapping.symbols().at(name.0, name.1))
            },
            hash: record.hash,
            place: hash_files(mapping, table, &self.regions.files),
        }
    }

    fn counts<'p>(
        &mut self,
        group: usize,
        mapping: &Mapping<'_>,
        record: &Record,
        profile: &'p Profile,
    ) -> Found<'p> {
        if !self.shared.is_empty()
            && let Some(shared) = self.shared.get(&key(mapping, record, true))
        {
            if shared.group != group {
                return Found::LeaveOut;
            }
            return match &shared.counts {
                Some(counts) => Found::Counts(std::borrow::Cow::Owned(counts.clone())),
                None => self.missing(mapping, record, profile),
            };
        }
        let id = FunctionId {
            name: record.name,
            hash: record.hash,
        };
        match profile.functions.get(&id) {
            Some(counts) => Found::Counts(std::borrow::Cow::Borrowed(counts)),
            None => self.missing(mapping, record, profile),
        }
    }

    /// A function that is not in the profile did not run, unless the profile
    /// has one of its name that is built otherwise.
    fn missing<'p>(
        &mut self,
        mapping: &Mapping<'_>,
        record: &Record,
        profile: &Profile,
    ) -> Found<'p> {
        let of_name = |hash| FunctionId {
            name: record.name,
            hash,
        };
        let others: Vec<(u64, (usize, usize))> = profile
            .functions
            .range(of_name(0)..=of_name(u64::MAX))
            .map(|(id, counts)| (id.hash, counts.shape()))
            .collect();
        if others.is_empty() {
            return Found::Nothing;
        }
        if !record.is_dummy {
            self.coverage.findings.push(Finding::HashMismatch {
                function: name_of(mapping, record),
                mapped: record.hash,
                counted: others,
            });
        }
        Found::LeaveOut
    }

    /// Keeps the number of lines that are written out in proportion.
    fn check_lines(&mut self, len: usize) -> Result<(), ParseError> {
        let first = self.regions.regions.iter().map(|r| r.start.0).min();
        let last = self.regions.regions.iter().map(|r| r.end.0).max();
        let lines = u64::from(last.unwrap_or(0).saturating_sub(first.unwrap_or(0)));
        match self.lines_left.checked_sub(lines) {
            Some(left) => {
                self.lines_left = left;
                Ok(())
            }
            None => Err(ParseError {
                kind: Kind::TooLarge,
                what: format!("a function of {lines} lines, {} are left", self.lines_left),
                offset: 0,
                len: len as u64,
            }),
        }
    }

    fn begin(&self) -> Begun {
        let coverage = &self.coverage;
        Begun {
            files: coverage.function_files.len() as u32,
            regions: coverage.regions.len() as u32,
            branches: coverage.branches.len() as u32,
            decisions: coverage.decisions.len() as u32,
        }
    }

    fn undo(&mut self, begun: &Begun) {
        let coverage = &mut self.coverage;
        coverage.regions.truncate(begun.regions as usize);
        coverage.branches.truncate(begun.branches as usize);
        coverage.decisions.truncate(begun.decisions as usize);
    }

    /// Adds the decoded regions with their counts; `false` leaves the function
    /// out.
    fn evaluate(
        &mut self,
        mapping: &Mapping<'_>,
        record: &Record,
        counts: Option<&Counts>,
    ) -> bool {
        let counters = counts.map(|counts| counts.counters.as_slice());
        let regions = &self.regions.regions;
        if let ([only], Some([first, ..])) = (regions.as_slice(), counters)
            && only.counter.is_zero()
            && *first > 0
        {
            // Never compiled here, but it ran: another program has the regions.
            return false;
        }
        let seen = Seen {
            bitmap: counts.map(|counts| counts.bitmap.as_slice()),
            by_values: mcdc::by_values(regions),
        };
        self.pending.clear();
        self.evaluator.begin(self.regions.expressions.len());
        let mut faults: Option<mcdc::Fault> = None;
        let mut negative: Option<(u32, u32)> = None;
        for region in regions {
            if region.kind == RegionKind::Decision {
                let added = self.pending.decision(region, &mut self.budget);
                faults = faults.or(added.err());
                continue;
            }
            let mut value = |counter| {
                let expressions = &self.regions.expressions;
                let value = self.evaluator.value(counter, expressions, counters)?;
                if value < 0 {
                    negative.get_or_insert(region.start);
                }
                Ok(u64::try_from(value.max(0)).unwrap_or(u64::MAX))
            };
            let both = value(region.counter)
                .and_then(|count| value(region.otherwise).map(|other| (count, other)));
            let (count, false_count) = match both {
                Ok(both) => both,
                Err(fault) => {
                    let finding = self.fault(mapping, record, fault, counters);
                    self.coverage.findings.push(finding);
                    return false;
                }
            };
            let counted = Region {
                start_line: region.start.0,
                start_column: region.start.1,
                end_line: region.end.0,
                end_column: region.end.1,
                count,
                file: region.file,
                expanded: region.expanded,
                kind: region.kind,
            };
            if !matches!(region.kind, RegionKind::Branch | RegionKind::McdcBranch) {
                self.coverage.regions.push(counted);
                if region.kind == RegionKind::Expansion {
                    let added = self.pending.expansion(region, &mut self.budget);
                    faults = faults.or(added.err());
                }
                continue;
            }
            self.coverage.branches.push(Branch {
                region: counted,
                false_count,
                true_folded: region.counter.is_zero(),
                false_folded: region.otherwise.is_zero(),
            });
            match self.pending.branch(region, &seen, &mut self.budget) {
                Ok(None) => {}
                Ok(Some(decision)) => self.coverage.decisions.push(decision),
                Err(fault) => faults = faults.or(Some(fault)),
            }
        }
        if let Some((line, column)) = negative {
            self.coverage.findings.push(Finding::Negative {
                function: name_of(mapping, record),
                line,
                column,
            });
        }
        if let Some(fault) = faults.or((!self.pending.is_empty()).then_some(mcdc::Fault::Graph)) {
            self.coverage.findings.push(Finding::Decision {
                function: name_of(mapping, record),
                what: match fault {
                    mcdc::Fault::Graph => "its conditions make no graph",
                    mcdc::Fault::Bitmap => "the profile has too small a bitmap for it",
                    mcdc::Fault::Size => "it is too large",
                },
            });
        }
        true
    }

    fn fault(
        &self,
        mapping: &Mapping<'_>,
        record: &Record,
        fault: Fault,
        counters: Option<&[u64]>,
    ) -> Finding {
        let function = name_of(mapping, record);
        match fault {
            Fault::Circle { expression } => Finding::Circle {
                function,
                expression,
            },
            Fault::Missing { .. } => {
                let expressions = &self.regions.expressions;
                let operands = expressions.iter().flat_map(|(left, right)| [left, right]);
                let regions = &self.regions.regions;
                let direct = regions.iter().flat_map(|r| [&r.counter, &r.otherwise]);
                let needed = operands.chain(direct).map(|counter| match counter.term() {
                    Term::Counter(index) => u64::from(index) + 1,
                    _ => 0,
                });
                Finding::Counters {
                    function,
                    hash: record.hash,
                    mapped: needed.max().unwrap_or(0),
                    counted: counters.map_or(0, <[u64]>::len) as u64,
                }
            }
        }
    }

    fn finish(mut self) -> Coverage {
        let coverage = &mut self.coverage;
        let mut order: Vec<u32> = (0..coverage.files.len() as u32).collect();
        order.sort_by(|a, b| {
            let name = |index: &u32| coverage.files.get(*index as usize);
            name(a).cmp(&name(b))
        });
        let mut place = vec![0u32; order.len()];
        for (at, file) in order.iter().enumerate() {
            if let Some(slot) = place.get_mut(*file as usize) {
                *slot = at as u32;
            }
        }
        for file in &mut coverage.function_files {
            *file = place.get(*file as usize).copied().unwrap_or_default();
        }
        let mut named: Vec<(String, bool)> = std::mem::take(&mut coverage.files)
            .into_iter()
            .zip(std::mem::take(&mut coverage.kept))
            .collect();
        named.sort();
        (coverage.files, coverage.kept) = named.into_iter().unzip();
        coverage.by_file = coverage.index();
        self.coverage
    }
}

struct Begun {
    files: u32,
    regions: u32,
    branches: u32,
    decisions: u32,
}

enum Found<'p> {
    Counts(std::borrow::Cow<'p, Counts>),
    /// It did not run.
    Nothing,
    LeaveOut,
}

fn name_of(mapping: &Mapping<'_>, record: &Record) -> String {
    let (start, len) = record.symbol;
    String::from_utf8_lossy(mapping.symbols().at(start, len)).into_owned()
}

/// The key of a record among several profiles: with what its regions are.
fn key(mapping: &Mapping<'_>, record: &Record, with_regions: bool) -> Key {
    let bytes = mapping.bytes(record);
    let mut reader = Reader::new(bytes, Endian::Little);
    let mut files = Vec::new();
    let table = mapping.table(record);
    let mut hasher = DefaultHasher::new();
    // What cannot be read is refused when it is decoded.
    if read_files(&mut reader, table.len(), &mut files).is_ok() {
        hash_files(mapping, table, &files).hash(&mut hasher);
    }
    if with_regions {
        bytes.get(reader.at()..).hash(&mut hasher);
    }
    Key {
        name: record.name,
        hash: record.hash,
        place: hasher.finish(),
    }
}

fn hash_files(mapping: &Mapping<'_>, table: &[u32], files: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let file = table.get(*file as usize).copied().unwrap_or_default();
        mapping.files().get(file as usize).hash(&mut hasher);
    }
    hasher.finish()
}
