//! What is told of two measurements.

use podcov_profile::diff::{Status, diff};
use podcov_profile::model::{
    Binary, Component, Coverage, File, Function, Line, Metrics, Ratio, SCHEMA,
};
use podcov_profile::names::{Kind, Language};
use podcov_profile::reach::Reach;
use proptest::prelude::*;

fn ratio(counts: impl Iterator<Item = u64>) -> Ratio {
    counts.fold(Ratio::default(), |mut sum, count| {
        sum += Ratio::new(u64::from(count > 0), 1);
        sum
    })
}

fn file(path: &str, lines: &[(u32, u64)], functions: &[(&str, u32, u32, u64)]) -> File {
    File {
        path: path.into(),
        package: "p".into(),
        metrics: Metrics {
            lines: ratio(lines.iter().map(|(_, count)| *count)),
            functions: ratio(functions.iter().map(|function| function.3)),
            ..Metrics::default()
        },
        lines: lines
            .iter()
            .map(|&(number, count)| Line {
                number,
                count,
                partial: false,
            })
            .collect(),
        functions: functions
            .iter()
            .map(|&(name, start, end, count)| Function {
                name: name.into(),
                start,
                end,
                count,
                ..Function::default()
            })
            .collect(),
        ..File::default()
    }
}

fn component(name: &str, builds: Vec<Vec<File>>) -> Component {
    let binary = |(index, files): (usize, Vec<File>)| Binary {
        name: name.into(),
        identity: format!("build-id:{index:02x}").parse().unwrap(),
        profiles: 1,
        files,
        reach: Reach::new(),
    };
    Component {
        name: name.into(),
        language: Language::Rust,
        kind: Kind::Operator,
        binaries: builds.into_iter().enumerate().map(binary).collect(),
        incarnations_collected: 1,
        incarnations_lost: 0,
    }
}

fn coverage(components: Vec<Component>) -> Coverage {
    Coverage {
        schema: SCHEMA,
        composition: "websites".into(),
        components,
    }
}

fn before() -> Coverage {
    let a = file(
        "src/a.rs",
        &[(1, 1), (2, 1), (3, 0), (4, 0), (9, 3)],
        &[("f", 1, 4, 1), ("g", 9, 9, 3)],
    );
    let moved = file(
        "src/moved.rs",
        &[(1, 1), (2, 0), (5, 7), (6, 0)],
        &[("first", 1, 2, 1), ("second", 5, 6, 7)],
    );
    let gone = file("src/gone.rs", &[(1, 1)], &[("gone", 1, 1, 1)]);
    let same = file("src/same.rs", &[(1, 1), (2, 0)], &[("same", 1, 2, 1)]);
    coverage(vec![
        component("operator", vec![vec![a, moved, gone, same]]),
        component(
            "cli",
            vec![vec![file("src/main.rs", &[(1, 1)], &[("main", 1, 1, 1)])]],
        ),
    ])
}

fn after() -> Coverage {
    let a = file(
        "src/a.rs",
        &[(1, 5), (2, 0), (3, 2), (4, 2), (9, 0)],
        &[("f", 1, 4, 5), ("g", 9, 9, 0)],
    );
    // `first` has a line more, `second` is three lines further down.
    let moved = file(
        "src/moved.rs",
        &[(1, 1), (2, 0), (3, 1), (8, 7), (9, 1), (20, 0)],
        &[
            ("first", 1, 3, 1),
            ("second", 8, 9, 7),
            ("third", 20, 20, 0),
        ],
    );
    let new = file("src/new.rs", &[(1, 1), (2, 0)], &[("new", 1, 2, 1)]);
    let same = file("src/same.rs", &[(1, 900), (2, 0)], &[("same", 1, 2, 900)]);
    coverage(vec![
        component("operator", vec![vec![a, moved, new, same]]),
        component(
            "webhook",
            vec![vec![file("src/main.rs", &[(1, 0)], &[("main", 1, 1, 0)])]],
        ),
    ])
}

#[test]
fn a_difference_tells_what_was_reached_and_what_was_lost() {
    insta::assert_snapshot!("diff.txt", diff(&before(), &after()).to_text());
}

#[test]
fn code_that_only_moved_is_compared_with_itself() {
    let all = diff(&before(), &after());
    let operator = &all.components[1];
    let paths: Vec<_> = operator
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(
        paths,
        ["src/a.rs", "src/gone.rs", "src/moved.rs", "src/new.rs"]
    );
    let moved = &operator.files[2];
    assert!(moved.edited);
    assert_eq!(moved.reached, [(9, 9)], "line 6 of before is line 9");
    assert_eq!(moved.lost, []);
    assert_eq!(
        moved.new_lines,
        Ratio::new(2, 4),
        "`first` was edited, `third` is new"
    );
    assert_eq!(moved.gone_lines, Ratio::new(1, 2));
}

#[test]
fn a_difference_as_json_is_stable() {
    let json = serde_json::to_string_pretty(&diff(&before(), &after())).unwrap();
    insta::assert_snapshot!("diff.json", json);
}

