//! What every format of line coverage says, in one form: files, lines,
//! branches and functions with their counts, and nothing of where they came
//! from.
//!
//! LCOV, Cobertura and `llvm-cov export` are read into it, a
//! [`Coverage`] becomes it, and the writers of all these formats take it.
//! Joining is saturating, commutative and associative.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::combine::combine;
use crate::error::{Kind, ParseError};
use crate::model::{Branch, Coverage, Function, Line, Ratio};

/// Lines, branches and functions by file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineCoverage {
    /// By path, as the source of it calls the file.
    pub files: BTreeMap<String, FileLines>,
}

/// What is known of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLines {
    /// Crate, import path or package; empty where a format does not tell.
    pub package: String,
    /// How often each line with code ran, by number.
    pub lines: BTreeMap<u32, u64>,
    /// Lines that ran in part only, where that is known.
    pub partial: BTreeSet<u32>,
    /// How often each branch was taken; `None` where its condition was never
    /// evaluated.
    pub branches: BTreeMap<BranchId, Option<u64>>,
    /// Functions by place and name.
    pub functions: BTreeMap<FunctionId, Calls>,
}

/// One way out of a condition, as LCOV numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId {
    /// Line of the condition.
    pub line: u32,
    /// Which condition of the line.
    pub block: u32,
    /// Which way out of it.
    pub branch: u32,
    /// It is taken only when an exception passes.
    pub exception: bool,
}

/// A function of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId {
    /// First line; 0 where a format does not tell.
    pub start: u32,
    /// As the format calls it.
    pub name: String,
}

/// How often a function was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Last line; 0 where a format does not tell.
    pub end: u32,
    /// How often it was called.
    pub count: u64,
}

/// What a reader of one of the formats found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The counts.
    pub coverage: LineCoverage,
    /// Folders that paths may be relative to, where the format tells them.
    pub roots: Vec<String>,
    /// What was read over or set right, one of each kind.
    pub findings: Vec<Finding>,
}

/// Something in a file that was read over or set right.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Which kind: `negative-count`.
    pub kind: &'static str,
    /// The first of its kind, in words.
    pub text: String,
    /// Where that is, from the start of the file.
    pub offset: u64,
    /// How often the kind occurred.
    pub times: u64,
}

/// Notes one finding of each kind, so that their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn note(&mut self, kind: &'static str, offset: u64, text: impl FnOnce() -> String) {
        match self.0.iter_mut().find(|finding| finding.kind == kind) {
            Some(known) => known.times += 1,
            None => self.0.push(Finding {
                kind,
                text: text(),
                offset,
                times: 1,
            }),
        }
    }
}

/// What a reader may still allocate. Together with its input it stays below
/// 64 MiB and eight times the input, as [`Limits`](crate::Limits) say.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    len: u64,
}

impl Budget {
    // What one entry takes in its map, with its share of half-full nodes.
    pub(crate) const LINE: u64 = 28;
    pub(crate) const BRANCH: u64 = 64;
    pub(crate) const FUNCTION: u64 = 160;
    pub(crate) const FILE: u64 = 320;

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let len = bytes.len() as u64;
        Budget {
            left: (48 << 20) + 6 * len,
            len,
        }
    }

    pub(crate) fn charge(&mut self, bytes: u64, offset: u64) -> Result<(), ParseError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(ParseError {
                kind: Kind::TooLarge,
                what: "what it holds takes more memory than 64 MiB and 8 times its size".to_owned(),
                offset,
                len: self.len,
            }),
        }
    }
}

impl LineCoverage {
    /// What a composition covered, by path. Within a component a source line
    /// counts once, however many builds of one source have it; files of equal
    /// path in several components add up, so where components have sources of
    /// their own, `prefixes` tells them apart: by component, what its paths
    /// begin with.
    pub fn of(coverage: &Coverage, prefixes: &BTreeMap<String, String>) -> LineCoverage {
        let mut all = LineCoverage::default();
        for component in &coverage.components {
            let prefix = prefixes.get(&component.name).map_or("", String::as_str);
            let builds: Vec<_> = component.binaries.iter().map(|b| &b.files[..]).collect();
            for one in combine(&builds) {
                let file = one.file;
                let lines =
                    FileLines::of(&file.package, &file.lines, &file.functions, &file.branches);
                let path = format!("{prefix}{}", file.path);
                all.files.entry(path).or_default().absorb(&lines);
            }
        }
        all
    }

    /// Adds all counts of another.
    pub fn absorb(&mut self, other: &LineCoverage) {
        for (path, file) in &other.files {
            match self.files.get_mut(path) {
                Some(known) => known.absorb(file),
                None => {
                    self.files.insert(path.clone(), file.clone());
                }
            }
        }
    }

