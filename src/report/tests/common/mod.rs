//! Synthetic runs.
#![allow(dead_code, reason = "each test file uses its own part")]

use podcov_profile::Identity;
use podcov_profile::ledger::{self, Ended, Fate, Format, Incarnation, Ledger};
use podcov_profile::model::{
    self, Binary, Component, Coverage, File, Function, Line, Metrics, Ratio,
};
use podcov_profile::names::{Kind, Language};
use podcov_profile::reach::Reach;

pub fn ratio<I: IntoIterator<Item = u64>>(counts: I) -> Ratio {
    counts.into_iter().fold(Ratio::default(), |mut sum, count| {
        sum += Ratio::new(u64::from(count > 0), 1);
        sum
    })
}

/// A file whose numbers follow from its lines and functions.
pub fn file(
    language: Language,
    path: &str,
    package: &str,
    lines: &[(u32, u64)],
    functions: &[(&str, u32, u32, u64)],
) -> File {
    let lines: Vec<Line> = lines
        .iter()
        .map(|&(number, count)| Line {
            number,
            count,
            partial: false,
        })
        .collect();
    let functions: Vec<Function> = functions
        .iter()
        .map(|&(name, start, end, count)| Function {
            name: name.into(),
            start,
            end,
            count,
            lines: ratio(
                lines
                    .iter()
                    .filter(|l| (start..=end).contains(&l.number))
                    .map(|l| l.count),
            ),
            ..Function::default()
        })
        .collect();
    let native = ratio(lines.iter().map(|line| line.count));
    let mut metrics = Metrics {
        lines: native,
        functions: ratio(functions.iter().map(|function| function.count)),
        ..Metrics::default()
    };
    match language {
        Language::Rust => metrics.regions = Ratio::new(native.covered, native.total + 1),
        Language::Go => metrics.statements = native,
    }
    File {
        path: path.into(),
        package: package.into(),
        metrics,
        lines,
        functions,
        branches: vec![],
    }
}

pub fn binary(name: &str, identity: &str, files: Vec<File>) -> Binary {
    Binary {
        name: name.into(),
        identity: identity.parse::<Identity>().unwrap(),
        profiles: 2,
        files,
        reach: Reach::new(),
    }
}

pub fn component(name: &str, language: Language, kind: Kind, binaries: Vec<Binary>) -> Component {
    Component {
        name: name.into(),
        language,
        kind,
        binaries,
        incarnations_collected: 1,
        incarnations_lost: 0,
    }
}

pub fn coverage(components: Vec<Component>) -> Coverage {
    Coverage {
        schema: model::SCHEMA,
        composition: "websites".into(),
        components,
    }
}

pub fn incarnation(component: &str, pod: &str, restart: u32, fate: Fate) -> Incarnation {
    Incarnation {
        component: component.into(),
        namespace: "websites".into(),
        pod: pod.into(),
        pod_uid: format!("{restart:08}-0000-4000-8000-000000000000"),
        container: "manager".into(),
        id: Some(format!("20261121T0905{restart:02}.000Z-a1b2")),
        restart: Some(restart),
        phase: None,
        identity: None,
        start: Some(format!("2026-11-21T09:05:{restart:02}.000Z")),
        end: Some("2026-11-21T09:07:12.000Z".into()),
        ended: Ended {
            code: Some(0),
            signal: None,
            reason: Some("Completed".into()),
        },
        interval_ms: None,
        fate,
        cause: None,
        reason: String::new(),
        files: vec![ledger::File {
            path: format!("websites/{pod}/manager/a.profraw"),
            format: Format::Profraw,
            size: 4096,
            sha256: "00".repeat(32),
            identity: None,
            fate: Fate::Merged,
            cause: None,
            reason: String::new(),
        }],
    }
}

pub fn ledger(incarnations: Vec<Incarnation>) -> Ledger {
    Ledger {
        schema: ledger::SCHEMA,
        run: "20261121-0905-k7q2".into(),
        incarnations,
        findings: vec![],
        coverage: None,
    }
}

/// An operator in Rust, one in Go, and a client that lost an incarnation.
pub fn websites() -> (Coverage, Ledger) {
    let rust = Language::Rust;
    let operator = component(
        "website-operator",
        rust,
        Kind::Operator,
        vec![binary(
            "website-operator",
            "build-id:00aa",
            vec![
                file(
                    rust,
                    "website-operator/src/main.rs",
                    "website_operator",
                    &[(3, 1), (4, 1), (5, 0), (6, 1)],
                    &[("website_operator::main", 3, 6, 1)],
                ),
                file(
                    rust,
                    "website-operator/src/reconcile.rs",
                    "website_operator",
                    &[(1, 12), (2, 12), (3, 4), (8, 0), (9, 0), (10, 0)],
                    &[
                        ("website_operator::reconcile", 1, 3, 12),
                        ("website_operator::cleanup", 8, 10, 0),
                        ("website_operator::cleanup::{closure#0}", 9, 9, 0),
                    ],
                ),
            ],
        )],
    );
    let go = component(
        "certificate-operator",
        Language::Go,
        Kind::Operator,
        vec![binary(
            "manager",
            "covmeta:00bb",
            vec![file(
                Language::Go,
                "certificate-operator/controllers/renew.go",
                "example.org/certificate-operator/controllers",
                &[(10, 7), (11, 7), (12, 0), (20, 0)],
                &[("Reconcile", 10, 12, 7), ("renewExpired", 20, 20, 0)],
            )],
        )],
    );
    let client = component(
        "sitectl",
        rust,
        Kind::Client,
        vec![binary(
            "sitectl",
            "build-id:00cc",
            vec![file(
                rust,
                "sitectl/src/main.rs",
                "sitectl",
                &[(1, 3), (2, 0)],
                &[("main", 1, 2, 3)],
            )],
        )],
    );
    let mut killed = incarnation("sitectl", "sitectl-job-x1", 1, Fate::Empty);
    killed.ended = Ended {
        code: Some(137),
        signal: Some(9),
        reason: Some("OOMKilled".into()),
    };
    killed.reason = "its profile is 0 bytes".into();
    killed.files[0].fate = Fate::Empty;
    let ledger = ledger(vec![
        incarnation(
            "certificate-operator",
            "certificate-operator-7d4-q",
            0,
            Fate::Collected,
        ),
        incarnation("sitectl", "sitectl-job-x1", 0, Fate::Collected),
        killed,
        incarnation(
            "website-operator",
            "website-operator-5c9-a",
            0,
            Fate::Collected,
        ),
        incarnation(
            "website-operator",
            "website-operator-5c9-a",
            1,
            Fate::Collected,
        ),
    ]);
    (coverage(vec![operator, go, client]), ledger)
}
