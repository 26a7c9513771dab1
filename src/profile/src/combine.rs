//! One component's source files out of those of its builds.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Branch, File, Function, Instance, Line, Metrics, Ratio, Region, RegionKind};

/// One source file of a component, over the builds that agree on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Combined {
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
pub fn combine(builds: &[&[File]]) -> Vec<Combined> {
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
                add_regions(&mut seen.regions, &function.regions);
                add_instances(&mut seen.instances, &function.instances);
            })
            .or_insert_with(|| function.clone());
    }
    let is_known = counts_regions(file) && counts_regions(other);
    let lines: Vec<Line> = lines.into_values().collect();
    let functions: Vec<Function> = functions.into_values().collect();
    let (regions, statements) = if is_known {
        native(&functions)
    } else {
        // Without regions their union is not known: what the better build
        // proves is.
        (
            better(file.metrics.regions, other.metrics.regions),
            better(file.metrics.statements, other.metrics.statements),
        )
    };
    let branches = branches(&file.branches, &other.branches);
    file.metrics = Metrics {
        lines: ratio(lines.iter().map(|line| line.count)),
        functions: ratio(functions.iter().map(|function| function.count)),
        regions,
        statements,
        instantiations: better(file.metrics.instantiations, other.metrics.instantiations),
        branches: if branches.is_empty() {
            better(file.metrics.branches, other.metrics.branches)
        } else {
            let outcomes = branches.iter().flat_map(|b| [b.taken, b.not_taken]);
            ratio(outcomes)
        },
    };
    file.lines = lines;
    file.functions = functions;
    file.branches = branches;
}

/// Whether the regions of a file's functions are what its numbers count.
fn counts_regions(file: &File) -> bool {
    let metrics = &file.metrics;
    file.functions.iter().all(|f| !f.regions.is_empty())
        && native(&file.functions) == (metrics.regions, metrics.statements)
}

/// Regions (Rust) and statements (Go) of functions.
fn native(functions: &[Function]) -> (Ratio, Ratio) {
    let (mut regions, mut statements) = (Ratio::default(), Ratio::default());
    let all = functions.iter().flat_map(|function| &function.regions);
    for region in all.filter(|region| region.kind == RegionKind::Code) {
        let ran = u64::from(region.count > 0);
        let number = u64::from(region.statements);
        if number == 0 {
            regions += Ratio::new(ran, 1);
        } else {
            statements += Ratio::new(ran * number, number);
        }
    }
    (regions, statements)
}

fn add_regions(regions: &mut Vec<Region>, more: &[Region]) {
    let mut all: BTreeMap<Region, u64> = BTreeMap::new();
    for region in regions.iter().chain(more) {
        let count = all
            .entry(Region {
                count: 0,
                ..*region
            })
            .or_default();
        *count = count.saturating_add(region.count);
    }
    let all = all.into_iter();
    *regions = all
        .map(|(region, count)| Region { count, ..region })
        .collect();
}

fn add_instances(instances: &mut Vec<Instance>, more: &[Instance]) {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for instance in instances.iter().chain(more) {
        let count = all.entry(&instance.name).or_default();
        *count = count.saturating_add(instance.count);
    }
    let all = all.into_iter().map(|(name, count)| Instance {
        name: name.to_owned(),
        count,
    });
    *instances = all.collect();
}

fn branches(one: &[Branch], other: &[Branch]) -> Vec<Branch> {
    let mut all: BTreeMap<Branch, (u64, u64)> = BTreeMap::new();
    for branch in one.iter().chain(other) {
        let place = Branch {
            taken: 0,
            not_taken: 0,
            ..*branch
        };
        let (taken, not_taken) = all.entry(place).or_default();
        *taken = taken.saturating_add(branch.taken);
        *not_taken = not_taken.saturating_add(branch.not_taken);
    }
    let all = all.into_iter();
    all.map(|(place, (taken, not_taken))| Branch {
        taken,
        not_taken,
        ..place
    })
    .collect()
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
                ..Function::default()
            })
            .collect();
        let metrics = Metrics {
            lines: ratio(lines.iter().map(|line| line.count)),
            functions: ratio(functions.iter().map(|function| function.count)),
            regions,
            ..Metrics::default()
        };
        File {
            path: "src/a.rs".into(),
            package: "a".into(),
            metrics,
            lines,
            functions,
            branches: vec![],
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
    fn regions_of_two_builds_are_joined_where_they_are_known() {
        let build = |counts: [u64; 3]| {
            let region = |(index, count): (usize, u64)| Region {
                start_line: 1,
                start_column: index as u32 + 1,
                end_line: 2,
                end_column: 9,
                count,
                ..Region::default()
            };
            let covered = counts.iter().filter(|count| **count > 0).count() as u64;
            let lines = [(1, counts[0]), (2, counts[1])];
            let calls = [("f", 1, 2, counts[0])];
            let mut file = file(&lines, &calls, Ratio::new(covered, 3));
            file.functions[0].regions = counts.into_iter().enumerate().map(region).collect();
            file.functions[0].instances = vec![Instance {
                name: "f::<u8>".into(),
                count: counts[0],
            }];
            file.branches = vec![Branch {
                start_line: 1,
                taken: counts[1],
                not_taken: counts[2],
                ..Branch::default()
            }];
            file
        };
        let all = combine(&[&[build([1, 0, 3])], &[build([1, 2, 0])]]);
        let file = &all[0].file;
        assert_eq!(
            file.metrics.regions,
            Ratio::new(3, 3),
            "neither build proves 3"
        );
        assert_eq!(file.metrics.branches, Ratio::new(2, 2));
        assert_eq!(file.functions[0].instances[0].count, 2);
        let counts: Vec<u64> = file.functions[0].regions.iter().map(|r| r.count).collect();
        assert_eq!(counts, [2, 2, 3]);
        assert_eq!((file.branches[0].taken, file.branches[0].not_taken), (2, 3));
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
