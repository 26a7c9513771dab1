//! From what was merged to what is said: the one place where numbers are made.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::Identity;
use podcov_profile::combine::{Combined, combine};
use podcov_profile::ledger::{self, Cause, Fate, Finding, Ledger};
use podcov_profile::model::{self, Branch, Coverage, Function, Line, Metrics};

use crate::Filter;
use crate::bounds::Lost;
use crate::format;
use crate::phases::{Background, Gathered, PhaseLines};
use crate::summary::{
    Build, Component, FileNumbers, Incarnations, Loss, Package, SCHEMA, Summary, Unreached,
};

/// A run as it is reported: the numbers, and the lines behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Every number.
    pub summary: Summary,
    /// Every counted source file, in the order of the summary's.
    pub files: Vec<SourceFile>,
    /// The account of all incarnations.
    pub ledger: Ledger,
    /// What each test and phase reached, by kind and name; the numbers of the
    /// summary's are the same.
    pub phases: Vec<PhaseLines>,
    /// What was reached while no test, or no phase, was open.
    pub background: Background,
}

/// One counted source file with its lines.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceFile {
    /// Index of its component in the summary.
    pub component: usize,
    /// Crate, or import path.
    pub package: String,
    /// Relative to the root of the sources.
    pub path: String,
    /// The build it is of, where builds from different sources ran.
    pub build: Option<Identity>,
    /// The lines that no evidence shows to have run and that lost evidence could;
    /// ascending.
    pub unknown: Vec<u32>,
    /// As the reference tool counts them.
    pub metrics: Metrics,
    /// What is possible at most, given what was lost.
    pub possible: Metrics,
    /// The lines that have code.
    pub lines: Vec<Line>,
    /// Its functions, by first line.
    pub functions: Vec<Function>,
    /// Its conditions, by place.
    pub branches: Vec<Branch>,
}

/// What is known of a line that has code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineState {
    /// All of it ran.
    Covered,
    /// Some of it ran.
    Partial,
    /// None of it ran, in any incarnation.
    Uncovered,
    /// No evidence shows that it ran, and lost evidence could.
    Unknown,
}

impl SourceFile {
    /// What is known of one of its lines.
    pub fn state(&self, line: &Line) -> LineState {
        match (line.count, line.partial) {
            (0, _) if self.unknown.binary_search(&line.number).is_ok() => LineState::Unknown,
            (0, _) => LineState::Uncovered,
            (_, true) => LineState::Partial,
            (_, false) => LineState::Covered,
        }
    }

    /// What is known of one of its functions.
    pub fn state_of(&self, function: &Function) -> LineState {
        let from = self.unknown.partition_point(|line| *line < function.start);
        let next = self.unknown.get(from);
        match function.count {
            0 if next.is_some_and(|line| *line <= function.end) => LineState::Unknown,
            0 => LineState::Uncovered,
            _ => LineState::Covered,
        }
    }
}