    /// Lines that ran, of those that have code.
    pub fn lines(&self) -> Ratio {
        self.sum(FileLines::line_ratio)
    }

    /// Branches that were taken, of all.
    pub fn branches(&self) -> Ratio {
        self.sum(FileLines::branch_ratio)
    }

    /// Functions that were called, of all.
    pub fn functions(&self) -> Ratio {
        self.sum(FileLines::function_ratio)
    }

    fn sum(&self, of: impl Fn(&FileLines) -> Ratio) -> Ratio {
        self.files.values().fold(Ratio::default(), |mut sum, file| {
            sum += of(file);
            sum
        })
    }
}

impl FileLines {
    /// What the model says of a file. The conditions of a line are its blocks,
    /// in the order of their places; the ways out are numbered through the
    /// line, of each condition first that when it is true, as in
    /// `llvm-cov export -format=lcov` (`CoverageExporterLcov.cpp`, LLVM 22).
    pub fn of(
        package: &str,
        lines: &[Line],
        functions: &[Function],
        branches: &[Branch],
    ) -> FileLines {
        let mut file = FileLines {
            package: package.to_owned(),
            ..FileLines::default()
        };
        for line in lines {
            file.join_line(line.number, line.count, line.partial);
        }
        for function in functions {
            let id = FunctionId {
                start: function.start,
                name: function.name.clone(),
            };
            file.add_function(id, function.end, function.count);
        }
        let mut places: BTreeMap<(u32, u32, u32, u32), (u64, u64)> = BTreeMap::new();
        for branch in branches {
            let place = (
                branch.start_line,
                branch.start_column,
                branch.end_line,
                branch.end_column,
            );
            let (taken, not_taken) = places.entry(place).or_default();
            *taken = taken.saturating_add(branch.taken);
            *not_taken = not_taken.saturating_add(branch.not_taken);
        }
        let (mut line, mut block) = (0, 0);
        for ((start_line, ..), (taken, not_taken)) in places {
            block = if start_line == line { block + 1 } else { 0 };
            line = start_line;
            let evaluated = taken > 0 || not_taken > 0;
            for (way, count) in [(0, taken), (1, not_taken)] {
                let id = BranchId {
                    line,
                    block,
                    branch: 2 * block + way,
                    exception: false,
                };
                file.branches.insert(id, evaluated.then_some(count));
            }
        }
        file
    }

    /// Adds all counts of another. A line is partial when none of the two ran
    /// all of it.
    pub fn absorb(&mut self, other: &FileLines) {
        if self.package.is_empty() || (!other.package.is_empty() && other.package < self.package) {
            self.package.clone_from(&other.package);
        }
        for (&number, &count) in &other.lines {
            self.join_line(number, count, other.partial.contains(&number));
        }
        for (&id, &taken) in &other.branches {
            self.add_branch(id, taken);
        }
        for (id, calls) in &other.functions {
            self.add_function(id.clone(), calls.end, calls.count);
        }
    }

    fn join_line(&mut self, number: u32, count: u64, partial: bool) {
        let known = self.lines.get(&number).is_some_and(|known| *known > 0);
        let was_whole = known && !self.partial.contains(&number);
        let is_whole = count > 0 && !partial;
        if is_whole {
            self.partial.remove(&number);
        } else if count > 0 && !was_whole {
            self.partial.insert(number);
        }
        self.add_line(number, count);
    }

    /// Adds to the count of a line. Whether this is new: it had none.
    pub(crate) fn add_line(&mut self, number: u32, count: u64) -> bool {
        let mut is_new = false;
        let known = self.lines.entry(number).or_insert_with(|| {
            is_new = true;
            0
        });
        *known = known.saturating_add(count);
        is_new
    }

    /// Adds to the count of a branch. Whether this is new: it had none.
    pub(crate) fn add_branch(&mut self, id: BranchId, taken: Option<u64>) -> bool {
        let mut is_new = false;
        let known = self.branches.entry(id).or_insert_with(|| {
            is_new = true;
            None
        });
        *known = match (*known, taken) {
            (Some(one), Some(two)) => Some(one.saturating_add(two)),
            (one, two) => one.or(two),
        };
        is_new
    }

    /// Adds to the count of a function.
    pub(crate) fn add_function(&mut self, id: FunctionId, end: u32, count: u64) {
        let known = self.functions.entry(id).or_default();
        known.end = known.end.max(end);
        known.count = known.count.saturating_add(count);
    }

    /// Lines that ran, of those that have code.
    pub fn line_ratio(&self) -> Ratio {
        ratio(self.lines.values().map(|count| *count > 0))
    }

