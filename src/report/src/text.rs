//! The report in a terminal, and as Markdown.

use std::fmt::Write;

use podcov_profile::model::Ratio;

use crate::format::{fate, fraction, percent, plural, thousands, visible};
use crate::gate::{Judgement, Metric, Outcome, Verdict};
use crate::summary::{Component, Loss, Summary};

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";
const DIM: &str = "2";

/// How many losses are told one by one.
const LOSSES_SHOWN: usize = 5;
/// How many files with unknown lines are named for each component.
const UNKNOWN_SHOWN: usize = 3;

/// Text in colour, if colour is wanted.
fn paint(text: &str, code: &str, color: bool) -> String {
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// One row per component and one for the composition, each line ended by a
/// newline. What is possible, where evidence was lost, is in `loss_text`.
pub fn table(summary: &Summary, color: bool) -> String {
    let mut rows = vec![["component", "lines", "", "functions", "native"].map(str::to_owned)];
    for component in &summary.components {
        let metrics = &component.metrics;
        rows.push([
            visible(&component.name),
            percent(metrics.lines),
            fraction(metrics.lines),
            percent(metrics.functions),
            native(component).map_or("–".to_owned(), |(m, r)| format!("{m} {}", percent(r))),
        ]);
    }
    let all = &summary.metrics;
    rows.push([
        "composition".to_owned(),
        percent(all.lines),
        fraction(all.lines),
        percent(all.functions),
        String::new(),
    ]);

    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let last = rows.len() - 1;
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let [name, lines, counts, functions, native] = row;
        let line = format!(
            "{name:<w0$}   {lines:>w1$}  {counts:>w2$}   {functions:>w3$}   {native}",
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
        );
        let line = line.trim_end();
        let line = match index {
            0 => paint(line, DIM, color),
            _ if index == last => paint(line, BOLD, color),
            _ => line.to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The metric that only the component's language has, if it has any.
fn native(component: &Component) -> Option<(Metric, Ratio)> {
    [Metric::Regions, Metric::Statements]
        .into_iter()
        .map(|metric| (metric, metric.of(&component.metrics)))
        .find(|(_, ratio)| ratio.total > 0)
}

/// What was lost, why, and what that means for the numbers; empty when nothing
/// was.
pub fn loss_text(summary: &Summary, color: bool) -> String {
    let mut text = String::new();
    for loss in summary.losses.iter().take(LOSSES_SHOWN) {
        let name = if loss.component.is_empty() {
            "unknown component"
        } else {
            &loss.component
        };
        let _ = writeln!(
            text,
            "{} {}: {}",
            paint("!", YELLOW, color),
            visible(name),
            visible(&loss.incarnation)
        );
        let _ = writeln!(text, "  {}", loss_sentence(loss));
    }
    if let Some(more) = summary
        .losses
        .len()
        .checked_sub(LOSSES_SHOWN)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(text, "  and {more} more, all in the report");
    }
    for component in summary
        .components
        .iter()
        .filter(|component| component.is_uncertain())
    {
        let _ = writeln!(
            text,
            "  so: {} lines {} proven, {} possible{}",
            visible(&component.name),
            percent(component.metrics.lines),
            percent(component.possible.lines),
            unknown(component)
        );
    }
    text
}

/// `; 12 lines unknown: src/a.rs 10, src/b.rs 2`.
fn unknown(component: &Component) -> String {
    let mut files: Vec<(u64, &str)> = component
        .files()
        .map(|file| (file.unknown_lines(), file.path.as_str()))
        .filter(|(lines, _)| *lines > 0)
        .collect();
    files.sort_by_key(|(lines, path)| (std::cmp::Reverse(*lines), *path));
    let all: u64 = files.iter().map(|(lines, _)| lines).sum();
    let shown = files.iter().take(UNKNOWN_SHOWN);
    let mut shown: Vec<String> = shown
        .map(|(lines, path)| format!("{} {}", visible(path), thousands(*lines)))
        .collect();
    if files.len() > UNKNOWN_SHOWN {
        shown.push("…".to_owned());
    }
    match all {
        0 => String::new(),
        all => format!(
            "; {} unknown: {}",
            plural(all, "line", "lines"),
            shown.join(", ")
        ),
    }
}

/// `missing · SIGKILL (OOMKilled) · its volume was full`.
fn loss_sentence(loss: &Loss) -> String {
    let mut parts = vec![
        match loss.interval_ms {
            Some(_) => "lost in part".to_owned(),
            None => fate(loss.fate).to_owned(),
        },
        format!("ended by {}", visible(&loss.ended)),
    ];
    if loss.ended == "unknown" {
        parts[1] = "end unknown".to_owned();
    } else if loss.ended.starts_with("exit") {
        parts[1] = visible(&loss.ended);
    }
    if let Some(file) = &loss.file {
        parts.push(visible(file));
    }
    if !loss.reason.is_empty() {
        parts.push(visible(&loss.reason));
    }
    parts.join(" · ")
}

/// Each rule with its number and, where it failed, what would do.
pub fn gate_text(judgement: &Judgement, color: bool) -> String {
    let mut text = String::new();
    for (index, outcome) in judgement.outcomes.iter().enumerate() {
        let label = if index == 0 { "gate" } else { "" };
        let mark = if outcome.passed {
            paint("✔", GREEN, color)
        } else if outcome.is_open() {
            paint("?", YELLOW, color)
        } else {
            paint("✘", RED, color)
        };
        let _ = writeln!(
            text,
            "{label:<4}   {} {mark} {}",
            visible(&outcome.rule.to_string()),
            percent(outcome.actual)
        );
        for line in advice(outcome) {
            let _ = writeln!(text, "       {line}");
        }
    }
    if let Some(why) = no_verdict(judgement) {
        let _ = writeln!(text, "{} no verdict: {why}", paint("!", YELLOW, color));
    }
    text
}

/// Why there is no verdict, if there is none.
pub(crate) fn no_verdict(judgement: &Judgement) -> Option<String> {
    if judgement.verdict != Verdict::Incomplete {
        return None;
    }
    let lost = plural(judgement.losses, "piece of evidence", "pieces of evidence");
    if judgement.is_beyond_policy() {
        let allowed = thousands(judgement.allowed_losses);
        return Some(format!("{lost} lost, {allowed} allowed"));
    }
    let open = judgement.open().count() as u64;
    let hang = plural(open, "rule hangs", "rules hang");
    Some(format!("{hang} on what is lost, {lost}"))
}

/// What would make a failed rule pass, line by line.
fn advice(outcome: &Outcome) -> Vec<String> {
    if outcome.passed {
        return Vec::new();
    }
    let metric = outcome.rule.metric;
    if outcome.actual.total == 0 {
        return vec![format!("nothing was counted: 0 of 0 {metric}")];
    }
    let mut lines = Vec::new();
    let more = format!(
        "{} more {} would do",
        thousands(outcome.missing),
        metric.word(outcome.missing)
    );
    let more = match outcome.is_open() {
        true => format!(
            "{more}, and up to {} is possible by what was lost",
            percent(outcome.possible)
        ),
        false => more,
    };
    if outcome.unreached.is_empty() {
        lines.push(more);
        return lines;
    }
    lines.push(format!("{more}; the largest functions never reached:"));
    let places: Vec<(String, String)> = outcome
        .unreached
        .iter()
        .map(|advice| (visible(&advice.path), visible(&advice.function.name)))
        .collect();
    let width = |column: fn(&(String, String)) -> &String| {
        places
            .iter()
            .map(|place| column(place).chars().count())
            .max()
            .unwrap_or(0)
            .min(60)
    };
    let (paths, names) = (width(|place| &place.0), width(|place| &place.1));
    for ((path, name), advice) in places.iter().zip(&outcome.unreached) {
        lines.push(format!(
            "  {path:<paths$}  {name:<names$}  {}",
            plural(advice.function.lines, "line", "lines")
        ));
    }
    lines
}

/// `summary.md`, for a pull request or a job's page.
pub fn markdown(summary: &Summary, judgement: Option<&Judgement>) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "## Coverage of {}\n", cell(&summary.composition));
    let lines = summary.metrics.lines;
    let _ = writeln!(
        text,
        "**{}** of lines ({})",
        percent(lines),
        fraction(lines)
    );
    if !summary.complete {
        let _ = writeln!(
            text,
            "proven, {} possible: {} lost",
            percent(summary.possible.lines),
            plural(
                summary.losses.len() as u64,
                "piece of evidence",
                "pieces of evidence"
            )
        );
    }
    text.push_str("\n| component | lines | | functions | native | incarnations |\n");
    text.push_str("|:--|--:|--:|--:|:--|--:|\n");
    for component in &summary.components {
        let native = native(component).map_or("–".to_owned(), |(metric, ratio)| {
            format!("{metric} {}", percent(ratio))
        });
        let counts = &component.incarnations;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {native} | {} |",
            cell(&component.name),
            percent(component.metrics.lines),
            fraction(component.metrics.lines),
            percent(component.metrics.functions),
            if counts.lost > 0 {
                format!(
                    "{}, {} lost",
                    thousands(counts.total),
                    thousands(counts.lost)
                )
            } else {
                thousands(counts.total)
            }
        );
    }
    let _ = writeln!(
        text,
        "| **composition** | **{}** | {} | {} | | {} |",
        percent(lines),
        fraction(lines),
        percent(summary.metrics.functions),
        thousands(summary.incarnations.total)
    );
    if let Some(judgement) = judgement.filter(|judgement| !judgement.outcomes.is_empty()) {
        text.push_str("\n| gate | | found |\n|:--|:-:|--:|\n");
        for outcome in &judgement.outcomes {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                cell(&outcome.rule.to_string()),
                match (outcome.passed, outcome.is_open()) {
                    (true, _) => "✔",
                    (_, true) => "?",
                    _ => "✘",
                },
                percent(outcome.actual)
            );
        }
        if let Some(why) = no_verdict(judgement) {
            let _ = writeln!(text, "\nNo verdict: {why}.");
        }
    }
    if !summary.losses.is_empty() {
        text.push_str("\n### Lost evidence\n\n");
        for loss in &summary.losses {
            let _ = writeln!(
                text,
                "- {}: {}",
                cell(&loss.incarnation),
                cell(&loss_sentence(loss))
            );
        }
    }
    text
}

/// Foreign text inside a Markdown table: nothing in it is markup.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '!' | '#' | '~' | '@' => {
                safe.push('\\');
                safe.push(c);
            }
            _ => safe.push(c),
        }
    }
    safe
}