impl Report {
    /// Computes everything that is reported.
    ///
    /// `possible` numbers equal what is proven unless evidence is lost: an
    /// incarnation that does not count, a file that was damaged or is missing,
    /// the rest of an interval. Then what was not reached of the builds whose
    /// evidence it is becomes unknown, which is all of a component where nothing
    /// says which of its builds. Lost evidence of an incarnation whose component
    /// nobody knows widens every component, for it can be any; unless it is
    /// foreign, for then it is none of them.
    ///
    /// Within a component a source line counts once, however many builds of
    /// one source have it. The composition is the sum of its components: a
    /// file that two of them share counts in each, for each can reach it.
    pub fn new(coverage: &Coverage, ledger: &Ledger, filter: &Filter) -> Report {
        let losses = losses(ledger);
        let lost = Lost::new(coverage, ledger);
        let mut summary = Summary {
            schema: SCHEMA,
            composition: coverage.composition.clone(),
            run: ledger.run.clone(),
            complete: losses.is_empty(),
            findings: ledger.findings.clone(),
            ..Summary::default()
        };
        for incarnation in &ledger.incarnations {
            summary.incarnations.add(incarnation.fate);
        }
        for (fate, files) in ledger.file_fates() {
            summary.evidence_files.insert(fate, files as u64);
        }
        summary.findings.extend(unmeasured(coverage, ledger));

        let mut files = Vec::new();
        let mut phases = Gathered::default();
        for (index, component) in coverage.components.iter().enumerate() {
            let incarnations = incarnations(component, ledger);
            summary.complete &= incarnations.lost == 0;
            let combined = combined(component);
            let own = source_files(component, &combined, index, &lost, filter);
            phases.add(component, &combined, |one| {
                let identity = &component.binaries[one.builds[0]].identity;
                let is_it = |file: &SourceFile| {
                    let is_build = file.build.as_ref().is_none_or(|build| build == identity);
                    file.path == one.file.path && file.package == one.file.package && is_build
                };
                Some(files.len() + own.iter().position(is_it)?)
            });
            let packages = packages(&own);
            let metrics: Metrics = packages.iter().map(|package| package.metrics).sum();
            let possible: Metrics = packages.iter().map(Package::possible).sum();
            summary.components.push(Component {
                name: component.name.clone(),
                language: component.language,
                kind: component.kind,
                metrics,
                possible,
                incarnations,
                builds: component
                    .binaries
                    .iter()
                    .map(|binary| Build {
                        name: binary.name.clone(),
                        identity: binary.identity.clone(),
                        profiles: binary.profiles,
                    })
                    .collect(),
                packages,
            });
            files.extend(own);
        }
        let (phases, background) = phases.finish();
        summary.phases = phases.iter().map(|phase| phase.numbers.clone()).collect();
        summary.losses = losses;
        summary.metrics = summary
            .components
            .iter()
            .map(|component| component.metrics)
            .sum();
        summary.possible = summary
            .components
            .iter()
            .map(|component| component.possible)
            .sum();
        Report {
            summary,
            files,
            ledger: ledger.clone(),
            phases,
            background,
        }
    }
}

/// The incarnations of a component: the ledger's, or what the merge says where
/// the ledger knows none.
fn incarnations(component: &model::Component, ledger: &Ledger) -> Incarnations {
    let mut all = Incarnations::default();
    for incarnation in ledger
        .incarnations
        .iter()
        .filter(|i| i.component == component.name)
    {
        all.add(incarnation.fate);
    }
    if all.total == 0 {
        for _ in 0..component.incarnations_collected {
            all.add(Fate::Collected);
        }
        for _ in 0..component.incarnations_lost {
            all.add(Fate::Missing);
        }
    }
    all
}

fn losses(ledger: &Ledger) -> Vec<Loss> {
    let mut losses = Vec::new();
    for incarnation in &ledger.incarnations {
        let loss = |file: Option<&ledger::File>| Loss {
            component: incarnation.component.clone(),
            incarnation: incarnation.label(),
            file: file.map(|file| file.path.clone()),
            fate: file.map_or(incarnation.fate, |file| file.fate),
            cause: file.map_or(incarnation.cause, |file| file.cause),
            interval_ms: incarnation.interval_ms.filter(|_| is_bounded(incarnation)),
            ended: format::ended(&incarnation.ended),
            reason: file
                .map_or(&incarnation.reason, |file| &file.reason)
                .clone(),
        };
        if incarnation.is_lost() {
            losses.push(loss(None));
            continue;
        }
        if is_bounded(incarnation) {
            losses.push(loss(None));
        }
        // An empty file says that nothing was written, a foreign one is
        // another program's; these two held counts of this one.
        let gone = |file: &&ledger::File| matches!(file.fate, Fate::Rejected | Fate::Missing);
        losses.extend(
            incarnation
                .files
                .iter()
                .filter(gone)
                .map(|file| loss(Some(file))),
        );
    }
    losses
}

/// Whether all is there but the rest of an interval.
fn is_bounded(incarnation: &ledger::Incarnation) -> bool {
    incarnation.fate == Fate::Collected && incarnation.cause == Some(Cause::Ticker)
}

