//! Attribution in pods: a suite of twelve tests in one go gives each test the
//! lines that a run of that test alone gives it, apart from what operators do
//! by themselves.
//!
//! Each run has pods of its own; the runs share a cluster.

use std::collections::BTreeMap;

use super::project::Project;
use super::reached::{Lines, reach};
use super::turn;

const TESTS: u32 = 12;

/// Builds, deploys, runs the tests, stops, collects, merges; gives what each
/// key reached.
fn run(project: &Project, name: &str, tests: &str) -> BTreeMap<String, Lines> {
    let config = format!("{name}.toml");
    project.derive("podcov.toml", &config, &[("TESTS", tests)]);
    project.podcov(name, &["run"]).expect(0);
    let ledger = project.json(name, "ledger.json");
    let fates = ledger["incarnations"].as_array().unwrap().iter();
    assert!(
        fates.into_iter().all(|one| one["fate"] == "collected"),
        "{ledger:#}"
    );
    // Both count into files that are there while they run.
    for format in ["profraw", "covlive"] {
        let mut files = ledger["incarnations"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|one| one["files"].as_array().unwrap());
        let is_it = |file: &serde_json::Value| file["format"] == format;
        assert!(files.any(is_it), "no {format}: {ledger:#}");
    }
    reach(&project.run_dir(name))
}

#[test]
fn a_suite_in_one_go_gives_tests_what_they_reach_alone() {
    let _turn = turn();
    let project = Project::of("whole_product/attribution", 'p');
    project.podcov("cluster", &["cluster", "up"]).expect(0);

    let alone = run(&project, "background", "none");
    let background: Lines = alone.into_values().flatten().collect();
    let all: Vec<String> = (0..TESTS).map(|number| number.to_string()).collect();
    let together = run(&project, "together", &all.join(" "));
    let mut remainder = Lines::new();
    for number in &all {
        let alone = run(&project, &format!("alone-{number}"), number);
        let key = format!("test:test_{number}");
        let (one, other) = (&together[&key], &alone[&key]);
        eprintln!("{key}: {} lines, alone {}", one.len(), other.len());
        remainder.extend(one.symmetric_difference(other).cloned());
        what_it_reached_is_true(number.parse().unwrap(), one);
    }
    eprintln!("of the background: {remainder:?}");
    let unknown: Vec<_> = remainder.difference(&background).collect();
    assert!(unknown.is_empty(), "no background reaches {unknown:?}");
    // The programs have all of it in one place.
    let is_elsewhere = |(path, _): &&(String, u64)| !path.contains("background.");
    let elsewhere: Vec<_> = remainder.iter().filter(is_elsewhere).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");

    let tests = together.keys().filter(|key| key.starts_with("test:"));
    assert_eq!(tests.count(), TESTS as usize);
    // Run after run the report says how much of a test is the background's, too.
    let summary = project.json("together", "report/summary.json");
    for test in summary["phases"].as_array().unwrap() {
        let name = test["name"].as_str().unwrap();
        let own = &together[&format!("test:{name}")];
        let shared = own.intersection(&together["test-outside"]).count();
        assert_eq!(test["background"], shared, "{test}");
        // Its operation of each language, three lines each, less what is brace only.
        assert!(test["only"].as_u64().unwrap() >= 4, "{test}");
    }
    project.podcov("cluster", &["cluster", "down"]).expect(0);
}

/// Each operation has its own three lines, in this order, in both languages.
fn what_it_reached_is_true(number: u64, lines: &Lines) {
    let has = |path: &str, line: u64| {
        let mut own = lines.iter().filter(|(of, _)| of.ends_with(path));
        own.any(|(_, other)| *other == line)
    };
    for other in 0..u64::from(TESTS) {
        for (path, line) in [
            ("operation.rs", 4 * other + 4),
            ("operation.go", 4 * other + 6),
        ] {
            let is_there = has(path, line);
            assert_eq!(is_there, other == number, "test {number}, {path}:{line}");
        }
    }
    // Only the seventh starts a pod.
    let started = lines
        .iter()
        .any(|(path, line)| path == "gopher/main.go" && *line == 33);
    assert_eq!(started, number == 7, "{lines:?}");
}
