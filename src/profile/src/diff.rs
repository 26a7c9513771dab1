//! What changed between two measurements of a composition.
//!
//! Components are compared by name, files by path, functions by name. Lines are
//! compared by number where a file has code on the same lines in both;
//! elsewhere, by their place in functions whose code is on the same lines of
//! the function in both, so that code which only moved is not told as lost.
//! Counts are not compared, for they differ from run to run: what is told is
//! what was reached.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::combine::combine;
use crate::model::{Component, Coverage, File, Function, Line, Metrics, Ratio};

mod text;

/// The numbers before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Of the first measurement; 0 of 0 where it has no such thing.
    pub before: Metrics,
    /// Of the second.
    pub after: Metrics,
}

/// What became of a component, file or function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Both measurements have it.
    Kept,
    /// Only the second has it.
    New,
    /// Only the first has it.
    Removed,
}

/// The difference of two measurements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Name of the first composition.
    pub before: String,
    /// Name of the second.
    pub after: String,
    /// The sum over the components.
    pub metrics: Change,
    /// All components, by name.
    pub components: Vec<ComponentDiff>,
}

/// The difference of one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentDiff {
    /// Its name.
    pub name: String,
    /// Whether both have it.
    pub status: Status,
    /// The sum over its files.
    pub metrics: Change,
    /// Those of its files that differ, by path.
    pub files: Vec<FileDiff>,
}

/// The difference of one source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Relative to the root of the sources.
    pub path: String,
    /// Whether both have it.
    pub status: Status,
    /// Its numbers.
    pub metrics: Change,
    /// Code is on other lines than before: it was edited.
    pub edited: bool,
    /// Lines that were not reached and are, as ranges of the second source.
    pub reached: Vec<(u32, u32)>,
    /// Lines that were reached and are not, as ranges of the second source.
    pub lost: Vec<(u32, u32)>,
    /// Lines with code that the first has nothing to compare with.
    pub new_lines: Ratio,
    /// Lines with code that the second has nothing to compare with.
    pub gone_lines: Ratio,
    /// Functions that are new, were removed, or were reached in one only.
    pub functions: Vec<FunctionDiff>,
}

/// The difference of one function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FunctionDiff {
    /// First line, of the second source where it is there.
    pub line: u32,
    /// Demangled.
    pub name: String,
    /// Whether both have it.
    pub status: Status,
    /// Whether it was called, where it is there.
    pub before: Option<bool>,
    /// Whether it is called, where it is there.
    pub after: Option<bool>,
}

/// Compares two measurements, the first with the second.
///
/// ```
/// use podcov_profile::{diff::diff, model::Coverage};
/// let coverage = Coverage::default();
/// assert!(diff(&coverage, &coverage).is_empty());
/// ```
pub fn diff(a: &Coverage, b: &Coverage) -> Diff {
    let by_name = |coverage: &Coverage| -> BTreeMap<String, Vec<usize>> {
        let mut names: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, component) in coverage.components.iter().enumerate() {
            names.entry(component.name.clone()).or_default().push(index);
        }
        names
    };
    let (ours, theirs) = (by_name(a), by_name(b));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let pick = |coverage: &Coverage, indices: Option<&Vec<usize>>| {
        let indices = indices.into_iter().flatten();
        let components = indices.filter_map(|index| coverage.components.get(*index));
        components.flat_map(files).collect::<Vec<File>>()
    };
    let components: Vec<ComponentDiff> = names
        .into_iter()
        .map(|name| {
            let (before, after) = (ours.get(name), theirs.get(name));
            let status = status(before.is_some(), after.is_some());
            component(name, status, &pick(a, before), &pick(b, after))
        })
        .collect();
    let metrics = components
        .iter()
        .fold(Change::default(), |mut sum, component| {
            sum.before += component.metrics.before;
            sum.after += component.metrics.after;
            sum
        });
    Diff {
        before: a.composition.clone(),
        after: b.composition.clone(),
        metrics,
        components,
    }
}

impl Diff {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.components
            .iter()
            .all(|component| component.status == Status::Kept && component.files.is_empty())
    }
}

fn status(before: bool, after: bool) -> Status {
    match (before, after) {
        (false, _) => Status::New,
        (true, false) => Status::Removed,
        (true, true) => Status::Kept,
    }
}

/// The files of a component over its builds.
fn files(component: &Component) -> Vec<File> {
    let builds: Vec<&[File]> = component.binaries.iter().map(|b| &b.files[..]).collect();
    combine(&builds).into_iter().map(|one| one.file).collect()
}

fn component(name: &str, status: Status, before: &[File], after: &[File]) -> ComponentDiff {
    // Builds of different sources have files of one path; they are compared in
    // the order of the builds.
    fn by_path(files: &[File]) -> BTreeMap<(&str, usize), &File> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut all = BTreeMap::new();
        for file in files {
            let number = seen.entry(&file.path).or_default();
            *number += 1;
            all.insert((file.path.as_str(), *number), file);
        }
        all
    }
    let (ours, theirs) = (by_path(before), by_path(after));
    let sum = |files: &[File]| files.iter().map(|file| file.metrics).sum::<Metrics>();
    let paths: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let nothing = File::default();
    let mut differ = Vec::new();
    for key in paths {
        let (a, b) = (ours.get(key).copied(), theirs.get(key).copied());
        let status = self::status(a.is_some(), b.is_some());
        let file = file(key.0, status, a.unwrap_or(&nothing), b.unwrap_or(&nothing));
        let is_equal = file.status == Status::Kept
            && file.metrics.before == file.metrics.after
            && !file.edited
            && file.reached.is_empty()
            && file.lost.is_empty()
            && file.functions.is_empty();
        if !is_equal {
            differ.push(file);
        }
    }
    ComponentDiff {
        name: name.to_owned(),
        status,
        metrics: Change {
            before: sum(before),
            after: sum(after),
        },
        files: differ,
    }
}

