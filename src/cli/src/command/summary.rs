//! `podcov summary`: a line a file.

use std::collections::BTreeMap;

use podcov_profile::finding::Finding;
use podcov_profile::llvm::model::Detail;
use podcov_profile::model::{Function, Metrics, Ratio};
use podcov_profile::neutral::LineCoverage;
use serde::Serialize;

use crate::args::{Global, Summary, TextOrJson};
use crate::evidence::measure::{Measured, Wanted, measured};
use crate::evidence::tell::{list, verdict};
use crate::exit::{Exit, Failure};
use crate::print;

/// The numbers of everything.
#[derive(Debug, Serialize)]
pub struct Numbers {
    /// Builds that were counted.
    builds: Vec<Build>,
    /// By path.
    files: BTreeMap<String, Metrics>,
    /// Functions by file, where they were asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    functions: BTreeMap<String, Vec<Function>>,
    /// The sum over the files.
    total: Metrics,
    /// What was set aside.
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Build {
    component: String,
    identity: String,
    profiles: u64,
}

/// Runs the command.
pub fn summary(global: &Global, args: &Summary) -> Result<Exit, Failure> {
    if args.tests {
        return super::tests::tests(args);
    }
    // What several programs ran of one source takes its regions to tell.
    let detail = match args.reading.objects.len() {
        0 | 1 => Detail::Lines,
        _ => Detail::Regions,
    };
    let wanted = Wanted::Files(detail);
    let measured = measured(&args.paths, &args.reading, &args.selection, wanted)?;
    let mut numbers = numbers(&measured);
    if !args.functions {
        numbers.functions.clear();
    }
    if measured.used > 0 {
        match args.format {
            TextOrJson::Json => {
                let json = serde_json::to_string_pretty(&numbers)
                    .map_err(|error| Failure::new(Exit::Fault, error))?;
                print::out(format_args!("{json}\n"))?;
            }
            TextOrJson::Text => print::out(table(&numbers))?,
        }
    }
    list(&measured.findings, global.quiet);
    verdict(&measured.findings, measured.used, args.reading.tolerate)
}

/// Every number, once.
pub fn numbers(measured: &Measured) -> Numbers {
    let mut files: BTreeMap<String, Metrics> = BTreeMap::new();
    let mut functions: BTreeMap<String, Vec<Function>> = BTreeMap::new();
    let mut builds = Vec::new();
    for component in &measured.coverage.components {
        for binary in &component.binaries {
            builds.push(Build {
                component: component.name.clone(),
                identity: binary.identity.to_string(),
                profiles: binary.profiles,
            });
        }
    }
    for file in measured.files() {
        *files.entry(file.path.clone()).or_default() += file.metrics;
        let of_file = file.functions.into_iter().map(|function| Function {
            regions: Vec::new(),
            ..function
        });
        functions.entry(file.path).or_default().extend(of_file);
    }
    // A line that a report has, too, counts once.
    let lines = match measured.reports.files.is_empty() {
        true => LineCoverage::default(),
        false => measured.lines(),
    };
    for path in measured.reports.files.keys() {
        let metrics = files.entry(path.clone()).or_default();
        if let Some(both) = lines.files.get(path) {
            metrics.lines = both.line_ratio();
            metrics.functions = both.function_ratio();
            metrics.branches = both.branch_ratio();
        }
    }
    Numbers {
        builds,
        total: files.values().copied().sum(),
        files,
        functions,
        findings: measured.findings.clone(),
    }
}

type Column = (&'static str, fn(&Metrics) -> Ratio);

const COLUMNS: [Column; 5] = [
    ("lines", |metrics| metrics.lines),
    ("functions", |metrics| metrics.functions),
    ("regions", |metrics| metrics.regions),
    ("statements", |metrics| metrics.statements),
    ("branches", |metrics| metrics.branches),
];

/// The table, with those columns that have numbers.
fn table(numbers: &Numbers) -> String {
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|(name, of)| *name == "lines" || of(&numbers.total).total > 0)
        .collect();
    let row = |name: &str, metrics: &Metrics| -> Vec<String> {
        let numbers = columns.iter().flat_map(|(_, of)| {
            let ratio = of(metrics);
            [percent(ratio), format!("{}/{}", ratio.covered, ratio.total)]
        });
        [name.to_owned()].into_iter().chain(numbers).collect()
    };
    let heads = columns
        .iter()
        .flat_map(|(name, _)| [(*name).to_owned(), String::new()]);
    let mut rows = vec![
        ["file".to_owned()]
            .into_iter()
            .chain(heads)
            .collect::<Vec<_>>(),
    ];
    for (path, metrics) in &numbers.files {
        rows.push(row(&print::visible(path), metrics));
        for function in numbers.functions.get(path).into_iter().flatten() {
            let of_function = Metrics {
                lines: function.lines,
                functions: Ratio::new(u64::from(function.count > 0), 1),
                ..Metrics::default()
            };
            let name = format!("  {}: {}", function.start, print::visible(&function.name));
            rows.push(row(&name, &of_function));
        }
    }
    rows.push(row("total", &numbers.total));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..=2 * columns.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(&match index {
                0 => format!("{cell:width$}"),
                _ => format!("  {cell:>width$}"),
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Rounded down, so that only all is 100.
fn percent(ratio: Ratio) -> String {
    match ratio.percent() {
        None => "–".to_owned(),
        Some(percent) => format!("{:.2}%", (percent * 100.0).floor() / 100.0),
    }
}
