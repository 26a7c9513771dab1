//! One component's source files out of those of its builds.

use std::collections::{BTreeMap, BTreeSet};

use podcov_profile::model::{File, Function, Line, Metrics, Ratio};

/// One source file of a component, over the builds that agree on it.
pub(crate) struct Combined {
    /// The numbers, lines and functions.
    pub file: File,
    /// Indices of the builds it is of.
    pub builds: Vec<usize>,
}

/// Brings the files of several builds of one component together.
///
/// Two builds agree on a path when every function that both have starts, ends
/// and has its code on the same lines: then they come from one source, and
/// each line counts once, covered if any of them covered it. Builds that do
/// not agree come from different sources; each keeps a file of its own, and
/// each counts. Ordered by path, then by build.
pub(crate) fn combine(builds: &[&[File]]) -> Vec<Combined> {
    let mut paths: BTreeMap<&str, Vec<Combined>> = BTreeMap::new();
    for (index, files) in builds.iter().enumerate() {
        for file in *files {
            let same_path = paths.entry(&file.path).or_default();
            match same_path.iter_mut().find(|other| agree(&other.file, file)) {
                Some(other) => {
                    absorb(&mut other.file, file);
                    other.builds.push(index);
                }
                None => same_path.push(Combined {
                    file: file.clone(),
                    builds: vec![index],
                }),
            }
        }
    }
    paths.into_values().flatten().collect()
}

fn agree(one: &File, other: &File) -> bool {
    if one.lines == other.lines && one.functions == other.functions {
        return true;
    }
    let shape = |file: &File| {
        let mut shape: BTreeMap<String, BTreeSet<(u32, u32)>> = BTreeMap::new();
        for function in &file.functions {
            shape
                .entry(function.name.clone())
                .or_default()
                .insert((function.start, function.end));
        }
        shape
    };
    let numbers = |file: &File| {
        file.lines
            .iter()
            .map(|line| line.number)
            .collect::<BTreeSet<_>>()
    };
    let (one_shape, other_shape) = (shape(one), shape(other));
    let (one_lines, other_lines) = (numbers(one), numbers(other));
    let mut shared = one_shape
        .iter()
        .filter_map(|(name, places)| Some((places, other_shape.get(name)?)))
        .peekable();
    if shared.peek().is_none() {
        // No function to compare: only equal lines say that it is one source.
        return one_lines == other_lines;
    }
    // A linker may have dropped one of several functions of one name.
    shared.all(|(places, other_places)| {
        (places.is_subset(other_places) || other_places.is_subset(places))
            && places.intersection(other_places).all(|&(start, end)| {
                start > end
                    || one_lines
                        .range(start..=end)
                        .eq(other_lines.range(start..=end))
            })
    })
}

fn absorb(file: &mut File, other: &File) {
    let mut lines: BTreeMap<u32, Line> = BTreeMap::new();
    for line in file.lines.iter().chain(&other.lines) {
        lines
            .entry(line.number)
            .and_modify(|seen| *seen = add_lines(*seen, *line))
            .or_insert(*line);
    }
    let mut functions: BTreeMap<(u32, u32, String), Function> = BTreeMap::new();
    for function in file.functions.iter().chain(&other.functions) {
        functions
            .entry((function.start, function.end, function.name.clone()))
            .and_modify(|seen| {
                seen.count = seen.count.saturating_add(function.count);
                seen.lines = better(seen.lines, function.lines);
            })
            .or_insert_with(|| function.clone());
    }
    file.metrics = Metrics {
        lines: ratio(lines.values().map(|line| line.count)),
        functions: ratio(functions.values().map(|function| function.count)),
        // Which regions and statements were covered is not in the model, so
        // their union is not known: what the better build proves is.
        regions: better(file.metrics.regions, other.metrics.regions),
        statements: better(file.metrics.statements, other.metrics.statements),
    };
    file.lines = lines.into_values().collect();
    file.functions = functions.into_values().collect();
}

/// A line of two builds. What is partly covered in both may be different
/// parts, but nothing proves it.
fn add_lines(one: Line, other: Line) -> Line {
    let whole = |line: Line| line.count > 0 && !line.partial;
    Line {
        number: one.number,
        count: one.count.saturating_add(other.count),
        partial: !whole(one) && !whole(other) && (one.partial || other.partial),
    }
}

