//! `podcov export`: what was covered, for other tools.

use podcov_profile::go::files::Mode;
use podcov_profile::go::text::{Block, Profile};
use podcov_profile::llvm::coverage::Coverage as LlvmCoverage;
use podcov_profile::llvm::json::JsonOptions;
use podcov_profile::llvm::lcov::LcovOptions;
use podcov_profile::neutral::LineCoverage;
use podcov_profile::{cobertura, codecov, lcov};

use crate::args::{Export, ExportFormat, Global};
use crate::evidence::measure::{Measured, measured};
use crate::evidence::out::{self, Content, WriteError};
use crate::evidence::tell::{list, verdict};
use crate::exit::{Exit, Failure};

/// Runs the command.
pub fn export(global: &Global, args: &Export) -> Result<Exit, Failure> {
    out::check(args.out.as_deref())?;
    // What llvm-cov writes is written from its own data, as it does.
    let mut native: Option<Vec<u8>> = None;
    let format = args.format;
    let mut look = |coverage: &LlvmCoverage| {
        let mut bytes = Vec::new();
        let written = match format {
            ExportFormat::LlvmJson => coverage.write_json(&JsonOptions::default(), &mut bytes),
            _ => coverage.write_lcov(&LcovOptions::default(), &mut bytes),
        };
        written.map_err(|error| Failure::new(Exit::Fault, error))?;
        native = Some(bytes);
        Ok(())
    };
    let wants_native = matches!(format, ExportFormat::LlvmJson | ExportFormat::Lcov);
    let look: Option<&mut _> = match wants_native {
        true => Some(&mut look),
        false => None,
    };
    let measured = measured(
        &args.paths,
        &args.reading,
        &args.selection,
        look.map(|l| l as _),
    )?;
    let bytes = match (format, native) {
        (ExportFormat::LlvmJson, Some(bytes)) => Ok(bytes),
        (ExportFormat::LlvmJson, None) => Err(none("programs of LLVM")),
        (ExportFormat::Lcov, Some(bytes)) if is_llvm_alone(&measured) => Ok(bytes),
        (ExportFormat::GoCover, _) => go_cover(&measured),
        (ExportFormat::Json, _) => {
            serde_json::to_vec(&measured.coverage).map_err(|error| Failure::new(Exit::Fault, error))
        }
        (format, _) => Ok(text(format, &measured.lines())),
    };
    list(&measured.findings, global.quiet);
    if measured.used > 0 {
        let bytes = bytes?;
        out::write(args.out.as_deref(), Content::Text, |to| {
            to.write_all(&bytes).map_err(WriteError::from)
        })?;
    }
    verdict(&measured.findings, measured.used, args.reading.tolerate)
}

fn is_llvm_alone(measured: &Measured) -> bool {
    measured.reports.files.is_empty()
        && measured.go.is_empty()
        && measured
            .coverage
            .components
            .iter()
            .all(|component| component.language == podcov_profile::names::Language::Rust)
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
