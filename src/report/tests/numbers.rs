//! The numbers: sums, bounds, golden summary, table and Markdown.

mod common;

use common::*;
use podcov_profile::ledger::{Fate, Ledger};
use podcov_profile::model::{Coverage, Metrics};
use podcov_profile::names::{Kind, Language};
use podcov_report::{
    Filter, Policy, Report, Rule, Scope, Summary, Verdict, gate_text, judge, loss_text, markdown,
    table,
};

fn websites_report() -> Report {
    let (coverage, ledger) = websites();
    Report::new(&coverage, &ledger, &Filter::default())
}

fn rules() -> Vec<Rule> {
    vec![
        Rule {
            scope: Scope::Composition,
            metric: podcov_report::Metric::Lines,
            min: 50.0,
        },
        Rule {
            scope: Scope::Component("certificate-operator".into()),
            metric: podcov_report::Metric::Statements,
            min: 70.0,
        },
    ]
}

#[test]
fn summary_json_is_as_it_was_and_reads_back() {
    let summary = websites_report().summary;
    insta::assert_snapshot!("summary.json", summary.to_json());
    let back: Summary = serde_json::from_str(&summary.to_json()).unwrap();
    assert_eq!(back, summary);
}

#[test]
fn the_terminal_shows_components_losses_and_the_gate() {
    let summary = websites_report().summary;
    let judgement = judge(&summary, &rules(), Policy { allowed_losses: 1 }).unwrap();
    assert_eq!(judgement.verdict, Verdict::Fail);
    insta::assert_snapshot!(
        "terminal",
        format!(
            "{}\n{}\n{}",
            table(&summary, false),
            loss_text(&summary, false),
            gate_text(&judgement, false)
        )
    );
    assert!(table(&summary, true).contains("\x1b[1mcomposition"));
}

#[test]
fn the_markdown_is_as_it_was() {
    let summary = websites_report().summary;
    let judgement = judge(&summary, &rules(), Policy::default()).unwrap();
    assert_eq!(judgement.verdict, Verdict::Incomplete);
    insta::assert_snapshot!("summary.md", markdown(&summary, Some(&judgement)));
}

/// A small generator of numbers, so that each case can be named by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn any_run(seed: u64) -> (Coverage, Ledger) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut components = Vec::new();
    let mut incarnations = Vec::new();
    for c in 0..dice.roll(4) {
        let language = if dice.roll(2) == 0 {
            Language::Rust
        } else {
            Language::Go
        };
        let name = format!("c{c}");
        let mut binaries = Vec::new();
        for b in 0..dice.roll(3) {
            let mut files = Vec::new();
            for f in 0..dice.roll(5) {
                let lines: Vec<(u32, u64)> = (1..=dice.roll(9) as u32)
                    .map(|n| (n * 2, dice.roll(3)))
                    .collect();
                let end = lines.last().map_or(0, |line| line.0);
                let calls = [("f", 1, end, lines.first().map_or(0, |line| line.1))];
                let calls = if lines.is_empty() {
                    &[][..]
                } else {
                    &calls[..]
                };
                let package = format!("p{}", dice.roll(2));
                files.push(file(
                    language,
                    &format!("src/{f}.x"),
                    &package,
                    &lines,
                    calls,
                ));
            }
            binaries.push(binary("x", &format!("build-id:{b:02}"), files));
        }
        for start in 0..dice.roll(3) as u32 {
            let fates = [Fate::Collected, Fate::Collected, Fate::Empty, Fate::Missing];
            incarnations.push(incarnation(
                &name,
                "pod",
                start,
                fates[dice.roll(4) as usize],
            ));
        }
        let mut one = component(&name, language, Kind::Operator, binaries);
        one.incarnations_collected = 0;
        components.push(one);
    }
    (coverage(components), ledger(incarnations))
}

#[test]
fn files_add_up_to_packages_to_components_to_the_composition() {
    let mut multi_build = 0;
    for seed in 1..=400 {
        let (coverage, ledger) = any_run(seed);
        let report = Report::new(&coverage, &ledger, &Filter::default());
        let summary = &report.summary;
        for component in &summary.components {
            let of_files: Metrics = component.files().map(|file| file.metrics).sum();
            assert_eq!(of_files, component.metrics, "seed {seed}");
            for package in &component.packages {
                let of_files: Metrics = package.files.iter().map(|file| file.metrics).sum();
                assert_eq!(of_files, package.metrics, "seed {seed}");
            }
            let counts = &component.incarnations;
            assert_eq!(counts.collected + counts.lost, counts.total, "seed {seed}");
            assert_eq!(
                counts.fates.values().sum::<u64>(),
                counts.total,
                "seed {seed}"
            );
            let possible = component.possible.lines.covered;
            if counts.lost > 0 {
                assert_eq!(possible, component.metrics.lines.total, "seed {seed}");
            } else {
                assert!(!component.is_uncertain(), "seed {seed}");
            }
            multi_build += component
                .files()
                .filter(|file| file.build.is_some())
                .count();
        }
        let of_components: Metrics = summary.components.iter().map(|c| c.metrics).sum();
        assert_eq!(of_components, summary.metrics, "seed {seed}");
        let pairs: Vec<_> = summary
            .files()
            .map(|(c, f)| (&c.name, &f.path, f.metrics))
            .collect();
        let lines: Vec<_> = report
            .files
            .iter()
            .map(|f| (&summary.components[f.component].name, &f.path, f.metrics))
            .collect();
        assert_eq!(pairs, lines, "seed {seed}");
        for (part, whole) in [
            (summary.metrics.lines, summary.possible.lines),
            (summary.metrics.functions, summary.possible.functions),
        ] {
            assert!(
                part.covered <= whole.covered && whole.covered <= whole.total,
                "seed {seed}"
            );
            assert_eq!(part.total, whole.total, "seed {seed}");
        }
        assert!(!summary.to_json().contains("NaN"), "seed {seed}");
        assert_eq!(
            summary.complete,
            ledger.lost().next().is_none(),
            "seed {seed}"
        );
    }
    assert!(multi_build > 0, "no seed made builds of different sources");
}

