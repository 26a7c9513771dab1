//! `llvm-cov export -format=lcov`: trace files as lcov reads them, byte for
//! byte as llvm-cov-22 writes them.
//!
//! | record | |
//! |---|---|
//! | `SF` | a source file; `end_of_record` ends it |
//! | `FN`, `FNDA` | functions as compiled: line, name; count, name |
//! | `FNF`, `FNH` | functions as written: all, called |
//! | `DA` | a line and its count |
//! | `BRDA` | line, number of the condition on it, of the outcome, count |
//! | `BRF`, `BRH` | outcomes: all, taken |
//! | `LF`, `LH` | lines of functions: all, run; see [`Summary`](super::summary::Summary) |
//!
//! A condition in a macro is one of the line that uses the macro. Counts of
//! outcomes are the low 32 bits, `-` where neither outcome was taken. `LF` and
//! `LH` count a line twice that is in two functions;
//! [`LcovOptions::distinct_lines`] makes them what the `DA` records say.
//! Source: `CoverageExporterLcov.cpp`, LLVM 22.

use std::cmp::Ordering;
use std::io::{self, Write};

use super::coverage::Coverage;
use super::expansion::{Step, Tree};
use super::export::each_line;
use super::file_view::FileView;
use super::summary::distinct_lines;
use super::write::Text;

/// What to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LcovOptions {
    /// Write numbers of files only, as `-summary-only`.
    pub summary_only: bool,
    /// Leave out functions, as `-skip-functions`.
    pub skip_functions: bool,
    /// Leave out branches, as `-skip-branches`.
    pub skip_branches: bool,
    /// Let `LF` and `LH` count each line once, unlike llvm-cov.
    pub distinct_lines: bool,
}

impl Coverage {
    /// Writes the trace file of llvm-cov.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_lcov(&self, options: &LcovOptions, out: impl Write) -> io::Result<()> {
        let mut text = Text::new(out);
        for (file, name) in self.kept_files() {
            self.lcov_file(options, &mut text, file, name)?;
        }
        text.finish()
    }

    fn lcov_file<W: Write>(
        &self,
        options: &LcovOptions,
        text: &mut Text<W>,
        file: u32,
        name: &str,
    ) -> io::Result<()> {
        let mut summary = self.summary(&self.groups(file));
        text.raw(b"SF:").text(name).raw(b"\n");
        if !options.summary_only && !options.skip_functions {
            let here = |f: &super::coverage::FunctionView<'_>| f.files().first() == Some(&file);
            for function in self.functions_of(file).filter(here) {
                if let Some(first) = function.regions().first() {
                    text.raw(b"FN:").number(first.start_line.into());
                    text.raw(b",").raw(function.name()).raw(b"\n").pass()?;
                }
            }
            for function in self.functions_of(file).filter(here) {
                if !function.regions().is_empty() {
                    text.raw(b"FNDA:").number(function.count());
                    text.raw(b",").raw(function.name()).raw(b"\n").pass()?;
                }
            }
        }
        text.raw(b"FNF:").number(summary.functions.total);
        text.raw(b"\nFNH:")
            .number(summary.functions.covered)
            .raw(b"\n");
        let with_lines = !options.summary_only || options.distinct_lines;
        let view = with_lines.then(|| self.file(file));
        if let Some(view) = &view {
            if options.distinct_lines {
                summary.lines = distinct_lines(&view.segments);
            }
            if !options.summary_only {
                lines(view, text)?;
                if !options.skip_branches {
                    branches(view, text)?;
                }
            }
        }
        if !options.skip_branches {
            text.raw(b"BRF:").number(summary.branches.total);
            text.raw(b"\nBRH:")
                .number(summary.branches.covered)
                .raw(b"\n");
        }
        text.raw(b"LF:").number(summary.lines.total);
        text.raw(b"\nLH:").number(summary.lines.covered);
        text.raw(b"\nend_of_record\n").pass()
    }
}

fn lines<W: Write>(view: &FileView<'_>, text: &mut Text<W>) -> io::Result<()> {
    let mut result = Ok(());
    each_line(&view.segments, |line, last| {
        for number in line.number..=last {
            // Nobody reads the rest, which can be a million lines.
            if result.is_err() {
                return;
            }
            text.raw(b"DA:").number(number.into()).raw(b",");
            result = text.number(line.count).raw(b"\n").pass();
        }
    });
    result
}

/// A condition on a line of the file, or in a macro that is used there.
struct Outcome {
    place: Place,
    taken: u64,
    not_taken: u64,
}

