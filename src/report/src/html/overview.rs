//! `index.html`: the composition at a glance.

use serde::Serialize;

use podcov_profile::model::Ratio;
use podcov_profile::names::Language;

use super::parts::{self, LossView, Number, Numbers, UnreachedView};
use super::{HtmlError, Pages};
use crate::format::{fate, plural, thousands, visible};
use crate::gate::{Judgement, Outcome, Verdict};
use crate::summary::Component;
use crate::text::no_verdict;

/// How many functions and files the overview names.
const MOST: usize = 12;

#[derive(Serialize)]
struct Overview {
    cards: Vec<Number>,
    incarnations: Counts,
    evidence: Vec<FateCount>,
    /// `4 components`.
    components_total: String,
    components: Vec<Row>,
    total: Numbers,
    gate: Option<Gate>,
    losses: Vec<LossView>,
    more_losses: usize,
    bounds: Option<String>,
    unreached: Vec<UnreachedView>,
    gaps: Vec<Gap>,
    findings: Vec<FindingView>,
    /// `12 tests and phases`, if there were some.
    tests: Option<String>,
    has_go: bool,
}

#[derive(Serialize)]
struct Counts {
    total: String,
    lost: u64,
    words: String,
}

#[derive(Serialize)]
struct FateCount {
    fate: &'static str,
    count: String,
}

#[derive(Serialize)]
struct Row {
    name: String,
    href: String,
    kind: String,
    language: String,
    numbers: Numbers,
    incarnations: String,
    lost: u64,
    ran: bool,
    /// `3 crates`.
    packages_total: String,
    packages: Vec<PackageRow>,
}

#[derive(Serialize)]
struct PackageRow {
    name: String,
    href: String,
    files: String,
    numbers: Numbers,
}

#[derive(Serialize)]
struct Gate {
    verdict: &'static str,
    class: &'static str,
    rules: Vec<RuleView>,
    note: Option<String>,
}

#[derive(Serialize)]
struct RuleView {
    passed: bool,
    open: bool,
    scope: String,
    metric: String,
    min: String,
    actual: Number,
    advice: Option<String>,
}

/// A file with much that was not reached.
#[derive(Serialize)]
struct Gap {
    path: String,
    component: String,
    href: String,
    missing: String,
    lines: Number,
}

#[derive(Serialize)]
struct FindingView {
    kind: String,
    text: String,
}

impl Pages<'_> {
    pub(super) fn overview(&self) -> Result<String, HtmlError> {
        let summary = &self.report.summary;
        let counts = &summary.incarnations;
        let overview = Overview {
            cards: parts::cards(&summary.metrics, &summary.possible),
            incarnations: Counts {
                total: thousands(counts.total),
                lost: counts.lost,
                words: counts
                    .fates
                    .iter()
                    .map(|(fate_, count)| format!("{} {}", thousands(*count), fate(*fate_)))
                    .collect::<Vec<_>>()
                    .join(", "),
            },
            evidence: summary
                .evidence_files
                .iter()
                .map(|(fate_, count)| FateCount {
                    fate: fate(*fate_),
                    count: thousands(*count),
                })
                .collect(),
            components_total: plural(summary.components.len() as u64, "component", "components"),
            components: summary
                .components
                .iter()
                .enumerate()
                .map(|(index, component)| row(index, component))
                .collect(),
            // Each language has a native metric of its own, the whole has none.
            total: Numbers {
                native: None,
                ..parts::numbers(&summary.metrics, &summary.possible)
            },
            gate: self
                .judgement
                .filter(|judgement| !judgement.outcomes.is_empty())
                .map(gate),
            losses: summary.losses.iter().take(MOST).map(parts::loss).collect(),
            more_losses: summary.losses.len().saturating_sub(MOST),
            bounds: (!summary.complete).then(|| {
                format!(
                    "lines {} proven, {} possible",
                    crate::format::percent(summary.metrics.lines),
                    crate::format::percent(summary.possible.lines)
                )
            }),
            unreached: parts::largest_unreached(parts::indexed_files(self.report), "", MOST),
            gaps: self.gaps(),
            findings: summary
                .findings
                .iter()
                .map(|finding| FindingView {
                    kind: visible(&finding.kind),
                    text: visible(&finding.text),
                })
                .collect(),
            tests: match self.report.phases.len() as u64 {
                0 => None,
                some => Some(plural(some, "test or phase", "tests and phases")),
            },
            has_go: self.has_go,
        };
        let title = format!("{} · coverage", visible(&summary.composition));
        self.page("overview", &title, vec![], overview)
    }

    /// The files with the most lines not reached.
    fn gaps(&self) -> Vec<Gap> {
        let missing = |ratio: Ratio| ratio.total.saturating_sub(ratio.covered);
        let mut files: Vec<_> = parts::indexed_files(self.report)
            .filter(|(_, _, file)| missing(file.metrics.lines) > 0)
            .collect();
        files.sort_by_key(|(index, _, file)| {
            (std::cmp::Reverse(missing(file.metrics.lines)), *index)
        });
        files.truncate(MOST);
        files
            .into_iter()
            .map(|(index, component, file)| Gap {
                path: visible(&file.path),
                component: visible(&component.name),
                href: parts::file_page(index),
                missing: thousands(missing(file.metrics.lines)),
                lines: parts::file_numbers(file).lines,
            })
            .collect()
    }
}

fn row(index: usize, component: &Component) -> Row {
    let page = parts::component_page(index);
    Row {
        name: visible(&component.name),
        kind: component.kind.to_string(),
        language: component.language.to_string(),
        numbers: parts::numbers(&component.metrics, &component.possible),
        incarnations: thousands(component.incarnations.total),
        lost: component.incarnations.lost,
        ran: component.incarnations.total > 0,
        packages_total: {
            let total = component.packages.len() as u64;
            match component.language {
                Language::Rust => plural(total, "crate", "crates"),
                Language::Go => plural(total, "package", "packages"),
            }
        },
        packages: component
            .packages
            .iter()
            .enumerate()
            .map(|(number, package)| PackageRow {
                name: visible(&package.name),
                href: format!("{page}#p{}", number + 1),
                files: plural(package.files.len() as u64, "file", "files"),
                numbers: parts::numbers(&package.metrics, &package.possible()),
            })
            .collect(),
        href: page,
    }
}

fn gate(judgement: &Judgement) -> Gate {
    let (verdict, class) = match judgement.verdict {
        Verdict::Pass => ("passed", "good"),
        Verdict::Fail => ("failed", "bad"),
        Verdict::Incomplete => ("no verdict", "open"),
    };
    Gate {
        verdict,
        class,
        rules: judgement.outcomes.iter().map(rule).collect(),
        note: no_verdict(judgement).map(|why| format!("{why}: a verdict would not be proven")),
    }
}

fn rule(outcome: &Outcome) -> RuleView {
    let metric = outcome.rule.metric;
    RuleView {
        passed: outcome.passed,
        open: outcome.is_open(),
        scope: visible(&outcome.rule.scope.to_string()),
        metric: metric.to_string(),
        min: format!("≥ {} %", outcome.rule.min),
        actual: parts::number(metric, outcome.actual, outcome.possible),
        advice: (!outcome.passed).then(|| {
            if outcome.actual.total == 0 {
                format!("nothing was counted: 0 of 0 {metric}")
            } else {
                format!(
                    "{} more {} would do",
                    thousands(outcome.missing),
                    metric.word(outcome.missing)
                )
            }
        }),
    }
}
