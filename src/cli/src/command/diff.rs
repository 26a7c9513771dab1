//! `podcov diff A B`: what was reached in one and not in the other.

use std::path::PathBuf;

use podcov_profile::Identity;
use podcov_profile::diff::diff as difference;
use podcov_profile::finding::Finding;
use podcov_profile::llvm::model::Detail;
use podcov_profile::model::{Binary, Component, Coverage, File, Function, Line, Metrics, Ratio};
use podcov_profile::names::{Kind, Language};

use crate::args::{Diff, Global, TextOrJson};
use crate::evidence::input::coverage_of_run;
use crate::evidence::measure::{Measured, Wanted, measured};
use crate::evidence::tell::{list, verdict};
use crate::exit::{Exit, Failure};
use crate::print;

/// Runs the command.
pub fn diff(global: &Global, args: &Diff) -> Result<Exit, Failure> {
    let read = |path: &PathBuf| -> Result<(Coverage, Vec<Finding>, u64), Failure> {
        // A run that was merged says itself what it covered.
        let path = coverage_of_run(path).unwrap_or_else(|| path.clone());
        let measured = measured(
            &[path],
            &args.reading,
            &args.selection,
            Wanted::Files(Detail::Regions),
        )?;
        let findings = measured.findings.clone();
        let used = measured.used;
        Ok((whole(measured), findings, used))
    };
    let (mut before, mut findings, used_before) = read(&args.before)?;
    let (mut after, more, used_after) = read(&args.after)?;
    before.composition = args.before.display().to_string();
    after.composition = args.after.display().to_string();
    findings.extend(more);
    // With the programs of both sides named, each side lacks the other's.
    findings.retain(|finding| {
        finding.kind != podcov_profile::finding::Kind::NoProfile || args.reading.objects.len() < 2
    });
    let used = used_before.min(used_after);
    if used > 0 {
        let difference = difference(&before, &after);
        match args.format {
            TextOrJson::Text => print::out(difference.to_text())?,
            TextOrJson::Json => {
                let json = serde_json::to_string_pretty(&difference)
                    .map_err(|error| Failure::new(Exit::Fault, error))?;
                print::out(format_args!("{json}\n"))?;
            }
        }
    }
    findings.sort();
    findings.dedup();
    list(&findings, global.quiet);
    verdict(&findings, used, args.reading.tolerate)
}

/// With the lines of reports as a component of their own.
fn whole(measured: Measured) -> Coverage {
    let Measured {
        mut coverage,
        reports,
        ..
    } = measured;
    if reports.files.is_empty() {
        return coverage;
    }
    let files = reports.files.iter().map(|(path, file)| {
        let line = |(number, count): (&u32, &u64)| Line {
            number: *number,
            count: *count,
            partial: file.partial.contains(number),
        };
        let functions = file.functions.iter().map(|(id, calls)| Function {
            name: id.name.clone(),
            start: id.start,
            end: calls.end,
            count: calls.count,
            lines: Ratio::default(),
            ..Function::default()
        });
        File {
            path: path.clone(),
            package: file.package.clone(),
            metrics: Metrics {
                lines: file.line_ratio(),
                functions: file.function_ratio(),
                branches: file.branch_ratio(),
                ..Metrics::default()
            },
            lines: file.lines.iter().map(line).collect(),
            functions: functions.collect(),
            branches: Vec::new(),
        }
    });
    let binary = Binary {
        name: "reports".to_owned(),
        identity: Identity::BuildId("00".to_owned()),
        profiles: 1,
        files: files.collect(),
        reach: Default::default(),
    };
    coverage.components.push(Component {
        name: "reports".to_owned(),
        language: Language::Rust,
        kind: Kind::Client,
        binaries: vec![binary],
        incarnations_collected: 1,
        incarnations_lost: 0,
    });
    coverage
}
