//! Joins mappings with profiles: the work behind [`Coverage::new`].

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::counted::{Branch, Region, RegionKind};
use super::coverage::{Coverage, Evidence, Function, Options};
use super::evaluate::{Evaluator, Fault};
use super::finding::Finding;
use super::mapping::{Mapping, Record};
use super::mcdc::{self, Budget, Pending, Seen};
use super::names;
use super::profile::{Counts, FunctionId, Profile};
use super::regions::{Regions, Term, read_files};
use crate::bytes::{Endian, Reader};
use crate::error::{Kind, ParseError};

/// The bit of a function's hash that says of which kind its profile is.
const CONTEXT_SENSITIVE: u64 = 1 << 60;
/// Lines that all functions may span together, beside 256 for each byte of
/// mapping: what is written out line by line has to end.
const LINES: u64 = 1 << 24;
/// Steps that MC/DC may take, beside 64 for each byte of mapping.
const MCDC_STEPS: u64 = 1 << 24;

/// See [`Coverage::new`].
pub(super) fn join(
    evidence: &[Evidence<'_, '_>],
    options: &Options<'_>,
) -> Result<Coverage, ParseError> {
    let mappings = || evidence.iter().flat_map(|one| one.mappings);
    let bytes: u64 = mappings().map(|mapping| mapping.size()).sum();
    let mut builder = Builder {
        lines_left: LINES.saturating_add(bytes.saturating_mul(256)),
        budget: Budget(MCDC_STEPS.saturating_add(bytes.saturating_mul(64))),
        ..Builder::default()
    };
    // A region takes 5 bytes or more; without this, lists that grow are copied.
    let regions = usize::try_from(bytes / 12).unwrap_or_default();
    builder.coverage.regions.reserve(match options.keep {
        Some(_) => 0,
        None => regions,
    });
    if mappings().count() > 1 {
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
                    let key = key(mapping, record);
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
        let program = self.coverage.symbols.len() as u32;
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
            if !self.evaluate(mapping, record, counts, profile.has_old_bitmaps) {
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
                main: main_file(&self.regions),
                symbols: program,
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
                names::hash(mapping.symbols().at(name.0, name.1))
            },
            hash: record.hash,
            place: mapping.hash_files(table, &self.regions.files),
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
            && let Some(shared) = self.shared.get(&key(mapping, record))
        {
            if shared.group != group {
                return Found::LeaveOut;
            }
            return match &shared.counts {
                Some(counts) => Found::Counts(Cow::Owned(counts.clone())),
                None => self.missing(mapping, record, profile),
            };
        }
        let id = FunctionId {
            name: record.name,
            hash: record.hash,
        };
        match profile.functions.get(&id) {
            Some(counts) => Found::Counts(Cow::Borrowed(counts)),
            None => self.missing(mapping, record, profile),
        }
    }

    /// A function that is not in the profile did not run, unless the profile
    /// has one of its name that is built otherwise. LLVM looks for that one only
    /// among those whose hash is like the mapped one in bit 60, which marks
    /// context-sensitive profiles of clang; rustc's hashes have any bits
    /// (`IndexedInstrProfReader::getInstrProfRecord`, LLVM 22).
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
            .filter(|(id, _)| (id.hash ^ record.hash) & CONTEXT_SENSITIVE == 0)
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
        has_old_bitmaps: bool,
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
            // A profile in text does not say; the mapping shows it too.
            by_values: has_old_bitmaps || mcdc::by_values(regions),
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

/// The first of a function's files that nothing expands to.
fn main_file(regions: &Regions) -> Option<u32> {
    let mut is_expanded = vec![false; regions.files.len()];
    for region in &regions.regions {
        if region.kind == RegionKind::Expansion
            && let Some(slot) = is_expanded.get_mut(region.expanded as usize)
        {
            *slot = true;
        }
    }
    let found = is_expanded.iter().position(|is_expanded| !is_expanded);
    found.map(|position| position as u32)
}

struct Begun {
    files: u32,
    regions: u32,
    branches: u32,
    decisions: u32,
}

enum Found<'p> {
    Counts(Cow<'p, Counts>),
    /// It did not run.
    Nothing,
    LeaveOut,
}

fn name_of(mapping: &Mapping<'_>, record: &Record) -> String {
    let (start, len) = record.symbol;
    String::from_utf8_lossy(mapping.symbols().at(start, len)).into_owned()
}

/// The key of a record among several profiles: with what its regions are.
fn key(mapping: &Mapping<'_>, record: &Record) -> Key {
    let bytes = mapping.bytes(record);
    let mut reader = Reader::new(bytes, Endian::Little);
    let mut files = Vec::new();
    let table = mapping.table(record);
    let mut hasher = DefaultHasher::new();
    // What cannot be read is refused when it is decoded.
    if read_files(&mut reader, table.len(), &mut files).is_ok() {
        mapping.hash_files(table, &files).hash(&mut hasher);
    }
    bytes.get(reader.at()..).hash(&mut hasher);
    Key {
        name: record.name,
        hash: record.hash,
        place: hasher.finish(),
    }
}
