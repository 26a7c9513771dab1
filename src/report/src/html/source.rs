//! A source file's page: each line with how often it ran.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use podcov_profile::model::Line;

use super::highlight::{Highlighter, Span};
use super::parts::{self, Link, Number};
use super::tests::{Badge, Reachers};
use super::{HtmlError, Pages};
use crate::format::{fraction, percent, plural, short_count, thousands, visible, visible_source};
use crate::report::{LineState, SourceFile};

/// Characters of a line that are shown; generated sources have lines of
/// megabytes.
const LINE_LIMIT: usize = 2_000;

/// Functions that are shown without being asked for.
const OPEN_FUNCTIONS: usize = 6;

#[derive(Serialize)]
struct SourceView {
    path: String,
    component: String,
    package: String,
    build: Option<String>,
    cards: Vec<Number>,
    legend: Vec<Legend>,
    /// Why the legend and the cards do not add up to the same, if they do not.
    counted: Option<String>,
    notes: Vec<String>,
    first_gap: Option<String>,
    gaps: String,
    functions: Vec<FunctionRow>,
    functions_total: String,
    functions_open: bool,
    rows: Vec<Row>,
    /// There are phases: lines say who reached them.
    has_tests: bool,
    reachers: Vec<Reachers>,
    strip: Vec<Stripe>,
    strip_height: u32,
}

#[derive(Serialize)]
struct Legend {
    class: &'static str,
    mark: &'static str,
    words: String,
}

#[derive(Serialize)]
struct FunctionRow {
    name: String,
    line: u32,
    count: String,
    exact: String,
    class: &'static str,
    lines: String,
    percent: String,
}

#[derive(Serialize)]
struct Row {
    number: u32,
    /// Class of the line's state; `n` for one without code.
    class: &'static str,
    count: String,
    /// What the count means, for the pointer and for a screen reader.
    title: String,
    /// Where the next line begins that was not reached.
    next: Option<u32>,
    text: Vec<Span>,
    cut: Option<String>,
    tests: Option<Badge>,
}

/// A run of lines of one state, in the strip at the page's side.
#[derive(Serialize)]
struct Stripe {
    class: &'static str,
    from: u32,
    lines: u32,
}

/// A source's text, or why there is none.
struct Text {
    lines: Vec<String>,
    notes: Vec<String>,
}

impl Pages<'_> {
    pub(super) fn source(&self, index: usize) -> Result<String, HtmlError> {
        let file = &self.report.files[index];
        let component = &self.report.summary.components[file.component];
        let mut text = self.text(&component.name, &file.path);

        let last_text = u32::try_from(text.lines.len()).unwrap_or(u32::MAX);
        let beyond = file
            .lines
            .iter()
            .filter(|line| line.number > last_text)
            .count();
        if last_text > 0 && beyond > 0 {
            text.notes.push(format!(
                "{} beyond the end of this text: it is not quite the source that was built",
                plural(beyond as u64, "line with code is", "lines with code are")
            ));
        }
        let known: BTreeMap<u32, &Line> =
            file.lines.iter().map(|line| (line.number, line)).collect();
        let mut rows = rows(file, &known, &text.lines, component.language);
        let (badges, reachers) = self.reachers(index);
        for row in &mut rows {
            row.tests = badges.get(&row.number).cloned();
        }
        let gaps = gaps(file, &known);

        let view = SourceView {
            path: visible(&file.path),
            component: visible(&component.name),
            package: visible(&file.package),
            build: file.build.as_ref().map(parts::short_identity),
            cards: parts::cards(&file.metrics, &file.possible),
            legend: legend(file),
            counted: (file.metrics.lines.total != file.lines.len() as u64).then(|| {
                format!(
                    "of {}; LLVM counts one again for each function on it: {}",
                    plural(file.lines.len() as u64, "line", "lines"),
                    thousands(file.metrics.lines.total)
                )
            }),
            notes: text.notes,
            first_gap: gaps.first().map(|line| format!("#L{line}")),
            gaps: plural(gaps.len() as u64, "gap", "gaps"),
            functions: file
                .functions
                .iter()
                .map(|f| function_row(file, f))
                .collect(),
            functions_total: thousands(file.functions.len() as u64),
            functions_open: file.functions.len() <= OPEN_FUNCTIONS,
            strip: strip(file, &known),
            has_tests: !self.report.phases.is_empty(),
            reachers,
            strip_height: rows.last().map_or(1, |row| row.number),
            rows,
        };
        let title = format!("{} · coverage", view.path);
        let crumbs = vec![
            Link {
                text: view.component.clone(),
                href: Some(format!("../{}", parts::component_page(file.component))),
            },
            Link {
                text: view.path.clone(),
                href: None,
            },
        ];
        self.page("source", &title, crumbs, view)
    }

    /// The text that was built, as lines. Text that is certainly another one
    /// is not shown: counts beside the wrong lines would be lies.
    fn text(&self, component: &str, path: &str) -> Text {
        let without = |note: &str| Text {
            lines: Vec::new(),
            notes: vec![note.to_owned()],
        };
        // A path out of evidence must not lead out of the snapshot.
        let inside = !path.starts_with('/') && path.split('/').all(|part| part != "..");
        let bytes = inside
            .then(|| self.sources.bytes(component, path))
            .flatten();
        let Some(bytes) = bytes else {
            return without("the bundle has no copy of this source: only its counts are known");
        };
        let expected = self
            .bundle(component)
            .and_then(|bundle| bundle.sources.files.iter().find(|file| file.path == path))
            .map(|file| file.sha256.as_str());
        if expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(&hex(&bytes))) {
            return without(
                "the copy of this source is not the one that was built (its SHA-256 differs): \
                 only the counts are shown",
            );
        }
        let mut notes = Vec::new();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            notes.push("not UTF-8: bytes that are no text are shown as \u{fffd}".to_owned());
        }
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let mut crlf = 0_u64;
        for line in &mut lines {
            if line.ends_with('\r') {
                line.pop();
                crlf += 1;
            }
        }
        if crlf > 0 {
            notes.push(format!(
                "{} in CRLF",
                plural(crlf, "line ends", "lines end")
            ));
        }
        Text { lines, notes }
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn class(state: LineState) -> &'static str {
    match state {
        LineState::Covered => "c",
        LineState::Partial => "p",
        LineState::Uncovered => "u",
        LineState::Unknown => "q",
    }
}

