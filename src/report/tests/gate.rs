//! The gate at its boundaries.

mod common;

use common::*;
use podcov_profile::model::{Coverage, Metrics, Ratio};
use podcov_profile::names::{Kind, Language};
use podcov_report::{
    Filter, Judgement, Metric, Policy, Report, Rule, Scope, Summary, Verdict, gate_text, judge,
};

fn with_lines(covered: u64, total: u64) -> Summary {
    let mut file = file(Language::Rust, "src/a.rs", "a", &[], &[]);
    file.metrics = Metrics {
        lines: Ratio::new(covered, total),
        ..Metrics::default()
    };
    let component = component(
        "a",
        Language::Rust,
        Kind::Operator,
        vec![binary("a", "build-id:00", vec![file])],
    );
    summary(&coverage(vec![component]))
}

fn summary(coverage: &Coverage) -> Summary {
    Report::new(coverage, &ledger(vec![]), &Filter::default()).summary
}

fn lines(scope: Scope, min: f64) -> Rule {
    Rule {
        scope,
        metric: Metric::Lines,
        min,
    }
}

fn judged(summary: &Summary, rule: Rule) -> Judgement {
    judge(summary, &[rule], Policy::default()).unwrap()
}

fn refused(summary: &Summary, rule: Rule) -> String {
    judge(summary, &[rule], Policy::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn the_unrounded_number_decides() {
    // covered, total, min, passes, missing
    let cases = [
        (79_996, 100_000, 80.0, false, 4),
        (80_000, 100_000, 80.0, true, 0),
        (79_999, 100_000, 80.0, false, 1),
        (667, 1000, 66.7, true, 0),
        (666, 1000, 66.7, false, 1),
        (1, 3, 33.333_333, true, 0),
        (1, 3, 33.333_334, false, 1),
        (29, 100, 29.0, true, 0),
        (57, 100, 57.0, true, 0),
        (99_999, 100_000, 100.0, false, 1),
        (0, 7, 0.0, true, 0),
        (0, 7, 0.000_001, false, 1),
        (512, 762, 70.0, false, 22),
        (0, 0, 0.0, true, 0),
        (0, 0, 1.0, false, 0),
        (u64::MAX / 2, u64::MAX, 50.0, false, 1),
    ];
    for (covered, total, min, passes, missing) in cases {
        let judgement = judged(&with_lines(covered, total), lines(Scope::Composition, min));
        let outcome = &judgement.outcomes[0];
        let case = format!("{covered}/{total} ≥ {min}");
        assert_eq!(outcome.passed, passes, "{case}");
        assert_eq!(outcome.missing, missing, "{case}");
        let verdict = if passes { Verdict::Pass } else { Verdict::Fail };
        assert_eq!(judgement.verdict, verdict, "{case}");
    }
}

#[test]
fn nothing_counted_is_said_and_is_no_pass() {
    let judgement = judged(&with_lines(0, 0), lines(Scope::Composition, 50.0));
    let text = gate_text(&judgement, false);
    assert!(text.contains("nothing was counted: 0 of 0 lines"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
}

#[test]
fn rules_about_nothing_are_faults_of_the_configuration() {
    let (coverage, _) = websites();
    let summary = summary(&coverage);
    let path = |glob: &str, component: Option<&str>| Scope::Path {
        glob: glob.into(),
        component: component.map(str::to_owned),
    };
    let cases = [
        (
            lines(Scope::Component("webserver".into()), 1.0),
            "no component `webserver`",
        ),
        (
            lines(path("lib/**", None), 1.0),
            "no counted file fits `lib/**`",
        ),
        (
            lines(path("**/renew.go", Some("sitectl")), 1.0),
            "no counted file fits `**/renew.go`",
        ),
        (lines(path("src/[a", None), 1.0), "not a path pattern"),
        (lines(Scope::Composition, 100.1), "from 0 to 100"),
        (lines(Scope::Composition, f64::NAN), "from 0 to 100"),
        (
            Rule {
                scope: Scope::Component("certificate-operator".into()),
                metric: Metric::Regions,
                min: 1.0,
            },
            "go has no regions; use lines, functions or statements",
        ),
    ];
    for (rule, expected) in cases {
        let error = refused(&summary, rule);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_path_rule_counts_the_files_it_fits() {
    let (coverage, _) = websites();
    let rule = |min| {
        lines(
            Scope::Path {
                glob: "website-operator/**".into(),
                component: None,
            },
            min,
        )
    };
    let judgement = judged(&summary(&coverage), rule(60.1));
    let outcome = &judgement.outcomes[0];
    assert_eq!(outcome.actual, Ratio::new(6, 10));
    assert_eq!(outcome.missing, 1);
    // The closure inside `cleanup` is not named beside it.
    let names: Vec<_> = outcome
        .unreached
        .iter()
        .map(|advice| advice.function.name.as_str())
        .collect();
    assert_eq!(names, ["website_operator::cleanup"]);
    assert_eq!(
        judged(&summary(&coverage), rule(60.0)).verdict,
        Verdict::Pass
    );
}

#[test]
fn lost_evidence_refuses_a_verdict_unless_the_policy_bears_it() {
    let (coverage, ledger) = websites();
    let summary = Report::new(&coverage, &ledger, &Filter::default()).summary;
    let rules = [lines(Scope::Composition, 10.0)];
    let verdict = |allowed_losses| {
        judge(&summary, &rules, Policy { allowed_losses })
            .unwrap()
            .verdict
    };
    assert_eq!(verdict(0), Verdict::Incomplete);
    assert_eq!(verdict(1), Verdict::Pass);
}

#[test]
fn a_rule_that_only_lost_evidence_could_meet_has_no_verdict() {
    let (coverage, ledger) = websites();
    let summary = Report::new(&coverage, &ledger, &Filter::default()).summary;
    // Lines: sitectl 1 of 2, and one of its incarnations is lost;
    // website-operator 6 of 10, and nothing is lost.
    let lost = |min| lines(Scope::Component("sitectl".into()), min);
    let whole = |min| lines(Scope::Component("website-operator".into()), min);
    let path = |min| {
        let glob = "sitectl/**".to_owned();
        let component = None;
        lines(Scope::Path { glob, component }, min)
    };
    let tolerant = Policy { allowed_losses: 1 };
    let judged = |rules: &[Rule]| judge(&summary, rules, tolerant).unwrap();
    let proven = judged(&[lost(1.0), whole(1.0)]);
    assert_eq!(proven.verdict, Verdict::Pass);
    let all: [&dyn Fn(f64) -> Rule; 2] = [&lost, &path];
    for rule in all {
        let open = judged(&[whole(1.0), rule(99.0)]);
        assert_eq!(open.verdict, Verdict::Incomplete);
        assert_eq!((open.open().count(), open.failed().count()), (1, 0));
        let text = gate_text(&open, false);
        assert!(
            text.contains("no verdict: 1 rule hangs on what is lost"),
            "{text}"
        );
        assert!(text.contains("up to 100.0 % is possible"), "{text}");
    }
    // What is proven to fail fails, and says so beside what is open.
    let failed = judged(&[lost(99.0), whole(99.0)]);
    assert_eq!(failed.verdict, Verdict::Fail);
    assert_eq!((failed.open().count(), failed.failed().count()), (1, 1));
    // Where all evidence is demanded, its loss is the first thing to know.
    let strict = judge(&summary, &[whole(99.0)], Policy::default()).unwrap();
    assert_eq!(strict.verdict, Verdict::Incomplete);
}

#[test]
fn gate_json_is_as_it_was_and_reads_back() {
    let (coverage, _) = websites();
    let scope = Scope::Path {
        glob: "**/*.go".into(),
        component: None,
    };
    let rule = Rule {
        scope,
        metric: Metric::Statements,
        min: 66.7,
    };
    let judgement = judged(&summary(&coverage), rule);
    insta::assert_snapshot!("gate.json", judgement.to_json());
    let back: Judgement = serde_json::from_str(&judgement.to_json()).unwrap();
    assert_eq!(back, judgement);
}
