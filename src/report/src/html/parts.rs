//! Pieces that several pages show.

use serde::Serialize;

use podcov_profile::ledger::Incarnation;
use podcov_profile::model::{Metrics, Ratio};

use crate::format::{ended, fate, fraction, percent, plural, tenths, thousands, visible};
use crate::gate::Metric;
use crate::report::Report;
use crate::summary::{Component, FileNumbers, Loss, Unreached};

/// A word with somewhere to go, or with nowhere.
#[derive(Serialize)]
pub(super) struct Link {
    pub text: String,
    pub href: Option<String>,
}

/// One ratio as text and as a bar.
#[derive(Serialize)]
pub(super) struct Number {
    /// `lines`.
    pub name: &'static str,
    /// `81.4 %`.
    pub percent: String,
    /// `1,204/1,479`.
    pub fraction: String,
    /// `275 lines not reached`.
    pub rest: String,
    pub bar: Bar,
}

/// Widths in percent for an SVG; together at most 100.
#[derive(Serialize)]
pub(super) struct Bar {
    pub label: String,
    /// There is something to show.
    pub any: bool,
    pub covered: String,
    /// Not reached, and perhaps reached by what was lost.
    pub unknown: String,
    /// Is `unknown` more than nothing?
    pub uncertain: bool,
}

/// The numbers of one row.
#[derive(Serialize)]
pub(super) struct Numbers {
    pub lines: Number,
    pub functions: Number,
    /// Regions or statements.
    pub native: Option<Number>,
}

pub(super) fn number(metric: Metric, actual: Ratio, possible: Ratio) -> Number {
    let unknown = possible.covered.saturating_sub(actual.covered);
    let rest = actual
        .total
        .saturating_sub(actual.covered)
        .saturating_sub(unknown);
    let words = |count: u64| format!("{} {}", thousands(count), metric.word(count));
    let rest = match (actual.total, rest, unknown) {
        (0, _, _) => "nothing to count".to_owned(),
        (_, 0, 0) => "all reached".to_owned(),
        (_, rest, 0) => format!("{} not reached", words(rest)),
        (_, 0, unknown) => format!("{} unknown", words(unknown)),
        (_, rest, unknown) => {
            format!(
                "{} not reached, {} unknown",
                words(rest),
                thousands(unknown)
            )
        }
    };
    Number {
        name: metric.word(2),
        percent: percent(actual),
        fraction: if actual.total == 0 {
            String::new()
        } else {
            fraction(actual)
        },
        rest,
        bar: bar(actual, possible),
    }
}

fn bar(actual: Ratio, possible: Ratio) -> Bar {
    let covered = tenths(actual).unwrap_or(0).min(1000);
    let reach = tenths(possible).unwrap_or(0).clamp(covered, 1000);
    let width = |tenths: u64| format!("{}.{}", tenths / 10, tenths % 10);
    let uncertain = possible.covered > actual.covered;
    Bar {
        label: if uncertain {
            format!("{} proven, {} possible", percent(actual), percent(possible))
        } else {
            percent(actual)
        },
        any: actual.total > 0,
        covered: width(covered),
        unknown: width(reach - covered),
        uncertain,
    }
}

pub(super) fn numbers(metrics: &Metrics, possible: &Metrics) -> Numbers {
    let of = |metric: Metric| number(metric, metric.of(metrics), metric.of(possible));
    Numbers {
        lines: of(Metric::Lines),
        functions: of(Metric::Functions),
        native: [Metric::Regions, Metric::Statements]
            .into_iter()
            .find(|metric| metric.of(metrics).total > 0)
            .map(of),
    }
}

/// The metrics that there is something of, for a page's head.
pub(super) fn cards(metrics: &Metrics, possible: &Metrics) -> Vec<Number> {
    Metric::ALL
        .into_iter()
        .filter(|metric| *metric == Metric::Lines || metric.of(metrics).total > 0)
        .map(|metric| number(metric, metric.of(metrics), metric.of(possible)))
        .collect()
}

pub(super) fn component_page(index: usize) -> String {
    format!("c/{:03}.html", index + 1)
}

pub(super) fn file_page(index: usize) -> String {
    format!("f/{:06}.html", index + 1)
}

/// What was lost, as shown.
#[derive(Serialize)]
pub(super) struct LossView {
    component: String,
    incarnation: String,
    file: Option<String>,
    fate: &'static str,
    ended: String,
    reason: String,
}