/// Uses of macros that lead to a condition, the outer one first; without any,
/// the condition's own place. Kept as the last of them and what leads there,
/// because deep ones share most of their way.
#[derive(Clone, Copy)]
struct Place {
    node: usize,
}

/// All places of a file.
#[derive(Default)]
struct Places {
    /// The place before, how many are before, line and column.
    nodes: Vec<(usize, usize, (u32, u32))>,
}

impl Places {
    fn add(&mut self, before: Option<Place>, at: (u32, u32)) -> Place {
        let depth = before.and_then(|place| self.nodes.get(place.node));
        let depth = depth.map_or(0, |(_, depth, _)| depth + 1);
        let before = before.map_or(usize::MAX, |place| place.node);
        self.nodes.push((before, depth, at));
        Place {
            node: self.nodes.len() - 1,
        }
    }

    fn line(&self, place: Place) -> u32 {
        let mut node = place.node;
        loop {
            match self.nodes.get(node) {
                Some((before, 1.., _)) => node = *before,
                Some((_, _, (line, _))) => return *line,
                None => return 0,
            }
        }
    }

    /// As lists of places, from the outer one.
    fn compare(&self, one: Place, other: Place) -> Ordering {
        let (mut a, mut b) = (one.node, other.node);
        let mut order = Ordering::Equal;
        while a != b {
            let (Some(&(before_a, depth_a, at_a)), Some(&(before_b, depth_b, at_b))) =
                (self.nodes.get(a), self.nodes.get(b))
            else {
                break;
            };
            match depth_a.cmp(&depth_b) {
                // The longer list is behind, unless something before differs.
                Ordering::Greater => (a, order) = (before_a, Ordering::Greater),
                Ordering::Less => (b, order) = (before_b, Ordering::Less),
                Ordering::Equal => {
                    if at_a != at_b {
                        order = at_a.cmp(&at_b);
                    }
                    (a, b) = (before_a, before_b);
                }
            }
        }
        order
    }
}

fn branches<W: Write>(view: &FileView<'_>, text: &mut Text<W>) -> io::Result<()> {
    let mut places = Places::default();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for branch in view.branches.iter().filter(|branch| !branch.is_folded()) {
        outcomes.push(Outcome {
            place: places.add(None, branch.region.start()),
            taken: branch.region.count,
            not_taken: branch.false_count,
        });
    }
    let mut tree: Option<(*const super::counted::Region, Tree<'_>)> = None;
    for expansion in &view.expansions {
        // The expansions of one function follow each other.
        let function = expansion.function.regions().as_ptr();
        if tree.as_ref().is_none_or(|(known, _)| *known != function) {
            tree = Some((function, Tree::new(&expansion.function)));
        }
        let Some((_, tree)) = &tree else {
            continue;
        };
        let mut way: Vec<Place> = Vec::new();
        tree.below(expansion.region, &mut |step| match step {
            Step::Enter(region) => way.push(places.add(way.last().copied(), region.start())),
            Step::Branch(branch) => {
                if let Some(place) = way.last().filter(|_| !branch.is_folded()) {
                    outcomes.push(Outcome {
                        place: *place,
                        taken: branch.region.count,
                        not_taken: branch.false_count,
                    });
                }
            }
            Step::Leave => {
                way.pop();
            }
        });
    }
    // Stable: what has one place stays in the order it was found.
    outcomes.sort_by(|one, other| places.compare(one.place, other.place));
    outcomes.dedup_by(|next, first| {
        let same = places.compare(first.place, next.place) == Ordering::Equal;
        if same {
            first.taken = first.taken.wrapping_add(next.taken);
            first.not_taken = first.not_taken.wrapping_add(next.not_taken);
        }
        same
    });
    let mut before = None;
    let mut condition = 0u64;
    for outcome in &outcomes {
        let line = places.line(outcome.place);
        condition = match before == Some(line) {
            true => condition + 1,
            false => 0,
        };
        before = Some(line);
        let counts = [outcome.taken as u32, outcome.not_taken as u32];
        for (index, count) in counts.into_iter().enumerate() {
            text.raw(b"BRDA:").number(line.into()).raw(b",");
            text.number(condition).raw(b",");
            text.number(condition * 2 + index as u64).raw(b",");
            match counts {
                [0, 0] => text.raw(b"-\n"),
                _ => text.number(count.into()).raw(b"\n"),
            };
            text.pass()?;
        }
    }
    Ok(())
}
