//! From Go's blocks to lines and functions, by the rules in
//! `docs/reference/metrics.md`. Lines are those that `go tool cover -html`
//! colours (`Boundaries` in `golang.org/x/tools/cover/profile.go`, Go 1.26).

use std::collections::BTreeMap;

use crate::go::meta::Meta;
use crate::go::text::{Block, Span};
use crate::model::{File, Function, Line, Metrics, Ratio, Region, RegionKind};

/// No source file has more lines; what a block claims beyond is cut.
const MAX_LINES: u32 = 1 << 20;
/// Blocks of a source hardly overlap. Evidence can claim millions that all are
/// the whole file, and is not to keep us busy for days.
const MAX_WORK: u64 = 4 << 20;

/// The lines with code of a file, with their counts.
///
/// Go counts statements in blocks and has no notion of a line. Here a line has
/// code when a block with a statement covers some of it, first and last line
/// included; its count is the largest of theirs, and it is partial when one of
/// them ran and another did not.
pub fn lines(blocks: &BTreeMap<Span, Block>) -> Vec<Line> {
    let mut lines: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut work = 0u64;
    for (span, block) in blocks.iter().filter(|(_, block)| block.statements > 0) {
        let end = span.end_line.min(MAX_LINES);
        work += u64::from(end.saturating_sub(span.start_line));
        if work > MAX_WORK {
            break;
        }
        for number in span.start_line..=end {
            let (most, least) = lines.entry(number).or_insert((block.count, block.count));
            *most = block.count.max(*most);
            *least = block.count.min(*least);
        }
    }
    let line = |(number, (most, least))| Line {
        number,
        count: most,
        partial: most > least && least == 0,
    };
    lines.into_iter().map(line).collect()
}

/// Statements that ran and statements that are there.
pub fn statements(blocks: &BTreeMap<Span, Block>) -> Ratio {
    let mut all = Ratio::default();
    for block in blocks.values() {
        let statements = u64::from(block.statements);
        all += Ratio::new(if block.count > 0 { statements } else { 0 }, statements);
    }
    all
}

/// A function and its first block.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The function; counts and lines are those of [`measure`].
    pub function: Function,
    /// Its first block, whose count is that of calls.
    pub first: Span,
}

/// The functions of a program's meta-data by file, as `go tool covdata func`
/// lists them: function literals belong to the function they are written in.
pub fn functions(meta: &Meta) -> BTreeMap<&str, Vec<Placed>> {
    let mut by_file: BTreeMap<&str, Vec<Placed>> = BTreeMap::new();
    for function in meta.functions().filter(|function| !function.is_literal()) {
        let spans = || function.units().iter().map(|unit| Span::from(*unit));
        let Some(first) = spans().min() else { continue };
        let end = spans()
            .map(|span| span.end_line)
            .fold(first.end_line, u32::max);
        let name = function.name().to_owned();
        let start = first.start_line;
        let function_of = Function {
            name,
            start,
            end,
            ..Function::default()
        };
        let placed = Placed {
            function: function_of,
            first,
        };
        by_file.entry(function.file()).or_default().push(placed);
    }
    for functions in by_file.values_mut() {
        functions.sort_by(|a, b| (a.first, &a.function.name).cmp(&(b.first, &b.function.name)));
    }
    by_file
}

/// A function with its count, lines and blocks, from those of its file.
pub fn measure(placed: &Placed, blocks: &BTreeMap<Span, Block>, lines: &[Line]) -> Function {
    let mut function = placed.function.clone();
    function.count = blocks.get(&placed.first).map_or(0, |block| block.count);
    function.lines = lines_within(lines, function.start, function.end);
    let within = blocks
        .range(placed.first..)
        .take_while(|(span, _)| span.start_line <= function.end)
        .filter(|(span, _)| span.end_line <= function.end);
    let region = |(span, block): (&Span, &Block)| Region {
        start_line: span.start_line,
        start_column: span.start_column,
        end_line: span.end_line,
        end_column: span.end_column,
        kind: RegionKind::Code,
        statements: block.statements,
        count: block.count,
    };
    function.regions = within.map(region).collect();
    function
}

/// A file of a report, under the name `path`, from its blocks and functions.
pub fn file(
    path: String,
    package: String,
    blocks: &BTreeMap<Span, Block>,
    placed: &[Placed],
) -> File {
    let lines = lines(blocks);
    let functions: Vec<Function> = placed
        .iter()
        .map(|placed| measure(placed, blocks, &lines))
        .collect();
    let called = functions.iter().filter(|function| function.count > 0);
    let ran = lines.iter().filter(|line| line.count > 0);
    let metrics = Metrics {
        lines: Ratio::new(ran.count() as u64, lines.len() as u64),
        functions: Ratio::new(called.count() as u64, functions.len() as u64),
        statements: statements(blocks),
        ..Metrics::default()
    };
    File {
        path,
        package,
        metrics,
        lines,
        functions,
        branches: Vec::new(),
    }
}

/// How many of the lines from `start` to `end` ran.
pub fn lines_within(lines: &[Line], start: u32, end: u32) -> Ratio {
    let from = lines.partition_point(|line| line.number < start);
    let to = lines.partition_point(|line| line.number <= end).max(from);
    let within = &lines[from..to];
    let covered = within.iter().filter(|line| line.count > 0).count();
    Ratio::new(covered as u64, within.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::go::text::Profile;

    fn blocks(text: &str) -> BTreeMap<Span, Block> {
        let text = format!("mode: count\n{text}");
        Profile::parse(text.as_bytes())
            .unwrap()
            .files
            .remove("a.go")
            .unwrap()
    }

    #[test]
    fn a_line_counts_as_its_busiest_block() {
        let blocks =
            blocks("a.go:1.14,2.8 1 5\na.go:2.8,4.3 2 0\na.go:4.8,6.3 1 3\na.go:9.1,9.2 0 7\n");
        let found: Vec<_> = lines(&blocks)
            .iter()
            .map(|l| (l.number, l.count, l.partial))
            .collect();
        assert_eq!(
            found,
            [
                (1, 5, false),
                (2, 5, true),
                (3, 0, false),
                (4, 3, true),
                (5, 3, false),
                (6, 3, false)
            ]
        );
        assert_eq!(statements(&blocks), Ratio::new(2, 4));
        assert_eq!(lines_within(&lines(&blocks), 3, 4), Ratio::new(1, 2));
    }

    #[test]
    fn a_block_that_claims_all_lines_is_cut() {
        let claims = "a.go:1.1,4294967295.1 1 1\na.go:4294960000.1,4294967295.1 1 1\n";
        assert_eq!(lines(&blocks(claims)).len(), MAX_LINES as usize);
    }

    #[test]
    fn blocks_that_all_claim_the_whole_file_take_no_time() {
        let many = (1..20_000).map(|n| format!("a.go:1.{n},1048576.1 1 1\n"));
        let begin = std::time::Instant::now();
        let found = lines(&blocks(&many.collect::<String>()));
        assert_eq!(found.len(), MAX_LINES as usize);
        assert!(begin.elapsed().as_secs() < 60, "it took as long as claimed");
    }
}
