//! `podcov summary --tests`: what each test and phase of a run reached.

use std::path::{Path, PathBuf};

use podcov_profile::ledger::Ledger;
use podcov_profile::model::Coverage;
use podcov_report::{Filter, PhaseLines, PhaseNumbers, Report};

use crate::args::{Summary, TextOrJson};
use crate::exit::{Exit, Failure, OrExit};
use crate::print;

/// Runs the command.
pub fn tests(args: &Summary) -> Result<Exit, Failure> {
    let filter = Filter::new(&args.selection.include, &args.selection.exclude);
    let filter = filter.or_exit(Exit::Usage)?;
    let mut all: Vec<PhaseNumbers> = Vec::new();
    for path in &args.paths {
        let file = coverage_of(path);
        let bytes = fs_err::read(&file).or_exit(Exit::Usage)?;
        let coverage = Coverage::parse(&bytes).map_err(|error| {
            Failure::new(Exit::Usage, format!("`{}`: {error}", file.display()))
                .help("name the folder of a run, or its coverage/coverage.json")
        })?;
        let report = Report::new(&coverage, &Ledger::default(), &filter);
        if let Some((path, _)) = &args.line
            && !report.files.iter().any(|file| &file.path == path)
        {
            let what = format!("no source file of `{}` is called `{path}`", file.display());
            return Err(Failure::new(Exit::Usage, what).help(
                "paths are relative to the root of the sources, as `podcov summary` prints them",
            ));
        }
        let phases = report.phases.iter();
        let wanted = phases.filter(|phase| match &args.line {
            Some((path, line)) => reaches(&report, phase, path, *line),
            None => true,
        });
        all.extend(wanted.map(|phase| phase.numbers.clone()));
        if report.phases.is_empty() {
            return Err(Failure::new(
                Exit::Nothing,
                format!("`{}` knows of no test and no phase", file.display()),
            )
            .help(crate::phases::endpoint::NOT_THERE));
        }
    }
    match args.format {
        TextOrJson::Json => {
            let json = serde_json::to_string_pretty(&all).or_exit(Exit::Fault)?;
            print::out(format_args!("{json}\n"))?;
        }
        TextOrJson::Text => print::out(table(&all))?,
    }
    Ok(Exit::Fine)
}

/// A run's folder stands for what was merged of it.
fn coverage_of(path: &Path) -> PathBuf {
    match path.is_dir() {
        true => path.join("coverage/coverage.json"),
        false => path.to_owned(),
    }
}

fn reaches(report: &Report, phase: &PhaseLines, path: &str, line: u32) -> bool {
    let mut files = phase.files.iter();
    files.any(|(file, reached)| report.files[*file].path == path && reached.lines.contains(line))
}

fn table(all: &[PhaseNumbers]) -> String {
    let heads = ["lines", "only", "shared", "background"];
    let rows = all.iter().map(|of| {
        let numbers = [of.lines, of.only, of.shared, of.background];
        let name = format!("{} {}", of.kind, print::visible(&of.name));
        (name, numbers.map(|number| number.to_string()))
    });
    let head = ("name".to_owned(), heads.map(str::to_owned));
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let line = |(name, cells): &(String, [String; 4])| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
        format!("{name:width$}  {}\n", cells.join("  "))
    };
    rows.iter().map(line).collect()
}
