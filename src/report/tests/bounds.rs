//! What lost evidence makes unknown, and what it leaves as it is.

mod common;

use common::{binary, component, coverage, file, incarnation, ledger};
use podcov_profile::Identity;
use podcov_profile::ledger::{Cause, Fate, Format, Incarnation, Ledger};
use podcov_profile::model::Coverage;
use podcov_profile::names::{Kind, Language};
use podcov_report::{
    Filter, LineState, Metric, Policy, Report, Rule, Scope, Verdict, judge, loss_text,
};

const ONE: &str = "build-id:0001";
const TWO: &str = "build-id:0002";

/// `op` has two builds that share `src/shared.rs`, and each a file of its own;
/// `other` is another component.
fn composition() -> Coverage {
    let rust = Language::Rust;
    let source = |path: &str, lines: &[(u32, u64)]| {
        let end = lines.last().unwrap().0;
        let name = format!("{path}::f");
        file(rust, path, "op", lines, &[(&name, 1, end, lines[0].1)])
    };
    let builds = vec![
        binary(
            "op",
            ONE,
            vec![
                source("src/one.rs", &[(1, 1), (2, 0)]),
                source("src/shared.rs", &[(1, 3), (2, 0), (5, 0)]),
            ],
        ),
        binary(
            "op",
            TWO,
            vec![
                source("src/shared.rs", &[(1, 0), (2, 0), (5, 0)]),
                source("src/two.rs", &[(1, 1), (2, 0), (3, 0), (9, 0)]),
            ],
        ),
    ];
    let other = vec![binary(
        "other",
        "build-id:0003",
        vec![source("src/other.rs", &[(1, 0), (2, 5)])],
    )];
    coverage(vec![
        component("op", rust, Kind::Operator, builds),
        component("other", rust, Kind::Operator, other),
    ])
}

fn id(text: &str) -> Option<Identity> {
    Some(text.parse().unwrap())
}

/// An incarnation of `op` that left nothing.
fn missing(identity: Option<Identity>) -> Incarnation {
    Incarnation {
        identity,
        cause: Some(Cause::NoLauncher),
        files: vec![],
        ..incarnation("op", "pod", 0, Fate::Missing)
    }
}

/// One of build ONE that counts.
fn good() -> Incarnation {
    let mut good = incarnation("op", "pod", 1, Fate::Collected);
    good.identity = id(ONE);
    good.files[0].identity = id(ONE);
    good
}

fn report(rows: Vec<Incarnation>) -> Report {
    let ledger: Ledger = ledger(rows);
    Report::new(&composition(), &ledger, &Filter::default())
}

/// The unknown lines of each file that has any.
#[track_caller]
fn check(rows: Vec<Incarnation>, expected: &[(&str, &[u32])]) -> Report {
    let report = report(rows);
    let unknown = report.files.iter().filter(|file| !file.unknown.is_empty());
    let unknown: Vec<(&str, &[u32])> = unknown
        .map(|file| (file.path.as_str(), file.unknown.as_slice()))
        .collect();
    assert_eq!(unknown, expected);
    let files = report.summary.files().zip(&report.files);
    for ((_, numbers), file) in files {
        assert_eq!(numbers.possible(), file.possible);
        assert_eq!(numbers.unknown_lines(), file.unknown.len() as u64);
        let (proven, possible) = (file.metrics.lines, file.possible.lines);
        assert_eq!(
            possible.covered - proven.covered,
            file.unknown.len() as u64,
            "{}",
            file.path
        );
        for line in &file.lines {
            let is_unknown = file.state(line) == LineState::Unknown;
            assert_eq!(is_unknown, file.unknown.contains(&line.number));
            assert!(!(is_unknown && line.count > 0), "covered is covered");
        }
    }
    report
}

const ALL: &[(&str, &[u32])] = &[
    ("src/one.rs", &[2]),
    ("src/shared.rs", &[2, 5]),
    ("src/two.rs", &[2, 3, 9]),
];
const OF_ONE: &[(&str, &[u32])] = &[("src/one.rs", &[2]), ("src/shared.rs", &[2, 5])];
const OF_TWO: &[(&str, &[u32])] = &[("src/shared.rs", &[2, 5]), ("src/two.rs", &[2, 3, 9])];

#[test]
fn nothing_is_unknown_where_nothing_is_lost() {
    let report = check(vec![good()], &[]);
    assert!(report.summary.complete);
}

