//! `podcov export`: what was covered, for other tools.

use podcov_profile::go::files::Mode;
use podcov_profile::go::text::{Block, Profile};
use podcov_profile::llvm::coverage::Coverage as LlvmCoverage;
use podcov_profile::llvm::json::JsonOptions;
use podcov_profile::llvm::lcov::LcovOptions;
use podcov_profile::llvm::model::Detail;
use podcov_profile::neutral::LineCoverage;
use podcov_profile::{cobertura, codecov, lcov};

use crate::args::{Export, ExportFormat, Global};
use crate::evidence::measure::{Measured, Wanted, measured};
use crate::evidence::out::{self, Content, WriteError};
use crate::evidence::tell::{list, verdict};
use crate::exit::{Exit, Failure};

/// Runs the command.
pub fn export(global: &Global, args: &Export) -> Result<Exit, Failure> {
    out::check(args.out.as_deref())?;
    let format = args.format;
    let out = args.out.as_deref();
    // What llvm-cov writes is written from its own data, as it does, and never
    // is in memory as a whole.
    let mut is_written = false;
    let mut look = |coverage: &LlvmCoverage| {
        is_written = true;
        out::write(out, Content::Text, |to| match format {
            ExportFormat::LlvmJson => coverage.write_json(&JsonOptions::default(), to),
            _ => coverage.write_lcov(&LcovOptions::default(), to),
        })
    };
    let wanted = match format {
        ExportFormat::LlvmJson => Wanted::Functions(&mut look),
        ExportFormat::Lcov => Wanted::FunctionsAlone(&mut look),
        _ => Wanted::Files(Detail::Regions),
    };
    let measured = measured(&args.paths, &args.reading, &args.selection, wanted)?;
    list(&measured.findings, global.quiet);
    if measured.used > 0 && !is_written {
        let bytes = match format {
            ExportFormat::LlvmJson => return Err(none("programs of LLVM")),
            ExportFormat::GoCover => go_cover(&measured)?,
            ExportFormat::Json => serde_json::to_vec(&measured.coverage)
                .map_err(|error| Failure::new(Exit::Fault, error))?,
            format => text(format, &measured.lines()),
        };
        out::write(out, Content::Text, |to| {
            to.write_all(&bytes).map_err(WriteError::from)
        })?;
    }
    verdict(&measured.findings, measured.used, args.reading.tolerate)
}

fn text(format: ExportFormat, lines: &LineCoverage) -> Vec<u8> {
    let text = match format {
        ExportFormat::Cobertura => cobertura::text(lines, &cobertura::Options::default()),
        ExportFormat::Codecov => codecov::text(lines),
        _ => lcov::text(lines, ""),
    };
    text.into_bytes()
}

/// Blocks of all programs of Go. A mode that one lacks, all lack: with a `set`
/// among them the result is a `set`.
fn go_cover(measured: &Measured) -> Result<Vec<u8>, Failure> {
    let sets = measured.go.iter().any(|profile| profile.mode == Mode::Set);
    let first = measured.go.first().ok_or_else(|| none("programs of Go"))?;
    let mode = if sets { Mode::Set } else { first.mode };
    let mut whole = Profile::new(mode);
    for profile in &measured.go {
        let mut profile = profile.clone();
        profile.mode = mode;
        if mode == Mode::Set {
            let blocks = profile
                .files
                .values_mut()
                .flat_map(|blocks| blocks.values_mut());
            blocks.for_each(|block| block.count = block.count.min(1));
        }
        whole
            .merge(&profile)
            .map_err(|error| Failure::new(Exit::Incomplete, error))?;
    }
    Ok(as_covdata(&whole).into_bytes())
}

/// A text profile in the order of `go tool covdata textfmt`: by package, then
/// file, then lines before columns.
fn as_covdata(profile: &Profile) -> String {
    let mut files: Vec<_> = profile.files.iter().collect();
    files.sort_by_key(|(file, _)| file.rsplit_once('/').unwrap_or(("", file)));
    let mut text = format!("mode: {}\n", profile.mode.word());
    for (file, blocks) in files {
        let mut blocks: Vec<_> = blocks.iter().collect();
        blocks.sort_by_key(|(span, _)| {
            let columns = (span.start_column, span.end_column);
            (span.start_line, span.end_line, columns)
        });
        for (span, block) in blocks {
            let Block { statements, count } = block;
            text.push_str(&format!("{file}:{span} {statements} {count}\n"));
        }
    }
    text
}

fn none(what: &str) -> Failure {
    Failure::new(Exit::Nothing, format!("there are no {what} in the input"))
}