    /// Branches that were taken, of all.
    pub fn branch_ratio(&self) -> Ratio {
        ratio(self.branches.values().map(|taken| taken.unwrap_or(0) > 0))
    }

    /// Functions that were called, of all.
    pub fn function_ratio(&self) -> Ratio {
        ratio(self.functions.values().map(|calls| calls.count > 0))
    }

    /// Branches that were taken, of all, by line.
    pub fn branches_by_line(&self) -> BTreeMap<u32, Ratio> {
        let mut lines: BTreeMap<u32, Ratio> = BTreeMap::new();
        for (id, taken) in &self.branches {
            let is_taken = taken.is_some_and(|taken| taken > 0);
            *lines.entry(id.line).or_default() += Ratio::new(u64::from(is_taken), 1);
        }
        lines
    }
}

fn ratio(all: impl Iterator<Item = bool>) -> Ratio {
    all.fold(Ratio::default(), |mut sum, reached| {
        sum += Ratio::new(u64::from(reached), 1);
        sum
    })
}

/// A count as tools write it, some of them wrongly.
pub(crate) fn count(text: &[u8], at: u64, findings: &mut Findings) -> Option<u64> {
    if let Some(count) = whole(text) {
        return Some(count);
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    // Digits, so not the words for infinity that it also reads.
    let value: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if text.starts_with(b"-") {
        let what = || format!("the count {} is below 0 and counts as 0", shown(text));
        findings.note("negative-count", at, what);
        return Some(0);
    }
    let what = || format!("the count {} is no whole number of 64 bits", shown(text));
    findings.note("inexact-count", at, what);
    // What ran a little ran.
    Some(if value > 0.0 {
        (value as u64).max(1)
    } else {
        0
    })
}

/// A number of digits that fits.
pub(crate) fn whole(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// As [`whole`], of 32 bits.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    whole(text).and_then(|number| u32::try_from(number).ok())
}

/// The beginning of bytes, for a message.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..60).unwrap_or(bytes)).into_owned();
    on_one_line(&text).into_owned()
}

/// A message of another library, which may quote the file at any length.
pub(crate) fn brief(message: &str) -> String {
    let text = on_one_line(message);
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}

/// A text for a format of lines: what would end a line or act on a terminal is
/// replaced by its picture (`␊`).
pub(crate) fn on_one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let picture = |c: char| match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        0x80..=0x9f => '\u{fffd}',
        _ => c,
    };
    Cow::Owned(text.chars().map(picture).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_whole_when_any_side_ran_all_of_it() {
        let file = |count, partial: bool| FileLines {
            lines: BTreeMap::from([(1, count)]),
            partial: partial.then_some(1).into_iter().collect(),
            ..FileLines::default()
        };
        let states = [file(0, false), file(3, true), file(3, false)];
        for (one, a) in states.iter().enumerate() {
            for (two, b) in states.iter().enumerate() {
                let mut sum = a.clone();
                sum.absorb(b);
                assert_eq!(sum.partial.contains(&1), one.max(two) == 1, "{one} {two}");
                assert_eq!(sum.lines[&1], a.lines[&1] + b.lines[&1]);
            }
        }
    }

    #[test]
    fn conditions_of_a_line_are_numbered_by_place() {
        let branch = |line, column, taken, not_taken| Branch {
            start_line: line,
            start_column: column,
            end_line: line,
            end_column: column + 3,
            taken,
            not_taken,
        };
        let branches = [
            branch(4, 9, 1, 0),
            branch(4, 2, 0, 0),
            branch(4, 9, u64::MAX, 2),
            branch(7, 1, 0, 5),
        ];
        let file = FileLines::of("", &[], &[], &branches);
        let found: Vec<_> = file
            .branches
            .iter()
            .map(|(id, taken)| (id.line, id.block, id.branch, *taken))
            .collect();
        assert_eq!(
            found,
            [
                (4, 0, 0, None),
                (4, 0, 1, None),
                (4, 1, 2, Some(u64::MAX)),
                (4, 1, 3, Some(2)),
                (7, 0, 0, Some(0)),
                (7, 0, 1, Some(5)),
            ]
        );
        assert_eq!(file.branch_ratio(), Ratio::new(3, 6));
        assert_eq!(file.branches_by_line()[&4], Ratio::new(2, 4));
    }

    #[test]
    fn a_path_cannot_end_its_line() {
        assert_eq!(on_one_line("a\nSF:b\r\u{85}"), "a␊SF:b␍\u{fffd}");
        assert!(matches!(on_one_line("a,b \"c\""), Cow::Borrowed(_)));
    }
}