fn is_gap(file: &SourceFile, line: &Line) -> bool {
    matches!(file.state(line), LineState::Uncovered | LineState::Unknown)
}

/// First lines of the runs of lines that were not reached. Lines without code
/// do not end a run.
fn gaps(file: &SourceFile, known: &BTreeMap<u32, &Line>) -> Vec<u32> {
    let mut gaps = Vec::new();
    let mut inside = false;
    for (number, line) in known {
        let gap = is_gap(file, line);
        if gap && !inside {
            gaps.push(*number);
        }
        inside = gap;
    }
    gaps
}

fn rows(
    file: &SourceFile,
    known: &BTreeMap<u32, &Line>,
    text: &[String],
    language: podcov_profile::names::Language,
) -> Vec<Row> {
    let gaps = gaps(file, known);
    let mut highlighter = Highlighter::new(language);
    let last = u32::try_from(text.len()).unwrap_or(u32::MAX);
    // Beyond the text only lines with code: a damaged line number must not
    // make a page of four billion lines.
    let beyond = known
        .range(last.saturating_add(1)..)
        .map(|(number, _)| *number);
    (1..=last)
        .chain(beyond)
        .map(|number| {
            let source = text.get(number as usize - 1).map_or("", String::as_str);
            let (source, cut) = cut(source);
            let state = known.get(&number).map(|line| file.state(line));
            let gap = gaps.binary_search(&number).ok();
            Row {
                number,
                class: state.map_or("n", class),
                count: known
                    .get(&number)
                    .map_or(String::new(), |line| short_count(line.count)),
                title: known
                    .get(&number)
                    .map_or(String::new(), |line| title(file, line)),
                next: gap.and_then(|gap| gaps.get(gap + 1)).copied(),
                text: highlighter.line(&visible_source(source)),
                cut,
                tests: None,
            }
        })
        .collect()
}

fn title(file: &SourceFile, line: &Line) -> String {
    match file.state(line) {
        LineState::Covered => format!("ran {}", plural(line.count, "time", "times")),
        LineState::Partial => format!("ran in part, {}", plural(line.count, "time", "times")),
        LineState::Uncovered => "never ran".to_owned(),
        LineState::Unknown => "unknown: not seen to run, and lost evidence could have".to_owned(),
    }
}

/// At most [`LINE_LIMIT`] characters, and what was left out.
fn cut(line: &str) -> (&str, Option<String>) {
    match line.char_indices().nth(LINE_LIMIT) {
        Some((at, _)) => {
            let more = line[at..].chars().count() as u64;
            (
                &line[..at],
                Some(plural(more, "more character", "more characters")),
            )
        }
        None => (line, None),
    }
}

fn strip(file: &SourceFile, known: &BTreeMap<u32, &Line>) -> Vec<Stripe> {
    let mut stripes: Vec<Stripe> = Vec::new();
    for (number, line) in known {
        let class = class(file.state(line));
        match stripes.last_mut() {
            Some(last) if last.class == class && last.from + last.lines == *number => {
                last.lines += 1;
            }
            _ => stripes.push(Stripe {
                class,
                from: *number,
                lines: 1,
            }),
        }
    }
    stripes
}

fn legend(file: &SourceFile) -> Vec<Legend> {
    let mut counts: BTreeMap<LineState, u64> = BTreeMap::new();
    for line in &file.lines {
        *counts.entry(file.state(line)).or_default() += 1;
    }
    [
        (LineState::Covered, "covered"),
        (LineState::Partial, "partly covered"),
        (LineState::Uncovered, "not covered"),
        (LineState::Unknown, "unknown"),
    ]
    .into_iter()
    .filter_map(|(state, words)| {
        let count = counts.get(&state)?;
        Some(Legend {
            class: class(state),
            mark: match state {
                LineState::Covered => "✓",
                LineState::Partial => "◐",
                LineState::Uncovered => "✕",
                LineState::Unknown => "?",
            },
            words: format!("{} {words}", thousands(*count)),
        })
    })
    .collect()
}

fn function_row(file: &SourceFile, function: &podcov_profile::model::Function) -> FunctionRow {
    FunctionRow {
        name: visible(&function.name),
        line: function.start,
        count: short_count(function.count),
        exact: plural(function.count, "call", "calls"),
        class: class(file.state_of(function)),
        lines: fraction(function.lines),
        percent: percent(function.lines),
    }
}