#[test]
fn a_loss_widens_its_own_build_where_it_is_known_which() {
    let report = check(vec![good(), missing(id(ONE))], OF_ONE);
    let of = |name: &str| {
        let component = report.summary.component(name).unwrap();
        (
            component.metrics.lines.covered,
            component.possible.lines.covered,
        )
    };
    assert_eq!(of("op"), (3, 6));
    assert_eq!(of("other"), (1, 1));
    assert_eq!(report.summary.possible.lines.covered, 7);
    check(vec![good(), missing(id(TWO))], OF_TWO);
    // Nothing says which, or it is a build that nobody knows.
    check(vec![good(), missing(None)], ALL);
    check(vec![good(), missing(id("build-id:ffff"))], ALL);
}

#[test]
fn what_a_killed_process_left_says_which_build_it_was() {
    let mut damaged = good();
    (damaged.fate, damaged.cause) = (Fate::Rejected, Some(Cause::Damaged));
    (damaged.files[0].fate, damaged.files[0].cause) = (Fate::Rejected, Some(Cause::Damaged));
    check(vec![damaged.clone()], OF_ONE);
    // The file does not say; the launcher does.
    damaged.files[0].identity = None;
    check(vec![damaged.clone()], OF_ONE);
    damaged.identity = None;
    check(vec![damaged], ALL);
}

#[test]
fn a_foreign_program_reached_no_line_of_ours() {
    let foreign = |identity: Option<Identity>, own: Option<Identity>| {
        let mut row = incarnation("op", "pod", 0, Fate::Foreign);
        (row.identity, row.cause) = (own, Some(Cause::ForeignBuild));
        (row.files[0].fate, row.files[0].identity) = (Fate::Foreign, identity);
        row
    };
    let report = check(vec![good(), foreign(id("build-id:eeee"), None)], &[]);
    assert!(!report.summary.complete, "it is a loss all the same");
    // What the launcher started left nothing itself.
    check(vec![foreign(id("build-id:eeee"), id(TWO))], OF_TWO);
    // Nobody knows what wrote it.
    check(vec![foreign(None, None)], ALL);
}

#[test]
fn a_lost_record_is_told_and_makes_nothing_unknown() {
    let mut row = good();
    let mut record = row.files[0].clone();
    record.path = "websites/pod/manager/exit.json".into();
    record.format = Format::Record;
    (record.fate, record.cause) = (Fate::Missing, Some(Cause::Removed));
    row.files.push(record);
    let report = check(vec![row], &[]);
    assert!(!report.summary.complete);
    assert_eq!(report.summary.losses[0].cause, Some(Cause::Removed));
}

#[test]
fn the_rest_of_an_interval_is_bounded_and_in_the_bounds() {
    let mut ticker = good();
    (ticker.cause, ticker.interval_ms) = (Some(Cause::Ticker), Some(500));
    ticker.reason = "its counters were written every 500 ms".into();
    let report = check(vec![ticker], OF_ONE);
    let [loss] = report.summary.losses.as_slice() else {
        panic!("{:?}", report.summary.losses);
    };
    assert_eq!(
        (loss.cause, loss.interval_ms),
        (Some(Cause::Ticker), Some(500))
    );
    assert_eq!(loss.fate, Fate::Collected);
    assert!(!report.summary.complete);
}

#[test]
fn terminal_and_json_show_what_is_unknown() {
    let report = check(vec![good(), missing(id(TWO))], OF_TWO);
    let text = loss_text(&report.summary, false);
    let expected = "so: op lines 33.3 % proven, 88.8 % possible; \
                    5 lines unknown: src/two.rs 3, src/shared.rs 2";
    assert!(text.contains(expected), "{text}");
    let json: serde_json::Value = serde_json::from_str(&report.summary.to_json()).unwrap();
    let files = json["components"][0]["packages"][0]["files"]
        .as_array()
        .unwrap();
    let two = files
        .iter()
        .find(|file| file["path"] == "src/two.rs")
        .unwrap();
    assert_eq!(two["unknown"], serde_json::json!([[2, 3], [9, 9]]));
    assert_eq!(two["possible"]["lines"]["covered"], 4);
    let one = files
        .iter()
        .find(|file| file["path"] == "src/one.rs")
        .unwrap();
    assert_eq!((one.get("unknown"), one.get("possible")), (None, None));
    assert_eq!(json["losses"][0]["cause"], "no-launcher");
}

#[test]
fn a_rule_on_some_files_hangs_on_what_those_files_lost_alone() {
    let report = check(vec![good(), missing(id(TWO))], OF_TWO);
    let rule = |glob: &str| Rule {
        scope: Scope::Path {
            glob: glob.into(),
            component: Some("op".into()),
        },
        metric: Metric::Lines,
        min: 100.0,
    };
    let policy = Policy {
        allowed_losses: u64::MAX,
    };
    let verdict = |glob| {
        judge(&report.summary, &[rule(glob)], policy)
            .unwrap()
            .verdict
    };
    assert_eq!(verdict("src/two.rs"), Verdict::Incomplete);
    assert_eq!(verdict("src/one.rs"), Verdict::Fail);
}