#[test]
fn equal_measurements_do_not_differ_whatever_they_count() {
    let all = diff(&before(), &before());
    assert!(all.is_empty());
    assert!(all.to_text().ends_with("nothing differs\n"));
    let mut more = before();
    for component in &mut more.components {
        for file in component
            .binaries
            .iter_mut()
            .flat_map(|binary| &mut binary.files)
        {
            file.lines.iter_mut().for_each(|line| line.count *= 3);
        }
    }
    assert!(diff(&before(), &more).is_empty());
}

#[test]
fn a_line_of_two_builds_is_one() {
    let build = |one, two| vec![file("src/a.rs", &[(1, one), (2, two)], &[("f", 1, 2, one)])];
    let a = coverage(vec![component("c", vec![build(1, 0)])]);
    let b = coverage(vec![component("c", vec![build(1, 0), build(1, 4)])]);
    let all = diff(&a, &b);
    assert_eq!(all.metrics.after.lines, Ratio::new(2, 2));
    assert_eq!(all.components[0].files[0].reached, [(2, 2)]);
}

#[test]
fn functions_nested_without_end_take_no_time() {
    let nested = |shift: u32| {
        let lines: Vec<(u32, u64)> = (0..20_000)
            .map(|n| (n * 2 + (n % 7) * shift + 1, 1))
            .collect();
        let mut lines = lines;
        lines.sort();
        lines.dedup_by_key(|line| line.0);
        let names: Vec<String> = (0..20_000).map(|n| format!("f{n}")).collect();
        let functions: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), 1, 50_000, 1))
            .collect();
        coverage(vec![component(
            "c",
            vec![vec![file("a.rs", &lines, &functions)]],
        )])
    };
    let (a, b) = (nested(0), nested(1));
    let begin = std::time::Instant::now();
    assert!(!diff(&a, &b).is_empty());
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

fn any_coverage() -> impl Strategy<Value = Coverage> {
    let lines = prop::collection::btree_map(1..12u32, 0..3u64, 0..8);
    let functions = prop::collection::vec((0..4u8, 1..9u32, 0..4u32, 0..2u64), 0..4);
    let file = (0..3u8, lines, functions).prop_map(|(path, lines, functions)| {
        let lines: Vec<_> = lines.into_iter().collect();
        let names: Vec<String> = functions.iter().map(|f| format!("f{}", f.0)).collect();
        let functions: Vec<_> = functions
            .iter()
            .zip(&names)
            .map(|(&(_, start, length, count), name)| (name.as_str(), start, start + length, count))
            .collect();
        file(&format!("{path}.rs"), &lines, &functions)
    });
    prop::collection::vec(prop::collection::vec(file, 0..3), 0..3).prop_map(|components| {
        let named = components.into_iter().enumerate();
        let component = |(index, files)| component(&format!("c{index}"), vec![files]);
        coverage(named.map(component).collect())
    })
}

proptest! {
    #[test]
    fn there_and_back_are_each_other_turned_around(a in any_coverage(), b in any_coverage()) {
        let (there, back) = (diff(&a, &b), diff(&b, &a));
        prop_assert_eq!(there.metrics.before, back.metrics.after);
        prop_assert_eq!(there.is_empty(), back.is_empty());
        for (one, two) in there.components.iter().zip(&back.components) {
            let turned = match one.status {
                Status::Kept => Status::Kept,
                Status::New => Status::Removed,
                Status::Removed => Status::New,
            };
            prop_assert_eq!(turned, two.status);
            for (one, two) in one.files.iter().zip(&two.files) {
                prop_assert_eq!(&one.path, &two.path);
                prop_assert_eq!(one.new_lines, two.gone_lines);
                prop_assert_eq!(one.edited, two.edited);
                let number = |ranges: &[(u32, u32)]| -> u32 {
                    ranges.iter().map(|(from, to)| to - from + 1).sum()
                };
                prop_assert_eq!(number(&one.reached), number(&two.lost));
                prop_assert_eq!(one.functions.len(), two.functions.len());
            }
        }
    }

    #[test]
    fn lines_of_the_sides_add_up(a in any_coverage(), b in any_coverage()) {
        let number = |ranges: &[(u32, u32)]| -> u64 {
            ranges.iter().map(|(from, to)| u64::from(to - from + 1)).sum()
        };
        for file in diff(&a, &b).components.iter().flat_map(|component| &component.files) {
            let (before, after) = (file.metrics.before.lines, file.metrics.after.lines);
            // What both have was reached before, less what was lost, plus what
            // is reached now.
            let kept = before.covered - file.gone_lines.covered;
            prop_assert_eq!(
                kept + number(&file.reached) - number(&file.lost),
                after.covered - file.new_lines.covered
            );
            prop_assert_eq!(
                before.total - file.gone_lines.total,
                after.total - file.new_lines.total
            );
        }
    }
}