pub(super) fn loss(loss: &Loss) -> LossView {
    LossView {
        component: or(&loss.component, "unknown component"),
        incarnation: visible(&loss.incarnation),
        file: loss.file.as_deref().map(visible),
        fate: fate(loss.fate),
        ended: visible(&loss.ended),
        reason: or(&loss.reason, "nothing says why"),
    }
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() {
        otherwise.to_owned()
    } else {
        visible(text)
    }
}

/// A function that never ran, as shown.
#[derive(Serialize)]
pub(super) struct UnreachedView {
    name: String,
    component: String,
    place: String,
    href: String,
    lines: String,
}

/// The largest of the functions that never ran in the files given with their
/// index in the report.
pub(super) fn largest_unreached<'a>(
    files: impl Iterator<Item = (usize, &'a Component, &'a FileNumbers)>,
    root: &str,
    most: usize,
) -> Vec<UnreachedView> {
    let mut all: Vec<(usize, &Component, &FileNumbers, &Unreached)> = files
        .flat_map(|(index, component, file)| {
            file.unreached
                .iter()
                .map(move |function| (index, component, file, function))
        })
        .collect();
    all.sort_by_key(|(index, _, _, function)| {
        (std::cmp::Reverse(function.lines), *index, function.line)
    });
    all.truncate(most);
    all.into_iter()
        .map(|(index, component, file, function)| UnreachedView {
            name: visible(&function.name),
            component: visible(&component.name),
            place: format!("{}:{}", visible(&file.path), function.line),
            href: format!("{root}{}#L{}", file_page(index), function.line),
            lines: plural(function.lines, "line", "lines"),
        })
        .collect()
}

/// The summary's files with their place in the report's list, which has the
/// same order.
pub(super) fn indexed_files(
    report: &Report,
) -> impl Iterator<Item = (usize, &Component, &FileNumbers)> {
    report
        .summary
        .files()
        .enumerate()
        .map(|(index, (component, file))| (index, component, file))
}

/// One process lifetime, as shown.
#[derive(Serialize)]
pub(super) struct Lifetime {
    component: String,
    pod: String,
    container: String,
    /// `2` for the second start.
    start: String,
    /// `2026-11-21 09:05:12 – 09:07:12`.
    lived: String,
    ended: String,
    fate: &'static str,
    lost: bool,
    files: String,
    reason: String,
}

pub(super) fn lifetime(incarnation: &Incarnation) -> Lifetime {
    let mut fates = std::collections::BTreeMap::<&str, u64>::new();
    for file in &incarnation.files {
        *fates.entry(fate(file.fate)).or_default() += 1;
    }
    let files: Vec<String> = fates
        .into_iter()
        .map(|(fate, count)| format!("{} {fate}", thousands(count)))
        .collect();
    Lifetime {
        component: or(&incarnation.component, "unknown"),
        pod: visible(&format!("{}/{}", incarnation.namespace, incarnation.pod)),
        container: visible(&incarnation.container),
        start: incarnation
            .restart
            .map_or("–".to_owned(), |n| (u64::from(n) + 1).to_string()),
        lived: lived(incarnation.start.as_deref(), incarnation.end.as_deref()),
        ended: ended(&incarnation.ended),
        fate: fate(incarnation.fate),
        lost: incarnation.is_lost(),
        files: if files.is_empty() {
            "none".to_owned()
        } else {
            files.join(", ")
        },
        reason: visible(&incarnation.reason),
    }
}

/// From when to when; the day once, if it is one.
fn lived(start: Option<&str>, end: Option<&str>) -> String {
    if start.is_none() && end.is_none() {
        return "unknown".to_owned();
    }
    let (start, end) = (clock(start), clock(end));
    let end = match (start.split_once(' '), end.split_once(' ')) {
        (Some((day, _)), Some((last_day, time))) if day == last_day => time,
        _ => &end,
    };
    format!("{start} – {end}")
}

/// `2026-11-21 09:05:12` out of RFC 3339.
fn clock(time: Option<&str>) -> String {
    let Some(time) = time else {
        return "–".to_owned();
    };
    match time.get(..19) {
        Some(seconds) if seconds.as_bytes()[10] == b'T' => visible(&seconds.replacen('T', " ", 1)),
        _ => visible(time),
    }
}

pub(super) fn file_numbers(file: &FileNumbers) -> Numbers {
    numbers(&file.metrics, &file.possible())
}

/// `build-id:4f2a91c0…`.
pub(super) fn short_identity(identity: &podcov_profile::Identity) -> String {
    let text = identity.to_string();
    let kind = text.len() - identity.hex().len();
    // Identities are ASCII.
    if identity.hex().len() > 12 {
        format!("{}…", &text[..kind + 12])
    } else {
        text
    }
}