fn file(path: &str, status: Status, a: &File, b: &File) -> FileDiff {
    let pairs = pairs(a, b);
    let mut reached = Vec::new();
    let mut lost = Vec::new();
    for (after, before) in &pairs {
        match (count(a, *before) > 0, count(b, *after) > 0) {
            (false, true) => reached.push(*after),
            (true, false) => lost.push(*after),
            _ => {}
        }
    }
    let known: BTreeSet<u32> = pairs.values().copied().collect();
    let rest = |lines: &[Line], is_paired: &dyn Fn(u32) -> bool| {
        let rest = lines.iter().filter(|line| !is_paired(line.number));
        rest.fold(Ratio::default(), |mut sum, line| {
            sum += Ratio::new(u64::from(line.count > 0), 1);
            sum
        })
    };
    let new_lines = rest(&b.lines, &|number| pairs.contains_key(&number));
    let gone_lines = rest(&a.lines, &|number| known.contains(&number));
    let moved = pairs.iter().any(|(after, before)| after != before);
    FileDiff {
        path: path.to_owned(),
        status,
        metrics: Change {
            before: a.metrics,
            after: b.metrics,
        },
        edited: status == Status::Kept && (moved || new_lines.total + gone_lines.total > 0),
        reached: ranges(&reached),
        lost: ranges(&lost),
        new_lines,
        gone_lines,
        functions: functions(&a.functions, &b.functions),
    }
}

fn count(file: &File, number: u32) -> u64 {
    let index = file.lines.binary_search_by_key(&number, |line| line.number);
    index
        .ok()
        .and_then(|index| file.lines.get(index))
        .map_or(0, |line| line.count)
}

/// For each line of the second that is one of the first, its number there.
fn pairs(a: &File, b: &File) -> BTreeMap<u32, u32> {
    let numbers = |file: &File| {
        file.lines
            .iter()
            .map(|line| line.number)
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = (numbers(a), numbers(b));
    let mut pairs = BTreeMap::new();
    if ours == theirs {
        pairs.extend(theirs.into_iter().map(|number| (number, number)));
        return pairs;
    }
    let (before, after) = (once(&a.functions), once(&b.functions));
    let mut after: Vec<&Function> = after.into_values().collect();
    // Outer functions first: what is inside of one that is paired is paired.
    after.sort_by_key(|function| (function.start, std::cmp::Reverse(function.end)));
    let mut paired: Option<(u32, u32)> = None;
    // Functions that are nested without end would take the square of the lines.
    let mut work = (ours.len() + theirs.len()).saturating_mul(64);
    for function in after {
        let is_inside = |(start, end)| function.start >= start && function.end <= end;
        let Some(other) = before.get(function.name.as_str()) else {
            continue;
        };
        if paired.is_some_and(is_inside) {
            continue;
        }
        let (old, new) = (within(&ours, other), within(&theirs, function));
        work = work.saturating_sub(old.len() + new.len());
        let offsets = |lines: &[u32], start: u32| -> Vec<u32> {
            lines.iter().map(|line| line - start).collect()
        };
        if work == 0 || offsets(old, other.start) != offsets(new, function.start) {
            continue;
        }
        for (new, old) in new.iter().zip(old) {
            pairs.entry(*new).or_insert(*old);
        }
        paired = Some((function.start, function.end));
    }
    pairs
}

/// The functions whose name is not that of another.
fn once(functions: &[Function]) -> BTreeMap<&str, &Function> {
    let mut times: BTreeMap<&str, (usize, &Function)> = BTreeMap::new();
    for function in functions {
        times.entry(&function.name).or_insert((0, function)).0 += 1;
    }
    let once = times.into_iter().filter(|(_, (times, _))| *times == 1);
    once.map(|(name, (_, function))| (name, function)).collect()
}

/// The lines from the first of a function to its last.
fn within<'a>(lines: &'a [u32], function: &Function) -> &'a [u32] {
    let from = lines.partition_point(|line| *line < function.start);
    let to = lines.partition_point(|line| *line <= function.end);
    lines.get(from..to).unwrap_or_default()
}

fn functions(a: &[Function], b: &[Function]) -> Vec<FunctionDiff> {
    fn by_name(functions: &[Function]) -> BTreeMap<&str, Vec<&Function>> {
        let mut all: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
        for function in functions {
            all.entry(&function.name).or_default().push(function);
        }
        all
    }
    let (before, after) = (by_name(a), by_name(b));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let mut changed = Vec::new();
    for name in names {
        let none = Vec::new();
        let (old, new) = (
            before.get(name).unwrap_or(&none),
            after.get(name).unwrap_or(&none),
        );
        // Functions of one name are compared in the order of their lines.
        for index in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(index), new.get(index));
            let called = |function: &&Function| function.count > 0;
            let (was, is) = (old.map(called), new.map(called));
            if was != is {
                changed.push(FunctionDiff {
                    line: new.or(old).map_or(0, |function| function.start),
                    name: name.to_owned(),
                    status: status(old.is_some(), new.is_some()),
                    before: was,
                    after: is,
                });
            }
        }
    }
    changed.sort();
    changed
}

/// Rising numbers as ranges without gaps.
fn ranges(numbers: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}
