//! The numbers of `llvm-cov report`.
//!
//! A function of a file is a group of instantiations: those whose first region
//! in the file they are written in starts at the same place. Lines, regions
//! and branches of a group are the largest of any instantiation, total and
//! covered each for itself; a file's are the sums over its groups. So a line
//! within two functions, such as one of a closure, counts in both, and lines
//! of [`Summary`] differ from the distinct ones that [`distinct_lines`] and the
//! DA records of LCOV have. Source: `CoverageSummaryInfo.cpp`, LLVM 22.

use std::collections::BTreeMap;

use super::counted::{Branch, RegionKind};
use super::coverage::{Coverage, FunctionView};
use super::expansion::Tree;
use super::export::{Segment, each_line};
use super::mcdc::Decision;
use super::segments::Sweep;
use crate::model::Ratio;

/// The numbers of a file or of all files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines of functions; a line of two functions counts twice.
    pub lines: Ratio,
    /// Functions as written.
    pub functions: Ratio,
    /// Functions as compiled.
    pub instantiations: Ratio,
    /// Code regions.
    pub regions: Ratio,
    /// Outcomes of conditions.
    pub branches: Ratio,
    /// Conditions of decisions that were shown to decide.
    pub mcdc: Ratio,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.lines += other.lines;
        self.functions += other.functions;
        self.instantiations += other.instantiations;
        self.regions += other.regions;
        self.branches += other.branches;
        self.mcdc += other.mcdc;
    }
}

/// A function as written.
#[derive(Clone, Debug)]
pub struct Group<'c> {
    /// Line it starts on.
    pub line: u32,
    /// Column it starts at.
    pub column: u32,
    /// Its instantiations, in the order of the programs.
    pub functions: Vec<FunctionView<'c>>,
}

impl Group<'_> {
    /// How often it was called.
    pub fn count(&self) -> u64 {
        let counts = self.functions.iter().map(FunctionView::count);
        counts.fold(0, u64::saturating_add)
    }
}

/// How many lines have code, and how many of them ran.
pub fn distinct_lines(segments: &[Segment]) -> Ratio {
    let mut lines = Ratio::default();
    each_line(segments, |line, last| {
        let number = u64::from(last - line.number) + 1;
        lines.total += number;
        if line.count > 0 {
            lines.covered += number;
        }
    });
    lines
}

impl Coverage {
    /// The functions that are written in a file, by where they start.
    pub fn groups(&self, file: u32) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(u32, u32), Vec<FunctionView<'_>>> = BTreeMap::new();
        for (function, position) in self.parts_of(file) {
            if function.main_file() == Some(position)
                && let Some(first) = function.regions_in(position).first()
            {
                groups.entry(first.start()).or_default().push(function);
            }
        }
        let group = |((line, column), functions)| Group {
            line,
            column,
            functions,
        };
        groups.into_iter().map(group).collect()
    }

    /// The numbers of a file, given its groups.
    pub fn summary(&self, groups: &[Group<'_>]) -> Summary {
        let mut sweep = Sweep::default();
        let mut file = Summary::default();
        for group in groups {
            let mut most = Summary::default();
            for function in &group.functions {
                let ran = u64::from(function.count() > 0);
                file.instantiations += Ratio::new(ran, 1);
                let one = of_function(function, &mut sweep);
                for (most, one) in [
                    (&mut most.lines, one.lines),
                    (&mut most.regions, one.regions),
                    (&mut most.branches, one.branches),
                    (&mut most.mcdc, one.mcdc),
                ] {
                    most.covered = most.covered.max(one.covered);
                    most.total = most.total.max(one.total);
                }
            }
            most.functions = Ratio::new(u64::from(group.count() > 0), 1);
            file += most;
        }
        file
    }
}

/// Lines, regions, branches and decisions of one instantiation.
pub(crate) fn of_function(function: &FunctionView<'_>, sweep: &mut Sweep) -> Summary {
    let mut summary = Summary::default();
    let Some(main) = function.main_file() else {
        return summary;
    };
    for region in function.regions() {
        if region.kind == RegionKind::Code {
            summary.regions += Ratio::new(u64::from(region.count > 0), 1);
        }
    }
    summary.lines = distinct_lines(sweep.segments(function.regions_in(main).iter()));
    let branches = function.branches();
    if function.files().len() == 1 {
        branches
            .iter()
            .for_each(|branch| summary.branches += outcomes(branch));
    } else if !branches.is_empty() {
        let tree = Tree::new(function);
        tree.within(main, &mut |branch| summary.branches += outcomes(branch));
    }
    for decision in function.decisions() {
        if decision.region.file == main {
            summary.mcdc += conditions(decision);
        }
    }
    summary
}

/// The outcomes of a condition that the compiler left.
fn outcomes(branch: &Branch) -> Ratio {
    let outcome = |folded: bool, count: u64| match folded {
        true => Ratio::default(),
        false => Ratio::new(u64::from(count > 0), 1),
    };
    let mut both = outcome(branch.true_folded, branch.region.count);
    both += outcome(branch.false_folded, branch.false_count);
    both
}

fn conditions(decision: &Decision) -> Ratio {
    let open = decision.conditions.iter().filter(|c| !c.folded);
    let mut all = Ratio::default();
    open.for_each(|condition| all += Ratio::new(u64::from(condition.pair.is_some()), 1));
    all
}