#[test]
fn a_loss_makes_what_was_not_reached_possible() {
    let summary = websites_report().summary;
    let client = summary.component("sitectl").unwrap();
    assert_eq!(
        (client.metrics.lines.covered, client.possible.lines.covered),
        (1, 2)
    );
    let operator = summary.component("website-operator").unwrap();
    assert_eq!(operator.metrics, operator.possible);
    assert_eq!(
        summary.possible.lines.covered,
        summary.metrics.lines.covered + 1
    );
    assert!(!summary.complete);
}

#[test]
fn a_lost_incarnation_of_nobody_knows_whom_can_be_anyones_unless_it_is_foreign() {
    let (coverage, _) = websites();
    let check = |fate, uncertain| {
        let ledger = ledger(vec![incarnation("", "stray", 0, fate)]);
        let summary = Report::new(&coverage, &ledger, &Filter::default()).summary;
        let any = summary
            .components
            .iter()
            .filter(|c| c.is_uncertain())
            .count();
        assert_eq!(any, if uncertain { 3 } else { 0 }, "{fate:?}");
        assert!(!summary.complete, "{fate:?}");
    };
    check(Fate::Missing, true);
    check(Fate::Empty, true);
    check(Fate::Foreign, false);
}

#[test]
fn a_damaged_file_in_a_collected_incarnation_is_a_loss() {
    let (coverage, mut ledger) = websites();
    ledger
        .incarnations
        .retain(|incarnation| !incarnation.is_lost());
    let whole = Report::new(&coverage, &ledger, &Filter::default()).summary;
    assert!(whole.complete);
    ledger.incarnations[0].files[0].fate = Fate::Rejected;
    ledger.incarnations[0].files[0].reason = "its counters are cut off".into();
    let summary = Report::new(&coverage, &ledger, &Filter::default()).summary;
    assert!(!summary.complete);
    assert_eq!(summary.losses.len(), 1);
    assert!(
        summary
            .component("certificate-operator")
            .unwrap()
            .is_uncertain()
    );
    assert_eq!(
        judge(&summary, &[], Policy::default()).unwrap().verdict,
        Verdict::Incomplete
    );
}

#[test]
fn what_the_filter_leaves_out_counts_nowhere() {
    let (coverage, ledger) = websites();
    let filter = Filter::new(&[], &["**/reconcile.rs"]).unwrap();
    let report = Report::new(&coverage, &ledger, &filter);
    assert!(
        report
            .files
            .iter()
            .all(|file| !file.path.ends_with("reconcile.rs"))
    );
    assert_eq!(
        report
            .summary
            .component("website-operator")
            .unwrap()
            .metrics
            .lines
            .total,
        4
    );
}

#[test]
fn a_component_that_ran_and_was_not_merged_is_told() {
    let (mut coverage, ledger) = websites();
    coverage
        .components
        .retain(|component| component.name != "sitectl");
    let summary = Report::new(&coverage, &ledger, &Filter::default()).summary;
    assert!(
        summary
            .findings
            .iter()
            .any(|f| f.kind == "unmeasured" && f.text.contains("sitectl"))
    );
}

#[test]
fn names_cannot_speak_to_the_terminal_or_to_markdown() {
    let (mut coverage, mut ledger) = websites();
    coverage.components[0].name = "a\x1b[31m|`<script>".into();
    ledger.incarnations[2].pod = "p\x1b]0;x\x07\n| <img>".into();
    let summary = Report::new(&coverage, &ledger, &Filter::default()).summary;
    let rule = Rule {
        scope: Scope::Component("a\x1b[31m|`<script>".into()),
        metric: podcov_report::Metric::Lines,
        min: 99.0,
    };
    let judgement = judge(&summary, &[rule], Policy::default()).unwrap();
    let text = [
        table(&summary, false),
        loss_text(&summary, false),
        gate_text(&judgement, false),
    ];
    for text in text {
        assert!(!text.contains(['\x1b', '\x07']), "{text}");
    }
    let markdown = markdown(&summary, Some(&judgement));
    assert!(!markdown.contains(['\x1b', '\x07']));
    assert!(
        !markdown.contains("<script") && !markdown.contains("<img"),
        "{markdown}"
    );
}