fn ratio(counts: impl Iterator<Item = u64>) -> Ratio {
    let mut ratio = Ratio::default();
    for count in counts {
        ratio += Ratio::new(u64::from(count > 0), 1);
    }
    ratio
}

/// The larger of two lower bounds, over the larger total.
fn better(one: Ratio, other: Ratio) -> Ratio {
    Ratio::new(one.covered.max(other.covered), one.total.max(other.total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(counts: &[(u32, u64)], calls: &[(&str, u32, u32, u64)], regions: Ratio) -> File {
        let lines: Vec<Line> = counts
            .iter()
            .map(|&(number, count)| Line {
                number,
                count,
                partial: false,
            })
            .collect();
        let functions: Vec<Function> = calls
            .iter()
            .map(|&(name, start, end, count)| Function {
                name: name.into(),
                start,
                end,
                count,
                lines: Ratio::new(u64::from(count > 0), 1),
            })
            .collect();
        let metrics = Metrics {
            lines: ratio(lines.iter().map(|line| line.count)),
            functions: ratio(functions.iter().map(|function| function.count)),
            regions,
            statements: Ratio::default(),
        };
        File {
            path: "src/a.rs".into(),
            package: "a".into(),
            metrics,
            lines,
            functions,
        }
    }

    #[test]
    fn builds_of_one_source_count_each_line_once() {
        let one = file(
            &[(1, 2), (2, 0), (9, 0)],
            &[("f", 1, 2, 2), ("g", 9, 9, 0)],
            Ratio::new(3, 5),
        );
        // The other build has no `g`: the linker dropped it.
        let two = file(&[(1, 1), (2, 4)], &[("f", 1, 2, 1)], Ratio::new(4, 4));
        let all = combine(&[&[one], &[two]]);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].builds, [0, 1]);
        let metrics = all[0].file.metrics;
        assert_eq!(metrics.lines, Ratio::new(2, 3));
        assert_eq!(metrics.functions, Ratio::new(1, 2));
        assert_eq!(metrics.regions, Ratio::new(4, 5));
        assert_eq!(all[0].file.lines[0].count, 3);
        assert_eq!(all[0].file.functions[0].count, 3);
    }

    #[test]
    fn builds_of_different_sources_are_kept_apart_and_both_count() {
        let one = file(&[(1, 2), (2, 0)], &[("f", 1, 2, 2)], Ratio::default());
        let moved = file(&[(4, 2), (5, 0)], &[("f", 4, 5, 2)], Ratio::default());
        let edited = file(&[(1, 2)], &[("f", 1, 2, 2)], Ratio::default());
        let all = combine(&[&[one], &[moved], &[edited]]);
        assert_eq!(
            all.iter().map(|c| c.builds.clone()).collect::<Vec<_>>(),
            [[0], [1], [2]]
        );
        let total: Metrics = all.iter().map(|c| c.file.metrics).sum();
        assert_eq!(total.lines, Ratio::new(3, 5));
    }

    #[test]
    fn a_function_that_one_linker_dropped_is_no_difference() {
        let calls = [("f", 1, 1, 1), ("f", 3, 3, 0)];
        let both = file(&[(1, 1), (3, 0)], &calls, Ratio::default());
        let one = file(&[(3, 2)], &[("f", 3, 3, 2)], Ratio::default());
        let all = combine(&[&[both], &[one]]);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].file.metrics.lines, Ratio::new(2, 2));
    }

    #[test]
    fn a_line_is_whole_when_any_build_covered_all_of_it() {
        let part = Line {
            number: 1,
            count: 1,
            partial: true,
        };
        let whole = Line {
            number: 1,
            count: 1,
            partial: false,
        };
        let never = Line {
            number: 1,
            count: 0,
            partial: false,
        };
        assert!(add_lines(part, part).partial);
        assert!(add_lines(part, never).partial);
        assert!(!add_lines(part, whole).partial);
        assert_eq!(add_lines(part, whole).count, 2);
    }
}