/// Components that ran and of which nothing is known, not even their lines.
fn unmeasured(coverage: &Coverage, ledger: &Ledger) -> Vec<Finding> {
    let known: BTreeSet<&str> = coverage
        .components
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    let ran: BTreeSet<&str> = ledger
        .incarnations
        .iter()
        .map(|incarnation| incarnation.component.as_str())
        .filter(|name| !name.is_empty() && !known.contains(name))
        .collect();
    ran.into_iter()
        .map(|name| Finding {
            kind: "unmeasured".to_owned(),
            text: format!("component {name} ran and has no coverage: it is in none of the totals"),
        })
        .collect()
}

/// The files of a component, over its builds.
fn combined(component: &model::Component) -> Vec<Combined> {
    let builds = component
        .binaries
        .iter()
        .map(|binary| binary.files.as_slice());
    combine(&builds.collect::<Vec<_>>())
}

/// The files of a component that the filter keeps, by package, path and build.
fn source_files(
    component: &model::Component,
    combined: &[Combined],
    index: usize,
    lost: &Lost<'_>,
    filter: &Filter,
) -> Vec<SourceFile> {
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for one in combined {
        *versions.entry(one.file.path.clone()).or_default() += 1;
    }
    let mut files: Vec<SourceFile> = combined
        .iter()
        .filter(|one| filter.keeps(&one.file.path))
        .map(|one| {
            let (unknown, possible) = lost.of(component, one);
            SourceFile {
                component: index,
                build: (versions[&one.file.path] > 1)
                    .then(|| component.binaries[one.builds[0]].identity.clone()),
                unknown,
                package: one.file.package.clone(),
                path: one.file.path.clone(),
                metrics: one.file.metrics,
                possible,
                lines: one.file.lines.clone(),
                functions: one.file.functions.clone(),
                branches: one.file.branches.clone(),
            }
        })
        .collect();
    files.sort_by(|a, b| (&a.package, &a.path, &a.build).cmp(&(&b.package, &b.path, &b.build)));
    files
}

/// The numbers of files that are ordered by package.
fn packages(files: &[SourceFile]) -> Vec<Package> {
    let mut packages: Vec<Package> = Vec::new();
    for file in files {
        let numbers = FileNumbers {
            path: file.path.clone(),
            build: file.build.clone(),
            metrics: file.metrics,
            possible: (file.possible != file.metrics).then_some(file.possible),
            unknown: runs(&file.unknown),
            partial_lines: file.lines.iter().filter(|line| line.partial).count() as u64,
            unreached: unreached(&file.functions),
        };
        match packages.last_mut() {
            Some(package) if package.name == file.package => {
                package.metrics += numbers.metrics;
                package.files.push(numbers);
            }
            _ => packages.push(Package {
                name: file.package.clone(),
                metrics: numbers.metrics,
                possible: None,
                files: vec![numbers],
            }),
        }
    }
    for package in &mut packages {
        let possible: Metrics = package.files.iter().map(FileNumbers::possible).sum();
        package.possible = (possible != package.metrics).then_some(possible);
    }
    packages
}

/// Ascending numbers as first and last of each run.
fn runs(numbers: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    runs
}

/// The functions that never ran, the largest first. A closure in a function
/// that never ran would only repeat it.
fn unreached(functions: &[Function]) -> Vec<Unreached> {
    let never: Vec<&Function> = functions
        .iter()
        .filter(|function| function.count == 0)
        .collect();
    let mut by_place = never.clone();
    by_place.sort_by_key(|function| (function.start, std::cmp::Reverse(function.end)));
    let mut inner: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut outer: Option<(u32, u32)> = None;
    for function in by_place {
        match outer {
            Some((start, end)) if function.start >= start && function.end <= end => {
                if (function.start, function.end) != (start, end) {
                    inner.insert((function.start, function.end));
                }
            }
            _ => outer = Some((function.start, function.end)),
        }
    }
    let mut unreached: Vec<Unreached> = never
        .into_iter()
        .filter(|function| !inner.contains(&(function.start, function.end)))
        .map(|function| Unreached {
            name: function.name.clone(),
            line: function.start,
            lines: function.lines.total,
        })
        .collect();
    unreached.sort_by(|a, b| {
        b.lines
            .cmp(&a.lines)
            .then(a.line.cmp(&b.line))
            .then_with(|| a.name.cmp(&b.name))
    });
    unreached
}
